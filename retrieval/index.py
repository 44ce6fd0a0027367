"""The knowledge of an office: documents and passages in SQL, their vectors in Chroma.

SQL is written first and decides. Vectors are compared with it when a collection is first used and
made again where they differ, so a killed process or a lost folder costs time and nothing else.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine

from interns.errors import InvalidInput, NotFound
from retrieval.chunking import chunk_document
from retrieval.dense import DenseIndex
from retrieval.document import Document, SkippedFile
from retrieval.embedder import Embedder, Vectors
from retrieval.errors import VectorStoreBroken
from retrieval.loading import find_files, load
from retrieval.report import AddReport
from retrieval.stored import (
    Listing,
    chunk_id_of,
    key_of,
    list_chunks,
    list_collections,
    list_documents,
    rebuild_full_text,
    remove_documents,
    stored_hash,
    write_document,
)
from retrieval.tables import ChunkRow

LOG = logging.getLogger(__name__)
EMBEDDED_AT_ONCE = 256
COLLECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Progress = Callable[[int, int, str], None]
Ranking = list[tuple[int, float]]
Result = TypeVar("Result")


class KnowledgeIndex:
    """Adds, removes and finds passages; one instance per data directory, any thread."""

    def __init__(
        self,
        engine: Engine,
        vectors: Path,
        embedder: Embedder,
        *,
        chunk_tokens: int = 200,
        overlap_tokens: int = 40,
    ) -> None:
        """Join the parts; nothing is read yet.

        Args:
            engine: An open, migrated database.
            vectors: Chroma's folder, used by this index alone.
            embedder: Makes the vectors.
            chunk_tokens: Most tokens of a passage.
            overlap_tokens: Most tokens neighbouring passages share.
        """
        self.engine = engine
        self.embedder = embedder
        self._dense = DenseIndex(vectors, embedder.fingerprint)
        self._chunk_tokens = chunk_tokens
        self._overlap_tokens = overlap_tokens
        self._writing = threading.RLock()
        self._in_step: set[str] = set()

    def add(self, path: Path, collection: str, *, progress: Progress | None = None) -> AddReport:
        """Add a file, or all text files of a folder; what is stored and unchanged costs nothing.

        Args:
            path: File or folder.
            collection: Name of the knowledge, made if new.
            progress: Called before each file with its number, how many there are and its path.

        Raises:
            NotFound: Nothing is at `path`.
            InvalidInput: The name is unusable, or not one file is text; the reasons are named.
            NoSpace: The disk is full; files finished before stay.
        """
        check_name(collection)
        files = find_files(path)
        outcomes: dict[str, list[str]] = {"added": [], "changed": [], "unchanged": []}
        skipped: list[SkippedFile] = []
        chunks = 0
        for number, file in enumerate(files, start=1):
            if progress:
                progress(number, len(files), str(file))
            loaded = load(file)
            if isinstance(loaded, SkippedFile):
                skipped.append(loaded)
                continue
            outcome, written = self._store(loaded, collection)
            outcomes[outcome].append(str(file))
            chunks += written
        if not any(outcomes.values()):
            raise _nothing_usable(path, skipped)
        return AddReport(
            collection=collection,
            added=tuple(outcomes["added"]),
            changed=tuple(outcomes["changed"]),
            unchanged=tuple(outcomes["unchanged"]),
            skipped=tuple(skipped),
            missing=self._missing(path, collection),
            chunks=chunks,
        )

    def remove(self, collection: str, path: Path | None = None) -> int:
        """Remove a file, a folder's files, or the whole collection; return how many documents.

        Raises:
            NotFound: Nothing stored is meant by it.
        """
        with self._writing:
            gone = remove_documents(self.engine, collection, path.resolve() if path else None)
            if not gone:
                raise NotFound(
                    f"Nothing of {path or 'any file'} is in the knowledge {collection!r}.",
                    "See `interns knowledge list`.",
                )
            self.heal(collection)
        return gone

    def list(self) -> Listing:
        """Return name, documents, chunks, characters and updated_at of every collection."""
        return list_collections(self.engine)

    def documents(self, collection: str) -> Listing:
        """Return id, path, title, kind, encoding, characters and added_at of every document."""
        return list_documents(self.engine, collection)

    def rebuild(self) -> int:
        """Make the full-text index and all vectors again from SQL; return the vectors made."""
        with self._writing:
            rebuild_full_text(self.engine)
            self._reset()
            return sum(self.heal(str(row["name"])) for row in self.list())

    def heal(self, collection: str) -> int:
        """Bring the vectors of a collection in step with SQL; return how many were made.

        Cheap when nothing differs, and done by itself before a collection is first used.
        """
        with self._writing:
            try:
                return self._sync(collection)
            except VectorStoreBroken as error:
                LOG.warning("Vectors are made again: %s", error)
                self._reset()
                return self._sync(collection)

    def nearest(self, vector: Vectors, collection: str, limit: int) -> Ranking:
        """Return up to `limit` chunk ids with their cosine to the vector, nearest first."""
        found = self._with_vectors(collection, lambda: self._dense.query(collection, vector, limit))
        return [(chunk_id_of(key), similarity) for key, similarity in found]

    def similarities(
        self, vector: Vectors, collection: str, chunks: Sequence[ChunkRow]
    ) -> dict[int, float]:
        """Return the cosine of each passage to the vector, by chunk id."""
        keys = [key_of(chunk) for chunk in chunks]
        found = self._with_vectors(collection, lambda: self._dense.vectors(collection, keys))
        return {chunk_id_of(key): float(stored @ vector) for key, stored in found.items()}

    def close(self) -> None:
        """Let go of Chroma's folder; the next use opens it again."""
        with self._writing:
            self._dense.close()
            self._in_step.clear()

    def _store(self, document: Document, collection: str) -> tuple[str, int]:
        """Store one document and its vectors; return what happened and the passages written."""
        known = stored_hash(self.engine, collection, document.path)
        if known == document.sha256:
            return "unchanged", 0
        chunks = chunk_document(
            document,
            self.embedder.count_tokens,
            size=self._chunk_tokens,
            overlap=self._overlap_tokens,
        )
        with self._writing:
            if collection not in self._in_step:
                self.heal(collection)
            rows, replaced = write_document(self.engine, document, chunks, collection)
            # Until the vectors follow, another start of the process must compare again.
            self._in_step.discard(collection)
            try:
                self._dense.delete(collection, replaced)
                self._embed(collection, rows)
                self._in_step.add(collection)
            except VectorStoreBroken:
                self.heal(collection)
        return ("changed" if known else "added"), len(rows)

    def _with_vectors(self, collection: str, action: Callable[[], Result]) -> Result:
        if collection not in self._in_step:
            self.heal(collection)
        try:
            return action()
        except VectorStoreBroken as error:
            LOG.warning("Vectors are made again: %s", error)
            with self._writing:
                self._reset()
                self.heal(collection)
            return action()

    def _sync(self, collection: str) -> int:
        wanted = {key_of(row): row for row in list_chunks(self.engine, collection)}
        present = self._dense.keys(collection)
        self._dense.delete(collection, present - wanted.keys())
        absent = [row for key, row in wanted.items() if key not in present]
        self._embed(collection, absent)
        self._in_step.add(collection)
        return len(absent)

    def _embed(self, collection: str, rows: Sequence[ChunkRow]) -> None:
        for first in range(0, len(rows), EMBEDDED_AT_ONCE):
            part = rows[first : first + EMBEDDED_AT_ONCE]
            vectors = self.embedder.embed([f"{row.heading}\n{row.text}" for row in part])
            self._dense.upsert(collection, [key_of(row) for row in part], vectors)

    def _reset(self) -> None:
        self._in_step.clear()
        self._dense.reset()

    def _missing(self, path: Path, collection: str) -> tuple[str, ...]:
        folder = path.resolve()
        stored = (Path(row["path"]) for row in self.documents(collection))
        return tuple(str(file) for file in stored if folder in file.parents and not file.is_file())


def check_name(collection: str) -> None:
    """Refuse names that can not be a collection.

    Raises:
        InvalidInput: With what a name may hold.
    """
    if not COLLECTION_NAME.fullmatch(collection):
        raise InvalidInput(
            f"{collection!r} can not name knowledge.",
            "Use 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first.",
        )


def _nothing_usable(path: Path, skipped: Sequence[SkippedFile]) -> InvalidInput:
    if not skipped:
        return InvalidInput(f"{path} holds no files.", "Name a folder with text documents.")
    if len(skipped) == 1:
        return InvalidInput(
            f"{skipped[0].path} was not added: {skipped[0].reason}.", "Name a text document."
        )
    listed = "; ".join(f"{file.path.name}: {file.reason}" for file in skipped[:5])
    return InvalidInput(
        f"None of the {len(skipped)} files in {path} is usable ({listed}).",
        "Name a folder with text documents.",
    )
