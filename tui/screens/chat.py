"""Chat: a message, who takes it and why, the answer as it comes, its sources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from interns.errors import InternsError, TooLong
from orchestrator.errors import from_body
from tui.model.conversation import Conversation
from tui.model.mention import completions, mention
from tui.model.records import route_record
from tui.model.transcript import Entry
from tui.model.words import citation_place, done_line, route_line
from tui.screens.base import OfficeScreen, any_of
from tui.widgets.prompt import Prompt
from tui.widgets.transcript import TranscriptView

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

Json = dict[str, Any]
DRAW_S = 0.04  # tokens are drawn at most so often
WELCOME = "Write a message. @name picks an intern; otherwise the office decides who fits."


@dataclass
class Live:
    """The answer that is being written.

    Attributes:
        question: What was asked.
        intern: Who answers, once known.
        named: Whether the person chose.
        text: What came so far.
        drawn: Whether an entry for it is in the transcript.
        stopped: Set to end it.
    """

    question: str
    intern: str | None = None
    named: bool = False
    text: str = ""
    drawn: bool = False
    stopped: bool = False
    citations: list[str] = field(default_factory=list)


class ChatScreen(OfficeScreen):
    """Talk with interns.

    Args:
        intern: Who answers unless another is named; empty routes every message.
        knowledge: Documents to quote from.
    """

    PLACE = "Chat"
    HINTS = ("i write", "j k scroll", "n new chat", "1-4 screens")
    FIELD_HINTS = ("enter send", "alt+enter new line", "tab ends @name")
    FIRST_FOCUS = "#prompt"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave_field", "Stop the answer, or leave the field"),
        Binding("i,slash", "write", "Write"),
        Binding("n", "new_chat", "New chat"),
    ]

    def __init__(self, *, intern: str = "", knowledge: str = "") -> None:
        super().__init__()
        self._intern, self._knowledge = intern, knowledge
        self._conversation = Conversation()
        self._names: list[str] = []
        self._live: Live | None = None
        self._queue: list[str] = []
        self._pending = ""
        self._first = ""

    def compose_body(self) -> ComposeResult:
        """Lay out conversation and field."""
        yield TranscriptView(id="transcript")
        yield Prompt(self._complete, id="prompt")

    def on_mount(self) -> None:
        """Greet, and draw tokens at a steady pace."""
        self._view.add(Entry("note", WELCOME))
        self.set_interval(DRAW_S, self._draw)

    @property
    def _view(self) -> TranscriptView:
        return self.query_one(TranscriptView)

    def load(self) -> None:
        """Fetch the names that @ completes."""
        self.call(lambda office: office.interns(), self._named, group="names", failed=self._quiet)

    def news(self, kinds: frozenset[str]) -> None:
        """New interns get names to complete."""
        if any_of(kinds, "intern", "link"):
            self.load()

    def status_text(self) -> str:
        """Return who writes, or whom one may address."""
        if self._live is not None:
            who = self._live.intern or "the office"
            queued = f", {len(self._queue)} queued" if self._queue else ""
            return f"{who} is writing{queued} (esc stops)"
        if self._intern:
            return f"talking with {self._intern}"
        return " ".join(f"@{name}" for name in self._names) or ""

    def stop_answer(self) -> bool:
        """Stop the running answer; return whether there was one."""
        if self._live is None:
            return False
        self._live.stopped = True
        self._queue.clear()
        self._end()
        self._view.add(Entry("note", "Stopped."))
        return True

    def address(self, name: str) -> None:
        """Begin a message to an intern."""
        self._first = f"@{name} "
        self.call_after_refresh(self._begin)

    def action_leave_field(self) -> None:
        """Stop the answer, or hand the keys to the transcript."""
        if not self.stop_answer():
            self._view.focus()

    def action_write(self) -> None:
        """Hand the keys to the field."""
        self.query_one(Prompt).focus()

    def action_new_chat(self) -> None:
        """Forget this conversation."""
        self.stop_answer()
        self._conversation = Conversation()
        self._view.clear()
        self._view.add(Entry("note", WELCOME))
        self.action_write()

    def on_prompt_sent(self, message: Prompt.Sent) -> None:
        """Ask at once, or after the answer that is being written."""
        if self._live is not None:
            self._queue.append(message.text)
            self.tell_bars()
            return
        self._ask(message.text)

    def _begin(self) -> None:
        prompt = self.query_one(Prompt)
        if not prompt.text.strip():
            prompt.text = self._first
            prompt.move_cursor(prompt.document.end)
        prompt.focus()

    def _ask(self, said: str) -> None:
        named, text = mention(said)
        intern = named or self._intern or None
        self._view.add(Entry("you", said, who="You"))
        if not text:
            self._view.add(Entry("note", f"What should {named} do? Write it after the name."))
            return
        live = Live(text, intern, named=intern is not None)
        self._live = live
        turns = self._conversation.messages(text, intern)
        self.office_app.link.follow(
            partial(self._open, turns, intern),
            lambda event: self._heard(live, event),
            lambda error: self._post(partial(self._failed, live, error)),
        )
        self.tell_bars()

    def _open(
        self, turns: list[dict[str, str]], intern: str | None, office: OfficeClient
    ) -> Iterator[Json]:
        return office.chat(turns, intern=intern, knowledge=self._knowledge or None)

    def _heard(self, live: Live, event: Json) -> bool:
        """Take one event in the stream's thread."""
        if live.stopped:
            return False
        self._post(partial(self._take, live, event))
        return True

    def _post(self, then: partial[None]) -> None:
        self.post_message(self.Answered(then))

    def _take(self, live: Live, event: Json) -> None:
        if live is not self._live:
            return
        match event["event"]:
            case "route":
                live.intern = event.get("intern")
                line = "" if live.named else route_line(route_record(event))
                self._view.add(Entry("why", line, who=live.intern or "Nobody"))
                self.tell_bars()
            case "token":
                self._pending += event["text"]
            case "citation":
                live.citations.append(citation_place(event))
            case "done":
                self._done(live, event)
            case "error":
                self._failed(live, from_body(event))

    def _draw(self) -> None:
        """Draw what came since the last time."""
        live, text = self._live, self._pending
        if live is None or not text:
            return
        self._pending = ""
        live.text += text
        if live.drawn:
            self._view.grow(text)
        else:
            live.drawn = True
            self._view.add(Entry("intern", text.lstrip("\n")))

    def _done(self, live: Live, event: Json) -> None:
        self._draw()
        for line in live.citations:
            self._view.add(Entry("citation", line))
        self._view.add(Entry("why", done_line(event)))
        self._conversation.add(live.question, str(event.get("text") or ""), event.get("intern"))
        self._end()

    def _failed(self, live: Live, error: InternsError) -> None:
        if live is not self._live:
            return
        self._draw()
        fix = "Press esc, then n for a new chat." if isinstance(error, TooLong) else error.fix
        self._view.add(Entry("error", f"Error: {error.message}"))
        if fix:
            self._view.add(Entry("note", f"Try: {fix}"))
        self._end()

    def _end(self) -> None:
        self._draw()
        self._live, self._pending = None, ""
        self.tell_bars()
        if self._queue:
            self._ask(self._queue.pop(0))

    def _named(self, interns: list[Json]) -> None:
        self._names = [one["name"] for one in interns]
        self.tell_bars()

    def _quiet(self, error: InternsError) -> None:
        del error  # the status line tells about a lost office

    def _complete(self, text: str) -> str | None:
        found = completions(text, self._names)
        return f"@{found[0]} " if found else None
