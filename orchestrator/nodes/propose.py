"""Put the question to a human in writing, before the graph waits for the answer."""

from __future__ import annotations

from typing import Any

from orchestrator import ledger
from orchestrator.approval import Proposal
from orchestrator.desk import Desk
from orchestrator.nodes.state import TaskState


def propose(state: TaskState, desk: Desk) -> tuple[TaskState, str]:
    """Write the approval once, however often this step runs."""
    if state.get("trouble"):
        proposal = _outcome(state)
    elif state.get("intern") is None:
        proposal = _question(state)
    elif state["ask"]:
        proposal = _action(state)
    else:
        return {"approval_id": None}, f"nobody is asked. {state['why']}"
    row = ledger.propose(desk.engine, proposal)
    return {"approval_id": row.id}, f"approval {row.id}: {row.summary}"


def _action(state: TaskState) -> Proposal:
    evidence: list[dict[str, Any]] = [
        {"kind": "route", **state["route"]},
        {"kind": "confidence", "value": state.get("confidence")},
        {"kind": "checks", "problems": state["problems"]},
    ]
    return Proposal(
        task_id=state["task_id"],
        run_id=state["run_id"],
        kind="action",
        summary=_summary(state),
        draft=state["draft"],
        why=state["why"],
        intern=state["intern"],
        version=state["version"],
        adapter_sha256=state["adapter_sha256"],
        effect_kind=state["effect_kind"],
        effect_target=state["effect_target"],
        evidence=evidence,
        citations=state["citations"],
    )


def _question(state: TaskState) -> Proposal:
    return Proposal(
        task_id=state["task_id"],
        run_id=state["run_id"],
        kind="question",
        summary="Nobody in the office fits this task. Answer it, or name an intern.",
        draft="",
        why=state["route"]["why"],
        evidence=[{"kind": "route", **state["route"]}],
    )


def _outcome(state: TaskState) -> Proposal:
    return Proposal(
        task_id=state["task_id"],
        run_id=state["run_id"],
        kind="outcome",
        summary=(
            f"Outcome unknown: did the {state['effect_kind']} to {state['effect_target']} arrive? "
            "Approve to send it once more, respond with what you found out, or reject."
        ),
        draft=state["draft"],
        why=state["trouble"],
        intern=state["intern"],
        version=state["version"],
        adapter_sha256=state["adapter_sha256"],
        effect_kind=state["effect_kind"],
        effect_target=state["effect_target"],
        evidence=[{"kind": "attempt", "number": state["attempt"], "trouble": state["trouble"]}],
        salt=str(state["attempt"]),
    )


def _summary(state: TaskState) -> str:
    match state["effect_kind"]:
        case "file":
            return f"{state['intern']} writes its answer to {state['effect_target']} in the outbox."
        case "webhook":
            return f"{state['intern']} posts its answer to {state['effect_target']}."
        case _:
            return f"{state['intern']} hands its answer over."
