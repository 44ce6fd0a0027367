"""A base model between its Hugging Face folder and the GGUF file that serves.

``write_base_gguf`` makes the file llama.cpp serves; ``write_hf_folder`` makes the torch side from
that very file, so that adapters are trained on the numbers that will serve. Both hold one weight in
memory at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType, LlamaFileType
from gguf.quants import quant_shape_to_byte_shape, quantize

from interns.errors import BrokenFile, Incompatible, InvalidInput
from interns.gguf.config import (
    check_config,
    head_dim_of,
    hf_config,
    kv_heads_of,
    write_settings,
)
from interns.gguf.families import (
    Family,
    family_of_arch,
    gguf_name,
    heads_of,
    hf_name,
    permute,
    unpermute,
)
from interns.gguf.reader import GgufFile, TensorInfo, read_gguf
from interns.gguf.rope import rope_of_config, rope_tensors
from interns.gguf.tokenizer_json import name_for, read_tokenizer, special_tokens
from interns.gguf.vocabulary import vocabulary_of, write_vocabulary
from interns.gguf.weights import Weights, write_safetensors
from interns.gguf.writing import whole_file

_STORED = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_Q8_BLOCK = 32
_MOST_LAYERS = 512
_ONE_ROW = (GGMLQuantizationType.F32,)
_NO_WEIGHTS = tuple(GGMLQuantizationType[kind] for kind in ("I8", "I16", "I32", "I64", "F64"))
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Tensor:
    """One weight of the file to be written, read when its turn comes."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    load: Callable[[], Array]


def write_base_gguf(
    hf_folder: Path,
    out: Path,
    file_type: str = "Q8_0",
    name: str = "",
    *,
    template: str = "",
    about: Mapping[str, str] | None = None,
    report: Callable[[int, int], None] | None = None,
) -> None:
    """Convert a Hugging Face folder to one GGUF file.

    Args:
        hf_folder: Holds ``config.json``, safetensors and ``tokenizer.json``.
        out: The file to write; whole or absent.
        file_type: ``F32``, ``F16`` or ``Q8_0``; one-dimensional weights stay F32.
        name: Value of ``general.name``; the folder's name by default.
        template: Chat template for a base that has none.
        about: Further texts by their names after ``general.``: author, license, description.
        report: Called with weights written and weights in all.

    Raises:
        InvalidInput: The file type is unknown.
        BrokenFile: The folder lacks a part or holds a weight that is not expected.
        Incompatible: The family or the tokenizer is not supported.
        NoSpace: The disk is full.
    """
    if file_type not in _STORED:
        raise InvalidInput(
            f"Unknown file type {file_type!r}.", f"Use one of: {', '.join(_STORED)}."
        )
    config = _read_json(hf_folder / "config.json")
    family = check_config(config)
    tokenizer = read_tokenizer(hf_folder)
    vocabulary = vocabulary_of(tokenizer, int(config["vocab_size"]))
    tensors = list(_tensors(Weights.of_folder(hf_folder), config, family, file_type))
    with whole_file(out) as partial:
        writer = GGUFWriter(str(partial), family.arch)
        try:
            writer.add_type("model")
            writer.add_name(name_for(tokenizer, name or hf_folder.name))
            for key, text in (about or {}).items():
                writer.add_string(f"general.{key}", text)
            writer.add_file_type(_STORED[file_type][1])
            write_settings(writer, config)
            write_vocabulary(writer, vocabulary, special_tokens(hf_folder))
            writer.add_chat_template(chat_template_of(hf_folder) or _given(template, hf_folder))
            _write_tensors(writer, tensors, report)
        finally:
            writer.close()
    check_base(out)


