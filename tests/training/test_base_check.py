"""The base that ships: the tokens that train are the tokens that serve."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

from interns.bases import STARTER, starter, torch_folder
from interns.paths import Paths
from interns.runtime.llama_cpp.engine import LlamaEngine
from training.base_check import PIECES, verify_base
from training.encoding import Encoder

ROOT = Path(__file__).parents[2]


def test_shipped_base_has_equal_tokens_in_torch_and_llama_cpp(home: Path) -> None:
    assert {"👩‍💻", "日本語", "def f(x):", "\u00a0", "\t", "\r\n", "<|im_end|>"} <= set(PIECES)
    found = verify_base(starter(), Paths(home))
    assert found["first_difference"] == ""
    assert found["token_ids_equal"] == found["texts"] == 10_000
    assert found["chat_ids_equal"] == found["chats"] == 500
    assert found["passed"]


def test_shipped_base_has_equal_tokens_of_prose_and_code(home: Path) -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("t*/**/*.py")]
    lines = {line for file in files for line in file.read_text("utf-8").splitlines()}
    assert len(lines) > 10_000
    encoder = Encoder(torch_folder(starter(), Paths(home)))
    with LlamaEngine(starter(), context_tokens=256, slots=1, threads=1) as engine:
        assert [one for one in lines if encoder.text_ids(one) != engine.tokenize(one)] == []


def test_tokenizer_that_lacks_a_merge_is_found_out(tmp_path: Path) -> None:
    folder = shutil.copytree(STARTER, tmp_path / "other", ignore=shutil.ignore_patterns("interns"))
    data = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    data["model"]["merges"].remove(["h", "e"])
    (folder / "tokenizer.json").write_text(json.dumps(data), "utf-8")
    other = dataclasses.replace(starter(), tokenizer=folder)
    found = verify_base(other, Paths(tmp_path / "home").create())
    assert 0 < found["token_ids_equal"] < 10_000
    assert found["first_difference"]
    assert not found["passed"]
