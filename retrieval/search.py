"""Hybrid search: full text and vectors, each ranking passages, fused into one list of hits."""

from __future__ import annotations

from sqlmodel import col, select

from interns.database import session
from interns.errors import InvalidInput
from retrieval.fusion import fuse
from retrieval.hit import Hit
from retrieval.index import KnowledgeIndex
from retrieval.keyword import keyword_search
from retrieval.tables import ChunkRow, DocumentRow

WEIGHTS = {"dense": 1.0, "keyword": 0.6}
DEPTH = 50


def search(index: KnowledgeIndex, query: str, collection: str | None, limit: int = 5) -> list[Hit]:
    """Return the passages that fit the query best, best first.

    Args:
        index: The office's knowledge.
        query: Any text of a person.
        collection: Name of the knowledge; an unknown one has no passages. None means all.
        limit: Most hits, 1 to 50.

    Returns:
        Hits whose text equals the stored document's text from start to end. A weak fit is
        returned too: `similarity` says how near it is.

    Raises:
        InvalidInput: `limit` is out of range.
    """
    if not 1 <= limit <= DEPTH:
        raise InvalidInput(
            f"A search returns 1 to {DEPTH} passages, not {limit}.", "Change the limit."
        )
    if not query.strip():
        return []
    names = [str(row["name"]) for row in index.list()] if collection is None else [collection]
    vector = index.embedder.embed([query])[0]
    near = [pair for name in names for pair in index.nearest(vector, name, DEPTH)]
    similarity = dict(sorted(near, key=lambda pair: -pair[1])[:DEPTH])
    with session(index.engine) as opened:
        keyword = keyword_search(opened, query, names, DEPTH)
        fused = fuse(
            {"dense": list(similarity), "keyword": [chunk_id for chunk_id, _ in keyword]}, WEIGHTS
        )
        rows = opened.exec(
            select(ChunkRow, DocumentRow)
            .join(DocumentRow, col(ChunkRow.document_id) == col(DocumentRow.id))
            .where(col(ChunkRow.id).in_(list(fused)), col(DocumentRow.collection).in_(names))
        ).all()
    found = {chunk.id: (chunk, document) for chunk, document in rows}
    best = [found[chunk_id] for chunk_id in fused if chunk_id in found][:limit]
    for name in names:  # passages that only the full text found
        lacking = [c for c, d in best if d.collection == name and c.id not in similarity]
        similarity |= index.similarities(vector, name, lacking)
    return [
        Hit(
            document_id=chunk.document_id,
            path=document.path,
            title=document.title,
            chunk_id=chunk.id or 0,
            start=chunk.start,
            end=chunk.end,
            text=chunk.text,
            score=fused[chunk.id or 0],
            heading=chunk.heading,
            similarity=similarity.get(chunk.id or 0, 0.0),
        )
        for chunk, document in best
    ]
