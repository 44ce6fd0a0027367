"""What llama.cpp and torch must agree on, and what a verification says of it to people.

A recipe may replace the bounds; whoever reads of a version then is told where it was let through
more easily than the project's own would have done. Decision 0012 says what counts and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """What must hold between both sides.

    Attributes:
        margin: Torch is clear where its best logit leads by at least so many nats; anything closer
            is a tie, which rounding may decide either way.
        top1: Lowest share of equal choices where torch is clear.
        mean_kl: Largest mean KL divergence over all positions, nats.
    """

    margin: float
    top1: float
    mean_kl: float


# 16 bits of keys, values and activations move the starter's logits by less than 0.005 nats.
EXACT = Bounds(math.log(1.01), 0.999, 1e-5)
# llama.cpp rounds what enters a quantized matrix to 8 bits in blocks: 0.2 nats on the starter.
QUANTIZED = Bounds(math.log(1.25), 0.99, 5e-3)
STOP_RATE = 0.99  # lowest share of free answers that end by themselves
_NAMES = {
    "top1_decided": "the same next token where torch is clear",
    "mean_kl": "mean difference in nats",
    "stop_rate": "answers that end",
}


def loosened(bounds: Mapping[str, float], own: Bounds) -> dict[str, float]:
    """The project's own bounds that `bounds` fall short of.

    Args:
        bounds: What had to hold: ``top1_decided`` and ``stop_rate`` at least, ``mean_kl`` at most.
        own: What the project asks on that base.
    """
    ours = {"top1_decided": own.top1, "mean_kl": own.mean_kl, "stop_rate": STOP_RATE}
    return {
        name: bound
        for name, bound in ours.items()
        if (bounds[name] > bound if name == "mean_kl" else bounds[name] < bound)
    }


def looser_bounds(verification: Mapping[str, Any]) -> dict[str, float]:
    """The project's own bounds that a verification did not ask for; empty where it held them all.

    Args:
        verification: Content of ``verification.json``; what older ones do not say is found out from
            their bounds and margin.
    """
    told, bounds = verification.get("looser"), verification.get("bounds")
    if told is not None or not bounds:
        return dict(told or {})
    exact = math.isclose(verification["margin"], EXACT.margin)
    return loosened(bounds, EXACT if exact else QUANTIZED)


def gate_words(verification: Mapping[str, Any]) -> str:
    """A looser gate in words; empty where it was the project's own.

    For example ``passed a looser gate: answers that end 0.95 instead of 0.99``.
    """
    looser = looser_bounds(verification)
    if not looser:
        return ""
    asked = verification["bounds"]
    said = (f"{_NAMES[name]} {asked[name]:g} instead of {own:g}" for name, own in looser.items())
    return f"{'passed' if verification['passed'] else 'held to'} a looser gate: {', '.join(said)}"


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
