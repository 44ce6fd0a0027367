"""Packing: a roster gets its file, the engine goes over to it and leaves it; nobody is lost."""

from __future__ import annotations

import dataclasses
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from interns.completion import Choices, CompletionRequest, Message, Sampling
from interns.errors import InternsError, InvalidInput
from interns.gguf.adapter_file import file_sha256
from interns.gguf.roster_file import roster_sha256, write_roster_gguf
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.prefixes import adapter_key
from tests.interns.test_interleaving import TEXTS, Ask, _request
from tests.interns.test_switch import Impatient, _worst, greedy, tiny_office
from tests.making import SAME, log_softmax


def test_constraint_holds_over_a_change_of_path(base, adapters, make_adapter, tmp_path):
    """What a grammar knows of the vocabulary outlives the model it began on."""
    newcomer = make_adapter(77)
    wild = Sampling(max_tokens=40, temperature=5.0, top_k=0)
    labels = ("Rückerstattung oder so", 'say "hi" and nothing else', "a\\b a\\b a\\b a\\b a\\b")
    with Impatient(
        base, context_tokens=1024, slots=2, threads=1, exact=True, path="auto"
    ) as engine:
        engine.set_roster(adapters, tmp_path)

        def ask(number: int) -> str:
            adapter = newcomer if number % 9 == 8 else adapters[number % 3]
            request = CompletionRequest(
                (Message("user", f"{number}"),),
                adapter,
                dataclasses.replace(wild, seed=number),
                Choices(labels),
            )
            return engine.complete(request).text

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(ask, range(40))) <= set(labels)
        assert engine.settle() == "switch"
        assert engine.stats()["moves"] >= 1


def test_answer_goes_on_when_the_path_changes_under_it(engine, base, adapters, tmp_path):
    stops = tuple((token, -100.0) for token in engine.stop_tokens)
    sampling = Sampling(max_tokens=300, logit_bias=stops, logprobs=0)
    asked = CompletionRequest((Message("user", TEXTS[1]),), adapters[0], sampling)
    expected = engine.complete(asked)
    with LlamaEngine(
        base, context_tokens=1024, slots=2, threads=1, exact=True, path="auto"
    ) as moving:
        moving.set_roster(adapters[:2], tmp_path)
        assert moving.settle() == "switch"
        stream = moving.stream(asked)
        first = next(stream)
        moving.set_roster([], tmp_path)
        answer = [first, *stream][-1].completion
        assert moving.stats()["path"] == "swap"
        assert moving.stats()["moves"] == 2
    assert answer is not None
    assert answer.completion_tokens == expected.completion_tokens == 300
    prompt = engine.tokenize(engine.template.render(asked.messages))
    written = [score.token for score in answer.tokens]
    rows = log_softmax(engine.logits(prompt + written, adapter=adapters[0]))[len(prompt) - 1 : -1]
    best = rows.copy()
    best[:, list(engine.stop_tokens)] = -np.inf
    best[:, engine._words.hidden_tokens] = -np.inf
    for row, token in zip(best, written, strict=True):
        assert float(row.max() - row[token]) < SAME


