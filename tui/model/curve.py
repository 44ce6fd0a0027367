"""A loss curve in characters: braille, or stars where only ASCII can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK = 0x2800


@dataclass(frozen=True)
class Point:
    """Loss at a training step."""

    step: int
    loss: float


def draw(
    points: Sequence[Point], width: int, height: int, *, ascii_only: bool = False
) -> list[str]:
    """Return `height` lines of `width` characters, with the loss scale at the left.

    Args:
        points: In order of their steps; their number does not matter for the cost of a line.
        width: Characters in all, at least 12.
        height: Lines, at least 2.
        ascii_only: Stars instead of braille.
    """
    if not points:
        return [" " * width for _ in range(height)]
    low, high = min(p.loss for p in points), max(p.loss for p in points)
    span = (high - low) or 1.0
    labels = [f"{high:.2f}", *[""] * (height - 2), f"{low:.2f}"]
    margin = max(len(label) for label in labels)
    columns = max(1, width - margin - 1)
    per_column, per_row = (1, 1) if ascii_only else (2, 4)
    tops = [
        round((high - loss) / span * (height * per_row - 1))
        for loss in _resampled(points, columns * per_column)
    ]
    rows = _stars(tops, columns, height) if ascii_only else _braille(tops, columns, height)
    return [f"{label.rjust(margin)} {row}" for label, row in zip(labels, rows, strict=True)]


def trend(points: Sequence[Point]) -> str:
    """Return one sentence about where the loss goes."""
    if len(points) < 4:
        return "Too early for a trend."
    quarter = max(1, len(points) // 4)
    before = sum(p.loss for p in points[-2 * quarter : -quarter]) / quarter
    now = sum(p.loss for p in points[-quarter:]) / quarter
    if before <= 0:
        return "The loss is at zero."
    change = (now - before) / before * 100
    steps = points[-1].step - points[-quarter - 1].step
    if abs(change) < 1:
        return f"Level for {steps} steps."
    return f"{'Down' if change < 0 else 'Up'} {abs(change):.0f}% in {steps} steps."


def _resampled(points: Sequence[Point], columns: int) -> list[float]:
    """Return one loss per column: the mean of its points, or a straight line where none falls."""
    first, last = points[0].step, points[-1].step
    if last == first:
        return [points[-1].loss] * columns
    sums, counts = [0.0] * columns, [0] * columns
    for point in points:
        column = (point.step - first) * (columns - 1) // (last - first)
        sums[column] += point.loss
        counts[column] += 1
    known = [column for column in range(columns) if counts[column]]
    values: list[float] = []
    for left, right in pairwise(known):
        a, b = sums[left] / counts[left], sums[right] / counts[right]
        values += [a + (b - a) * i / (right - left) for i in range(right - left)]
    return [*values, sums[known[-1]] / counts[known[-1]]]


def _braille(tops: Sequence[int], columns: int, height: int) -> list[str]:
    cells = [[0] * columns for _ in range(height)]
    for x, top in enumerate(tops):
        before = tops[x - 1] if x else top
        for y in range(min(before, top), max(before, top) + 1):
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return ["".join(chr(_BLANK + cell) if cell else " " for cell in row) for row in cells]


def _stars(tops: Sequence[int], columns: int, height: int) -> list[str]:
    rows = [[" "] * columns for _ in range(height)]
    for x, top in enumerate(tops):
        rows[top][x] = "*"
    return ["".join(row) for row in rows]
