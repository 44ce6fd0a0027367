"""Several rankings become one: weighted reciprocal rank fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

RANK_CONSTANT = 60
"""Larger values make lower ranks count more; 60 is the value of the method's authors."""

Key = TypeVar("Key")


def fuse(rankings: Mapping[str, Sequence[Key]], weights: Mapping[str, float]) -> dict[Key, float]:
    """Return a score for every key of any ranking, best first.

    Args:
        rankings: Keys of each ranking, best first.
        weights: Weight of each ranking by the same names, positive.

    Returns:
        Scores in (0, 1]; 1 means first in every ranking. Equal scores keep the order of the
        rankings.
    """
    best = sum(weights[name] / (RANK_CONSTANT + 1) for name in rankings)
    scores: dict[Key, float] = {}
    for name, ranking in rankings.items():
        for rank, key in enumerate(ranking, start=1):
            share = weights[name] / (RANK_CONSTANT + rank) / best
            scores[key] = scores.get(key, 0.0) + share
    return dict(sorted(scores.items(), key=lambda item: -item[1]))
