"""A SentencePiece ``tokenizer.model`` as ``tokenizer.json``, for bases that come without the latter.

Reads the few fields of sentencepiece_model.proto that BPE needs; the rest is skipped.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from interns.errors import BrokenFile, Incompatible

SPACE = "▁"  # how SentencePiece writes a space
_BPE = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's ways to store a field


class Piece(IntEnum):
    """What a piece is."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def tokenizer_of_sentencepiece(folder: Path) -> dict[str, Any]:
    """Build what ``tokenizer.json`` would hold.

    Args:
        folder: Holds ``tokenizer.model`` and, for tokens added later, ``tokenizer_config.json``.

    Raises:
        BrokenFile: The file is damaged.
        Incompatible: It is no BPE model, or rewrites texts before it splits them.
    """
    path = folder / "tokenizer.model"
    try:
        pieces, prefix = _model(path.read_bytes())
    except (OSError, ValueError, IndexError, struct.error) as error:
        if isinstance(error, Incompatible):
            raise
        raise BrokenFile(f"{path.name} of the base is damaged.", "Fetch the base anew.") from error
    vocab = {text: i for i, (text, _, _) in enumerate(pieces)}
    mergeable = {Piece.NORMAL, Piece.USER_DEFINED}
    scores = {text: score for text, score, kind in pieces if kind in mergeable}
    special = {Piece.UNKNOWN, Piece.CONTROL}
    added = {
        i: {"content": text, "special": kind in special}
        for i, (text, _, kind) in enumerate(pieces)
        if kind in special | {Piece.USER_DEFINED}
    }
    added |= _added_later(folder)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = [{"type": "Prepend", "prepend": SPACE}] if prefix else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{**flags, "id": i, **added[i]} for i in sorted(added)],
        "normalizer": {"type": "Sequence", "normalizers": [*prepend, replace]}
        if prefix
        else replace,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": next((t for t, _, kind in pieces if kind == Piece.UNKNOWN), None),
            "fuse_unk": True,
            "byte_fallback": any(kind == Piece.BYTE for _, _, kind in pieces),
            "vocab": vocab,
            "merges": merges_of_scores(scores),
        },
    }


def merges_of_scores(scored: Mapping[str, float]) -> list[list[str]]:
    """Merges, best first, of a SentencePiece vocabulary: all pairs that make a token.

    Args:
        scored: Score of every token that may be merged or be the result.
    """
    best_first = sorted(scored, key=lambda token: -scored[token])
    return [[left, right] for token in best_first for left, right in _halves(token, scored)]


def _halves(token: str, known: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for cut in range(1, len(token)):
        if token[:cut] in known and token[cut:] in known:
            yield token[:cut], token[cut:]


def _model(data: bytes) -> tuple[list[tuple[str, float, int]], bool]:
    """Pieces (text, score, kind) by id, and whether a text starts with a space of its own."""
    pieces, prefix, kind, charsmap = [], True, 0, b""
    for field, value in _fields(data):
        if field == 1:
            parts = dict(_fields(value))
            score = struct.unpack("<f", parts.get(2, b"\0\0\0\0"))[0]
            pieces.append((parts[1].decode("utf-8"), score, int(parts.get(3, Piece.NORMAL))))
        elif field == 2:
            kind = int(dict(_fields(value)).get(3, 1))
        elif field == 3:
            parts = dict(_fields(value))
            prefix, charsmap = bool(parts.get(3, 1)), parts.get(2, b"")
    if kind != _BPE or charsmap:
        why = "it rewrites texts" if kind == _BPE else "it is no BPE"
        raise Incompatible(
            f"llama.cpp cannot represent the tokenizer of this base: {why}.",
            "Choose another base, or a ready-made GGUF of this one.",
        )
    if not pieces:
        raise ValueError("no pieces")
    return pieces, prefix


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(key & 7)
        if size is None:
            if key & 7 != _BYTES:
                raise ValueError("an unknown kind of field")
            size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("cut off")
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _added_later(folder: Path) -> dict[int, dict[str, Any]]:
    """Tokens that ``tokenizer_config.json`` adds or describes."""
    try:
        given = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        listed = (given.get("added_tokens_decoder") or {}).items()
        return {int(i): dict(item) for i, item in listed}
    except FileNotFoundError:
        return {}
