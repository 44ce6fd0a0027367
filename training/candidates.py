"""For `answer`: the sentences of passages, and which of them answer the question."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from interns.answering import shortlist, split_candidates
from retrieval.embedder import Embedder
from training.example import Example
from training.metrics import words


def labelled_candidates(example: Example) -> list[tuple[str, bool]]:
    """Return the sentences the intern is shown when serving, and whether each is right.

    Returns:
        Text as shown, the most similar to the question first, and whether it answers.
    """
    lines = [candidate.line for candidate in split_candidates(example.passages)]
    shown = shortlist(len(lines), similarities(example))
    return [(lines[i], fits(lines[i], example.answer)) for i in shown]


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


def fits(sentence: str, answer: str) -> bool:
    """Whether a sentence contains the right quote, or lies in it, or shares most of its words."""
    gold, said = " ".join(words(answer)), " ".join(words(sentence))
    if not gold:
        return False
    if f" {gold} " in f" {said} " or f" {said} " in f" {gold} ":
        return True
    wanted, given = set(gold.split()), set(said.split())
    return len(wanted & given) >= 0.8 * max(len(wanted), len(given))
