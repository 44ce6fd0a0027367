"""A second opinion: llama.cpp's own converters, taken from the llama-cpp-python source distribution.

Skipped where neither pip's cache nor a package registry has that distribution.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from interns.base_model import BaseModelRef
from interns.gguf.adapter_file import file_sha256, write_adapter_gguf
from interns.gguf.base_file import write_base_gguf
from interns.gguf.reader import GgufFile, read_gguf
from interns.gguf.tokenizer_json import read_tokenizer, special_tokens, write_tokenizer
from tests.interns.test_families import random_lora, stir
from tests.tiny_bases import KINDS, write_tiny_base

pytestmark = pytest.mark.timeout(900)
RUNNER = Path(__file__).parents[1] / "llama_cpp_converter.py"
PARTS = ("conversion/", "gguf-py/", "convert_hf_to_gguf.py", "convert_lora_to_gguf.py")
VENDORED = "/vendor/llama.cpp/"


@pytest.fixture(scope="session")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converters of the installed llama-cpp-python, kept in pytest's cache."""
    name = f"llama_cpp_python-{version('llama-cpp-python')}"
    kept = request.config.cache.mkdir("second-opinion") / name
    if not (kept / PARTS[-1]).is_file():
        _extract(_download(name, tmp_path_factory.mktemp("download")), kept)
    return kept


def _download(name: str, folder: Path) -> Path:
    wanted = name.replace("llama_cpp_python-", "llama-cpp-python==")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    command += [str(folder), "--no-binary", "llama-cpp-python", wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"the source distribution of {wanted} did not arrive in time")
    archive = folder / f"{name}.tar.gz"
    if not archive.is_file():
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"no source distribution of {wanted} to be had: {last}")
    return archive


def _extract(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as files:
        for member in files:
            inside = member.name.partition(VENDORED)[2]
            if member.isfile() and inside.startswith(PARTS):
                member.name = inside
                files.extract(member, target, filter="data")


def convert(source: Path, script: str, *arguments: str | Path) -> None:
    command = [sys.executable, str(RUNNER), str(source), script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module", params=KINDS)
def made(request, source, tmp_path_factory) -> tuple[str, Path, BaseModelRef, GgufFile]:
    """A tiny base, ours and theirs."""
    folder = tmp_path_factory.mktemp("second")
    hf = write_tiny_base(folder / "hf", request.param)
    write_base_gguf(hf, folder / "ours.gguf", "F32")
    write_tokenizer(read_tokenizer(hf), special_tokens(hf), folder)
    theirs = folder / "theirs.gguf"
    convert(source, "convert_hf_to_gguf.py", hf, "--outtype", "f32", "--outfile", theirs)
    ours = folder / "ours.gguf"
    base = BaseModelRef(request.param, ours, file_sha256(ours), folder)
    return request.param, hf, base, read_gguf(theirs)


def test_base_holds_the_same_weights_and_settings(made):
    _, _, base, theirs = made
    ours = read_gguf(base.gguf)
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name in theirs.tensors:
        value = theirs.array(name)  # some of theirs end at the last token in use
        np.testing.assert_allclose(ours.array(name)[: len(value)], value, rtol=1e-6, atol=1e-7)
    arch = theirs.text("general.architecture")
    settings = [key for key in theirs.metadata if key.startswith(f"{arch}.")]
    for key in settings:
        if key in ours.metadata and not key.endswith(("vocab_size", "context_length")):
            assert ours.metadata[key] == pytest.approx(theirs.metadata[key]), key
    assert sum(key in ours.metadata for key in settings) >= 8


@pytest.mark.parametrize("kind", ["plain", "rank", "rslora", "alpha"])
def test_adapter_holds_the_same_changes(made, source, tmp_path, kind):
    _, hf, base, _ = made
    settings = {
        "plain": {},
        "rank": {"rank_pattern": {"down_proj": 2}},
        "rslora": {"use_rslora": True},
        "alpha": {"alpha_pattern": {"down_proj": 24}},
    }[kind]
    tuned = random_lora(AutoModelForCausalLM.from_pretrained(hf), 3, **settings)
    stir(tuned)
    tuned.save_pretrained(tmp_path / "peft")
    out = tmp_path / "theirs.gguf"
    arguments = ("--base", hf, "--outtype", "f32", "--outfile", out, tmp_path / "peft")
    convert(source, "convert_lora_to_gguf.py", *arguments)
    write_adapter_gguf(tmp_path / "peft", base, tmp_path / "ours.gguf", metadata={})
    ours, theirs = read_gguf(tmp_path / "ours.gguf"), read_gguf(out)
    assert ours.tensors.keys() == theirs.tensors.keys()
    alpha = theirs.number("adapter.lora.alpha")
    for name in theirs.tensors:
        value = theirs.array(name)
        if name.endswith("lora_b"):  # they leave the scale to llama.cpp, we fold it in
            value *= alpha / value.shape[1] * their_mistake(kind, name, value.shape[1])
        np.testing.assert_allclose(ours.array(name), value, rtol=1e-5, atol=1e-7)


def their_mistake(kind: str, name: str, rank: int) -> float:
    """By how much their scale is too small: they know neither rsLoRA nor alpha patterns."""
    if kind == "rslora":
        return math.sqrt(rank)
    return 24 / 8 if kind == "alpha" and "ffn_down" in name else 1.0
