"""Approvals: what waits, what would happen exactly, and four keys that never change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from interns.errors import Conflict, InternsError
from tui.model.card import KEYS, approval_lines, hidden_warning
from tui.model.guard import Guard
from tui.model.words import age, shortened
from tui.screens.base import OfficeScreen, any_of
from tui.screens.dialogs import AskLine, EditText
from tui.widgets.lines import LinesView, Styled
from tui.widgets.rows import Row, RowList

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

Json = dict[str, Any]
HINT_OF = {
    "approve": "a approve",
    "edit": "e edit",
    "reject": "r reject",
    "respond": "w respond",
}
EMPTY = " All clear: nothing waits for you."
MOVES = frozenset({"j", "k", "g", "G"})
HEADS = frozenset({"asked", "draft", "evidence", "text", "reason"})


class ApprovalsScreen(OfficeScreen):
    """The queue: a list, the whole card of the chosen one, and decisions."""

    PLACE = "Approvals"
    FIRST_FOCUS = "#queue"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "decide('approve')", "Approve"),
        Binding("e", "decide('edit')", "Edit, then approve"),
        Binding("r", "decide('reject')", "Reject with a reason"),
        Binding("w", "decide('respond')", "Respond to a question"),
        Binding("escape", "back", "Back to the list"),
        Binding("u", "load", "Look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._approvals: dict[str, Json] = {}
        self._asked: dict[int, str] = {}
        self._guard = Guard()
        self._sent: set[int] = set()
        self._letter_at = float("-inf")
        self._notice = ""
        self._loaded = False
        self._read: str | None = None

    def compose_body(self) -> ComposeResult:
        """Lay out list and card."""
        with Horizontal():
            yield RowList(empty=" Looking ...", id="queue", classes="list")
            yield LinesView(id="card", classes="detail")

    def on_screen_resume(self) -> None:
        """Start the grace period anew: a key meant for another screen decides nothing."""
        self._guard.appear(time.monotonic())

    def on_key(self, event: events.Key) -> None:
        """Note letters, so that words typed here by mistake decide nothing."""
        if event.is_printable and event.key not in MOVES:
            self._guard.type(self._letter_at)
            self._letter_at = time.monotonic()

    def action_load(self) -> None:
        """Fetch the queue again."""
        self.load()

    def load(self) -> None:
        """Fetch what waits, with the tasks it belongs to."""
        self.call(self._fetch, self._show, group="queue", failed=self._unreachable)

    def news(self, kinds: frozenset[str]) -> None:
        """Something to decide came or went."""
        if any_of(kinds, "approval", "link", "office"):
            self.load()

    def status_text(self) -> str:
        """Return the last decision, or how long the oldest waits."""
        if self._notice:
            return self._notice
        if not self._approvals:
            return ""
        oldest = age(min(one["created_at"] for one in self._approvals.values()))
        return f"oldest {oldest}"

    def hints(self) -> tuple[str, ...]:
        """Return the keys that the chosen approval takes."""
        approval = self._chosen
        takes = KEYS.get(approval["kind"], ()) if approval else ()
        return (*(HINT_OF[verb] for verb in takes), "tab read", "j k move")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what the chosen approval cannot take."""
        if action != "decide":
            return True
        approval = self._chosen
        takes = KEYS.get(approval["kind"], ()) if approval else ()
        return True if parameters[0] in takes else None

    def why_not(self, action: str) -> str:
        """Return why a key does nothing now."""
        if not action.startswith("decide"):
            return ""
        approval = self._chosen
        return f"a {approval['kind']} does not take it" if approval else "nothing is chosen"

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Show the chosen card; what was said stays while it is the same one."""
        if event.key != self._read:
            self._notice = ""
        self._read = event.key
        self._show_card()

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """Enter only opens: a question for its answer, all else for reading."""
        approval = self._approvals.get(event.key or "")
        if approval and approval["kind"] == "question":
            self.action_decide("respond")
        else:
            self.query_one(LinesView).focus()

    def action_back(self) -> None:
        """Hand the keys back to the list."""
        self.query_one(RowList).focus()

    def action_decide(self, verb: str) -> None:
        """Begin a decision on the chosen approval, if nothing speaks against it."""
        approval = self._chosen
        refusal = self._guard.refusal(approval["id"] if approval else None, time.monotonic())
        if self.too_small:
            refusal = "The window is too small to see what would be decided."
        if refusal or approval is None:
            self._say(refusal)
            return
        number, digest = approval["id"], approval["digest"]
        if verb != "approve":
            # Until the dialog has the keys, what is typed for it must decide nothing here.
            self._guard.busy.add(number)
        match verb:
            case "approve":
                self._send(approval, lambda office: office.approve(number, digest))
            case "edit":
                title = f"#{number} {approval['summary']}"
                self.app.push_screen(EditText(title, approval["draft"]), self._edited(approval))
            case "reject":
                self.app.push_screen(
                    AskLine(f"Reject #{number}. Why?", "the intern learns from it"),
                    self._worded(approval, lambda o, text: o.reject(number, text, digest)),
                )
            case _:
                self.app.push_screen(
                    AskLine(f"Your answer to #{number}", "@name gives it to an intern"),
                    self._worded(approval, _respond(number)),
                )

    @property
    def _chosen(self) -> Json | None:
        key = self.query_one(RowList).key if self.alive else None
        return self._approvals.get(key or "")

    def _edited(self, approval: Json) -> Callable[[str | None], None]:
        number, digest = approval["id"], approval["digest"]

        def then(text: str | None) -> None:
            self._asked_back(number)
            if text is None:
                return
            if text == approval["draft"]:
                self._send(approval, lambda office: office.approve(number, digest))
            else:
                self._send(approval, lambda office: office.edit(number, text, digest))

        return then

    def _worded(
        self, approval: Json, send: Callable[[OfficeClient, str], Json]
    ) -> Callable[[str | None], None]:
        def then(text: str | None) -> None:
            self._asked_back(approval["id"])
            if text is not None:
                self._send(approval, lambda office: send(office, text))

        return then

    def _asked_back(self, number: int) -> None:
        """A dialog about an approval is closed: its keys count again, after a moment."""
        self._guard.busy.discard(number)
        self._guard.type(time.monotonic())

    def _send(self, approval: Json, work: Callable[[OfficeClient], Json]) -> None:
        number = approval["id"]
        self._guard.busy.add(number)
        self._sent.add(number)
        self._say(f"#{number} is being decided ...")
        self.call(work, self._decided, failed=lambda error: self._refused(number, error))

    def _decided(self, approval: Json) -> None:
        number = approval["id"]
        self._say(f"#{number} {approval['status']}.")
        self._remove(number)
        self.load()

    def _refused(self, number: int, error: InternsError) -> None:
        self._guard.busy.discard(number)
        self._sent.discard(number)
        if isinstance(error, Conflict):
            self._say(f"Not decided: {error.message}")
            self.notify(
                f"{error.message}\n{error.fix}", severity="warning", markup=False, timeout=8
            )
        else:
            self._say("")
            self.notify_error(error)
        self.load()

    def _remove(self, number: int) -> None:
        self._approvals.pop(str(number), None)
        self._show_rows()

    @staticmethod
    def _fetch(office: OfficeClient) -> list[tuple[Json, str]]:
        return [(one, office.task(one["task_id"])["text"]) for one in office.approvals()]

    def _show(self, found: list[tuple[Json, str]]) -> None:
        self._loaded = True
        changed = {str(one["id"]): one for one, _ in found if one["id"] not in self._sent}
        self._asked = {one["id"]: text for one, text in found}
        before = self._chosen
        self._approvals = changed
        self._show_rows()
        if before != self._chosen or not changed:
            self._show_card()

    def _show_rows(self) -> None:
        rows = [
            Row(key, _row(one, self._asked.get(one["id"], "")))
            for key, one in self._approvals.items()
        ]
        self.query_one(RowList).show_rows(rows, empty=EMPTY if self._loaded else None)
        self.tell_bars()

    def _show_card(self) -> None:
        approval = self._chosen
        self._guard.show(approval["id"] if approval else None, time.monotonic())
        view = self.query_one(LinesView)
        if approval is None:
            view.show_lines([("dim", "Decisions appear here. Hand in work with"), ("dim", TASK)])
        else:
            view.show_lines(card(approval, self._asked.get(approval["id"], "")))
        self.refresh_bindings()
        self.tell_bars()

    def _unreachable(self, error: InternsError) -> None:
        if not self._loaded:
            self.query_one(RowList).show_rows([], empty=f" {error.message}")

    def _say(self, text: str) -> None:
        self._notice = text
        self.tell_bars()


TASK = 'interns task submit "…" --effect outbox'


def card(approval: Json, asked: str) -> list[Styled]:
    """Return the card of an approval as styled lines."""
    lines: list[Styled] = []
    warning = hidden_warning(approval.get("draft") or "")
    for number, line in enumerate(approval_lines(approval, asked)):
        if number == 0 or line in HEADS:
            lines.append(("head", line))
        elif warning and line.startswith("Careful:"):
            lines.append(("warn", line))
        elif line.startswith("waits for you"):
            lines.append(("dim", line))
        else:
            lines.append(("plain", line))
    return lines


def _row(approval: Json, asked: str) -> str:
    who = shortened(approval.get("intern") or "nobody", 11)
    what = asked or approval["summary"]
    return f"{age(approval['created_at']):>4} {who:<11} {shortened(what, 80)}"


def _respond(number: int) -> Callable[[OfficeClient, str], Json]:
    def send(office: OfficeClient, text: str) -> Json:
        if text.startswith("@"):
            return office.respond(number, "", text[1:].strip())
        return office.respond(number, text)

    return send
