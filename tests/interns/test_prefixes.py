"""Kept prefixes are found by adapter and tokens, and what was shared outlives what was not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interns.adapter import Adapter
from interns.completion import CompletionRequest, Message, Sampling
from interns.errors import InternsError
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.prefix_cache import WORTH, PrefixCache
from interns.runtime.llama_cpp.prefixes import (
    BASE_KEY,
    AdapterKey,
    Kept,
    PrefixIndex,
    adapter_key,
    shared_length,
)

ONE, TWO = ("one", 1.0), ("two", 1.0)
HEAD = tuple(range(100, 100 + 2 * WORTH))
ROLES = (
    "You sell lamps for an office by the sea and answer every letter in one short sentence. " * 3,
    "You file complaints about parcels and give each of them a date, a name and a reason. " * 3,
)


def _kept(key, *tokens: int, head: bool = False) -> Kept:
    return Kept(key, tokens, b"." * 10, head)


def _ask(engine: LlamaEngine, role: str, text: str, adapter: Adapter | None = None, **more):
    messages = (Message("system", role), Message("user", text))
    sampling = Sampling(**{"max_tokens": 6, **more})
    return engine.complete(CompletionRequest(messages, adapter, sampling))


def test_key_differs_when_content_or_strength_differs():
    keys = {
        adapter_key(None),
        adapter_key(Adapter(Path("a"), "1" * 64, "b")),
        adapter_key(Adapter(Path("a"), "2" * 64, "b")),
        adapter_key(Adapter(Path("a"), "1" * 64, "b", scale=0.5)),
    }
    assert len(keys) == 4
    assert adapter_key(None) == BASE_KEY
    same = adapter_key(Adapter(Path("elsewhere"), "1" * 64, "b"))
    assert same in keys


@given(
    rows=st.sets(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=12),
    wanted=st.lists(st.integers(0, 2), max_size=7).map(tuple),
)
def test_index_finds_what_looking_at_every_row_finds(rows, wanted):
    index = PrefixIndex()
    for row in [*rows, (9, 9)]:
        index.add(ONE, row)
    index.add(TWO, wanted)
    index.remove(ONE, (9, 9))
    row, length = index.longest(ONE, wanted)
    assert length == max((shared_length(each, wanted) for each in rows), default=0)
    assert shared_length(row, wanted) == length
    assert not length or row in rows
    assert index.starts(ONE, wanted) == sorted(r for r in rows if wanted[: len(r)] == r)


def test_longest_start_is_found_when_the_adapter_is_the_same():
    cache = PrefixCache(100)
    long, short = _kept(ONE, 1, 2, 3, 4), _kept(ONE, 1, 2, 9)
    cache.keep(short)
    cache.keep(long)
    cache.keep(_kept(TWO, 1, 2, 3, 4, 5))
    assert cache.find(ONE, (1, 2, 3, 7)) == (long, 3)
    assert cache.find(ONE, (1, 2, 9, 9)) == (short, 3)
    assert cache.find(ONE, (8, 1)) is None
    assert cache.find(("three", 1.0), (1, 2, 3)) is None


def test_least_used_is_given_up_when_the_budget_is_spent():
    cache = PrefixCache(20)
    for first in (1, 2):
        cache.keep(_kept(ONE, first, 0))
    assert cache.find(ONE, (1, 0)) is not None
    cache.keep(_kept(ONE, 3, 0))
    assert cache.find(ONE, (2, 0)) is None
    assert cache.find(ONE, (1, 0)) is not None
    for first in range(20):
        cache.keep(_kept(TWO, first, 0, 0))
        assert cache.stats()["kept_bytes"] <= 20
    cache.keep(Kept(ONE, (7, 7), b"." * 21))
    assert cache.find(ONE, (7, 7)) is None
    assert not PrefixCache(0).wants(ONE, (1, 2))


def test_nothing_is_kept_twice_when_one_begins_like_the_other():
    cache = PrefixCache(100)
    cache.keep(_kept(ONE, 1, 2))
    cache.keep(_kept(ONE, 1, 2, 3))
    assert len(cache) == 1
    assert not cache.wants(ONE, (1, 2))
    assert not cache.wants(ONE, ())
    assert cache.wants(TWO, (1, 2))
    assert cache.wants(ONE, (1, 2, 3, 4))


def test_head_is_wanted_where_prompts_part_and_not_again_right_after():
    cache = PrefixCache(100)
    first, second = (*HEAD, 1, 2, 3), (*HEAD, 1, 5)
    cache.keep(_kept(ONE, *first))
    found, length = cache.find(ONE, second) or (None, 0)
    assert found is not None
    assert length == len(HEAD) + 1
    assert cache.wants_head(found, length, second)
    assert not cache.wants_head(found, len(first), (*first, 4))
    cache.keep(_kept(ONE, *second[:length], head=True))
    assert not cache.wants_head(found, length, second)
    assert cache.wants_head(found, length - 1, (*HEAD, 7, 7))
    cache.keep(_kept(ONE, *HEAD, head=True))
    assert not cache.wants_head(found, length, (*HEAD, 1, 7))


def test_head_outlives_a_flood_of_other_prompts_and_longer_ones():
    cache = PrefixCache(100)
    cache.keep(_kept(ONE, *HEAD, head=True))
    for number in range(200):
        cache.keep(_kept(TWO, number, 0, 0))
        if number == 100:
            cache.keep(_kept(ONE, *HEAD, 1, 2))
    assert (cache.find(ONE, (*HEAD, 5)) or (None, 0))[1] == len(HEAD)
    assert len(cache) == 10


def test_conversation_outlives_a_flood_of_other_prompts_once_it_was_gone_on_with():
    cache = PrefixCache(100)
    cache.keep(_kept(ONE, 1, 2))
    assert cache.find(ONE, (1, 2, 3)) is not None
    cache.keep(_kept(ONE, 1, 2, 3, 4))
    for number in range(50):
        cache.keep(_kept(TWO, number, 0, 0))
    assert (cache.find(ONE, (1, 2, 3, 4, 5)) or (None, 0))[1] == 4


def test_charter_and_role_are_computed_once_whatever_else_is_asked(base, adapters):
    """Four interns, one budget that holds few of their prompts: only what is new is computed."""
    with LlamaEngine(
        base, context_tokens=1024, slots=2, threads=1, budget=Budget(prefix_mib=8)
    ) as engine:
        heads = {}
        for role in ROLES:
            for adapter in (None, adapters[0]):
                _ask(engine, role, "Where is my parcel?", adapter)
                heads[role, adapter] = _ask(engine, role, "A lamp broke.", adapter).cached_tokens
                assert heads[role, adapter] > 50
        for number in range(60):
            _ask(engine, f"{number} days ago nobody wrote. " * 8, "Hello", adapters[1])
        assert engine.stats()["kept_bytes"] <= 8 * 2**20
        for number, (role, adapter) in enumerate(heads):
            answer = _ask(engine, role, f"{number} letters came today.", adapter)
            assert answer.cached_tokens >= heads[role, adapter] - 2


def test_conversation_is_gone_on_with_without_computing_it_again(engine, adapters):
    turns = [Message("system", ROLES[0]), Message("user", "Where is my parcel?")]
    known = 0
    for text in ("And my lamp?", "And my letter?", "Thank you."):
        answer = engine.complete(
            CompletionRequest(tuple(turns), adapters[1], Sampling(max_tokens=6))
        )
        assert answer.cached_tokens >= known - 2
        prompt = engine.tokenize(engine.template.render(tuple(turns)))
        known = len(prompt)
        turns += [Message("assistant", answer.text or "."), Message("user", text)]


def test_head_changes_no_number_when_it_is_used(base, adapters):
    """To the last bit, in prompts of fewer and of more than 64 tokens."""
    labels = ("lamp", "parcel", "letter")
    texts = ("Where is my parcel?", "A lamp broke.", "Nobody wrote to me.")
    for role in (ROLES[1][:90], ROLES[1]):
        asked = [(Message("system", role), Message("user", text)) for text in texts]
        cold = []
        for messages in asked:
            with LlamaEngine(base, context_tokens=512, slots=1, threads=1, exact=True) as fresh:
                scores = fresh.score_choices(messages, labels, adapter=adapters[2])
                cold.append(scores.logprobs)
        with LlamaEngine(base, context_tokens=512, slots=1, threads=1, exact=True) as engine:
            for messages, alone in zip([*asked, *asked], [*cold, *cold], strict=True):
                scores = engine.score_choices(messages, labels, adapter=adapters[2])
                assert scores.logprobs == alone
            assert scores.cached_tokens > 30


class OutOfMemory(PrefixCache):
    """One whose prefixes cannot be read."""

    def find(self, key: AdapterKey, tokens: Sequence[int]) -> tuple[Kept, int] | None:
        raise MemoryError("no memory left")


def test_places_are_given_back_when_what_is_known_cannot_be_read(base, adapters):
    with LlamaEngine(base, context_tokens=512, slots=2, threads=1) as engine:
        sequences = engine._scheduler._sequences
        whole, sequences._prefixes = sequences._prefixes, OutOfMemory(2**20)
        for _ in range(5):
            with pytest.raises(InternsError, match="no memory left"):
                _ask(engine, ROLES[0], "Where is my parcel?", adapters[0])
        stats = engine.stats()
        assert (stats["sequences"], stats["adapter_users"]) == (0, 0)
        sequences._prefixes = whole
        assert _ask(engine, ROLES[0], "Where is my parcel?", adapters[0]).completion_tokens > 0