def test_nothing_is_lost_and_nobody_else_answers_while_the_roster_changes(
    engine, base, adapters, make_adapter, tmp_path
):
    """Requests run all the time; the roster changes four times under them."""
    newcomer = make_adapter(50)
    who = (None, *adapters, newcomer)
    rosters = [adapters[:2], adapters, (*adapters, newcomer), (adapters[2], adapters[0])]
    stop = threading.Event()
    with Impatient(
        base, context_tokens=2048, slots=3, threads=1, exact=True, path="auto"
    ) as moving:

        def ask(number: int):
            adapter = who[number % len(who)]
            return adapter, moving.complete(_request(Ask(0, number % 2, 6, None), (adapter,)))

        answers = []

        def keep_asking(start: int) -> None:
            number = start
            while not stop.is_set():
                answers.append((number, *ask(number)))
                number += 4

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(keep_asking, start) for start in range(4)]
            for roster in rosters:
                moving.set_roster(roster, tmp_path)
                for _ in range(30):
                    time.sleep(0.05)
                    if moving.stats()["path"] == "switch":
                        break
            stop.set()
            for job in jobs:
                job.result()
        assert moving.settle() == "switch"
        assert set(moving._scheduler.path._roster.tokens) == {
            adapter_key(adapter) for adapter in rosters[-1]
        }
    for number, adapter, answer in answers[:: max(1, len(answers) // 40)]:
        assert _worst(engine, Ask(0, number % 2, 6, None), answer, adapter) < SAME


def test_reason_names_the_request_that_needed_the_bare_base(base, adapters, make_adapter, tmp_path):
    with LlamaEngine(
        base, context_tokens=512, slots=1, threads=1, exact=True, path="auto"
    ) as engine:
        engine.set_roster(adapters[:2], tmp_path)
        assert engine.settle() == "switch"
        engine.complete(greedy("Hello", adapters[2], 2))
        assert engine.stats()["path"] == "swap"
        assert "not in the roster file" in engine.stats()["path_reason"]


@pytest.mark.parametrize(
    "template",
    ["{{ messages[-1].content }}", "{{ messages[0].role }} {{ messages[-1].content }}"],
    ids=["with the text", "with the system's turn or the user's"],
)
def test_base_whose_prompts_begin_in_different_ways_takes_turns(tmp_path, template):
    base, adapters = tiny_office(tmp_path, "llama", template)
    path, reason = _fresh(base, tmp_path / "rosters", adapters)
    assert path == "swap"
    assert reason == "no token begins every prompt of the base's chat template"


def _fresh(base, folder: Path, roster, path: str = "auto") -> tuple[str, str]:
    with LlamaEngine(base, context_tokens=512, slots=1, threads=1, exact=True, path=path) as engine:
        engine.set_roster(roster, folder)
        engine.settle()
        engine.complete(greedy("Hello", roster[0] if roster else None, 2))
        return engine.stats()["path"], engine.stats()["path_reason"]


def test_file_is_used_again_after_a_restart_and_made_anew_when_damaged(base, adapters, tmp_path):
    assert _fresh(base, tmp_path, adapters)[0] == "switch"
    file = next(tmp_path.glob("*.gguf"))
    made = file.stat().st_mtime_ns
    assert _fresh(base, tmp_path, adapters)[0] == "switch"
    assert file.stat().st_mtime_ns == made
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 64
    file.write_bytes(raw)
    assert _fresh(base, tmp_path, adapters)[0] == "switch"
    assert file.read_bytes() != raw
    file.write_bytes(raw[:1000])
    assert _fresh(base, tmp_path, adapters)[0] == "switch"


def test_swap_stays_when_a_file_lies_about_its_adapters(base, adapters, tmp_path):
    """A whole file whose numbers are another intern's: only what it answers gives it away."""
    assert _fresh(base, tmp_path, adapters)[0] == "switch"
    file = next(tmp_path.glob("*.gguf"))
    swapped = [adapters[1], adapters[0], adapters[2]]
    write_roster_gguf(base, swapped, file, 0)
    theirs = roster_sha256(base, swapped).encode()
    ours = roster_sha256(base, adapters).encode()
    file.write_bytes(file.read_bytes().replace(theirs, ours))
    file.with_name(f"{file.name}.sha256").write_text(file_sha256(file))
    path, reason = _fresh(base, tmp_path, adapters)
    assert path == "swap"
    assert f"adapter {adapters[0].sha256[:12]} answers otherwise" in reason
    assert not file.exists()
    assert _fresh(base, tmp_path, adapters)[0] == "switch"  # made anew


@pytest.mark.parametrize(
    ("path", "count", "found", "why"),
    [
        ("swap", 3, "swap", "engine.path is swap"),
        ("auto", 1, "swap", "1 interns are in the roster, 2 are needed"),
        ("switch", 1, "switch", "1 interns in one verified file"),
        ("auto", 2, "switch", "2 interns in one verified file"),
    ],
)
def test_setting_chooses_the_path(base, adapters, tmp_path, path, count, found, why):
    with LlamaEngine(base, context_tokens=512, slots=1, threads=1, exact=True, path=path) as engine:
        engine.set_roster(adapters[:count], tmp_path)
        assert engine.settle() == found
        assert why in engine.stats()["path_reason"]


def test_swap_stays_when_an_adapter_is_damaged_or_the_folder_cannot_be_written(
    base, make_adapter, adapters, tmp_path
):
    broken = make_adapter(90)
    broken.path.write_bytes(broken.path.read_bytes()[:-100])
    path, reason = _fresh(base, tmp_path / "one", [adapters[0], broken])
    assert path == "swap"
    assert "packing failed" in reason
    (tmp_path / "file").write_text("no folder")
    path, reason = _fresh(base, tmp_path / "file", adapters)
    assert path == "swap"
    assert "packing failed" in reason


def test_engine_closes_while_the_roster_is_packed(base, adapters, tmp_path):
    for _ in range(3):
        engine = LlamaEngine(base, context_tokens=512, slots=1, threads=1, exact=True, path="auto")
        engine.set_roster(adapters, tmp_path)
        engine.close()
        with pytest.raises(InternsError):
            engine.complete(greedy("Hello"))
        engine.set_roster(adapters[:2], tmp_path)


def test_path_is_refused_when_unknown(base):
    with pytest.raises(InvalidInput, match=r"engine\.path"):
        LlamaEngine(base, path="both")
