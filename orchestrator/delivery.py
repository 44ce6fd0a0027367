"""Effects happen once: intent → call → done, and never again without a human.

The intent is on the disk before anything leaves. If the office dies in between, the next one finds
an intent without an end: it looks whether the effect happened, and where nobody can tell, it asks.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, update
from sqlalchemy.dialects.sqlite import insert
from sqlmodel import Session, col, select

from interns.database import write_session
from interns.errors import InternsError
from orchestrator.clock import now_text
from orchestrator.effects import Delivery, EffectHandler, Json
from orchestrator.errors import OutcomeUnknown
from orchestrator.event import EventKind
from orchestrator.journal import note
from orchestrator.tables import EffectRow

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a delivery ended.

    Attributes:
        status: ``done``, ``unknown`` (a human has to look) or ``refused`` (it did not happen).
        text: What happened, in one sentence.
        attempt: 1 for the first delivery.
        fix: What to try, for ``refused``.
    """

    status: Literal["done", "unknown", "refused"]
    text: str
    attempt: int = 1
    fix: str = ""


def deliver(
    engine: Engine,
    handler: EffectHandler,
    delivery: Delivery,
    *,
    task_id: int,
    approval_id: int | None,
) -> Outcome:
    """Carry out an effect unless it was carried out before.

    Args:
        engine: The office's database.
        handler: Who can do it.
        delivery: What to do; its key is unique in the office.
        task_id: The task it belongs to.
        approval_id: The decision that allows this attempt; a new one allows one attempt more.
    """
    row, fresh = _intend(engine, delivery, task_id, approval_id)
    if row.status != "intent":
        return _settled(row)
    trace = "absent" if fresh else handler.trace(delivery)
    if trace == "done":
        return _settle(engine, row, "done", {"found": "carried out before the restart"})
    if trace == "unknown":
        lost = "The office stopped while delivering; whether it arrived is unknown."
        return _settle(engine, row, "unknown", {"error": lost})
    return _perform(engine, handler, delivery, row)


def note_outcome(engine: Engine, key: str, answer: str, by: str) -> None:
    """Record what a human found out about an unknown outcome."""
    with write_session(engine) as db:
        row = db.exec(select(EffectRow).where(EffectRow.key == key)).one()
        row.status, row.updated_at = "done", now_text()
        row.result = {**row.result, "answer": answer, "by": by}


def _perform(engine: Engine, handler: EffectHandler, delivery: Delivery, row: EffectRow) -> Outcome:
    try:
        result = handler.perform(delivery)
    except OutcomeUnknown as error:
        return _settle(engine, row, "unknown", {"error": error.message})
    except InternsError as error:
        return _settle(engine, row, "failed", {"error": error.message, "fix": error.fix})
    except Exception as error:
        log.exception("delivery %s broke off", delivery.key)
        told = f"The delivery broke off: {type(error).__name__} {error}."
        return _settle(engine, row, "unknown", {"error": told})
    return _settle(engine, row, "done", result)


def _intend(
    engine: Engine, delivery: Delivery, task_id: int, approval_id: int | None
) -> tuple[EffectRow, bool]:
    """Write the intent; the flag says whether this call wrote it."""
    at = now_text()
    values = {
        "key": delivery.key,
        "task_id": task_id,
        "approval_id": approval_id,
        "kind": delivery.kind,
        "target": delivery.target,
        "payload": delivery.payload,
        "payload_sha256": hashlib.sha256(delivery.payload.encode()).hexdigest(),
        "status": "intent",
        "attempt": 1,
        "owner": "",
        "result": {},
        "created_at": at,
        "updated_at": at,
    }
    statement = insert(EffectRow).values(**values).on_conflict_do_nothing(index_elements=["key"])
    with write_session(engine) as db:
        first = db.execute(statement.returning(col(EffectRow.id))).first() is not None
        fresh = first or _allow_once_more(db, delivery.key, approval_id, at)
        row = db.exec(select(EffectRow).where(EffectRow.key == delivery.key)).one()
        db.refresh(row)
        if fresh:
            _tell(db, EventKind.EFFECT_INTENT, row)
        return row, fresh


def _allow_once_more(db: Session, key: str, approval_id: int | None, at: str) -> bool:
    """Whether another human decision than the last one allows another attempt."""
    statement = (
        update(EffectRow)
        .where(
            col(EffectRow.key) == key,
            col(EffectRow.status) == "unknown",
            col(EffectRow.approval_id).is_distinct_from(approval_id),
        )
        .values(
            status="intent",
            attempt=col(EffectRow.attempt) + 1,
            approval_id=approval_id,
            updated_at=at,
        )
        .returning(col(EffectRow.id))
        .execution_options(synchronize_session=False)
    )
    return db.execute(statement).first() is not None


def _settle(
    engine: Engine, row: EffectRow, status: Literal["done", "unknown", "failed"], result: Json
) -> Outcome:
    kinds = {
        "done": EventKind.EFFECT_DONE,
        "unknown": EventKind.EFFECT_UNKNOWN,
        "failed": EventKind.EFFECT_FAILED,
    }
    with write_session(engine) as db:
        kept = db.get_one(EffectRow, row.id)
        kept.status, kept.result, kept.updated_at = status, result, now_text()
        _tell(db, kinds[status], kept)
    return _settled(kept)


def _settled(row: EffectRow) -> Outcome:
    error, fix = str(row.result.get("error", "")), str(row.result.get("fix", ""))
    match row.status:
        case "done":
            return Outcome("done", _told(row), row.attempt)
        case "unknown":
            return Outcome("unknown", error, row.attempt)
        case _:
            return Outcome("refused", error, row.attempt, fix)


def _tell(db: Session, kind: EventKind, row: EffectRow) -> None:
    data = {"key": row.key, "kind": row.kind, "target": row.target, "attempt": row.attempt}
    note(db, kind, task_id=row.task_id, data=data)


def _told(row: EffectRow) -> str:
    verb = {"file": "Written to the outbox as", "webhook": "Posted to"}.get(row.kind, "Done:")
    return f"{verb} {row.target}."
