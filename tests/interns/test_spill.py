"""Prefixes on disk: found again after a restart, and nothing but what was written is ever used."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interns.completion import CompletionRequest, Message, Sampling
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.prefixes import Kept
from interns.runtime.llama_cpp.spill import PrefixFolder
from tests.interns.spill_child import ROLE, TEXTS

FACTS = {"base": "one", "runtime": "1"}
KEY = ("adapter", 1.0)
STATE = bytes(range(256)) * 40


def _folder(path: Path, most: int = 10**6, **facts: str) -> PrefixFolder:
    return PrefixFolder(path, FACTS | facts, most)


def _filled(path: Path, count: int = 3, *, most: int = 10**6) -> None:
    folder = _folder(path, most)
    folder.close([Kept(KEY, (n, 1, 2, 3), STATE) for n in range(count)], 60)


def _engine(base, folder: Path, **more) -> LlamaEngine:
    options = {"context_tokens": 1024, "slots": 2, "threads": 1} | more
    budget = Budget(prefix_mib=4, prefix_folder=folder, prefix_disk_mib=64)
    return LlamaEngine(base, budget=budget, **options)


def _ask(engine: LlamaEngine, text: str, adapter=None):
    messages = (Message("system", ROLE), Message("user", text))
    return engine.complete(CompletionRequest(messages, adapter, Sampling(max_tokens=6)))


def _until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_what_was_written_is_found_again_to_the_byte(tmp_path):
    _filled(tmp_path)
    folder = _folder(tmp_path)
    kept, length = folder.fetch(KEY, (1, 1, 2, 9), 3) or (None, 0)
    assert kept is not None
    assert (kept.key, kept.tokens, kept.state, length) == (KEY, (1, 1, 2, 3), STATE, 3)
    assert folder.fetch(KEY, (1, 1, 2, 9), 4) is None
    assert folder.fetch(("adapter", 0.5), (1, 1, 2, 3), 1) is None
    assert folder.fetch(("another", 1.0), (1, 1, 2, 3), 1) is None
    folder.close([], 1)


@pytest.mark.parametrize("facts", [{"base": "two"}, {"runtime": "2"}, {"more": "facts"}])
def test_files_of_another_base_or_runtime_are_deleted(tmp_path, facts):
    _filled(tmp_path)
    folder = _folder(tmp_path, **facts)
    assert folder.stats()["disk_prefixes"] == 0
    assert list(tmp_path.iterdir()) == []
    folder.close([], 1)


@pytest.mark.parametrize("when", ["before the start", "after the start"])
@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_are_deleted_and_never_used(tmp_path, seed, when):
    _filled(tmp_path)
    folder = _folder(tmp_path) if when == "after the start" else None
    chance = random.Random(seed)
    for path in tmp_path.iterdir():
        whole = bytearray(path.read_bytes())
        at = chance.choice((chance.randrange(len(whole)), chance.randrange(300)))
        match seed % 4:
            case 0:
                whole[at] ^= 1 << chance.randrange(8)
            case 1:
                whole = whole[:at]
            case 2:
                whole += b"more"
            case _:
                whole[at : at + 8] = chance.randbytes(8)
        path.write_bytes(whole)
    folder = folder or _folder(tmp_path)
    for number in range(3):
        assert folder.fetch(KEY, (number, 1, 2, 3), 1) is None
    assert list(tmp_path.iterdir()) == []
    assert folder.stats()["disk_prefixes"] == 0
    folder.close([], 1)


def test_file_under_the_name_of_another_is_not_used(tmp_path):
    _filled(tmp_path, 2)
    first, second = tmp_path.iterdir()
    first.write_bytes(second.read_bytes())
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f".{second.name}.1.partial").write_bytes(second.read_bytes()[:50])
    folder = _folder(tmp_path)
    assert list(tmp_path.iterdir()) == [second]
    folder.close([], 1)


def test_longest_unused_goes_when_the_budget_is_spent_also_after_a_restart(tmp_path):
    _filled(tmp_path, 3)
    most = sum(path.stat().st_size for path in tmp_path.iterdir())
    folder = _folder(tmp_path, most)
    for number in (0, 2):
        assert folder.fetch(KEY, (number, 1, 2, 3), 4) is not None
    folder.close([Kept(KEY, (7, 1, 2, 3), STATE)], 60)
    again = _folder(tmp_path, most)
    assert again.fetch(KEY, (1, 1, 2, 3), 1) is None
    assert all(again.fetch(KEY, (n, 1, 2, 3), 4) for n in (0, 2, 7))
    again.close([], 1)
    smaller = _folder(tmp_path, most // 3)
    assert smaller.stats()["disk_prefixes"] == len(list(tmp_path.iterdir())) == 1
    smaller.close([], 1)


def test_no_more_is_taken_than_can_be_written_in_time_or_in_an_hour(tmp_path):
    folder = _folder(tmp_path, 100 * 2**20)
    for number in range(40):
        folder.offer(Kept(KEY, (number,), bytes(6 * 2**20)))
    folder.close([], 60)
    stats = folder.stats()
    assert stats["disk_written"] + stats["disk_dropped"] == 40
    assert 1 <= stats["disk_written"] <= 16
    assert stats["disk_bytes"] <= 100 * 2**20


def test_one_line_is_logged_when_nothing_can_be_written(tmp_path, caplog):
    (tmp_path / "file").touch()
    folder = _folder(tmp_path / "file")
    with caplog.at_level(logging.WARNING):
        folder.close([Kept(KEY, (n,), STATE) for n in range(5)], 60)
    assert len(caplog.records) == 1
    assert folder.stats()["disk_written"] == 0


def test_answers_go_on_when_the_disk_is_full(tmp_path):
    """The child may write files of 100 kB at most: every prefix is larger."""
    done = _child(tmp_path, "full", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    said, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    assert said.split() == [b"answered"] * len(TEXTS)
    assert errors.count(b"No more prefixes are written") == 1
    assert list((tmp_path / "prefixes").iterdir()) == []


def test_intern_goes_on_where_it_was_after_a_restart(base, adapters, tmp_path):
    half = dataclasses.replace(adapters[0], scale=0.5)
    with _engine(base, tmp_path) as engine:
        for each in (None, adapters[0], half):
            _ask(engine, TEXTS[0], each)
        first = [_ask(engine, TEXTS[0], each) for each in (None, adapters[0], half)]
    assert first[1].logprob != first[2].logprob
    with _engine(base, tmp_path) as engine:
        for each, before in zip((None, adapters[0], half), first, strict=True):
            answer = _ask(engine, TEXTS[0], each)
            assert answer.cached_tokens == answer.prompt_tokens - 2
            assert (answer.text, answer.logprob) == (before.text, before.logprob)
            assert _ask(engine, TEXTS[1], each).cached_tokens > 40
        assert _ask(engine, TEXTS[0], adapters[1]).cached_tokens == 0
        assert engine.stats()["disk_hits"] == 3
    with _engine(base, tmp_path, context_tokens=512, slots=1) as engine:
        assert _ask(engine, TEXTS[0], adapters[0]).cached_tokens > 40


def test_prefixes_that_fit_no_longer_are_read_from_disk_within_the_same_run(base, tmp_path):
    with _engine(base, tmp_path) as engine:
        _ask(engine, TEXTS[0])
        for number in range(60):
            messages = (Message("user", f"{number} letters came by ship. " * 12),)
            engine.complete(CompletionRequest(messages, sampling=Sampling(max_tokens=1)))
        assert engine.stats()["kept_bytes"] <= 4 * 2**20
        _until(lambda: engine.stats()["disk_prefixes"] >= 5)
        assert _ask(engine, TEXTS[1]).cached_tokens > 40
        assert engine.stats()["disk_hits"] == 1


def test_what_was_written_is_of_use_after_a_kill(starter_base, tmp_path):
    process = _child(tmp_path, "endless", stdout=subprocess.PIPE)
    assert process.stdout is not None
    folder = tmp_path / "prefixes"
    _until(lambda: folder.is_dir() and len(list(folder.glob("*.prefix"))) >= 8)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (folder / ".half.prefix.1.partial").write_bytes(b"interns prefix 1")
    with _engine(starter_base, folder) as engine:
        assert not list(folder.glob(".*"))
        assert engine.stats()["disk_prefixes"] >= 8
        assert _ask(engine, "Whose lamp is this?").cached_tokens > 40
        assert engine.stats()["disk_hits"] >= 1


def _child(home: Path, what: str, **pipes) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.interns.spill_child", str(home / "prefixes"), what]
    return subprocess.Popen(command, cwd=Path(__file__).resolve().parents[2], **pipes)
