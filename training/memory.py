"""How the C library hands out memory while something is trained on a CPU."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # mallopt(3)
_LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Let freed memory be used again by this process instead of going back to the system.

    A step of training makes and frees the same large tensors; with glibc's defaults each comes as
    new pages that the system must clear first. Keeping them made a step of pre-training 1.3 times as
    fast (10 M parameters, 6,144 tokens, two cores). Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 2**28)):
        library.mallopt(name, value)
