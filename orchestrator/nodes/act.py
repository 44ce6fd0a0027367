"""Do what was decided, once: deliver the approved text, or close the task."""

from __future__ import annotations

from interns.errors import Unavailable
from orchestrator import ledger
from orchestrator.approval import action_digest
from orchestrator.delivery import Outcome, deliver, note_outcome
from orchestrator.desk import Desk
from orchestrator.effects import Delivery
from orchestrator.errors import EffectRefused
from orchestrator.nodes.state import TaskState
from orchestrator.records import end_task, fail_task
from orchestrator.tables import ApprovalRow


def act(state: TaskState, desk: Desk) -> tuple[TaskState, str]:
    """Read the decision from the ledger, never from the graph, and carry it out.

    Raises:
        Unavailable: There is no decision; nothing is done.
    """
    approval_id = state.get("approval_id")
    if approval_id is None:
        return _carry_out(state, desk, state["draft"], None)
    row = ledger.find(desk.engine, approval_id)
    match row.status:
        case "approved":
            _check_bound(row)
            return _carry_out(state, desk, row.draft, row)
        case "edited":
            _check_bound(row)
            return _carry_out(state, desk, row.decided_text or "", row)
        case "responded":
            if row.kind == "outcome":
                note_outcome(desk.engine, _key(state), row.decided_text or "", row.decided_by or "")
                return _end(state, desk, "done", result=state["draft"])
            return _end(state, desk, "answered", result=row.decided_text)
        case "rejected":
            return _end(state, desk, "rejected", error=row.reason)
        case _:
            raise Unavailable(f"Approval {approval_id} is not decided yet.", "Decide it first.")


def _carry_out(
    state: TaskState, desk: Desk, text: str, row: ApprovalRow | None
) -> tuple[TaskState, str]:
    if state["effect_kind"] == "none":
        return _end(state, desk, "done", result=text)
    outcome = deliver(
        desk.engine,
        desk.effects[state["effect_kind"]],
        Delivery(
            key=_key(state),
            kind=state["effect_kind"],
            target=state["effect_target"],
            payload=text,
            context={
                "task_id": state["task_id"],
                "intern": state["intern"],
                "version": state["version"],
            },
        ),
        task_id=state["task_id"],
        approval_id=row.id if row else None,
    )
    return _after(state, desk, text, outcome)


def _after(state: TaskState, desk: Desk, text: str, outcome: Outcome) -> tuple[TaskState, str]:
    match outcome.status:
        case "done":
            return _end(state, desk, "done", result=text)
        case "unknown":
            changes: TaskState = {
                "trouble": outcome.text,
                "attempt": outcome.attempt,
                "draft": text,
            }
            return changes, f"outcome unknown: {outcome.text}"
        case "refused":
            refused = EffectRefused(outcome.text, outcome.fix)
            fail_task(desk.engine, state["task_id"], state["run_id"], refused)
            return {"ended": "failed", "trouble": ""}, outcome.text


def _end(state: TaskState, desk: Desk, status: str, **values: str | None) -> tuple[TaskState, str]:
    end_task(desk.engine, state["task_id"], state["run_id"], status, **values)
    return {"ended": status, "trouble": ""}, status


def _key(state: TaskState) -> str:
    """One delivery per run: a further attempt after an unknown outcome keeps the key."""
    return f"{state['run_id']}/{state['effect_kind']}"


def _check_bound(row: ApprovalRow) -> None:
    """Refuse to act on a row whose content is not what its digest says.

    Raises:
        EffectRefused: The record was changed after it was shown.
    """
    expected = action_digest(
        task_id=row.task_id,
        run_id=row.run_id,
        intern=row.intern,
        version=row.version,
        adapter_sha256=row.adapter_sha256,
        text=row.draft,
        effect=(row.effect_kind, row.effect_target),
    )
    if expected != row.digest:
        raise EffectRefused(
            f"Approval {row.id} no longer matches its digest; nothing was done.",
            "Someone changed the record by hand. Submit the task again.",
        )
