"""Every family, base and adapter: llama.cpp computes what torch and PEFT compute."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from interns.base_model import BaseModelRef
from interns.errors import Incompatible, InvalidInput
from interns.gguf.adapter_file import file_sha256, write_adapter_gguf
from interns.gguf.base_file import write_base_gguf, write_hf_folder
from interns.gguf.families import family_of_arch, family_of_config
from interns.gguf.reader import read_gguf
from interns.gguf.tokenizer_json import (
    read_tokenizer,
    special_tokens,
    tokenizer_of_gguf,
    write_tokenizer,
)
from interns.runtime.llama_cpp.engine import LlamaEngine
from tests.exact_logits import ExactLogits
from tests.making import GPU_LAYERS, log_softmax
from tests.tiny_bases import KINDS, sentencepiece_json, write_tiny_base
from training.recipe import ALL_LINEAR

MEAN_KL, TOP1 = 1e-5, 0.999
LORAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "rank": {"rank_pattern": {"down_proj": 2, r"layers\.1\.self_attn\.o_proj": 7}},
    "alpha": {"alpha_pattern": {"o_proj": 3, r"layers\.0\.mlp\.down_proj": 24}},
    "all": {
        "use_rslora": True,
        "rank_pattern": {"o_proj": 2},
        "alpha_pattern": {"down_proj": 9},
    },
    "pissa": {"init_lora_weights": "pissa", "lora_alpha": 6},
}


@dataclass(frozen=True)
class Pair:
    """The same random base twice."""

    source: Path
    base: BaseModelRef
    engine: LlamaEngine
    exact: ExactLogits
    prompts: list[list[int]]

    def torch(self, folder: Path | None = None) -> Any:
        model = AutoModelForCausalLM.from_pretrained(
            folder or self.source, attn_implementation="eager"
        )
        return model.eval()


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp(request.param.replace(".", "-"))
    source = write_tiny_base(folder / "hf", request.param)
    gguf = folder / "base.gguf"
    write_base_gguf(source, gguf, "F32", name=request.param)
    write_tokenizer(read_tokenizer(source), special_tokens(source), folder)
    base = BaseModelRef(request.param, gguf, file_sha256(gguf), folder)
    exact = ExactLogits(gguf)
    with LlamaEngine(base, context_tokens=256, slots=1, threads=1, gpu_layers=GPU_LAYERS) as engine:
        assert engine.stats()["gpu_layers"] == GPU_LAYERS, "this llama.cpp was built without a GPU"
        dice = random.Random(1)
        rows = read_gguf(gguf).tensors["token_embd.weight"].shape[0] - 32
        prompts = [[dice.randrange(5, rows) for _ in range(120)] for _ in range(10)]
        yield Pair(source, base, engine, exact, prompts)
    exact.close()


def agreement(pair: Pair, model: Any, adapter: Any = None) -> tuple[float, float]:
    """Mean KL in nats and share of equal best tokens, over all prompts.

    The KL is that of the engine, whose cache rounds keys and values to 16 bits. The best tokens are
    those of llama.cpp without that rounding: random logits have too many ties for it.
    """
    kls, same = [], []
    for ids in pair.prompts:
        with torch.no_grad():
            expected = model(torch.tensor([ids])).logits[0].numpy()
        found = pair.engine.logits(ids, adapter=adapter)
        first, second = log_softmax(expected), log_softmax(found)
        kls.append((np.exp(first) * (first - second)).sum(-1))
        exact = pair.exact(ids, adapter.path if adapter else None)
        same.append(expected.argmax(-1) == exact.argmax(-1))
    return float(np.concatenate(kls).mean()), float(np.concatenate(same).mean())


def random_lora(model: Any, seed: int, **settings: Any) -> Any:
    """A PEFT model whose adapter does something."""
    targets = family_of_config(model.config.to_dict()).trainable()
    config = LoraConfig(**{
        "r": 4,
        "lora_alpha": 8,
        "target_modules": list(targets),
        "bias": "none",
        **settings,
    })
    torch.manual_seed(seed)
    return get_peft_model(model, config).eval()


def stir(tuned: Any) -> None:
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "lora_B" in name or "lora_A" in name:
                weight.add_(torch.randn_like(weight) * 0.1)


def test_base_computes_what_torch_computes(pair):
    kl, top1 = agreement(pair, pair.torch())
    assert kl <= MEAN_KL
    assert top1 >= TOP1


def test_dequantized_copy_is_the_same_base(pair, tmp_path):
    write_hf_folder(pair.base.gguf, pair.base.tokenizer, tmp_path / "again")
    kl, top1 = agreement(pair, pair.torch(tmp_path / "again"))
    assert kl <= MEAN_KL
    assert top1 >= TOP1
    before = load_file(pair.source / "model.safetensors")
    after = load_file(tmp_path / "again" / "model.safetensors")
    for name, value in after.items():
        np.testing.assert_allclose(before[name], value, atol=1e-6)


@pytest.mark.parametrize("lora", LORAS)
def test_adapter_computes_what_peft_computes(pair, lora, tmp_path):
    model = pair.torch()
    tuned = random_lora(model, 3, **LORAS[lora])
    saving: dict[str, Any] = {}
    if lora == "pissa":  # the base was changed; what is exported must fit the unchanged one
        tuned.peft_config["default"].init_lora_weights = True
        tuned.save_pretrained(tmp_path / "before")
        tuned.peft_config["default"].init_lora_weights = "pissa"
        saving = {"path_initial_model_for_weight_conversion": str(tmp_path / "before")}
    stir(tuned)
    tuned.save_pretrained(tmp_path / "peft", **saving)
    adapter = write_adapter_gguf(tmp_path / "peft", pair.base, tmp_path / "a.gguf", metadata={})
    kl, top1 = agreement(pair, tuned, adapter)
    assert kl <= MEAN_KL
    assert top1 >= TOP1
    assert agreement(pair, tuned)[0] > 100 * MEAN_KL


def test_saved_adapter_of_a_changed_base_is_refused(pair, tmp_path):
    tuned = random_lora(pair.torch(), 3, init_lora_weights="pissa")
    tuned.save_pretrained(tmp_path / "peft")
    with pytest.raises(Incompatible, match="changed base"):
        write_adapter_gguf(tmp_path / "peft", pair.base, tmp_path / "a.gguf", metadata={})


def test_token_ids_are_equal_on_both_sides(pair, tmp_path):
    written = texts()
    if pair.base.name == "phi3":  # llama.cpp lets its markers swallow ASCII blanks only
        written = [text for text in written if not re.search(r"(</s>|<turn>)\s*\u00a0", text)]
    copies = [pair.base.tokenizer, tmp_path]
    write_tokenizer(tokenizer_of_gguf(read_gguf(pair.base.gguf)), {}, tmp_path)
    ours = [pair.engine.tokenize(text) for text in written]
    for folder in copies:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        theirs = tokenizer(written, add_special_tokens=False)["input_ids"]
        assert theirs == ours


def texts() -> list[str]:
    from training.base_check import PIECES

    dice = random.Random(0)
    pieces = [*PIECES, "<s>", "</s>", "<turn>", "▁", " ▁", "<0x41>"]
    made = [
        dice.choice(("", " ", "  ")).join(dice.choices(pieces, k=dice.randint(1, 10)))
        for _ in range(1500)
    ]
    own = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text().splitlines()
    return [*made, *own]


def test_recipe_names_are_those_of_the_family(pair):
    family = family_of_arch(read_gguf(pair.base.gguf).text("general.architecture"))
    assert set(family.targets(ALL_LINEAR)) == set(family.trainable())
    for name in ("lm_head", "embed_tokens", "c_attn"):
        with pytest.raises(InvalidInput, match=name):
            family.targets([name])


@pytest.mark.parametrize("scheme", ["first", "never", "always"])
def test_metaspace_is_brought_to_what_llama_cpp_does(tmp_path, scheme):
    data = sentencepiece_json(prefix=False)
    data["normalizer"] = None
    data["pre_tokenizer"] = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": scheme,
        "split": False,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    found = read_tokenizer(tmp_path)
    expected = sentencepiece_json(prefix=scheme == "always")["normalizer"]
    parts = expected.get("normalizers", [expected])
    assert found["normalizer"]["normalizers"] == parts
    assert found["pre_tokenizer"] is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model": {"type": "Unigram", "vocab": []}}, "Unigram"),
        ({"normalizer": {"type": "Lowercase"}}, "prepares texts"),
        ({"pre_tokenizer": {"type": "Whitespace"}}, "prepares texts"),
        ({"pre_tokenizer": {"type": "ByteLevel"}}, "rewrites texts"),
    ],
)
def test_tokenizer_is_refused_when_llama_cpp_cannot_represent_it(tmp_path, change, why):
    source = write_tiny_base(tmp_path / "hf", "mistral")
    data = sentencepiece_json(prefix=False) | change
    (source / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(Incompatible, match=why) as caught:
        write_base_gguf(source, tmp_path / "base.gguf", "F32")
    assert caught.value.fix
    assert not (tmp_path / "base.gguf").exists()


def test_tokenizer_is_refused_when_bytes_are_missing(tmp_path):
    source = write_tiny_base(tmp_path / "hf", "mistral")
    data = sentencepiece_json(prefix=False)
    data["model"]["byte_fallback"] = False
    (source / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(Incompatible, match="bytes to fall back"):
        write_base_gguf(source, tmp_path / "base.gguf", "F32")


def test_quantized_base_is_its_own_dequantized_copy(tmp_path):
    source = write_tiny_base(tmp_path / "hf", "gemma3")
    write_base_gguf(source, tmp_path / "base.gguf", "Q8_0")
    write_hf_folder(tmp_path / "base.gguf", source, tmp_path / "copy")
    file = read_gguf(tmp_path / "base.gguf")
    copy = load_file(tmp_path / "copy" / "model.safetensors")
    np.testing.assert_array_equal(
        copy["model.layers.0.mlp.up_proj.weight"], file.array("blk.0.ffn_up.weight")
    )
