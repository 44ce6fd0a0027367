"""Kernel ridge classification of unit vectors, with exact held-out scores from one inverse."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

SHARPNESS = 4.0
"""Of the kernel exp(SHARPNESS * (cosine - 1))."""

RIDGE = 0.3
NEAREST = 2
LEAST_NEARNESS = 0.4
BLOCK = 1024


@dataclass(frozen=True)
class Scores:
    """Raw evidence for n texts and k classes; both arrays have shape (n, k).

    Attributes:
        fit: Kernel ridge output, about 1 for a member and 0 for a stranger.
        nearest: Mean cosine to the two nearest exemplars of the class, in [-1, 1].
    """

    fit: Floats
    nearest: Floats


class KernelClassifier:
    """Fitted on exemplars; scores new texts, or its own as if each had not been seen."""

    def __init__(self, vectors: Floats, labels: Labels, classes: int) -> None:
        """Fit.

        Args:
            vectors: Unit length, shape (n, d).
            labels: Class of each, 0 to `classes` - 1, shape (n,).
            classes: Each with at least one exemplar.
        """
        order = np.argsort(labels, kind="stable")
        self.vectors, self.labels, self.classes = vectors[order], labels[order], classes
        self._bounds = np.searchsorted(self.labels, np.arange(classes + 1))
        self._targets = np.eye(classes, dtype=np.float32)[self.labels]
        gram = _kernel(self.vectors @ self.vectors.T)
        gram[np.diag_indices(len(gram))] += RIDGE
        self._inverse = _inverse(gram)
        self._weights: Floats = self._inverse @ self._targets

    def scores(self, vectors: Floats) -> Scores:
        """Return the evidence for new texts, shape (n, d)."""
        fits, nearest = [], []
        for first in range(0, len(vectors), BLOCK):
            cosines = vectors[first : first + BLOCK] @ self.vectors.T
            nearest.append(self._nearest(cosines))
            fits.append(_kernel(cosines) @ self._weights)
        empty = np.zeros((0, self.classes), dtype=np.float32)
        return Scores(np.vstack([empty, *fits]), np.vstack([empty, *nearest]))

    def held_out(self) -> Scores:
        """Return the evidence for each exemplar from a classifier fitted without it."""
        return self._held_out

    def usual_nearness(self) -> float:
        """Return how near an exemplar is to others of its class: a median cosine, at least 0.4."""
        own = self._all_nearest[np.arange(len(self.labels)), self.labels]
        return max(LEAST_NEARNESS, float(np.median(own)))

    def away(self) -> Scores:
        """Return the evidence for each exemplar from a classifier that lacks its whole class.

        Its own class has a fit and a nearest of the least possible value.
        """
        fit = np.empty_like(self._targets)
        nearest = self._all_nearest.copy()
        for label in range(self.classes):
            own = slice(self._bounds[label], self._bounds[label + 1])
            error = np.linalg.solve(self._inverse[own, own], self._weights[own])
            fit[own] = self._targets[own] - error
            fit[own, label], nearest[own, label] = 0.0, -1.0
        return Scores(fit, nearest)

    @cached_property
    def _held_out(self) -> Scores:
        spread = np.diagonal(self._inverse)[:, None]
        return Scores(self._targets - self._weights / spread, self._all_nearest)

    @cached_property
    def _all_nearest(self) -> Floats:
        parts = []
        for first in range(0, len(self.vectors), BLOCK):
            cosines = self.vectors[first : first + BLOCK] @ self.vectors.T
            rows = np.arange(len(cosines))
            cosines[rows, rows + first] = -1.0
            parts.append(self._nearest(cosines))
        return np.vstack(parts)

    def _nearest(self, cosines: Floats) -> Floats:
        columns = [
            nearest_mean(cosines[:, self._bounds[label] : self._bounds[label + 1]])
            for label in range(self.classes)
        ]
        return np.stack(columns, axis=1)


def nearest_mean(cosines: Floats) -> Floats:
    """Return the mean of the two largest values of each row.

    Rows of one or two values, of which one may be a text's cosine to itself set to -1, have their
    largest; rows without values have -1.
    """
    width = cosines.shape[1]
    if width > NEAREST:
        cosines = np.partition(cosines, width - NEAREST, axis=1)[:, -NEAREST:]
        means: Floats = cosines.mean(axis=1)
        return means
    largest: Floats = cosines.max(axis=1, initial=-1.0)
    return largest


def _inverse(gram: Floats) -> Floats:
    """Invert a symmetric positive definite matrix where it lies, a third of the usual work."""
    lapack: Any = importlib.import_module("scipy.linalg.lapack")
    factor, _ = lapack.spotrf(gram.T, lower=1, overwrite_a=1)
    inverse: Floats
    inverse, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ArithmeticError("The kernel matrix of the exemplars has no inverse.")
    for first in range(0, len(inverse), BLOCK):  # LAPACK fills the lower half only
        last = min(first + BLOCK, len(inverse))
        square = inverse[first:last, first:last]
        square[:] = np.tril(square) + np.tril(square, -1).T
        inverse[first:last, last:] = inverse[last:, first:last].T
    return inverse


def _kernel(cosines: Floats) -> Floats:
    """Turn cosines into kernel values, in the same memory."""
    cosines -= np.float32(1.0)
    cosines *= np.float32(SHARPNESS)
    similar: Floats = np.exp(cosines, out=cosines)
    return similar
