"""How the next token is picked from logits: deterministic for a seed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from interns.completion import Sampling
from interns.errors import InvalidInput
from interns.runtime.llama_cpp.logprobs import Logits, likeliest, log_sum_exp

_PENALTY_WINDOW = 64
_WORD = 2**64 - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MOST_TOKENS = 1 << 20
MOST_SEED = 2**63 - 1
MOST_ALTERNATIVES = 100
MOST_BIASES = 1024
MOST_STOPS = 64


class Mask(Protocol):
    """Which tokens may come next."""

    def apply(self, logits: Logits) -> Logits:
        """Copy with forbidden tokens at minus infinity."""
        ...

    def accept(self, token: int) -> None:
        """Move on by one allowed token."""
        ...


def check_sampling(sampling: Sampling, vocabulary: int, *, least_tokens: int = 1) -> None:
    """Refuse values outside the documented ranges.

    Args:
        sampling: What was asked for.
        vocabulary: Number of token ids.
        least_tokens: Least that `max_tokens` may be.

    Raises:
        InvalidInput: Names the first bad value.
    """
    biases = sampling.logit_bias
    rules = {
        f"max_tokens must be between {least_tokens} and {MOST_TOKENS}": (
            least_tokens <= sampling.max_tokens <= MOST_TOKENS
        ),
        "temperature must be between 0 and 10": 0 <= sampling.temperature <= 10,
        "top_k must be 0 or more": sampling.top_k >= 0,
        "top_p must be above 0 and at most 1": 0 < sampling.top_p <= 1,
        "min_p must be at least 0 and below 1": 0 <= sampling.min_p < 1,
        "repeat_penalty must be between 1 and 2": 1 <= sampling.repeat_penalty <= 2,
        f"seed must be between 0 and {MOST_SEED}": 0 <= sampling.seed <= MOST_SEED,
        "a stop text must not be empty": all(sampling.stop),
        f"there can be {MOST_STOPS} stop texts": len(sampling.stop) <= MOST_STOPS,
        f"logit_bias can have {MOST_BIASES} tokens": len(biases) <= MOST_BIASES,
        f"logit_bias takes token ids below {vocabulary}": all(
            0 <= i < vocabulary for i, _ in biases
        ),
        "a logit bias must be between -100 and 100": all(-100 <= b <= 100 for _, b in biases),
        f"logprobs must be between 0 and {MOST_ALTERNATIVES}": (
            sampling.logprobs is None or 0 <= sampling.logprobs <= MOST_ALTERNATIVES
        ),
    }
    for rule, holds in rules.items():
        if not holds:
            raise InvalidInput(f"Bad sampling value: {rule}.", "Correct the value.")


class Pick(NamedTuple):
    """A token that was picked.

    Attributes:
        token: Its id.
        logprob: Natural log-probability among the allowed tokens, before temperature and penalty.
        alternatives: The likeliest tokens and their log-probabilities, best first.
    """

    token: int
    logprob: float
    alternatives: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Picks the tokens of one answer.

    Args:
        sampling: Checked settings.
        hidden: Ids that are never written, such as reserved control tokens.
        mask: The constraint, if any.
    """

    def __init__(
        self, sampling: Sampling, hidden: npt.NDArray[np.int64], mask: Mask | None = None
    ) -> None:
        self._sampling = sampling
        self._hidden = hidden
        self._mask = mask
        self._step = 0
        self._recent: deque[int] = deque(maxlen=_PENALTY_WINDOW)

    def allow(self, logits: Logits, allowed: Logits) -> None:
        """Write the logits of what may come next into `allowed`, minus infinity elsewhere."""
        if self._step == 0:
            self._offsets = self._make_offsets(len(logits))
        np.add(logits, self._offsets, out=allowed)
        if self._mask is not None:
            allowed[:] = self._mask.apply(allowed)

    def choose(self, allowed: Logits, best: int, total: float) -> Pick:
        """Pick one of the `allowed`, of which `best` is the likeliest and `total` the log-sum-exp."""
        token = best
        scores = self._penalized(allowed)
        if scores is not allowed:
            token = int(scores.argmax())
        if self._sampling.temperature > 0:
            token = self._draw(scores)
        if self._mask is not None:
            self._mask.accept(token)
        self._recent.append(token)
        self._step += 1
        logprob = float(allowed[token]) - total
        if not self._sampling.logprobs:
            return Pick(token, logprob)
        others = likeliest(allowed, self._sampling.logprobs)
        return Pick(token, logprob, tuple((i, float(allowed[i]) - total) for i in others))

    def _make_offsets(self, vocabulary: int) -> Logits:
        """What is added to the logits: biases, and minus infinity for what is never written."""
        offsets = np.zeros(vocabulary, dtype=np.float32)
        for token, bias in self._sampling.logit_bias:
            offsets[token] = bias
        offsets[self._hidden] = -np.inf
        return offsets

    def _penalized(self, logits: Logits) -> Logits:
        penalty = self._sampling.repeat_penalty
        if penalty == 1.0 or not self._recent:
            return logits
        scores = logits.copy()
        seen = np.unique(np.fromiter(self._recent, dtype=np.int64))
        values = scores[seen]
        scores[seen] = np.where(values > 0, values / penalty, values * penalty)
        return scores

    def _draw(self, scores: Logits) -> int:
        """Draw by the Gumbel trick: each token has its own luck, so rounding seldom tips a draw."""
        chosen = self._sampling
        if 0 < chosen.top_k < len(scores):
            ids = np.argpartition(scores, -chosen.top_k)[-chosen.top_k :]
            ids = ids[np.isfinite(scores[ids])]
        else:
            ids = np.flatnonzero(np.isfinite(scores))
        ids = ids[np.argsort(-scores[ids], kind="stable")]
        exponents = (scores[ids] - scores[ids[0]]).astype(np.float64)
        weights = np.exp(exponents)
        keep = weights >= chosen.min_p
        if chosen.top_p < 1:
            before = (np.cumsum(weights) - weights) / weights.sum()
            keep &= before < chosen.top_p
        ids, exponents = ids[keep], exponents[keep]
        luck = _gumbel(chosen.seed, self._step, ids)
        return int(ids[(exponents / chosen.temperature + luck).argmax()])


