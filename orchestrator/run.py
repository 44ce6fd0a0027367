"""A run: the graph at work on one task, or a training child at work on one intern."""

from __future__ import annotations

from typing import Literal

RunKind = Literal["task", "onboard"]
RunStatus = Literal["queued", "running", "passed", "failed", "stopped"]

ENDED: frozenset[str] = frozenset({"passed", "failed", "stopped"})


def task_run_id(task_id: int) -> str:
    """Return the id of a task's run; it is the graph's thread id too."""
    return f"task-{task_id}"
