"""Documents and passages in SQL: written, replaced, removed and listed in single transactions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, text
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from interns.database import session, write_session
from interns.errors import NoSpace
from retrieval.chunk import Chunk
from retrieval.document import Document
from retrieval.tables import FULL_TEXT_REBUILD, ChunkRow, DocumentRow

Listing = list[dict[str, Any]]

_COLLECTIONS = text(
    """
    SELECT collection AS name, count(*) AS documents,
           (SELECT count(*) FROM chunks JOIN documents AS d ON d.id = chunks.document_id
            WHERE d.collection = documents.collection) AS chunks,
           sum(length(text)) AS characters, max(added_at) AS updated_at
    FROM documents GROUP BY collection ORDER BY collection
    """
)
_DOCUMENTS = text(
    """
    SELECT id, path, title, kind, encoding, length(text) AS characters, added_at
    FROM documents WHERE collection = :collection ORDER BY path
    """
)


def key_of(chunk: ChunkRow) -> str:
    """Name a passage's vector by its row and its content, so that neither can be mistaken."""
    return f"{chunk.id}:{chunk.digest}"


def chunk_id_of(key: str) -> int:
    """Return the passage's row id of a key made by `key_of`."""
    return int(key.partition(":")[0])


def list_collections(engine: Engine) -> Listing:
    """Return name, documents, chunks, characters and updated_at of every collection."""
    with session(engine) as opened:
        return [dict(row) for row in opened.connection().execute(_COLLECTIONS).mappings()]


def list_documents(engine: Engine, collection: str) -> Listing:
    """Return id, path, title, kind, encoding, characters and added_at of every document."""
    with session(engine) as opened:
        rows = opened.connection().execute(_DOCUMENTS, {"collection": collection})
        return [dict(row) for row in rows.mappings()]


def stored_hash(engine: Engine, collection: str, path: Path) -> str | None:
    """Return the hash of the file as it was stored, or None."""
    with session(engine) as opened:
        return opened.exec(
            select(DocumentRow.sha256).where(
                DocumentRow.collection == collection, DocumentRow.path == str(path)
            )
        ).one_or_none()


def list_chunks(engine: Engine, collection: str) -> list[ChunkRow]:
    """Return every passage of a collection."""
    with session(engine) as opened:
        query = (
            select(ChunkRow)
            .join(DocumentRow, col(ChunkRow.document_id) == col(DocumentRow.id))
            .where(DocumentRow.collection == collection)
        )
        return list(opened.exec(query))


def write_document(
    engine: Engine, document: Document, chunks: Sequence[Chunk], collection: str
) -> tuple[list[ChunkRow], list[str]]:
    """Store a document in place of the one with its path.

    Returns:
        The new passages, and the vector keys of the passages they replace.

    Raises:
        NoSpace: The disk is full; nothing changed.
    """
    try:
        with write_session(engine) as opened:
            same = select(DocumentRow).where(
                DocumentRow.collection == collection, DocumentRow.path == str(document.path)
            )
            stored = opened.exec(same).one_or_none()
            replaced: list[str] = []
            if stored is not None:
                old = select(ChunkRow).where(ChunkRow.document_id == stored.id)
                replaced = [key_of(chunk) for chunk in opened.exec(old)]
                opened.delete(stored)
                opened.flush()
            row = _document_row(document, collection)
            opened.add(row)
            opened.flush()
            rows = [_chunk_row(chunk, row.id or 0) for chunk in chunks]
            opened.add_all(rows)
    except OperationalError as error:
        if "full" not in str(error.orig):
            raise
        raise NoSpace(
            f"The disk is full; {document.path} was not added.",
            "Make room and add it again; what was added before is kept.",
        ) from error
    return rows, replaced


def remove_documents(engine: Engine, collection: str, inside: Path | None) -> int:
    """Remove a collection's documents, all or those at or below a path; return how many."""
    with write_session(engine) as opened:
        rows = opened.exec(
            select(DocumentRow.id, DocumentRow.path).where(DocumentRow.collection == collection)
        ).all()
        gone = [
            document_id
            for document_id, path in rows
            if inside is None or Path(path) == inside or inside in Path(path).parents
        ]
        for document_id in gone:
            opened.connection().execute(
                delete(DocumentRow).where(col(DocumentRow.id) == document_id)
            )
    return len(gone)


def rebuild_full_text(engine: Engine) -> None:
    """Make the full-text index again from the passages."""
    with write_session(engine) as opened:
        opened.connection().execute(text(FULL_TEXT_REBUILD))


def _document_row(document: Document, collection: str) -> DocumentRow:
    return DocumentRow(
        collection=collection,
        path=str(document.path),
        title=document.title,
        kind=document.kind,
        encoding=document.encoding,
        sha256=document.sha256,
        size_bytes=document.size_bytes,
        text=document.text,
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _chunk_row(chunk: Chunk, document_id: int) -> ChunkRow:
    return ChunkRow(
        document_id=document_id,
        ordinal=chunk.ordinal,
        start=chunk.start,
        end=chunk.end,
        heading=chunk.heading,
        text=chunk.text,
        digest=chunk.digest,
    )
