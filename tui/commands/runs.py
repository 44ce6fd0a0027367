"""`interns runs`: onboardings, running and past."""

from __future__ import annotations

from typing import Annotated

import typer

from tui.commands.options import AsJson
from tui.model.records import onboard_record
from tui.model.words import age, duration
from tui.office import open_office
from tui.output import emit, emit_line, say, show_fields, show_table

Id = Annotated[str, typer.Argument(metavar="ID", help="A run's id, or the start of it.")]

runs = typer.Typer(help="Onboardings, running and past.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(runs, name="runs")


@runs.command("list")
def list_runs(as_json: AsJson = False) -> None:
    """List onboarding runs, newest first."""
    with open_office() as office:
        found = office.runs()
    if as_json:
        emit(found)
        return
    if not found:
        say("No runs yet. Try: interns onboard --help")
    show_table(
        ("ID", "NAME", "STATUS", "STEP", "DONE", "LOSS", "LEFT", "AGE"),
        (
            (
                run["id"],
                run["name"],
                run["status"],
                run["step"],
                f"{(run.get('progress') or 0) * 100:.0f}%",
                "" if run.get("loss") is None else f"{run['loss']:.3f}",
                duration(run.get("eta_s")) if run["status"] == "running" else "",
                age(run.get("created_at")),
            )
            for run in found
        ),
    )


@runs.command()
def show(run_id: Id, as_json: AsJson = False) -> None:
    """Show one run."""
    with open_office() as office:
        run = office.run(run_id)
    if as_json:
        emit(run)
        return
    names = ("id", "name", "status", "step", "loss", "version", "error", "fix", "folder")
    show_fields((name, run.get(name)) for name in names)


@runs.command()
def watch(run_id: Id, as_json: AsJson = False) -> int:
    """Follow a run to its end; the exit status is its outcome (4: the exam was not passed)."""
    from tui.plain.training import follow, tell_outcome

    with open_office() as office:
        run = office.run(run_id)
        events = follow(office, run["id"], live=not as_json, write=emit_line if as_json else None)
        ended = office.run(run["id"])
    return tell_outcome(ended, onboard_record(ended, events), as_json=as_json)


@runs.command()
def stop(run_id: Id, as_json: AsJson = False) -> None:
    """Stop a run; the same onboarding started again goes on from there."""
    with open_office() as office:
        run = office.stop_run(office.run(run_id)["id"])
    if as_json:
        emit(run)
    else:
        say(f"Run {run['id']} is {run['status']}. Go on with the same `interns onboard` command.")
