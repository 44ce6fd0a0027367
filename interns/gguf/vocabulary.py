"""A Hugging Face byte-level BPE tokenizer as GGUF metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf.constants import TokenType

from interns.errors import BrokenFile, Incompatible

_LLAMA3 = r"\p{N}{1,3}"
_QWEN2 = r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp needs to tokenize like the Hugging Face tokenizer.

    Attributes:
        tokens: By id, holes filled.
        kinds: Token type of each.
        merges: Pairs joined by a space, best first.
        pre: Name of the pre-tokenizer in llama.cpp.
        ids: Token text to id.
    """

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    pre: str
    ids: Mapping[str, int]


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """Read ``tokenizer.json``.

    Args:
        folder: Folder that holds it.
        size: Rows of the embedding; ids without a token become unused ones.

    Raises:
        BrokenFile: It is missing or damaged.
        Incompatible: It is no byte-level BPE of a known kind.
    """
    try:
        data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model, added = data["model"], data.get("added_tokens") or []
        vocab: dict[str, int] = dict(model["vocab"])
    except (OSError, ValueError, KeyError) as error:
        raise BrokenFile(
            f"{folder.name} has no readable tokenizer.json.", "Add the tokenizer of the base."
        ) from error
    if model.get("type") != "BPE" or data.get("normalizer"):
        raise Incompatible("Only byte-level BPE tokenizers are supported.", "Choose another base.")
    vocab.update({item["content"]: item["id"] for item in added})
    if max(vocab.values()) >= size:
        raise Incompatible(
            "The tokenizer has more tokens than the base has rows.", "Check the base."
        )
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    for token, i in vocab.items():
        tokens[i], kinds[i] = token, int(TokenType.NORMAL)
    for item in added:
        kind = TokenType.CONTROL if item.get("special") else TokenType.USER_DEFINED
        kinds[item["id"]] = int(kind)
    merges = tuple(m if isinstance(m, str) else " ".join(m) for m in model["merges"])
    return Vocabulary(tuple(tokens), tuple(kinds), merges, _pre(data.get("pre_tokenizer")), vocab)


def _pre(pre: Mapping[str, Any] | None) -> str:
    steps = (pre or {}).get("pretokenizers") or [pre or {}]
    kinds = [step.get("type") for step in steps]
    patterns = [str((step.get("pattern") or {}).get("Regex", "")) for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and _LLAMA3 in patterns[0]:
        return "llama-bpe"
    if kinds == ["Split", "ByteLevel"] and _QWEN2 in patterns[0]:
        return "qwen2"
    raise Incompatible(
        f"The tokenizer splits text in a way that is not known ({', '.join(map(str, kinds))}).",
        "Choose another base.",
    )
