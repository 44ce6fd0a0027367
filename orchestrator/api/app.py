"""All routes in one application, and every error as an answer."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from interns.errors import InternsError, InvalidInput, NotFound
from orchestrator.api.bases import bases_router
from orchestrator.api.events import office_router
from orchestrator.api.interns import asking_router, interns_router
from orchestrator.api.knowledge import knowledge_router
from orchestrator.api.openai.router import openai_router
from orchestrator.api.refusals import refusal
from orchestrator.api.runs import runs_router
from orchestrator.api.security import Guard
from orchestrator.api.tasks import tasks_router
from orchestrator.service import Office

log = logging.getLogger(__name__)


def build_app(
    office: Office, *, token: str, port: Callable[[], int], stop: Callable[[], None]
) -> ASGIApp:
    """Return the guarded application.

    Args:
        office: What it serves.
        token: Bearer token of every call but ``/health``.
        port: Returns the port in use.
        stop: Begins a clean shutdown.
    """
    app = FastAPI(title="Interns", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.include_router(office_router(office, url=lambda: f"http://127.0.0.1:{port()}", stop=stop))
    for router in (
        bases_router,
        interns_router,
        asking_router,
        tasks_router,
        runs_router,
        knowledge_router,
        openai_router,
    ):
        app.include_router(router(office))
    app.add_exception_handler(InternsError, _known)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)
    return Guard(app, token=token, port=port)


def _known(request: Request, error: Exception) -> Response:
    return refusal(request.url.path, error)


def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it only
    places = [".".join(str(part) for part in issue["loc"][1:]) for issue in error.errors()]
    told = "; ".join(
        f"{place or 'body'}: {issue['msg']}"
        for place, issue in zip(places, error.errors(), strict=True)
    )
    wrong = InvalidInput(f"The request is malformed: {told}.", "Mend what is named.")
    return refusal(request.url.path, wrong, param=places[0] or None)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it only
    told = NotFound(
        f"{request.method} {request.url.path}: {error.detail}.", "Check path and method."
    )
    return refusal(request.url.path, told, status=error.status_code)


def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refusal(request.url.path, error)
