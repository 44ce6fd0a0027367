"""The folder that a command fills: by one process at a time, without what a killed one left."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interns.errors import Conflict, InvalidInput
from training.artifacts import saving


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        InvalidInput: A file is in the way, or nothing may be written there.
        NoSpace: The disk is full.
    """
    with _explained(path), saving(path.parent, path.name):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Make a folder, lock it, and clear half-written files: nobody else can be writing them.

    Raises:
        Conflict: Another process works there.
        InvalidInput: It cannot be made.
    """
    make_folder(folder)
    with _explained(folder), saving(folder, "lock"):
        lock = (folder / "lock").open("a")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"Another process is working in {folder}.", "Wait for it, or end it first."
            ) from error
        for left in folder.rglob(".*.partial"):
            left.unlink(missing_ok=True)
        yield


def put_in_place(new: Path, out: Path) -> None:
    """Rename a folder to `out`, where another may lie.

    That one is put aside as ``NAME.replaced`` first and deleted last: whenever the process is
    killed, a whole folder lies in one of both places.
    """
    aside = out.with_name(f"{out.name}.replaced")
    if os.path.lexists(out):
        _delete(aside)
        out.rename(aside)
    new.rename(out)
    _delete(aside)


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InvalidInput(
            f"{path} cannot be the folder to write into: {error.strerror} ({error.filename}).",
            "Give another folder, one that may be written.",
        ) from error
