"""Safetensors folders as NumPy arrays, bf16 included, without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from interns.errors import BrokenFile

_SIZES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class _Entry:
    path: Path
    kind: str
    shape: tuple[int, ...]
    offset: int


class Weights(Mapping[str, npt.NDArray[np.float32]]):
    """The tensors of one or more safetensors files, read as float32 when asked for."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._entries: dict[str, _Entry] = {}
        for path in files:
            self._entries.update(_entries(path))

    @classmethod
    def of_folder(cls, folder: Path, stem: str = "model") -> Weights:
        """The weights of a Hugging Face folder, sharded or not.

        Raises:
            BrokenFile: There are none, or they are damaged.
        """
        shards = sorted(folder.glob(f"{stem}-*-of-*.safetensors"))
        files = shards or [folder / f"{stem}.safetensors"]
        return cls(tuple(files))

    def __getitem__(self, name: str) -> npt.NDArray[np.float32]:
        entry = self._entries[name]
        dtype = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[entry.kind]
        with entry.path.open("rb") as file:
            file.seek(entry.offset)
            flat = np.fromfile(file, dtype=dtype, count=prod(entry.shape))
        if entry.kind == "BF16":
            return (flat.astype(np.uint32) << 16).view(np.float32).reshape(entry.shape)
        return flat.astype(np.float32).reshape(entry.shape)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self._entries[name].shape

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def write_safetensors(
    path: Path,
    tensors: Mapping[str, tuple[tuple[int, ...], Callable[[], npt.NDArray[np.float32]]]],
) -> None:
    """Write float32 tensors one after the other, so that one is in memory at a time.

    Args:
        path: The file to write.
        tensors: Name to shape and what loads the values.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (shape, _) in tensors.items():
        end = at + 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape, load in tensors.values():
            value = np.ascontiguousarray(load(), dtype="<f4").reshape(shape)
            file.write(value.data)


def _entries(path: Path) -> dict[str, _Entry]:
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > total - 8:
                raise BrokenFile(f"{path.name} is cut off.", "Make or fetch the file anew.")
            header: dict[str, Any] = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise BrokenFile(
            f"{path.parent} has no {path.name}.", "Give a folder with weights."
        ) from error
    except (struct.error, ValueError) as error:
        if isinstance(error, BrokenFile):
            raise
        raise BrokenFile(f"{path.name} is not a safetensors file.", "Make it anew.") from error
    header.pop("__metadata__", None)
    return {name: _entry(path, name, item, 8 + length, total) for name, item in header.items()}


def _entry(path: Path, name: str, item: Mapping[str, Any], start: int, total: int) -> _Entry:
    kind, shape = str(item["dtype"]), tuple(int(n) for n in item["shape"])
    begin, end = item["data_offsets"]
    if kind not in _SIZES:
        raise BrokenFile(
            f"{path.name}: {name} is stored as {kind}.", "Use F32, F16 or BF16 weights."
        )
    if end - begin != prod(shape) * _SIZES[kind] or start + end > total:
        raise BrokenFile(f"{path.name}: {name} is cut off.", "Make or fetch the file anew.")
    return _Entry(path, kind, shape, start + begin)
