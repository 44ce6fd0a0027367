"""Server-sent events out of ordinary generators, ended in order when the office stops."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from interns.errors import InternsError, Unavailable
from orchestrator.errors import to_body

Json = dict[str, Any]

PAUSE_S = 0.2
HEARTBEAT = ": still here\n\n"
HEARTBEAT_EVERY = 50  # pauses


def sse(events: AsyncIterator[str]) -> StreamingResponse:
    """Return a response that streams `events`."""
    return StreamingResponse(
        events,
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def line(event: Json) -> str:
    """Return one event on the wire."""
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n"


def error_event(error: InternsError) -> Json:
    """Return the event that tells an error."""
    return {"event": "error", **to_body(error)}


def stopped(told: Callable[[InternsError], Json] = error_event) -> Json:
    """Return the event a stream ends with when the office stops."""
    return told(Unavailable("The office is stopping.", "Run the command again in a moment."))


async def from_worker(
    events: Iterator[Json],
    cancel: threading.Event,
    stopping: threading.Event,
    told: Callable[[InternsError], Json] = error_event,
) -> AsyncIterator[str]:
    """Pass on what a generator in a thread produces; a client that leaves cancels it.

    Args:
        events: What to pass on.
        cancel: Set when the client is gone.
        stopping: Set when the office stops.
        told: How an error looks in this stream.
    """
    queue: asyncio.Queue[Json | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def produce() -> None:
        try:
            for event in events:
                loop.call_soon_threadsafe(queue.put_nowait, event)
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=produce, name="answer", daemon=True).start()
    try:
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), PAUSE_S)
            except TimeoutError:
                if stopping.is_set():
                    yield line(stopped(told))
                    return
                continue
            if event is None:
                return
            yield line(stopped(told) if stopping.is_set() and _cut(event) else event)
    finally:
        cancel.set()


async def from_polls(
    poll: Callable[[], tuple[list[Json], bool]], stopping: threading.Event
) -> AsyncIterator[str]:
    """Pass on what repeated calls return; the flag says that nothing more will come."""
    quiet = 0
    while not stopping.is_set():
        fresh, ended = await run_in_threadpool(poll)
        for event in fresh:
            yield line(event)
        if ended:
            return
        if not fresh:
            quiet += 1
            if quiet % HEARTBEAT_EVERY == 0:
                yield HEARTBEAT
            await asyncio.sleep(PAUSE_S)
    yield line(stopped())


def _cut(event: Json) -> bool:
    """Whether this is the end of an answer that the stopping office cut short."""
    return "error" in event or event.get("finish_reason") == "cancelled"
