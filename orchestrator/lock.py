"""One daemon per data directory: a file lock that names its owner.

The lock itself is the kernel's (`flock`), so that of a killed daemon is free at once; the pid inside
is only there to be read. A stale file is therefore never in the way.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from interns.errors import Conflict


class DaemonLock:
    """Held by the daemon for as long as it lives.

    Args:
        path: The lock file; made when missing, never removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock and write our pid into it.

        Raises:
            Conflict: Another daemon holds it; its pid is named.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = _pid_in(file)
            file.close()
            raise Conflict(
                f"A daemon already runs for {self.path.parent}: pid {pid or 'unknown'}.",
                "Use it, or end it with `interns stop`.",
            ) from error
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the lock back; safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def lock_owner(path: Path) -> int | None:
    """Return the pid of whoever holds the lock at `path`, 0 if unreadable, None when it is free."""
    try:
        with path.open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return _pid_in(file)
    except FileNotFoundError:
        return None
    return None


def _pid_in(file: IO[str]) -> int:
    file.seek(0)
    text = file.read(32).strip()
    return int(text) if text.isdigit() else 0
