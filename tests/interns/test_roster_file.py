"""One file for a whole roster: llama.cpp computes every intern as torch and PEFT compute it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, Incompatible, NotFound, Unavailable
from interns.gguf.adapter_file import file_sha256, write_adapter_gguf
from interns.gguf.base_file import write_base_gguf
from interns.gguf.reader import read_gguf
from interns.gguf.roster_file import (
    RosterFile,
    check_packable,
    read_roster,
    write_roster_gguf,
)
from interns.gguf.tokenizer_json import read_tokenizer, special_tokens, write_tokenizer
from interns.runtime.llama_cpp.batch import ContextSize, Row
from interns.runtime.llama_cpp.library import Context, Model
from tests.exact_logits import ExactLogits
from tests.interns.test_families import random_lora, stir
from tests.making import log_softmax
from tests.tiny_bases import write_tiny_base

MEAN_KL, TOP1 = 1e-5, 0.999
LORAS: tuple[dict[str, Any], ...] = (
    {},
    {"r": 7, "use_rslora": True},
    {"r": 2, "target_modules": ["q_proj", "down_proj"]},
    {"rank_pattern": {"o_proj": 11}, "alpha_pattern": {"up_proj": 3}},
)


def _kl(first: np.ndarray, second: np.ndarray) -> float:
    p, q = log_softmax(first), log_softmax(second)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def tiny_base(
    folder: Path,
    kind: str,
    file_type: str = "F32",
    *,
    template: str | None = None,
    **changes: Any,
) -> BaseModelRef:
    """A random base of one of `KINDS` as a GGUF file, with another chat template if given."""
    source = write_tiny_base(folder / "hf", kind, **changes)
    if template is not None:
        (source / "chat_template.jinja").write_text(template)
    write_base_gguf(source, folder / "base.gguf", file_type, name=kind)
    write_tokenizer(read_tokenizer(source), special_tokens(source), folder)
    return BaseModelRef(kind, folder / "base.gguf", file_sha256(folder / "base.gguf"), folder)


@dataclass(frozen=True)
class Packed:
    """A tiny random Llama, four adapters, and what torch says of each."""

    base: BaseModelRef
    adapters: list[Adapter]
    roster: RosterFile
    prompts: list[list[int]]
    expected: list[list[np.ndarray]]

    def begun(self, who: int, prompt: list[int]) -> list[int]:
        """The prompt as the roster file wants it; 0 is the bare base."""
        adapter = self.adapters[who - 1]
        first = self.roster.tokens[adapter.sha256, adapter.scale] if who else prompt[0]
        return [first, *prompt[1:]]


@pytest.fixture(
    scope="module",
    params=[("llama", False, 2, 0), ("llama", True, 4, 5), ("llama-2", False, 4, 1)],
    ids=["llama", "tied, another beginning", "sentencepiece"],
)
def packed(request, tmp_path_factory) -> Packed:
    kind, tied, heads, begins = request.param
    folder = tmp_path_factory.mktemp(kind)
    base = tiny_base(folder, kind, tie_word_embeddings=tied, num_key_value_heads=heads)
    random = np.random.default_rng(3)
    words = read_gguf(base.gguf).tensors["token_embd.weight"].shape[0]
    prompts = [[begins, *random.integers(70, words - 40, 40).tolist()] for _ in range(6)]
    adapters, expected = [], []

    def torch_says(model: Any) -> list[np.ndarray]:
        with torch.no_grad():
            return [model(torch.tensor([ids])).logits[0].numpy() for ids in prompts]

    expected.append(torch_says(AutoModelForCausalLM.from_pretrained(folder / "hf").eval()))
    for seed, settings in enumerate(LORAS):
        tuned = random_lora(AutoModelForCausalLM.from_pretrained(folder / "hf"), seed, **settings)
        stir(tuned)
        tuned.save_pretrained(folder / f"peft{seed}")
        out = folder / f"{seed}.gguf"
        adapters.append(write_adapter_gguf(folder / f"peft{seed}", base, out, metadata={}))
        expected.append(torch_says(tuned.merge_and_unload()))
    roster = write_roster_gguf(base, adapters, folder / "roster.gguf", begins)
    return Packed(base, adapters, roster, prompts, expected)


@pytest.fixture(scope="module")
def exact(packed) -> Iterator[ExactLogits]:
    made = ExactLogits(packed.roster.path)
    yield made
    made.close()


@pytest.mark.parametrize("who", range(len(LORAS) + 1))
def test_every_intern_is_what_torch_merged(packed, exact, who):
    kls, same = [], []
    for prompt, expected in zip(packed.prompts, packed.expected[who], strict=True):
        found = exact(packed.begun(who, prompt))[:, : packed.roster.vocabulary]
        kls.append(_kl(expected, found))
        same.append(expected.argmax(-1) == found.argmax(-1))
    assert np.mean(kls) <= MEAN_KL
    assert np.concatenate(same).mean() >= TOP1
    others = [i for i in range(len(LORAS) + 1) if i != who]
    assert all(_kl(packed.expected[i][0], packed.expected[who][0]) > 0.01 for i in others)


def test_one_batch_holds_all_interns(packed):
    size = ContextSize(512, 8, 512, 512, 1, 1)
    model = Model(packed.roster.path)
    context = Context(model, size, packed.roster.vocabulary)
    prompt = packed.prompts[0]
    rows = [
        Row(token, position, (who,), output=True)
        for who in range(len(LORAS) + 1)
        for position, token in enumerate(packed.begun(who, prompt))
    ]
    order = np.random.default_rng(0).permutation(len(LORAS) + 1)
    rows = [row for who in order for row in rows if row.sequences == (who,)]
    assert context.decode(rows)
    for place, who in enumerate(order):
        found = context.logits()[place * len(prompt) : (place + 1) * len(prompt)]
        assert _kl(packed.expected[who][0], found) <= MEAN_KL
    context.close()
    model.close()


@pytest.mark.parametrize("file_type", ["F16", "Q8_0"])
def test_the_weights_of_the_base_keep_their_bytes(tmp_path, file_type):
    base = tiny_base(tmp_path, "llama", file_type)
    folder = tmp_path / "peft"
    random_lora(AutoModelForCausalLM.from_pretrained(tmp_path / "hf"), 0).save_pretrained(folder)
    adapter = write_adapter_gguf(folder, base, tmp_path / "adapter.gguf", metadata={})
    roster = read_gguf(write_roster_gguf(base, [adapter], tmp_path / "roster.gguf", 0).path)
    before = read_gguf(base.gguf)
    for name, info in before.tensors.items():
        if name.split(".")[-2] not in {"attn_q", "attn_k", "attn_v"}:
            assert roster.tensors[name].kind == info.kind
            kept = roster.raw(name)[: info.size].tobytes()
            assert kept == before.raw(name).tobytes()
            added = roster.tensors[name].shape[0] - info.shape[0]
            assert added == (64 if name in {"token_embd.weight", "output.weight"} else 0)
    parts = [before.raw(f"blk.1.attn_{part}.weight").tobytes() for part in "qkv"]
    assert roster.raw("blk.1.attn_qkv.weight").tobytes() == b"".join(parts)
    tokens = "tokenizer.ggml.tokens"
    words = before.metadata[tokens]
    assert roster.metadata[tokens][: len(words)] == words
    assert len(set(roster.metadata[tokens])) == len(words) + 64


def test_strength_is_folded_in_when_an_adapter_is_scaled(packed, tmp_path):
    half = dataclasses.replace(packed.adapters[0], scale=0.5)
    both = [packed.adapters[0], half]
    roster = write_roster_gguf(packed.base, both, tmp_path / "roster.gguf", packed.roster.begins)
    file = read_gguf(roster.path)
    stack = file.array("blk.0.ffn_up.lora_b")
    np.testing.assert_array_equal(stack[2], stack[1] * np.float32(0.5))
    assert not stack[0].any()
    assert len(set(roster.tokens.values())) == 2


def test_alpha_counts_when_a_foreign_adapter_states_one(packed, tmp_path):
    """Ours fold it into B and write 0."""
    raw = bytearray(packed.adapters[0].path.read_bytes())
    at = raw.index(b"adapter.lora.alpha") + len(b"adapter.lora.alpha") + 4
    raw[at : at + 4] = np.float32(16.0).tobytes()
    path = tmp_path / "adapter.gguf"
    path.write_bytes(raw)
    foreign = Adapter(path, file_sha256(path), packed.base.sha256)
    roster = write_roster_gguf(
        packed.base, [foreign], tmp_path / "roster.gguf", packed.roster.begins
    )
    b = read_gguf(path).array("blk.0.ffn_up.weight.lora_b")
    stack = read_gguf(roster.path).array("blk.0.ffn_up.lora_b")
    np.testing.assert_allclose(stack[1], b * 4, rtol=1e-6)  # alpha 16 at rank 4


def test_writing_ends_at_once_when_the_file_is_not_wanted_any_more(packed, tmp_path):
    asked = []

    def wanted() -> bool:
        asked.append(1)
        return len(asked) < 5

    out = tmp_path / "roster.gguf"
    with pytest.raises(Unavailable, match="not wanted"):
        write_roster_gguf(packed.base, packed.adapters, out, packed.roster.begins, wanted)
    assert len(asked) == 5
    assert list(tmp_path.iterdir()) == []


def test_file_is_known_again_only_when_nothing_changed(packed, tmp_path):
    path = tmp_path / "roster.gguf"
    made = write_roster_gguf(packed.base, packed.adapters[:2], path, packed.roster.begins)
    assert read_roster(path, packed.base, packed.adapters[:2]) == made
    with pytest.raises(Incompatible, match="another roster"):
        read_roster(path, packed.base, packed.adapters[1::-1])
    with pytest.raises(Incompatible, match="another roster"):
        read_roster(path, packed.base, packed.adapters)
    raw = bytearray(path.read_bytes())
    raw[-1000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BrokenFile, match="changed"):
        read_roster(path, packed.base, packed.adapters[:2])
    path.write_bytes(raw[:-5000])
    with pytest.raises(BrokenFile):
        read_roster(path, packed.base, packed.adapters[:2])
    with pytest.raises(NotFound):
        read_roster(tmp_path / "none.gguf", packed.base, packed.adapters[:2])


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        ("qwen2", {}, "family qwen2"),
        ("qwen3", {}, "family qwen3"),
        ("gemma2", {}, "family gemma2"),
        ("phi3", {}, "family phi3"),
        ("llama-3.2", {}, "rope_freqs"),
    ],
)
def test_base_is_refused_when_it_does_not_fit(tmp_path, kind, changes, why):
    base = tiny_base(tmp_path, kind, **changes)
    with pytest.raises(Incompatible, match=why):
        check_packable(read_gguf(base.gguf))


def test_roster_may_be_larger_than_what_a_base_reserves(packed, tmp_path):
    """Interns have tokens of their own, which are not the base's."""
    many = [dataclasses.replace(packed.adapters[2], scale=1 + i / 1000) for i in range(300)]
    roster = write_roster_gguf(packed.base, many, tmp_path / "roster.gguf", packed.roster.begins)
    words = len(read_gguf(packed.base.gguf).metadata["tokenizer.ggml.tokens"])
    assert sorted(roster.tokens.values()) == list(range(words, words + 300))
    model = Model(roster.path)
    context = Context(model, ContextSize(512, 8, 512, 512, 1, 1), roster.vocabulary)
    prompt = packed.prompts[0]
    for place, adapter in enumerate((many[0], many[-1])):
        first = roster.tokens[adapter.sha256, adapter.scale]
        rows = zip([first, *prompt[1:]], range(len(prompt)), strict=True)
        assert context.decode([Row(token, at, (place,), output=True) for token, at in rows])
        kl = _kl(packed.expected[3][0], context.logits())
        assert kl <= MEAN_KL if adapter.scale == 1.0 else MEAN_KL < kl < 0.5
    assert context.logits().shape == (len(prompt), words)
    context.close()
    model.close()


def test_roster_is_refused_when_q_k_and_v_are_stored_differently(packed):
    file = read_gguf(packed.base.gguf)
    other = read_gguf(packed.adapters[0].path).tensors["blk.0.ffn_up.weight.lora_a"]
    name = "blk.0.attn_v.weight"
    kind = type(other.kind).Q6_K
    mixed = {**file.tensors, name: dataclasses.replace(file.tensors[name], kind=kind)}
    with pytest.raises(Incompatible, match="stored in different ways"):
        check_packable(dataclasses.replace(file, tensors=mixed))
