"""Text becomes units: headings, sentences, code lines and table rows, each with its offsets.

Understands Markdown, reStructuredText headings and plain paragraphs. Markers (`#`, `-`, `1.`,
fences, rules) belong to no unit, so that a unit can be quoted as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

UnitKind = Literal["heading", "sentence", "code", "row"]


@dataclass(frozen=True)
class Unit:
    """The characters [start, end) of a text; `level` is a heading's depth, else 0."""

    start: int
    end: int
    kind: UnitKind
    level: int = 0


@dataclass(frozen=True)
class _Line:
    start: int
    text: str


_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(?P<body>\S.*?)[ \t]*#*[ \t]*$")
_ITEM = re.compile(
    r"[ \t]*(?:>[ \t]?)*(?:[-*+•][ \t]+(?:\[[ xX]\][ \t]+)?|\d{1,3}[.)][ \t]+)(?=\S)"
)
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)+")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_RULE = re.compile(r"[ \t]*([-*_=~^+\"'`#.:])(?:[ \t]*\1){2,}[ \t]*$")
_ROW = re.compile(r"[ \t]*\|")
_ROW_RULE = re.compile(r"[ \t]*\|?[ \t:|-]*-{3,}[ \t:|-]*$")
_UNDERLINES = "=-~^\"'`#*+.:_"

_END = re.compile(r"(?P<mark>[.!?…]+)(?P<close>[\"'”’»)\]*_`]*)(?=\s)|[。！？]+[」』”’）]*")
_WORD_BEFORE = re.compile(r"[\w.]+$")
_NEXT_WORD = re.compile(r"\s+[\"'“‘«(\[*_`]*(\w?)")
_NEVER_LAST = frozenset([
    *("mr", "mrs", "ms", "dr", "prof", "rev", "gen", "col", "lt", "sgt", "capt", "st", "mt"),
    *("vs", "cf", "e.g", "i.e", "eg", "ie", "viz", "fig", "figs", "eq", "eqs", "sec", "ch"),
    *("pp", "vol", "no", "nos", "ca", "approx", "dept", "est", "u.s", "u.k", "e.u", "ph.d"),
    *("jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
])
_SELDOM_LAST = frozenset(["al", "etc", "inc", "ltd", "co", "corp", "jr", "sr", "a.m", "p.m"])


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Return [start, end) of every quotable sentence, code line and table row, in order.

    Headings are left out: they name what follows and say nothing themselves.
    """
    return [(unit.start, unit.end) for unit in units(text) if unit.kind != "heading"]


def units(text: str, *, code: bool = False) -> list[Unit]:
    """Return the units of a text in order, none overlapping.

    Args:
        text: Any text.
        code: Every line is a code line, whatever it looks like.
    """
    return list(_code_units(text) if code else _prose_units(text))


def _lines(text: str) -> list[_Line]:
    lines, start = [], 0
    for line in text.split("\n"):
        lines.append(_Line(start, line.rstrip("\r")))
        start += len(line) + 1
    return lines


def _code_units(text: str) -> Iterator[Unit]:
    for line in _lines(text):
        yield from _whole(line, "code")


def _prose_units(text: str) -> Iterator[Unit]:
    paragraph: list[_Line] = []
    fence = ""
    levels: dict[str, int] = {}
    for line in _lines(text):
        mark = _FENCE.match(line.text)
        if fence or mark:
            yield from _flush(text, paragraph)
            if not fence and mark:
                fence = mark[1]
            elif mark and mark[1].startswith(fence):
                fence = ""
            else:
                yield from _whole(line, "code")
            continue
        if _is_underline(line, paragraph):
            level = levels.setdefault(line.text.strip()[0], len(levels) + 1)
            yield from _whole(paragraph.pop(), "heading", level)
            continue
        yield from _prose_line(text, line, paragraph)
    yield from _flush(text, paragraph)


def _prose_line(text: str, line: _Line, paragraph: list[_Line]) -> Iterator[Unit]:
    """Yield what this line ends and is; a paragraph's line only joins the paragraph."""
    heading = _HEADING.match(line.text)
    row = _ROW.match(line.text)
    if not line.text.strip() or heading or row or _RULE.match(line.text):
        yield from _flush(text, paragraph)
        if heading:
            start = line.start + heading.start("body")
            end = line.start + heading.end("body")
            yield Unit(start, end, "heading", len(heading[1]))
        elif row and not _ROW_RULE.match(line.text):
            yield from _whole(line, "row")
        return
    marker, quote = _ITEM.match(line.text), _QUOTE.match(line.text)
    if marker or (quote and paragraph and not _is_quoted(text, paragraph[0])):
        yield from _flush(text, paragraph)
    prefix = marker or quote
    skipped = prefix.end() if prefix else 0
    if line.text[skipped:].strip():
        paragraph.append(_Line(line.start + skipped, line.text[skipped:]))


def _is_quoted(text: str, line: _Line) -> bool:
    return ">" in text[max(0, line.start - 2) : line.start]


def _is_underline(line: _Line, paragraph: list[_Line]) -> bool:
    """Whether the line underlines a one-line paragraph, as in Setext and reStructuredText."""
    mark = line.text.strip()
    return (
        len(paragraph) == 1
        and len(mark) >= 3
        and mark[0] in _UNDERLINES
        and mark == mark[0] * len(mark)
        and len(mark) >= min(len(paragraph[0].text.strip()), 8)
    )


def _whole(line: _Line, kind: UnitKind, level: int = 0) -> Iterator[Unit]:
    body = line.text.strip()
    if body:
        start = line.start + line.text.index(body)
        yield Unit(start, start + len(body), kind, level)


def _flush(text: str, paragraph: list[_Line]) -> Iterator[Unit]:
    """Yield the sentences of the paragraph gathered so far, and empty it."""
    if not paragraph:
        return
    last = paragraph[-1]
    first, end = paragraph[0].start, last.start + len(last.text)
    paragraph.clear()
    start = first
    for match in _END.finditer(text, first, end):
        if _ends_sentence(text, match, first):
            yield from _trimmed(text, start, match.end())
            start = match.end()
    yield from _trimmed(text, start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Unit]:
    body = text[start:end].strip()
    if body:
        begin = text.index(body, start)
        yield Unit(begin, begin + len(body), "sentence")


def _ends_sentence(text: str, match: re.Match[str], first: int) -> bool:
    mark = match["mark"]
    if mark is None:  # CJK full stops need no space after them
        return True
    following = _NEXT_WORD.match(text, match.end())
    after = following[1] if following else ""
    if after.islower():
        return False
    if mark != "." or match["close"]:
        return True
    found = _WORD_BEFORE.search(text, max(first, match.start() - 20), match.start())
    word = found[0] if found else ""
    if word.lower() in _NEVER_LAST or (len(word) == 1 and word.isupper()):
        return False
    if word.lower() in _SELDOM_LAST:
        return after.isupper()
    return not (word.isdigit() and found is not None and found.start() == first)
