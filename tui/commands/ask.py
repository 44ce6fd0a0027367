"""`interns ask` and `interns route`: one answer, and who would give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from tui.commands.options import AsJson, Knowledge, Words, split_words
from tui.model.records import answer_record, route_record
from tui.model.words import citation_place, done_line, route_line
from tui.office import open_office
from tui.output import emit, emit_line, say, show, show_table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ask)
    app.command()(route)


def ask(
    words: Words = None,
    file: Annotated[str, typer.Option("--file", "-f", help="Text that follows.")] = "",
    knowledge: Knowledge = "",
    as_json: AsJson = False,
    events: Annotated[bool, typer.Option("--events", help="One JSON event a line.")] = False,
) -> None:
    """Ask an intern, or whoever fits. It only answers: nothing is sent anywhere."""
    name, text = split_words(words, file)
    with open_office() as office:
        stream = checked(office.ask(text, intern=name, knowledge=knowledge or None))
        if events:
            for event in stream:
                emit_line({"schema_version": 1, **event})
        elif as_json:
            emit(answer_record(stream))
        else:
            _tell(stream)


def route(
    words: Words = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show every score.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which intern would take a text, and why. Nothing is generated."""
    _, text = split_words(words)
    with open_office() as office:
        found = route_record(office.route(text))
    if as_json:
        emit(found)
        return
    show(found["intern"] or "nobody")
    say(route_line(found))
    if explain:
        rows = [(one["intern"], f"{one['score']:.2f}") for one in found["candidates"]]
        show_table(("INTERN", "SCORE"), rows)


def checked(stream: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the events of an answer; an error event is raised as what it stands for.

    Raises:
        InternsError: The stream ended with an error.
    """
    from orchestrator.errors import from_body

    for event in stream:
        if event.get("event") == "error":
            raise from_body(event)
        yield event


def _tell(stream: Iterable[Mapping[str, Any]]) -> None:
    citations = []
    for event in stream:
        match event["event"]:
            case "route":
                say(route_line(route_record(event)))
            case "token":
                show(event["text"], end="")
            case "citation":
                citations.append(citation_place(event))
            case "done":
                if event.get("text"):
                    show("")
                for line in citations:
                    say(line)
                say(done_line(event))
