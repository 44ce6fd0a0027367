"""Interns, and asking them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from orchestrator.api import bodies
from orchestrator.api.streams import from_worker, sse
from orchestrator.chat import chat, route_json
from orchestrator.service import Office
from orchestrator.task import check_text

Json = dict[str, Any]


def interns_router(office: Office) -> APIRouter:
    """Return the routes of ``/api/interns``."""
    api = APIRouter(prefix="/api")
    roster = office.roster

    @api.get("/interns")
    def list_interns(include_retired: bool = False) -> list[Json]:
        return roster.list(include_retired=include_retired)

    @api.post("/interns/import")
    def import_intern(body: bodies.Source) -> Json:
        return roster.import_from(body.source)

    @api.get("/interns/{name}")
    def get_intern(name: str) -> Json:
        return roster.get(name)

    @api.get("/interns/{name}/versions")
    def list_versions(name: str) -> list[Json]:
        return roster.versions(name)

    @api.post("/interns/{name}/promote")
    def promote(name: str, body: bodies.Number) -> Json:
        return roster.promote(name, body.number)

    @api.post("/interns/{name}/rollback")
    def rollback(name: str, body: bodies.Empty) -> Json:  # noqa: ARG001 - refuses other fields
        return roster.rollback(name)

    @api.post("/interns/{name}/retire")
    def retire(name: str, body: bodies.Empty) -> Json:  # noqa: ARG001 - refuses other fields
        return roster.retire(name)

    @api.post("/interns/{name}/teach")
    def teach(name: str, body: bodies.Teach) -> Json:
        return office.onboarding.teach(name, body.base)

    return api


def asking_router(office: Office) -> APIRouter:
    """Return the routes of ``/api/chat``, ``/api/route`` and ``/api/corrections``."""
    api = APIRouter(prefix="/api")
    roster = office.roster

    @api.post("/route")
    def route(body: bodies.Text) -> Json:
        return route_json(office.desk, check_text(body.text))

    @api.post("/chat")
    async def stream_chat(body: bodies.Chat) -> StreamingResponse:
        cancel = office.new_cancel()
        events = chat(
            office.desk,
            body.messages,
            intern=body.intern,
            knowledge=body.knowledge,
            cancel=cancel,
        )
        return sse(from_worker(events, cancel, office.stopping))

    @api.get("/corrections")
    def corrections(name: str | None = None) -> list[Json]:
        return roster.corrections(name)

    return api
