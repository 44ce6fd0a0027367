"""Wait for a human. Nothing else happens here: this step starts over when it resumes."""

from __future__ import annotations

from langgraph.types import interrupt

from orchestrator.nodes.state import TaskState


def approve(state: TaskState) -> TaskState:
    """Stop until the run is resumed; the decision itself is read from the ledger afterwards."""
    interrupt({"approval_id": state["approval_id"]})
    return {}
