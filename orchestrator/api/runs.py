"""Onboarding runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from orchestrator.api import bodies
from orchestrator.api.streams import from_polls, sse
from orchestrator.service import Office

Json = dict[str, Any]


def runs_router(office: Office) -> APIRouter:
    """Return the routes of ``/api/runs``."""
    api = APIRouter(prefix="/api/runs")
    onboarding = office.onboarding

    @api.post("/plan")
    def plan(body: bodies.Onboard) -> Json:
        return onboarding.plan(body)

    @api.post("")
    def begin(body: bodies.Onboard) -> Json:
        return onboarding.begin(body)

    @api.get("")
    def list_runs() -> list[Json]:
        return onboarding.list()

    @api.get("/{run_id}")
    def get_run(run_id: str) -> Json:
        return onboarding.get(run_id)

    @api.post("/{run_id}/stop")
    def stop_run(run_id: str, body: bodies.Empty) -> Json:  # noqa: ARG001 - refuses other fields
        return onboarding.stop_run(run_id)

    @api.get("/{run_id}/events")
    def follow(run_id: str, after: int = 0) -> StreamingResponse:
        reader = onboarding.reader(run_id, after)
        return sse(from_polls(reader, office.stopping))

    return api
