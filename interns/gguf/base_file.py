"""A base model between its Hugging Face folder and the GGUF file that serves.

``write_base_gguf`` makes the file llama.cpp serves; ``write_hf_folder`` makes the torch side from
that very file, so that adapters are trained on the numbers that will serve.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType, LlamaFileType
from gguf.quants import quantize
from safetensors.numpy import save_file

from interns.errors import BrokenFile, Incompatible, InvalidInput
from interns.gguf.families import TOP, Family, family_of_arch, family_of_config, permute, unpermute
from interns.gguf.reader import GgufFile, read_gguf
from interns.gguf.vocabulary import read_vocabulary
from interns.gguf.weights import Weights
from interns.gguf.writing import whole_file

_STORED = {
    "F32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
_Q8_BLOCK = 32


def write_base_gguf(hf_folder: Path, out: Path, file_type: str = "Q8_0", name: str = "") -> None:
    """Convert a Hugging Face folder to one GGUF file.

    Args:
        hf_folder: Holds ``config.json``, safetensors, ``tokenizer.json`` and a chat template.
        out: The file to write; whole or absent.
        file_type: ``F32``, ``F16`` or ``Q8_0``; one-dimensional weights stay F32.
        name: Value of ``general.name``; the folder's name by default.

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
    family = family_of_config(config)
    weights = Weights.of_folder(hf_folder)
    with whole_file(out) as partial:
        writer = GGUFWriter(str(partial), family.arch)
        try:
            _write_settings(writer, config, name or hf_folder.name, file_type)
            _write_vocabulary(writer, hf_folder, config)
            for hf_name in weights:
                _write_weight(writer, config, hf_name, weights[hf_name], file_type=file_type)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
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
    family_of_arch(arch)
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    layers = int(file.number(f"{arch}.block_count"))
    needed = ["token_embd.weight", "output_norm.weight"]
    needed += [f"blk.{i}.{leaf}.weight" for i in range(layers) for leaf in ("attn_q", "ffn_down")]
    missing = [tensor for tensor in needed if tensor not in file.tensors]
    if missing or not isinstance(tokens, list):
        raise BrokenFile(
            f"{path.name} is not a whole base model: it lacks {(missing or ['its tokens'])[0]}.",
            "Make or fetch the file anew.",
        )
    if file.tensors["token_embd.weight"].shape[0] != len(tokens):
        raise BrokenFile(f"{path.name}: tokens and weights differ in number.", "Make it anew.")
    return file


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
    family = family_of_config(config)
    out.mkdir(parents=True, exist_ok=True)
    _copy_tokenizer(tokenizer_folder, out, file.text("tokenizer.chat_template"))
    with whole_file(out / "config.json") as partial:
        partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    with whole_file(out / "generation_config.json") as partial:
        partial.write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")
    tensors = dict(_hf_weight(file, family, name) for name in file.tensors if "rope_" not in name)
    with whole_file(out / "model.safetensors") as partial:
        save_file(tensors, partial, metadata={"format": "pt"})


def hf_config(file: GgufFile) -> dict[str, Any]:
    """The Hugging Face config of a base GGUF, as ``config.json`` holds it."""
    arch = file.text("general.architecture")
    family = family_of_arch(arch)

    def setting(key: str, default: float | None = None) -> float:
        return file.number(f"{arch}.{key}", default)

    heads, width = int(setting("attention.head_count")), int(setting("embedding_length"))
    head_dim = int(setting("attention.key_length", width // heads))
    eos = int(file.number("tokenizer.ggml.eos_token_id"))
    return {
        "architectures": [family.transformers_class],
        "model_type": family.model_type,
        "attention_bias": False,
        "bos_token_id": int(file.number("tokenizer.ggml.bos_token_id", eos)),
        "eos_token_id": eos,
        "pad_token_id": int(file.number("tokenizer.ggml.padding_token_id", eos)),
        "dtype": "float32",
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": int(setting("feed_forward_length")),
        "max_position_embeddings": int(setting("context_length")),
        "num_attention_heads": heads,
        "num_hidden_layers": int(setting("block_count")),
        "num_key_value_heads": int(setting("attention.head_count_kv", heads)),
        "rms_norm_eps": round(setting("attention.layer_norm_rms_epsilon"), 12),
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": setting("rope.freq_base", 10000.0),
        },
        "rope_theta": setting("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
    }


def gguf_name(family: Family, hf_name: str) -> str | None:
    """The GGUF name of a Hugging Face weight, or None where there is none."""
    if hf_name in TOP:
        return TOP[hf_name]
    head, _, rest = hf_name.partition("model.layers.")
    number, _, leaf = rest.partition(".")
    known = family.layer_names().get(leaf)
    return f"blk.{number}.{known}" if known and not head and number.isdigit() else None


def heads_of(leaf: str, heads: int, kv_heads: int) -> int:
    """Number of heads behind the rows of ``attn_q…`` or ``attn_k…``; 0 for other weights."""
    part = leaf.split(".")[-2]
    return {"attn_q": heads, "attn_k": kv_heads}.get(part, 0)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{path.name} of the base is missing or damaged.", "Add it.") from error
    if not isinstance(value, dict):
        raise BrokenFile(f"{path.name} holds no settings.", "Fetch the base anew.")
    return value


def _write_settings(
    writer: GGUFWriter, config: Mapping[str, Any], name: str, file_type: str
) -> None:
    heads = int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or config["hidden_size"] // heads)
    rope = config.get("rope_parameters") or config
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(_STORED[file_type][1])
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))


