"""The trie of labels against the plain sum over each label alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interns.completion import Message
from interns.errors import InvalidInput
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


def _read(trie: LabelTrie, rows: int, sequences: int) -> list[tuple[int, ...]]:
    """Read a trie with made-up logits, batch by batch, and return the prefixes in that order."""
    cells, own, seen, start = Cells(), 0, [], 1
    cells.held[own] = {}
    while (last := trie.reach(start)) > start:
        batch = trie.batch(start, last, rows, sequences)
        assert len(batch.places) <= sequences
        assert batch.end - batch.start <= rows
        assert batch.end <= last
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
    return seen


@given(labels=LABELS, rows=st.integers(1, 9), sequences=st.integers(1, 5))
def test_scores_equal_the_plain_sums_however_batches_are_cut(labels, rows, sequences):
    trie = LabelTrie(labels, STOP, _after(()))
    seen = _read(trie, rows, sequences)
    prefixes = {label[:size] for label in labels for size in range(1, len(label) + 1)}
    assert sorted(seen) == sorted(prefixes)
    np.testing.assert_allclose(trie.scores, [_plain(label) for label in labels], atol=1e-5)


def _probabilities(scores: np.ndarray, temperature: float) -> np.ndarray:
    weights = np.exp((scores - scores.max()) / temperature)
    return weights / weights.sum()


@given(
    labels=LABELS,
    rows=st.integers(1, 40),
    sequences=st.integers(1, 12),
    tail=st.sampled_from([1e-6, 1e-3, 0.05, 0.5]),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
)
def test_what_is_left_unread_holds_no_more_than_the_tail(
    labels, rows, sequences, tail, temperature
):
    trie = LabelTrie(labels, STOP, _after(()), tail=tail, temperature=temperature)
    _read(trie, rows, sequences)
    exact = np.array([_plain(label) for label in labels])
    assert exact[trie.scores.argmax()] == pytest.approx(exact.max(), abs=1e-5)
    for heat in (temperature, 1.0):
        told, right = _probabilities(trie.scores, heat), _probabilities(exact, heat)
        np.testing.assert_allclose(told, right, atol=tail + 1e-6)


@pytest.mark.parametrize("enough", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_branch_is_read_when_its_labels_may_hold_more_than_the_tail(enough, temperature):
    likely, unlikely = (int(token) for token in np.argsort(_after(()))[[-1, 0]])
    labels = [(likely, token, 3) for token in range(9)] + [(unlikely, token) for token in range(9)]
    branch = float(_after(())[unlikely] - log_sum_exp(_after(())[None])[0])
    best = max(_plain(label) for label in labels[:9])
    # Nine equal labels are the most that a branch can hold; below 1 nothing holds more than at 1.
    heat = max(1.0, temperature)
    held = 9 * np.exp((branch - np.log(9) - best) / heat)
    tail = held * (0.999 if enough else 1.001)
    trie = LabelTrie(labels, STOP, _after(()), tail=tail, temperature=temperature)
    read = {prefix[0] for prefix in _read(trie, 64, 32)}
    assert read == ({likely, unlikely} if enough else {likely})
    if not enough:
        np.testing.assert_allclose(trie.scores[9:], branch - np.log(9), atol=1e-5)


@pytest.mark.parametrize("tail", [-0.1, 1.0, float("nan")])
def test_a_share_that_cannot_be_left_unread_is_refused(engine, tail):
    with pytest.raises(InvalidInput, match="tail"):
        engine.score_choices((Message("user", "Which?"),), ["a", "b"], tail=tail)


def test_a_tail_saves_reading_and_costs_no_more_than_itself(base):
    labels = ["Ok.", *(f"{word} {i}" for word in "abcdefghijklmnopqrstuvwxyz" for i in range(5))]
    messages = (Message("user", "Hello"),)
    with LlamaEngine(base, context_tokens=1024, slots=1, threads=1, exact=True) as engine:
        exact = engine.score_choices(messages, labels)
        close = engine.score_choices(messages, labels, tail=0.05)
    assert close.best == exact.best == "Ok."
    read = np.isclose(close.logprobs, exact.logprobs, rtol=0, atol=10 * SAME)
    assert 0 < read.sum() < len(labels)
    np.testing.assert_allclose(close.probabilities, exact.probabilities, atol=0.05)


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
