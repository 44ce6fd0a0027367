"""A citation is a span of stored text; it resolves to exactly those characters or not at all."""

from __future__ import annotations

import re

from sqlalchemy import Engine

from interns.database import session
from interns.errors import InvalidInput, NotFound
from retrieval.tables import DocumentRow


def resolve(engine: Engine, document_id: int, start: int, end: int) -> str:
    """Return the cited characters [start, end) of a stored document.

    Raises:
        NotFound: The document is gone; a changed file is a new document, so a citation never
            shows other words than those it was made with.
        InvalidInput: The span is empty or not inside the document.
    """
    with session(engine) as opened:
        row = opened.get(DocumentRow, document_id)
    if row is None:
        raise NotFound(
            f"Document {document_id} is no longer stored: it was removed, or its file changed.",
            "Search again for the present text.",
        )
    if not 0 <= start < end <= len(row.text):
        raise InvalidInput(
            f"Characters {start} to {end} are not inside {row.path} ({len(row.text)} characters).",
            "Name a part of it.",
        )
    return row.text[start:end]


def find_quote(
    text: str, quote: str, *, start: int = 0, end: int | None = None
) -> tuple[int, int] | None:
    """Return where a quote stands in a text, or None.

    Any run of white space in the quote matches any run in the text; all else must be equal.

    Args:
        text: Searched for the first match.
        quote: With at least one visible character, else nothing is found.
        start: First character searched.
        end: One past the last character searched; None means to the end.
    """
    words = quote.split()
    if not words:
        return None
    pattern = re.compile(r"\s+".join(re.escape(word) for word in words))
    match = pattern.search(text, start, len(text) if end is None else end)
    return match.span() if match else None
