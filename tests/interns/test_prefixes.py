"""Kept prefixes are found by adapter and tokens, and only so many are kept."""

from __future__ import annotations

from pathlib import Path

from interns.adapter import Adapter
from interns.runtime.llama_cpp.prefixes import BASE_KEY, Kept, PrefixCache, adapter_key

ONE, TWO = ("one", 1.0), ("two", 1.0)


def _kept(key, *tokens: int) -> Kept:
    return Kept(key, tokens, b"state")


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


def test_longest_start_is_found_when_the_adapter_is_the_same():
    cache = PrefixCache(4, 100)
    long, short = _kept(ONE, 1, 2, 3, 4), _kept(ONE, 1, 2, 9)
    cache.keep(short)
    cache.keep(long)
    cache.keep(_kept(TWO, 1, 2, 3, 4, 5))
    assert cache.find(ONE, (1, 2, 3, 7)) == (long, 3)
    assert cache.find(ONE, (1, 2, 9, 9)) == (short, 3)
    assert cache.find(ONE, (8, 1)) is None
    assert cache.find(("three", 1.0), (1, 2, 3)) is None


def test_least_used_is_given_up_when_too_many_are_kept():
    cache = PrefixCache(2, 100)
    for first in (1, 2):
        cache.keep(_kept(ONE, first, 0))
    assert cache.find(ONE, (1, 0)) is not None
    cache.keep(_kept(ONE, 3, 0))
    assert cache.find(ONE, (2, 0)) is None
    assert cache.find(ONE, (1, 0)) is not None


def test_tokens_stay_below_the_limit_when_many_are_kept():
    cache = PrefixCache(10, 10)
    for first in range(8):
        cache.keep(_kept(ONE, first, 0, 0, 0))
        assert cache.tokens <= 10
    assert not cache.wants(ONE, tuple(range(11)))
    assert not cache.wants(ONE, ())


def test_nothing_is_kept_twice_when_one_begins_like_the_other():
    cache = PrefixCache(4, 100)
    cache.keep(_kept(ONE, 1, 2))
    cache.keep(_kept(ONE, 1, 2, 3))
    assert len(cache) == 1
    assert not cache.wants(ONE, (1, 2))
    assert cache.wants(TWO, (1, 2))
    assert cache.wants(ONE, (1, 2, 3, 4))
