"""The routes of ``/v1``."""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from orchestrator.api.listening import while_heard
from orchestrator.api.openai import chat, completions
from orchestrator.api.openai.bodies import ChatBody, CompletionBody, EmbeddingBody
from orchestrator.api.openai.embeddings import embed
from orchestrator.api.openai.models import get_model, list_models
from orchestrator.api.refusals import openai_error
from orchestrator.api.streams import from_worker, sse
from orchestrator.service import Office

Json = dict[str, Any]


def openai_router(office: Office) -> APIRouter:
    """Return the routes of ``/v1``."""
    api = APIRouter(prefix="/v1")
    desk = office.desk

    @api.get("/models")
    def models() -> Json:
        return {"object": "list", "data": list_models(desk)}

    @api.get("/models/{name}")
    def model(name: str) -> Json:
        return get_model(desk, name)

    @api.post("/chat/completions", response_model=None)
    async def chat_completions(body: ChatBody, request: Request) -> StreamingResponse | Json:
        cancel = office.new_cancel()
        asked = await run_in_threadpool(chat.read_request, desk, body, cancel)
        if not body.stream:
            return await while_heard(request, cancel, lambda: chat.whole(asked))
        chunks = chat.chunks(asked)
        first = await while_heard(request, cancel, lambda: next(chunks))
        return _streamed(office, first, chunks, cancel)

    @api.post("/completions", response_model=None)
    async def text_completions(body: CompletionBody, request: Request) -> StreamingResponse | Json:
        cancel = office.new_cancel()
        asked = await run_in_threadpool(completions.read_request, desk, body)
        if not body.stream:
            work = partial(completions.whole, desk, body, asked, cancel)
            return await while_heard(request, cancel, work)
        chunks = completions.chunks(desk, body, asked[0], cancel)
        first = await while_heard(request, cancel, lambda: next(chunks))
        return _streamed(office, first, chunks, cancel)

    @api.post("/embeddings")
    def embeddings(body: EmbeddingBody) -> Json:
        return embed(desk, body)

    return api


def _streamed(
    office: Office, first: Json, chunks: Iterator[Json], cancel: threading.Event
) -> StreamingResponse:
    """Stream the chunks; what was wrong before the first was an ordinary answer with a status."""
    told = _told(itertools.chain([first], chunks))
    return sse(_with_end(from_worker(told, cancel, office.stopping, openai_error)))


def _told(chunks: Iterator[Json]) -> Iterator[Json]:
    try:
        yield from chunks
    except Exception as error:  # noqa: BLE001 - a stream has no other way to tell
        yield openai_error(error)


async def _with_end(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield chunk
    yield "data: [DONE]\n\n"
