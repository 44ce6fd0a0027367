"""The office's documents: add, list and search, as plain dictionaries."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from interns.database import session
from interns.errors import InvalidInput
from orchestrator.desk import Desk
from orchestrator.event import EventKind
from orchestrator.journal import note

Json = dict[str, Any]
Jsons = list[Json]  # before a method called `list` hides the type


class Library:
    """Documents by collection.

    Args:
        desk: What the office works with.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def add(self, path: Path, name: str) -> Json:
        """Index a file or a folder into collection `name`; unchanged files are left alone.

        Raises:
            InvalidInput: The path is not there, or the collection has no name.
        """
        if not name.strip():
            raise InvalidInput("The collection needs a name.", "Give one with --name.")
        if not path.exists():
            raise InvalidInput(f"There is nothing at {path}.", "Check the path.")
        report = as_json(self._desk.index.get().add(path, name))
        with session(self._desk.engine) as db:
            note(db, EventKind.KNOWLEDGE_CHANGED, data={"name": name})
        return {"name": name, "path": str(path), **report}

    def list(self) -> Jsons:
        """Return what is indexed."""
        return [as_json(entry) for entry in self._desk.index.get().list()]

    def search(self, query: str, name: str | None, limit: int) -> Jsons:
        """Return the best passages with their exact place.

        Raises:
            InvalidInput: The query is empty.
        """
        if not query.strip():
            raise InvalidInput("The query is empty.", "Say what to look for.")
        return [as_json(hit) for hit in self._desk.search(query, name, limit)]


def as_json(value: Any) -> Any:
    """Return dataclasses, paths and sequences as plain values."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    if isinstance(value, dict):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
