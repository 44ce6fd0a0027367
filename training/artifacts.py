"""The folder of one run: its request, its events, what is done, and its outcome.

A run is resumed by starting it again: a step that finished left a mark, an unfinished step left
nothing but `.partial` files. One process works on a run at a time.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interns.errors import BrokenFile, Conflict, InternsError, InvalidInput, NoSpace

STEPS = ("ingest", "split", "tune", "export", "verify", "exam", "seal")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("no space left", "file too large", "disk quota", "os error 28", "os error 27")
_RESERVE_BYTES = 65536  # given back when the disk is full, so that the outcome can be written


class RunFolder:
    """One run on disk.

    Args:
        folder: Holds ``request.json``; everything the run makes lies below it.
        listener: Called with every event, after it was written.
    """

    def __init__(
        self, folder: Path, *, listener: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.work = self.folder / "work"
        self.version = self.folder / "version"
        self.partial = self.folder / "version.partial"
        self.curve = self.work / "curve.jsonl"
        self._listener = listener
        self._last_beat = 0.0
        self.current_step = STEPS[0]

    @property
    def finished(self) -> bool:
        """Whether the version is there and the outcome says so."""
        outcome = self.outcome()
        return self.version.is_dir() and outcome is not None and outcome["status"] == "passed"

    def request(self) -> dict[str, Any]:
        """Read ``request.json``.

        Raises:
            InvalidInput: It is missing or is not a JSON object.
        """
        path = self.folder / "request.json"
        try:
            value = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as e:
            raise InvalidInput(
                f"{self.folder} holds no request.json.", "Start it with `interns onboard`."
            ) from e
        except (ValueError, OSError) as e:
            raise InvalidInput(f"{path} cannot be read: {e}.", "Write it again.") from e
        if not isinstance(value, dict):
            raise InvalidInput(f"{path} is not a JSON object.", "Write it again.")
        return value

    def emit(self, step: str, kind: str, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Append one event: a line of JSON, whole or not at all."""
        self.current_step = step if step in STEPS else self.current_step
        event = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "step": step,
            "kind": kind,
            "text": text,
            "data": dict(data or {}),
        }
        line = json.dumps(event, ensure_ascii=False) + "\n"
        with saving(self.folder, "the run's events"), self._events().open("ab") as file:
            file.write(line.encode())
        if self._listener:
            self._listener(event)

    def beat(self, step: str, text: str, progress: float) -> None:
        """Emit a progress event, at most one a second."""
        now = time.monotonic()
        if now - self._last_beat >= 1.0:
            self._last_beat = now
            self.emit(step, "progress", text, {"progress": progress})

    def mark_file(self, step: str) -> Path:
        """Where the result of a finished step is kept."""
        return self.work / f"{step}.done.json"

    def done(self, step: str) -> Mapping[str, Any] | None:
        """What a finished step returned, or None when it still has to be done."""
        mark = self.mark_file(step)
        return dict(read_json(mark)) if mark.is_file() else None

    def mark(self, step: str, result: Mapping[str, Any]) -> None:
        """Record that a step is finished; it will not be done again."""
        write_json(self.mark_file(step), result)

    def finish(self, error: InternsError | None, extra: Mapping[str, Any] | None = None) -> None:
        """Write ``outcome.json``; `error` None means passed."""
        outcome = {
            "status": "failed" if error else "passed",
            "error": error.message if error else "",
            "fix": error.fix if error else "",
            "code": error.code if error else "",
            "exit_code": error.exit_code if error else 0,
            **(extra or {}),
        }
        if isinstance(error, NoSpace):
            (self.folder / "reserve").unlink(missing_ok=True)
        write_json(self.folder / "outcome.json", outcome)

    def outcome(self) -> dict[str, Any] | None:
        """The outcome of a finished run, else None."""
        path = self.folder / "outcome.json"
        return dict(read_json(path)) if path.is_file() else None

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the run's lock and prepare its folder.

        Raises:
            Conflict: Another process works on this run.
        """
        with (self.folder / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                lock.seek(0)
                raise Conflict(
                    f"Process {lock.read().strip() or '?'} is already working on this run.",
                    "Watch it with `interns runs watch`, or stop it first.",
                ) from e
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            self.work.mkdir(exist_ok=True)
            self._mend_events()
            if not self.finished:
                (self.folder / "outcome.json").unlink(missing_ok=True)
                shutil.rmtree(self.version, ignore_errors=True)
            with saving(self.folder, "the run's files"):
                (self.folder / "reserve").write_bytes(b"\0" * _RESERVE_BYTES)
            try:
                yield
            finally:
                (self.folder / "reserve").unlink(missing_ok=True)

    def _events(self) -> Path:
        return self.folder / "events.jsonl"

    def _mend_events(self) -> None:
        """Cut a last line that a killed process left half-written."""
        path = self._events()
        if path.is_file() and not (content := path.read_bytes()).endswith(b"\n") and content:
            path.write_bytes(content[: content.rfind(b"\n") + 1])


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with saving(path.parent, path.name):
        with partial.open("w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)


def read_json(path: Path) -> Any:
    """Read a JSON file of ours.

    Raises:
        BrokenFile: It is not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise BrokenFile(f"{path} is damaged: {e}.", "Delete the run and start it again.") from e


def require_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Refuse early when the disk cannot hold what is about to be written.

    Raises:
        NoSpace: Fewer than `needed_bytes` are free where `folder` lies.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise _no_space(folder, f"{what} needs {_mib(needed_bytes)}, but {_mib(free)} are free")


@contextmanager
def saving(folder: Path, what: str) -> Iterator[None]:
    """Turn "the disk is full", however a library says it, into one clear error.

    Raises:
        NoSpace: Something could not be written because the disk or a quota is full.
    """
    try:
        yield
    except InternsError:
        raise
    except Exception as e:
        said = str(e).casefold()
        full = isinstance(e, OSError) and e.errno in _FULL
        if full or any(word in said for word in _FULL_WORDS):
            raise _no_space(folder, f"{what} could not be written: {e}") from e
        raise


def _no_space(folder: Path, why: str) -> NoSpace:
    return NoSpace(
        f"The disk is full at {folder}: {why}.",
        "Free some space and start the same command again: it goes on where it stopped.",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
