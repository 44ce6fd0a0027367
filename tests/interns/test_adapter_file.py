"""Adapters: what is written is what PEFT meant, and only fitting files reach llama.cpp."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from interns.adapter import Adapter
from interns.bases import torch_folder
from interns.errors import BrokenFile, Incompatible, InternsError, NotFound
from interns.gguf.adapter_file import (
    check_adapter,
    file_sha256,
    read_adapter_metadata,
    write_adapter_gguf,
)
from interns.gguf.base_file import hf_config
from interns.gguf.families import permute, unpermute
from interns.gguf.reader import read_gguf
from interns.paths import Paths
from tests.making import log_softmax

PROMPT = "<|endoftext|><|im_start|>user\nWhere is my card?<|im_end|>\n<|im_start|>assistant\n"


def _tensor(folder: Path, name: str) -> np.ndarray:
    return load_file(folder / "adapter_model.safetensors")[
        f"base_model.model.model.layers.0.{name}.weight"
    ]


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 8 / 4),
        ({"use_rslora": True}, 8 / 2),
        ({"alpha_pattern": {"o_proj": 2}}, 2 / 4),
        ({"alpha_pattern": {r"layers\.0\.self_attn\.o_proj": 6}, "use_rslora": True}, 6 / 2),
    ],
)
def test_scale_is_folded_into_b_when_exported(make_peft, base, tmp_path, settings, scale):
    folder = make_peft(0, **settings)
    write_adapter_gguf(folder, base, tmp_path / "a.gguf", metadata={})
    file = read_gguf(tmp_path / "a.gguf")
    np.testing.assert_allclose(
        file.array("blk.0.attn_output.weight.lora_b"),
        _tensor(folder, "self_attn.o_proj.lora_B") * np.float32(scale),
    )
    assert file.number("adapter.lora.alpha") == 0.0


def test_only_b_of_q_and_k_is_permuted_when_exported(make_peft, base, tmp_path):
    folder = make_peft(0, lora_alpha=4)
    write_adapter_gguf(folder, base, tmp_path / "a.gguf", metadata={})
    file = read_gguf(tmp_path / "a.gguf")
    heads = hf_config(read_gguf(base.gguf))["num_attention_heads"]
    q = _tensor(folder, "self_attn.q_proj.lora_B")
    np.testing.assert_array_equal(file.array("blk.0.attn_q.weight.lora_b"), permute(q, heads))
    np.testing.assert_array_equal(unpermute(permute(q, heads), heads), q)
    a = _tensor(folder, "self_attn.q_proj.lora_A")
    np.testing.assert_array_equal(file.array("blk.0.attn_q.weight.lora_a"), a)
    v = _tensor(folder, "self_attn.v_proj.lora_B")
    np.testing.assert_array_equal(file.array("blk.0.attn_v.weight.lora_b"), v)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_llama_cpp_agrees_with_peft_when_adapter_is_exported(
    make_peft, base, engine, tmp_path, use_rslora
):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = make_peft(5, use_rslora=use_rslora, strength=0.06)
    adapter = write_adapter_gguf(folder, base, tmp_path / "a.gguf", metadata={})
    ids = engine.tokenize(PROMPT)
    model = AutoModelForCausalLM.from_pretrained(torch_folder(base, Paths(tmp_path)))
    with torch.no_grad():
        plain = model(torch.tensor([ids])).logits[0].numpy()
        tuned = PeftModel.from_pretrained(model, folder)(torch.tensor([ids])).logits[0].numpy()
    ours = log_softmax(engine.logits(ids, adapter=adapter))
    expected, untuned = log_softmax(tuned), log_softmax(plain)
    kl = (np.exp(expected) * (expected - ours)).sum(-1)
    assert kl.mean() < 5e-3
    assert (np.exp(expected) * (expected - untuned)).sum(-1).mean() > 20 * kl.mean()


def test_records_come_back_when_metadata_is_read(make_peft, base, tmp_path):
    out = tmp_path / "a.gguf"
    write_adapter_gguf(make_peft(0), base, out, metadata={"recipe.sha256": "ab", "exam.score": "1"})
    recorded = read_adapter_metadata(out)
    assert recorded["base.sha256"] == base.sha256
    assert recorded["recipe.sha256"] == "ab"
    assert recorded["exam.score"] == "1"
    assert len(recorded["template.sha256"]) == len(recorded["tokenizer.sha256"]) == 64


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"init_lora_weights": "pissa"},
        {"peft_type": "LOHA"},
        {"trainable_token_indices": [1]},
        {"fan_in_fan_out": True},
        {"r": 0},
    ],
)
def test_adapter_is_refused_when_gguf_cannot_hold_it(make_peft, base, tmp_path, settings):
    with pytest.raises(Incompatible):
        write_adapter_gguf(make_peft(0, **settings), base, tmp_path / "a.gguf", metadata={})
    assert not list(tmp_path.iterdir())


def test_adapter_is_refused_when_it_trains_the_head(make_peft, base, tmp_path):
    folder = make_peft(0)
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    tensors["base_model.model.lm_head.lora_A.weight"] = np.zeros((4, 256), np.float32)
    save_file(tensors, weights)
    with pytest.raises(Incompatible, match="lm_head"):
        write_adapter_gguf(folder, base, tmp_path / "a.gguf", metadata={})


def test_adapter_is_refused_when_its_config_is_missing(base, tmp_path):
    with pytest.raises(BrokenFile, match="adapter_config"):
        write_adapter_gguf(tmp_path, base, tmp_path / "a.gguf", metadata={})


def test_adapter_is_refused_when_numbers_are_not_finite(make_peft, base, tmp_path):
    folder = make_peft(0)
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    tensors[next(iter(tensors))][0, 0] = np.nan
    save_file(tensors, weights)
    with pytest.raises(BrokenFile, match="finite"):
        write_adapter_gguf(folder, base, tmp_path / "a.gguf", metadata={})


def test_adapter_is_refused_when_trained_on_another_base(adapters, base, engine):
    other = dataclasses.replace(base, sha256="0" * 64)
    with pytest.raises(Incompatible, match="another base"):
        check_adapter(adapters[0].path, other)
    with pytest.raises(Incompatible, match="another base"):
        engine.logits([0], adapter=dataclasses.replace(adapters[0], base_sha256="0" * 64))


def test_adapter_is_refused_when_the_tokenizer_is_another(adapters, base, tmp_path):
    shutil.copy(base.tokenizer / "tokenizer.json", tmp_path)
    with (tmp_path / "tokenizer.json").open("a") as file:
        file.write("\n")
    other = dataclasses.replace(base, tokenizer=tmp_path)
    with pytest.raises(Incompatible, match="another tokenizer") as caught:
        check_adapter(adapters[0].path, other)
    assert caught.value.fix


def test_runtime_refuses_adapter_when_the_template_is_another(adapters, engine, tmp_path):
    path = _with_other(adapters[0].path, "template.sha256", tmp_path)
    changed = Adapter(path, file_sha256(path), adapters[0].base_sha256)
    with pytest.raises(Incompatible, match="another chat template"):
        engine.logits([0], adapter=changed)


def test_runtime_refuses_adapter_when_the_tokenizer_is_another(adapters, engine, tmp_path):
    path = _with_other(adapters[0].path, "tokenizer.sha256", tmp_path)
    changed = Adapter(path, file_sha256(path), adapters[0].base_sha256)
    with pytest.raises(Incompatible, match="another tokenizer"):
        engine.logits([0], adapter=changed)


def test_adapter_is_refused_when_it_does_not_say_what_it_was_trained_with(adapters, base, tmp_path):
    path = tmp_path / "adapter.gguf"
    path.write_bytes(adapters[0].path.read_bytes().replace(b"template.sha256", b"template.sha257"))
    with pytest.raises(BrokenFile, match="does not say which chat template"):
        check_adapter(path, base)


def _with_other(adapter: Path, key: str, folder: Path) -> Path:
    """A copy of an adapter that claims another hash for one of its parts."""
    known = read_adapter_metadata(adapter)[key].encode()
    path = folder / "adapter.gguf"
    path.write_bytes(adapter.read_bytes().replace(known, b"0" * 64))
    return path


def test_adapter_is_refused_when_shapes_do_not_fit(make_peft, base, tmp_path):
    folder = make_peft(0)
    weights = folder / "adapter_model.safetensors"
    narrow = {k: v[:, :-1] if "lora_A" in k else v for k, v in load_file(weights).items()}
    save_file({k: np.ascontiguousarray(v) for k, v in narrow.items()}, weights)
    with pytest.raises(Incompatible, match="shape"):
        write_adapter_gguf(folder, base, tmp_path / "a.gguf", metadata={})


def test_file_is_refused_when_it_is_a_base(base):
    with pytest.raises(BrokenFile, match="no LoRA"):
        check_adapter(base.gguf, base)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" * 100, b"GGUF" + b"\xff" * 200])
def test_file_is_refused_when_it_is_foreign(base, tmp_path, content):
    path = tmp_path / "adapter.gguf"
    path.write_bytes(content)
    with pytest.raises(BrokenFile):
        check_adapter(path, base)


def test_file_is_refused_when_it_is_missing(base, tmp_path):
    with pytest.raises(NotFound):
        check_adapter(tmp_path / "none.gguf", base)


def test_file_is_refused_when_truncated_anywhere(adapters, base, tmp_path):
    whole = adapters[0].path.read_bytes()
    path = tmp_path / "adapter.gguf"
    for cut in [*range(0, 4000, 37), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(BrokenFile):
            check_adapter(path, base)


def test_no_damage_in_the_header_crashes_when_bytes_are_changed(adapters, base, tmp_path):
    whole = adapters[0].path.read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "adapter.gguf"
    refused = 0
    for at in random.integers(0, 6000, 150):
        damaged = bytearray(whole)
        damaged[at] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            check_adapter(path, base)
        except InternsError:
            refused += 1
    assert refused > 75


def test_engine_refuses_adapter_when_file_changed_after_registration(adapters, engine, tmp_path):
    damaged = bytearray(adapters[0].path.read_bytes())
    damaged[-1] ^= 1
    path = tmp_path / "adapter.gguf"
    path.write_bytes(damaged)
    changed = Adapter(path, "f" * 64, adapters[0].base_sha256)
    with pytest.raises(BrokenFile, match="changed"):
        engine.logits([0], adapter=changed)


def test_metadata_cannot_forge_the_base_when_exported(make_peft, base, tmp_path):
    out = tmp_path / "a.gguf"
    write_adapter_gguf(make_peft(0), base, out, metadata={"base.sha256": "0" * 64})
    assert read_adapter_metadata(out)["base.sha256"] == base.sha256
