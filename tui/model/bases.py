"""Bases as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]

# What huggingface_hub is told by; passed on, because the daemon was started by another shell.
_HUB = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HOME", "HTTPS_PROXY", "HTTP_PROXY")


def hub_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of the hub in a shell's environment."""
    return {name: environment[name] for name in _HUB if name in environment}


def base_rows(found: Iterable[Json]) -> list[tuple[str, ...]]:
    """Rows of the table: name, status, family, type, size, memory to serve and train, licence."""
    return [
        (
            str(one["name"]),
            status_words(one),
            str(one.get("family") or ""),
            str(one.get("file_type") or "Q8_0"),
            size_words(one.get("bytes")),
            size_words(one.get("serve_bytes")),
            size_words(one.get("train_bytes")),
            str(one.get("licence") or ""),
        )
        for one in found
    ]


def status_words(base: Mapping[str, Any]) -> str:
    """Where a base stands: in use, here, not verified, to be pulled, gated."""
    if not base.get("here", True):
        return "gated" if base.get("gated") else "to pull"
    if base.get("in_use"):
        return "in use"
    return "here" if base.get("verified") else "not verified"


def size_words(size: float | None) -> str:
    """Bytes as MB or GB; nothing where they are not known."""
    if not size:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
