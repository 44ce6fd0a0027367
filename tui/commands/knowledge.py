"""`interns knowledge`: documents that interns may quote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from interns.errors import InvalidInput
from tui.commands.options import AsJson
from tui.model.records import hit_record
from tui.model.words import shortened
from tui.office import open_office
from tui.output import emit, say, show, show_table

documents = typer.Typer(help="Documents that interns may quote.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(documents, name="knowledge")


@documents.command()
def add(
    path: Annotated[str, typer.Argument(help="A file, or a folder and everything under it.")],
    name: Annotated[
        str, typer.Option("--name", help="The collection; the path's name if left out.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Index a file or folder; unchanged files are left alone."""
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise InvalidInput(f"There is nothing at {path}.", "Check the path.")
    with open_office() as office:
        say(f"Reading {path} ...")
        report = office.knowledge_add(place, name or place.stem)
    if as_json:
        emit(report)
        return
    skipped = report.get("skipped") or ()
    say(
        f"{_count(report.get('added'))} added, {_count(report.get('unchanged'))} unchanged, "
        f"{len(skipped)} left out, in collection {report['name']}."
    )
    for one in skipped:
        say(f"  left out: {_reason(one)}")


@documents.command()
def search(
    query: Annotated[list[str], typer.Argument(metavar="TEXT", help="What to look for.")],
    name: Annotated[str, typer.Option("--name", help="Only this collection.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=50, help="At most so many passages.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Find passages, each with its exact place."""
    with open_office() as office:
        hits = office.knowledge_search(" ".join(query), name or None, limit)
    if as_json:
        emit([hit_record(hit) for hit in hits])
        return
    if not hits:
        say("Nothing found. What is indexed: interns knowledge list")
    for number, hit in enumerate(hits, 1):
        show(
            f"[{number}] {hit['path']}, characters {hit['start']} to {hit['end']}, {hit['score']:.2f}"
        )
        show(f"    {shortened(hit['text'], 300)}")


@documents.command("list")
def list_documents(as_json: AsJson = False) -> None:
    """List what is indexed."""
    with open_office() as office:
        found = office.knowledge_list()
    if as_json:
        emit(found)
        return
    if not found:
        say("Nothing is indexed. Try: interns knowledge add docs --name handbook")
        return
    names = [key for key, value in found[0].items() if not isinstance(value, list | dict)]
    show_table(
        [name.upper() for name in names], ([one.get(name) for name in names] for one in found)
    )


def _count(value: object) -> int:
    return len(value) if isinstance(value, list | dict) else int(str(value or 0))


def _reason(one: object) -> str:
    if isinstance(one, dict):
        return ": ".join(str(value) for value in one.values())
    return ": ".join(str(part) for part in one) if isinstance(one, list) else str(one)
