"""Where requests wait until the engine's thread takes them: bounded, and closed for good at the end."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from interns.errors import Busy, InternsError, Unavailable
from interns.runtime.llama_cpp.jobs import Job
from interns.runtime.llama_cpp.path import Path

_WEIGHT = 0.2
_MOST_RETRY_S = 60


@dataclass(frozen=True, eq=False)
class Move:
    """To another path; None is the path that can answer everything.

    Attributes:
        path: From now on the receiver's.
        done: Empty, or which request stood against it; fails with what kept the path from opening.
    """

    path: Path | None
    done: Future[str] = field(default_factory=Future)

    def carry_out(self, go: Callable[[Path | None], str]) -> None:
        """Go, and tell who waits for it how that went, whatever happens."""
        try:
            self.done.set_result(go(self.path))
        except InternsError as error:
            self.done.set_exception(error)
        except BaseException as error:
            self.done.set_exception(error)
            raise

    def refuse(self, why: str) -> None:
        """Close the path and say why it was not taken."""
        if self.path is not None:
            self.path.close()
        self.done.set_result(why)


class Intake:
    """Filled from any thread, emptied by the owner thread.

    Args:
        most: Requests in progress and waiting together; further ones are refused.

    Attributes:
        jobs: Requests in progress and waiting.
        closed: Whether nothing is taken in any more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: queue.SimpleQueue[Job | Move | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.closed = False
        self.jobs = 0
        self._usual_s = 1.0

    def submit(self, job: Job) -> None:
        """Take in a request.

        Raises:
            Busy: Too many wait already.
            Unavailable: The engine was closed.
        """
        with self._lock:
            if self.closed:
                raise Unavailable("The engine is closed.", "Start it again.")
            if self.jobs >= self._most:
                seconds = max(1, min(_MOST_RETRY_S, math.ceil(self._usual_s)))
                raise Busy(
                    f"The engine is busy: {self.jobs} requests are in progress or wait.",
                    f"Try again in about {seconds} s, or raise engine.queue.",
                    seconds,
                )
            self.jobs += 1
            self._items.put(job)

    def move(self, move: Move) -> None:
        """Take in a move; it is refused when the engine was closed."""
        with self._lock:
            if not self.closed:
                self._items.put(move)
                return
        move.refuse("the engine was closed")

    def done(self, seconds: float) -> None:
        """A request is over after so many seconds."""
        with self._lock:
            self.jobs -= 1
            self._usual_s += _WEIGHT * (seconds - self._usual_s)

    def close(self) -> None:
        """Take in nothing any more, and wake the owner thread. Safe to call twice."""
        with self._lock:
            if not self.closed:
                self.closed = True
                self._items.put(None)

    def get(self) -> Job | Move | None:
        """The next item, waiting for it; None when the engine is to end."""
        return self._items.get()

    def gather(self) -> None:
        """Let threads that are about to submit do so, since a burst is best read in one batch.

        Costs a single request one yield of the interpreter; ends when nobody comes any more.
        """
        before = -1
        while before < len(self):
            before = len(self)
            time.sleep(0)

    def empty(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._items.empty()

    def __len__(self) -> int:
        return self._items.qsize()
