"""Waiting for an answer as long as somebody listens."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request

T = TypeVar("T")

PAUSE_S = 0.2
# Threads of their own: answers that wait for the model must not hold up other calls. How many may
# wait is for the engine to say, which says it with a reason.
MOST = 1024


async def while_heard(request: Request, cancel: threading.Event, work: Callable[[], T]) -> T:
    """Return what `work` returns; a client that goes away sets `cancel`.

    Args:
        request: Whose client is watched; its body must have been read.
        cancel: Ends the work soon when set.
        work: Runs in a thread.
    """
    running = asyncio.ensure_future(run_sync(work, limiter=_limiter()))
    while not running.done():
        await asyncio.wait([running], timeout=PAUSE_S)
        if not running.done() and await request.is_disconnected():
            cancel.set()
    return running.result()


@cache
def _limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(MOST)