def pick_all(samplers: Sequence[Sampler], logits: Logits) -> list[Pick | InvalidInput]:
    """The next token of each answer, or why there is none; `logits` is (answers, vocabulary).

    What the answers have in common is computed for all of them at once.
    """
    allowed = np.empty_like(logits)
    for sampler, row, out in zip(samplers, logits, allowed, strict=True):
        sampler.allow(row, out)
    best = allowed.argmax(axis=1).tolist()
    stuck = [not math.isfinite(row[token]) for row, token in zip(allowed, best, strict=True)]
    if any(stuck):
        allowed[stuck] = 0.0
    totals = log_sum_exp(allowed).tolist()
    return [
        InvalidInput("No token fits the constraint.", "Check the grammar.")
        if none
        else sampler.choose(row, token, total)
        for sampler, row, token, total, none in zip(
            samplers, allowed, best, totals, stuck, strict=True
        )
    ]


def _gumbel(seed: int, step: int, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Standard Gumbel numbers that depend on nothing but seed, step and token (splitmix64)."""
    start = _mixed(_mixed(seed & _WORD) + step)
    bits = ids.astype(np.uint64) * np.uint64(_GOLDEN) + np.uint64(start)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(_FIRST)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(_SECOND)
    bits ^= bits >> np.uint64(31)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    gumbel: npt.NDArray[np.float64] = -np.log(-np.log(uniform))
    return gumbel


def _mixed(word: int) -> int:
    word = (word + _GOLDEN) & _WORD
    word = ((word ^ (word >> 30)) * _FIRST) & _WORD
    word = ((word ^ (word >> 27)) * _SECOND) & _WORD
    return word ^ (word >> 31)
