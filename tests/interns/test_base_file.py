"""Bases: the GGUF that serves and the folder that trains hold the same model."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import load_file

from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, Incompatible, InternsError, InvalidInput
from interns.gguf.base_file import check_base, write_base_gguf, write_hf_folder
from interns.gguf.reader import read_gguf
from interns.gguf.weights import Weights
from tests.making import log_softmax

PROMPT = "<|endoftext|><|im_start|>user\nWhere is my card? It was sent on 3 May.<|im_end|>\n"


@pytest.fixture(scope="module")
def folder(base: BaseModelRef, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hf") / "base"
    write_hf_folder(base.gguf, base.tokenizer, out)
    return out


def _torch_logits(folder: Path, ids: list[int]) -> np.ndarray:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0].numpy()


def _kl(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    first, second = log_softmax(left), log_softmax(right)
    return (np.exp(first) * (first - second)).sum(-1)


def _texts() -> list[str]:
    chance = random.Random(0)
    letters = [
        chr(c) for c in (*range(32, 127), *range(0xA0, 0x180), 0x4E2D, 0x1F600, 0x200B, 0x301)
    ]
    letters += ["\n", "\t", "\r", " ", "  ", "'s", "'LL", "<|im_end|>", "<|", "12345", "\u3000"]
    random_texts = ["".join(chance.choices(letters, k=chance.randint(0, 40))) for _ in range(1500)]
    examples = Path(__file__).parents[2] / "examples"
    rows: list[str] = []
    for path in sorted(examples.rglob("*.csv"))[:4]:
        with path.open(encoding="utf-8", newline="") as file:
            rows += [cell for row in csv.reader(file) for cell in row][:2000]
    return [*random_texts, *rows, PROMPT]


def test_torch_and_llama_cpp_agree_when_the_copy_is_dequantized(engine, folder):
    ids = engine.tokenize(PROMPT)
    kl = _kl(_torch_logits(folder, ids), engine.logits(ids))
    assert kl.mean() < 1e-3
    assert kl.max() < 2e-2


def test_token_ids_are_equal_when_both_sides_tokenize(engine, folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = _texts()
    ours = [engine.tokenize(text) for text in texts]
    theirs = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert ours == theirs
    assert [engine.detokenize(ids) for ids in ours[-3:]] == texts[-3:]


def test_chat_prompts_are_equal_when_both_sides_render(engine, folder):
    from transformers import AutoTokenizer

    from interns.completion import Message

    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = (Message("system", "Mission: help."), Message("user", "Hello\n\nthere  "))
    rendered = tokenizer.apply_chat_template(
        [dataclasses.asdict(turn) for turn in turns], tokenize=False, add_generation_prompt=True
    )
    assert engine.template.render(turns) == rendered


def test_weights_survive_when_written_as_f32_and_read_again(folder, tmp_path, base):
    write_base_gguf(folder, tmp_path / "again.gguf", "F32")
    write_hf_folder(tmp_path / "again.gguf", base.tokenizer, tmp_path / "hf")
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "hf" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert (tmp_path / "hf" / "config.json").read_text() == (folder / "config.json").read_text()


def test_quantizing_again_changes_nothing_when_already_q8(tmp_path, starter_base):
    folder = tmp_path / "hf"
    write_hf_folder(starter_base.gguf, starter_base.tokenizer, folder)
    first = read_gguf(starter_base.gguf)
    told = {
        key.removeprefix("general."): value
        for key, value in first.metadata.items()
        if key in {"general.author", "general.license", "general.description"}
    }
    name = first.text("general.name")
    write_base_gguf(folder, tmp_path / "again.gguf", "Q8_0", name=name, about=told)
    second = read_gguf(tmp_path / "again.gguf")
    assert first.metadata == second.metadata
    for name in first.tensors:
        np.testing.assert_allclose(first.array(name), second.array(name), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gemma3"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        {"rope_scaling": {"type": "longrope"}, "rope_parameters": None},
        {"hidden_act": "relu"},
        {"partial_rotary_factor": 0.5},
    ],
)
def test_base_is_refused_when_its_family_is_unknown(folder, tmp_path, change):
    changed = tmp_path / "base"
    changed.mkdir()
    for path in folder.iterdir():
        (changed / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    (changed / "config.json").unlink()
    (changed / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(Incompatible):
        write_base_gguf(changed, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()


def test_base_is_refused_when_a_part_is_missing(folder, tmp_path):
    for missing in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
        part = tmp_path / missing.split(".")[0]
        part.mkdir()
        for path in folder.iterdir():
            if path.name != missing:
                (part / path.name).symlink_to(path)
        with pytest.raises(BrokenFile):
            write_base_gguf(part, tmp_path / "out.gguf")
    with pytest.raises(InvalidInput):
        write_base_gguf(folder, tmp_path / "out.gguf", "Q3_X")
    assert not (tmp_path / "out.gguf").exists()


def test_weights_are_refused_when_cut_off(folder, tmp_path):
    whole = (folder / "model.safetensors").read_bytes()
    for cut in (0, 4, 100, 20_000, len(whole) - 1):
        (tmp_path / "model.safetensors").write_bytes(whole[:cut])
        with pytest.raises(BrokenFile):
            Weights.of_folder(tmp_path)


def test_base_is_refused_when_truncated_anywhere(base, tmp_path):
    whole = base.gguf.read_bytes()
    path = tmp_path / "base.gguf"
    for cut in [*range(0, 1500, 61), 100_000, 150_000, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:cut])
        with pytest.raises(BrokenFile):
            check_base(path)


def test_no_damage_crashes_when_header_bytes_are_changed(base, tmp_path):
    whole = bytearray(base.gguf.read_bytes()[:400_000])
    chance = random.Random(1)
    path = tmp_path / "base.gguf"
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(2000)] = chance.randrange(256)
        path.write_bytes(damaged)
        with pytest.raises(InternsError):
            check_base(path)


def test_base_is_refused_when_it_is_of_another_architecture(tmp_path):
    path = tmp_path / "other.gguf"
    writer = GGUFWriter(str(path), "mamba")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(Incompatible, match="mamba"):
        check_base(path)


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from interns.errors import NoSpace
from interns.gguf.base_file import write_base_gguf, write_hf_folder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
source, tokenizer, out = map(Path, sys.argv[1:])
for work in (
    lambda: write_base_gguf(source, out / "b.gguf"),
    lambda: write_hf_folder(tokenizer / "base.gguf", tokenizer, out / "hf"),
):
    try:
        work()
    except NoSpace as error:
        print("refused:", error.message)
"""


def test_nothing_is_left_behind_when_the_disk_is_full(folder, base, tmp_path):
    command = [sys.executable, "-c", _FULL_DISK, str(folder), str(base.tokenizer), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.count("refused: The disk is full") == 2, result.stderr
    assert not (tmp_path / "b.gguf").exists()
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "hf" / "model.safetensors").exists()
