"""Tasks and the approvals they wait for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from orchestrator.api import bodies
from orchestrator.approval import Verb, Verdict
from orchestrator.service import Office

Json = dict[str, Any]


def tasks_router(office: Office) -> APIRouter:
    """Return the routes of ``/api/tasks`` and ``/api/approvals``."""
    api = APIRouter(prefix="/api")

    @api.post("/tasks")
    def submit(body: bodies.Task) -> Json:
        return office.submit(
            body.text, intern=body.intern, knowledge=body.knowledge, effect=body.effect
        )

    @api.get("/tasks")
    def list_tasks(status: str | None = None) -> list[Json]:
        return office.tasks(status)

    @api.get("/tasks/{task_id}")
    def get_task(task_id: int) -> Json:
        return office.task(task_id)

    @api.get("/approvals")
    def list_approvals(status: str | None = None) -> list[Json]:
        return office.approvals(status)

    @api.get("/approvals/{approval_id}")
    def get_approval(approval_id: int) -> Json:
        return office.approval(approval_id)

    @api.post("/approvals/{approval_id}/{verb}")
    def decide(approval_id: int, verb: Verb, body: bodies.Decision) -> Json:
        return office.decide(approval_id, Verdict(verb=verb, **body.model_dump()))

    return api
