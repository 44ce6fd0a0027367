"""The screens' link to the office: connects in the background, follows events, comes back.

Everything that may wait for long runs in daemon threads of its own, so that leaving the screens
never waits for the office.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from interns.errors import InternsError, Unavailable
from interns.paths import Paths

if TYPE_CHECKING:
    from orchestrator.client import OfficeClient

RETRY_S = 2.0


class Link:
    """One client for all screens.

    Args:
        paths: The office.
        heard: Called from any thread with the kinds of what happened; ``link`` when the link
            itself changed.
    """

    def __init__(self, paths: Paths, heard: Callable[[frozenset[str]], None]) -> None:
        self.paths = paths
        self.state = "starting the office"
        self.problem: InternsError | None = None
        self._heard = heard
        self._client: OfficeClient | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._was_open = False

    @property
    def connected(self) -> bool:
        """Whether the office answered last time."""
        return self._client is not None

    def open(self) -> None:
        """Connect and follow events in the background."""
        threading.Thread(target=self._live, name="office-events", daemon=True).start()

    def close(self) -> None:
        """Stop following; waits for nothing."""
        self._closed.set()
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def office(self) -> OfficeClient:
        """Return a client, starting the daemon if it is gone. May take seconds: call in a thread.

        Raises:
            InternsError: The office cannot be reached.
        """
        return self._connect(start=True)

    def follow(
        self,
        events: Callable[[OfficeClient], Iterable[dict[str, Any]]],
        take: Callable[[dict[str, Any]], bool],
        failed: Callable[[InternsError], None],
    ) -> None:
        """Pass a stream of events on from a thread of its own.

        Args:
            events: Opens the stream.
            take: Called with each event in that thread; False ends the stream.
            failed: Called when the stream ends with an error.
        """

        def run() -> None:
            try:
                stream = events(self.office())
                for event in stream:
                    if self._closed.is_set() or not take(event):
                        break
                close = getattr(stream, "close", None)
                if close is not None:
                    close()
            except InternsError as error:
                if not self._closed.is_set():
                    failed(error)
            except Exception:
                if not self._closed.is_set():  # a client closed under a stream is no news
                    raise

        threading.Thread(target=run, name="office-stream", daemon=True).start()

    def _live(self) -> None:
        start = True
        while not self._closed.is_set():
            try:
                self._listen(start=start)
                problem: InternsError = Unavailable(
                    "The office closed.", "Any action opens it again."
                )
            except InternsError as error:
                problem = error
            except Exception:
                if not self._closed.is_set():
                    raise
                return
            start = start and not self._was_open  # what a person stopped is not started again
            self._lost()
            self._set_state("closed", problem)
            self._closed.wait(RETRY_S)

    def _listen(self, *, start: bool) -> None:
        """Follow events until the office ends the stream."""
        client = self._connect(start=start)
        self._was_open = True
        self._set_state("ready", None)
        for event in client.events(after=None):
            if self._closed.is_set():
                return
            self._heard(frozenset({str(event.get("kind", ""))}))

    def _connect(self, *, start: bool) -> OfficeClient:
        from orchestrator.client import OfficeClient

        with self._lock:
            if self._client is None:
                self._client = OfficeClient.connect(self.paths, start=start)
            return self._client

    def _lost(self) -> None:
        with self._lock:
            self._client = None

    def _set_state(self, state: str, problem: InternsError | None) -> None:
        if (state, str(problem)) != (self.state, str(self.problem)):
            self.state, self.problem = state, problem
            self._heard(frozenset({"link"}))