def check_base(path: Path) -> GgufFile:
    """Read a base GGUF and check that llama.cpp can load it.

    Raises:
        NotFound: There is no such file.
        BrokenFile: It is truncated, corrupt, or no base model.
        Incompatible: The family is not supported.
    """
    file = read_gguf(path)
    if file.text("general.type", "model") != "model":
        raise BrokenFile(f"{path.name} is no base model.", "Give the GGUF file of a base model.")
    arch = file.text("general.architecture")
    family = family_of_arch(arch)
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    layers = file.number(f"{arch}.block_count")
    if not (isinstance(layers, int) and 0 < layers <= _MOST_LAYERS):
        raise BrokenFile(f"{path.name} has {layers} layers.", "Make or fetch the file anew.")
    leaves = [*family.modules.values(), *family.norms.values()]
    needed = ["token_embd.weight", "output_norm.weight"]
    needed += [f"blk.{i}.{leaf}.weight" for i in range(layers) for leaf in leaves]
    missing = [tensor for tensor in needed if tensor not in file.tensors]
    if missing or not isinstance(tokens, list):
        raise BrokenFile(
            f"{path.name} is not a whole base model: it lacks {(missing or ['its tokens'])[0]}.",
            "Make or fetch the file anew.",
        )
    if file.tensors["token_embd.weight"].shape[0] != len(tokens):
        raise BrokenFile(f"{path.name}: tokens and weights differ in number.", "Make it anew.")
    epsilon = file.number(f"{arch}.attention.layer_norm_rms_epsilon", 0.0)
    wrong = [name for name, one in file.tensors.items() if not _computable(one)]
    if not 0 <= epsilon < 1 or wrong:
        raise BrokenFile(
            f"{path.name} cannot be computed with: {(wrong or ['its epsilon'])[0]} is impossible.",
            "Make or fetch the file anew.",
        )
    # llama.cpp reads up to a null byte, and ends the process when a token comes twice.
    if len({str(token).partition("\0")[0] for token in tokens}) != len(tokens):
        raise BrokenFile(f"{path.name}: a token appears twice.", "Make or fetch it anew.")
    return file


def _computable(tensor: TensorInfo) -> bool:
    """Whether llama.cpp has a way to compute with this type; it ends the process on others."""
    one_row = len(tensor.shape) == 1
    return tensor.kind in _ONE_ROW if one_row else tensor.kind not in _NO_WEIGHTS


def write_hf_folder(gguf: Path, tokenizer_folder: Path, out: Path) -> None:
    """Write the dequantized float32 copy of a base for transformers.

    Args:
        gguf: The base that serves.
        tokenizer_folder: Holds ``tokenizer.json`` and ``tokenizer_config.json``.
        out: Folder to fill; ``model.safetensors`` is written last.

    Raises:
        BrokenFile: The GGUF or the tokenizer is damaged.
        Incompatible: The family is not supported.
        NoSpace: The disk is full.
    """
    file = check_base(gguf)
    config = hf_config(file)
    family = family_of_arch(file.text("general.architecture"))
    out.mkdir(parents=True, exist_ok=True)
    _copy_tokenizer(tokenizer_folder, out, file.text("tokenizer.chat_template"))
    with whole_file(out / "config.json") as partial:
        partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with whole_file(out / "generation_config.json") as partial:
        partial.write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    weights = {
        _hf_name(family, name): (info.shape, _Unstored(file, family, name))
        for name, info in file.tensors.items()
        if not name.startswith("rope_")
    }
    with whole_file(out / "model.safetensors") as partial:
        write_safetensors(partial, weights)


