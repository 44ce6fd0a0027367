"""Small real things for tests: random LoRAs on the starter, and sealed version folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file
from scipy import special

from interns.base_model import BaseModelRef
from interns.bases import starter
from interns.gguf.adapter_file import file_sha256, template_sha256, write_adapter_gguf
from interns.gguf.reader import read_gguf
from interns.intern import Profile
from interns.manifest import seal_folder, write_manifest
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.skill import Skill

# Nats by which two equal computations in 32 bits differ at most: a KL divergence of at most half its
# square. Measured over 150 answers on the starter in 32 bits: 9e-6.
SAME = 1e-4

# Where the comparisons with torch compute: 0 is the processor, as in every other run of them.
GPU_LAYERS = int(os.environ.get("INTERNS_TEST_GPU_LAYERS", "0"))

HIDDEN, NARROW, FEED, LAYERS, RANK = 512, 256, 1408, 9, 4  # of the starter
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, NARROW),
    "self_attn.v_proj": (HIDDEN, NARROW),
    "mlp.down_proj": (FEED, HIDDEN),
}


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Natural log-probabilities along the last axis."""
    found: npt.NDArray[np.float32] = special.log_softmax(logits, axis=-1)
    return found


def spoken(engine: LlamaEngine, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Log-probabilities among what an answer may hold: no control token but those that end it."""
    logits = logits.copy()
    logits[:, engine._words.hidden_tokens] = -np.inf
    return log_softmax(logits)


def random_peft(folder: Path, *, seed: int = 0, size: float = 0.3) -> Path:
    """Write a PEFT folder with a random LoRA for the starter base."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        for module, (width, out) in SHAPES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            a = random.normal(size=(RANK, width)) / width**0.5
            b = random.normal(size=(out, RANK)) * size
            tensors[f"{name}.lora_A.weight"] = a.astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = b.astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": RANK,
        "use_rslora": False,
        "bias": "none",
        "target_modules": sorted({module.split(".")[1] for module in SHAPES}),
        "base_model_name_or_path": "starter",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def version_folder(
    folder: Path,
    name: str = "triage",
    *,
    seed: int = 0,
    skill: Skill = Skill.CLASSIFY,
    labels: tuple[str, ...] = ("delivery", "refund"),
    base: BaseModelRef | None = None,
    exemplars: tuple[str, ...] = ("Where is my parcel?", "I want my money back."),
) -> Path:
    """Write a sealed version folder around a random LoRA."""
    base = base or starter()
    peft = random_peft(folder / "peft", seed=seed)
    write_adapter_gguf(peft, base, folder / "adapter.gguf", metadata={})
    profile = Profile(name, skill, "Sort customer messages.", labels=labels, max_tokens=16)
    template = read_gguf(base.gguf).text("tokenizer.chat_template")
    write_manifest(
        folder,
        profile,
        {
            "name": base.name,
            "sha256": base.sha256,
            "tokenizer_sha256": file_sha256(base.tokenizer / "tokenizer.json"),
            "template_sha256": template_sha256(template),
        },
    )
    exam = {"metric": "accuracy", "score": 0.9, "baseline": 0.5, "examples": 10, "passed": True}
    (folder / "exam.json").write_text(json.dumps(exam))
    (folder / "recipe.json").write_text(json.dumps({"seed": seed}))
    (folder / "dataset.json").write_text(json.dumps({"fingerprint": "0" * 64}))
    (folder / "exemplars.json").write_text(json.dumps(list(exemplars)))
    seal_folder(folder)
    return folder