def _write_vocabulary(writer: GGUFWriter, folder: Path, config: Mapping[str, Any]) -> None:
    vocabulary = read_vocabulary(folder, int(config["vocab_size"]))
    settings = _read_json(folder / "tokenizer_config.json")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    adders = {
        "bos_token": writer.add_bos_token_id,
        "eos_token": writer.add_eos_token_id,
        "pad_token": writer.add_pad_token_id,
    }
    for key, add in adders.items():
        token = settings.get(key)
        token = str(token.get("content") if isinstance(token, dict) else token)
        if token in vocabulary.ids:
            add(vocabulary.ids[token])
    template = folder / "chat_template.jinja"
    source = settings.get("chat_template")
    if template.exists():
        source = template.read_text(encoding="utf-8")
    if not isinstance(source, str):
        raise BrokenFile(f"{folder.name} has no chat template.", "Use a base trained for chat.")
    writer.add_chat_template(source)


def _write_weight(
    writer: GGUFWriter,
    config: Mapping[str, Any],
    hf_name: str,
    value: npt.NDArray[np.float32],
    *,
    file_type: str,
) -> None:
    family = family_of_config(config)
    name = gguf_name(family, hf_name)
    if name is None:
        raise BrokenFile(f"The base has an unexpected weight, {hf_name}.", "Choose another base.")
    if name == "output.weight" and config.get("tie_word_embeddings"):
        return
    heads = int(config["num_attention_heads"])
    rows = heads_of(name, heads, int(config.get("num_key_value_heads") or heads))
    if family.permutes_qk and rows:
        value = permute(value, rows)
    kind = _STORED[file_type][0]
    if value.ndim == 1:
        kind = GGMLQuantizationType.F32
    elif kind == GGMLQuantizationType.Q8_0 and value.shape[-1] % _Q8_BLOCK:
        kind = GGMLQuantizationType.F16
    writer.add_tensor(name, quantize(np.ascontiguousarray(value), kind), raw_dtype=kind)


def _hf_weight(file: GgufFile, family: Family, name: str) -> tuple[str, npt.NDArray[np.float32]]:
    arch = file.text("general.architecture")
    value = file.array(name)
    heads = int(file.number(f"{arch}.attention.head_count"))
    rows = heads_of(name, heads, int(file.number(f"{arch}.attention.head_count_kv", heads)))
    if family.permutes_qk and rows:
        value = unpermute(value, rows)
    for hf_name, gguf in TOP.items():
        if gguf == name:
            return hf_name, value
    _, number, leaf = name.split(".", 2)
    leaves = {gguf: hf for hf, gguf in family.layer_names().items()}
    if leaf not in leaves:
        raise Incompatible(f"The base has an unexpected weight, {name}.", "Choose another base.")
    return f"model.layers.{number}.{leaves[leaf]}", value


def _copy_tokenizer(folder: Path, out: Path, template: str) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).exists():
            raise BrokenFile(f"The tokenizer of the base lacks {name}.", "Fetch the base anew.")
        with whole_file(out / name) as partial:
            shutil.copyfile(folder / name, partial)
    with whole_file(out / "chat_template.jinja") as partial:
        partial.write_text(template, encoding="utf-8")
