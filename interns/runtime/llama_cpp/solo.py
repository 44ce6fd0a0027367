"""Work that has the context to itself: cold logits and label scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from interns.runtime.llama_cpp.generation import prompt_rows
from interns.runtime.llama_cpp.library import Row
from interns.runtime.llama_cpp.prefixes import AdapterKey
from interns.runtime.llama_cpp.scheduler import Scheduler
from interns.runtime.llama_cpp.scoring import LabelTrie, label_groups

_COLD: AdapterKey = ("cold", 0.0)


def cold_logits(scheduler: Scheduler, *, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
    """Logits after every token, nothing reused and nothing kept; (tokens, vocabulary)."""
    size = scheduler.context.size
    sequence, start = scheduler.open_sequence(_COLD, tokens)
    parts: list[npt.NDArray[np.float32]] = []
    try:
        while start < len(tokens):
            rows = prompt_rows(tokens, start, sequence, min(size.batch, size.outputs))
            scheduler.decode([Row(r.token, r.position, r.sequences, output=True) for r in rows])
            parts.append(scheduler.context.logits().copy())
            start += len(rows)
    finally:
        scheduler.close_sequence(sequence, _COLD, ())
    return np.concatenate(parts)


def score_labels(
    scheduler: Scheduler,
    *,
    prompt: Sequence[int],
    labels: Sequence[Sequence[int]],
    key: AdapterKey,
    stop: int,
) -> npt.NDArray[np.float64]:
    """Log-probability of each label followed by the stop token.

    Args:
        scheduler: Whose context, with the right adapter on it.
        prompt: Token ids of the prompt.
        labels: Token ids of each label.
        key: What the prompt's keys and values are filed under.
        stop: The token that ends an answer.
    """
    size = scheduler.context.size
    sequence, start = scheduler.open_sequence(key, prompt)
    done: Sequence[int] = ()
    try:
        while start < len(prompt):
            rows = prompt_rows(prompt, start, sequence, size.batch)
            scheduler.decode(rows)
            start += len(rows)
        done = prompt
        after = scheduler.context.logits()[-1].copy()
        scores = np.zeros(len(labels))
        most = min(size.outputs, size.cells - len(prompt))
        for group in label_groups(labels, len(scheduler.label_sequences), most):
            trie = LabelTrie([labels[i] for i in group], stop)
            scores[group] = _trie_scores(scheduler, sequence, len(prompt), after, trie)
    finally:
        scheduler.close_sequence(sequence, key, done)
    scheduler.counts["scored"] += len(labels)
    return scores


def _trie_scores(
    scheduler: Scheduler,
    sequence: int,
    length: int,
    after: npt.NDArray[np.float32],
    trie: LabelTrie,
) -> npt.NDArray[np.float64]:
    first = scheduler.label_sequences.start
    members = range(first, first + trie.label_count)
    try:
        for member in members:
            scheduler.context.copy_sequence(sequence, member, length)
        scheduler.decode(trie.rows(length, first))
        return trie.scores(after, scheduler.context.logits())
    finally:
        for member in members:
            scheduler.context.drop_sequence(member)
