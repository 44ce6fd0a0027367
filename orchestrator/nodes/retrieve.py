"""Which passages of the documents may be quoted."""

from __future__ import annotations

from orchestrator.chat import passages_for
from orchestrator.desk import Desk
from orchestrator.library import as_json
from orchestrator.nodes.state import TaskState
from orchestrator.records import save_task


def retrieve(state: TaskState, desk: Desk) -> tuple[TaskState, str]:
    """Search the documents for an `answer` intern; others need none."""
    intern = desk.worker(str(state["intern"]))
    hits = passages_for(desk, intern, state["text"], state.get("knowledge"))
    passages = as_json(hits)
    save_task(desk.engine, state["task_id"], passages=passages)
    told = f"{len(passages)} passages" if passages else "no documents needed or found"
    return {"passages": passages}, told
