"""The field for a message: enter sends, and a new line is one key away."""

from __future__ import annotations

from collections.abc import Callable

from textual import events
from textual.message import Message
from textual.widgets import TextArea

NEW_LINE = frozenset({"shift+enter", "alt+enter", "ctrl+j"})


class Prompt(TextArea):
    """Posts `Sent` on enter. Shift+enter, alt+enter or a backslash at the end make a new line.

    Args:
        complete: Turns a half-written text into a finished one on tab, or None.
    """

    class Sent(Message):
        """The person sent a text."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, complete: Callable[[str], str | None], *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            soft_wrap=True,
            show_line_numbers=False,
            compact=True,
            placeholder="A message, or @name and a message",
        )
        self._complete = complete

    async def _on_key(self, event: events.Key) -> None:
        if event.key in NEW_LINE:
            self._swallow(event)
            self.insert("\n")
        elif event.key == "enter":
            self._swallow(event)
            self._enter()
        elif event.key == "tab" and (finished := self._complete(self.text)) is not None:
            self._swallow(event)
            self.text = finished
            self.move_cursor(self.document.end)
        else:
            await super()._on_key(event)

    def _enter(self) -> None:
        if self.text.endswith("\\"):
            self.text = self.text[:-1] + "\n"
            self.move_cursor(self.document.end)
        elif self.text.strip():
            self.post_message(self.Sent(self.text.strip()))
            self.text = ""

    @staticmethod
    def _swallow(event: events.Key) -> None:
        event.stop()
        event.prevent_default()
