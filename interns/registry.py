"""Which interns there are and which version of each is in office.

Versions are copied in once and never overwritten; promoting, rolling back and retiring add a
tenure. Knows nothing of training or of the runtime.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import Session, select

from interns.base_model import BaseModelRef
from interns.database import session, write_session
from interns.errors import Conflict, Incompatible, InvalidInput, NoSpace, NotFound
from interns.gguf.adapter_file import check_adapter
from interns.intern import Intern, Version
from interns.manifest import read_version_folder
from interns.paths import Paths
from interns.tables import InternRow, TenureRow, VersionRow

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
RESERVED = frozenset({"auto", "base", "nobody", "all"})


def check_name(name: str) -> str:
    """Return `name` if it may name an intern.

    Raises:
        InvalidInput: It is empty, too long, reserved or has other characters.
    """
    if not NAME.fullmatch(name) or name in RESERVED:
        raise InvalidInput(
            f"{name!r} cannot name an intern.",
            "Use lower-case letters, digits and '-', starting with a letter, at most 40; "
            f"not {', '.join(sorted(RESERVED))}.",
        )
    return name


class InternRegistry:
    """The roster of one office.

    Args:
        engine: The office's open database.
        paths: Where version folders are kept.
        base: The base in use; versions of another base are refused unless it is named.
    """

    def __init__(self, engine: Engine, paths: Paths, base: BaseModelRef) -> None:
        self._engine = engine
        self._paths = paths
        self._base = base

    def register(
        self, folder: Path, *, source: str = "onboard", base: BaseModelRef | None = None
    ) -> Version:
        """Copy a finished version folder in and put it in office.

        The first version of an intern is on probation; a later one is kept beside the one in
        office until it is promoted. Registering the same adapter again returns what is there.

        Args:
            folder: The version folder.
            source: Where it comes from.
            base: The base it was trained on, when that is not the one in use: it is kept for the
                day that base is.

        Raises:
            BrokenFile: The folder is unfinished or changed.
            Incompatible: It was trained on another base.
            NoSpace: The disk is full; nothing is registered.
        """
        found = read_version_folder(folder)
        name = check_name(found.profile.name)
        base = base or self._base
        if found.adapter.base_sha256 != base.sha256:
            raise Incompatible(
                f"{name!r} was trained on base {found.adapter.base_sha256[:12]}, but this office "
                f"uses {base.name} ({base.sha256[:12]}).",
                "Onboard it again on this base from its recipe and data.",
            )
        check_adapter(found.adapter.path, base)
        with write_session(self._engine) as db:
            intern = db.exec(select(InternRow).where(InternRow.name == name)).first()
            rows = self._rows(db, intern) if intern else []
            for row in rows:
                if row.adapter_sha256 == found.adapter.sha256:
                    number = row.number
                    break
            else:
                number = self._add(db, intern, rows, folder, source)
        return self._version(name, number)

    def get(self, name: str) -> Intern:
        """Return an intern with the version in office, retired ones too.

        Raises:
            NotFound: Nobody has that name; the known names are listed.
        """
        with session(self._engine) as db:
            return self._intern(db, self._row(db, name))

    def list(self, *, include_retired: bool = False) -> Sequence[Intern]:
        """Return all interns by name."""
        with session(self._engine) as db:
            rows = db.exec(select(InternRow).order_by(InternRow.name)).all()
            found = [self._intern(db, row) for row in rows]
        return [intern for intern in found if include_retired or intern.state != "retired"]

    def versions(self, name: str) -> Sequence[Version]:
        """Return all versions of an intern, oldest first.

        Raises:
            NotFound: Nobody has that name.
        """
        with session(self._engine) as db:
            row = self._row(db, name)
            current = self._tenure(db, row).version_id
            return [self._value(v, current=v.id == current) for v in self._rows(db, row)]

    def promote(self, name: str, number: int) -> Intern:
        """Put version `number` in office, past probation.

        Raises:
            NotFound: There is no such intern or version.
        """
        return self._appoint(name, number, "office", "promoted")

    def rollback(self, name: str) -> Intern:
        """Put the version that was in office before the present one back.

        Raises:
            NotFound: There is no such intern.
            Conflict: There is no earlier version to go back to.
        """
        with session(self._engine) as db:
            row = self._row(db, name)
            tenures = db.exec(
                select(TenureRow).where(TenureRow.intern_id == row.id).order_by(TenureRow.id)  # type: ignore[arg-type]  # SQLModel types columns as values
            ).all()
            present = tenures[-1].version_id
            before = [t for t in tenures if t.version_id != present]
            if not before:
                raise Conflict(
                    f"{name!r} has had one version in office only; there is none to go back to.",
                    f"See `interns versions {name}`.",
                )
            version = db.get_one(VersionRow, before[-1].version_id)
        return self._appoint(name, version.number, before[-1].state, "rolled back")

    def retire(self, name: str) -> Intern:
        """Take an intern out of office; its versions and records stay.

        Raises:
            NotFound: There is no such intern.
        """
        return self._appoint(name, self.get(name).version.number, "retired", "retired")

    def _appoint(self, name: str, number: int, state: str, reason: str) -> Intern:
        with write_session(self._engine) as db:
            row = self._row(db, name)
            chosen = [v for v in self._rows(db, row) if v.number == number]
            if not chosen:
                raise NotFound(
                    f"{name!r} has no version {number}.", f"See `interns versions {name}`."
                )
            latest = self._tenure(db, row)
            if (latest.version_id, latest.state) != (chosen[0].id, state):
                db.add(_tenure(row, chosen[0], state, reason))
        return self.get(name)

    def _add(
        self,
        db: Session,
        intern: InternRow | None,
        rows: Sequence[VersionRow],
        folder: Path,
        source: str,
    ) -> int:
        found = read_version_folder(folder)
        number = rows[-1].number + 1 if rows else 1
        target = self._paths.interns / found.profile.name / f"v{number}"
        _copy(folder, target)
        kept = read_version_folder(target)
        if intern is None:
            intern = InternRow(name=found.profile.name)
            db.add(intern)
            db.flush()
        version = VersionRow(
            intern_id=_id(intern),
            number=number,
            adapter_sha256=kept.adapter.sha256,
            base_sha256=kept.adapter.base_sha256,
            folder=target.relative_to(self._paths.home).as_posix(),
            source=source,
            exam=dict(kept.exam),
        )
        db.add(version)
        db.flush()
        if not rows:
            db.add(_tenure(intern, version, "probation", "registered"))
        return number

    def _row(self, db: Session, name: str) -> InternRow:
        row = db.exec(select(InternRow).where(InternRow.name == name)).first()
        if row is None:
            names = db.exec(select(InternRow.name).order_by(InternRow.name)).all()
            known = f"Known: {', '.join(names)}." if names else "Nobody was onboarded yet."
            raise NotFound(f"No intern is called {name!r}. {known}", "See `interns list`.")
        return row

    def _rows(self, db: Session, intern: InternRow) -> Sequence[VersionRow]:
        chosen = select(VersionRow).where(VersionRow.intern_id == intern.id)
        return sorted(db.exec(chosen).all(), key=lambda row: row.number)

    def _tenure(self, db: Session, intern: InternRow) -> TenureRow:
        chosen = select(TenureRow).where(TenureRow.intern_id == intern.id)
        return max(db.exec(chosen).all(), key=lambda row: row.id or 0)

    def _intern(self, db: Session, row: InternRow) -> Intern:
        tenure = self._tenure(db, row)
        version = db.get_one(VersionRow, tenure.version_id)
        folder = read_version_folder(self._paths.home / version.folder)
        return Intern(
            name=row.name,
            state=tenure.state,  # type: ignore[arg-type]  # one of the words written below
            version=self._value(version, current=True),
            created_at=row.created_at,
            exemplars=folder.exemplars,
        )

    def _value(self, row: VersionRow, *, current: bool) -> Version:
        folder = read_version_folder(self._paths.home / row.folder)
        return Version(
            number=row.number,
            folder=folder.folder,
            adapter=replace(folder.adapter, name=f"{folder.profile.name}@{row.number}"),
            profile=folder.profile,
            exam=folder.exam,
            verification=folder.verification,
            recipe=folder.recipe,
            dataset=folder.dataset,
            created_at=row.created_at,
            current=current,
            base_name=folder.base_name,
        )

    def _version(self, name: str, number: int) -> Version:
        return next(v for v in self.versions(name) if v.number == number)


def _id(row: InternRow | VersionRow) -> int:
    assert row.id is not None, "the row was flushed"  # noqa: S101 - our own invariant
    return row.id


def _tenure(intern: InternRow, version: VersionRow, state: str, reason: str) -> TenureRow:
    return TenureRow(intern_id=_id(intern), version_id=_id(version), state=state, reason=reason)


def _copy(folder: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    for leftover in (partial, target):  # of an attempt that died before its row was committed
        if leftover.exists():
            shutil.rmtree(leftover)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(folder, partial)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise NoSpace(f"The disk of {target.parent} is full.", "Free some space.") from error
        raise
    partial.replace(target)
