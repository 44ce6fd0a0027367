"""LoRA adapters: from PEFT's folder to one GGUF file, and back to certainty before it is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter
from gguf.constants import GGMLQuantizationType

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, Incompatible, NotFound
from interns.gguf.base_file import check_base
from interns.gguf.families import family_of_arch, gguf_name, heads_of, permute
from interns.gguf.reader import GgufFile, read_gguf
from interns.gguf.weights import Weights
from interns.gguf.writing import whole_file

PREFIX = "interns."
_KEY = re.compile(
    r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$"
)
_ALLOWED = (
    GGMLQuantizationType.F32,
    GGMLQuantizationType.F16,
    GGMLQuantizationType.BF16,
    GGMLQuantizationType.Q8_0,
)
# What an adapter is bound to besides the base's file: its prompts must look as when it learned.
_BOUND = {"tokenizer.sha256": "tokenizer", "template.sha256": "chat template"}
_PLAIN_INIT = (True, False, None, "gaussian", "eva", "orthogonal", "loftq")


def file_sha256(path: Path) -> str:
    """Hash of a file, 64 hex digits.

    Raises:
        NotFound: There is no such file.
    """
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.", "Check the path.") from error


def template_sha256(source: str) -> str:
    """Hash of a chat template's text, 64 hex digits."""
    return sha256(source.encode()).hexdigest()


def write_adapter_gguf(
    peft_folder: Path, base: BaseModelRef, out: Path, *, metadata: Mapping[str, str]
) -> Adapter:
    """Convert a PEFT LoRA to the GGUF file llama.cpp loads on the base.

    PEFT's scale of each module, rsLoRA and ``alpha_pattern`` included, is folded into B.

    Args:
        peft_folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: The base it was trained on; its hashes are recorded in the file.
        out: The file to write; whole or absent.
        metadata: Texts to record, such as ``recipe.sha256`` or ``exam.score``.

    Raises:
        BrokenFile: The folder is damaged or its numbers are not finite.
        Incompatible: It is no plain LoRA on linear layers of this base.
        NoSpace: The disk is full.
    """
    config = _read_config(peft_folder)
    file = check_base(base.gguf)
    tensors = _tensors(peft_folder, config, file)
    recorded = {"base.name": base.name, "base.sha256": base.sha256, **_hashes(base, file)}
    with whole_file(out) as partial:
        writer = GGUFWriter(str(partial), file.text("general.architecture"))
        try:
            writer.add_type("adapter")
            writer.add_string("adapter.type", "lora")
            writer.add_float32("adapter.lora.alpha", 0.0)
            for key, text in {**metadata, **recorded}.items():
                writer.add_string(PREFIX + key.removeprefix(PREFIX), str(text))
            for name in sorted(tensors):
                writer.add_tensor(name, tensors[name])
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()
    check_adapter(out, base)
    return Adapter(path=out, sha256=file_sha256(out), base_sha256=base.sha256)


def read_adapter_metadata(path: Path) -> dict[str, str]:
    """What was recorded in an adapter file, keys without the ``interns.`` prefix.

    Raises:
        BrokenFile: The file is damaged or no adapter.
    """
    file = _read_adapter(path)
    return {
        key.removeprefix(PREFIX): value
        for key, value in file.metadata.items()
        if key.startswith(PREFIX) and isinstance(value, str)
    }


def check_adapter(path: Path, base: BaseModelRef) -> None:
    """Check an adapter file before llama.cpp sees it.

    Raises:
        NotFound: There is no such file.
        BrokenFile: It is truncated, corrupt, foreign, or holds numbers that are not finite.
        Incompatible: It was trained on another base, with another tokenizer or chat template, or
            does not fit this base.
    """
    adapter = _read_adapter(path)
    trained_on = adapter.text(PREFIX + "base.sha256")
    if not trained_on:
        raise BrokenFile(
            f"{path.name} does not say which base it was trained on.",
            "Import an adapter that Interns exported.",
        )
    if trained_on != base.sha256:
        name = adapter.text(PREFIX + "base.name", "another base")
        raise Incompatible(
            f"{path.name} was trained on another base ({name}, {trained_on[:12]}) than the one in "
            f"use ({base.name}, {base.sha256[:12]}).",
            "Use that base, or onboard the intern again on this one.",
        )
    file = read_gguf(base.gguf)
    for key, found in _hashes(base, file).items():
        _check_bound(adapter, key, base.name, found)
    _check_fit(adapter, file)


def _hashes(base: BaseModelRef, file: GgufFile) -> dict[str, str]:
    """Hashes of the base's tokenizer and chat template."""
    return {
        "tokenizer.sha256": file_sha256(base.tokenizer / "tokenizer.json"),
        "template.sha256": template_sha256(file.text("tokenizer.chat_template")),
    }


