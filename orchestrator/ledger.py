"""Decisions: each is one conditional UPDATE, made before the graph moves, and made once.

The graph only waits; what was decided is read from here, never from a resume value. Two people, or
two processes, may answer at once: one row changes for one of them, the other is told who won.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from interns.database import session, write_session
from interns.errors import Conflict, NotFound
from orchestrator.approval import STATUS_OF, VALID_FOR, Proposal, Verdict
from orchestrator.clock import now_text
from orchestrator.event import EventKind
from orchestrator.journal import note
from orchestrator.tables import ApprovalRow, CorrectionRow, TaskRow

OFFICE = "office"


def propose(engine: Engine, proposal: Proposal) -> ApprovalRow:
    """Write a pending approval and park its task, or return the row that is already there."""
    with write_session(engine) as db:
        row = db.exec(select(ApprovalRow).where(ApprovalRow.key == proposal.key)).first()
        if row is None:
            row = _new_row(proposal)
            db.add(row)
            db.flush()
            note(
                db,
                EventKind.APPROVAL_PENDING,
                task_id=proposal.task_id,
                run_id=proposal.run_id,
                data={"approval_id": row.id, "kind": row.kind, "summary": row.summary},
            )
        if row.status == "pending":
            task = db.get_one(TaskRow, proposal.task_id)
            task.status, task.approval_id, task.updated_at = "waiting", row.id, now_text()
            db.add(task)
        return row


def decide(engine: Engine, approval_id: int, verdict: Verdict) -> ApprovalRow:
    """Decide a pending approval, once; an edit or rejection is kept as a correction with it.

    Raises:
        NotFound: There is no such approval.
        InvalidInput: The verdict does not fit this kind of approval.
        Conflict: It was decided before (by whom is named), changed since, or expired.
    """
    at = now_text()
    with write_session(engine) as db:
        before = db.get(ApprovalRow, approval_id)
        if before is None:
            raise NotFound(f"There is no approval {approval_id}.", "See `interns approvals list`.")
        if before.status == "pending":
            verdict.check(before.kind)
        row = _claim(db, approval_id, verdict, at)
        if row is None:
            db.refresh(before)
            raise _refusal(before, verdict, at)
        _keep_correction(db, row, verdict, at)
        _resume_task(db, row, at)
        note(
            db,
            EventKind.APPROVAL_DECIDED,
            task_id=row.task_id,
            run_id=row.run_id,
            data={"approval_id": row.id, "status": row.status, "by": verdict.by},
        )
        return row


def find(engine: Engine, approval_id: int) -> ApprovalRow:
    """Return an approval.

    Raises:
        NotFound: There is no such approval.
    """
    with session(engine) as db:
        row = db.get(ApprovalRow, approval_id)
    if row is None:
        raise NotFound(f"There is no approval {approval_id}.", "See `interns approvals list`.")
    return row


def listed(engine: Engine, status: str | None) -> Sequence[ApprovalRow]:
    """Return approvals, oldest first; `status` None returns all."""
    chosen = select(ApprovalRow).order_by(col(ApprovalRow.id))
    if status is not None:
        chosen = chosen.where(ApprovalRow.status == status)
    with session(engine) as db:
        return db.exec(chosen).all()


def expire(engine: Engine) -> list[str]:
    """Reject what nobody decided in time and return the runs that can go on."""
    at = now_text()
    with write_session(engine) as db:
        chosen = select(ApprovalRow).where(
            ApprovalRow.status == "pending", col(ApprovalRow.expires_at) <= at
        )
        rows = db.exec(chosen).all()
        for row in rows:
            row.status, row.decided_by, row.decided_at = "rejected", OFFICE, at
            row.reason = f"Nobody decided before {row.expires_at}."
            db.add(row)
            _resume_task(db, row, at)
        return [row.run_id for row in rows]


def _new_row(proposal: Proposal) -> ApprovalRow:
    return ApprovalRow(
        key=proposal.key,
        task_id=proposal.task_id,
        run_id=proposal.run_id,
        kind=proposal.kind,
        summary=proposal.summary,
        intern=proposal.intern,
        version=proposal.version,
        adapter_sha256=proposal.adapter_sha256,
        draft=proposal.draft,
        why=proposal.why,
        evidence=proposal.evidence,
        citations=proposal.citations,
        effect_kind=proposal.effect_kind,
        effect_target=proposal.effect_target,
        digest=proposal.digest,
        expires_at=now_text(VALID_FOR),
        created_at=now_text(),
    )


def _claim(db: Session, approval_id: int, verdict: Verdict, at: str) -> ApprovalRow | None:
    digest = ApprovalRow.digest if verdict.digest is None else verdict.digest
    statement = (
        update(ApprovalRow)
        .where(
            col(ApprovalRow.id) == approval_id,
            col(ApprovalRow.status) == "pending",
            col(ApprovalRow.digest) == digest,
            col(ApprovalRow.expires_at) > at,
        )
        .values(
            status=STATUS_OF[verdict.verb],
            decided_text=verdict.text,
            decided_intern=verdict.intern,
            reason=verdict.reason,
            decided_by=verdict.by,
            decided_at=at,
        )
        .returning(col(ApprovalRow.id))
        .execution_options(synchronize_session=False)
    )
    won = db.execute(statement).scalars().all()
    if not won:
        return None
    row = db.get_one(ApprovalRow, approval_id)
    db.refresh(row)
    return row


def _refusal(row: ApprovalRow, verdict: Verdict, at: str) -> Conflict:
    if row.status != "pending":
        return Conflict(
            f"Approval {row.id} was {row.status} by {row.decided_by} at {row.decided_at}.",
            f"See `interns approvals show {row.id}`; it stays as decided.",
        )
    if row.expires_at <= at:
        return Conflict(f"Approval {row.id} expired at {row.expires_at}.", "Submit the task again.")
    return Conflict(
        f"Approval {row.id} is not what you were shown (digest {verdict.digest}).",
        f"Look again with `interns approvals show {row.id}`.",
    )


def _keep_correction(db: Session, row: ApprovalRow, verdict: Verdict, at: str) -> None:
    if verdict.verb == "approve" or row.kind == "outcome" or row.id is None:
        return
    task = db.get_one(TaskRow, row.task_id)
    db.add(
        CorrectionRow(
            approval_id=row.id,
            task_id=row.task_id,
            intern=row.intern,
            version=row.version,
            kind=verdict.verb,
            input=task.text,
            draft=row.draft,
            corrected=verdict.text,
            reason=verdict.reason,
            by=verdict.by,
            created_at=at,
        )
    )


def _resume_task(db: Session, row: ApprovalRow, at: str) -> None:
    task = db.get_one(TaskRow, row.task_id)
    task.status, task.updated_at = "running", at
    db.add(task)
