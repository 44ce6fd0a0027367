"""The office's records: tasks, runs, approvals, effects, corrections, leases, events.

Times are ISO-8601 text in UTC (see `orchestrator.clock`), which sorts as it reads. JSON columns hold
plain values only.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Index
from sqlmodel import Field, SQLModel


class TaskRow(SQLModel, table=True):
    """What a person asked for."""

    __tablename__ = "task"

    id: int | None = Field(default=None, primary_key=True)
    text: str
    status: str = Field(default="queued", index=True)
    requested_intern: str | None = None
    knowledge: str | None = None
    effect_kind: str = "none"
    effect_target: str = ""
    intern: str | None = None
    version: int | None = None
    route: dict[str, Any] | None = Field(default=None, sa_type=JSON)
    draft: str | None = None
    passages: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    citations: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    approval_id: int | None = None
    result: str | None = None
    error: str | None = None
    fix: str | None = None
    code: str | None = None
    charter_version: str | None = None
    created_at: str
    updated_at: str


class RunRow(SQLModel, table=True):
    """Work in progress: the graph on one task (kind ``task``) or a training child (``onboard``)."""

    __tablename__ = "run"

    id: str = Field(primary_key=True)
    kind: str = Field(index=True)
    name: str = ""
    task_id: int | None = Field(default=None, foreign_key="task.id", index=True)
    status: str = Field(default="queued", index=True)
    step: str = ""
    progress: float = 0.0
    loss: float | None = None
    eta_s: float | None = None
    attempts: int = 0
    request: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    charter_version: str = ""
    folder: str = ""
    pid: int | None = None
    pid_started: float | None = None
    events_read: int = 0
    version: int | None = None
    error: str = ""
    fix: str = ""
    code: str = ""
    exit_code: int = 0
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None


class ApprovalRow(SQLModel, table=True):
    """A question to a human about one exact action, decided at most once.

    `key` makes writing it idempotent; `digest` binds the decision to what was shown.
    """

    __tablename__ = "approval"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    task_id: int = Field(foreign_key="task.id", index=True)
    run_id: str = Field(foreign_key="run.id", index=True)
    kind: str
    summary: str
    intern: str | None = None
    version: int | None = None
    adapter_sha256: str = ""
    draft: str = ""
    why: str = ""
    evidence: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    citations: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    effect_kind: str = "none"
    effect_target: str = ""
    digest: str
    status: str = Field(default="pending", index=True)
    decided_text: str | None = None
    decided_digest: str | None = None
    decided_intern: str | None = None
    reason: str | None = None
    decided_by: str | None = None
    decided_at: str | None = None
    expires_at: str
    created_at: str


class EffectRow(SQLModel, table=True):
    """One thing that leaves the office: ``intent`` → ``done``; or ``unknown``, ``failed``."""

    __tablename__ = "effect"

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    task_id: int = Field(foreign_key="task.id", index=True)
    approval_id: int | None = Field(default=None, foreign_key="approval.id", index=True)
    kind: str
    target: str
    payload: str
    payload_sha256: str
    status: str = Field(default="intent", index=True)
    attempt: int = 1
    owner: str = ""
    result: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    created_at: str
    updated_at: str


class CorrectionRow(SQLModel, table=True):
    """What a human changed or refused: raw material of the next version."""

    __tablename__ = "correction"

    id: int | None = Field(default=None, primary_key=True)
    approval_id: int = Field(foreign_key="approval.id", unique=True)
    task_id: int = Field(foreign_key="task.id", index=True)
    intern: str | None = Field(default=None, index=True)
    version: int | None = None
    kind: str
    input: str
    draft: str
    corrected: str | None = None
    reason: str | None = None
    by: str
    created_at: str


class LeaseRow(SQLModel, table=True):
    """Who works on a run right now; nobody else may touch it before `until` (epoch seconds)."""

    __tablename__ = "lease"

    run_id: str = Field(primary_key=True)
    owner: str = Field(index=True)
    until: float


class EventRow(SQLModel, table=True):
    """Something happened; the stream that screens follow."""

    __tablename__ = "event"

    id: int | None = Field(default=None, primary_key=True)
    at: str
    kind: str
    task_id: int | None = None
    run_id: str | None = None
    data: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)

    __table_args__ = (Index("ix_event_task", "task_id", "id"),)
