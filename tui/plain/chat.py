"""Chat in lines: safe for screen readers, pipes and the simplest terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interns.errors import InternsError
from orchestrator.errors import from_body
from tui.model.mention import mention
from tui.model.records import route_record
from tui.model.words import citation_place, done_line, route_line
from tui.office import open_office
from tui.output import interactive, report, say, show

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

Turn = dict[str, str]


def chat(intern: str | None = None, knowledge: str | None = None) -> int:
    """Read a line, stream an answer, again, until the end of input.

    Args:
        intern: Who answers; None lets the office choose for every line.
        knowledge: Documents to quote from.

    Returns:
        0, or the exit status of the last error when nobody sits at the terminal.
    """
    status = 0
    with open_office() as office:
        if intern is not None:
            office.intern(intern)
        if interactive():
            say("Write a line and press enter. @NAME picks an intern. /quit or Ctrl+D ends.")
        turns: list[Turn] = []
        while (line := _read_line()) is not None:
            if not line.strip():
                continue
            if line.strip() in {"/quit", "/exit"}:
                break
            try:
                status = 0
                _turn(office, turns, line, intern, knowledge)
            except InternsError as error:
                status = report(error, as_json=False)
    return 0 if interactive() else status


def _read_line() -> str | None:
    if not interactive():
        line = sys.stdin.readline()
        return line if line else None
    print("You: ", end="", file=sys.stderr, flush=True)
    try:
        return input()
    except EOFError:
        print(file=sys.stderr)
        return None


def _turn(
    office: OfficeClient,
    turns: list[Turn],
    line: str,
    intern: str | None,
    knowledge: str | None,
) -> None:
    named, text = mention(line)
    asked = [*turns, {"role": "user", "content": text}]
    answer = ""
    citations = []
    for event in office.chat(asked, intern=named or intern, knowledge=knowledge):
        match event["event"]:
            case "route":
                say(route_line(route_record(event)))
            case "token":
                show(event["text"], end="")
            case "citation":
                citations.append(citation_place(event))
            case "done":
                answer = _done(event, citations)
            case "error":
                raise from_body(event)
    if answer:
        turns[:] = [*asked, {"role": "assistant", "content": answer}]


def _done(event: Mapping[str, Any], citations: list[str]) -> str:
    text = str(event.get("text") or "")
    if text:
        show("")
    for line in citations:
        show(line)
    say(done_line(event))
    return text
