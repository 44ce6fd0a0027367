"""Whatever is asked in whatever order: every answer is the one its intern gives when asked alone."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interns.adapter import Adapter
from interns.completion import Completion, CompletionRequest, Message, Sampling
from interns.errors import BrokenFile
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.engine import LlamaEngine
from tests.making import SAME, spoken

STORY = "Once upon a time a courier carried a parcel over seven hills. " * 6
TEXTS = (
    "Where is my card?",
    "Where is my card? It was sent a week ago.",
    STORY + "What did the courier carry?",
    STORY + "Who was waiting?",
)
TIE = 1e-3  # nats


@dataclass(frozen=True)
class Ask:
    """One request: who, what, how long, and after how many pieces it is cancelled, if at all."""

    who: int
    text: int
    tokens: int
    cancel_after: int | None


ASKS = st.builds(
    Ask,
    st.integers(0, 3),
    st.integers(0, len(TEXTS) - 1),
    st.integers(1, 12),
    st.none() | st.none() | st.integers(0, 3),
)


def _request(ask: Ask, who: tuple[Adapter | None, ...]) -> CompletionRequest:
    return CompletionRequest(
        (Message("user", TEXTS[ask.text]),),
        who[ask.who],
        Sampling(max_tokens=ask.tokens, logprobs=20),
    )


def _answer(engine: LlamaEngine, ask: Ask, who: tuple[Adapter | None, ...]) -> Completion | None:
    if ask.cancel_after is None:
        return engine.complete(_request(ask, who))
    stream = engine.stream(_request(ask, who), cancel=(cancel := threading.Event()))
    for n, piece in enumerate(stream):
        if n >= ask.cancel_after:
            cancel.set()
        if piece.completion is not None:
            return piece.completion
    return None


def _worst(engine: LlamaEngine, ask: Ask, answer: Completion, adapter: Adapter | None) -> float:
    """Largest gap between a log-probability as reported and cold, under `adapter`.

    Of each token of the answer and of the likeliest others in its place.
    """
    prompt = engine.tokenize(engine.template.render((Message("user", TEXTS[ask.text]),)))
    written = [score.token for score in answer.tokens]
    cold = spoken(engine, engine.logits(prompt + written, adapter=adapter))[len(prompt) - 1 : -1]
    gaps = []
    for row, score in zip(cold, answer.tokens, strict=True):
        assert float(row.max() - row[score.token]) < TIE  # greedy
        seen = (score, *score.alternatives)
        gaps += [abs(float(each.logprob or 0.0) - float(row[each.token])) for each in seen]
    return max(gaps, default=0.0)


@pytest.fixture(scope="module")
def small(base):
    """Few places, so that answers wait, are paused and give up their prefixes."""
    with LlamaEngine(base, context_tokens=2048, slots=3, threads=1, exact=True) as made:
        yield made


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(asks=st.lists(ASKS, min_size=2, max_size=10), together=st.integers(1, 6))
def test_every_answer_equals_a_cold_run(small, adapters, asks, together) -> None:
    who = (None, *adapters)
    with ThreadPoolExecutor(together) as pool:
        answers = list(pool.map(lambda ask: _answer(small, ask, who), asks))
    for ask, answer in zip(asks, answers, strict=True):
        assert answer is not None
        assert answer.finish_reason in {"stop", "length", "cancelled"}
        assert ask.cancel_after is not None or answer.finish_reason != "cancelled"
        assert _worst(small, ask, answer, who[ask.who]) < SAME


def test_the_check_itself_finds_the_wrong_intern(small, adapters) -> None:
    ask = Ask(1, 2, 12, None)
    answer = small.complete(_request(ask, (None, *adapters)))
    prompt = small.tokenize(small.template.render((Message("user", TEXTS[ask.text]),)))
    written = [score.token for score in answer.tokens]
    other = spoken(small, small.logits(prompt + written, adapter=adapters[1]))[len(prompt) - 1 : -1]
    gaps = [
        abs(float(score.logprob or 0.0) - float(row[score.token]))
        for score, row in zip(answer.tokens, other, strict=True)
    ]
    assert max(gaps) > 100 * SAME


def ask_at_once(engine, who, count: int):
    """Many requests from 16 threads, every second hangs up; every one gets an answer."""
    asks = [
        Ask(n % 4, n % len(TEXTS), 1 + n % 6, (n // 4) % 3 if n % 2 else None) for n in range(count)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda ask: _answer(engine, ask, who), asks))
    assert all(answer is not None for answer in answers)
    return asks, answers


def test_nothing_is_lost_when_many_ask_and_half_hang_up(small, adapters) -> None:
    who = (None, *adapters)
    asks, answers = ask_at_once(small, who, 200)
    gaps = []
    for ask, answer in list(zip(asks, answers, strict=True))[::5]:
        assert answer is not None
        gaps.append(_worst(small, ask, answer, who[ask.who]))
    assert max(gaps) < SAME
    stats = small.stats()
    assert (stats["active"], stats["waiting"]) == (0, 0)


class Places:
    """Two interns that are trained again and again: new weights at the same path, same name.

    Attributes:
        now: Who is in office, the base first.
        past: Whose weights were replaced.
    """

    def __init__(self, folder: Path, versions: tuple[Adapter, ...]) -> None:
        self._folder = folder
        self._versions = versions
        self._count = 0
        self.now: list[Adapter | None] = [None]
        self.past: list[Adapter] = []
        for place in (1, 2):
            self.now.append(self._trained(place))

    def _trained(self, place: int) -> Adapter:
        version = self._versions[self._count % len(self._versions)]
        self._count += 1
        path, beside = self._folder / f"{place}.gguf", self._folder / "beside.gguf"
        beside.write_bytes(version.path.read_bytes())
        beside.replace(path)
        return dataclasses.replace(version, path=path, name=f"intern-{place}")

    def retrain(self, place: int) -> None:
        old = self.now[place]
        assert old is not None
        self.past.append(old)
        self.now[place] = self._trained(place)

    def own(self, adapter: Adapter | None) -> Adapter | None:
        """The same weights where nobody replaces them, under another name."""
        found = (each for each in self._versions if adapter and each.sha256 == adapter.sha256)
        return next(found, None)


@pytest.fixture(scope="module")
def tight(base):
    """Memory for one adapter, so that each one is loaded again and again."""
    with LlamaEngine(
        base, context_tokens=2048, slots=3, threads=1, exact=True, budget=Budget(adapters_mib=1)
    ) as made:
        yield made


@pytest.fixture(scope="module")
def versions(make_adapter):
    made = tuple(make_adapter(seed, strength=0.15, rank=16) for seed in (4, 2, 3, 5))
    assert len({each.sha256 for each in made}) == len(made)
    assert min(each.path.stat().st_size for each in made) > 2**19  # no two in the budget
    return made


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rounds=st.lists(
        st.tuples(st.lists(ASKS, min_size=1, max_size=6), st.sets(st.integers(1, 2))),
        min_size=2,
        max_size=4,
    ),
    together=st.integers(1, 4),
)
def test_every_answer_comes_from_the_weights_it_was_asked_of(
    tight, engine, versions, tmp_path_factory, rounds, together
) -> None:
    """Adapters are evicted and loaded again, and retrained: same path and name, new bytes."""
    places = Places(tmp_path_factory.mktemp("places"), versions)
    for asks, retrained in rounds:
        who = (*places.now, *places.past[-1:], *places.now)[:4]

        def answer(ask: Ask, who: tuple[Adapter | None, ...] = who) -> Completion | None:
            try:
                return _answer(tight, ask, who)
            except BrokenFile:
                assert who[ask.who] in places.past  # its file holds other weights now
                return None

        with ThreadPoolExecutor(together) as pool:
            answers = list(pool.map(answer, asks))
        for ask, found in zip(asks, answers, strict=True):
            if found is not None:
                assert _worst(engine, ask, found, places.own(who[ask.who])) < SAME
        for place in retrained:
            places.retrain(place)
    for adapter in (*places.now[1:], *versions):
        found = tight.complete(_request(ask := Ask(0, 0, 4, None), (adapter,)))
        assert _worst(engine, ask, found, places.own(adapter)) < SAME
    # Four were asked one by one, three places hold at most three: the fourth had to be loaded, and
    # loading it evicted all others.
    assert tight.stats()["adapters_loaded"] == 1
