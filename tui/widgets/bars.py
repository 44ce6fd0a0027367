"""The three fixed lines of every screen: where you are, what goes on, which keys work."""

from __future__ import annotations

from textual.widgets import Static

from tui.model.hints import hint_line
from tui.model.wrap import fit


class Bar(Static):
    """One line of text that is never markup."""

    DEFAULT_CSS = """
    Bar { height: 1; width: 100%; background: $surface; color: $foreground; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__("", markup=False, id=id)
        self.line = ""

    def say(self, text: str) -> None:
        """Show a text, cut at the width."""
        if text != self.line:
            self.line = text
            self.update(text)


class TopBar(Bar):
    """Name, screens with their digits, and the state of the office in words."""

    DEFAULT_CSS = "TopBar { background: $primary-background; text-style: bold; }"

    def tell(self, place: str, waiting: int, link: str) -> None:
        """Show which screen is open, how many approvals wait and what the office is doing."""
        names = ("Chat", "Approvals", "Team", "Onboard")
        tabs = []
        for number, name in enumerate(names, 1):
            count = f"({waiting})" if name == "Approvals" and waiting else ""
            label = f"{number} {name}{count}"
            tabs.append(f"[{label}]" if name == place else f" {label} ")
        left = f" interns {''.join(tabs)}"
        width = max(0, self.size.width - len(left) - 1)
        self.say(f"{left}{fit(link, width).rstrip().rjust(width)}")


class HintBar(Bar):
    """Keys that work now; the last hint is always help."""

    def tell(self, hints: tuple[str, ...], *, in_field: bool) -> None:
        """Show hints for what has the focus."""
        width = max(10, self.size.width - 2)
        self.say(f" {hint_line(hints, width, in_field=in_field)}")
