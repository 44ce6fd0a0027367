"""Which prefixes stay in memory: what was shared or gone on with outlives what was asked once.

Two prompts that part after a while (an intern's charter and role, then different tasks) leave their
common head as an entry of its own, so that it survives when the prompts themselves are given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.prefixes import AdapterKey, Kept, Name, PrefixIndex
from interns.runtime.llama_cpp.spill import PrefixFolder

WORTH = 16
_CLOSING_S = 2.0
_MIB = 2**20


class PrefixCache:
    """Kept sequences within a budget. Used by the owner thread only, but for `stats`.

    Args:
        most_bytes: Keys and values to keep in memory; 0 keeps none.
        folder: Where those that no longer fit go, and are found again; None is nowhere.
    """

    def __init__(self, most_bytes: int, folder: PrefixFolder | None = None) -> None:
        self._most = most_bytes
        self._folder = folder
        self._index = PrefixIndex()
        self._kept: dict[Name, Kept] = {}  # longest unused first
        self._again: set[Name] = set()  # shared or gone on with

    def __len__(self) -> int:
        return len(self._kept)

    def stats(self) -> dict[str, int]:
        """Numbers of what is kept in memory and on disk; from any thread."""
        kept = list(self._kept.values())
        return {
            "kept_prefixes": len(kept),
            "kept_tokens": sum(len(one.tokens) for one in kept),
            "kept_bytes": _size(kept),
            **(self._folder.stats() if self._folder else {}),
        }

    def find(self, key: AdapterKey, tokens: Sequence[int]) -> tuple[Kept, int] | None:
        """The kept sequence with the longest equal start, and how long it is; or None."""
        wanted = tuple(tokens)
        row, length = self._index.longest(key, wanted)
        if self._folder and (found := self._folder.fetch(key, wanted, length + WORTH)):
            best, length = found
            self._add(best)
        elif length:
            best = self._kept[key, row]
            self._kept[best.name] = self._kept.pop(best.name)
        else:
            return None
        if best.name in self._kept and not _parts(best, length, wanted):
            self._again.add(best.name)
        return best, length

    def wants(self, key: AdapterKey, tokens: Sequence[int]) -> bool:
        """Whether keeping these tokens would add anything."""
        wanted = tuple(tokens)
        return bool(self._most and wanted) and self._index.longest(key, wanted)[1] < len(wanted)

    def wants_head(self, found: Kept, length: int, tokens: Sequence[int]) -> bool:
        """Whether the first `length` tokens are worth an entry of their own.

        They are when a prompt parts there from a kept sequence and no other head is nearly as long.
        """
        starts = self._index.starts(found.key, found.tokens[:length])
        new = length - len(starts[-1] if starts else ())
        return bool(self._most) and _parts(found, length, tokens) and new >= WORTH

    def keep(self, kept: Kept) -> None:
        """Add a sequence; what it makes superfluous and what no longer fits is given up."""
        if len(kept.state) > self._most:  # or it would push out everything else
            if self._folder:
                self._folder.offer(kept)
            return
        gone_on = kept.head
        for row in self._index.starts(kept.key, kept.tokens):
            old = self._kept[kept.key, row]
            if not old.head or row == kept.tokens:
                gone_on = gone_on or old.name in self._again
                self._remove(old)
        if gone_on:
            self._again.add(kept.name)
        self._add(kept)

    def close(self) -> None:
        """Write what is kept to the folder, most useful first, as far as that goes quickly."""
        if self._folder:
            order = sorted(self._kept.values(), key=lambda one: one.name in self._again)
            self._folder.close(reversed(order), _CLOSING_S)

    # Inside -------------------------------------------------------------------------------------

    def _add(self, kept: Kept) -> None:
        if len(kept.state) > self._most:
            return
        if kept.name not in self._kept:
            self._index.add(*kept.name)
        self._kept.pop(kept.name, None)
        self._kept[kept.name] = kept
        while _size(self._kept.values()) > self._most:
            self._give_up()

    def _remove(self, kept: Kept) -> None:
        del self._kept[kept.name]
        self._index.remove(*kept.name)
        self._again.discard(kept.name)

    def _give_up(self) -> None:
        """What nobody came back for yields first, while it holds more than a quarter.

        So a flood of single prompts costs no intern its charter and role.
        """
        once = [kept for kept in self._kept.values() if kept.name not in self._again]
        again = [kept for kept in self._kept.values() if kept.name in self._again]
        oldest = (once if not again or _size(once) > self._most // 4 else again)[0]
        self._remove(oldest)
        if self._folder:
            self._folder.offer(oldest)


def make_cache(budget: Budget, facts: Mapping[str, str | int]) -> PrefixCache:
    """The cache of an engine; `facts` are what its keys and values depend on."""
    folder = None
    if budget.prefix_folder is not None and budget.prefix_disk_mib:
        folder = PrefixFolder(budget.prefix_folder, facts, budget.prefix_disk_mib * _MIB)
    return PrefixCache(budget.prefix_mib * _MIB, folder)


def _size(kept: Iterable[Kept]) -> int:
    return sum(len(one.state) for one in kept)


def _parts(found: Kept, length: int, tokens: Sequence[int]) -> bool:
    return length < min(len(found.tokens), len(tokens))
