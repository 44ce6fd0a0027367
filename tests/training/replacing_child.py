"""Puts a folder in another's place and is killed at the change of the disk that it is told."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from training.pretraining.folder import put_in_place

CHANGES = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def main(new: Path, out: Path, fatal: int) -> None:
    """Kill this process before change number `fatal`, from 0 on."""
    left = iter(range(fatal, -1, -1))

    def watch(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in CHANGES and next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    put_in_place(new, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
