"""A strict GGUF reader that trusts nothing in the file.

llama.cpp may end the process on a damaged file, so every file is read here first: each length is
checked against the size of the file before it is used.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType
from gguf.quants import dequantize

from interns.errors import BrokenFile, NotFound

_SCALARS: Mapping[int, str] = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}
_MAX_NAME = 64
_MAX_DIMS = 4


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file.

    Attributes:
        name: As llama.cpp knows it.
        shape: NumPy order: rows first, (out, in) for a matrix.
        kind: Storage type.
        offset: First byte in the file.
        size: Bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    size: int


@dataclass(frozen=True)
class GgufFile:
    """Metadata and tensor table of a GGUF file that was found to be whole."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    def text(self, key: str, default: str = "") -> str:
        """A text value, or the default where it is missing or of another type."""
        value = self.metadata.get(key, default)
        return value if isinstance(value, str) else default

    def number(self, key: str, default: float | None = None) -> float:
        """A numeric value.

        Raises:
            BrokenFile: It is missing and there is no default, or it is no number.
        """
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BrokenFile(
                f"{self.path.name} lacks the number {key!r}.", "Make or fetch it anew."
            )
        return value

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor as they are stored; a view on the file."""
        info = self.tensors[name]
        return np.memmap(
            self.path, dtype=np.uint8, mode="r", offset=info.offset, shape=(info.size,)
        )

    def array(self, name: str) -> npt.NDArray[np.float32]:
        """A tensor as float32, dequantized."""
        info, raw = self.tensors[name], self.raw(name)
        if info.kind == GGMLQuantizationType.F32:
            return raw.view(np.float32).reshape(info.shape).copy()
        if info.kind == GGMLQuantizationType.F16:
            return raw.view(np.float16).reshape(info.shape).astype(np.float32)
        block, size = GGML_QUANT_SIZES[info.kind]
        row_bytes = info.shape[-1] // block * size
        rows = raw.reshape(*info.shape[:-1], row_bytes)
        return np.asarray(dequantize(rows, info.kind), dtype=np.float32).reshape(info.shape)


class _Cursor:
    """Reads forward through a mapped file and refuses to leave it."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data = data
        self.path = path
        self.at = 0

    def fail(self, what: str) -> BrokenFile:
        return BrokenFile(
            f"{self.path.name} is not a whole GGUF file: {what}.", "Make or fetch the file anew."
        )

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise self.fail(f"it ends at byte {len(self.data)}, in the middle of a value")
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self) -> str:
        raw = self.take(self.unpack("<Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail("a text value is not UTF-8") from error

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == GGUFValueType.STRING:
            return self.string()
        if kind == GGUFValueType.ARRAY and depth == 0:
            return self.sequence()
        if kind not in _SCALARS:
            raise self.fail(f"unknown value type {kind}")
        return self.unpack(_SCALARS[kind])

    def sequence(self) -> list[Any]:
        kind = self.unpack("<I")
        count = self.unpack("<Q")
        if kind in _SCALARS:
            size = struct.calcsize(_SCALARS[kind])
            raw = self.take(count * size)
            return list(struct.unpack(f"<{count}{_SCALARS[kind][1]}", raw))
        if count > len(self.data) - self.at:
            raise self.fail("an array is longer than the file")
        return [self.value(kind, depth=1) for _ in range(count)]


def read_gguf(path: Path) -> GgufFile:
    """Read and check a GGUF file without loading its weights.

    Raises:
        NotFound: There is no such file.
        BrokenFile: It is truncated, corrupt or not GGUF.
    """
    try:
        with path.open("rb") as file:
            if path.stat().st_size < 24:
                raise BrokenFile(f"{path.name} is too short to be a GGUF file.", "Make it anew.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(_Cursor(data, path), path)
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", "Check the path.") from error


def _parse(cursor: _Cursor, path: Path) -> GgufFile:
    if cursor.take(4) != b"GGUF":
        raise BrokenFile(f"{path.name} is not a GGUF file.", "Give a file that ends in .gguf.")
    version = cursor.unpack("<I")
    if version not in (2, 3):
        raise cursor.fail(f"version {version} is unknown")
    tensor_count, pair_count = cursor.unpack("<Q"), cursor.unpack("<Q")
    if max(tensor_count, pair_count) > len(cursor.data):
        raise cursor.fail("its counts are impossible")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):
        key = cursor.string()
        if key in metadata:
            raise cursor.fail(f"{key!r} appears twice")
        metadata[key] = cursor.value(cursor.unpack("<I"))
    heads = [_tensor_head(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 65536 or alignment & (alignment - 1):
        raise cursor.fail(f"alignment {alignment} is impossible")
    start = -(-cursor.at // alignment) * alignment
    tensors = {head[0]: _tensor(cursor, head, start) for head in heads}
    if len(tensors) != tensor_count:
        raise cursor.fail("a tensor name appears twice")
    return GgufFile(path, metadata, tensors)


def _tensor_head(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.string()
    dims = cursor.unpack("<I")
    if not 1 <= dims <= _MAX_DIMS or not 0 < len(name) < _MAX_NAME:
        raise cursor.fail(f"the entry of tensor {name[:_MAX_NAME]!r} is impossible")
    shape = tuple(int(cursor.unpack("<Q")) for _ in range(dims))[::-1]
    return name, shape, int(cursor.unpack("<I")), int(cursor.unpack("<Q"))


def _tensor(cursor: _Cursor, head: tuple[str, tuple[int, ...], int, int], start: int) -> TensorInfo:
    name, shape, kind, offset = head
    try:
        stored = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[stored]
    except (ValueError, KeyError) as error:
        raise cursor.fail(f"tensor {name!r} has unknown type {kind}") from error
    if min(shape) < 1 or shape[-1] % block:
        raise cursor.fail(f"tensor {name!r} has an impossible shape {shape}")
    size = prod(shape) // block * block_bytes
    if start + offset + size > len(cursor.data):
        raise cursor.fail(f"the weights of {name!r} are cut off")
    return TensorInfo(name, shape, stored, start + offset, size)
