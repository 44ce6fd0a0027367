"""Vectors in Chroma: a copy that can be thrown away and made again from SQL.

One process may own the folder at a time. Inside it, each generation of the store has a folder of
its own, so that a broken one is left behind and never opened again by the same process.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import VectorStoreBroken

Vectors = NDArray[np.float32]
Result = TypeVar("Result")

BATCH = 1000
OPENING = ".opening"
LOG = logging.getLogger(__name__)


class DenseIndex:
    """Nearest vectors by cosine, per knowledge collection; every call may come from any thread.

    Each method raises `VectorStoreBroken` when the store can not be used; `reset` then helps.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """Name the folder; nothing is opened yet.

        Args:
            folder: Owned by this index alone.
            fingerprint: Of the embedding model; vectors of another one are never compared.
        """
        self._folder = folder
        self._fingerprint = fingerprint
        self._lock = threading.RLock()
        self._client: Any = None

    def keys(self, collection: str) -> set[str]:
        """Return the keys of all stored vectors."""

        def read() -> set[str]:
            return set(self._collection(collection).get(include=[])["ids"])

        return self._guarded(read)

    def upsert(self, collection: str, keys: Sequence[str], vectors: Vectors) -> None:
        """Store vectors, one per key."""

        def write() -> None:
            store = self._collection(collection)
            for first in range(0, len(keys), BATCH):
                part = slice(first, first + BATCH)
                store.upsert(ids=list(keys[part]), embeddings=vectors[part])

        if keys:
            self._guarded(write)

    def delete(self, collection: str, keys: Iterable[str]) -> None:
        """Remove vectors; unknown keys are passed over."""

        def write() -> None:
            store, gone = self._collection(collection), list(keys)
            for first in range(0, len(gone), BATCH):
                store.delete(ids=gone[first : first + BATCH])

        self._guarded(write)

    def query(self, collection: str, vector: Vectors, limit: int) -> list[tuple[str, float]]:
        """Return up to `limit` keys with their cosine to the vector, nearest first."""

        def read() -> list[tuple[str, float]]:
            store = self._collection(collection)
            count = min(limit, store.count())
            if not count:
                return []
            found = store.query(query_embeddings=[vector], n_results=count, include=["distances"])
            pairs = zip(found["ids"][0], found["distances"][0], strict=True)
            return [(key, 1.0 - float(distance)) for key, distance in pairs]

        return self._guarded(read)

    def vectors(self, collection: str, keys: Sequence[str]) -> dict[str, Vectors]:
        """Return the stored vectors of these keys; unknown keys are left out."""

        def read() -> dict[str, Vectors]:
            found = self._collection(collection).get(ids=list(keys), include=["embeddings"])
            return dict(zip(found["ids"], np.asarray(found["embeddings"], np.float32), strict=True))

        return self._guarded(read) if keys else {}

    def drop(self, collection: str) -> None:
        """Remove one collection with all of its vectors."""

        def write() -> None:
            name = self._name(collection)
            if name in {found.name for found in self._opened().list_collections()}:
                self._opened().delete_collection(name)

        self._guarded(write)

    def reset(self) -> None:
        """Leave everything behind and begin an empty store."""
        with self._lock:
            generations = self._generations()
            self.close()
            fresh = self._folder / f"store-{max(generations, default=0) + 1}"
            fresh.mkdir(parents=True)
            for number in generations:
                shutil.rmtree(self._folder / f"store-{number}", ignore_errors=True)

    def close(self) -> None:
        """Let go of the folder; the next call opens it again."""
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def _guarded(self, action: Callable[[], Result]) -> Result:
        with self._lock:
            try:
                return action()
            except VectorStoreBroken:
                raise
            except BaseException as error:
                # Chroma's Rust core reports a corrupt file as a panic, which is no Exception.
                if isinstance(error, Exception) or type(error).__name__ == "PanicException":
                    raise VectorStoreBroken(
                        f"The vector store in {self._folder} can not be used: {error}",
                        "Nothing is lost: it is made again from the database.",
                    ) from error
                raise

    def _collection(self, collection: str) -> Any:
        return self._opened().get_or_create_collection(
            self._name(collection),
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_search": 200, "ef_construction": 200}},
        )

    def _name(self, collection: str) -> str:
        identity = f"{self._fingerprint}\0{collection}"
        return f"k-{hashlib.sha256(identity.encode()).hexdigest()[:24]}"

    def _opened(self) -> Any:
        if self._client is None:
            self._client = self._open()
        return self._client

    def _open(self) -> Any:
        folder = self._folder / f"store-{max(self._generations(), default=1)}"
        folder.mkdir(parents=True, exist_ok=True)
        opening = folder / OPENING
        if opening.exists():
            raise VectorStoreBroken(f"The process ended while it opened {folder}.")
        opening.touch()
        # Imported late: a second saved by everything that searches nothing.
        library: Any = importlib.import_module("chromadb")
        config: Any = importlib.import_module("chromadb.config")
        client = library.PersistentClient(
            str(folder), settings=config.Settings(anonymized_telemetry=False)
        )
        for found in client.list_collections():  # read each index once, while we are warned
            probe = found.get(limit=1, include=["embeddings"])
            if probe["ids"]:
                found.query(query_embeddings=probe["embeddings"], n_results=1)
        opening.unlink()
        return client

    def _generations(self) -> list[int]:
        names = (entry.name.removeprefix("store-") for entry in self._folder.glob("store-*"))
        return sorted(int(name) for name in names if name.isdigit())
