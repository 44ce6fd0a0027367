"""What a verification says to people, be it of an adapter or of a base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def engine_words(verification: Mapping[str, Any]) -> str:
    """Where llama.cpp computed what was verified, such as ``CUDA, 99 layers on the GPU``.

    Args:
        verification: Content of ``verification.json``; empty words where it does not tell.
    """
    backend, layers = verification.get("backend"), verification.get("gpu_layers", 0)
    if not backend:
        return ""
    parts = (part.split(" : ")[0].strip() for part in backend.split("|") if " : " in part)
    devices = [name for name in parts if name != "CPU"]
    if not layers or not devices:
        return "CPU"
    return f"{', '.join(devices)}, {'all' if layers < 0 else layers} layers on the GPU"
