"""A text document as it was read from disk, before it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Document:
    """Decoded text of one file; chunk and citation offsets refer to `text`.

    Attributes:
        path: Absolute path of the file.
        title: First heading, else the file's name.
        kind: How the text is structured: `markdown`, `rst`, `html`, `text` or `code`.
        encoding: How the bytes were decoded.
        sha256: Of the file's bytes; equal means unchanged.
        size_bytes: Of the file.
        text: With line feeds only, no byte order mark and no NUL.
    """

    path: Path
    title: str
    kind: str
    encoding: str
    sha256: str
    size_bytes: int
    text: str


@dataclass(frozen=True)
class SkippedFile:
    """A file that was left out, and why, in words for a person."""

    path: Path
    reason: str
