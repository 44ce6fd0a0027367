"""In how many ways a grammar can be read at once: what it costs llama.cpp, found out before.

llama.cpp follows every way a grammar leaves open, for every token that may come next, and nothing
can stop it meanwhile. A rule that begins with itself has no end of ways; parts that may be empty,
repeated, or equal alternatives that go on differently, multiply them with every character. So the
grammar is followed here first, along the characters that leave the most ways open.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from interns.errors import InvalidInput
from interns.runtime.llama_cpp.gbnf import Characters, Rules, Symbol

MOST_OPEN = 10_000  # ways open at one place: llama.cpp compares each with each
MOST_WAYS = 100_000  # ways to read one token, which llama.cpp follows one by one
_MOST_LOOKED_AT = 300_000  # stacks; so many take half a second here
_TOKEN = 12  # characters; few tokens are longer, and most of those are read in few ways
_FAR = 16 * _TOKEN
_DEEPEST = 1000  # llama.cpp looks for rules that begin with themselves by recursion
_END = ()
_NOTHING = 0


def check_ways(rules: Rules) -> None:
    """Refuse a grammar that llama.cpp would follow for long, or for ever.

    Raises:
        InvalidInput: A rule begins with itself, or too many ways are open.
    """
    _check_beginnings(rules)
    _Reading(rules).follow()


def _check_beginnings(rules: Rules) -> None:
    begins = list(_beginnings(rules))
    order = TopologicalSorter({number: set(firsts) for number, firsts in enumerate(begins)})
    ways, depth = [0] * len(begins), [0] * len(begins)
    try:
        for number in order.static_order():
            ways[number] = 1 + sum(ways[first] for first in begins[number])
            depth[number] = 1 + max((depth[first] for first in begins[number]), default=0)
            if ways[number] > MOST_OPEN:
                raise _too_many(MOST_OPEN)
            if depth[number] > _DEEPEST:
                raise InvalidInput(
                    f"{_DEEPEST} rules of the grammar begin with one another.", "Use fewer."
                )
    except CycleError as error:
        name = rules.names[error.args[1][0]]
        raise InvalidInput(
            f"The grammar's rule {name} can begin with itself, with nothing before.",
            "Put what comes first before the rule: item (item)* instead of list item.",
        ) from error


def _beginnings(rules: Rules) -> Iterator[list[int]]:
    """For each rule the rules that it can begin with, one for each way."""
    empty = _empty(rules)
    for number, body in enumerate(rules.bodies):
        firsts = []
        for symbols in body:
            for place, symbol in enumerate(symbols, 1):
                if not isinstance(symbol, int):
                    break
                # What follows nothing and is followed by nothing comes round once, not for ever.
                if symbol != number or place < len(symbols):
                    firsts.append(symbol)
                if symbol not in empty:
                    break
        yield firsts


def _empty(rules: Rules) -> set[int]:
    """The rules that may stand for nothing."""
    users: defaultdict[int, set[int]] = defaultdict(set)
    for number, body in enumerate(rules.bodies):
        for symbols in body:
            if all(isinstance(symbol, int) for symbol in symbols):
                for symbol in symbols:
                    users[int(symbol)].add(number)  # type: ignore[arg-type]  # as just seen
    found: set[int] = set()
    todo = list(range(len(rules.bodies)))
    while todo:
        number = todo.pop()
        if number not in found and any(found.issuperset(each) for each in rules.bodies[number]):
            found.add(number)
            todo += users[number]
    return found


class _Reading:
    """A grammar as it is read: what may come next, as numbered stacks of places.

    A stack is a place in the grammar and the stack of what follows; number 0 is empty.
    """

    def __init__(self, rules: Rules) -> None:
        self._symbols: list[Symbol | tuple[()]] = []
        self._starts: list[list[int]] = []
        for body in rules.bodies:
            self._starts.append([])
            for symbols in body:
                self._starts[-1].append(len(self._symbols))
                self._symbols += [*symbols, _END]
        self._stacks: list[tuple[int, int]] = [(0, 0)]
        self._numbers: dict[tuple[int, int], int] = {}
        self._opened: dict[int, list[int]] = {}
        self._taken: Counter[int] = Counter()
        self._looked_at = 0
        root = [self._pushed(start, _NOTHING) for start in self._starts[rules.root]]
        self._ways = dict.fromkeys((each for stack in root for each in self._open(stack)), 1)

    def follow(self) -> None:
        """Read on along the most ways, and of as many along what was least read."""
        read = 0
        for step in range(_FAR):
            read += len(self._ways)
            if read > _MOST_LOOKED_AT:
                return
            if step % _TOKEN == 0:
                self._ways = dict.fromkeys(self._ways, 1)
            character = self._widest()
            if character is None:
                return
            self._read(character)
            if len(self._ways) > MOST_OPEN:
                raise _too_many(MOST_OPEN)
            if sum(self._ways.values()) > MOST_WAYS:
                raise _too_many(MOST_WAYS)

    def _pushed(self, place: int, rest: int) -> int:
        if self._symbols[place] == _END:
            return rest
        number = self._numbers.setdefault((place, rest), len(self._stacks))
        if number == len(self._stacks):
            self._stacks.append((place, rest))
        return number

    def _open(self, stack: int) -> list[int]:
        """What it can begin with: stacks with characters on top, or the empty one."""
        if stack in self._opened:
            return self._opened[stack]
        found, seen, todo = [], set(), [stack]
        while todo:
            each = todo.pop()
            if each in seen:
                continue
            seen.add(each)
            self._looked_at += 1
            if len(seen) > MOST_OPEN or self._looked_at > _MOST_LOOKED_AT:
                raise _too_many(MOST_OPEN)
            place, rest = self._stacks[each]
            symbol = self._symbols[place]
            if each == _NOTHING or not isinstance(symbol, int):
                found.append(each)
                continue
            after = self._pushed(place + 1, rest)
            todo += [self._pushed(start, after) for start in self._starts[symbol]]
        self._opened[stack] = found
        return found

    def _ranges(self, stack: int) -> Characters:
        symbol = self._symbols[self._stacks[stack][0]]
        return () if stack == _NOTHING or isinstance(symbol, int) else symbol

    def _widest(self) -> int | None:
        """The character that most ways allow."""
        changes: defaultdict[int, list[float]] = defaultdict(lambda: [0, 0.0])
        for stack, ways in self._ways.items():
            fresh = 1 / (1 + self._taken[self._stacks[stack][0]])
            for low, high in self._ranges(stack):
                for place, sign in ((low, 1), (high + 1, -1)):
                    changes[place][0] += sign * ways
                    changes[place][1] += sign * fresh
        best, most, now = None, (0.0, 0.0), (0.0, 0.0)
        for place in sorted(changes):
            now = (now[0] + changes[place][0], now[1] + changes[place][1])
            if now[0] > 0 and now > most:
                best, most = place, now
        return best

    def _read(self, character: int) -> None:
        after: Counter[int] = Counter()
        for stack, ways in self._ways.items():
            if any(low <= character <= high for low, high in self._ranges(stack)):
                place, rest = self._stacks[stack]
                self._taken[place] += 1
                for each in self._open(self._pushed(place + 1, rest)):
                    after[each] += ways
        self._ways = dict(after)


def _too_many(limit: int) -> InvalidInput:
    return InvalidInput(
        f"The grammar can be read in more than {limit} ways at one place.",
        "Repeat nothing that may be empty, and let alternatives begin differently.",
    )
