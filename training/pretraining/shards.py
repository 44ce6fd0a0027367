"""Weights in bf16 as safetensors files of a limited size, small enough to be carried away.

The format (https://huggingface.co/docs/safetensors): eight bytes with the length of a JSON header,
the header, the raw numbers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interns.gguf.writing import whole_file

SHARD_BYTES = 15 * 2**20


def write_shards(weights: Mapping[str, Tensor], folder: Path, limit: int = SHARD_BYTES) -> None:
    """Write ``model-0000i-of-0000n.safetensors``, old ones of other numbers removed.

    Args:
        weights: Named as in `training.pretraining.llama`; ``model.`` is put before each name.
        folder: Made when missing.
        limit: Most bytes of weights in one file; a larger weight has a file of its own.

    Raises:
        NoSpace: The disk is full.
    """
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, weight in weights.items():
        bytes_ = weight.numel() * 2
        if shards[-1] and size + bytes_ > limit:
            shards.append({})
            size = 0
        shards[-1][f"model.{name}"] = weight
        size += bytes_
    for old in folder.glob("model-*-of-*.safetensors"):
        old.unlink()
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        with whole_file(folder / name) as partial:
            partial.write_bytes(_encode(shard))


def _encode(weights: Mapping[str, Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, weight in weights.items():
        raw = weight.detach().cpu().contiguous().bfloat16().view(torch.int16).numpy().tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(weight.shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body
