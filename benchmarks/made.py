"""What the benchmarks measure on: a random Llama of about 190 M parameters, and random adapters.

Random weights are as fast as learned ones, and only speed is measured on them. Both come from the
project's own writers, so they are files that an office could use.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.bases import starter
from interns.gguf.adapter_file import file_sha256, write_adapter_gguf
from interns.gguf.base_file import hf_config, write_base_gguf
from interns.gguf.families import MODULES
from interns.gguf.reader import read_gguf
from interns.gguf.weights import write_safetensors

RANK = 16
LAYERS, WIDTH, WIDE, HEAD = 14, 1024, 2816, 64
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "interns-benchmarks"


def made_base(name: str) -> BaseModelRef:
    """The base that a benchmark is asked for by name: ``starter`` or ``large``."""
    return starter() if name == "starter" else large()


def large() -> BaseModelRef:
    """A random Llama of about 190 M parameters with the starter's tokenizer, as Q8_0.

    Made once, in about ten seconds, and kept outside the working tree.
    """
    path = CACHE / f"large-{LAYERS}x{WIDTH}-{starter().sha256[:8]}.gguf"  # has its tokenizer
    if not path.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            _write_large(Path(folder), path)
    return BaseModelRef("large", path, file_sha256(path), starter().tokenizer)


def _write_large(source: Path, out: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(starter().tokenizer / name, source / name)
    small = read_gguf(starter().gguf)
    config = {
        **hf_config(small),
        "hidden_size": WIDTH,
        "intermediate_size": WIDE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": WIDTH // HEAD,
        "num_key_value_heads": WIDTH // HEAD,
        "head_dim": HEAD,
        "max_position_embeddings": 4096,
    }
    (source / "config.json").write_text(json.dumps(config))
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        shapes |= {
            f"{stem}.{module}.weight": _shape(module, WIDTH, WIDE, WIDTH) for module in MODULES
        }
        shapes |= {
            f"{stem}.{norm}_layernorm.weight": (WIDTH,) for norm in ("input", "post_attention")
        }
    chance = np.random.default_rng(0)

    def drawn(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        if len(shape) == 1:
            return np.ones(shape, dtype=np.float32)
        return chance.standard_normal(shape, dtype=np.float32) * np.float32(shape[1] ** -0.5)

    weights = {name: (shape, partial(drawn, shape)) for name, shape in shapes.items()}
    write_safetensors(source / "model.safetensors", weights)
    write_base_gguf(source, out, "Q8_0", "large", template=small.text("tokenizer.chat_template"))


def make_adapter(base: BaseModelRef, folder: Path, seed: int) -> Adapter:
    """A random rank-16 LoRA on all linear layers of a base, written into a new folder."""
    folder.mkdir()
    config = hf_config(read_gguf(base.gguf))
    chance = np.random.default_rng(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for module in MODULES:
            rows, columns = _shape(
                module,
                config["hidden_size"],
                config["intermediate_size"],
                config["num_key_value_heads"] * config["head_dim"],
            )
            key = f"base_model.model.model.layers.{layer}.{module}"
            a = chance.standard_normal((RANK, columns), dtype=np.float32)
            b = chance.standard_normal((rows, RANK), dtype=np.float32)
            tensors[f"{key}.lora_A.weight"] = a * np.float32(0.05)
            tensors[f"{key}.lora_B.weight"] = b * np.float32(0.01)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "use_rslora": True}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return write_adapter_gguf(folder, base, folder / "adapter.gguf", metadata={})


def _shape(module: str, width: int, wide: int, narrow: int) -> tuple[int, int]:
    """Rows and columns of a layer's matrix; keys and values have `narrow` rows."""
    if module == "mlp.down_proj":
        return width, wide
    if module in {"self_attn.k_proj", "self_attn.v_proj"}:
        return narrow, width
    return (wide if module.startswith("mlp.") else width), width
