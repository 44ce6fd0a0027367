"""Team: who works here, how well, and which version is in office."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from tui.model.profile import profile_lines, team_row, version_row
from tui.screens.base import OfficeScreen, any_of
from tui.screens.dialogs import AskLine, Confirm, Pick
from tui.widgets.lines import LinesView
from tui.widgets.rows import Row, RowList

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

Json = dict[str, Any]
EMPTY = " Nobody works here yet.\n i imports a shipped one: guide\n 4 onboards one from data"


class TeamScreen(OfficeScreen):
    """The roster: a list, and the profile of the chosen intern."""

    PLACE = "Team"
    HINTS = ("p promote", "b roll back", "c chat", "i import", "tab read")
    FIRST_FOCUS = "#roster"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "promote", "Promote a version"),
        Binding("b", "rollback", "Roll back to the version before"),
        Binding("c", "chat", "Chat with this intern"),
        Binding("i", "import", "Import a shipped intern or a folder"),
        Binding("x", "retire", "Retire"),
        Binding("escape", "back", "Back to the list"),
        Binding("u", "load", "Look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._interns: dict[str, Json] = {}
        self._versions: list[Json] = []

    def compose_body(self) -> ComposeResult:
        """Lay out list and profile."""
        with Horizontal():
            yield RowList(empty=" Looking ...", id="roster", classes="list")
            yield LinesView(id="profile", classes="detail")

    def action_load(self) -> None:
        """Fetch the roster again."""
        self.load()

    def load(self) -> None:
        """Fetch the roster."""
        self.call(lambda office: office.interns(include_retired=True), self._show, group="team")

    def news(self, kinds: frozenset[str]) -> None:
        """Somebody joined, left or changed version."""
        if any_of(kinds, "intern", "link", "approval.decided"):
            self.load()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what needs a chosen intern."""
        del parameters
        needs = {"promote", "rollback", "chat", "retire"}
        return None if action in needs and self._selected is None else True

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Show the chosen intern."""
        del event
        self._load_profile()

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """Read the profile."""
        del event
        self.query_one(LinesView).focus()

    def action_back(self) -> None:
        """Hand the keys back to the list."""
        self.query_one(RowList).focus()

    def action_promote(self) -> None:
        """Ask which version shall be in office."""
        name = self._selected
        if name is None:
            return
        rows = [Row(str(one["number"]), version_row(one)) for one in reversed(self._versions)]

        def then(number: str | None) -> None:
            if number is not None:
                self._do(lambda o: o.promote(name, int(number)), f"{name} v{number} is in office.")

        self.app.push_screen(Pick(f"Which version of {name} shall be in office?", rows), then)

    def action_rollback(self) -> None:
        """Put the version before back, after a yes."""
        name = self._selected
        if name is not None:
            question = f"Put the version of {name} before this one back in office?"
            self._after_yes(question, lambda o: o.rollback(name), f"{name} was rolled back.")

    def action_retire(self) -> None:
        """Take the intern out of office, after a yes."""
        name = self._selected
        if name is not None:
            question = f"Retire {name}? It gets no more work; its records stay."
            self._after_yes(question, lambda o: o.retire(name), f"{name} is retired.")

    def action_import(self) -> None:
        """Register a shipped intern or a version folder."""

        def then(source: str | None) -> None:
            if source:
                self._do(lambda o: o.import_folder(source), f"{source} was imported.")

        hint = "guide, facts, interviewer, or a folder"
        self.app.push_screen(AskLine("Import which intern?", hint), then)

    def action_chat(self) -> None:
        """Talk with the chosen intern."""
        if self._selected is not None:
            self.office_app.chat_with(self._selected)

    @property
    def _selected(self) -> str | None:
        return self.query_one(RowList).key if self.alive else None

    def _after_yes(self, question: str, work: Any, done: str) -> None:
        def then(yes: bool | None) -> None:
            if yes:
                self._do(work, done)

        self.app.push_screen(Confirm(question), then)

    def _do(self, work: Any, done: str) -> None:
        def then(_: Json) -> None:
            self.notify(done, markup=False)
            self.load()

        self.call(work, then)

    def _show(self, interns: list[Json]) -> None:
        self._interns = {one["name"]: one for one in interns}
        rows = [Row(one["name"], team_row(one), one["skill"]) for one in interns]
        self.query_one(RowList).show_rows(rows, empty=EMPTY)
        self._load_profile()

    def _load_profile(self) -> None:
        self.refresh_bindings()
        name = self._selected
        if name is None:
            self.query_one(LinesView).show_lines([])
            return

        def fetch(office: OfficeClient) -> tuple[list[Json], list[Json]]:
            return office.versions(name), office.corrections(name)

        def then(found: tuple[list[Json], list[Json]]) -> None:
            self._versions = found[0]
            intern = self._interns.get(name)
            if intern is not None and name == self._selected:
                lines = profile_lines(intern, *found)
                self.query_one(LinesView).show_lines(lines, keep_place=True)

        self.call(fetch, then, group="profile")
