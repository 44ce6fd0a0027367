"""The interns of an office, as plain dictionaries, and what can be done with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from interns.bases import STARTER
from interns.database import session
from interns.errors import NotFound
from interns.intern import Intern
from orchestrator.desk import Desk
from orchestrator.event import EventKind
from orchestrator.journal import note
from orchestrator.tables import CorrectionRow
from orchestrator.views import correction_json, intern_json, version_json

Json = dict[str, Any]
Jsons = list[Json]  # before a method called `list` hides the type


class Roster:
    """Interns by name.

    Args:
        desk: What the office works with.
        shipped: Folder of the interns that come with the package.
    """

    def __init__(self, desk: Desk, shipped: Path = STARTER / "interns") -> None:
        self._desk = desk
        self._shipped = shipped

    def list(self, *, include_retired: bool = False) -> Jsons:
        """Return all interns by name."""
        counts = self._corrections()
        interns = self._desk.registry.list(include_retired=include_retired)
        return [self._json(intern, counts.get(intern.name, 0)) for intern in interns]

    def get(self, name: str) -> Json:
        """Return one intern, a retired one too.

        Raises:
            NotFound: Nobody has that name.
        """
        return self._json(self._desk.registry.get(name), self._corrections().get(name, 0))

    def versions(self, name: str) -> Jsons:
        """Return an intern's versions, oldest first."""
        return [version_json(version) for version in self._desk.registry.versions(name)]

    def promote(self, name: str, number: int) -> Json:
        """Put a version in office, past probation."""
        self._desk.registry.promote(name, number)
        return self._changed(name, f"version {number} promoted")

    def rollback(self, name: str) -> Json:
        """Put the version before the present one back in office."""
        self._desk.registry.rollback(name)
        return self._changed(name, "rolled back")

    def retire(self, name: str) -> Json:
        """Take an intern out of office."""
        self._desk.registry.retire(name)
        return self._changed(name, "retired")

    def import_from(self, source: str) -> Json:
        """Register a version folder, or a shipped intern by name.

        Raises:
            NotFound: There is neither such a folder nor such a shipped intern.
        """
        folder = Path(source)
        if not (folder.is_absolute() and folder.is_dir()):
            folder = self._shipped / source
            inside = folder.resolve().parent == self._shipped.resolve()
        else:
            inside = True
        if not inside or not folder.is_dir():
            names = sorted(p.name for p in self._shipped.glob("*/") if p.is_dir())
            known = f"Shipped: {', '.join(names)}." if names else "None is shipped."
            raise NotFound(
                f"There is no folder and no shipped intern {source!r}.",
                f"Give a finished version folder, or a name. {known}",
            )
        version = self._desk.registry.register(folder, source="import")
        return self._changed(version.profile.name, f"version {version.number} imported")

    def corrections(self, name: str | None) -> Jsons:
        """Return what humans changed or refused, newest first."""
        chosen = select(CorrectionRow).order_by(col(CorrectionRow.id).desc())
        if name is not None:
            self._desk.registry.get(name)
            chosen = chosen.where(CorrectionRow.intern == name)
        with session(self._desk.engine) as db:
            return [correction_json(row) for row in db.exec(chosen).all()]

    def _json(self, intern: Intern, corrections: int) -> Json:
        return intern_json(intern, corrections, base_sha256=self._desk.base.sha256)

    def _changed(self, name: str, what: str) -> Json:
        self._desk.roster_changed()
        with session(self._desk.engine) as db:
            note(db, EventKind.INTERN_CHANGED, data={"name": name, "what": what})
        return self.get(name)

    def _corrections(self) -> dict[str, int]:
        chosen = select(CorrectionRow.intern, func.count()).group_by(col(CorrectionRow.intern))
        with session(self._desk.engine) as db:
            return {name: count for name, count in db.exec(chosen).all() if name is not None}
