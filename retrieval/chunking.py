"""A document becomes passages: sentences packed under their headings, never cut inside one.

A passage is a contiguous span. Neighbours share their last sentences. A new heading starts a new
passage. Only a sentence longer than a whole passage is cut, at a space where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from retrieval.chunk import Chunk
from retrieval.document import Document
from retrieval.sentences import Unit, split_sentences, units

__all__ = ["chunk_document", "split_sentences"]

CountTokens = Callable[[Sequence[str]], list[int]]


@dataclass
class _Section:
    heading: str
    pieces: list[_Piece] = field(default_factory=list)


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    tokens: int
    is_heading: bool


def chunk_document(
    document: Document, count_tokens: CountTokens, *, size: int = 200, overlap: int = 40
) -> list[Chunk]:
    """Cut a document into passages.

    Args:
        document: With at least one visible character.
        count_tokens: Counts the tokens of each of several texts.
        size: Most tokens of a passage; a cut sentence is measured by its length, so about.
        overlap: Most tokens a passage repeats from the one before it; less than `size`.

    Returns:
        Passages in order. Each sentence of the document is inside at least one of them.
    """
    spans: list[tuple[int, int, str]] = []
    for section in _sections(document, count_tokens, size):
        spans.extend(
            (start, end, section.heading)
            for start, end in _pack(section.pieces, size, min(overlap, size // 2))
        )
    return [
        Chunk(ordinal, start, end, heading, document.text[start:end])
        for ordinal, (start, end, heading) in enumerate(spans)
    ]


def _sections(document: Document, count_tokens: CountTokens, size: int) -> Iterator[_Section]:
    """Yield runs of pieces under one heading; headings with nothing under them join the next."""
    found = units(document.text, code=document.kind == "code")
    tokens = count_tokens([document.text[unit.start : unit.end] for unit in found])
    path: list[tuple[int, str]] = []
    section = _Section("")
    for unit, count in zip(found, tokens, strict=True):
        if unit.kind == "heading":
            if any(not piece.is_heading for piece in section.pieces):
                yield section
                section = _Section("")
            path = [(level, title) for level, title in path if level < unit.level]
            path.append((unit.level, document.text[unit.start : unit.end]))
            section.heading = " > ".join(title for _, title in path)
        section.pieces.extend(_pieces(document.text, unit, count, size))
    if section.pieces:
        yield section


def _pieces(text: str, unit: Unit, tokens: int, size: int) -> Iterator[_Piece]:
    """Yield the unit, or parts of about equal length when it is too long for a passage."""
    heading = unit.kind == "heading"
    if tokens <= size:
        yield _Piece(unit.start, unit.end, tokens, heading)
        return
    longest = max(1, (unit.end - unit.start) * size // (tokens + 1))
    pattern = re.compile(rf"\S(?:.{{0,{longest - 1}}}(?=\s|\Z)|.{{0,{longest - 1}}})", re.DOTALL)
    start = unit.start
    while match := pattern.search(text, start, unit.end):
        body = match[0].rstrip()
        end = match.start() + len(body)
        yield _Piece(
            match.start(),
            end,
            min(size, 1 + tokens * len(body) // (unit.end - unit.start)),
            heading,
        )
        start = end


def _pack(pieces: Sequence[_Piece], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yield spans of at most `size` tokens that cover the pieces in order."""
    first, used = 0, 0
    for index, piece in enumerate(pieces):
        if used and used + piece.tokens > size:
            yield pieces[first].start, pieces[index - 1].end
            first, used = _shared(pieces, first, index, min(overlap, size - piece.tokens))
        used += piece.tokens
    if pieces:
        yield pieces[first].start, pieces[-1].end


def _shared(pieces: Sequence[_Piece], first: int, index: int, room: int) -> tuple[int, int]:
    """Return where the next passage begins, and the tokens it takes over from the last one."""
    begin, used = index, 0
    while begin - 1 > first and used + pieces[begin - 1].tokens <= room:
        begin -= 1
        used += pieces[begin].tokens
    return begin, used
