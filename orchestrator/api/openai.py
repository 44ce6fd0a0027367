"""The OpenAI dialect: every intern is a model, ``auto`` lets the office choose."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from orchestrator.api.streams import from_worker, sse
from orchestrator.chat import chat
from orchestrator.errors import from_body
from orchestrator.service import Office

Json = dict[str, Any]


class Completions(BaseModel):
    """A request; what is not named here is ignored, as clients of this dialect expect."""

    model: str = "auto"
    messages: list[dict[str, Any]]
    stream: bool = False


def openai_router(office: Office) -> APIRouter:
    """Return the routes of ``/v1``."""
    api = APIRouter(prefix="/v1")

    @api.get("/models")
    def models() -> Json:
        names = ["auto", *(intern["name"] for intern in office.roster.list())]
        data = [{"id": n, "object": "model", "created": 0, "owned_by": "office"} for n in names]
        return {"object": "list", "data": data}

    @api.post("/chat/completions", response_model=None)
    async def completions(body: Completions) -> StreamingResponse | Json:
        cancel = office.new_cancel()
        events = chat(
            office.desk,
            _turns(body.messages),
            intern=None if body.model == "auto" else body.model,
            knowledge=None,
            cancel=cancel,
        )
        if body.stream:
            chunks = from_worker(_chunks(events, body.model), cancel, office.stopping)
            return sse(_with_end(chunks))
        return await run_in_threadpool(_whole, events, body.model)

    return api


def _turns(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Keep what people and interns said: the system prompt is the charter's."""
    return [
        {"role": str(m.get("role")), "content": str(m.get("content"))}
        for m in messages
        if m.get("role") in {"user", "assistant"}
    ]


def _whole(events: Iterator[Json], model: str) -> Json:
    done: Json = {}
    for event in events:
        if event["event"] == "error":
            raise from_body(event)
        done = event
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": done.get("intern") or model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": done["text"]},
                "finish_reason": done.get("finish_reason", "stop"),
            }
        ],
        "usage": {
            "prompt_tokens": done["prompt_tokens"],
            "completion_tokens": done["tokens"],
            "total_tokens": done["prompt_tokens"] + done["tokens"],
        },
    }


def _chunks(events: Iterator[Json], model: str) -> Iterator[Json]:
    name, created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
    for event in events:
        match event["event"]:
            case "route":
                model = event["intern"] or model
                delta: Json = {"role": "assistant"}
                ended = None
            case "token":
                delta, ended = {"content": event["text"]}, None
            case "done":
                delta, ended = {}, event.get("finish_reason", "stop")
            case "error":
                yield {"error": {"message": event["error"], "code": event["code"]}}
                return
            case _:
                continue
        yield {
            "id": name,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": ended}],
        }


async def _with_end(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    async for chunk in chunks:
        yield chunk
    yield "data: [DONE]\n\n"
