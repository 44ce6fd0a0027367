"""How closely llama.cpp and torch agree on the next token, and how closely they must.

Decision 0012 says what counts and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGMLQuantizationType

from interns.gate import EXACT, QUANTIZED, Bounds
from interns.gguf.reader import read_gguf
from interns.runtime.llama_cpp.engine import LlamaEngine

Logits = npt.NDArray[np.float32]


_EXACT_KINDS = {GGMLQuantizationType.F32, GGMLQuantizationType.F16}


def bounds_of(base: Path) -> Bounds:
    """What must hold on a base: `EXACT` where its file holds only F32 and F16, else `QUANTIZED`.

    Raises:
        NotFound: There is no such file.
        BrokenFile: It is damaged.
    """
    kinds = {tensor.kind for tensor in read_gguf(base).tensors.values()}
    return EXACT if kinds <= _EXACT_KINDS else QUANTIZED


def computed_with(engine: LlamaEngine) -> dict[str, Any]:
    """What the numbers were computed with: they hold for no other backend.

    Returns:
        ``backend`` as llama.cpp describes itself, ``gpu_layers`` (-1 for all), ``threads``, ``exact``.
    """
    stats = engine.stats()
    return {name: stats[name] for name in ("backend", "gpu_layers", "threads", "exact")}


@dataclass(frozen=True)
class Places:
    """What both sides said at some positions; every array has shape (positions,).

    Attributes:
        kl: KL divergence torch → llama.cpp, nats.
        same: Whether both have the same most probable token.
        lead: How far torch's best token is ahead of its second, nats.
    """

    kl: npt.NDArray[np.float64]
    same: npt.NDArray[np.bool_]
    lead: npt.NDArray[np.float32]

    @property
    def everywhere(self) -> float:
        """Share of all positions with the same choice."""
        return float(self.same.mean())

    def clear(self, margin: float) -> tuple[float, float]:
        """Share of the clear positions with the same choice (1 without any), and their share."""
        chosen = self.lead >= margin
        return float(self.same[chosen].mean()) if chosen.any() else 1.0, float(chosen.mean())


def compare(expected: Logits, found: Logits) -> Places:
    """Compare torch's and llama.cpp's logits, both of shape (positions, vocabulary)."""
    return Places(
        kl_divergence(expected, found),
        expected.argmax(axis=1) == found.argmax(axis=1),
        second_best_gap(expected),
    )


def join(parts: Sequence[Places]) -> Places:
    """All positions of several comparisons."""
    return Places(
        np.concatenate([part.kl for part in parts]),
        np.concatenate([part.same for part in parts]),
        np.concatenate([part.lead for part in parts]),
    )


def kl_divergence(expected: Logits, found: Logits) -> npt.NDArray[np.float64]:
    """KL divergence of next-token distributions at every position, nats.

    Args:
        expected: Logits, shape (positions, vocabulary).
        found: Logits of the same shape.
    """
    p, q = _log_softmax(expected), _log_softmax(found)
    divergence: npt.NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=1)
    return np.maximum(divergence, 0.0)


def second_best_gap(logits: Logits) -> npt.NDArray[np.float32]:
    """How far the best logit is ahead of the second, at every position."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    gap: npt.NDArray[np.float32] = best[:, 1] - best[:, 0]
    return gap


def _log_softmax(logits: Logits) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
