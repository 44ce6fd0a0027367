"""The journal of an office: events are written in the transaction of what they tell about."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from interns.database import session
from orchestrator.clock import now_text
from orchestrator.event import EventKind
from orchestrator.tables import EventRow

Json = dict[str, Any]


def note(
    db: Session,
    kind: EventKind,
    *,
    task_id: int | None = None,
    run_id: str | None = None,
    data: Json | None = None,
) -> None:
    """Add an event to the running transaction."""
    db.add(
        EventRow(at=now_text(), kind=kind.value, task_id=task_id, run_id=run_id, data=data or {})
    )


def events_after(engine: Engine, after: int, limit: int = 500) -> list[Json]:
    """Return the events after number `after`, oldest first."""
    with session(engine) as db:
        chosen = select(EventRow).where(col(EventRow.id) > after)
        rows = db.exec(chosen.order_by(col(EventRow.id)).limit(limit)).all()
        return [row.model_dump() for row in rows]


def last_event(engine: Engine) -> int:
    """Return the number of the newest event, 0 when there is none."""
    with session(engine) as db:
        return db.exec(select(func.max(EventRow.id))).one() or 0


def steps_of(db: Session, task_id: int) -> list[Json]:
    """Return what the graph did on a task: node, at, seconds, text."""
    chosen = select(EventRow).where(
        EventRow.task_id == task_id, EventRow.kind == EventKind.TASK_STEP.value
    )
    rows = db.exec(chosen.order_by(col(EventRow.id))).all()
    return [{"at": row.at, **row.data} for row in rows]
