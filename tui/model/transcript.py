"""A conversation as wrapped lines: only the last entry is wrapped again while it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tui.model.visible import visible
from tui.model.wrap import wrap

Kind = Literal["you", "intern", "why", "citation", "note", "error"]
INDENT = "  "


@dataclass(frozen=True)
class Entry:
    """One message or remark.

    Attributes:
        kind: How it is drawn.
        text: What is said.
        who: Name in front of it, or empty.
    """

    kind: Kind
    text: str
    who: str = ""


@dataclass(frozen=True)
class Line:
    """One drawn line.

    Attributes:
        kind: How it is drawn.
        text: At most the width given to the transcript.
        head: Whether it names the speaker.
    """

    kind: Kind
    text: str
    head: bool = False


@dataclass
class Transcript:
    """Entries and their lines at one width; adding is linear in what is added."""

    width: int = 80
    entries: list[Entry] = field(default_factory=list)
    _lines: list[Line] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)

    @property
    def lines(self) -> list[Line]:
        """All lines, first to last."""
        return self._lines

    def add(self, entry: Entry) -> None:
        """Append an entry."""
        self.entries.append(entry)
        self._starts.append(len(self._lines))
        self._lines.extend(self._wrapped(entry))

    def grow(self, text: str) -> None:
        """Append to the last entry's text."""
        last = self.entries[-1]
        self.replace_last(Entry(last.kind, last.text + text, last.who))

    def replace_last(self, entry: Entry) -> None:
        """Put another entry in place of the last."""
        self.entries[-1] = entry
        del self._lines[self._starts[-1] :]
        self._lines.extend(self._wrapped(entry))

    def resize(self, width: int) -> None:
        """Wrap everything for another width."""
        if width == self.width:
            return
        self.width = width
        entries, self.entries, self._lines, self._starts = self.entries, [], [], []
        for entry in entries:
            self.add(entry)

    def clear(self) -> None:
        """Forget all entries."""
        self.entries, self._lines, self._starts = [], [], []

    def _wrapped(self, entry: Entry) -> list[Line]:
        lines: list[Line] = []
        if entry.who:
            if self._lines:
                lines.append(Line("note", ""))
            lines.append(Line(entry.kind, entry.who, head=True))
        if entry.text or not entry.who:
            wrapped = wrap(visible(entry.text), self.width - len(INDENT))
            lines.extend(Line(entry.kind, INDENT + text) for text in wrapped)
        return lines
