"""A thing that takes seconds to load, loaded once in a background thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from interns.errors import InternsError, Unavailable

T = TypeVar("T")
State = Literal["idle", "loading", "ready", "failed"]

log = logging.getLogger(__name__)


class Lazy(Generic[T]):
    """Loads when first needed, or earlier with `warm`; callers of `get` wait for it.

    A failed load is told to everyone who waited; the next `get` tries again.

    Args:
        name: For messages and the status.
        load: Makes the thing; called in a thread of its own.
    """

    def __init__(self, name: str, load: Callable[[], T]) -> None:
        self.name = name
        self._load = load
        self._changed = threading.Condition()
        self._state: State = "idle"
        self._value: T | None = None
        self._error: Exception | None = None

    @property
    def state(self) -> State:
        """How far loading is."""
        return self._state

    def warm(self) -> None:
        """Start loading and return at once."""
        with self._changed:
            if self._state in {"idle", "failed"}:
                self._state, self._error = "loading", None
                threading.Thread(target=self._run, name=f"load-{self.name}", daemon=True).start()

    def get(self, timeout_s: float = 180.0) -> T:
        """Return the thing, waiting for it to load.

        Raises:
            Unavailable: It is still loading after `timeout_s` seconds.
            InternsError: Why it cannot be loaded.
        """
        self.warm()
        with self._changed:
            if not self._changed.wait_for(lambda: self._state != "loading", timeout_s):
                raise Unavailable(f"The {self.name} is still loading.", "Try again in a moment.")
            if self._error is not None:
                raise self._error
            assert self._value is not None, "ready means loaded"  # noqa: S101 - our own invariant
            return self._value

    def peek(self) -> T | None:
        """Return the thing if it is loaded."""
        return self._value if self._state == "ready" else None

    def replace(self, value: T | None, timeout_s: float = 180.0) -> T | None:
        """Put another thing in place of what there is, waiting for a load in progress.

        Args:
            value: The thing, ready to use; None means that the next `get` loads one.
            timeout_s: Seconds to wait.

        Returns:
            What was there, if it was loaded.

        Raises:
            Unavailable: The present one is still loading after `timeout_s` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._state != "loading", timeout_s):
                raise Unavailable(f"The {self.name} is still loading.", "Try again in a moment.")
            before = self._value if self._state == "ready" else None
            self._value, self._error = value, None
            self._state = "idle" if value is None else "ready"
            self._changed.notify_all()
        return before

    def _run(self) -> None:
        value: T | None = None
        error: Exception | None = None
        try:
            value = self._load()
        except InternsError as caught:
            error = caught
        except Exception as caught:
            log.exception("loading the %s failed", self.name)
            error = InternsError(
                f"The {self.name} cannot be loaded: {caught}.", "See `interns doctor`."
            )
        with self._changed:
            self._value, self._error = value, error
            self._state = "ready" if error is None else "failed"
            self._changed.notify_all()
