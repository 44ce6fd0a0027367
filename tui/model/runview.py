"""One onboarding as a screen shows it: steps with ticks, points of the curve, numbers, outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tui.model.curve import Point, trend
from tui.model.words import duration

STEPS = ("ingest", "split", "tune", "export", "verify", "exam", "seal")
StepState = Literal["waiting", "running", "done", "failed"]
MARKS: Mapping[str, str] = {"waiting": " ", "running": ">", "done": "x", "failed": "!"}


@dataclass
class RunView:
    """What the events of a run add up to."""

    states: dict[str, StepState] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    checks: list[Point] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    last_id: int = 0

    def take(self, event: Mapping[str, Any]) -> None:
        """Add one event."""
        step, kind = str(event.get("step", "")), event.get("kind")
        data = event.get("data") or {}
        self.last_id = max(self.last_id, int(event.get("id") or 0))
        match kind:
            case "start":
                self.states[step] = "running"
            case "progress":
                self.states[step] = "running"
                self._progress(step, data)
            case "done":
                self.states[step] = "done"
            case "failed":
                self.states[step] = "failed"
        if kind != "progress" and event.get("text"):
            self.texts[step] = str(event["text"])

    def step_lines(self) -> list[str]:
        """Return one line a step: a mark, its name, and what it said last."""
        lines = []
        for step in [*STEPS, *(s for s in self.states if s not in STEPS)]:
            state = self.states.get(step, "waiting")
            lines.append(f"[{MARKS[state]}] {step:<7} {self.texts.get(step, '')}".rstrip())
        return lines

    def number_lines(self) -> list[str]:
        """Return the figures beside the curve."""
        n = self.numbers
        lines = []
        if self.points:
            lines.append(f"loss       {self.points[-1].loss:.3f}")
            lines.append(trend(self.points))
        if self.checks:
            lines.append(f"validation {self.checks[-1].loss:.3f}")
        if n.get("step_n") is not None:
            lines.append(f"step       {n['step_n']}/{n.get('steps', '?')}")
        if n.get("tokens_per_s"):
            lines.append(f"tokens/s   {n['tokens_per_s']:.0f}")
        if n.get("eta_s") is not None and self.states.get("tune") == "running":
            lines.append(f"left       {duration(n['eta_s'])}")
        return lines

    def _progress(self, step: str, data: Mapping[str, Any]) -> None:
        if step != "tune":
            return
        self.numbers.update({key: value for key, value in data.items() if value is not None})
        number = int(data.get("step_n") or len(self.points))
        if data.get("loss") is not None:
            self.points.append(Point(number, float(data["loss"])))
        if data.get("eval_loss") is not None:
            self.checks.append(Point(number, float(data["eval_loss"])))
