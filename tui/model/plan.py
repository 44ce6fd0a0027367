"""A planned onboarding as lines: what the data is, how it is split, what it will cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui.model.words import duration

HIDDEN = frozenset({"recipe"})  # forty numbers; the JSON has them


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """Return a plan in plain words, one fact a line; nested facts are indented."""
    shown = {key: value for key, value in plan.items() if key not in HIDDEN}
    return [line for key, value in shown.items() for line in _lines(key, value, 0)]


def _lines(key: str, value: Any, depth: int) -> list[str]:
    name = key.replace("_", " ")
    indent = "  " * depth
    if isinstance(value, Mapping):
        inner = [line for k, v in value.items() for line in _lines(str(k), v, depth + 1)]
        return [f"{indent}{name}", *inner] if inner else []
    if isinstance(value, list):
        if not value:
            return []
        if all(isinstance(one, str | int | float) for one in value):
            return [f"{indent}{name}: {', '.join(str(one) for one in value)}"]
        return [f"{indent}{name}", *(f"{indent}  {one}" for one in value)]
    return [f"{indent}{_fact(name, value)}"] if value not in {None, ""} else []


def _fact(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"{name}: {'yes' if value else 'no'}"
    for ending in (" seconds", " s"):
        if name.endswith(ending) and isinstance(value, int | float):
            return f"{name.removesuffix(ending)}: about {duration(value)}"
    if name.endswith(" bytes") and isinstance(value, int | float):
        return f"{name.removesuffix(' bytes')}: about {value / 1e6:.0f} MB"
    return f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}"
