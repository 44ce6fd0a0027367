"""Many lines in one widget: only what is visible is drawn, whatever the number of lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.model.wrap import wrap

Styled = tuple[str, str]  # component name without prefix, text


class LinesView(ScrollView, can_focus=True):
    """Shows styled lines, wrapped to its width, and scrolls by keyboard.

    A line is a pair of style name (``plain``, ``head``, ``dim``, ``warn``, ``add``, ``del``) and
    text.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "lines--plain",
        "lines--head",
        "lines--dim",
        "lines--warn",
        "lines--add",
        "lines--del",
    }
    DEFAULT_CSS = """
    LinesView {
        background: $background;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
        & > .lines--plain { color: $foreground; }
        & > .lines--head { color: $text-primary; text-style: bold; }
        & > .lines--dim { color: $text-muted; }
        & > .lines--warn { color: $text-warning; text-style: bold; }
        & > .lines--add { color: $text-success; }
        & > .lines--del { color: $text-error; text-style: strike; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "Top", show=False),
        Binding("G", "scroll_end", "End", show=False),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._source: list[Styled] = []
        self._wrapped: list[Styled] = []
        self._wrapped_width = 0

    @property
    def text(self) -> str:
        """What is shown, unwrapped."""
        return "\n".join(text for _, text in self._source)

    def show_lines(self, lines: Sequence[Styled], *, keep_place: bool = False) -> None:
        """Show other lines, from the top unless `keep_place`."""
        self._source = list(lines)
        self._rewrap()
        if not keep_place:
            self.scroll_home(animate=False)

    def render_line(self, y: int) -> Strip:
        """Draw one visible line."""
        width = self.scrollable_content_region.width
        index = self.scroll_offset.y + y
        name, text = self._wrapped[index] if index < len(self._wrapped) else ("plain", "")
        return strip(text, self._style(name), width, self.rich_style)

    def on_resize(self, event: events.Resize) -> None:
        """Wrap anew when the width changed."""
        del event
        if self.scrollable_content_region.width != self._wrapped_width:
            self._rewrap()

    def _rewrap(self) -> None:
        width = max(2, self.scrollable_content_region.width)
        self._wrapped_width = width
        self._wrapped = [(name, line) for name, text in self._source for line in wrap(text, width)]
        self.virtual_size = Size(width, len(self._wrapped))
        self.refresh()

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"lines--{name}")


def strip(text: str, style: Style, width: int, base: Style) -> Strip:
    """Return one drawn line of exactly `width` cells."""
    return Strip([Segment(text, style)]).adjust_cell_length(width, base)
