"""A base and all adapters of a roster in one GGUF file, so that one batch holds several interns.

llama.cpp's architecture ``graniteswitch`` is a Llama that adds to every linear layer, token by
token, the LoRA of one slot. A control token chooses the slot for everything after it in its
sequence and is read as if it were another token. So each intern has a spare control token of the
base, read as BOS: a prompt that begins with it instead of BOS is the prompt under that adapter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGMLQuantizationType, GGUFValueType

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, Incompatible, Unavailable
from interns.gguf.adapter_file import check_adapter, file_sha256
from interns.gguf.families import MODULES, NORMS
from interns.gguf.metadata import copy_metadata
from interns.gguf.reader import GgufFile, read_gguf
from interns.gguf.writing import whole_file

ARCH = "graniteswitch"
_FROM = "llama"
_CONTROL = 3  # LLAMA_TOKEN_TYPE_CONTROL
_SPARE = re.compile(r"<\|reserved_\d+\|>")
_GAIN = 15.0  # one control token outweighs e^30 other tokens
_FORMAT = 1
_KEY = "interns.roster."
# The base's architecture does not read these, the roster file's would.
_UNREAD = ("logit_scale", "residual_scale", "embedding_scale", "attention.scale")
_TOP = ("token_embd.weight", "output_norm.weight", "output.weight")
_FUSED = ("attn_q", "attn_k", "attn_v")


@dataclass(frozen=True)
class RosterFile:
    """A file that serves a roster.

    Attributes:
        path: Where it lies.
        sha256: Hash of what it was made from: base, adapters in order, strengths.
        tokens: Control token of each adapter, by content hash and strength.
        begins: The token that they stand for, BOS.
    """

    path: Path
    sha256: str
    tokens: dict[tuple[str, float], int]
    begins: int

    def obstacle(self, adapter: Adapter | None, prompt: Sequence[int]) -> str:
        """Why the file cannot answer a prompt exactly; empty if it can."""
        if adapter is None:
            return ""
        if (adapter.sha256, adapter.scale) not in self.tokens:
            return "an adapter is asked that is not in the roster file"
        if prompt[0] != self.begins:
            return "a prompt does not begin with BOS"
        return ""


def spare_tokens(base: GgufFile) -> list[int]:
    """Ids of the control tokens that a base reserves and its chat template does not use."""
    names = base.metadata.get("tokenizer.ggml.tokens")
    kinds = base.metadata.get("tokenizer.ggml.token_type")
    if not isinstance(names, list) or not isinstance(kinds, list):
        return []
    template = base.text("tokenizer.chat_template")
    return [
        i
        for i, (name, kind) in enumerate(zip(names, kinds, strict=False))
        if kind == _CONTROL and _SPARE.fullmatch(name) and name not in template
    ]


def check_packable(base: GgufFile, adapters: int = 1) -> None:
    """Check that a base and so many adapters can be one file.

    Raises:
        Incompatible: They cannot; says why.
    """
    for why in _obstacles(base, adapters):
        raise Incompatible(
            f"The roster cannot be packed into one file: {why}.",
            "Nothing needs to be done: interns take turns instead.",
        )


def _obstacles(base: GgufFile, adapters: int) -> Iterator[str]:
    arch = base.text("general.architecture")
    if arch != _FROM:
        yield f"the base is of family {arch}, not {_FROM}"
        return
    layers = range(int(base.number(f"{_FROM}.block_count")))
    leaves = (*MODULES.values(), *NORMS.values())
    known = {*_TOP, *(f"blk.{i}.{leaf}.weight" for i in layers for leaf in leaves)}
    for name in base.tensors:
        if name not in known:
            yield f"the base has {name}, for which it has no place"
            return
    width, heads = (
        int(base.number(f"{_FROM}.{key}")) for key in ("embedding_length", "attention.head_count")
    )
    sizes = {
        int(base.number(f"{_FROM}.{key}", width // heads))
        for key in ("attention.key_length", "attention.value_length", "rope.dimension_count")
    }
    if len(sizes) > 1:
        yield "keys, values and what is rotated of them differ in size"
    for i in layers:
        kinds = {base.tensors[f"blk.{i}.{leaf}.weight"].kind.name for leaf in _FUSED}
        if len(kinds) > 1:
            yield f"q, k and v of layer {i} are stored in different ways ({', '.join(kinds)})"
    if int(base.number("tokenizer.ggml.bos_token_id", -1)) < 0:
        yield "the base has no token that begins a prompt"
    if adapters > (spare := len(spare_tokens(base))):
        yield f"the base has {spare} spare control tokens and {adapters} are needed"


def roster_sha256(base: BaseModelRef, adapters: Sequence[Adapter]) -> str:
    """Hash of what a roster file is made from, 64 hex digits."""
    parts = [f"{ARCH} {_FORMAT}", base.sha256, *(f"{a.sha256} {a.scale!r}" for a in adapters)]
    return sha256("\n".join(parts).encode()).hexdigest()


def write_roster_gguf(
    base: BaseModelRef,
    adapters: Sequence[Adapter],
    out: Path,
    wanted: Callable[[], bool] = lambda: True,
) -> RosterFile:
    """Pack a base and adapters; the base's weights keep their bytes.

    Args:
        base: Of family ``llama``; see `check_packable`.
        adapters: Different, at least one; each was exported for this base.
        out: The file to write; whole or absent.
        wanted: Asked before every tensor; when it says no, the writing ends.

    Raises:
        BrokenFile: The base or an adapter is damaged.
        Incompatible: They cannot be packed; says why.
        NoSpace: The disk is full.
        Unavailable: It was not wanted any more.
    """
    file = read_gguf(base.gguf)
    check_packable(file, len(adapters))
    loras = [_read_lora(adapter, base) for adapter in adapters]
    rank = max(lora.rank for lora in loras)
    tokens = spare_tokens(file)[: len(adapters)]
    begins = int(file.number("tokenizer.ggml.bos_token_id"))
    with whole_file(out) as partial:
        writer = GGUFWriter(str(partial), ARCH)
        try:
            copy_metadata(GGUFReader(base.gguf), writer, _renamed)
            writer.add_float32(f"{ARCH}.logit_scale", 1.0)
            # False would switch the rotary positions off.
            writer.add_bool(f"{ARCH}.rope.scaling.finetuned", True)
            writer.add_uint32(f"{ARCH}.adapters.count", len(adapters))
            writer.add_uint32(f"{ARCH}.adapters.lora_rank", rank)
            writer.add_float32(f"{ARCH}.adapters.router_gain", _GAIN)
            for key, ids in (("activate", tokens), ("substitute", [begins] * len(tokens))):
                name = f"{ARCH}.adapters.token_ids_{key}"
                writer.add_key_value(name, ids, GGUFValueType.ARRAY, GGUFValueType.INT32)
            writer.add_string(f"{_KEY}sha256", roster_sha256(base, adapters))
            writer.add_string(f"{_KEY}base.sha256", base.sha256)
            writer.add_array(f"{_KEY}adapters", [adapter.sha256 for adapter in adapters])
            writer.add_array(f"{_KEY}scales", [float(adapter.scale) for adapter in adapters])
            for _ in _write_tensors(writer, file, loras, rank):
                if not wanted():
                    raise Unavailable(
                        "The roster file is not wanted any more.", "Set the roster again."
                    )
        finally:
            writer.close()
    _seal(out).write_text(file_sha256(out) + "\n")
    return read_roster(out, base, adapters)


def read_roster(path: Path, base: BaseModelRef, adapters: Sequence[Adapter]) -> RosterFile:
    """Check that a file is the one that was written for this roster, to the last byte.

    Raises:
        NotFound: There is no such file.
        BrokenFile: It is damaged.
        Incompatible: It was made for another base or roster.
    """
    file = read_gguf(path)
    made_from = roster_sha256(base, adapters)
    if file.text("general.architecture") != ARCH or file.text(f"{_KEY}sha256") != made_from:
        raise Incompatible(f"{path.name} was made for another roster.", "Make it anew.")
    seal = _seal(path)
    if not seal.exists() or seal.read_bytes().strip() != file_sha256(path).encode():
        raise BrokenFile(f"{path.name} was changed after it was made.", "Make it anew.")
    tokens = file.metadata[f"{ARCH}.adapters.token_ids_activate"]
    keys = [(adapter.sha256, adapter.scale) for adapter in adapters]
    begins = int(file.number("tokenizer.ggml.bos_token_id"))
    return RosterFile(path, made_from, dict(zip(keys, tokens, strict=True)), begins)


def remove_roster(path: Path) -> None:
    """Remove a roster file, if there is one."""
    path.unlink(missing_ok=True)
    _seal(path).unlink(missing_ok=True)


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _renamed(key: str) -> str | None:
    head, _, rest = key.partition(".")
    if head != _FROM:
        return key
    return None if rest in _UNREAD or rest == "rope.scaling.finetuned" else f"{ARCH}.{rest}"


@dataclass(frozen=True)
class _Lora:
    """An adapter's file, and what its B is multiplied by at each rank."""

    file: GgufFile
    scale: float
    alpha: float

    @property
    def rank(self) -> int:
        return max(
            info.shape[0] for name, info in self.file.tensors.items() if name.endswith("lora_a")
        )

    def put(self, target: str, a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> None:
        """Write the pair of one weight into the upper left of (rank, in) and (out, rank)."""
        if f"{target}.lora_a" not in self.file.tensors:
            return
        down, up = (self.file.array(f"{target}.lora_{side}") for side in "ab")
        rank = down.shape[0]
        a[:rank] = down
        b[:, :rank] = up * np.float32(self.scale * (self.alpha / rank if self.alpha else 1.0))


def _read_lora(adapter: Adapter, base: BaseModelRef) -> _Lora:
    check_adapter(adapter.path, base)
    file = read_gguf(adapter.path)
    leaves = set(MODULES.values())
    for name in file.tensors:
        if name.split(".")[0] != "blk" or name.split(".")[2] not in leaves:
            raise Incompatible(
                f"{adapter.path.name} changes {name}, for which a roster file has no place.",
                "Train linear layers only.",
            )
    return _Lora(file, adapter.scale, file.number("adapter.lora.alpha"))


def _write_tensors(
    writer: GGUFWriter, base: GgufFile, loras: Sequence[_Lora], rank: int
) -> Iterator[None]:
    """The base's weights and the stacked adapters, one in memory at a time; stops at each."""
    stored = _stored(base)
    targets = [name for name in base.tensors if name.split(".")[-2] in MODULES.values()]
    slots = len(loras) + 1
    for name, parts in stored.items():
        kind = base.tensors[parts[0]].kind
        size = sum(base.tensors[part].size for part in parts)
        rows = sum(base.tensors[part].shape[0] for part in parts)
        shape = (rows, *base.tensors[parts[0]].shape[1:])
        shape = (size,) if len(shape) == 1 else (rows, size // rows)
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), size, kind)
    for target in targets:
        rows, columns = base.tensors[target].shape
        stem = target.removesuffix(".weight")
        for side, shape in (("a", (slots, rank, columns)), ("b", (slots, rows, rank))):
            writer.add_tensor_info(
                f"{stem}.lora_{side}",
                shape,
                np.dtype(np.float32),
                4 * int(np.prod(shape)),
                GGMLQuantizationType.F32,
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for parts in stored.values():
        writer.write_tensor_data(np.concatenate([base.raw(part) for part in parts]))
        yield
    for target in targets:
        for stack in _stacks(target, base.tensors[target].shape, loras, rank):
            writer.write_tensor_data(stack)
            yield


def _stored(base: GgufFile) -> dict[str, tuple[str, ...]]:
    """The file's weights and the base's weights whose rows each one is made of."""
    stored: dict[str, tuple[str, ...]] = {}
    for name in base.tensors:
        stem, _, leaf = name.removesuffix(".weight").rpartition(".")
        if leaf == "attn_q":
            parts = tuple(f"{stem}.{part}.weight" for part in _FUSED)
            stored[f"{stem}.attn_qkv.weight"] = parts
        elif leaf not in _FUSED:
            stored[name] = (name,)
    return stored


def _stacks(
    target: str, shape: tuple[int, ...], loras: Sequence[_Lora], rank: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Every adapter's A, then every adapter's B; slot 0 is the bare base."""
    rows, columns = shape
    downs = np.zeros((len(loras) + 1, rank, columns), dtype=np.float32)
    ups = np.zeros((len(loras) + 1, rows, rank), dtype=np.float32)
    for slot, lora in enumerate(loras, start=1):
        lora.put(target, downs[slot], ups[slot])
    yield downs
    yield ups
