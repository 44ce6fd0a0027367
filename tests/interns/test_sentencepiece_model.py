"""``tokenizer.model`` is read without its library."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from interns.errors import BrokenFile, Incompatible
from interns.gguf.base_file import write_base_gguf
from interns.gguf.sentencepiece_model import Piece
from interns.gguf.tokenizer_json import read_tokenizer
from tests.tiny_bases import sentencepiece_json, write_tiny_base


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*fields: tuple[int, bytes | float | int]) -> bytes:
    """Protobuf's wire form: texts and parts by length, floats in 4 bytes, numbers as varints."""
    parts = []
    for number, value in fields:
        if isinstance(value, bytes):
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
        elif isinstance(value, float):
            parts.append(varint(number << 3 | 5) + struct.pack("<f", value))
        else:
            parts.append(varint(number << 3) + varint(value))
    return b"".join(parts)


def model(data: dict[str, Any], *, kind: int = 2, charsmap: bytes = b"") -> bytes:
    """The file of which ``data`` would have been made."""
    vocab, merges = data["model"]["vocab"], data["model"]["merges"]
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    pieces = []
    for text in sorted(vocab, key=lambda one: vocab[one]):
        piece = Piece.BYTE if text.startswith("<0x") else Piece.NORMAL
        piece = {"<unk>": Piece.UNKNOWN, "<s>": Piece.CONTROL, "</s>": Piece.CONTROL}.get(
            text, piece
        )
        score = -float(ranks.get(text, 10**5))
        pieces.append((1, message((1, text.encode()), (2, score), (3, int(piece)))))
    prefix = int("Prepend" in json.dumps(data["normalizer"]))
    normalizer = message((1, b"identity"), (2, charsmap), (3, prefix))
    return message(*pieces, (2, message((3, kind), (4, 32000))), (3, normalizer))


def folder_with_model(folder: Path, content: bytes) -> Path:
    source = write_tiny_base(folder / "hf", "llama-2")
    turn = {"content": "<turn>", "special": True, "normalized": False}
    data = json.loads((source / "tokenizer.json").read_text())
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["added_tokens_decoder"] = {str(len(data["model"]["vocab"])): turn}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (source / "tokenizer.json").unlink()
    (source / "tokenizer.model").write_bytes(content)
    return source


@pytest.mark.parametrize("prefix", [True, False])
def test_it_says_the_same_as_tokenizer_json(tmp_path, prefix):
    written = sentencepiece_json(prefix=prefix)
    (tmp_path / "tokenizer.json").write_text(json.dumps(written))
    expected = read_tokenizer(tmp_path)
    source = folder_with_model(tmp_path, model(written))
    found = read_tokenizer(source)
    assert found["model"]["vocab"] == expected["model"]["vocab"]
    assert found["model"]["merges"] == expected["model"]["merges"]
    assert found["normalizer"] == expected["normalizer"]
    assert [(one["id"], one["content"], one["special"]) for one in found["added_tokens"]] == [
        (one["id"], one["content"], one["special"]) for one in expected["added_tokens"]
    ]
    write_base_gguf(source, tmp_path / "base.gguf", "F32")


def test_it_is_refused_when_damaged_or_of_another_kind(tmp_path):
    data = sentencepiece_json(prefix=True)
    source = folder_with_model(tmp_path, b"")
    for content, error, why in (
        (b"", Incompatible, "no BPE"),
        (b"\xff" * 40, BrokenFile, "damaged"),
        (model(data)[:-3], BrokenFile, "damaged"),
        (model(data, kind=1), Incompatible, "no BPE"),
        (model(data, charsmap=b"nfkc"), Incompatible, "rewrites texts"),
    ):
        (source / "tokenizer.model").write_bytes(content)
        with pytest.raises(error, match=why):
            read_tokenizer(source)
