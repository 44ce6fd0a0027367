"""Log-probabilities from logits, without a second array as large as the logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_BLOCK = 1 << 16


def log_sum_exp(rows: Logits) -> Floats:
    """Natural logarithm of the summed exponentials of each row.

    Computed in blocks that stay in the processor's cache; minus infinity counts as nothing.

    Args:
        rows: Logits, (rows, vocabulary); at least one of each row is finite.

    Returns:
        Array of shape (rows,).
    """
    count, width = rows.shape
    step = max(1, _BLOCK // width)
    scratch = np.empty((min(step, count), width), dtype=np.float32)
    result = np.empty(count)
    for start in range(0, count, step):
        block = rows[start : start + step]
        top = block.max(axis=1, keepdims=True)
        room = scratch[: len(block)]
        np.subtract(block, top, out=room)
        np.exp(room, out=room)
        result[start : start + step] = np.log(room.sum(axis=1)) + top[:, 0]
    return result


def likeliest(logits: Logits, count: int) -> list[int]:
    """The most probable tokens that are possible at all, best first; at most `count`."""
    if count <= 0:
        return []
    count = min(count, len(logits))
    ids = np.argpartition(logits, -count)[-count:]
    ids = ids[np.argsort(-logits[ids], kind="stable")]
    return [int(i) for i in ids if np.isfinite(logits[i])]
