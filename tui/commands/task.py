"""`interns task`: hand in work and follow it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from interns.errors import InvalidInput, NeedsHuman, Unavailable
from tui.commands.options import AsJson, Knowledge, Words, split_words
from tui.model.records import parked_record, task_record
from tui.model.words import age, citation_line, effect_words, shortened
from tui.office import open_office
from tui.output import emit, say, show, show_fields, show_table

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

Id = Annotated[int, typer.Argument(metavar="ID", help="A task's number.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait at most.")]
POLL_S = 0.2

tasks = typer.Typer(help="Hand in work and follow it.", no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(tasks, name="task")


@tasks.command()
def submit(
    words: Words = None,
    to: Annotated[str, typer.Option("--to", help="Who does it, instead of routing.")] = "",
    file: Annotated[str, typer.Option("--file", "-f", help="Text that follows.")] = "",
    knowledge: Knowledge = "",
    effect: Annotated[
        str,
        typer.Option(
            "--effect",
            "--deliver",
            help="What an approval lets out: outbox, file:PATH (inside it) or webhook:URL.",
        ),
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until it ends or needs a human.")] = False,
    timeout: Timeout = 300.0,
    as_json: AsJson = False,
) -> int:
    """Hand in a task. With --wait, exit 5 means a human must decide."""
    name, text = split_words(words, file)
    if name and to and name != to:
        raise InvalidInput(f"Two interns are named: @{name} and --to {to}.", "Name one.")
    with open_office() as office:
        task = office.submit(
            text, intern=name or to or None, knowledge=knowledge or None, effect=effect or None
        )
        if wait:
            return _finish(office, task["id"], timeout, as_json=as_json)
    if as_json:
        emit({"id": task["id"], "status": task["status"]})
    else:
        show(str(task["id"]))
        say(f"Task {task['id']} is {task['status']}. Follow it: interns task show {task['id']}")
    return 0


@tasks.command()
def wait(task_id: Id, timeout: Timeout = 300.0, as_json: AsJson = False) -> int:
    """Wait until a task ends (exit 0 or 1) or needs a human (exit 5)."""
    with open_office() as office:
        return _finish(office, task_id, timeout, as_json=as_json)


@tasks.command("list")
def list_tasks(
    status: Annotated[str, typer.Option(help="Only tasks in this state.")] = "",
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    with open_office() as office:
        records = [task_record(one) for one in office.tasks(status or None)]
    if as_json:
        emit(records)
        return
    if not records:
        say('No tasks. Hand one in: interns task submit "…"')
    show_table(
        ("ID", "STATUS", "INTERN", "APPROVAL", "AGE", "TEXT"),
        (
            (
                r["id"],
                r["status"],
                r["intern"] or "nobody",
                r["approval"] or "",
                age(r["created_at"]),
                shortened(r["text"], 60),
            )
            for r in records
        ),
    )


@tasks.command("show")
def show_task(task_id: Id, as_json: AsJson = False) -> None:
    """Show one task: who does it, its draft, its steps, what left the office."""
    with open_office() as office:
        record = task_record(office.task(task_id))
    if as_json:
        emit(record)
    else:
        _card(record)


def _finish(office: OfficeClient, task_id: int, timeout_s: float, *, as_json: bool) -> int:
    task = settled(office, task_id, timeout_s)
    if task["status"] == "waiting":
        parked = parked_record(task)
        if as_json:
            emit(parked)
        else:
            show(str(task_id))
            say(f"Task {task_id} needs a human.")
            say(f"Try:   {parked['next']}")
        return NeedsHuman.exit_code
    if as_json:
        emit(task_record(task))
    else:
        _card(task_record(task))
    return 1 if task["status"] == "failed" else 0


def settled(office: OfficeClient, task_id: int, timeout_s: float) -> dict[str, Any]:
    """Wait until a task has ended or waits for a decision that nobody made yet; return it.

    Raises:
        Unavailable: It still runs after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        task = office.wait_task(task_id, max(0.0, deadline - time.monotonic()))
        if task["status"] != "waiting":
            return task
        number = task.get("approval_id")
        if number is not None and office.approval(number)["status"] == "pending":
            return task
        if time.monotonic() >= deadline:
            raise Unavailable(
                f"Task {task_id} still runs after {timeout_s:.0f} s.",
                f"Look again with `interns task show {task_id}`.",
            )
        time.sleep(POLL_S)


def _card(record: dict[str, Any]) -> None:
    route = record.get("route") or {}
    show_fields((
        ("task", record["id"]),
        ("status", record["status"]),
        ("text", record["text"]),
        ("intern", record["intern"] or "nobody"),
        ("version", record.get("version")),
        ("route", route.get("why")),
        ("draft", record.get("draft")),
        ("result", _other(record.get("result"), record.get("draft"))),
        ("approval", record.get("approval")),
        ("effect", effect_words(record.get("effect"))),
        ("error", record.get("error")),
        ("try", record.get("fix")),
        ("charter", record.get("charter_version")),
    ))
    for citation in record["citations"]:
        show(citation_line(citation))
    for step in record.get("steps") or ():
        spent = f"{step['seconds']:.2f} s" if step.get("seconds") is not None else ""
        show(f"  {step.get('node', '')}: {step.get('text', '')} {spent}".rstrip())
    for effect in record["effects"]:
        show(f"  {effect_words(effect)}: {effect['status']}")


def _other(text: object, draft: object) -> object:
    return "" if text == draft else text
