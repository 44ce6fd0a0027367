"""The intern works."""

from __future__ import annotations

from typing import Any

from interns.completion import Message
from orchestrator.desk import Desk
from orchestrator.drafting import draft as work
from orchestrator.nodes.state import TaskState
from orchestrator.records import save_task
from retrieval.hit import Hit


def draft(state: TaskState, desk: Desk) -> tuple[TaskState, str]:
    """Let the intern's fixed version answer, and keep the answer as a draft."""
    intern = desk.at_version(str(state["intern"]), state["version"] or 1)
    done: dict[str, Any] = {}
    for event in work(
        desk.runtime,
        intern,
        (Message("user", state["text"]),),
        charter=desk.charter,
        passages=[Hit(**passage) for passage in state["passages"]],
        similar=desk.similar,
    ):
        done = event
    changes: TaskState = {
        "draft": done["text"],
        "citations": done["citations"],
        "confidence": done["confidence"],
    }
    save_task(desk.engine, state["task_id"], draft=changes["draft"], citations=changes["citations"])
    return changes, f"{done['tokens']} tokens in {done['seconds']:.2f} s"