def _check_bound(adapter: GgufFile, key: str, base_name: str, found: str) -> None:
    name, learned = adapter.path.name, adapter.text(PREFIX + key)
    if not learned:
        raise BrokenFile(
            f"{name} does not say which {_BOUND[key]} it was trained with.",
            "Import an adapter that Interns exported.",
        )
    if learned != found:
        raise Incompatible(
            f"{name} was trained with another {_BOUND[key]} ({learned[:12]}) than {base_name} has "
            f"now ({found[:12]}), so its prompts would not look as when it learned.",
            "Put the base's files back as they were, or onboard the intern again.",
        )


def _read_adapter(path: Path) -> GgufFile:
    file = read_gguf(path)
    if file.text("general.type") != "adapter" or file.text("adapter.type") != "lora":
        raise BrokenFile(f"{path.name} is a GGUF file but no LoRA adapter.", "Check the path.")
    file.number("adapter.lora.alpha")
    return file


def _check_fit(adapter: GgufFile, base: GgufFile) -> None:
    name = adapter.path.name
    if adapter.text("general.architecture") != base.text("general.architecture"):
        raise Incompatible(f"{name} is for another family of models.", "Use the base it names.")
    if not adapter.tensors:
        raise BrokenFile(f"{name} holds no weights.", "Export the adapter anew.")
    for tensor, info in adapter.tensors.items():
        target, _, side = tensor.rpartition(".")
        pair = adapter.tensors.get(f"{target}.{'lora_b' if side == 'lora_a' else 'lora_a'}")
        if side not in ("lora_a", "lora_b") or pair is None or info.kind not in _ALLOWED:
            raise BrokenFile(f"{name}: {tensor} is not half of a LoRA.", "Export it anew.")
        if target not in base.tensors:
            raise Incompatible(
                f"{name} changes {target}, which the base has not.", "Check the base."
            )
        if side == "lora_a":
            _check_pair(adapter, tensor, info.shape, pair.shape, base.tensors[target].shape)
        if not np.isfinite(adapter.array(tensor)).all():
            raise BrokenFile(
                f"{name}: {tensor} holds numbers that are not finite.", "Train it anew."
            )


def _check_pair(
    adapter: GgufFile,
    tensor: str,
    a: tuple[int, ...],
    b: tuple[int, ...],
    weight: tuple[int, ...],
) -> None:
    fits = len(a) == len(b) == len(weight) == 2 and a[0] == b[1]
    if not fits or (b[0], a[1]) != weight:
        raise Incompatible(
            f"{adapter.path.name}: {tensor} has shape {a} x {b} where the base has {weight}.",
            "Use the base the adapter was trained on.",
        )


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank = int(config["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFile(
            f"{folder.name} has no readable adapter_config.json.", "Give the folder PEFT saved."
        ) from error
    refused = {
        "it is no LoRA": config.get("peft_type", "LORA") != "LORA",
        "it uses DoRA": config.get("use_dora"),
        "it trains biases": config.get("bias", "none") != "none" or config.get("lora_bias"),
        "it retrains whole modules": config.get("modules_to_save"),
        "it trains single tokens": config.get("trainable_token_indices"),
        "it transposes weights": config.get("fan_in_fan_out"),
        "its rank is below 1": rank < 1,
        "it starts from a changed base": config.get("init_lora_weights", True) not in _PLAIN_INIT,
    }
    for reason, found in refused.items():
        if found:
            raise Incompatible(
                f"The adapter cannot become GGUF: {reason}.", "Train a plain LoRA or rsLoRA."
            )
    return dict(config)


def _tensors(
    folder: Path, config: Mapping[str, Any], base: GgufFile
) -> dict[str, npt.NDArray[np.float32]]:
    arch = base.text("general.architecture")
    family = family_of_arch(arch)
    heads = int(base.number(f"{arch}.attention.head_count"))
    kv_heads = int(base.number(f"{arch}.attention.head_count_kv", heads))
    weights = Weights.of_folder(folder, "adapter_model")
    served = family.modules.values()
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for key in weights:
        found = _KEY.match(key)
        target = gguf_name(family, f"{found['module']}.weight") if found else None
        if found is None or target is None or target.split(".")[-2] not in served:
            raise Incompatible(
                f"The adapter trains {key}, which cannot be served.",
                f"Train only these modules: {', '.join(family.trainable())}.",
            )
        value = weights[key]
        if found["side"] == "B":
            value = value * np.float32(_scale(config, found["module"], value.shape[1]))
            rows = heads_of(target, heads, kv_heads)
            value = permute(value, rows) if family.permutes_qk and rows else value
        tensors[f"{target}.lora_{found['side'].lower()}"] = np.ascontiguousarray(value)
    return tensors


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = float(config.get("lora_alpha", 8))
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(value)
            break
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)
