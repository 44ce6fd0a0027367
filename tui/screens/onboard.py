"""Onboard: a form, a plan, and training as it happens."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import ContentSwitcher, Input

from interns.errors import InternsError
from tui.model.form import FIELDS, command_line, problems, request_of
from tui.model.plan import plan_lines
from tui.model.runview import RunView
from tui.model.words import age
from tui.screens.base import OfficeScreen, any_of
from tui.screens.dialogs import Confirm
from tui.widgets.form import Form
from tui.widgets.lines import LinesView
from tui.widgets.rows import Row, RowList
from tui.widgets.run import RunPanel

Json = dict[str, Any]
NEW = "new"
DRAW_S = 0.5
MISSION = "Fill the form. ctrl+d plans without training, ctrl+s starts."


class OnboardScreen(OfficeScreen):
    """Runs at the left, the form or the chosen run at the right."""

    PLACE = "Onboard"
    HINTS = ("n new", "enter open", "x stop run", "u look again")
    FIELD_HINTS = ("tab next", "ctrl+d plan", "ctrl+s start")
    FIRST_FOCUS = "#runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New onboarding"),
        Binding("ctrl+d", "plan", "Plan only: read the data, train nothing", priority=True),
        Binding("ctrl+s", "start", "Start training", priority=True),
        Binding("x", "stop", "Stop the chosen run"),
        Binding("escape", "back", "Back to the list"),
        Binding("u", "load", "Look again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: dict[str, Json] = {}
        self._views: dict[str, RunView] = {}
        self._following: set[str] = set()
        self._dirty = False
        self._busy = ""

    def compose_body(self) -> ComposeResult:
        """Lay out runs, form and run."""
        with Horizontal():
            yield RowList(empty=" Looking ...", id="runs", classes="list")
            with ContentSwitcher(initial="form", classes="detail", id="pane"):
                with Vertical(id="form"):
                    yield Form()
                    yield LinesView(id="plan")
                yield RunPanel(id="run")

    def on_mount(self) -> None:
        """Draw what comes at a steady pace."""
        self._show_runs([])
        self._plan_view.show_lines([("dim", MISSION)])
        self.set_interval(DRAW_S, self._draw)

    def action_load(self) -> None:
        """Fetch the runs again."""
        self.load()

    def load(self) -> None:
        """Fetch the runs."""
        self.call(lambda office: office.runs(), self._show_runs, group="runs")

    def news(self, kinds: frozenset[str]) -> None:
        """A run began, moved or ended."""
        if any_of(kinds, "run", "link", "intern"):
            self.load()

    def status_text(self) -> str:
        """Return what the form is waiting for."""
        return self._busy

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Grey out what needs the form or a running run."""
        del parameters
        if action in {"plan", "start"}:
            return True if self._run_id is None else None
        if action == "stop":
            run = self._runs.get(self._run_id or "")
            return True if run and run["status"] in {"queued", "running"} else None
        return True

    def why_not(self, action: str) -> str:
        """Return why a key does nothing now."""
        return "that run is not running" if action == "stop" else "choose New onboarding first"

    def on_row_list_chosen(self, event: RowList.Chosen) -> None:
        """Show the form or the run."""
        run_id = None if event.key == NEW else event.key
        self.query_one(ContentSwitcher).current = "form" if run_id is None else "run"
        self.refresh_bindings()
        if run_id is not None:
            self._follow(run_id)
            self._dirty = True
            self._draw()

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """Go into the form, or read the run."""
        if event.key == NEW:
            self.query_one(Form).focus_first()
        else:
            self.query_one(RunPanel).focus_steps()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes to the next field; after the last one, plan."""
        if event.input.id == f"field-{FIELDS[-1].name}":
            self.action_plan()
        else:
            self.focus_next()

    def action_back(self) -> None:
        """Hand the keys back to the list."""
        self.query_one("#runs", RowList).focus()

    def action_new(self) -> None:
        """Open an empty place in the form."""
        self.query_one("#runs", RowList).choose(NEW)
        self.query_one(Form).focus_first()

    def action_plan(self) -> None:
        """Read the data and say what training would do."""
        request = self._request()
        if request is None:
            return
        self._wait("reading the data ...")
        self.call(
            lambda office: office.plan_onboarding(request),
            partial(self._planned, request),
            failed=self._form_error,
        )

    def action_start(self) -> None:
        """Start training in the office."""
        request = self._request()
        if request is None:
            return
        self._wait("starting ...")
        self.call(lambda office: office.onboard(request), self._started, failed=self._form_error)

    def action_stop(self) -> None:
        """Stop the chosen run, after a yes."""
        run_id = self._run_id
        if run_id is None:
            return

        def then(yes: bool | None) -> None:
            if yes:
                self.call(lambda office: office.stop_run(run_id), lambda _: self.load())

        question = f"Stop training {self._runs[run_id]['name']}? The same form goes on from there."
        self.app.push_screen(Confirm(question), then)

    @property
    def _run_id(self) -> str | None:
        key = self.query_one("#runs", RowList).key if self.alive else None
        return None if key in {None, NEW} else key

    @property
    def _plan_view(self) -> LinesView:
        return self.query_one("#plan", LinesView)

    def _request(self) -> Json | None:
        values = self.query_one(Form).values
        wrong = problems(values, exists=lambda path: Path(path).expanduser().is_file())
        if wrong:
            self._plan_view.show_lines([("warn", line) for line in wrong])
            return None
        return request_of(values)

    def _planned(self, request: Json, plan: Json) -> None:
        self._wait("")
        lines = [("plain", line) for line in plan_lines(plan)]
        ask = [("dim", "The same in a shell:"), ("dim", command_line(request))]
        self._plan_view.show_lines([("head", "Plan. ctrl+s starts."), *lines, ("plain", ""), *ask])

    def _started(self, run: Json) -> None:
        self._wait("")
        self._runs[run["id"]] = run
        self._show_runs([run, *(one for one in self._runs.values() if one["id"] != run["id"])])
        rows = self.query_one("#runs", RowList)
        rows.choose(run["id"])
        rows.focus()

    def _form_error(self, error: InternsError) -> None:
        self._wait("")
        lines = [("warn", f"Error: {error.message}")]
        self._plan_view.show_lines([*lines, ("plain", f"Try: {error.fix}" if error.fix else "")])

    def _wait(self, text: str) -> None:
        self._busy = text
        self.tell_bars()

    def _show_runs(self, runs: list[Json]) -> None:
        self._runs = {run["id"]: run for run in runs}
        rows = [Row(NEW, " + New onboarding"), *(Row(run["id"], _row(run)) for run in runs)]
        self.query_one("#runs", RowList).show_rows(rows)
        self._dirty = True
        self.refresh_bindings()

    def _follow(self, run_id: str) -> None:
        """Read a run's events from its start, once; they go on until it ends."""
        if run_id in self._following:
            return
        self._following.add(run_id)
        view = self._views.setdefault(run_id, RunView())

        def take(event: Json) -> bool:
            self.post_message(self.Answered(partial(self._event, view, event)))
            return True

        def failed(error: InternsError) -> None:
            self._following.discard(run_id)
            self.post_message(self.Answered(partial(self.notify_error, error)))

        self.office_app.link.follow(
            lambda office: office.run_events(run_id, after=view.last_id), take, failed
        )

    def _event(self, view: RunView, event: Json) -> None:
        view.take(event)
        self._dirty = True

    def _draw(self) -> None:
        """Draw the chosen run when something changed."""
        run = self._runs.get(self._run_id or "")
        if run is None or not self._dirty:
            return
        self._dirty = False
        self.query_one(RunPanel).show(run, self._views.get(run["id"], RunView()))


def _row(run: Json) -> str:
    state = run["status"]
    if state == "running":
        state = f"{(run.get('progress') or 0) * 100:.0f}%"
    return f" {run['name']:<10.10} {state:<7} {age(run.get('created_at')):>4}"
