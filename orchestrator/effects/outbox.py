"""Files in the office's outbox: written whole or not at all, never over another file."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

from interns.errors import InvalidInput, NoSpace
from orchestrator.effects import Delivery, Json, Trace
from orchestrator.errors import EffectRefused

MAX_NAME = 200  # bytes, of the 255 that file systems take


class OutboxHandler:
    """Writes one text file.

    Args:
        folder: The outbox; made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, target: str) -> str:
        """Return the file name, relative to the outbox; empty is named after the task later.

        Raises:
            InvalidInput: It lies outside the outbox or exists already.
        """
        if target and self._path(target).exists():
            raise InvalidInput(
                f"{target!r} is already in the outbox {self.folder}.",
                "Choose another name; nothing in the outbox is overwritten.",
            )
        return target

    def trace(self, delivery: Delivery) -> Trace:
        """Compare the file with the approved text."""
        path = self._path(delivery.target)
        if not path.exists():
            return "absent"
        return "done" if path.read_bytes() == delivery.payload.encode() else "unknown"

    def perform(self, delivery: Delivery) -> Json:
        """Write the file and make sure that it is on the disk.

        Raises:
            EffectRefused: Another file has that name, or it cannot be written.
            NoSpace: The disk is full; nothing was written.
        """
        path = self._path(delivery.target)
        data = delivery.payload.encode()
        stem = hashlib.sha256(delivery.key.encode()).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{stem}.partial"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _publish(partial, path)
        except OSError as error:
            if path.is_file() and path.read_bytes() == data:
                pass  # an earlier attempt got this far
            elif error.errno == errno.ENOSPC:
                raise NoSpace(f"The disk of {self.folder} is full.", "Free some space.") from error
            else:
                raise EffectRefused(
                    f"{delivery.target!r} cannot be written in {self.folder}: {error.strerror}; "
                    "what was there was kept.",
                    "Submit the task again with another file name.",
                ) from error
        finally:
            partial.unlink(missing_ok=True)
        return {
            "path": str(path),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def _path(self, name: str) -> Path:
        root = self.folder.resolve()
        parts = name.split("/")
        if "\0" in name or any(len(part.encode()) > MAX_NAME for part in parts):
            raise InvalidInput(f"{name[:60]!r} is no file name.", "Give a shorter, plain name.")
        path = (root / name).resolve()
        if path == root or not path.is_relative_to(root):
            raise InvalidInput(
                f"{name!r} lies outside the outbox {self.folder}.",
                "Give a file name relative to the outbox, such as replies/one.txt.",
            )
        return path


def _publish(partial: Path, path: Path) -> None:
    """Give a finished file its name, never over another one.

    Raises:
        OSError: The name is taken, or cannot be given.
    """
    try:
        os.link(partial, path)  # unlike a rename, fails when the name is taken
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.ENOTSUP} or path.exists():
            raise
        partial.replace(path)  # a file system without links