def chat_template_of(folder: Path) -> str:
    """The chat template of a Hugging Face folder, or an empty string."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    source = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(source, list):
        named = {one.get("name"): one.get("template") for one in source if isinstance(one, dict)}
        source = named.get("default")
    return source if isinstance(source, str) else ""


def _given(template: str, folder: Path) -> str:
    if not template:
        raise BrokenFile(f"{folder.name} has no chat template.", "Use a base trained for chat.")
    return template


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{path.name} of the base is missing or damaged.", "Add it.") from error
    if not isinstance(value, dict):
        raise BrokenFile(f"{path.name} holds no settings.", "Fetch the base anew.")
    return value


def _tensors(
    weights: Weights, config: Mapping[str, Any], family: Family, file_type: str
) -> Iterator[_Tensor]:
    tied = family.gemma or bool(config.get("tie_word_embeddings"))
    for theirs in weights:
        name = gguf_name(family, theirs)
        if name is None:
            raise BrokenFile(f"The base has an unexpected weight, {theirs}.", "Choose another one.")
        if name == "output.weight" and tied:
            continue
        shape = weights.shape(theirs)
        load = _Stored(weights, config, family, theirs)
        yield _Tensor(name, shape, _kind(name, shape, file_type), load)
    for name, value in rope_tensors(rope_of_config(config), head_dim_of(config)).items():
        yield _Tensor(name, value.shape, GGMLQuantizationType.F32, value.copy)


def _kind(name: str, shape: tuple[int, ...], file_type: str) -> GGMLQuantizationType:
    kind = _STORED[file_type][0]
    if len(shape) == 1 or name.endswith("_norm.weight"):
        return GGMLQuantizationType.F32
    if kind == GGMLQuantizationType.Q8_0 and shape[-1] % _Q8_BLOCK:
        return GGMLQuantizationType.F16
    return kind


def _write_tensors(
    writer: GGUFWriter, tensors: list[_Tensor], report: Callable[[int, int], None] | None
) -> None:
    for one in tensors:
        width = 2 if one.kind == GGMLQuantizationType.F16 else 4
        dtype = np.dtype(np.float16 if width == 2 else np.float32)
        shape, size = one.shape, int(np.prod(one.shape)) * width
        if one.kind == GGMLQuantizationType.Q8_0:
            shape = quant_shape_to_byte_shape(one.shape, one.kind)
            dtype, size = np.dtype(np.uint8), int(np.prod(shape))
        writer.add_tensor_info(one.name, shape, dtype, size, one.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, one in enumerate(tensors, start=1):
        writer.write_tensor_data(quantize(np.ascontiguousarray(one.load()), one.kind))
        if report:
            report(done, len(tensors))


@dataclass(frozen=True)
class _Stored:
    """A weight of the Hugging Face folder as llama.cpp wants it."""

    weights: Weights
    config: Mapping[str, Any]
    family: Family
    name: str

    def __call__(self) -> Array:
        value = self.weights[self.name]
        target = gguf_name(self.family, self.name) or ""
        rows = heads_of(target, int(self.config["num_attention_heads"]), kv_heads_of(self.config))
        if self.family.permutes_qk and rows:
            return permute(value, rows)
        if self.family.gemma and target.endswith("norm.weight"):
            return value + np.float32(1)
        return value


@dataclass(frozen=True)
class _Unstored:
    """The inverse: a weight of the GGUF file as transformers wants it."""

    file: GgufFile
    family: Family
    name: str

    def __call__(self) -> Array:
        arch = self.family.arch
        value = self.file.array(self.name)
        heads = int(self.file.number(f"{arch}.attention.head_count"))
        kv_heads = int(self.file.number(f"{arch}.attention.head_count_kv", heads))
        rows = heads_of(self.name, heads, kv_heads)
        if self.family.permutes_qk and rows:
            return unpermute(value, rows)
        if self.family.gemma and self.name.endswith("norm.weight"):
            return value - np.float32(1)
        return value


def _hf_name(family: Family, name: str) -> str:
    known = hf_name(family, name)
    if known is None:
        raise Incompatible(f"The base has an unexpected weight, {name}.", "Choose another base.")
    return known


def _copy_tokenizer(folder: Path, out: Path, template: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            raise BrokenFile(f"The tokenizer of the base lacks {name}.", "Fetch the base anew.")
        with whole_file(out / name) as partial:
            shutil.copyfile(folder / name, partial)
    with whole_file(out / "chat_template.jinja") as partial:
        partial.write_text(template, encoding="utf-8")
