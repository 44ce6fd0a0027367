"""Whom a base owes its texts: from ``SOURCE.md`` files to the ``ATTRIBUTION.md`` beside its card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.pretraining.corpus import SUFFIX, note_of, read_rows

FILE = "ATTRIBUTION.md"
_HEAD = """# Attribution

Whose texts the base learned from, as the notes beside the sources state it. Only the file named was
read, even where a note speaks of others beside it. Changed in form: cleaned, cut into rows, and some
of it rendered as chats. No file of these sources is part of this project.
"""
# The lines of a note that say who, where and on what terms; a list of parts names their commits.
_TOLD = re.compile(
    r"^- (?:Source repo|Commit of|Upstream path|Licence caution|.* @ [0-9a-f]{7}).*$", re.M
)


def attribution_of(path: Path, licence: str) -> str:
    """The entry of one source file; blank where no note lies beside it.

    Args:
        path: The file that is read.
        licence: On what terms, as the card says it.

    Raises:
        BrokenFile: It is a corpus file, and truncated or foreign.
    """
    note = note_of(path)
    if not note:
        return ""
    title = note.partition("\n")[0].lstrip("# ")
    lines = [title, "", f"- File read: {path.name}", *_TOLD.findall(note), f"- Licence: {licence}"]
    return "\n".join([*lines, *_authors(path)])


def write_attribution(sources: Iterable[Mapping[str, Any]]) -> str:
    """``ATTRIBUTION.md`` from the sources of a run's facts; those without a note are left out."""
    entries = [
        f"## {source['name']}\n\n{source['attribution']}\n"
        for source in sources
        if source.get("attribution")
    ]
    return "\n".join([_HEAD, *entries])


def _authors(path: Path) -> list[str]:
    """Works whose rows name their author, one a line."""
    rows = read_rows(path) if path.name.endswith(SUFFIX) else ()
    works = [
        f"  - {row.get('title', row.get('id'))}, by {row['author']}, {row.get('licence')}"
        for row in rows
        if row.get("author")
    ]
    return ["- Works, each with its author and licence:", *works] if works else []
