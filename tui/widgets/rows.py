"""A list of rows with one chosen: keyboard only, virtual, and the choice never moves by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.model.wrap import fit
from tui.widgets.lines import strip


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        key: Tells rows apart when the list changes.
        text: What is shown; cut at the width of the list.
        more: What is shown behind it where there is space for all of it.
    """

    key: str
    text: str
    more: str = ""


class RowList(ScrollView, can_focus=True):
    """Rows, one of them chosen. Posts `Chosen` when the choice moves, `Opened` on enter."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"rows--row", "rows--chosen", "rows--empty"}
    DEFAULT_CSS = """
    RowList {
        background: $background;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        overflow-x: hidden;
        & > .rows--row { color: $foreground; }
        & > .rows--chosen { text-style: bold; color: $text-primary; }
        & > .rows--empty { color: $text-muted; }
        &:focus > .rows--chosen { text-style: bold reverse; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "Next", show=False),
        Binding("up,k", "move(-1)", "Previous", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
        Binding("enter", "open", "Open", show=False),
    ]

    class Chosen(Message):
        """Another row was chosen, or none when the list became empty."""

        def __init__(self, rows: RowList, key: str | None) -> None:
            super().__init__()
            self.rows = rows
            self.key = key

        @property
        def control(self) -> RowList:
            """The list."""
            return self.rows

    class Opened(Chosen):
        """Enter was pressed on the chosen row."""

    def __init__(self, *, empty: str, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: list[Row] = []
        self._chosen = 0
        self._empty = empty

    @property
    def key(self) -> str | None:
        """Key of the chosen row."""
        return self._rows[self._chosen].key if self._rows else None

    @property
    def texts(self) -> list[str]:
        """All rows as shown, uncut."""
        return [row.text for row in self._rows]

    def show_rows(self, rows: Sequence[Row], *, empty: str | None = None) -> None:
        """Show other rows; the chosen one stays chosen, or else its place does."""
        before = self.key
        keys = [row.key for row in rows]
        place = keys.index(before) if before in keys else min(self._chosen, len(rows) - 1)
        self._rows, self._chosen = list(rows), max(0, place)
        self._empty = self._empty if empty is None else empty
        self.virtual_size = Size(self.size.width, len(self._rows))
        self.refresh()
        if self.key != before:
            self.post_message(self.Chosen(self, self.key))

    def choose(self, key: str) -> None:
        """Choose the row with this key, if it is there."""
        keys = [row.key for row in self._rows]
        if key in keys:
            self._choose(keys.index(key))

    def render_line(self, y: int) -> Strip:
        """Draw one visible row."""
        width = self.scrollable_content_region.width
        index = self.scroll_offset.y + y
        if not self._rows:
            lines = self._empty.splitlines()
            text = lines[y] if y < len(lines) else ""
            style = self.get_component_rich_style("rows--empty")
        elif index < len(self._rows):
            chosen = index == self._chosen
            text = self._text(self._rows[index], chosen=chosen, width=width)
            style = self.get_component_rich_style("rows--chosen" if chosen else "rows--row")
        else:
            text, style = "", self.rich_style
        return strip(fit(text, width), style, width, self.rich_style)

    @staticmethod
    def _text(row: Row, *, chosen: bool, width: int) -> str:
        text = f"{'>' if chosen else ' '}{row.text}"
        longer = f"{text}  {row.more}"
        return longer if cell_len(longer) <= width else text

    def on_click(self, event: events.Click) -> None:
        """Choose the row under the pointer."""
        index = self.scroll_offset.y + event.y
        if index < len(self._rows):
            self._choose(index)

    def action_move(self, by: int) -> None:
        """Choose a row further down or up."""
        self._choose(self._chosen + by)

    def action_page(self, by: int) -> None:
        """Choose a row one page further."""
        self._choose(self._chosen + by * max(1, self.size.height - 1))

    def action_open(self) -> None:
        """Tell that the chosen row shall be opened."""
        if self._rows:
            self.post_message(self.Opened(self, self.key))

    def _choose(self, index: int) -> None:
        index = max(0, min(index, len(self._rows) - 1))
        if index == self._chosen or not self._rows:
            return
        self._chosen = index
        self.scroll_to_region(Region(0, index, 1, 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Chosen(self, self.key))
