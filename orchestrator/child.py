"""A training child as the office sees it: a process of its own and the files it writes."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from interns.errors import InternsError, Unavailable
from orchestrator.errors import from_body

Json = dict[str, Any]

STOP_S = 10.0
CANCEL_S = 0.2

log = logging.getLogger(__name__)


def spawn(folder: Path) -> subprocess.Popen[bytes]:
    """Start a child on a run folder; it belongs to no terminal and outlives this process."""
    (folder / "outcome.json").unlink(missing_ok=True)
    with (folder / "child.log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "training", "run", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def plan(folder: Path) -> Json:
    """Return what a child would do with a run folder; trains nothing.

    Raises:
        InternsError: What the child said instead.
    """
    done = subprocess.run(
        [sys.executable, "-m", "training", "plan", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise _told(done.stderr or done.stdout, done.returncode)
    report: Json = json.loads(done.stdout)
    return report


def stream(
    command: str, folder: Path, cancel: threading.Event, environment: Mapping[str, str]
) -> Iterator[Json]:
    """Run a child and yield the JSON lines it writes; it ends with the caller.

    Args:
        command: Of ``python -m training``.
        folder: Holds its ``request.json``.
        cancel: Ends it when set.
        environment: Added to this process's own.

    Raises:
        Unavailable: It was cancelled.
        InternsError: What the child said when it failed.
    """
    errors = (folder / "child.log").open("w+b")
    process = subprocess.Popen(
        [sys.executable, "-m", "training", command, str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
        env={**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", **environment},
    )
    try:
        yield from _lines(process, cancel)
        code = process.wait()
        errors.seek(0)
        if code != 0:
            raise _told(errors.read().decode("utf-8", "replace"), code)
    finally:
        if process.poll() is None:
            end(process.pid, started(process.pid))
            process.wait()
        errors.close()


def started(pid: int) -> float | None:
    """Return when a process began, in epoch seconds: with its pid, that names it for good."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def alive(pid: int | None, began: float | None) -> bool:
    """Whether the process with this pid and start still runs."""
    if pid is None:
        return False
    try:
        process = psutil.Process(pid)
        same = began is None or abs(process.create_time() - began) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def end(pid: int | None, began: float | None) -> None:
    """End a child and everything it started: politely, then not."""
    if pid is None or not alive(pid, began):
        return
    kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while alive(pid, began):
        if time.monotonic() > deadline:
            kill(pid)
            return
        time.sleep(0.05)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a child and everything it started."""
    try:
        os.killpg(pid, number)  # the child leads its own session
    except ProcessLookupError:
        log.debug("process %d was gone", pid)


def write_json(path: Path, value: Json) -> None:
    """Write a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> Json | None:
    """Return a file's object, None when there is none or only half of one."""
    try:
        value: Json = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value


def read_lines(path: Path, offset: int) -> tuple[list[Json], int]:
    """Return the whole JSON lines after byte `offset`, and where the next ones begin."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    found = []
    for line in whole.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            log.warning("skipped a broken line of %s", path)
    return found, offset + len(whole)


def _lines(process: subprocess.Popen[bytes], cancel: threading.Event) -> Iterator[Json]:
    """Yield a child's JSON lines as they come."""
    arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def read() -> None:
        for line in process.stdout or ():
            arrived.put(line)
        arrived.put(None)

    threading.Thread(target=read, name="child-output", daemon=True).start()
    while True:
        if cancel.is_set():
            raise Unavailable("Stopped.", "The same command goes on from there.")
        try:
            line = arrived.get(timeout=CANCEL_S)
        except queue.Empty:
            continue
        if line is None:
            return
        try:
            yield json.loads(line)
        except ValueError:
            log.warning("a child wrote %r", line[:200])


def _told(output: str, exit_code: int) -> InternsError:
    """Return the error a child described in its last JSON line, or its last line."""
    lines = [line for line in output.splitlines() if line.strip()]
    for line in reversed(lines):
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if isinstance(body, dict) and "error" in body:
            return from_body(body)
    last = lines[-1] if lines else "no output"
    if exit_code == -signal.SIGKILL:
        last = "it was killed, perhaps for memory"
    return InternsError(
        f"The child process ended with status {exit_code}: {last}.", "Try again; see its log."
    )
