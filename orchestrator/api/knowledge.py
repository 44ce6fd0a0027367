"""Documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter

from orchestrator.api import bodies
from orchestrator.service import Office

Json = dict[str, Any]


def knowledge_router(office: Office) -> APIRouter:
    """Return the routes of ``/api/knowledge``."""
    api = APIRouter(prefix="/api/knowledge")

    @api.post("")
    def add(body: bodies.Documents) -> Json:
        return office.library.add(Path(body.path), body.name)

    @api.get("")
    def list_documents() -> list[Json]:
        return office.library.list()

    @api.get("/search")
    def search(query: str, name: str | None = None, limit: int = 5) -> list[Json]:
        return office.library.search(query, name, limit)

    return api
