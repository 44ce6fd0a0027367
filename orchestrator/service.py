"""The office: submit tasks, decide approvals, ask interns, keep the work moving."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlmodel import col, func, select

from interns.database import open_database, session, write_session
from interns.errors import InvalidInput, NotFound
from interns.paths import Paths
from orchestrator import ledger
from orchestrator.approval import Verdict
from orchestrator.bases import Bases
from orchestrator.check import check_edit
from orchestrator.clock import now_text
from orchestrator.desk import Desk
from orchestrator.doctor import examine
from orchestrator.effects import EffectHandler
from orchestrator.event import EventKind
from orchestrator.journal import note, steps_of
from orchestrator.lazy import Lazy
from orchestrator.library import Library
from orchestrator.onboarding import Onboarding
from orchestrator.roster import Roster
from orchestrator.run import task_run_id
from orchestrator.tables import ApprovalRow, EffectRow, RunRow, TaskRow
from orchestrator.task import TASK_STATUSES, EffectSpec, check_text
from orchestrator.views import approval_json, task_json
from orchestrator.workers import Workers

if TYPE_CHECKING:
    from orchestrator.graph import TaskGraph

Json = dict[str, Any]

log = logging.getLogger(__name__)


class Office:
    """Everything one daemon does for one data directory.

    Several offices of one directory may exist at once, in several processes; the database decides
    who may do what. The daemon keeps it to one, because the model and the vectors want one owner.

    Args:
        paths: The data directory; made when missing.
        effects: Handlers by kind; None gives outbox and webhook.

    Raises:
        Incompatible: The database is of a newer version.
    """

    def __init__(self, paths: Paths, *, effects: Mapping[str, EffectHandler] | None = None) -> None:
        self.paths = paths.create()
        self.engine = open_database(paths.database)
        self.desk = Desk(self.engine, paths, effects)
        self.graph: Lazy[TaskGraph] = Lazy("graph", self._build_graph)
        self.workers = Workers(self.engine, self._drive)
        self.onboarding = Onboarding(self.desk)
        self.roster = Roster(self.desk)
        self.library = Library(self.desk)
        self.bases = Bases(self.desk)
        self.stopping = threading.Event()
        self._cancels: weakref.WeakSet[threading.Event] = weakref.WeakSet()
        self.started = time.monotonic()

    def start(self, *, warm: bool = True) -> None:
        """Take up what was left by the last process and work from now on.

        Args:
            warm: Load the models in the background now, not when they are first needed.
        """
        with session(self.engine) as db:
            note(db, EventKind.OFFICE_STARTED, data={"pid": os.getpid()})
        self.workers.start()
        self.onboarding.start()
        if warm:
            threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def begin_stop(self) -> None:
        """End every stream and answer in progress; returns at once."""
        self.stopping.set()
        for cancel in list(self._cancels):
            cancel.set()

    def stop(self) -> None:
        """Stop taking work, wait briefly for what runs, and free everything."""
        self.begin_stop()
        self.onboarding.stop()
        self.workers.stop(timeout_s=2.0)
        self.desk.close()
        if (graph := self.graph.peek()) is not None:
            graph.close()
        self.engine.dispose()

    def new_cancel(self) -> threading.Event:
        """Return a flag that ends an answer; the office sets it too when it stops."""
        cancel = threading.Event()
        self._cancels.add(cancel)
        return cancel

    def examine(self) -> list[Json]:
        """Return the findings of the doctor."""
        return examine(self.paths, self.desk.settings)

    def status(self) -> Json:
        """Return what is loaded and how much work there is."""
        with session(self.engine) as db:
            tasks = dict(
                db.exec(select(TaskRow.status, func.count()).group_by(TaskRow.status)).all()
            )
            pending = db.exec(select(func.count()).where(ApprovalRow.status == "pending")).one()
        interns = self.desk.registry.list()
        runtime = self.desk.llm.peek()
        stats = getattr(runtime, "stats", None)
        return {
            "running": True,
            "pid": os.getpid(),
            "home": str(self.paths.home),
            "token_file": str(self.paths.token),
            "base": self.desk.base.name,
            "base_sha256": self.desk.base.sha256,
            "interns": len(interns),
            "tasks": tasks,
            "pending_approvals": pending,
            "model": self.desk.llm.state,
            "embedder": self.desk.embedder.state,
            "engine": stats() if callable(stats) else None,
            "charter": {
                "mission": self.desk.settings.charter.mission,
                "version": self.desk.charter.version,
            },
            "uptime_s": time.monotonic() - self.started,
        }

    def submit(
        self,
        text: str,
        *,
        intern: str | None = None,
        knowledge: str | None = None,
        effect: str | Mapping[str, str] | None = None,
    ) -> Json:
        """Put a task in the queue and return it.

        Raises:
            InvalidInput: The text is empty, the intern unknown or the effect not allowed.
        """
        check_text(text)
        spec = EffectSpec.parse(effect)
        if intern is not None:
            self.desk.worker(intern)
        target = spec.target
        if spec.kind != "none":
            target = self._handler(spec.kind).check(spec.target)
        at, charter = now_text(), self.desk.charter.version
        with write_session(self.engine) as db:
            task = TaskRow(
                text=text,
                requested_intern=intern,
                knowledge=knowledge,
                effect_kind=spec.kind,
                effect_target=target,
                charter_version=charter,
                created_at=at,
                updated_at=at,
            )
            db.add(task)
            db.flush()
            assert task.id is not None, "the row was flushed"  # noqa: S101 - our own invariant
            if spec.kind == "file" and not target:
                task.effect_target = f"task-{task.id}.txt"
            run = RunRow(
                id=task_run_id(task.id),
                kind="task",
                task_id=task.id,
                charter_version=charter,
                created_at=at,
            )
            db.add(run)
            note(db, EventKind.TASK_QUEUED, task_id=task.id, run_id=run.id)
        self.workers.wake()
        return self.task(task.id)

    def tasks(self, status: str | None = None) -> list[Json]:
        """Return tasks, newest first.

        Raises:
            InvalidInput: There is no such status.
        """
        if status is not None and status not in TASK_STATUSES:
            raise InvalidInput(
                f"No task has status {status!r}.", f"Use one of {', '.join(TASK_STATUSES)}."
            )
        chosen = select(TaskRow).order_by(col(TaskRow.id).desc())
        if status is not None:
            chosen = chosen.where(TaskRow.status == status)
        with session(self.engine) as db:
            return [task_json(row, [], []) for row in db.exec(chosen).all()]

    def task(self, task_id: int) -> Json:
        """Return one task with its steps and effects.

        Raises:
            NotFound: There is no such task.
        """
        with session(self.engine) as db:
            row = db.get(TaskRow, task_id)
            if row is None:
                raise NotFound(f"There is no task {task_id}.", "See `interns task list`.")
            effects = db.exec(select(EffectRow).where(EffectRow.task_id == task_id)).all()
            return task_json(row, steps_of(db, task_id), effects)

    def approvals(self, status: str | None = "pending") -> list[Json]:
        """Return approvals, oldest first."""
        return [approval_json(row) for row in ledger.listed(self.engine, status)]

    def approval(self, approval_id: int) -> Json:
        """Return one approval.

        Raises:
            NotFound: There is no such approval.
        """
        return approval_json(ledger.find(self.engine, approval_id))

    def decide(self, approval_id: int, verdict: Verdict) -> Json:
        """Decide an approval; the effect follows from a worker.

        Raises:
            NotFound: There is no such approval.
            InvalidInput: The verdict does not fit.
            Conflict: It was decided before, changed or expired.
        """
        if verdict.intern is not None:
            self.desk.worker(verdict.intern)
        if verdict.verb == "edit":
            row = ledger.find(self.engine, approval_id)
            if row.intern is not None and row.status == "pending":
                check_edit(self.desk.registry.get(row.intern).profile, verdict.text or "")
        row = ledger.decide(self.engine, approval_id, verdict)
        self.workers.wake()
        return approval_json(row)

    def _handler(self, kind: str) -> EffectHandler:
        handler = self.desk.effects.get(kind)
        if handler is None:
            raise InvalidInput(
                f"This office has no effect {kind!r}.", f"Known: {', '.join(self.desk.effects)}."
            )
        return handler

    def _build_graph(self) -> TaskGraph:
        from orchestrator.graph import TaskGraph  # a second of imports that no start should pay

        return TaskGraph(self.desk)

    def _drive(self, run_id: str, owner: str) -> str:
        return self.graph.get().drive(run_id, owner)

    def _warm(self) -> None:
        try:
            self.desk.warm()
            self.graph.warm()
        except Exception:
            log.exception("warming up failed")
