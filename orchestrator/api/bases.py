"""Bases: what there is, fetching one, checking one, changing the one in use."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from orchestrator.api import bodies
from orchestrator.api.streams import from_worker, sse
from orchestrator.service import Office

Json = dict[str, Any]


def bases_router(office: Office) -> APIRouter:
    """Return the routes of ``/api/bases``."""
    api = APIRouter(prefix="/api/bases")
    bases = office.bases

    @api.get("")
    def list_bases() -> list[Json]:
        return bases.list()

    @api.post("/pull")
    async def pull(body: bodies.Pull) -> StreamingResponse:
        cancel = office.new_cancel()
        events = bases.pull(
            body.source,
            name=body.name,
            file_type=body.file_type,
            environment=body.environment,
            cancel=cancel,
        )
        return sse(from_worker(events, cancel, office.stopping))

    @api.post("/verify")
    async def verify(body: bodies.BaseName) -> StreamingResponse:
        cancel = office.new_cancel()
        events = bases.verify(body.name, cancel)
        return sse(from_worker(events, cancel, office.stopping))

    @api.post("/use")
    def use(body: bodies.BaseName) -> Json:
        return bases.use(body.name)

    return api
