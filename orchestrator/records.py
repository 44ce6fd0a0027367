"""What a run writes about its task."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from interns.database import session, write_session
from orchestrator.clock import now_text
from orchestrator.errors import to_body
from orchestrator.event import EventKind
from orchestrator.journal import note
from orchestrator.run import ENDED
from orchestrator.tables import RunRow, TaskRow


def begin_run(engine: Engine, run_id: str, charter_version: str) -> TaskRow | None:
    """Mark a run as running and return its task; None when it has ended before."""
    at = now_text()
    with write_session(engine) as db:
        run = db.get(RunRow, run_id)
        if run is None or run.task_id is None or run.status in ENDED:
            return None
        task = db.get_one(TaskRow, run.task_id)
        if run.status == "queued":
            run.status, run.started_at, run.charter_version = "running", at, charter_version
            task.status, task.charter_version, task.updated_at = "running", charter_version, at
        return task


def has_ended(engine: Engine, run_id: str) -> bool:
    """Whether nothing more will happen in a run."""
    with session(engine) as db:
        run = db.get(RunRow, run_id)
        return run is not None and run.status in ENDED


def save_task(engine: Engine, task_id: int, **values: Any) -> None:
    """Write some columns of a task."""
    with write_session(engine) as db:
        task = db.get_one(TaskRow, task_id)
        task.sqlmodel_update({**values, "updated_at": now_text()})
        db.add(task)


def save_charter(engine: Engine, run_id: str, charter_version: str) -> None:
    """Record under which charter a run's draft was written."""
    with write_session(engine) as db:
        db.get_one(RunRow, run_id).charter_version = charter_version


def save_step(engine: Engine, task_id: int, run_id: str, data: dict[str, Any]) -> None:
    """Note that a node of the graph is done."""
    with write_session(engine) as db:
        run = db.get_one(RunRow, run_id)
        run.step = data["node"]
        note(db, EventKind.TASK_STEP, task_id=task_id, run_id=run_id, data=data)


def end_task(engine: Engine, task_id: int, run_id: str, status: str, **values: Any) -> None:
    """Close a task and its run, once.

    Args:
        engine: The office's database.
        task_id: The task.
        run_id: Its run.
        status: ``done``, ``rejected``, ``answered`` or ``failed``.
        values: Further columns of the task, such as ``result`` or ``error``.
    """
    at = now_text()
    with write_session(engine) as db:
        run, task = db.get_one(RunRow, run_id), db.get_one(TaskRow, task_id)
        if run.status in ENDED:
            return
        task.sqlmodel_update({**values, "status": status, "updated_at": at})
        run.status, run.finished_at = ("failed" if status == "failed" else "passed"), at
        run.error, run.fix = task.error or "", task.fix or ""
        note(db, EventKind.TASK_ENDED, task_id=task_id, run_id=run_id, data={"status": status})


def fail_task(engine: Engine, task_id: int, run_id: str, error: BaseException) -> None:
    """Close a task with what went wrong."""
    body = to_body(error)
    end_task(
        engine,
        task_id,
        run_id,
        "failed",
        error=body["error"],
        fix=body["fix"],
        code=body["code"],
    )
