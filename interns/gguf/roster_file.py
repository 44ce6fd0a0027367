"""A base and all adapters of a roster in one GGUF file, so that one batch holds several interns.

llama.cpp's architecture ``graniteswitch`` is a Llama that adds to every linear layer, token by
token, the LoRA of one slot. A control token chooses the slot for everything after it in its
sequence and is read as if it were another token. So each intern has a token of its own behind the
base's vocabulary, read as the one that all prompts begin with: a prompt that begins with it instead
is the prompt under that adapter.
"""

from __future__ import annotations

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
_GAIN = 15.0  # one control token outweighs e^30 other tokens
_FORMAT = 2
# The vocabulary grows by multiples: llama.cpp multiplies faster where rows come in even blocks.
_BLOCK = 64
_KEY = "interns.roster."
# The base's architecture does not read these, the roster file's would.
_UNREAD = ("logit_scale", "residual_scale", "embedding_scale", "attention.scale")
_VOCABULARY = ("token_embd.weight", "output.weight")  # a row for each token
_TOP = (*_VOCABULARY, "output_norm.weight")
_WORDS = _NAMES, _KINDS, _SCORES = tuple(
    f"tokenizer.ggml.{each}" for each in ("tokens", "token_type", "scores")
)
_FUSED = ("attn_q", "attn_k", "attn_v")


@dataclass(frozen=True)
class RosterFile:
    """A file that serves a roster.

    Attributes:
        path: Where it lies.
        sha256: Hash of what it was made from: base, adapters in order, strengths.
        tokens: Token of each adapter, by content hash and strength.
        begins: The token that they stand for, with which all prompts begin.
        vocabulary: Tokens of the base; what comes after them is never written.
    """

    path: Path
    sha256: str
    tokens: dict[tuple[str, float], int]
    begins: int
    vocabulary: int

    def obstacle(self, adapter: Adapter | None, prompt: Sequence[int]) -> str:
        """Why the file cannot answer a prompt exactly; empty if it can."""
        if adapter is None:
            return ""
        if (adapter.sha256, adapter.scale) not in self.tokens:
            return "an adapter is asked that is not in the roster file"
        if prompt[0] != self.begins:
            return "a prompt does not begin as the base's chats do"
        return ""


def check_packable(base: GgufFile) -> None:
    """Check that a base and adapters can be one file.

    Raises:
        Incompatible: They cannot; says why.
    """
    for why in _obstacles(base):
        raise Incompatible(
            f"The roster cannot be packed into one file: {why}.",
            "Nothing needs to be done: interns take turns instead.",
        )


def _obstacles(base: GgufFile) -> Iterator[str]:
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


def roster_sha256(base: BaseModelRef, adapters: Sequence[Adapter]) -> str:
    """Hash of what a roster file is made from, 64 hex digits."""
    parts = [f"{ARCH} {_FORMAT}", base.sha256, *(f"{a.sha256} {a.scale!r}" for a in adapters)]
    return sha256("\n".join(parts).encode()).hexdigest()


def write_roster_gguf(
    base: BaseModelRef,
    adapters: Sequence[Adapter],
    out: Path,
    begins: int,
    wanted: Callable[[], bool] = lambda: True,
) -> RosterFile:
    """Pack a base and adapters; the base's weights keep their bytes.

    Args:
        base: Of family ``llama``; see `check_packable`.
        adapters: Different, at least one; each was exported for this base.
        out: The file to write; whole or absent.
        begins: The token that all prompts begin with.
        wanted: Asked before every tensor; when it says no, the writing ends.

    Raises:
        BrokenFile: The base or an adapter is damaged.
        Incompatible: They cannot be packed; says why.
        NoSpace: The disk is full.
        Unavailable: It was not wanted any more.
    """
    file = read_gguf(base.gguf)
    check_packable(file)
    loras = [_read_lora(adapter, base) for adapter in adapters]
    rank = max(lora.rank for lora in loras)
    vocabulary = file.tensors[_VOCABULARY[0]].shape[0]
    tokens = list(range(vocabulary, vocabulary + len(adapters)))
    more = -(-len(adapters) // _BLOCK) * _BLOCK
    with whole_file(out) as partial:
        writer = GGUFWriter(str(partial), ARCH)
        try:
            copy_metadata(GGUFReader(base.gguf), writer, _renamed)
            _add_words(writer, file, more)
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
            for _ in _write_tensors(writer, file, loras, rank, [begins] * more):
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
    tokens, begins = (
        file.metadata[f"{ARCH}.adapters.token_ids_{what}"] for what in ("activate", "substitute")
    )
    keys = [(adapter.sha256, adapter.scale) for adapter in adapters]
    return RosterFile(
        path, made_from, dict(zip(keys, tokens, strict=True)), begins[0], vocabulary=tokens[0]
    )


def remove_roster(path: Path) -> None:
    """Remove a roster file, if there is one."""
    path.unlink(missing_ok=True)
    _seal(path).unlink(missing_ok=True)


def _seal(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _renamed(key: str) -> str | None:
    head, _, rest = key.partition(".")
    if head != _FROM:
        return None if key in _WORDS else key
    left_out = {*_UNREAD, "rope.scaling.finetuned", "vocab_size"}
    return None if rest in left_out else f"{ARCH}.{rest}"


def _add_words(writer: GGUFWriter, base: GgufFile, more: int) -> None:
    """The base's vocabulary, and as many control tokens behind it."""
    names = [f"<|roster_{i}|>" for i in range(more)]
    for key, add, added in (
        (_NAMES, writer.add_token_list, names),
        (_KINDS, writer.add_token_types, [_CONTROL] * more),
        (_SCORES, writer.add_token_scores, [0.0] * more),
    ):
        known = base.metadata.get(key)
        if isinstance(known, list):
            add([*known, *added])
    writer.add_vocab_size(base.tensors[_VOCABULARY[0]].shape[0] + more)


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
    writer: GGUFWriter, base: GgufFile, loras: Sequence[_Lora], rank: int, more: Sequence[int]
) -> Iterator[None]:
    """The base's weights and the stacked adapters, one in memory at a time; stops at each.

    `more` says of which token's rows those of each added token are copies.
    """
    stored = _stored(base)
    targets = [name for name in base.tensors if name.split(".")[-2] in MODULES.values()]
    slots = len(loras) + 1
    for name, parts in stored.items():
        first, size = base.tensors[parts[0]], sum(map(len, _bytes(base, parts, more)))
        row = first.size // first.shape[0]
        shape: tuple[int, ...] = (size,) if len(first.shape) == 1 else (size // row, row)
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), size, first.kind)
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
        writer.write_tensor_data(np.concatenate(_bytes(base, parts, more)))
        yield
    for target in targets:
        for stack in _stacks(target, base.tensors[target].shape, loras, rank):
            writer.write_tensor_data(stack)
            yield


def _bytes(
    base: GgufFile, parts: Sequence[str], more: Sequence[int]
) -> list[npt.NDArray[np.uint8]]:
    """The bytes of these weights, with the rows of the added tokens where each token has one."""
    found = [base.raw(part) for part in parts]
    if parts[0] in _VOCABULARY:
        rows = found[0].reshape(base.tensors[parts[0]].shape[0], -1)
        found.append(rows[list(more)].ravel())
    return found


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
