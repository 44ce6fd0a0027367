"""Keys and what they do, as aligned lines."""

from __future__ import annotations

from collections.abc import Iterable

_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
}


def key_words(key: str) -> str:
    """Return a key's name as people write it: ``?`` for ``question_mark``."""
    *modifiers, last = key.split("+")
    return "+".join([*modifiers, _NAMES.get(last, last)])


def help_lines(keys: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return one line a key.

    Args:
        keys: Key, what it does, and why it does nothing now (empty when it works).
    """
    rows = [(key, text, reason) for key, text, reason in keys if text]
    width = max((len(key) for key, _, _ in rows), default=0)
    return [
        f"{key.ljust(width)}  {text}" + (f"  (not now: {reason})" if reason else "")
        for key, text, reason in rows
    ]
