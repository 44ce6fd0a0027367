"""llama.cpp itself, loaded once and in the right way; what it warns about is remembered."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from typing import Any

_SPINNING = "OMP_WAIT_POLICY"
_previous = os.environ.get(_SPINNING)
# Threads that spin while they wait make decoding a hundred times slower as soon as another process
# (a training run) wants the same cores. OpenMP reads this once, when the library is loaded.
os.environ.setdefault(_SPINNING, "passive")
try:
    import llama_cpp
    import llama_cpp.llama_cpp as api
finally:
    if _previous is None:
        del os.environ[_SPINNING]

__all__ = ["api", "forget_messages", "last_messages", "llama_cpp"]

_messages: deque[str] = deque(maxlen=20)


def _remember(level: int, text: bytes, _data: Any) -> None:
    if level >= 3:  # GGML_LOG_LEVEL_WARN
        _messages.append(text.decode("utf-8", "replace").strip())


_callback = api.llama_log_callback(_remember)
api.llama_log_set(_callback, ctypes.c_void_p(0))


def last_messages() -> list[str]:
    """Latest warnings and errors of llama.cpp, oldest first."""
    return list(_messages)


def forget_messages() -> None:
    """Begin anew, so that what comes belongs to the next call."""
    _messages.clear()
