"""A thousand requests from sixteen threads, half of them cancelled: all end, none as another's."""

from __future__ import annotations

import dataclasses
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from interns.adapter import Adapter
from interns.completion import Choices, CompletionRequest, Message, Sampling
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.engine import LlamaEngine
from tests.making import SAME, spoken

REQUESTS, THREADS = 1000, 16
LABELS = ("card lost", "refund", "positive")
STORY = "Once upon a time a courier carried a parcel over seven hills. " * 4
TEXTS = ("Where is my card?", "Where is my card? Sent a week ago.", STORY, STORY + "Who waited?")


class Interns:
    """Several interns, and what each of them says to each text when asked alone."""

    def __init__(self, engine: LlamaEngine, adapters: tuple[Adapter, ...]) -> None:
        self.who = (None, *adapters, dataclasses.replace(adapters[0], scale=0.5))
        self.asked = [(Message("user", text),) for text in TEXTS]
        ids = [engine.tokenize(engine.template.render(messages)) for messages in self.asked]
        self.next = {
            (w, t): spoken(engine, engine.logits(prompt, adapter=each))[-1]
            for w, each in enumerate(self.who)
            for t, prompt in enumerate(ids)
        }
        self.labels = {
            (w, t): engine.score_choices(messages, LABELS, adapter=each).logprobs
            for w, each in enumerate(self.who)
            for t, messages in enumerate(self.asked)
        }


def _one(engine: LlamaEngine, interns: Interns, number: int) -> float | None:
    """Ask; how far the answer is from the intern's own, or None when it was cancelled before."""
    chance = random.Random(number)
    who, text = chance.randrange(len(interns.who)), chance.randrange(len(TEXTS))
    adapter, messages = interns.who[who], interns.asked[text]
    kind = chance.choice(("score", "whole", "stream", "held", "left", "left", "cut", "cut"))
    if kind == "score":
        scores = engine.score_choices(messages, LABELS, adapter=adapter)
        return float(np.abs(np.subtract(scores.logprobs, interns.labels[who, text])).max())
    request = CompletionRequest(
        messages, adapter, Sampling(max_tokens=chance.randint(1, 10), logprobs=1, temperature=1.0)
    )
    if kind == "held":
        answer = engine.complete(dataclasses.replace(request, constraint=Choices(LABELS)))
        assert answer.text in {*LABELS, *(label[: len(answer.text)] for label in LABELS)}
        return None
    cancel = threading.Event()
    if kind == "left":  # the reader goes away after a few pieces
        stream = engine.stream(request)
        for _ in zip(range(chance.randrange(3)), stream, strict=False):
            pass
        stream.close()
        return None
    timer = threading.Timer(chance.random() * 0.2, cancel.set) if kind == "cut" else None
    if timer:
        timer.start()
    if kind == "stream":
        answer = next(p.completion for p in engine.stream(request) if p.completion is not None)
    else:
        answer = engine.complete(request, cancel=cancel)
    assert answer.finish_reason in ({"stop", "length"} | ({"cancelled"} if timer else set()))
    if timer:
        timer.cancel()
    if not answer.tokens:
        assert answer.finish_reason == "cancelled"
        return None
    first = answer.tokens[0]
    return abs(float(first.logprob or 0.0) - float(interns.next[who, text][first.token]))


@pytest.mark.timeout(240)
def test_nothing_is_lost_leaked_or_answered_by_another(base, make_adapter, tmp_path):
    adapters = tuple(make_adapter(seed) for seed in (1, 2, 3))
    budget = Budget(prefix_mib=8, prefix_folder=tmp_path, prefix_disk_mib=16)
    with LlamaEngine(
        base, context_tokens=2048, slots=4, threads=1, exact=True, budget=budget
    ) as engine:
        interns = Interns(engine, adapters)
        own = [np.array(list(interns.labels.values())[t :: len(TEXTS)]) for t in range(len(TEXTS))]
        apart = [np.abs(a[i] - a[j]).max() for a in own for i in range(5) for j in range(i)]
        assert min(apart) > 100 * SAME  # else the check below would see nothing
        with ThreadPoolExecutor(THREADS) as pool:
            ask = lambda number: _one(engine, interns, number)  # noqa: E731
            gaps = list(pool.map(ask, range(REQUESTS // 4)))
            before = psutil.Process().memory_info().rss
            gaps += pool.map(ask, range(REQUESTS // 4, REQUESTS))
        engine.complete(CompletionRequest(interns.asked[0], sampling=Sampling(max_tokens=1)))
        grown = psutil.Process().memory_info().rss - before
        stats = engine.stats()
    assert len(gaps) == REQUESTS
    known = np.array([gap for gap in gaps if gap is not None])
    assert len(known) > REQUESTS // 4
    assert known.max() < SAME
    idle = ("active", "waiting", "sequences", "adapter_users")
    assert {key: stats[key] for key in idle} == dict.fromkeys(idle, 0)
    assert stats["kept_bytes"] <= 8 * 2**20
    assert grown < 48 * 2**20
