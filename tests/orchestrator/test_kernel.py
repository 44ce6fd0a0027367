"""Held-out evidence from one inverse equals fitting again without the exemplars."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.kernel import RIDGE, SHARPNESS, KernelClassifier, nearest_mean


@pytest.fixture
def classifier() -> KernelClassifier:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(1200, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return KernelClassifier(vectors, random.integers(0, 4, 1200), 4)


def fitted_without(classifier: KernelClassifier, left_out: np.ndarray, place: int) -> np.ndarray:
    kernel = np.exp(SHARPNESS * (classifier.vectors @ classifier.vectors.T - 1.0)).astype(float)
    kept = ~left_out
    targets = np.eye(classifier.classes)[classifier.labels[kept]]
    gram = kernel[np.ix_(kept, kept)] + RIDGE * np.eye(int(kept.sum()))
    return kernel[place, kept] @ np.linalg.solve(gram, targets)


def test_evidence_is_that_of_a_fit_without_it_when_an_exemplar_is_held_out(
    classifier: KernelClassifier,
) -> None:
    left_out = np.arange(1200) == 7

    expected = fitted_without(classifier, left_out, 7)

    assert classifier.held_out().fit[7] == pytest.approx(expected, abs=1e-4)


def test_evidence_is_that_of_a_fit_without_the_class_when_it_is_away(
    classifier: KernelClassifier,
) -> None:
    place = int(np.flatnonzero(classifier.labels == 2)[3])

    expected = fitted_without(classifier, classifier.labels == 2, place)

    assert classifier.away().fit[place] == pytest.approx(expected, abs=1e-4)
    assert classifier.away().nearest[place, 2] == -1.0


def test_an_exemplar_is_not_near_itself_when_held_out(classifier: KernelClassifier) -> None:
    assert classifier.held_out().nearest.max() < 0.999
    assert classifier.scores(classifier.vectors[:1]).nearest.max() < 1.0


@pytest.mark.parametrize(
    ("row", "mean"), [([], -1.0), ([0.2], 0.2), ([0.2, 0.6], 0.6), ([0.1, 0.2, 0.6], 0.4)]
)
def test_two_nearest_are_averaged_when_there_are_more(row: list[float], mean: float) -> None:
    assert nearest_mean(np.array([row], dtype=np.float32))[0] == pytest.approx(mean)
