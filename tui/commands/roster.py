"""`interns list|show|versions|promote|rollback|retire|import`: who works here."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from interns.gate import engine_words, gate_words
from tui.commands.options import AsJson
from tui.model.records import intern_record, version_record
from tui.model.words import age, exam_words
from tui.office import open_office
from tui.output import emit, say, show_fields, show_table

Name = Annotated[str, typer.Argument(metavar="NAME", help="An intern's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("list")(list_interns)
    app.command()(show)
    app.command()(versions)
    app.command()(promote)
    app.command()(rollback)
    app.command()(retire)
    app.command("import")(import_intern)


def list_interns(
    everyone: Annotated[bool, typer.Option("--all", help="Retired ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the interns in office."""
    with open_office() as office:
        records = [intern_record(one) for one in office.interns(include_retired=everyone)]
    if as_json:
        emit(records)
        return
    if not records:
        say("Nobody was onboarded yet. Try: interns import guide, or interns onboard --help.")
    show_table(
        ("NAME", "SKILL", "VERSION", "STATUS", "EXAM", "ROLE"),
        (
            (r["name"], r["skill"], r["version"], _standing(r), exam_words(r["exam"]), r["role"])
            for r in records
        ),
    )


def show(
    name: Name,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="What humans changed or refused.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one intern."""
    if corrections:
        from tui.commands.approvals import list_corrections

        list_corrections(name, as_json=as_json)
        return
    with open_office() as office:
        record = intern_record(office.intern(name))
    if as_json:
        emit(record)
        return
    exam, verification = record["exam"], record.get("verification") or {}
    interval = exam.get("interval") or []
    show_fields((
        ("name", record["name"]),
        ("skill", record["skill"]),
        ("role", record["role"]),
        ("status", _standing(record)),
        ("version", record["version"]),
        ("exam", exam_words(exam)),
        ("interval", " to ".join(f"{bound:.2f}" for bound in interval)),
        ("exam rows", exam.get("examples")),
        ("verified on", engine_words(verification)),
        ("gate", gate_words(verification)),
        ("labels", ", ".join(record.get("labels") or ())),
        ("schema", json.dumps(record["schema"]) if record.get("schema") else ""),
        ("corrections", f"{record.get('corrections', 0)} to learn from"),
        ("base", f"{record.get('base_name', '')} {record['base']}".strip()),
        ("adapter", record.get("adapter_sha256")),
        ("since", record.get("created_at")),
    ))


def versions(name: Name, as_json: AsJson = False) -> None:
    """List an intern's versions."""
    with open_office() as office:
        intern = office.intern(name)
        records = [version_record(intern, one) for one in office.versions(name)]
    if as_json:
        emit(records)
        return
    show_table(
        ("VERSION", "STATUS", "EXAM", "BASE", "AGE", "FOLDER"),
        (
            (
                r["version"],
                r["status"],
                exam_words(r["exam"]),
                r.get("base_name") or str(r["base"])[:12],
                age(r["created_at"]),
                r["folder"],
            )
            for r in records
        ),
    )


def promote(
    name: Name,
    version: Annotated[
        int | None, typer.Argument(help="Its number; the newest if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a version in office, past probation."""
    with open_office() as office:
        number = version or max(one["number"] for one in office.versions(name))
        record = intern_record(office.promote(name, number))
    _changed(record, f"{name} v{record['version']} is in office.", as_json=as_json)


def rollback(name: Name, as_json: AsJson = False) -> None:
    """Put the version before the present one back in office."""
    with open_office() as office:
        record = intern_record(office.rollback(name))
    _changed(record, f"{name} is back at v{record['version']}.", as_json=as_json)


def retire(name: Name, as_json: AsJson = False) -> None:
    """Take an intern out of office; its records stay."""
    with open_office() as office:
        record = intern_record(office.retire(name))
    text = f"{name} is retired. Bring it back: interns promote {name} {record['version']}"
    _changed(record, text, as_json=as_json)


def import_intern(
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="A version folder, or a shipped intern's name.")
    ],
    as_json: AsJson = False,
) -> None:
    """Register a finished version: from a folder, or one that is shipped."""
    with open_office() as office:
        record = intern_record(office.import_folder(source))
    text = f"{record['name']} v{record['version']} is registered ({exam_words(record['exam'])})."
    _changed(record, text, as_json=as_json)


def _standing(record: dict[str, Any]) -> str:
    """Its state, and the base it waits for when that is not in use."""
    if record.get("base_in_use", True):
        return str(record["status"])
    return f"{record['status']}, waits for base {record.get('base_name') or record['base'][:12]}"


def _changed(record: dict[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        emit(record)
    else:
        say(text)
