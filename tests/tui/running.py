"""Run the real command in a process of its own, and wait for what a screen shows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interns.paths import Paths
from orchestrator.client import OfficeClient

ROOT = Path(__file__).parent.parent.parent
SMALL_ENGINE = {
    "INTERNS_ENGINE_THREADS": "1",
    "INTERNS_ENGINE_CONTEXT_TOKENS": "1024",
    "INTERNS_ENGINE_SLOTS": "2",
    "OMP_NUM_THREADS": "1",
}
WAIT_S = 90.0  # only ends what hangs: a busy machine takes long


def environment(paths: Paths, **more: str) -> dict[str, str]:
    """The environment of a command for `paths`, without this machine's habits."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in {"CI", "NO_COLOR", "INTERNS_NO_INPUT", "SSH_CONNECTION"}
    }
    return kept | SMALL_ENGINE | {"INTERNS_HOME": str(paths.home), "PYTHONPATH": str(ROOT)} | more


def interns(
    paths: Paths, *words: str, stdin: str = "", cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `interns WORDS` without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "tui", *words],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(paths, **more),
        cwd=cwd,
        timeout=300,
        check=False,
    )


def answer(paths: Paths, *words: str, code: int = 0, **more: str) -> Any:
    """Run `interns WORDS --json`, check the exit status and return what stdout says."""
    done = interns(paths, *words, "--json", **more)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def parked(office: OfficeClient, text: str, **options: Any) -> dict[str, Any]:
    """Submit a task and return the approval it waits for."""
    task = office.wait_task(office.submit(text, **options)["id"], 60)
    assert task["status"] == "waiting", task
    return office.approval(task["approval_id"])


def eventually(check: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
    """Wait until `check` returns something true, and return it."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not in {wait_s} s: {what}")


async def until(check: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
    """Like `eventually`, while an app runs in this loop."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        if found := check():
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"not in {wait_s} s: {what}")
