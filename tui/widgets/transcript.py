"""The conversation in one widget: ten thousand messages cost what the visible lines cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.model.transcript import Entry, Line, Transcript
from tui.widgets.lines import strip


class TranscriptView(ScrollView, can_focus=True):
    """Draws a `Transcript`; stays at the end while it grows unless scrolled up."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "transcript--you",
        "transcript--intern",
        "transcript--head",
        "transcript--why",
        "transcript--citation",
        "transcript--note",
        "transcript--error",
    }
    DEFAULT_CSS = """
    TranscriptView {
        background: $background;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
        & > .transcript--you { color: $foreground; }
        & > .transcript--intern { color: $foreground; }
        & > .transcript--head { color: $text-primary; text-style: bold; }
        & > .transcript--why { color: $text-muted; }
        & > .transcript--citation { color: $text-accent; }
        & > .transcript--note { color: $text-muted; }
        & > .transcript--error { color: $text-error; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False),
        Binding("k", "scroll_up", "Up", show=False),
        Binding("g", "scroll_home", "First message", show=False),
        Binding("G", "scroll_end", "Last message", show=False),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.transcript = Transcript()
        self._follows = True

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self._change(lambda: self.transcript.add(entry))

    def grow(self, text: str) -> None:
        """Append to the last entry."""
        self._change(lambda: self.transcript.grow(text))

    def replace_last(self, entry: Entry) -> None:
        """Put another entry in place of the last."""
        self._change(lambda: self.transcript.replace_last(entry))

    def clear(self) -> None:
        """Forget the conversation."""
        self._change(self.transcript.clear)

    def render_line(self, y: int) -> Strip:
        """Draw one visible line."""
        index = self.scroll_offset.y + y
        lines = self.transcript.lines
        line = lines[index] if index < len(lines) else Line("note", "")
        name = "head" if line.head else line.kind
        style = self.get_component_rich_style(f"transcript--{name}")
        return strip(line.text, style, self.scrollable_content_region.width, self.rich_style)

    def on_resize(self, event: events.Resize) -> None:
        """Wrap anew when the width changed."""
        del event
        self._change(lambda: self.transcript.resize(self.scrollable_content_region.width))

    def release_anchor(self) -> None:
        """Stay where the person scrolled to; Textual calls this when somebody scrolls."""
        self._follows = False

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow again once the end is reached."""
        super().watch_scroll_y(old_value, new_value)
        if self.scroll_offset.y >= self.max_scroll_y:
            self._follows = True

    def _change(self, change: Callable[[], None]) -> None:
        change()
        width = self.scrollable_content_region.width
        self.virtual_size = Size(width, len(self.transcript.lines))
        self.refresh()
        if self._follows:
            self.scroll_end(animate=False, force=True)
