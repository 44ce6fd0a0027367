"""A loss curve that fits its own size."""

from __future__ import annotations

from collections.abc import Sequence

from textual.strip import Strip
from textual.widget import Widget

from tui.model.curve import Point, draw
from tui.model.terminal import plain_glyphs
from tui.widgets.lines import strip


class Curve(Widget):
    """Draws points as braille, or as stars where only ASCII can be drawn."""

    DEFAULT_CSS = (
        "Curve { width: 1fr; height: 1fr; color: $text-success; background: $background; }"
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._points: list[Point] = []
        self._ascii = plain_glyphs()
        self._lines: list[str] = []

    def show(self, points: Sequence[Point]) -> None:
        """Show other points."""
        self._points = list(points)
        self.refresh()

    def render_lines(self, crop: object) -> list[Strip]:
        """Draw all lines at once: the curve is one picture."""
        width, height = self.size
        self._lines = draw(self._points, max(12, width), max(2, height), ascii_only=self._ascii)
        return super().render_lines(crop)  # type: ignore[arg-type]  # passed through

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        text = self._lines[y] if y < len(self._lines) else ""
        return strip(text, self.rich_style, self.size.width, self.rich_style)
