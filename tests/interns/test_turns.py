"""Fairness, read from the engine's own record of turns."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from interns.adapter import Adapter
from interns.completion import CompletionRequest, Message, Sampling
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.prefixes import adapter_key
from interns.runtime.llama_cpp.turns import CHUNK, STEPS, Turn

LONG = "Please tell me where my card is, it was sent a week ago. " * 40


def _request(text: str, adapter: Adapter | None = None, **settings) -> CompletionRequest:
    chosen = {"max_tokens": 40, "temperature": 3.0, "top_k": 0, "top_p": 1.0, **settings}
    return CompletionRequest((Message("user", text),), adapter, Sampling(**chosen))


def _check(turns: list[Turn]) -> int:
    """Check the bound; returns how many pairs of turns of one intern it was checked on."""
    last: dict[tuple[str, float], int] = {}
    pairs = 0
    for at, turn in enumerate(turns):
        assert turn.steps <= STEPS
        if turn.waiting:
            assert turn.prompt_tokens <= CHUNK
        if turn.key in last:
            begun = last[turn.key]
            between = [other.key for other in turns[begun + 1 : at]]
            assert len(between) == len(set(between)), "somebody had two turns between two of one"
            assert turns[begun].waiting <= set(between), "somebody who waited was passed over"
            pairs += len(between) > 0
        last[turn.key] = at
    return pairs


def test_turns_are_bounded_and_round_robin_when_everything_is_asked_at_once(base, adapters):
    who = (None, *adapters)
    labels = [f"label {i} of many" for i in range(50)]

    def ask(number: int) -> None:
        adapter = who[number % 4]
        match number % 3:
            case 0:
                engine.complete(_request(f"{number} Hello", adapter, seed=number))
            case 1:
                engine.complete(_request(f"{number} {LONG}", adapter, seed=number, max_tokens=8))
            case _:
                engine.score_choices((Message("user", f"{number}"),), labels, adapter=adapter)

    with LlamaEngine(base, context_tokens=4096, slots=3, threads=1, exact=True) as engine:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(ask, range(36)))
        turns, stats = engine.turns(), engine.stats()
    assert {turn.key for turn in turns} == {adapter_key(adapter) for adapter in who}
    assert _check(turns) > 30
    assert stats["pauses"] > 0
    assert (stats["active"], stats["waiting"]) == (0, 0)


def test_single_request_gets_a_turn_when_another_intern_holds_every_place(base, adapters):
    with LlamaEngine(base, context_tokens=2048, slots=2, threads=1, exact=True) as engine:
        streams = [
            engine.stream(_request("A story", adapters[0], max_tokens=900, seed=i))
            for i in (1, 2, 3)
        ]
        next(streams[0])
        answer = engine.complete(_request("Where is my card?", adapters[1], max_tokens=3))
        assert answer.completion_tokens <= 3
        assert engine.stats()["pauses"] > 0
        assert engine.stats()["active"] >= 1
        for stream in streams:
            stream.close()


def test_paused_answer_is_the_same_as_an_undisturbed_one(base, adapters):
    asked = _request(
        "Where is my card and my refund?", adapters[0], temperature=0.0, max_tokens=120
    )
    asked = dataclasses.replace(
        asked, sampling=dataclasses.replace(asked.sampling, logit_bias=((2, -100.0),))
    )
    with LlamaEngine(base, context_tokens=1024, slots=1, threads=1, exact=True) as engine:
        alone = engine.complete(asked)
        stream = engine.stream(asked)
        first = next(stream)
        for i in range(5):
            engine.complete(_request(f"{i} {LONG[:400]}", adapters[1], max_tokens=20))
        paused = [first, *stream][-1].completion
        assert engine.stats()["pauses"] > 0
    assert paused is not None
    assert (paused.text, paused.completion_tokens) == (alone.text, alone.completion_tokens)
    assert paused.logprob == pytest.approx(alone.logprob, abs=1e-3)


def test_long_prompt_does_not_hold_up_anybodys_tokens(base, adapters):
    """While a prompt of several chunks is read, others of both interns go on writing."""
    with LlamaEngine(base, context_tokens=4096, slots=4, threads=1, exact=True) as engine:
        endless = {"max_tokens": 800, "temperature": 5.0}
        same = engine.stream(_request("A story", adapters[0], **endless))
        other = engine.stream(_request("A story", adapters[1], **endless))
        next(same), next(other)
        before = len(engine.turns())
        engine.complete(_request(LONG * 2, adapters[0], max_tokens=1))
        turns = engine.turns()[before:]
        same.close(), other.close()
    reading = [i for i, turn in enumerate(turns) if turn.prompt_tokens > 100]
    assert len(reading) >= 3
    for first, second in itertools.pairwise(reading):
        assert turns[first].written > 0, "the same intern's other answer stood still"
        assert any(t.written for t in turns[first + 1 : second]), "the other intern stood still"


def test_turn_of_one_alone_is_not_cut_short_by_nobody(base):
    with LlamaEngine(base, context_tokens=1024, slots=1, threads=1, exact=True) as engine:
        engine.complete(_request("Hello", max_tokens=30))
        assert _check(engine.turns()) == 0
        assert sum(turn.written for turn in engine.turns()) > 0


def test_all_end_and_nothing_is_lost_when_half_are_cancelled(base, adapters):
    who = (None, *adapters)

    def ask(number: int) -> str:
        cancel = threading.Event()
        request = _request(f"{number} tell me", who[number % 4], seed=number, max_tokens=12)
        pieces = engine.stream(request, cancel=cancel)
        if number % 2:
            next(pieces)
            cancel.set()
        last = list(pieces)[-1].completion
        assert last is not None
        return last.finish_reason

    with LlamaEngine(base, context_tokens=2048, slots=4, threads=1, exact=True) as engine:
        with ThreadPoolExecutor(12) as pool:
            reasons = list(pool.map(ask, range(80)))
        assert engine.stats()["active"] == engine.stats()["waiting"] == 0
        assert engine._scheduler._intake.jobs == 0
    # A sequence is cleared away after its answer was given out, but before the engine ends.
    assert len(engine._scheduler._sequences.free) == 5
    assert set(reasons[::2]) <= {"stop", "length"}
    assert "cancelled" in reasons[1::2]
