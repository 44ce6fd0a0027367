"""Work of several batches: cold logits, the log-probabilities of a text, label scores.

Each is a generator that yields after every batch, so that other interns get their turns between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from interns.completion import TokenScore
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.generation import prompt_rows
from interns.runtime.llama_cpp.jobs import Desk, Solo, Steps
from interns.runtime.llama_cpp.logprobs import Logits, likeliest, log_sum_exp
from interns.runtime.llama_cpp.scoring import LabelTrie


def cold_logits(desk: Desk, job: Solo) -> Steps:
    """Logits after every token, nothing reused; the outcome is (tokens, vocabulary)."""
    parts: list[Logits] = []
    while job.decoded < len(job.prompt):
        rows = _read(desk, job, every=True)
        parts.append(desk.context.logits()[:rows].copy())
        yield rows
    job.outcome = np.concatenate(parts)


def crowded_logits(desk: Desk, job: Solo, *, copies: int) -> Steps:
    """As `cold_logits`, read as often at once, with the last token in a batch of its own.

    How llama.cpp rounds depends on how many rows a batch has.
    """
    last = len(job.prompt) - 1
    others = desk.label_sequences[: copies - 1]
    rows = [
        Row(token, place, (sequence,), output=sequence == job.sequence)
        for sequence in (job.sequence, *others)
        for place, token in enumerate(job.prompt[:last])
    ]
    while desk.room < len(rows):
        yield 0  # the next turn has more
    try:
        desk.decode(rows)
        read = desk.context.logits().copy()
    finally:
        for member in others:
            desk.context.drop_sequence(member)
    job.decoded = last
    yield len(rows)
    desk.decode([Row(job.prompt[last], last, (job.sequence,), output=True)])
    job.outcome = np.concatenate((read, desk.context.logits()))
    job.decoded += 1
    yield 1


def score_tokens(desk: Desk, job: Solo, *, piece: Callable[[int], bytes], count: int) -> Steps:
    """Log-probability of every token of a text after the first, with likely alternatives.

    The outcome is one `TokenScore` per token.

    Args:
        desk: The engine.
        job: This work; its prompt is the text.
        piece: Bytes of a token.
        count: Alternatives to report.
    """
    scores = [TokenScore(job.prompt[0], piece(job.prompt[0]), None)]
    while job.decoded < len(job.prompt):
        rows = _read(desk, job, every=True)
        logits = desk.context.logits()
        totals = log_sum_exp(logits)
        for row, token in enumerate(job.prompt[len(scores) : job.decoded + 1]):
            line = logits[row] - np.float32(totals[row])
            others = likeliest(line, count)
            alternatives = tuple(TokenScore(i, piece(i), float(line[i])) for i in others)
            scores.append(TokenScore(token, piece(token), float(line[token]), alternatives))
        yield rows
    job.outcome = tuple(scores)


def score_labels(
    desk: Desk,
    job: Solo,
    *,
    labels: Sequence[Sequence[int]],
    stop: int,
    tail: float,
    temperature: float,
) -> Steps:
    """Log-probability of each label followed by the stop token; the outcome is (labels,).

    Args:
        desk: The engine.
        job: This work.
        labels: Token ids of each label.
        stop: The token that ends an answer.
        tail: As for `LabelTrie`.
        temperature: Likewise.
    """
    trie = None
    while job.decoded < len(job.prompt):
        rows = _read(desk, job)
        if job.decoded == len(job.prompt):
            logits = desk.context.logits()[-1]
            trie = LabelTrie(labels, stop, logits, tail=tail, temperature=temperature)
        yield rows
    assert trie is not None, "a prompt has tokens"  # noqa: S101 - our own invariant
    start = 1
    while (last := trie.reach(start)) > start:
        start, rows = _compute(desk, job, trie, start, last)
        yield rows
    job.outcome = trie.scores


def _read(desk: Desk, job: Solo, *, every: bool = False) -> int:
    """Compute the next rows of the prompt, with logits after each one if `every`; how many."""
    most = min(desk.room, desk.context.size.outputs) if every else desk.room
    rows = prompt_rows(job.prompt, job.decoded, job.sequence, most)
    if every:
        rows = [Row(row.token, row.position, row.sequences, output=True) for row in rows]
    desk.decode(rows)
    job.decoded += len(rows)
    return len(rows)


def _compute(desk: Desk, job: Solo, trie: LabelTrie, start: int, last: int) -> tuple[int, int]:
    """Compute the trie's nodes from `start` to before `last`, as many as fit.

    Between batches only the prompt's own sequence is held: it carries the path on which the next
    batch goes on, so that no prefix is computed twice.

    Returns:
        The next node, and how many rows it took.
    """
    context, length, own = desk.context, len(job.prompt), job.sequence
    most = min(desk.room, context.size.outputs, job.cells - length - trie.known(start))
    batch = trie.batch(start, last, most, len(desk.label_sequences))
    first = desk.label_sequences.start
    members = range(first, first + len(batch.places))
    try:
        for member, known in zip(members, batch.known, strict=True):
            context.copy_sequence(own, member, length + known)
        rows = trie.rows(batch, length, first)
        desk.decode(rows)
        trie.take(batch.start, context.logits())
        context.drop_sequence(own, length)
        if known := trie.known(batch.end):
            context.copy_sequence(members[-1], own, length + known)
    finally:
        for member in members:
            context.drop_sequence(member)
    return batch.end, len(rows)
