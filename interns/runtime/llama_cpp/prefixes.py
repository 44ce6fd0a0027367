"""Keys and values of earlier prompts, for whom they were computed, and which one begins alike.

Keys and values computed under one adapter are wrong under another, silently. So a kept prefix is
found only by the same adapter (content hash and strength) and equal tokens. They lie outside the
cache of llama.cpp and are copied back, so that every answer begins in a tidy cache.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from interns.adapter import Adapter

AdapterKey = tuple[str, float]
Tokens = tuple[int, ...]
Name = tuple[AdapterKey, Tokens]
BASE_KEY: AdapterKey = ("", 0.0)


def adapter_key(adapter: Adapter | None) -> AdapterKey:
    """What KV entries are filed under: content and strength of the adapter, or the bare base."""
    return BASE_KEY if adapter is None else (adapter.sha256, float(adapter.scale))


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of equal leading tokens."""
    count = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        count += 1
    return count


def shared_start(first: Sequence[int], second: Sequence[int]) -> int:
    """Leading tokens of `first` that a prompt `second` can go on from: two are left to compute."""
    return min(shared_length(first, second), len(second) - 2)


@dataclass(frozen=True, eq=False)
class Kept:
    """Keys and values of a sequence.

    Attributes:
        key: The adapter it was computed under.
        tokens: What it holds, from position 0.
        state: Its keys and values.
        head: Whether it is where different prompts part, such as the charter and role of an intern.
    """

    key: AdapterKey
    tokens: Tokens
    state: bytes
    head: bool = False

    @property
    def name(self) -> Name:
        """What it is known by."""
        return self.key, self.tokens


class PrefixIndex:
    """Sequences of tokens by adapter, sorted.

    The one with the longest equal start is a neighbour of where the wanted one would stand.
    """

    def __init__(self) -> None:
        self._rows: dict[AdapterKey, list[Tokens]] = {}

    def add(self, key: AdapterKey, tokens: Tokens) -> None:
        """Note a sequence that is not there yet."""
        insort(self._rows.setdefault(key, []), tokens)

    def remove(self, key: AdapterKey, tokens: Tokens) -> None:
        """Forget a sequence that is there."""
        rows = self._rows[key]
        del rows[bisect_left(rows, tokens)]
        if not rows:
            del self._rows[key]

    def longest(self, key: AdapterKey, tokens: Tokens) -> tuple[Tokens, int]:
        """The sequence with the longest equal start, the shortest of several, and how long it is.

        With no equal start the sequence is empty and the length 0.
        """
        rows = self._rows.get(key, [])
        at = bisect_left(rows, tokens)
        near = rows[max(0, at - 1) : at + 1]
        length = max((shared_length(row, tokens) for row in near), default=0)
        return (rows[bisect_left(rows, tokens[:length])], length) if length else ((), 0)

    def starts(self, key: AdapterKey, tokens: Tokens) -> list[Tokens]:
        """The sequences that `tokens` begins with or is, shortest first."""
        rows = self._rows.get(key, [])
        return [row for row in rows[: bisect_left(rows, (*tokens, 0))] if _begins(tokens, row)]


def _begins(tokens: Tokens, start: Tokens) -> bool:
    return tokens[: len(start)] == start
