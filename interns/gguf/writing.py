"""Files that are either whole or absent, also when the disk is full."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interns.errors import NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors and NumPy raise errors that carry no number.
_SIGNS = ("no space left", "file too large", "os error 28", "os error 27")


@contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """Give a temporary path beside `out`; move it there, synced, when the block ends well.

    Raises:
        NoSpace: The disk is full; nothing is left behind.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(out)
    except Exception as error:
        if _disk_full(error):
            raise NoSpace(
                f"The disk is full: {out.name} could not be written.",
                f"Free some space where {out.parent} lies, then run the same command again.",
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def _disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS) or (" requested and " in text and "written" in text)
