"""Keys and values of earlier prompts, and for whom they were computed.

Keys and values computed under one adapter are wrong under another, silently. So a kept prefix is
found only by the same adapter (content hash and strength) and equal tokens. They lie outside the
cache of llama.cpp and are copied back, so that every answer begins in a tidy cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interns.adapter import Adapter

AdapterKey = tuple[str, float]
BASE_KEY: AdapterKey = ("", 0.0)


def adapter_key(adapter: Adapter | None) -> AdapterKey:
    """What KV entries are filed under: content and strength of the adapter, or the bare base."""
    return BASE_KEY if adapter is None else (adapter.sha256, adapter.scale)


def shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Number of equal leading tokens."""
    count = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        count += 1
    return count


@dataclass(frozen=True, eq=False)
class Kept:
    """A finished sequence.

    Attributes:
        key: The adapter it was computed under.
        tokens: What it holds, from position 0.
        state: Its keys and values.
    """

    key: AdapterKey
    tokens: tuple[int, ...]
    state: bytes


class PrefixCache:
    """Finished sequences, least recently used first.

    Args:
        most: Sequences to keep.
        most_tokens: Tokens to keep over all of them.
    """

    def __init__(self, most: int, most_tokens: int) -> None:
        self._most = most
        self._most_tokens = most_tokens
        self._kept: list[Kept] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def tokens(self) -> int:
        """Tokens kept."""
        return sum(len(kept.tokens) for kept in self._kept)

    def find(self, key: AdapterKey, tokens: Sequence[int]) -> tuple[Kept, int] | None:
        """The kept sequence with the longest equal start, and how long it is; or None."""
        matches = [(shared_length(k.tokens, tokens), k) for k in self._kept if k.key == key]
        length, best = max(matches, key=lambda match: match[0], default=(0, None))
        if best is None or length == 0:
            return None
        self._kept.remove(best)
        self._kept.append(best)
        return best, length

    def wants(self, key: AdapterKey, tokens: Sequence[int]) -> bool:
        """Whether keeping these tokens would add anything."""
        if not 0 < len(tokens) <= self._most_tokens or self._most == 0:
            return False
        found = self.find(key, tokens)
        return found is None or found[1] < len(tokens)

    def keep(self, kept: Kept) -> None:
        """Add a sequence; what it makes superfluous and what no longer fits is given up."""
        self._kept = [old for old in self._kept if not _covers(kept, old)]
        self._kept.append(kept)
        while len(self._kept) > self._most or self.tokens > self._most_tokens:
            self._kept.pop(0)


def _covers(new: Kept, old: Kept) -> bool:
    return old.key == new.key and shared_length(old.tokens, new.tokens) == len(old.tokens)
