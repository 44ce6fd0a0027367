"""Wait for something to become true. The limits only end what hangs: a busy machine takes long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from orchestrator.service import Office


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def settled(office: Office, task_id: int, *, but: str = "") -> dict[str, Any]:
    """Return the task once it is neither queued, running, nor in status `but`."""

    def look() -> dict[str, Any] | None:
        task = office.task(task_id)
        return None if task["status"] in {"queued", "running", but} else task

    found: dict[str, Any] = until(look)
    return found
