"""`interns teach`: the next version of an intern."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.commands.options import AsJson
from tui.model.records import onboard_record
from tui.office import open_office
from tui.output import emit, say, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(teach)


def teach(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An intern's name.")],
    base: Annotated[str, typer.Option("--base", help="The base to train it on.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show the loss as it falls.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "--no-wait", help="Return the run's id at once.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Train an intern's next version on another base, from its stored recipe and data.

    The version is kept beside the one in office until `interns promote`.
    """
    with open_office() as office:
        run = office.teach(name, base=base)
        if detach:
            if as_json:
                emit(run)
            else:
                show(run["id"])
                say(f"Watch it: interns runs watch {run['id']}")
            return 0
        from tui.plain.training import follow, tell_outcome

        say(f"Run {run['id']}. It belongs to the office: closing this terminal does not stop it.")
        events = follow(office, run["id"], live=watch)
        ended = office.run(run["id"])
    code = tell_outcome(ended, onboard_record(ended, events), as_json=as_json)
    if code == 0:
        say(f"Put it in office: interns promote {name} {ended['version']}")
    return code
