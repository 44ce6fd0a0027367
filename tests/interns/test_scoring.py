"""The trie of labels against the plain sum over each label alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interns.completion import Message
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.logprobs import log_sum_exp
from interns.runtime.llama_cpp.scoring import LabelTrie
from tests.making import SAME

STOP, VOCABULARY = 2, 12
LABELS = st.lists(
    st.lists(st.integers(3, 7), min_size=1, max_size=6).map(tuple),
    min_size=1,
    max_size=12,
    unique=True,
)


def _after(tokens: tuple[int, ...]) -> np.ndarray:
    """Made-up logits that depend on everything before."""
    return np.random.default_rng(tokens).normal(0, 3, VOCABULARY).astype(np.float32)


def _plain(label: tuple[int, ...]) -> float:
    total = 0.0
    for i, token in enumerate((*label, STOP)):
        logits = _after(label[:i]).astype(np.float64)
        total += float(logits[token] - np.log(np.exp(logits).sum()))
    return total


class Cells:
    """A cache that knows which tokens each sequence holds, as llama.cpp's does."""

    def __init__(self) -> None:
        self.held: dict[int, dict[int, int]] = {}

    def copy(self, source: int, target: int, length: int) -> None:
        self.held[target] = {p: t for p, t in self.held[source].items() if p < length}


@given(labels=LABELS, rows=st.integers(1, 9), sequences=st.integers(1, 5))
def test_scores_equal_the_plain_sums_however_batches_are_cut(labels, rows, sequences):
    trie = LabelTrie(labels, STOP)
    trie.take(0, _after(())[None])
    cells, own, seen, start = Cells(), 0, [], 1
    cells.held[own] = {}
    while start <= len(trie):
        batch = trie.batch(start, rows, sequences)
        assert len(batch.places) <= sequences
        assert batch.end - batch.start <= rows
        members = range(1, 1 + len(batch.places))
        for member, known in zip(members, batch.known, strict=True):
            cells.copy(own, member, known)
            assert len(cells.held[member]) == known
        logits = []
        for row in trie.rows(batch, 0, 1):
            for sequence in row.sequences:
                cells.held[sequence][row.position] = row.token
            before = {
                tuple(cells.held[s][p] for p in range(row.position + 1)) for s in row.sequences
            }
            assert len(before) == 1
            seen += before
            logits.append(_after(*before))
        trie.take(batch.start, np.array(logits))
        cells.copy(members[-1], own, trie.known(batch.end))
        start = batch.end
    prefixes = {label[:size] for label in labels for size in range(1, len(label) + 1)}
    assert sorted(seen) == sorted(prefixes)
    np.testing.assert_allclose(trie.scores, [_plain(label) for label in labels], atol=1e-5)


@pytest.mark.parametrize("cells", [512, 1024])
def test_scores_equal_those_of_single_labels_when_many_batches_are_needed(
    base, make_adapter, cells
):
    adapter = make_adapter(1, strength=0.15)
    stem = "a rather long beginning that all of these labels share, word for word, "
    labels = [f"{stem}{'and so on ' * (i % 9)}{i}" for i in range(130)] + ["short", "long " * 70]
    messages = (Message("user", "Which of them?"),)
    with LlamaEngine(base, context_tokens=cells, slots=1, threads=1, exact=True) as engine:
        together = engine.score_choices(messages, labels, adapter=adapter)
        for i in (0, 1, 77, 129, 130, 131):
            alone = engine.score_choices(messages, [labels[i]], adapter=adapter)
            assert together.logprobs[i] == pytest.approx(alone.logprobs[0], abs=10 * SAME)
        prompt = engine.tokenize(engine.template.render(messages))
        for i in (3, 131):
            tail = [*engine.tokenize(labels[i], special=False), 2]
            logits = engine.logits(prompt + tail, adapter=adapter)[len(prompt) - 1 : -1]
            rows = logits - log_sum_exp(logits)[:, None]
            plain = float(rows[np.arange(len(tail)), tail].sum())
            assert together.logprobs[i] == pytest.approx(plain, abs=10 * SAME)
