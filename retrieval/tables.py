"""Rows of the knowledge index: documents, their chunks, and the full-text table over them.

SQL is the source of truth. Chroma's vectors are derived from `chunks` and can be thrown away.

Offsets count Unicode code points, as Python's `str` does, and are half open: `[start, end)`.
Ids are never reused (AUTOINCREMENT), so an old vector can not be taken for a new chunk.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import Text
from sqlmodel import Field, SQLModel, UniqueConstraint


class DocumentRow(SQLModel, table=True):
    """One text file of a collection, with all of its text."""

    __tablename__: ClassVar[str] = "documents"
    __table_args__ = (
        UniqueConstraint("collection", "path", name="uq_documents_collection_path"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    collection: str = Field(index=True)
    path: str
    title: str
    kind: str
    encoding: str
    sha256: str
    size_bytes: int
    text: str = Field(sa_type=Text)
    added_at: str


class ChunkRow(SQLModel, table=True):
    """One passage: exactly `documents.text[start:end]`, under the headings above it."""

    __tablename__: ClassVar[str] = "chunks"
    __table_args__ = (
        UniqueConstraint("document_id", "ordinal", name="uq_chunks_document_ordinal"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, primary_key=True)
    document_id: int = Field(foreign_key="documents.id", ondelete="CASCADE", index=True)
    ordinal: int
    start: int
    end: int
    heading: str
    text: str = Field(sa_type=Text)
    digest: str


FULL_TEXT_DDL: tuple[str, ...] = (
    """
    CREATE VIRTUAL TABLE chunks_fts USING fts5(
        heading, text,
        content = 'chunks', content_rowid = 'id',
        tokenize = 'porter unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE TRIGGER chunks_fts_insert AFTER INSERT ON chunks BEGIN
        INSERT INTO chunks_fts (rowid, heading, text) VALUES (new.id, new.heading, new.text);
    END
    """,
    """
    CREATE TRIGGER chunks_fts_delete AFTER DELETE ON chunks BEGIN
        INSERT INTO chunks_fts (chunks_fts, rowid, heading, text)
        VALUES ('delete', old.id, old.heading, old.text);
    END
    """,
    """
    CREATE TRIGGER chunks_fts_update AFTER UPDATE ON chunks BEGIN
        INSERT INTO chunks_fts (chunks_fts, rowid, heading, text)
        VALUES ('delete', old.id, old.heading, old.text);
        INSERT INTO chunks_fts (rowid, heading, text) VALUES (new.id, new.heading, new.text);
    END
    """,
)
"""Statements a migration runs once, in order, after `chunks` exists.

`chunks_fts` is an FTS5 index over `chunks` (external content: it stores no text of its own), kept
equal by three triggers, also when a document's chunks go by `ON DELETE CASCADE`. SQLite makes
`chunks_fts_data`, `_idx`, `_docsize` and `_config` for it; none of them is in the metadata.
"""

FULL_TEXT_REBUILD = "INSERT INTO chunks_fts (chunks_fts) VALUES ('rebuild')"
"""Makes the full-text index anew from `chunks`."""

FULL_TEXT_CHECK = "INSERT INTO chunks_fts (chunks_fts, rank) VALUES ('integrity-check', 1)"
"""Fails when the full-text index and `chunks` differ."""
