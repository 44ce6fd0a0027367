"""Runs waiting for a worker, and leases: one owner per run at a time.

A lease ends by itself, and at once when its process is gone, so that nothing is stuck after a
crash.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from sqlalchemy import Engine, delete, text, update
from sqlmodel import col, select

from interns.database import session, write_session
from orchestrator.tables import ApprovalRow, LeaseRow, RunRow, TaskRow

LEASE_S = 60.0


def owner_name() -> str:
    """Return a name for this process and thread that no other has: pid, start and a number."""
    started = int(psutil.Process().create_time() * 1000)
    return f"{os.getpid()}:{started}:{threading.get_ident()}:{uuid.uuid4().hex[:8]}"


@contextmanager
def leased(engine: Engine, run_id: str, owner: str) -> Iterator[bool]:
    """Hold a run while the block runs, renewing the lease; yields False if another holds it."""
    if not _take(engine, run_id, owner):
        yield False
        return
    stop = threading.Event()
    renewal = threading.Thread(target=_renew, args=(engine, run_id, owner, stop), daemon=True)
    renewal.start()
    try:
        yield True
    finally:
        stop.set()
        with write_session(engine) as db:
            db.execute(
                delete(LeaseRow).where(col(LeaseRow.run_id) == run_id, col(LeaseRow.owner) == owner)
            )


def release_dead(engine: Engine) -> int:
    """Drop the leases of processes that are gone and return how many there were."""
    with session(engine) as db:
        owners = set(db.exec(select(LeaseRow.owner)).all())
    dead = [owner for owner in owners if not _alive(owner)]
    if dead:
        with write_session(engine) as db:
            db.execute(delete(LeaseRow).where(col(LeaseRow.owner).in_(dead)))
    return len(dead)


def runnable(engine: Engine, limit: int = 100) -> list[str]:
    """Return task runs that can go on: new ones, interrupted ones and decided ones.

    A run that waits for a human is not runnable until its approval is decided.
    """
    with session(engine) as db:
        chosen = (
            select(RunRow.id)
            .join(TaskRow, col(TaskRow.id) == col(RunRow.task_id))
            .outerjoin(ApprovalRow, col(ApprovalRow.id) == col(TaskRow.approval_id))
            .outerjoin(LeaseRow, col(LeaseRow.run_id) == col(RunRow.id))
            .where(
                RunRow.kind == "task",
                col(RunRow.status).in_(("queued", "running")),
                (col(TaskRow.status) != "waiting")
                | col(ApprovalRow.status).is_distinct_from("pending"),
                col(LeaseRow.until).is_(None) | (col(LeaseRow.until) < time.time()),
            )
            .order_by(col(TaskRow.id))
            .limit(limit)
        )
        return list(db.exec(chosen).all())


def _take(engine: Engine, run_id: str, owner: str) -> bool:
    now = time.time()
    statement = text(
        "INSERT INTO lease (run_id, owner, until) VALUES (:run_id, :owner, :until) "
        "ON CONFLICT (run_id) DO UPDATE SET owner = excluded.owner, until = excluded.until "
        "WHERE lease.until < :now RETURNING owner"
    )
    values = {"run_id": run_id, "owner": owner, "until": now + LEASE_S, "now": now}
    with write_session(engine) as db:
        return db.execute(statement, values).first() is not None


def _renew(engine: Engine, run_id: str, owner: str, stop: threading.Event) -> None:
    while not stop.wait(LEASE_S / 4):
        with write_session(engine) as db:
            db.execute(
                update(LeaseRow)
                .where(col(LeaseRow.run_id) == run_id, col(LeaseRow.owner) == owner)
                .values(until=time.time() + LEASE_S)
            )


def _alive(owner: str) -> bool:
    pid, _, rest = owner.partition(":")
    started = rest.partition(":")[0]
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and int(
            process.create_time() * 1000
        ) == int(started)
    except (psutil.Error, ValueError):
        return False
