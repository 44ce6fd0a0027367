"""What all four screens share: the three fixed lines, calls to the office, and news from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from textual.app import ComposeResult
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.signal import Signal
from textual.widgets import Input, Static, TextArea

from interns.errors import InternsError
from tui.link import Link
from tui.widgets.bars import Bar, HintBar, TopBar

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

T = TypeVar("T")
SMALL = "Make the window larger: at least 60 columns by 16 rows."


class OfficeApp(Protocol):
    """What screens need of the app that shows them."""

    link: Link
    changed: Signal[frozenset[str]]
    waiting: int

    def status_words(self) -> str:
        """Say what goes on in the office, for the status line."""

    def chat_with(self, name: str) -> None:
        """Open the chat with an intern."""


class OfficeScreen(Screen[None]):
    """A screen with a name, hints, and a body of its own."""

    PLACE: ClassVar[str] = ""
    HINTS: ClassVar[tuple[str, ...]] = ()
    FIELD_HINTS: ClassVar[tuple[str, ...]] = ()
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (16, "-tall")]
    FIRST_FOCUS: ClassVar[str] = ""

    class Answered(Message):
        """A call to the office ended."""

        def __init__(self, then: Callable[[], None]) -> None:
            super().__init__()
            self.then = then

    @property
    def office_app(self) -> OfficeApp:
        """The app."""
        return self.app  # type: ignore[return-value]  # screens live in that app only

    @property
    def too_small(self) -> bool:
        """Whether the body is hidden, so that keys must do nothing."""
        return self.has_class("-tiny") or self.has_class("-flat")

    @property
    def alive(self) -> bool:
        """Whether the widgets are there; an app that stops removes them before it is deaf."""
        return self.is_mounted and self.app.is_running

    def compose(self) -> ComposeResult:
        """Lay out the fixed lines around the body."""
        yield TopBar(id="top")
        with Container(id="body"):
            yield from self.compose_body()
        yield Static(SMALL, id="too-small", markup=False)
        yield Bar(id="status")
        yield HintBar(id="hints")

    def compose_body(self) -> ComposeResult:
        """Return the widgets of this screen."""
        yield from ()

    def on_mount(self) -> None:
        """Listen to the office."""
        self.office_app.changed.subscribe(self, self._news)
        if self.FIRST_FOCUS:
            self.query_one(self.FIRST_FOCUS).focus()
        self.load()

    def on_screen_resume(self) -> None:
        """Look again when the screen comes up."""
        self.tell_bars()
        self.load()

    def on_resize(self) -> None:
        """Fit the fixed lines."""
        self.call_after_refresh(self.tell_bars)

    def on_descendant_focus(self) -> None:
        """Hints belong to what has the focus."""
        self.tell_bars()

    def load(self) -> None:
        """Fetch what the screen shows."""

    def status_text(self) -> str:
        """Return what this screen says in the status line, before what goes on elsewhere."""
        return ""

    def hints(self) -> tuple[str, ...]:
        """Return the hints for what has the focus."""
        return self.FIELD_HINTS if self.in_field else self.HINTS

    @property
    def in_field(self) -> bool:
        """Whether keys are typed into a field."""
        return isinstance(self.focused, Input | TextArea)

    def tell_bars(self) -> None:
        """Write the fixed lines anew."""
        if not self.alive:
            return
        app = self.office_app
        self.query_one(TopBar).tell(self.PLACE, app.waiting, f"office {app.link.state}")
        problem = app.link.problem
        parts = [self.status_text(), app.status_words()]
        if problem is not None:
            parts.append(f"{problem.message} {problem.fix}".strip())
        self.query_one("#status", Bar).say(" " + " | ".join(part for part in parts if part))
        self.query_one(HintBar).tell(self.hints(), in_field=self.in_field)

    def call(
        self,
        work: Callable[[OfficeClient], T],
        then: Callable[[T], None],
        *,
        failed: Callable[[InternsError], None] | None = None,
        group: str = "",
    ) -> None:
        """Ask the office in a thread and continue with its answer on the screen.

        Args:
            work: Gets the client; runs in the thread.
            then: Gets the result.
            failed: Gets the error; None shows it as a notice.
            group: A later call of the same group makes an earlier one's answer obsolete.
        """
        wrong = failed or self.notify_error

        def run() -> None:
            try:
                result = work(self.office_app.link.office())
            except InternsError as error:
                self.post_message(self.Answered(partial(wrong, error)))
                return
            self.post_message(self.Answered(partial(then, result)))

        self.run_worker(
            run, thread=True, group=group or "call", exclusive=bool(group), exit_on_error=False
        )

    def on_office_screen_answered(self, message: Answered) -> None:
        """Continue after a call, unless the app stopped in the meantime."""
        if self.alive:
            message.then()

    def notify_error(self, error: InternsError) -> None:
        """Show an error as a notice."""
        self.notify(
            f"{error.message}\n{error.fix}".strip(), severity="error", markup=False, timeout=8
        )

    def _news(self, kinds: frozenset[str]) -> None:
        self.tell_bars()
        if self.alive and kinds != {"counts"}:
            self.news(kinds)

    def news(self, kinds: frozenset[str]) -> None:
        """Something happened in the office, such as ``approval.pending`` or ``link``."""


def any_of(kinds: frozenset[str], *prefixes: str) -> bool:
    """Return whether a kind of news begins with one of `prefixes`."""
    return any(kind.startswith(prefix) for kind in kinds for prefix in prefixes)


Json = dict[str, Any]
