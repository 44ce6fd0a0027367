"""Full-text search with FTS5: any text a person types is a safe query."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import bindparam, text
from sqlmodel import Session

MAX_TERMS = 48
HEADING_WEIGHT = 2.0

_TERM = re.compile(r"\w+", re.UNICODE)
_STOP_WORDS = frozenset([
    *("a", "about", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can"),
    *("could", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "his", "how"),
    *("i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our", "please", "she"),
    *("should", "so", "some", "than", "that", "the", "their", "them", "there", "these", "they"),
    *("this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will"),
    *("with", "would", "you", "your"),
])  # fmt: skip

_SEARCH = text(
    """
    SELECT chunks_fts.rowid, -bm25(chunks_fts, :heading_weight, 1.0) AS score
    FROM chunks_fts
    JOIN chunks ON chunks.id = chunks_fts.rowid
    JOIN documents ON documents.id = chunks.document_id
    WHERE chunks_fts MATCH :query AND documents.collection IN :collections
    ORDER BY score DESC, chunks_fts.rowid
    LIMIT :limit
    """
).bindparams(bindparam("collections", expanding=True))


def keyword_search(
    session: Session, query: str, collections: Sequence[str], limit: int
) -> list[tuple[int, float]]:
    """Return up to `limit` chunk ids with their BM25 score, best first.

    Only passages of the named collections are found. A passage needs one of the query's words,
    not all; words are stemmed, case and accents do not count. Operators and quotes in the query
    have no meaning.
    """
    expression = match_expression(query)
    if not expression:
        return []
    rows = session.connection().execute(
        _SEARCH,
        {
            "query": expression,
            "collections": list(collections),
            "limit": limit,
            "heading_weight": HEADING_WEIGHT,
        },
    )
    return [(int(chunk_id), float(score)) for chunk_id, score in rows]


def match_expression(query: str) -> str:
    """Return an FTS5 expression that means any of the query's words, empty when it has none."""
    # Lone surrogates can not be bound as SQLite text; each term is quoted, so none is an operator.
    clean = query.encode("utf-8", "replace").decode("utf-8")
    terms = list(dict.fromkeys(term.lower() for term in _TERM.findall(clean)))
    telling = [term for term in terms if term not in _STOP_WORDS] or terms
    return " OR ".join(f'"{term}"' for term in telling[:MAX_TERMS])
