"""What adding a file or a folder to the knowledge did."""

from __future__ import annotations

from dataclasses import dataclass

from retrieval.document import SkippedFile


@dataclass(frozen=True)
class AddReport:
    """Files by what became of them; paths are absolute.

    Attributes:
        collection: Where they were added.
        added: New files.
        changed: Files whose content replaced what was stored.
        unchanged: Files stored before with the same content.
        skipped: Files left out, each with a reason.
        missing: Stored files of that folder that are no longer on disk; they stay until removed.
        chunks: Passages written now.
    """

    collection: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()
    missing: tuple[str, ...] = ()
    chunks: int = 0
