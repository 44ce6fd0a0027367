"""The keys that work on the screen below, read from its live bindings."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import Label

from tui.model.help import help_lines
from tui.widgets.lines import LinesView

SIDEWAYS = frozenset({"scroll_left", "scroll_right", "page_left", "page_right"})


class HelpScreen(ModalScreen[None]):
    """Lists every key with what it does; those that do nothing now say so.

    Args:
        below: The screen to explain.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "app.pop_screen", "Close")
    ]

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self._below = below

    def compose(self) -> ComposeResult:
        """Lay out the list."""
        with Vertical(classes="dialog"):
            yield Label("Keys on this screen", markup=False)
            yield LinesView(id="keys")
            yield Label("esc closes  ·  every action is in ctrl+p too", classes="hint")

    def on_mount(self) -> None:
        """Read the bindings of the screen below."""
        view = self.query_one(LinesView)
        view.show_lines([("plain", line) for line in help_lines(self._keys())])
        view.focus()

    def _distance(self, active: ActiveBinding) -> int:
        """Sort the screen's own keys before the app's, and Textual's own last."""
        if "." in active.binding.action:
            return 3
        if active.node is self._below:
            return 0
        return 1 if active.node is self.app else 2

    def _keys(self) -> list[tuple[str, str, str]]:
        rows: dict[tuple[str, str], tuple[list[str], bool]] = {}
        active_bindings = self._below.active_bindings.values()
        for active in sorted(active_bindings, key=self._distance):
            binding = active.binding
            if binding.system or not binding.description or binding.action in SIDEWAYS:
                continue
            keys, _ = rows.setdefault((binding.description, binding.action), ([], active.enabled))
            keys.append(self.app.get_key_display(binding))
        explain = getattr(self._below, "why_not", None)
        return [
            (
                ", ".join(keys),
                text,
                "" if on else (explain(action) if explain else "") or "not here",
            )
            for (text, action), (keys, on) in rows.items()
        ]
