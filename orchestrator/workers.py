"""Threads that keep tasks moving, and the clock that cleans up after crashes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Engine

from orchestrator import ledger
from orchestrator.queue import owner_name, release_dead, runnable

THREADS = 2
LOOK_S = 2.0
CLEAN_S = 5.0
LATER_S = 2.0

log = logging.getLogger(__name__)


class Workers:
    """Drives every run that can go on.

    Args:
        engine: The office's database.
        drive: Moves one run on, given its id and who holds it; ``later`` asks for a pause.
    """

    def __init__(self, engine: Engine, drive: Callable[[str, str], str]) -> None:
        self._engine = engine
        self._drive = drive
        self._changed = threading.Condition()
        self._woken = 0
        self._stopping = threading.Event()
        self._busy: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._threads: list[threading.Thread] = []
        self._cleaned = 0.0

    def start(self) -> None:
        """Free what dead processes held and start working."""
        release_dead(self._engine)
        for number in range(THREADS):
            thread = threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def wake(self) -> None:
        """Say that there may be work."""
        with self._changed:
            self._woken += 1
            self._changed.notify_all()

    def stop(self, timeout_s: float) -> None:
        """Take no more work and wait up to `timeout_s` seconds for what runs."""
        self._stopping.set()
        self.wake()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        owner = owner_name()
        while not self._stopping.is_set():
            seen = self._woken
            try:
                self._clean()
                moved = self._drive_one(owner)
            except Exception:
                log.exception("a worker stumbled")
                moved = False
            if not moved:
                self._wait(seen)

    def _wait(self, seen: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._woken != seen or self._stopping.is_set(), LOOK_S)

    def _drive_one(self, owner: str) -> bool:
        for run_id in runnable(self._engine):
            with self._changed:
                if run_id in self._busy or time.monotonic() < self._not_before.get(run_id, 0):
                    continue
                self._busy.add(run_id)
            try:
                if self._drive(run_id, owner) == "later":
                    self._not_before[run_id] = time.monotonic() + LATER_S
                else:
                    self._not_before.pop(run_id, None)
            finally:
                with self._changed:
                    self._busy.discard(run_id)
            return True
        return False

    def _clean(self) -> None:
        with self._changed:
            due = time.monotonic() - self._cleaned >= CLEAN_S
            if due:
                self._cleaned = time.monotonic()
        if due:
            release_dead(self._engine)
            ledger.expire(self._engine)
