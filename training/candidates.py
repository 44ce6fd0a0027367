"""For `answer`: the sentences of passages, and which of them answer the question."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from interns.answering import judged, split_candidates
from retrieval.embedder import Embedder
from training.example import Example
from training.metrics import words


def labelled_candidates(example: Example) -> list[tuple[str, bool]]:
    """Return the sentences the intern is shown when serving, and whether each is right.

    A sentence is right when it contains the quote, or lies in it, or shares most of its words.

    Returns:
        Text as shown, the most similar to the question first, and whether it answers.
    """
    gold = " ".join(words(example.answer))
    lines = [candidate.line for candidate in split_candidates(example.passages)]
    return [(shown, _fits(lines[i], gold)) for i, shown in judged(lines, similarities(example))]


def similarities(example: Example) -> list[float] | None:
    """Cosine of the question and each candidate sentence, as when serving; None without any."""
    lines = [candidate.line for candidate in split_candidates(example.passages)]
    if not lines:
        return None
    vectors = _vectors(tuple(lines))
    return [float(value) for value in vectors @ _vectors((example.text,))[0]]


@lru_cache(maxsize=65536)
def _vectors(texts: tuple[str, ...]) -> npt.NDArray[np.float32]:
    return np.asarray(_embedder().embed(list(texts)), dtype=np.float32)


@cache
def _embedder() -> Embedder:
    return Embedder()


def _fits(sentence: str, gold: str) -> bool:
    if not gold:
        return False
    said = " ".join(words(sentence))
    if f" {gold} " in f" {said} " or f" {said} " in f" {gold} ":
        return True
    wanted, given = set(gold.split()), set(said.split())
    return len(wanted & given) >= 0.8 * max(len(wanted), len(given))
