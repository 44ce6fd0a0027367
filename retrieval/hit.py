"""One search result that can be cited."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hit:
    """A passage that matched; `text` equals the stored document's text from start to end.

    Attributes:
        document_id: The stored document; a changed file becomes a new document.
        path: Absolute path the document was read from.
        title: The document's title.
        chunk_id: The stored passage.
        start: First character in the stored document text.
        end: One past the last character.
        text: The passage.
        score: Fused rank score in (0, 1]; 1 is first in both the keyword and the dense ranking.
        heading: Headings above the passage, outermost first, joined by " > ".
        similarity: Cosine between query and passage in [-1, 1], comparable between queries.
    """

    document_id: int
    path: str
    title: str
    chunk_id: int
    start: int
    end: int
    text: str
    score: float
    heading: str = ""
    similarity: float = 0.0
