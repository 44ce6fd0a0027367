"""llama.cpp itself, loaded once and in the right way; what it warns about is remembered."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from typing import Any

from interns.waiting import SETTINGS, wait_awake

_given = {name: os.environ.get(name) for name in SETTINGS}
wait_awake()
try:
    import llama_cpp
    import llama_cpp.llama_cpp as api
finally:
    for _name, _value in _given.items():
        if _value is None:
            os.environ.pop(_name, None)

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
