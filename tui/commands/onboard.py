"""`interns onboard`: from a table of examples to an intern in office."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from interns.errors import InvalidInput
from tui.commands.options import AsJson, read_text
from tui.model.plan import plan_lines
from tui.model.records import onboard_record
from tui.office import open_office
from tui.output import emit, say, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(onboard)


def onboard(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower case, such as triage.")],
    data: Annotated[str, typer.Option("--data", help="CSV, TSV, JSON or JSON Lines.")],
    input_column: Annotated[str, typer.Option("--input", help="Column with what comes in.")],
    output_column: Annotated[str, typer.Option("--output", help="Column with what goes out.")],
    skill: Annotated[
        str, typer.Option(help="classify, extract, answer or write; found out if left out.")
    ] = "",
    role: Annotated[str, typer.Option(help="One sentence for the prompt.")] = "",
    exam: Annotated[str, typer.Option(help="Your own exam, a table like the data.")] = "",
    schema: Annotated[str, typer.Option(help="JSON schema of an extract intern.")] = "",
    recipe: Annotated[str, typer.Option(help="TOML or JSON that overrides the recipe.")] = "",
    attribution: Annotated[str, typer.Option(help="Where the data comes from; on the card.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan only; train nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show the loss as it falls.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "--no-wait", help="Return the run's id at once.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Train, verify and examine an intern; register it if it passes.

    Exit status 4 means that the exam or the verification was not passed and nothing was
    registered. Interrupting leaves the run going; the same command finds it again.
    """
    request: dict[str, Any] = {
        "name": name,
        "data": existing(data),
        "input": input_column,
        "output": output_column,
        "skill": skill or None,
        "role": role or None,
        "exam": existing(exam) if exam else None,
        "schema": existing(schema) if schema else None,
        "recipe": read_recipe(recipe) if recipe else None,
        "attribution": attribution or None,
    }
    request = {key: value for key, value in request.items() if value is not None}
    with open_office() as office:
        if dry_run:
            plan = office.plan_onboarding(request)
            if as_json:
                emit(plan)
            else:
                show("\n".join(plan_lines(plan)))
            return 0
        run = office.onboard(request)
        if detach:
            _told(run, as_json=as_json)
            return 0
        from tui.plain.training import follow, tell_outcome

        say(f"Run {run['id']}. It belongs to the office: closing this terminal does not stop it.")
        events = follow(office, run["id"], live=watch)
        ended = office.run(run["id"])
    return tell_outcome(ended, onboard_record(ended, events), as_json=as_json)


def existing(path: str) -> str:
    """Return the absolute path of a file that is there.

    Raises:
        InvalidInput: It is not.
    """
    place = Path(path).expanduser().absolute()
    if not place.is_file():
        raise InvalidInput(f"There is no file {path}.", "Check the path.")
    return str(place)


def read_recipe(path: str) -> dict[str, Any]:
    """Return the overrides of a recipe file.

    Raises:
        InvalidInput: It is neither TOML nor a JSON object.
    """
    text = read_text(path)
    try:
        values = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{path} cannot be read: {error}.", "Write TOML or JSON.") from error
    if not isinstance(values, dict):
        raise InvalidInput(f"{path} is not a JSON object.", "Write names and values.")
    return values


def _told(run: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(run)
        return
    show(run["id"])
    say(f"Watch it: interns runs watch {run['id']}")
