"""Who does it: the one a human named, the best match, or nobody."""

from __future__ import annotations

from orchestrator import ledger
from orchestrator.chat import named_json, route_json
from orchestrator.desk import Desk
from orchestrator.nodes.state import TaskState
from orchestrator.records import save_task


def route(state: TaskState, desk: Desk) -> tuple[TaskState, str]:
    """Choose the intern and fix its version for this task."""
    chosen, why = state.get("requested"), "Chosen by name."
    if (approval_id := state.get("approval_id")) is not None:
        answer = ledger.find(desk.engine, approval_id)
        chosen, why = answer.decided_intern, f"Chosen by {answer.decided_by}."
    if chosen:
        found = named_json(chosen, why)
    else:
        found = route_json(desk, state["text"], state.get("knowledge"))
    name = found["intern"]
    changes: TaskState = {
        "route": found,
        "intern": name,
        "version": None,
        "adapter_sha256": "",
        "approval_id": None,
    }
    if name is not None:
        version = desk.worker(name).version
        changes["version"] = version.number
        changes["adapter_sha256"] = version.adapter.sha256
    save_task(desk.engine, state["task_id"], route=found, intern=name, version=changes["version"])
    told = f"{name} ({found['score']:.2f})" if name else "nobody fits"
    return changes, f"{told}. {found['why']}"
