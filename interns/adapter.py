"""A LoRA as the runtime sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Adapter:
    """A GGUF LoRA on disk, identified by content.

    Attributes:
        path: The ``adapter.gguf`` file.
        sha256: Hash of the file, 64 hex digits; part of every KV cache key.
        base_sha256: Hash of the base GGUF the adapter was trained on.
        scale: Strength, 1.0 as trained.
        name: What a remote engine serves it as, ``name@n``; says nothing about the content.
    """

    path: Path
    sha256: str
    base_sha256: str
    scale: float = 1.0
    name: str = field(default="", compare=False)
