"""Who a message is for: ``@name`` at its start."""

from __future__ import annotations

import re

_MENTION = re.compile(r"@([a-z0-9][a-z0-9-]{0,39})(?:\s+|$)")


def mention(text: str) -> tuple[str | None, str]:
    """Return the intern named at the start of `text`, or None, and the text without the name."""
    stripped = text.strip()
    found = _MENTION.match(stripped)
    if found is None:
        return None, stripped
    return found.group(1), stripped[found.end() :].strip()


def completions(text: str, names: list[str]) -> list[str]:
    """Return the names that a half-written ``@na`` at the start of `text` may become."""
    stripped = text.lstrip()
    if not stripped.startswith("@") or " " in stripped:
        return []
    return [name for name in names if name.startswith(stripped[1:])]
