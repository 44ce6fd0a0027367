"""Scores and how sure they are: pure arithmetic on plain values."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_WORD = re.compile(r"\w+", re.UNICODE)
_Z95 = 1.959963984540054  # two-sided 95 % of the normal distribution


def accuracy(gold: Sequence[str], said: Sequence[str]) -> float:
    """Share of equal pairs, in [0, 1]."""
    return sum(a == b for a, b in zip(gold, said, strict=True)) / max(1, len(gold))


def per_label(gold: Sequence[str], said: Sequence[str]) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and support of every label that occurs in `gold`."""
    right = Counter(a for a, b in zip(gold, said, strict=True) if a == b)
    support, claimed = Counter(gold), Counter(said)
    scores = {}
    for label in sorted(support):
        precision = right[label] / claimed[label] if claimed[label] else 0.0
        recall = right[label] / support[label]
        scores[label] = {
            "precision": precision,
            "recall": recall,
            "f1": _f1(precision, recall),
            "examples": float(support[label]),
        }
    return scores


def macro_f1(gold: Sequence[str], said: Sequence[str]) -> float:
    """Mean F1 over the labels that occur in `gold`."""
    scores = per_label(gold, said)
    return sum(score["f1"] for score in scores.values()) / max(1, len(scores))


def confusions(
    gold: Sequence[str], said: Sequence[str], limit: int = 5
) -> list[tuple[str, str, int]]:
    """The most frequent mistakes: (right label, label said, how often)."""
    wrong = Counter((a, b) for a, b in zip(gold, said, strict=True) if a != b)
    return [(a, b, n) for (a, b), n in wrong.most_common(limit)]


def wilson_interval(right: float, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share `right / n`."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, _Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_interval(scores: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean of scores in [0, 1]."""
    if not scores:
        return 0.0, 1.0
    values = np.asarray(scores, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), size=(1000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def expected_calibration_error(
    confidence: Sequence[float], right: Sequence[bool], bins: int = 10
) -> float:
    """Mean gap between how sure and how right, over equal-width bins (Guo et al. 2017)."""
    sure = np.asarray(confidence, dtype=np.float64)
    hit = np.asarray(right, dtype=np.float64)
    if sure.size == 0:
        return 0.0
    which = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [
        abs(sure[which == b].mean() - hit[which == b].mean()) * (which == b).mean()
        for b in range(bins)
        if (which == b).any()
    ]
    return float(sum(gaps))


def fit_temperature(logprobs: np.ndarray, gold: Sequence[int]) -> float:
    """The softmax temperature with the least negative log-likelihood.

    Args:
        logprobs: Log-probabilities of the labels, shape (examples, labels).
        gold: Index of the right label of each example.

    Returns:
        A temperature in [0.25, 8]; 1.0 without examples.
    """
    if len(gold) == 0:
        return 1.0
    grid = np.exp(np.linspace(math.log(0.25), math.log(8.0), 141))
    index = np.arange(len(gold))
    losses = []
    for temperature in grid:
        scaled = logprobs / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        log_softmax = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        losses.append(-log_softmax[index, np.asarray(gold)].mean())
    return float(round(grid[int(np.argmin(losses))], 4))


def words(text: str) -> list[str]:
    """The lower-case words of a text."""
    return _WORD.findall(text.casefold())


def token_f1(gold: str, said: str) -> float:
    """Word overlap of two texts, F1 as in SQuAD; two blank texts agree."""
    a, b = words(gold), words(said)
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return _f1(common / len(b), common / len(a))


def rouge_l(gold: str, said: str) -> float:
    """ROUGE-L F1 on lower-case words: longest common subsequence (Lin 2004)."""
    a, b = words(gold)[:1000], words(said)[:1000]
    if not a or not b:
        return float(a == b)
    row = [0] * (len(b) + 1)
    for left in a:
        diagonal = 0
        for j, right in enumerate(b, start=1):
            diagonal, row[j] = (
                row[j],
                diagonal + 1 if left == right else max(row[j], row[j - 1]),
            )
    return _f1(row[-1] / len(b), row[-1] / len(a))


def field_counts(gold: Mapping[str, Any], said: Mapping[str, Any]) -> tuple[int, int, int]:
    """Compare two flat JSON objects field by field; blank and null fields are absent.

    Returns:
        Right fields, fields in `gold`, fields in `said`.
    """
    a = {key: plain(value) for key, value in gold.items() if plain(value)}
    b = {key: plain(value) for key, value in said.items() if plain(value)}
    return sum(b.get(key) == value for key, value in a.items()), len(a), len(b)


def f1_from_counts(right: int, expected: int, given: int) -> float:
    """F1 of counted fields; nothing expected and nothing given is perfect."""
    if not expected and not given:
        return 1.0
    return _f1(right / given if given else 0.0, right / expected if expected else 0.0)


def _f1(precision: float, recall: float) -> float:
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def plain(value: Any) -> str:
    """A field's value as compared: case does not count, nor how many blanks or line breaks part words."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, list):
        return "; ".join(sorted(plain(item) for item in value))
    if isinstance(value, bool):
        return str(value).lower()
    return " ".join(str(value).casefold().split())
