"""Reads GBNF as llama.cpp does: repetitions written out, groups as rules of their own.

What is read here and refused there is refused in the end; what is read by both has the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from interns.errors import InvalidInput

MOST_REPEATS = 2000  # llama.cpp writes repetitions out and refuses more
MOST_SYMBOLS = 1_000_000
_LAST = 0x10FFFF
_TOKEN = re.compile(
    r"""
      (?P<skip>[ \t\r\n]+|\#[^\r\n]*)
    | "(?P<text>(?:[^"\\]|\\.)*)"
    | \[(?P<not>\^?)(?P<set>(?:[^\]\\]|\\.)*)\]
    | \{\s*(?P<least>\d{1,9})\s*(?P<more>,\s*(?P<most>\d{0,9})\s*)?\}
    | (?P<word>!?<[^>]*>)
    | (?P<name>[a-zA-Z0-9-]+)(?P<defined>[ \t]*::=)?
    | (?P<mark>[()|*+?.])
    """,
    re.VERBOSE | re.DOTALL,
)
_ONE = r"\\x[0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8}|\\.|[^\\]"
_CHARACTER = re.compile(_ONE, re.DOTALL)
_RANGE = re.compile(rf"({_ONE})(?:-({_ONE}))?", re.DOTALL)
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_TIMES = {"*": (0, None), "+": (1, None), "?": (0, 1)}

Characters = tuple[tuple[int, int], ...]
"""Ranges of code points, both ends included; a whole token of the vocabulary lies below 0."""

Symbol = int | Characters
"""The number of a rule, or one of some characters."""


@dataclass(frozen=True)
class Rules:
    """A grammar.

    Attributes:
        names: Of the rules; those of groups and repetitions are called like what they stand in.
        bodies: The alternatives of each rule, as sequences of symbols.
        root: Number of the start rule.
    """

    names: list[str]
    bodies: list[list[list[Symbol]]]
    root: int


def read_gbnf(text: str) -> Rules:
    """The rules of a grammar whose groups nest no deeper than Python's own calls may.

    Raises:
        InvalidInput: It cannot be read, has no rule named root, or is too large when written out.
    """
    return _Reader(text).rules()


class _Reader:
    def __init__(self, text: str) -> None:
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._bodies: list[list[list[Symbol]] | None] = []
        self._size = 0
        self._tokens = _tokens(text)
        self._next = next(self._tokens, None)

    def rules(self) -> Rules:
        while self._next is not None:
            if not self._next["defined"]:
                raise _unreadable(self._next)
            name = self._take()["name"]
            number = self._number(name)
            self._bodies[number] = self._alternatives(name)
        bodies = [body for body in self._bodies if body is not None]
        if "root" not in self._numbers or len(bodies) < len(self._bodies):
            missing = next((n for n, i in self._numbers.items() if not self._bodies[i]), "root")
            raise InvalidInput(f"The grammar has no rule {missing}.", f"Add {missing} ::= …")
        return Rules(self._names, bodies, self._numbers["root"])

    def _take(self) -> re.Match[str]:
        assert self._next is not None, "looked at before"  # noqa: S101 - our own invariant
        taken, self._next = self._next, next(self._tokens, None)
        return taken

    def _at(self, mark: str) -> bool:
        return self._next is not None and self._next["mark"] == mark

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = self._new(name)
        return self._numbers[name]

    def _new(self, name: str) -> int:
        self._names.append(name)
        self._bodies.append(None)
        return len(self._bodies) - 1

    def _alternatives(self, name: str) -> list[list[Symbol]]:
        found = [self._sequence(name)]
        while self._at("|"):
            self._take()
            found.append(self._sequence(name))
        return found

    def _sequence(self, name: str) -> list[Symbol]:
        symbols: list[Symbol] = []
        last = 0
        while self._next is not None and not self._next["defined"]:
            if self._at("|") or self._at(")"):
                break
            token = self._take()
            times = _times(token)
            if times is None:
                last = len(symbols)
                symbols += self._item(token, name)
            elif last == len(symbols):
                raise _unreadable(token)
            else:
                repeated = symbols[last:]
                del symbols[last:]
                symbols += self._repeated(repeated, *times, name)
        return symbols

    def _item(self, token: re.Match[str], name: str) -> list[Symbol]:
        if token["mark"] == "(":
            number = self._new(name)
            self._bodies[number] = self._alternatives(name)
            if not self._at(")"):
                raise _unreadable(token)
            self._take()
            return [number]
        if token["name"]:
            return [self._number(token["name"])]
        found = _characters(token)
        self._grow(len(found))
        return found

    def _repeated(
        self, symbols: list[Symbol], least: int, most: int | None, name: str
    ) -> list[Symbol]:
        optional = 1 if most is None else most - least
        if optional < 0:
            raise InvalidInput(
                f"The grammar repeats something at least {least} and at most {most} times.",
                "Give the smaller number first.",
            )
        if max(least, most or 0) > MOST_REPEATS:
            raise InvalidInput(
                f"The grammar repeats something more than {MOST_REPEATS} times.",
                "Use a smaller number, or * and + for no limit.",
            )
        self._grow(len(symbols) * (least + optional) + optional)
        written = symbols * least
        rest: int | None = None
        for _ in range(optional):
            number = self._new(name)
            onward = number if most is None else rest
            self._bodies[number] = [[*symbols, *([] if onward is None else [onward])], []]
            rest = number
        return written if rest is None else [*written, rest]

    def _grow(self, by: int) -> None:
        self._size += by
        if self._size > MOST_SYMBOLS:
            raise InvalidInput(
                f"The grammar has more than {MOST_SYMBOLS} characters when its repetitions are "
                "written out.",
                "Repeat fewer times, or something shorter.",
            )


def _tokens(text: str) -> Iterator[re.Match[str]]:
    place = 0
    while place < len(text):
        token = _TOKEN.match(text, place)
        if token is None or "\0" in token[0]:
            raise InvalidInput(
                f"The grammar cannot be read at {text[place : place + 20]!r}.",
                "Write it in GBNF, the form of llama.cpp's grammars.",
            )
        place = token.end()
        if token["skip"] is None:
            yield token


def _unreadable(token: re.Match[str]) -> InvalidInput:
    rest = token.string[token.start() : token.start() + 20]
    return InvalidInput(
        f"The grammar cannot be read at {rest!r}.", "Check what stands there and before."
    )


def _times(token: re.Match[str]) -> tuple[int, int | None] | None:
    if token["least"] is None:
        return _TIMES.get(token["mark"] or "")
    least = int(token["least"])
    if token["more"] is None:
        return least, least
    return least, int(token["most"]) if token["most"] else None


def _characters(token: re.Match[str]) -> list[Symbol]:
    if token["text"] is not None:
        codes = map(_code, _CHARACTER.findall(token["text"]))
        return [((code, code),) for code in codes]
    if token["word"]:
        return [((-_LAST, -1),)]  # which token it is makes no difference here
    if token["mark"] == ".":
        return [((0, _LAST),)]
    ranges = [(_code(low), _code(high or low)) for low, high in _RANGE.findall(token["set"])]
    if not ranges:
        return []
    return [_others(ranges) if token["not"] else tuple(ranges)]


def _code(written: str) -> int:
    if len(written) == 1:
        return ord(written)
    if len(written) == 2:
        return ord(_ESCAPED.get(written[1], written[1]))
    return int(written[2:], 16)


def _others(ranges: list[tuple[int, int]]) -> Characters:
    found, start = [], 0
    for low, high in sorted(ranges):
        if start < low:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return (*found, (start, _LAST)) if start <= _LAST else tuple(found)
