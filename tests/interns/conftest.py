"""A base in 32 bits, one engine for all tests, and small random adapters.

In 32 bits nothing is rounded: an answer that differs there is a fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.bases import starter, torch_folder
from interns.gguf.adapter_file import file_sha256, write_adapter_gguf
from interns.gguf.base_file import hf_config, write_base_gguf
from interns.gguf.reader import read_gguf
from interns.paths import Paths
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.openai_runtime import OpenAIRuntime
from tests.interns.far_end import FarEnd
from tests.tiny_bases import TINY

MakePeft = Callable[..., Path]
MakeAdapter = Callable[..., Adapter]


@pytest.fixture(scope="session")
def starter_base() -> BaseModelRef:
    """The embedded base, in 8 bits as it serves."""
    return starter()


@pytest.fixture(scope="session")
def base(starter_base: BaseModelRef, tmp_path_factory: pytest.TempPathFactory) -> BaseModelRef:
    folder = tmp_path_factory.mktemp("base")
    gguf = folder / "base.gguf"
    small = BaseModelRef("tiny", TINY / "base.gguf", file_sha256(TINY / "base.gguf"), TINY)
    write_base_gguf(torch_folder(small, Paths(folder)), gguf, "F32", name="tiny")
    return BaseModelRef("tiny", gguf, file_sha256(gguf), TINY)


@pytest.fixture(scope="session")
def engine(base: BaseModelRef) -> Iterator[LlamaEngine]:
    with LlamaEngine(base, context_tokens=4096, slots=8, threads=1, exact=True) as made:
        yield made


def _shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    width, wide = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    return {
        "self_attn.q_proj": (q, width),
        "self_attn.k_proj": (kv, width),
        "self_attn.v_proj": (kv, width),
        "self_attn.o_proj": (width, q),
        "mlp.gate_proj": (wide, width),
        "mlp.up_proj": (wide, width),
        "mlp.down_proj": (width, wide),
    }


@pytest.fixture(scope="session")
def make_peft(tmp_path_factory: pytest.TempPathFactory, base: BaseModelRef) -> MakePeft:
    """Write a random LoRA the way PEFT saves one; returns the folder."""

    def make(
        seed: int = 0,
        *,
        rank: int = 4,
        gguf: Path | None = None,
        strength: float = 0.03,
        **settings: Any,
    ) -> Path:
        folder = tmp_path_factory.mktemp("peft")
        config = hf_config(read_gguf(gguf or base.gguf))
        random = np.random.default_rng(seed)
        tensors = {}
        for layer in range(config["num_hidden_layers"]):
            for module, (rows, columns) in _shapes(config).items():
                key = f"base_model.model.model.layers.{layer}.{module}"
                a = random.normal(0, columns**-0.5, (rank, columns))
                b = random.normal(0, strength, (rows, rank))
                tensors[f"{key}.lora_A.weight"] = a.astype(np.float32)
                tensors[f"{key}.lora_B.weight"] = b.astype(np.float32)
        save_file(tensors, folder / "adapter_model.safetensors")
        plain = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": 8,
            "target_modules": sorted({m.split(".")[1] for m in _shapes(config)}),
        }
        (folder / "adapter_config.json").write_text(json.dumps(plain | settings))
        return folder

    return make


@pytest.fixture(scope="session")
def make_adapter(make_peft: MakePeft, base: BaseModelRef) -> MakeAdapter:
    """Export a random LoRA for the base, or for the same in other numbers."""

    def make(
        seed: int = 0,
        *,
        use_rslora: bool = True,
        strength: float = 0.03,
        rank: int = 4,
        on: BaseModelRef = base,
    ) -> Adapter:
        folder = make_peft(seed, rank=rank, gguf=on.gguf, use_rslora=use_rslora, strength=strength)
        return write_adapter_gguf(folder, on, folder / "adapter.gguf", metadata={})

    return make


@pytest.fixture(scope="session")
def adapters(make_adapter: MakeAdapter) -> tuple[Adapter, Adapter, Adapter]:
    """Three different interns, strong enough to be told apart."""
    first, second, third = (make_adapter(seed, strength=0.15) for seed in (4, 2, 3))
    return first, second, third


@pytest.fixture
def far() -> Iterator[FarEnd]:
    made = FarEnd()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def runtime(far: FarEnd) -> Iterator[OpenAIRuntime]:
    made = OpenAIRuntime(starter(), far.url)
    yield made
    made.close()
