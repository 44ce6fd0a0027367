"""The terminal interface: four screens over one client of the office."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterable
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen
from textual.signal import Signal

from interns.paths import Paths
from tui.link import Link
from tui.model.help import key_words
from tui.model.words import ScreenName, duration
from tui.screens.approvals import ApprovalsScreen
from tui.screens.chat import ChatScreen
from tui.screens.help import HelpScreen
from tui.screens.onboard import OnboardScreen
from tui.screens.team import TeamScreen
from tui.theme import THEME

Json = dict[str, Any]
TICK_S = 0.4
QUIT_WITHIN_S = 1.5


class InternsApp(App[int]):
    """Chat, Approvals, Team and Onboard.

    Args:
        first: The screen to begin with.
        intern: For the chat: who answers; empty routes every message.
        knowledge: For the chat: documents to quote from.
        paths: The office; None takes the usual one.
    """

    TITLE = "Interns"
    CSS_PATH = "app.tcss"
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "go('chat')", "Chat"),
        Binding("2", "go('approvals')", "Approvals"),
        Binding("3", "go('team')", "Team"),
        Binding("4", "go('onboard')", "Onboard"),
        Binding("question_mark", "help", "Help"),
        Binding("ctrl+p", "command_palette", "All commands", priority=True),
        Binding("ctrl+c", "stop_or_quit", "Stop the answer; twice leaves", priority=True),
        Binding("ctrl+q", "quit", "Leave", show=False),
    ]

    class Told(Message):
        """Something happened in the office, or the link to it changed."""

        def __init__(self, kinds: frozenset[str]) -> None:
            super().__init__()
            self.kinds = kinds

    class Counted(Message):
        """How many approvals wait, and the training runs in progress."""

        def __init__(self, waiting: int, training: list[Json]) -> None:
            super().__init__()
            self.waiting = waiting
            self.training = training

    def __init__(
        self,
        *,
        first: ScreenName = "chat",
        intern: str = "",
        knowledge: str = "",
        paths: Paths | None = None,
    ) -> None:
        # Textual takes NO_COLOR out of the environment and picks its filter right here: only with
        # the terminal's own colours it writes none at all; otherwise it writes greys.
        super().__init__(ansi_color=True if os.environ.get("NO_COLOR") else None)
        self.link = Link(paths or Paths.default(), self._heard)
        self.changed: Signal[frozenset[str]] = Signal(self, "changed")
        self.waiting = 0
        self.training: list[Json] = []
        self._first = first
        self._kinds: set[str] = set()
        self._asked_to_quit = float("-inf")
        self.chat = ChatScreen(intern=intern, knowledge=knowledge)
        self.screens_by_name: dict[str, Screen[None]] = {
            "chat": self.chat,
            "approvals": ApprovalsScreen(),
            "team": TeamScreen(),
            "onboard": OnboardScreen(),
        }

    def on_mount(self) -> None:
        """Open the first screen and the link to the office."""
        self.register_theme(THEME)
        self.theme = "ansi-dark" if self.no_color else THEME.name
        for name, screen in self.screens_by_name.items():
            self.install_screen(screen, name)
        self.push_screen(self._first)
        self.set_interval(TICK_S, self._tick)
        self.link.open()

    def on_unmount(self) -> None:
        """Leave the office; it goes on."""
        self.link.close()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer every action of the screen in the palette."""
        for name, label in (
            ("chat", "Chat"),
            ("approvals", "Approvals"),
            ("team", "Team"),
            ("onboard", "Onboard"),
        ):
            yield SystemCommand(
                f"Go to {label}", f"Screen {label}", lambda n=name: self.action_go(n)
            )
        yield SystemCommand("Help", "Keys of this screen", self.action_help)
        for active in screen.active_bindings.values():
            binding = active.binding
            if active.enabled and active.node is screen and binding.description:
                yield SystemCommand(
                    binding.description,
                    f"Key {self.get_key_display(binding)}",
                    lambda action=binding.action: self.call_later(screen.run_action, action),
                )
        yield SystemCommand("Theme", "Change the colours", self.action_change_theme)
        yield SystemCommand("Leave", "The office goes on", self.action_quit)

    def get_key_display(self, binding: Binding) -> str:
        """Return a key as it is written in words."""
        return binding.key_display or key_words(binding.key)

    def action_go(self, name: str) -> None:
        """Show one of the four screens."""
        if isinstance(self.screen, tuple(type(s) for s in self.screens_by_name.values())):
            self.switch_screen(name)

    def action_help(self) -> None:
        """Show the keys that work now."""
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_stop_or_quit(self) -> None:
        """Stop the running answer; twice within a moment leaves."""
        if selected := self.screen.get_selected_text():
            self.copy_to_clipboard(selected)
            return
        stop = getattr(self.screen, "stop_answer", None)
        if stop is not None and stop():
            return
        now = time.monotonic()
        if now - self._asked_to_quit < QUIT_WITHIN_S:
            self.exit(0)
            return
        self._asked_to_quit = now
        self.notify("Press ctrl+c again to leave. Training and tasks go on.", timeout=QUIT_WITHIN_S)

    def chat_with(self, name: str) -> None:
        """Open the chat with an intern addressed."""
        self.action_go("chat")
        self.chat.address(name)

    def status_words(self) -> str:
        """Return what goes on, in one line."""
        parts = [
            f"training {run['name']} {(run.get('progress') or 0) * 100:.0f}%"
            + (f", {duration(run['eta_s'])} left" if run.get("eta_s") else "")
            for run in self.training
        ]
        if self.waiting:
            parts.append(f"{self.waiting} waiting for you")
        return " | ".join(parts)

    def _fatal_error(self) -> None:
        """Say what broke in two lines, and keep the traceback for the log instead of the screen.

        Overrides Textual's own, which prints every local variable, secrets among them.
        """
        log = self.link.paths.home / "screens.log"
        told = "".join(traceback.format_exc())
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a", encoding="utf-8") as file:
                file.write(told)
        except OSError:
            self.panic(told)
            return
        last = told.strip().splitlines()[-1]
        self.panic(f"Error: the screens stopped: {last}\nTry:   read {log}; the office goes on.")

    def _heard(self, kinds: frozenset[str]) -> None:
        """Called from any thread when something happened."""
        self.post_message(self.Told(kinds))

    def on_interns_app_told(self, message: Told) -> None:
        """Collect what happened; `_tick` passes it on."""
        self._kinds |= message.kinds

    def _tick(self) -> None:
        if not self._kinds:
            return
        kinds, self._kinds = frozenset(self._kinds), set()
        self.changed.publish(kinds)
        if self.link.connected:
            self.run_worker(self._count, thread=True, group="count", exclusive=True)

    def _count(self) -> None:
        try:
            waiting = len(self.link.office().approvals())
            training = [run for run in self.link.office().runs() if run["status"] == "running"]
        except Exception:  # noqa: BLE001 - the link itself reports a lost office
            return
        self.post_message(self.Counted(waiting, training))

    def on_interns_app_counted(self, message: Counted) -> None:
        """Show what waits for a person and what is being trained."""
        self.waiting, self.training = message.waiting, message.training
        self.changed.publish(frozenset({"counts"}))
