"""An endpoint over HTTP, asked from any thread and left at any moment.

A thread cannot leave a socket that it waits for. So one loop does all the waiting, and whoever
leaves ends a task there: the connection closes, and the far end computes no more for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import Any, TypeVar

import httpx

from interns.errors import Incompatible, InternsError, Unavailable
from interns.runtime.openai_answers import read_error, read_event

Json = dict[str, Any]
Events = SimpleQueue[Json | InternsError | None]
Over = Callable[[], InternsError | None]
"""Looked at while an answer is waited for: why nobody wants it any more, if so."""

T = TypeVar("T")

LOOK_S = 0.05  # between two looks whether an answer is still wanted
_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
# llama-server ends connections that it promised to keep, now and then under the next request.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=0)


class Endpoint:
    """A base address, its token and the connections to it.

    Args:
        url: What every path is appended to.
        token: Bearer token, may be empty.
    """

    def __init__(self, url: str, token: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=_TIMEOUT, limits=_LIMITS, trust_env=False
        )
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._finalizer = weakref.finalize(self, self._loop.call_soon_threadsafe, self._loop.stop)
        threading.Thread(
            target=_run, args=(self._loop, self._http), name="endpoint", daemon=True
        ).start()

    def ask(
        self,
        path: str,
        body: Json | None = None,
        *,
        over: Over = lambda: None,
    ) -> httpx.Response:
        """Return what a path answers, refusals too; with a body it is posted.

        Args:
            path: Behind the base address.
            body: What to post, or None to get.
            over: Looked at while waiting.

        Raises:
            Unavailable: It does not answer.
            InternsError: What `over` returned.
        """
        with self.told():
            method = "GET" if body is None else "POST"
            coming = self._begin(self._http.request, method, path, json=body)
            while not (why := over()):
                with contextlib.suppress(TimeoutError):
                    return coming.result(timeout=LOOK_S)
            coming.cancel()
            raise why

    def listen(self, path: str, body: Json, events: Events) -> Future[None]:
        """Post and put the events of the answer into a queue; None or an error is the last.

        Returns:
            What to cancel in order to leave.
        """
        return self._begin(self._receive, path, body, events)

    def close(self) -> None:
        """Close the connections; whoever waits gets `errors.Unavailable`."""
        with self._lock:
            self._closed = True
        self._finalizer()

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Turn what goes wrong while an answer is waited for or read into errors that help."""
        try:
            yield
        except InternsError:
            raise
        except (httpx.HTTPError, httpx.StreamError, RuntimeError, CancelledError) as error:
            if self._closed:
                raise _closed() from error
            raise Unavailable(
                f"The endpoint {self.url} does not answer: {error}.",
                "Check engine.url and that the server runs.",
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Incompatible(
                f"The endpoint {self.url} answers in another dialect: {error!r}.",
                "Check engine.url; it usually ends in /v1.",
            ) from error

    def _begin(
        self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **more: Any
    ) -> Future[T]:
        with self._lock:  # what is begun before `close` is ended by it
            if self._closed:
                raise _closed()
            return asyncio.run_coroutine_threadsafe(work(*args, **more), self._loop)

    async def _receive(self, path: str, body: Json, events: Events) -> None:
        try:
            with self.told():
                async for event in self._events(path, body):
                    events.put(event)
            events.put(None)
        except InternsError as error:
            events.put(error)
        except asyncio.CancelledError:
            events.put(_closed())  # who left reads it no more
            raise

    async def _events(self, path: str, body: Json) -> AsyncIterator[Json]:
        async with self._http.stream("POST", path, json=body) as response:
            if response.is_error:
                await response.aread()
                raise read_error(response)
            async for line in response.aiter_lines():
                event = read_event(line)
                if event is not None:
                    yield event


def _closed() -> Unavailable:
    return Unavailable("The engine is closed.", "Start it again.")


def _run(loop: asyncio.AbstractEventLoop, http: httpx.AsyncClient) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        loop.run_forever()
        runner.run(_end(http))


async def _end(http: httpx.AsyncClient) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await http.aclose()
