"""Which base model all interns of an office share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BaseModelRef:
    """A base in GGUF form, named by its content.

    Attributes:
        name: Short name, such as ``starter``.
        gguf: The file llama.cpp serves and the torch copy is dequantized from.
        sha256: Hash of that file, 64 hex digits; adapters are bound to it.
        tokenizer: Folder with ``tokenizer.json`` for the Hugging Face side.
    """

    name: str
    gguf: Path
    sha256: str
    tokenizer: Path
