"""Which intern takes a text, how sure, or nobody.

A kernel classifier on sentence embeddings learns from each intern's exemplars. Its raw scores
become the probability that the first choice is right: a logistic function fitted on held-out
exemplars, on exemplars of each intern while that intern is away, and on texts nobody is for.
Below a threshold, fitted on the same held-out scores, nobody is chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from orchestrator.calibration import Calibration, fit_calibration
from orchestrator.kernel import Floats, KernelClassifier, nearest_mean
from retrieval.embedder import Embedder

OUT_OF_SCOPE = Path(__file__).with_name("out_of_scope.txt")
FEW = 8
"""With fewer exemplars an intern's role counts as one more."""

KNOWLEDGE_MIDDLE = 0.38
KNOWLEDGE_WIDTH = 0.05
KNOWLEDGE_CEILING = 0.9
"""How a passage's cosine speaks for the intern that answers from documents: even at the middle.

On the project's guides, 95 of 100 texts for other interns or for nobody stay below the middle.
"""

_VECTORS: WeakKeyDictionary[Embedder, dict[str, Floats]] = WeakKeyDictionary()
"""Of the texts of all fits on one embedder, so that a new intern costs only its own texts."""


@dataclass(frozen=True)
class Route:
    """Where a text goes.

    Attributes:
        intern: Its name, or None when nobody fits.
        score: Probability in [0, 1] that the best candidate is right, if one text in two is for
            nobody.
        threshold: Least score that is still given to an intern.
        candidates: All interns with their scores, best first.
        why: One sentence for a person.
    """

    intern: str | None
    score: float
    threshold: float
    candidates: tuple[tuple[str, float], ...]
    why: str


@dataclass(frozen=True)
class _Fitted:
    names: tuple[str, ...]
    classifier: KernelClassifier
    nobody: Floats
    calibration: Calibration


class Router:
    """Routes texts from any thread; fitting again swaps the whole model at once."""

    def __init__(self, embedder: Embedder, threshold: float | None = None) -> None:
        """Name the parts; `fit` does the work.

        Args:
            embedder: Makes the vectors.
            threshold: In [0, 1]; None fits one.
        """
        self._embedder = embedder
        self._threshold = threshold
        self._fitted: _Fitted | None = None
        self._vectors = _VECTORS.setdefault(embedder, {})
        self._fitting = threading.Lock()

    @property
    def threshold(self) -> float:
        """Least score that is given to an intern, in [0, 1]."""
        if self._threshold is not None:
            return self._threshold
        return self._fitted.calibration.threshold if self._fitted else 0.5

    def remember(self, texts: Sequence[str]) -> None:
        """Embed texts before they are needed by `fit`; known ones cost nothing."""
        new = sorted(set(texts) - self._vectors.keys())
        self._vectors.update(zip(new, self._embedder.embed(new), strict=True))

    def fit(
        self,
        exemplars: Mapping[str, Sequence[str]],
        roles: Mapping[str, str],
        out_of_scope: Sequence[str] = (),
    ) -> Router:
        """Learn who does what; texts seen in an earlier fit are not embedded again.

        Time grows with the cube of the exemplars, memory with the square: a second for five
        interns with 64 each.

        Args:
            exemplars: Typical texts of each intern by its name; may be few.
            roles: One sentence on each intern by its name, used where exemplars are few.
            out_of_scope: Texts that people said nobody here is for, beside the shipped ones.

        Returns:
            The router itself.
        """
        texts = {name: _typical(given, roles.get(name, "")) for name, given in exemplars.items()}
        names = tuple(name for name in texts if texts[name])
        shipped = read_out_of_scope()
        with self._fitting:
            self.remember([*shipped, *out_of_scope, *(t for name in names for t in texts[name])])
            if not names:
                self._fitted = None
                return self
            labels = [number for number, name in enumerate(names) for _ in texts[name]]
            vectors = self._stack([text for name in names for text in texts[name]])
            classifier = KernelClassifier(vectors, np.array(labels), len(names))
            nobody = np.vstack([
                _far_from(classifier, self._stack(shipped)),
                self._stack(list(out_of_scope)),
            ])
            calibration = fit_calibration(classifier, nobody)
            self._fitted = _Fitted(names, classifier, nobody, calibration)
        return self

    def route(self, text: str, knowledge: Mapping[str, float] | None = None) -> Route:
        """Return who should take the text.

        Args:
            text: As a person wrote it.
            knowledge: For interns that answer from documents, the cosine in [-1, 1] of the best
                passage found for this text. A good passage raises that intern's score, up to
                0.9; a bad one takes nothing away.
        """
        return self.route_many([text], [knowledge or {}])[0]

    def route_many(
        self, texts: Sequence[str], knowledge: Sequence[Mapping[str, float]] = ()
    ) -> list[Route]:
        """Return who should take each text; `knowledge`, if given, is as long as `texts`."""
        fitted = self._fitted
        if fitted is None:
            return [Route(None, 0.0, self.threshold, (), "Nobody is in office.") for _ in texts]
        vectors = self._embedder.embed(texts)
        near_nobody = nearest_mean(vectors @ fitted.nobody.T)
        probabilities = fitted.calibration.probabilities(
            fitted.classifier.scores(vectors), near_nobody
        )
        routes = []
        for number, text in enumerate(texts):
            known = knowledge[number] if knowledge else {}
            scores = {
                name: _with_knowledge(float(score), known.get(name)) if text.strip() else 0.0
                for name, score in zip(fitted.names, probabilities[number], strict=True)
            }
            ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
            routes.append(self._decided(tuple(ranked)))
        return routes

    def _decided(self, ranked: tuple[tuple[str, float], ...]) -> Route:
        (best, score), threshold = ranked[0], self.threshold
        if score < threshold:
            why = (
                f"Nobody fits: {best} is nearest with {score:.2f}, "
                f"and {threshold:.2f} is the least that counts."
            )
            return Route(None, score, threshold, ranked, why)
        runner_up = f"; next is {ranked[1][0]} with {ranked[1][1]:.2f}" if ranked[1:] else ""
        why = f"{best} fits with {score:.2f}, at least {threshold:.2f} is needed{runner_up}."
        return Route(best, score, threshold, ranked, why)

    def _stack(self, texts: Sequence[str]) -> Floats:
        if not texts:
            return np.zeros((0, self._embedder.dimensions), dtype=np.float32)
        return np.stack([self._vectors[text] for text in texts])


def read_out_of_scope() -> list[str]:
    """Return the texts shipped with the project that most offices have nobody for."""
    lines = OUT_OF_SCOPE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _typical(exemplars: Sequence[str], role: str) -> list[str]:
    texts = list(dict.fromkeys(text for text in exemplars if text.strip()))
    if len(texts) < FEW and role.strip() and role not in texts:
        texts.append(role)
    return texts


def _far_from(classifier: KernelClassifier, vectors: Floats) -> Floats:
    """Leave out texts that are as near to an intern as its own exemplars are to each other."""
    near = classifier.scores(vectors).nearest.max(axis=1)
    far: Floats = vectors[near <= classifier.usual_nearness()]
    return far


def _with_knowledge(score: float, similarity: float | None) -> float:
    if similarity is None:
        return score
    fit = 1.0 / (1.0 + np.exp(-(similarity - KNOWLEDGE_MIDDLE) / KNOWLEDGE_WIDTH))
    return float(max(score, KNOWLEDGE_CEILING * (1.0 - (1.0 - score) * (1.0 - fit))))
