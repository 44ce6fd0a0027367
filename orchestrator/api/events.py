"""The daemon itself: health, status, events, doctor."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from orchestrator.api import bodies
from orchestrator.api.streams import from_polls, sse
from orchestrator.journal import events_after, last_event
from orchestrator.service import Office

Json = dict[str, Any]


def office_router(office: Office, *, url: Callable[[], str], stop: Callable[[], None]) -> APIRouter:
    """Return the routes of the office as a whole.

    Args:
        office: The office.
        url: Returns where the daemon listens.
        stop: Begins a clean shutdown.
    """
    api = APIRouter()

    @api.get("/health")
    async def health() -> Json:
        status = "stopping" if office.stopping.is_set() else "ok"
        return {"status": status, "pid": os.getpid()}

    @api.get("/api/status")
    def status() -> Json:
        root = url()
        return {**office.status(), "url": root, "openai_base_url": f"{root}/v1"}

    @api.post("/api/shutdown")
    async def shutdown(body: bodies.Empty) -> Json:  # noqa: ARG001 - refuses other fields
        stop()
        return {"status": "stopping", "pid": os.getpid()}

    @api.get("/api/doctor")
    def doctor() -> list[Json]:
        return office.examine()

    @api.get("/api/events")
    def events(after: int | None = None) -> StreamingResponse:
        seen = last_event(office.engine) if after is None else after

        def poll() -> tuple[list[Json], bool]:
            nonlocal seen
            fresh = events_after(office.engine, seen)
            if fresh:
                seen = fresh[-1]["id"]
            return fresh, False

        return sse(from_polls(poll, office.stopping))

    return api
