"""How the C library hands out memory while something is trained on a CPU."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD = -1, -2  # mallopt(3)
_LARGEST = 2**31 - 1
_PAD = 2**28


def keep_freed_memory() -> None:
    """Let the heap keep what is freed instead of giving it back and asking for it again.

    A step of training makes and frees the same tensors. With glibc's defaults the heap shrinks and
    grows with each, and every new page is cleared by the system first: without that a step of
    pre-training was 1.3 times as fast (10 M parameters, 6,144 tokens, two cores). Large blocks stay
    mappings of their own: in the heap, tensors of changing sizes would leave ever more holes.
    Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _LARGEST)
        library.mallopt(_TOP_PAD, _PAD)
