"""The approval queue in lines: one card, one question, nothing redrawn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from interns.errors import InternsError, InvalidInput
from tui.model.card import KEYS, approval_lines
from tui.office import open_office
from tui.output import interactive, report, say, show

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

LETTERS = {"approve": "a", "edit": "e", "reject": "r", "respond": "w"}


def review() -> int:
    """Go through what waits, oldest first, until it is decided or the person leaves.

    Raises:
        InvalidInput: Nobody can be asked here.
    """
    if not interactive():
        raise InvalidInput(
            "Nobody can be asked here: this is not a terminal, or --no-input or CI is set.",
            "interns approvals list --json, then approve, edit, reject or respond.",
        )
    with open_office() as office:
        waiting = office.approvals()
        if not waiting:
            say("All clear: nothing waits for you.")
            return 0
        for position, approval in enumerate(waiting, 1):
            say(f"{position} of {len(waiting)}")
            asked = office.task(approval["task_id"])["text"]
            show("\n".join(approval_lines(approval, asked)))
            if not _decide(office, approval):
                break
        left = len(office.approvals())
    say(f"{left} left." if left else "All clear: nothing waits for you.")
    return 0


def _decide(office: OfficeClient, approval: dict[str, Any]) -> bool:
    """Ask until the answer is a decision or a skip; return False when the person leaves."""
    verbs = KEYS.get(approval["kind"], ())
    offered = ", ".join(f"{LETTERS[verb]} {verb}" for verb in verbs)
    while True:
        letter = _ask(f"{offered}, s skip, q quit: ")
        if letter in {None, "q"}:
            return False
        if letter == "s":
            return True
        verb = next((verb for verb in verbs if letter in {LETTERS[verb], verb}), None)
        if verb is None:
            continue
        try:
            if _carry_out(office, approval, verb):
                return True
        except InternsError as error:
            report(error, as_json=False)
            return True


def _carry_out(office: OfficeClient, approval: dict[str, Any], verb: str) -> bool:
    number, digest = approval["id"], approval["digest"]
    match verb:
        case "approve":
            done = office.approve(number, digest)
        case "edit":
            text = _ask_text("Your text. End with a line that holds only a full stop.")
            if not text:
                return False
            done = office.edit(number, text, digest)
        case "reject":
            reason = _ask("Reason: ")
            if not reason:
                return False
            done = office.reject(number, reason, digest)
        case _:
            answer = _ask("Your answer, or @NAME to give it to an intern: ")
            if not answer:
                return False
            to = answer.removeprefix("@") if answer.startswith("@") else None
            done = office.respond(number, "" if to else answer, to)
    say(f"Approval {number}: {done['status']}.")
    return True


def _ask(question: str) -> str | None:
    print(question, end="", file=sys.stderr, flush=True)
    try:
        return input().strip()
    except EOFError:
        print(file=sys.stderr)
        return None


def _ask_text(question: str) -> str:
    say(question)
    lines = []
    while (line := sys.stdin.readline()) and line.rstrip("\n") != ".":
        lines.append(line)
    return "".join(lines).strip()
