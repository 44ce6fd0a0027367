"""How quotes are chosen and marked: the blend of judgement and similarity, and its control.

The blend is a logistic regression on validation rows, as Platt (1999) turns scores into
probabilities; the threshold for *not in the sources* is the one with the best mean mark there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from interns.answering import Answer, Weighed, choose, shortlist, split_candidates
from interns.intern import Blend, Profile
from training import metrics
from training.candidates import fits, similarities
from training.example import Example

Row = Sequence[Weighed]
_FOLDS = 10
_WEAK_PRIOR = 100.0  # scikit-learn's C: hardly any shrinking of two weights


@dataclass(frozen=True)
class QuoteMarks:
    """What came out.

    Attributes:
        scores: Mark of each row in [0, 1]: word F1 of the quote, 1 for rightly quoting nothing.
        interval: 95 % interval of their mean.
        details: Means by kind of row, and the threshold.
    """

    scores: tuple[float, ...]
    interval: tuple[float, float]
    details: dict[str, Any]

    @property
    def score(self) -> float:
        """Mean mark."""
        return _mean(self.scores)


def mark(weighed: Sequence[Row], rows: Sequence[Example], profile: Profile) -> QuoteMarks:
    """Choose a quote for every row and mark it.

    Args:
        weighed: The judged candidates of each row.
        rows: The same rows, with the right quote or a blank.
        profile: Its blend and threshold choose.
    """
    pairs = [
        (row, _score(row, choose(each, profile))) for row, each in zip(rows, weighed, strict=True)
    ]
    answerable = [score for row, score in pairs if row.answer]
    unanswerable = [score for row, score in pairs if not row.answer]
    scores = tuple(score for _, score in pairs)
    return QuoteMarks(
        scores,
        metrics.bootstrap_interval(scores),
        {
            "answerable": len(answerable),
            "quote_f1_answerable": _mean(answerable),
            "unanswerable": len(unanswerable),
            "abstained_when_unanswerable": _mean(unanswerable),
            "threshold": profile.threshold,
        },
    )


def fitted(profile: Profile, weighed: Sequence[Row], rows: Sequence[Example]) -> Profile:
    """Return the profile with blend and threshold fitted on validation rows.

    The intern's judgement counts only when, in cross-validation, it raises the mean mark by more
    than one standard error over similarity alone (the rule of Breiman et al. 1984, 3.4.3): a weight
    fitted to the noise of a base that cannot read would choose worse quotes.
    """
    similar = [[replace(each, judgement=0.0) for each in row] for row in weighed]
    known = any(each.similarity for row in similar for each in row)
    if known and not _adds(profile, weighed, similar, rows):
        return _fit(profile, similar, rows)
    return _fit(profile, weighed, rows)


def _adds(
    profile: Profile, weighed: Sequence[Row], similar: Sequence[Row], rows: Sequence[Example]
) -> bool:
    full, alone = (_cross_validated(profile, each, rows) for each in (weighed, similar))
    gain = np.asarray(full) - np.asarray(alone)
    return bool(gain.mean() > gain.std() / max(1, len(gain)) ** 0.5)


def _cross_validated(
    profile: Profile, weighed: Sequence[Row], rows: Sequence[Example]
) -> list[float]:
    """Mark of every row under weights fitted on the other folds."""
    scores = [0.0] * len(rows)
    for fold in range(min(_FOLDS, len(rows))):
        held = range(fold, len(rows), _FOLDS)
        rest = [i for i in range(len(rows)) if i % _FOLDS != fold]
        trained = _fit(profile, [weighed[i] for i in rest], [rows[i] for i in rest])
        for i in held:
            scores[i] = _score(rows[i], choose(weighed[i], trained))
    return scores


def _fit(profile: Profile, weighed: Sequence[Row], rows: Sequence[Example]) -> Profile:
    blend = _fit_blend(weighed, rows)
    profile = replace(profile, blend=blend, threshold=0.0)
    answers = [choose(each, profile) for each in weighed]
    return replace(profile, threshold=_best_threshold(answers, rows))


def similarity_alone(
    profile: Profile, rows: Sequence[Example], validation: Sequence[Example]
) -> QuoteMarks:
    """Mark the control without any language model: quote the most similar sentence, or nothing.

    Blend and threshold are fitted on the same validation rows as the intern's.
    """
    control = fitted(profile, [_unjudged(row) for row in validation], validation)
    return mark([_unjudged(row) for row in rows], rows, control)


def _unjudged(row: Example) -> Row:
    candidates, similar = split_candidates(row.passages), similarities(row)
    if similar is None:
        return []
    order = shortlist(len(candidates), similar)
    return [Weighed(candidates[i], 0.0, similar[i]) for i in order]


def _fit_blend(weighed: Sequence[Row], rows: Sequence[Example]) -> Blend:
    """Weights at least 0: what speaks against the evidence of validation rows is left out."""
    pairs = [
        (each, fits(each.candidate.line, row.answer))
        for row, found in zip(rows, weighed, strict=True)
        for each in found
    ]
    right = np.array([fit for _, fit in pairs])
    values = np.array([(each.judgement, each.similarity) for each, _ in pairs])
    if right.size == 0 or right.all() or not right.any():
        return Blend()
    used = [column for column in range(2) if values[:, column].std() > 0]
    while used:
        weights, bias = _logistic_regression(values[:, used], right)
        if min(weights) > 0:
            by_column = dict(zip(used, weights, strict=True))
            return Blend(by_column.get(0, 0.0), by_column.get(1, 0.0), bias)
        used.pop(int(np.argmin(weights)))
    return Blend()


def _logistic_regression(values: np.ndarray, right: np.ndarray) -> tuple[list[float], float]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=_WEAK_PRIOR, max_iter=1000).fit(values, right)
    weights = [round(float(weight), 6) for weight in model.coef_[0]]
    return weights, round(float(model.intercept_[0]), 6)


def _score(row: Example, answer: Answer) -> float:
    if not row.answer or not answer.quote:
        return float(not row.answer and not answer.quote)
    return metrics.token_f1(row.answer, answer.quote)


def _best_threshold(answers: Sequence[Answer], rows: Sequence[Example]) -> float:
    """The threshold with the best mean mark; the middle of the best range."""
    scores = sorted({answer.score for answer in answers})
    cuts = [0.0, *((a + b) / 2 for a, b in pairwise(scores))]
    means = [
        _mean([
            _score(row, answer if answer.score >= cut else replace(answer, quote=""))
            for row, answer in zip(rows, answers, strict=True)
        ])
        for cut in cuts
    ]
    best = max(means)
    good = [cut for cut, mean in zip(cuts, means, strict=True) if mean >= best - 1e-9]
    return round(good[len(good) // 2], 6)


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / max(1, len(scores))
