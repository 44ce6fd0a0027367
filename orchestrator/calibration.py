"""Raw routing evidence becomes a probability, and a threshold below which nobody is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.kernel import Floats, KernelClassifier, Scores, nearest_mean

Doubles = NDArray[np.float64]

PRIOR = np.array([-3.0, 4.0, 4.0, 4.0, 4.5])
"""Weights before any data: constant, fit, lead over the next, nearest, nearest over nobody."""

PRIOR_STRENGTH = 0.02
FALSE_NOBODY_COST = 3.0
"""Sending a text away wrongly costs this many texts taken wrongly."""

IN_SCOPE, SHIPPED, AWAY = 0.5, 0.35, 0.15
"""What each group of held-out texts weighs, however many texts it has."""

USUAL_THRESHOLD = 0.25
USUAL_COUNTS_AS = 8
"""The fitted threshold is averaged with the usual one as if that came from so many exemplars."""


@dataclass(frozen=True)
class Calibration:
    """Logistic weights and the fitted threshold in [0, 1]."""

    weights: Doubles
    threshold: float

    def probabilities(self, scores: Scores, near_nobody: Floats) -> Doubles:
        """Return, shape (n, k), how likely each class is the right one for each text.

        Args:
            scores: Evidence for n texts and k classes.
            near_nobody: Mean cosine to the nearest texts that are for nobody, shape (n,).
        """
        return _sigmoid(_features(scores, near_nobody) @ self.weights)


def fit_calibration(classifier: KernelClassifier, nobody: Floats) -> Calibration:
    """Fit weights and threshold on evidence the classifier gives about texts it has not seen.

    In-scope texts and texts for nobody weigh the same. The latter are shipped texts and, counting
    less because they are nearer than most, exemplars whose intern is away.

    Args:
        classifier: Fitted on the exemplars.
        nobody: Unit vectors of texts nobody is for, shape (m, d).
    """
    seen = classifier.held_out()
    truth = seen.fit.argmax(axis=1) == classifier.labels
    strangers, near = _strangers(classifier, nobody)
    gone, gone_near = _away(classifier, nobody)
    groups = [
        (
            _first(_features(seen, nearest_mean(classifier.vectors @ nobody.T)), seen),
            truth,
            IN_SCOPE,
        ),
        (_first(_features(strangers, near), strangers), np.zeros(len(near), bool), SHIPPED),
        (_first(_features(gone, gone_near), gone), np.zeros(len(gone_near), bool), AWAY),
    ]
    filled = [group for group in groups if len(group[0])]
    features = np.vstack([group[0] for group in filled])
    right = np.concatenate([group[1] for group in filled]).astype(float)
    weight = np.concatenate([np.full(len(g[0]), g[2] / len(g[0])) for g in filled])
    weights = _logistic(features, right, weight / weight.sum(), len(classifier.labels))
    probability = _sigmoid(features @ weights)
    inside = np.arange(len(right)) < len(truth)
    return Calibration(weights, _threshold(probability, inside, weight))


def _strangers(classifier: KernelClassifier, nobody: Floats) -> tuple[Scores, Floats]:
    cosines = nobody @ nobody.T
    np.fill_diagonal(cosines, -1.0)
    return classifier.scores(nobody), nearest_mean(cosines)


def _away(classifier: KernelClassifier, nobody: Floats) -> tuple[Scores, Floats]:
    """Evidence for exemplars whose intern is away, but not for those another intern could take."""
    scores = classifier.away()
    far = scores.nearest.max(axis=1) <= classifier.usual_nearness()
    if classifier.classes < 2:
        far[:] = False
    near = nearest_mean(classifier.vectors[far] @ nobody.T)
    return Scores(scores.fit[far], scores.nearest[far]), near


def _features(scores: Scores, near_nobody: Floats) -> Doubles:
    """Return shape (n, k, 5): constant, fit, lead over the next, nearest, nearest over nobody."""
    fit = scores.fit.astype(np.float64)
    ordered = np.sort(np.hstack([fit, np.zeros((len(fit), 1))]), axis=1)
    best, second = ordered[:, -1:], ordered[:, -2:-1]
    lead = fit - np.where(fit >= best, second, best)
    nearest = scores.nearest.astype(np.float64)
    over = nearest - np.maximum(near_nobody, 0.0)[:, None]
    return np.stack([np.ones_like(fit), fit, lead, nearest, over], axis=-1)


def _first(features: Doubles, scores: Scores) -> Doubles:
    """Keep the features of each text's best class, shape (n, 5)."""
    chosen: Doubles = features[np.arange(len(features)), scores.fit.argmax(axis=1)]
    return chosen


def _logistic(features: Doubles, right: Doubles, weight: Doubles, exemplars: int) -> Doubles:
    """Newton's method on the weighted log loss, pulled to the prior while exemplars are few."""
    strength = PRIOR_STRENGTH * 32.0 / (32.0 + exemplars)
    weights = PRIOR.copy()
    for _ in range(50):
        probability = _sigmoid(features @ weights)
        slope = features.T @ (weight * (probability - right)) + strength * (weights - PRIOR)
        curve = (features.T * (weight * probability * (1 - probability))) @ features
        step = np.linalg.solve(curve + strength * np.eye(len(weights)), slope)
        weights = weights - step * min(1.0, 5.0 / max(1e-9, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-6:
            break
    return weights


def _threshold(probability: Doubles, inside: NDArray[np.bool_], weight: Doubles) -> float:
    """Return the cheapest cut, nearest to one half where several cost the same, then averaged."""
    cuts = np.unique(np.concatenate([[0.02, 0.5, 0.98], probability]))
    cuts = (cuts[1:] + cuts[:-1]) / 2
    sent_away = _share(probability[inside], cuts)
    taken = 1.0 - _share(probability[~inside], cuts, weight[~inside])
    cost = FALSE_NOBODY_COST * sent_away + taken
    cheapest = cuts[cost <= cost.min() + 1e-9]
    fitted, count = float(cheapest[np.abs(cheapest - 0.5).argmin()]), int(inside.sum())
    return (count * fitted + USUAL_COUNTS_AS * USUAL_THRESHOLD) / (count + USUAL_COUNTS_AS)


def _share(values: Doubles, cuts: Doubles, weight: Doubles | None = None) -> Doubles:
    """Return which share of the values lies below each cut."""
    if not len(values):
        return np.zeros_like(cuts)
    order = np.argsort(values)
    mass = np.ones(len(values)) if weight is None else weight[order]
    below = np.concatenate([[0.0], np.cumsum(mass)]) / mass.sum()
    shares: Doubles = below[np.searchsorted(values[order], cuts)]
    return shares


def _sigmoid(values: Doubles) -> Doubles:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -60.0, 60.0)))
