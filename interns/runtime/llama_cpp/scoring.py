"""Exact probabilities of whole labels: the trie of their tokens, computed as one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from interns.runtime.llama_cpp.library import Row

Floats = npt.NDArray[np.float64]


@dataclass
class _Node:
    token: int
    depth: int
    labels: list[int] = field(default_factory=list)
    children: dict[int, _Node] = field(default_factory=dict)
    output: int = -1


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Natural log-probabilities along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    total: npt.NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return total


class LabelTrie:
    """Labels as token sequences, common beginnings computed once.

    Args:
        labels: Token ids of each label, none empty.
        stop: The token that must follow a label.
    """

    def __init__(self, labels: Sequence[Sequence[int]], stop: int) -> None:
        self._labels = labels
        self._stop = stop
        self._root = _Node(token=-1, depth=0)
        for number, tokens in enumerate(labels):
            node = self._root
            for token in tokens:
                node = node.children.setdefault(token, _Node(token, node.depth + 1))
                node.labels.append(number)
        self._nodes = list(_walk(self._root))
        for i, node in enumerate(self._nodes):
            node.output = i

    @property
    def label_count(self) -> int:
        """Number of labels."""
        return len(self._labels)

    def rows(self, start: int, first_sequence: int) -> list[Row]:
        """The batch that computes all nodes; label i lives in sequence ``first_sequence + i``.

        Args:
            start: Position of the first label token.
            first_sequence: Number of the sequence of the first label.
        """
        return [
            Row(
                node.token,
                start + node.depth - 1,
                tuple(first_sequence + number for number in node.labels),
                output=True,
            )
            for node in self._nodes
        ]

    def scores(self, prompt: npt.NDArray[np.float32], nodes: npt.NDArray[np.float32]) -> Floats:
        """Log-probability of each label followed by the stop token.

        Args:
            prompt: Logits after the prompt, (vocabulary,).
            nodes: Logits after each row of `rows`, (nodes, vocabulary).
        """
        before, after = log_softmax(prompt), log_softmax(nodes)
        result = np.zeros(len(self._labels))
        for number, tokens in enumerate(self._labels):
            node, current = self._root, before
            for token in tokens:
                result[number] += current[token]
                node = node.children[token]
                current = after[node.output]
            result[number] += current[self._stop]
        return result


def label_groups(
    labels: Sequence[Sequence[int]], most_labels: int, most_tokens: int
) -> list[list[int]]:
    """Cut a label set into groups that fit one batch each; neighbours in token order stay together.

    Args:
        labels: Token ids of each label.
        most_labels: Labels in a group.
        most_tokens: Tokens in a group, shared ones counted for each label.
    """
    groups: list[list[int]] = [[]]
    used = 0
    for number in sorted(range(len(labels)), key=lambda i: tuple(labels[i])):
        size = len(labels[number])
        if groups[-1] and (len(groups[-1]) >= most_labels or used + size > most_tokens):
            groups.append([])
            used = 0
        groups[-1].append(number)
        used += size
    return groups


def _walk(node: _Node) -> Iterator[_Node]:
    for child in node.children.values():
        yield child
        yield from _walk(child)
