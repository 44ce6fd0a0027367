"""A passage of a document: an exact character span under its headings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Chunk:
    """Equal to `document.text[start:end]`; offsets count code points.

    Attributes:
        ordinal: Place in the document, from 0.
        start: First character.
        end: One past the last character.
        heading: Headings above it, outermost first, joined by " > "; may be empty.
        text: The span itself.
    """

    ordinal: int
    start: int
    end: int
    heading: str
    text: str

    @property
    def digest(self) -> str:
        """Twelve hex digits over heading and text, the part of a vector's key that content owns."""
        return hashlib.sha256(f"{self.heading}\0{self.text}".encode()).hexdigest()[:12]
