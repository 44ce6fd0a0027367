"""Rotary positions of a base: how far apart they turn, and how long contexts stretch them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf import GGUFWriter
from gguf.constants import RopeScalingType

from interns.errors import BrokenFile, Incompatible
from interns.gguf.reader import GgufFile

FREQUENCIES = "rope_freqs.weight"
RECORDED = "interns.rope_parameters"  # llama.cpp keeps the factors, not what they were made of
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        *("factor", "low_freq_factor", "high_freq_factor"),
        "original_max_position_embeddings",
    ),
}
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
_LLAMA3_CONTEXT = 8192

Rope = Mapping[str, Any]


def rope_of_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary settings of a Hugging Face config, whichever of its two forms it uses.

    Returns:
        ``rope_type`` (``default``, ``linear`` or ``llama3``), ``rope_theta``, the scaling's own
        numbers, and ``local_theta`` where sliding layers turn at another rate.

    Raises:
        BrokenFile: A number of the scaling is missing.
        Incompatible: The scaling is of a kind that is not supported.
    """
    given = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    local = given.get("sliding_attention")
    if "full_attention" in given:
        given = dict(given["full_attention"])
    kind = str(given.pop("type", "") or given.get("rope_type") or "default")
    if kind not in _NEEDED:
        raise Incompatible(
            f"The base scales its rotary positions in a way that is not supported ({kind}).",
            "Choose a base with a shorter context, or a ready-made GGUF of it.",
        )
    missing = [key for key in _NEEDED[kind] if not isinstance(given.get(key), int | float)]
    if missing:
        raise BrokenFile(f"The base's rotary scaling lacks {missing[0]}.", "Fetch the base anew.")
    given["rope_type"] = kind
    gemma3 = config.get("model_type") == "gemma3_text"
    theta = given.get("rope_theta") or config.get("rope_theta") or (1e6 if gemma3 else 1e4)
    given["rope_theta"] = float(theta)
    if gemma3:
        there = (local or {}).get("rope_theta") or config.get("rope_local_base_freq") or 1e4
        given["local_theta"] = float(there)
    return given


def llama3_factors(rope: Rope, head_dim: int) -> npt.NDArray[np.float32]:
    """By how much each frequency is divided, shape (head_dim / 2,).

    Slow turns are stretched by `factor`, fast ones stay, those between are blended (Llama 3.1,
    Grattafiori et al. 2024; the same as ``_compute_llama3_parameters`` of transformers).
    """
    positions = np.arange(0, head_dim, 2, dtype=np.float64) / head_dim
    wavelength = 2 * np.pi * np.power(float(rope["rope_theta"]), positions)
    factor, low, high = (
        float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor")
    )
    turns = float(rope["original_max_position_embeddings"]) / wavelength
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - kept) / factor + kept)).astype(np.float32)


def write_rope(writer: GGUFWriter, rope: Rope) -> None:
    """Write the settings; `rope_tensors` gives the weights that belong to them."""
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("local_theta"):
        writer.add_rope_freq_base_swa(rope["local_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if rope["rope_type"] == "llama3":
        writer.add_string(RECORDED, json.dumps(dict(rope), sort_keys=True))


def rope_tensors(rope: Rope, head_dim: int) -> dict[str, npt.NDArray[np.float32]]:
    """Weights that a scaling adds to the file."""
    return {FREQUENCIES: llama3_factors(rope, head_dim)} if rope["rope_type"] == "llama3" else {}


def rope_of_gguf(file: GgufFile, head_dim: int) -> dict[str, Any]:
    """Rotary settings of a base GGUF, as `rope_of_config` gives them.

    Raises:
        Incompatible: Its factors cannot be expressed in a Hugging Face config.
    """
    arch = file.text("general.architecture")
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": file.number(f"{arch}.rope.freq_base", 10000.0),
    }
    if arch == "gemma3":
        rope["local_theta"] = file.number(f"{arch}.rope.freq_base_swa", 10000.0)
    scaling = file.text(f"{arch}.rope.scaling.type", "none")
    if scaling == "linear":
        factor = file.number(f"{arch}.rope.scaling.factor", 1.0)
        return rope | {"rope_type": "linear", "factor": factor}
    if FREQUENCIES in file.tensors:
        return rope | _llama3_of(file, rope, head_dim)
    if scaling not in {"none", ""} or any("rope_factors" in name for name in file.tensors):
        raise Incompatible(
            f"{file.path.name} scales its rotary positions ({scaling}), which is not supported.",
            "Choose a base with a shorter context.",
        )
    return rope


def _llama3_of(file: GgufFile, rope: Rope, head_dim: int) -> dict[str, Any]:
    """What the factors in the file were made of: as recorded, or as Meta's own models have it."""
    factors = file.array(FREQUENCIES).reshape(-1)
    recorded = file.text(RECORDED)
    guess = {
        "rope_type": "llama3",
        "factor": float(factors.max()),
        "original_max_position_embeddings": _LLAMA3_CONTEXT,
        **_LLAMA3,
    }
    found = json.loads(recorded) if recorded else guess
    if not np.allclose(llama3_factors({**rope, **found}, head_dim), factors, rtol=1e-3):
        raise Incompatible(
            f"{file.path.name} scales its rotary positions in an unknown way.",
            "Pull the base from its Hugging Face folder instead.",
        )
    return dict(found)
