"""The losses over the steps: kept as lines of JSON, drawn as SVG."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interns.errors import BrokenFile
from interns.gguf.writing import whole_file
from training.artifacts import saving

_WIDTH, _HEIGHT, _EDGE = 720, 400, 48
_COLOURS = ("#888", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
_POINTS = 400
_GO_ON = "Put back the curve that belongs to the checkpoint, or begin anew with another --out."

Line = Mapping[str, Any]
Points = Sequence[tuple[float, float]]


class Curve:
    """``curve.jsonl``: one line per step, and one per look at held-out text.

    It holds nothing that depends on the clock, so a resumed run writes what an uninterrupted one
    writes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def cut(self, step: int) -> None:
        """Drop what was written after `step` steps: those steps will be done again.

        Raises:
            BrokenFile: A step until there is missing.
            NoSpace: The disk is full.
        """
        lines = [line for line in self.lines() if line["step"] <= step]
        if [line["step"] for line in lines if "loss" in line] != list(range(1, step + 1)):
            raise BrokenFile(
                f"{self._path} does not hold every step until {step}, where the checkpoint stands.",
                _GO_ON,
            )
        with whole_file(self._path) as partial:
            partial.write_text("".join(map(_text, lines)), encoding="utf-8")

    def add(self, line: Line) -> None:
        """Append one line.

        Raises:
            NoSpace: The disk is full.
        """
        with saving(self._path.parent, self._path.name), self._path.open("ab") as file:
            file.write(_text(line).encode())

    def sync(self) -> None:
        """Have it on disk before a checkpoint says that its steps are done."""
        with saving(self._path.parent, self._path.name), self._path.open("rb") as file:
            os.fsync(file.fileno())

    def lines(self) -> list[Line]:
        """Every whole line; a half one that a killed process left is passed over.

        Raises:
            BrokenFile: The file holds something else.
        """
        if not self._path.is_file():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise BrokenFile(f"{self._path} is no curve: {error}.", _GO_ON) from error
        for number, line in enumerate(lines, start=1):
            if not isinstance(line, dict) or not isinstance(line.get("step"), int):
                raise BrokenFile(f"{self._path} is no curve: line {number} has no step.", _GO_ON)
        return lines


def draw(lines: Iterable[Line], title: str) -> str:
    """The curves as an SVG image: training loss, smoothed, and held-out loss by group."""
    lines = list(lines)
    series: dict[str, Points] = {
        "training": _thinned([(line["step"], line["loss"]) for line in lines if "loss" in line])
    }
    looks = [line for line in lines if "held_out" in line]
    for group in looks[-1]["held_out"] if looks else ():
        series[group] = [(one["step"], one["held_out"][group]) for one in looks]
    points = [point for each in series.values() for point in each]
    if not points:
        return _svg([_label(_EDGE, 24, title)])
    right = max(x for x, _ in points)
    low, high = min(y for _, y in points), max(y for _, y in points)
    parts = [_label(_EDGE, 24, title), _axes(right, low, high)]
    for number, (name, each) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(_polyline([_place(point, right, low, high) for point in each], colour))
        final = f"{name} {each[-1][1]:.3f}" if each else name
        parts.append(_label(_WIDTH - 190, 44 + 16 * number, final, colour))
    return _svg(parts)


def _text(line: Line) -> str:
    return json.dumps(line, separators=(",", ":")) + "\n"


def _thinned(points: Points) -> Points:
    """Means over equal stretches, at most `_POINTS` of them."""
    size = max(1, len(points) // _POINTS)
    chunks = [points[at : at + size] for at in range(0, len(points), size)]
    return [(c[-1][0], sum(y for _, y in c) / len(c)) for c in chunks]


def _place(
    point: tuple[float, float], right: float, low: float, high: float
) -> tuple[float, float]:
    x = _EDGE + point[0] / max(right, 1) * (_WIDTH - 2 * _EDGE)
    y = _EDGE + (high - point[1]) / max(high - low, 1e-9) * (_HEIGHT - 2 * _EDGE)
    return x, y


def _axes(right: float, low: float, high: float) -> str:
    bottom, top = _HEIGHT - _EDGE, _EDGE
    frame = f'<path d="M{_EDGE} {top}V{bottom}H{_WIDTH - _EDGE}" fill="none" stroke="#444"/>'
    return frame + "".join((
        _label(4, top + 4, f"{high:.2f}"),
        _label(4, bottom, f"{low:.2f}"),
        _label(_EDGE, bottom + 18, "0"),
        _label(_WIDTH - _EDGE - 90, bottom + 18, f"step {right:g}"),
        _label(_EDGE, bottom + 36, "loss in nats per learned token"),
    ))


def _polyline(points: Points, colour: str) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _label(x: float, y: float, text: str, colour: str = "#222") -> str:
    safe = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:g}" y="{y:g}" font-family="sans-serif" font-size="12" fill="{colour}">{safe}</text>'


def _svg(parts: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return (
        "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"])
        + "\n"
    )
