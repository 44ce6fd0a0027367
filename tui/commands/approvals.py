"""`interns approvals` and `interns corrections`: decide what may happen, see what was changed."""

from __future__ import annotations

from typing import Annotated

import typer

from interns.errors import InvalidInput
from tui.commands.options import AsJson, Plain, read_text
from tui.model.card import approval_lines
from tui.model.records import approval_record, decision_record
from tui.model.words import age, effect_words, shortened
from tui.office import open_office
from tui.output import can_draw, emit, say, show, show_table

Id = Annotated[int, typer.Argument(metavar="ID", help="An approval's number.")]
Digest = Annotated[
    str, typer.Option("--digest", help="As shown to you; refused when anything changed since.")
]

queue = typer.Typer(help="Decide what may happen.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(queue, name="approvals")
    app.command("corrections")(corrections)


@queue.callback()
def approvals(context: typer.Context, plain: Plain = False) -> int | None:
    """Decide what may happen. Without a command: the queue, one by one."""
    return None if context.invoked_subcommand else review(plain=plain)


@queue.command()
def review(plain: Plain = False) -> int:
    """Go through the queue: on the screen, or line by line with --plain."""
    if can_draw() and not plain:
        from tui.start import open_screens

        return open_screens("approvals")
    from tui.plain.approvals import review as review_plain

    return review_plain()


@queue.command("list")
def list_approvals(
    everything: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what waits for a decision, oldest first."""
    with open_office() as office:
        found = office.approvals(None if everything else "pending")
    records = [approval_record(one) for one in found]
    if as_json:
        emit(records)
        return
    if not records:
        say("All clear: nothing waits for you.")
    show_table(
        ("ID", "KIND", "STATUS", "AGE", "INTERN", "EFFECT", "WHAT"),
        (
            (
                r["id"],
                r["kind"],
                r["status"],
                age(r["created"]),
                r["intern"] or "nobody",
                effect_words(r["effect"]),
                shortened(r["summary"], 60),
            )
            for r in records
        ),
    )


@queue.command("show")
def show_approval(approval_id: Id, as_json: AsJson = False) -> None:
    """Show one approval: what will happen, the draft, why you are asked, the evidence."""
    with open_office() as office:
        record = approval_record(office.approval(approval_id))
        asked = office.task(record["task"])["text"]
    if as_json:
        emit(record)
    else:
        show("\n".join(approval_lines(record, asked)))


@queue.command()
def approve(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="One or more numbers.")],
    digest: Digest = "",
    as_json: AsJson = False,
) -> None:
    """Let exactly the shown action happen."""
    if digest and len(ids) > 1:
        raise InvalidInput("A digest belongs to one approval.", "Approve them one by one.")
    with open_office() as office:
        records = [decision_record(office.approve(number, digest or None)) for number in ids]
    if as_json:
        emit(records[0] if len(records) == 1 else records)
        return
    for record in records:
        _decided(record, as_json=False)


@queue.command()
def edit(
    approval_id: Id,
    file: Annotated[str, typer.Option("--file", "-f", help="Your text; - reads stdin.")] = "",
    text: Annotated[str, typer.Option("--text", "-t", help="Your text.")] = "",
    digest: Digest = "",
    as_json: AsJson = False,
) -> None:
    """Approve your own text in place of the draft; the change is kept as a correction."""
    if bool(file) == bool(text):
        raise InvalidInput("Give the edited text once.", "--file FILE, --file - or --text TEXT.")
    edited = read_text(file) if file else text
    with open_office() as office:
        record = decision_record(office.edit(approval_id, edited, digest or None))
    _decided(record, as_json=as_json)


@queue.command()
def reject(
    approval_id: Id,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; the intern learns from it.")],
    digest: Digest = "",
    as_json: AsJson = False,
) -> None:
    """Refuse the action, with a reason."""
    with open_office() as office:
        record = decision_record(office.reject(approval_id, reason, digest or None))
    _decided(record, as_json=as_json)


@queue.command()
def respond(
    approval_id: Id,
    text: Annotated[str, typer.Option("--text", "-m", help="Your answer; - reads stdin.")] = "",
    to: Annotated[str, typer.Option("--to", help="Give the task to this intern.")] = "",
    as_json: AsJson = False,
) -> None:
    """Answer a question, or name the intern that shall do the task."""
    if not text and not to:
        raise InvalidInput("There is no answer.", "--text TEXT, or --to NAME.")
    answer = read_text("-") if text == "-" else text
    with open_office() as office:
        record = decision_record(office.respond(approval_id, answer, to or None))
    _decided(record, as_json=as_json)


def corrections(
    name: Annotated[str, typer.Argument(help="Only of this intern.")] = "",
    as_json: AsJson = False,
) -> None:
    """List what humans changed or refused: the material of the next version."""
    list_corrections(name, as_json=as_json)


def list_corrections(name: str, *, as_json: bool) -> None:
    """Show corrections, of one intern or of all."""
    with open_office() as office:
        found = office.corrections(name or None)
    if as_json:
        emit(found)
        return
    if not found:
        say("No corrections yet: edits and rejections are kept here.")
    show_table(
        ("INTERN", "KIND", "AGE", "DRAFT", "CHANGED TO OR REASON"),
        (
            (
                one.get("intern") or "nobody",
                one.get("kind") or "",
                age(one.get("created_at")),
                shortened(one.get("draft") or "", 40),
                shortened(one.get("corrected") or one.get("reason") or "", 60),
            )
            for one in found
        ),
    )


def _decided(record: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        emit(record)
    else:
        say(f"Approval {record['id']}: {record['decision']} by {record['by']}.")
