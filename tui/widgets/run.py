"""One onboarding run: curve, numbers beside it, steps below."""

from __future__ import annotations

from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from tui.model.runview import RunView
from tui.model.visible import visible
from tui.widgets.curve import Curve
from tui.widgets.lines import LinesView, Styled

Json = dict[str, Any]


class RunPanel(Vertical):
    """Shows a run as it goes, or as it ended."""

    def compose(self) -> ComposeResult:
        """Lay out the panel."""
        yield Static("", id="run-title", markup=False)
        with Horizontal(id="picture"):
            yield Curve(id="curve")
            yield Static("", id="numbers", markup=False)
        yield LinesView(id="steps")

    def focus_steps(self) -> None:
        """Hand the keys to the steps."""
        self.query_one(LinesView).focus()

    def show(self, run: Json, view: RunView) -> None:
        """Show a run."""
        progress = f"{(run.get('progress') or 0) * 100:.0f}%"
        self.query_one("#run-title", Static).update(
            f"{run['name']}  {run['status']}  {run.get('step') or ''} {progress}"
        )
        self.query_one(Curve).show(view.points)
        self.query_one("#numbers", Static).update("\n".join(view.number_lines()))
        self.query_one(LinesView).show_lines(_lines(run, view), keep_place=True)


def _lines(run: Json, view: RunView) -> list[Styled]:
    lines: list[Styled] = []
    for line in view.step_lines():
        style = "dim" if line.startswith("[ ]") else "warn" if line.startswith("[!]") else "plain"
        lines.append((style, visible(line)))
    if run.get("error"):
        lines += [("plain", ""), ("warn", visible(f"Error: {run['error']}"))]
    if run.get("fix"):
        lines.append(("plain", visible(f"Try: {run['fix']}")))
    if run["status"] == "passed":
        lines += [("plain", ""), ("head", f"Version {run.get('version')} is registered.")]
    lines.append(("dim", f"run {run['id']}"))
    return lines
