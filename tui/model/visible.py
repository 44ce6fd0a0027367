"""Characters that deceive or steer a terminal, made visible."""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\n\t")
_JOINERS = frozenset("\u200c\u200d")  # needed inside Persian, Indic scripts and emoji


def visible(text: str) -> str:
    """Return `text` with control, zero-width and direction characters written as ``<U+200B>``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def deceptive(text: str) -> list[str]:
    """Return the names of hidden characters in `text`, each once, in order of appearance."""
    found = dict.fromkeys(character for character in text if _hidden(character))
    return [unicodedata.name(character, f"control {ord(character):02X}") for character in found]


def _shown(character: str) -> str:
    return f"<U+{ord(character):04X}>" if _hidden(character) else character


def _hidden(character: str) -> bool:
    if character in _KEPT or character in _JOINERS:
        return False
    return unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
