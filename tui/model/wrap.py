"""Text to lines of a given width in terminal cells, keeping words whole where they fit."""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells

_LABEL = re.compile(r"\s*(?:\[.\] |\* )?(?:\S+ {2,})?")  # what later lines are aligned behind
_WORD = re.compile(r"\s*\S+|\s+$")


def wrap(text: str, width: int) -> list[str]:
    """Return `text` as lines of at most `width` cells; at least one line.

    Args:
        text: Any text; line breaks are kept, tabs become four spaces.
        width: Cells, at least 2 so that a wide character fits.
    """
    lines: list[str] = []
    for line in text.expandtabs(4).splitlines() or [""]:
        lines.extend(_wrap_line(line, max(2, width)))
    return lines


def fit(text: str, width: int) -> str:
    """Return `text` on one line, cut or padded to exactly `width` cells; a cut shows an ellipsis."""
    line = " ".join(text.split("\n"))
    length = cell_len(line)
    if length <= width:
        return line + " " * (width - length)
    if width <= 1:
        return "…"[:width]
    kept = chop_cells(line, width - 1)[0]
    return kept + "…" + " " * (width - 1 - cell_len(kept))


def _wrap_line(line: str, width: int) -> list[str]:
    if cell_len(line) <= width:
        return [line]
    label = _LABEL.match(line)
    indent = " " * (label.end() if label and label.end() <= width // 2 else 0)
    lines: list[str] = []
    current = ""
    for word in _WORD.findall(line):
        if cell_len(current + word) <= width:
            current += word
            continue
        if current.strip():
            lines.append(current)
        pieces = chop_cells(indent + word.lstrip() if lines else word, width) or [""]
        lines.extend(pieces[:-1])
        current = pieces[-1]
    lines.append(current)
    return [kept.rstrip() for kept in lines]
