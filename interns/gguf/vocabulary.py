"""A Hugging Face tokenizer as the metadata llama.cpp reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter
from gguf.constants import TokenType

from interns.errors import Incompatible
from interns.gguf.sentencepiece_model import SPACE
from interns.gguf.tokenizer_json import (
    SPLITS,
    has_space_prefix,
    is_byte_level,
    refuse,
    steps,
)

_NO_SCORE = -1e6  # of tokens that no merge makes


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp needs to tokenize like the Hugging Face tokenizer.

    Attributes:
        model: ``gpt2`` for byte-level BPE, ``llama`` for SentencePiece.
        tokens: By id, holes filled.
        kinds: Token type of each.
        merges: For byte-level BPE: pairs joined by a space, best first.
        scores: For SentencePiece: the higher, the earlier a token is merged.
        pre: Name of the pre-tokenizer in llama.cpp.
        space_prefix: Whether a text starts with a space of its own.
        ids: Token text to id.
    """

    model: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    scores: tuple[float, ...]
    pre: str
    space_prefix: bool
    ids: Mapping[str, int]


def vocabulary_of(data: Mapping[str, Any], size: int) -> Vocabulary:
    """The vocabulary of a tokenizer that `read_tokenizer` gave.

    Args:
        data: Content of ``tokenizer.json``.
        size: Rows of the embedding; ids without a token become unused ones.

    Raises:
        Incompatible: llama.cpp cannot represent it.
    """
    model, added = data["model"], data.get("added_tokens") or []
    vocab: dict[str, int] = dict(model["vocab"])
    vocab.update({item["content"]: item["id"] for item in added})
    if max(vocab.values()) >= size:
        raise Incompatible(
            "The tokenizer has more tokens than the base has rows.", "Check the base."
        )
    tokens = [f"[PAD{i}]" for i in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    byte_level = is_byte_level(data)
    for token, i in vocab.items():
        tokens[i], kinds[i] = token, _kind(token, byte_level=byte_level)
    if model.get("unk_token") in vocab and not byte_level:
        kinds[vocab[model["unk_token"]]] = int(TokenType.UNKNOWN)
    for item in added:
        _place(item, model["vocab"], tokens, kinds)
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    if byte_level:
        pre = _pre(data)
        if bool(model.get("ignore_merges")) != (pre == "llama-bpe"):
            raise refuse("it takes whole words without their merges")
        joined = tuple(" ".join(merge) for merge in merges)
        return Vocabulary("gpt2", tuple(tokens), tuple(kinds), joined, (), pre, False, vocab)
    _check_sentencepiece(model, vocab)
    scores = _scores(tokens, merges)
    prefix = has_space_prefix(data)
    return Vocabulary("llama", tuple(tokens), tuple(kinds), (), scores, "default", prefix, vocab)


def write_vocabulary(
    writer: GGUFWriter, vocabulary: Vocabulary, special: Mapping[str, str]
) -> None:
    """Write the tokens and which of them are special."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(vocabulary.space_prefix)
    adders = {
        "bos_token": writer.add_bos_token_id,
        "eos_token": writer.add_eos_token_id,
        "pad_token": writer.add_pad_token_id,
    }
    for key, add in adders.items():
        if special.get(key) in vocabulary.ids:
            add(vocabulary.ids[special[key]])


def _kind(token: str, *, byte_level: bool) -> int:
    is_byte = not byte_level and len(token) == 6 and token.startswith("<0x") and token[-1] == ">"
    return int(TokenType.BYTE if is_byte else TokenType.NORMAL)


def _place(
    item: Mapping[str, Any], merged: Mapping[str, int], tokens: list[str], kinds: list[int]
) -> None:
    """Say what an added token is to llama.cpp."""
    i, text = item["id"], item["content"]
    if item.get("special"):
        unknown = kinds[i] == TokenType.UNKNOWN
        kinds[i] = int(TokenType.UNKNOWN if unknown else TokenType.CONTROL)
    elif SPACE in text and text in merged and not item.get("normalized"):
        kinds[i] = int(TokenType.NORMAL)  # found in raw text, where SPACE is a blank: merges decide
    else:
        tokens[i], kinds[i] = text.replace(SPACE, " "), int(TokenType.USER_DEFINED)


def _check_sentencepiece(model: Mapping[str, Any], vocab: Mapping[str, int]) -> None:
    missing = [f"<0x{byte:02X}>" for byte in range(256) if f"<0x{byte:02X}>" not in vocab]
    if missing or not model.get("byte_fallback"):
        raise refuse("it has no bytes to fall back on for unknown characters")
    if model.get("ignore_merges"):
        raise refuse("it takes whole words without their merges")


def _scores(tokens: Sequence[str], merges: Sequence[tuple[str, ...]]) -> tuple[float, ...]:
    """The earlier a merge, the higher the score of what it makes."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault("".join(merge), rank)
    return tuple(-float(ranks[t]) if t in ranks else _NO_SCORE for t in tokens)


def _pre(data: Mapping[str, Any]) -> str:
    parts = steps(data.get("pre_tokenizer"))
    kinds = [step.get("type") for step in parts]
    if any(step.get("add_prefix_space") for step in parts):
        raise refuse("it puts a space before every text")
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        regex = (parts[0].get("pattern") or {}).get("Regex")
        for name, known in SPLITS.items():
            if regex == known:
                return name
    raise refuse(f"the way it splits texts is not known here ({', '.join(map(str, kinds))})")
