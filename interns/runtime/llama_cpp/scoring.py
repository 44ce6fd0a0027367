"""Probabilities of whole labels: the trie of their tokens, each distinct prefix scored once.

A branch is what begins with one token. The prompt's logits tell how probable each branch is, and its
labels together are no more probable than that. So the likeliest branch is numbered first, and reading
ends before the first one from which on all together hold too little to matter.

Within a branch the nodes are numbered depth first, so that every batch is the next run of nodes:
whatever a node follows was computed before or stands in the same batch. Only the columns that lead
on are taken from the logits, besides their log-sum-exp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.logprobs import Floats, Logits, log_sum_exp
from interns.runtime.llama_cpp.prefixes import shared_length

_FIRST_ROWS = 16  # nodes of the likeliest branches that are read before any is left out


@dataclass
class _Node:
    """A distinct prefix; labels are counted by their place in token order.

    Attributes:
        token: Its last token.
        depth: Its length.
        first: Place of the first label that begins with it.
        last: Place after the last such label.
        children: Nodes that are one token longer.
        ends: Labels, as given, that end here.
    """

    token: int
    depth: int
    first: int
    last: int
    children: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class LabelBatch:
    """The next nodes to compute.

    Attributes:
        start: Number of its first node.
        end: Number after its last node.
        places: The labels they belong to, by place; each needs a sequence of its own.
        known: For each of these labels, how many of its tokens were computed before.
    """

    start: int
    end: int
    places: range
    known: tuple[int, ...]


class LabelTrie:
    """Labels as token sequences.

    Args:
        labels: Token ids of each label, none empty.
        stop: The token that must follow a label.
        logits: Logits after the prompt, (vocabulary,).
        tail: Share of the probability that labels may hold unread, in [0, 1); 0 reads all.
        temperature: Of that probability, above 0.

    Attributes:
        scores: Natural log-probability of each label read so far, same order; of the others an even
            share of their branch's.
    """

    def __init__(
        self,
        labels: Sequence[Sequence[int]],
        stop: int,
        logits: Logits,
        *,
        tail: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        self._stop, self._tail, self._temperature = stop, tail, max(1.0, temperature)
        self._nodes = [_Node(-1, 0, 0, len(labels))]
        order = sorted(range(len(labels)), key=lambda i: (-logits[labels[i][0]], tuple(labels[i])))
        self._grow([(number, labels[number]) for number in order])
        self._sums = np.zeros(len(self._nodes))
        self.scores: Floats = np.zeros(len(labels))
        self._best = -math.inf
        self.take(0, logits[None])
        self._branches = self._nodes[0].children
        sizes = [self._nodes[branch].last - self._nodes[branch].first for branch in self._branches]
        self._shares = self._sums[self._branches] - np.log(sizes)
        self._sizes = np.array(sizes)
        self.scores[order] = np.repeat(self._shares, sizes)

    def _grow(self, labels: Sequence[tuple[int, Sequence[int]]]) -> None:
        path, before = [0], list[int]()
        for place, (number, label) in enumerate(labels):
            tokens = list(label)
            del path[shared_length(before, tokens) + 1 :]
            for token in tokens[len(path) - 1 :]:
                self._nodes[path[-1]].children.append(len(self._nodes))
                path.append(len(self._nodes))
                self._nodes.append(_Node(token, len(path) - 1, place, place))
            for node in path:
                self._nodes[node].last = place + 1
            self._nodes[path[-1]].ends.append(number)
            before = tokens

    def known(self, node: int) -> int:
        """Number of tokens before a node, all of them in one path."""
        return self._nodes[node].depth - 1 if node < len(self._nodes) else 0

    def reach(self, start: int) -> int:
        """Number after the last node worth reading, as far as is known; `start` when none is.

        Args:
            start: Number of the first node that was not read.
        """
        if not self._tail:
            return len(self._nodes)
        ends = [*self._branches[1:], len(self._nodes)]
        wanted = start + _FIRST_ROWS if math.isinf(self._best) else ends[self._worth_reading() - 1]
        if wanted <= start:
            return start
        # llama.cpp rounds a batch of one token differently, so none is asked for or left over.
        end = next((end for end in ends if end >= max(wanted, start + 2)), len(self._nodes))
        return len(self._nodes) if len(self._nodes) - end == 1 else end

    def _worth_reading(self) -> int:
        """How many branches must be read so that the others hold no more than the tail.

        At a temperature T of at least 1 the n labels of a branch hold most where they are equal
        (Hölder's inequality), and a lower one only makes them less.
        """
        below = np.minimum(0.0, self._shares - self._best)  # one label above the best is enough
        held = self._sizes * np.exp(below / self._temperature)
        return int((np.cumsum(held[::-1])[::-1] > self._tail).sum())

    def batch(self, start: int, last: int, most_rows: int, most_labels: int) -> LabelBatch:
        """The nodes from `start` to before `last`, as many as fit, but never all but one."""
        end = min(last, start + max(1, most_rows))
        if last - end == 1 and end - start > 2:
            end -= 1
        first = self._nodes[start].first
        while self._nodes[end - 1].first - first >= most_labels:
            end -= 1
        places = range(first, self._nodes[end - 1].first + 1)
        begins = {first: self._nodes[start].depth - 1}
        for node in self._nodes[start + 1 : end]:
            begins.setdefault(node.first, node.depth - 1)
        known, least = [], begins[first]
        for place in places:
            least = min(least, begins.get(place, least))
            known.append(least)
        return LabelBatch(start, end, places, tuple(known))

    def rows(self, batch: LabelBatch, position: int, first_sequence: int) -> list[Row]:
        """The tokens of a batch; its n-th label lives in sequence ``first_sequence + n``.

        Args:
            batch: From `batch`.
            position: Position of the first label token.
            first_sequence: Number of the sequence of its first label.
        """
        shift, stop = first_sequence - batch.places.start, batch.places.stop
        return [
            Row(
                node.token,
                position + node.depth - 1,
                tuple(range(shift + node.first, shift + min(node.last, stop))),
                output=True,
            )
            for node in self._nodes[batch.start : batch.end]
        ]

    def take(self, start: int, logits: Logits) -> None:
        """Score what follows each node of a run.

        Args:
            start: Number of the first node; 0 is the empty prefix, whose logits follow the prompt.
            logits: Logits after each node, (nodes, vocabulary).
        """
        totals = log_sum_exp(logits)
        for row, total in enumerate(totals):
            node, so_far = self._nodes[start + row], self._sums[start + row] - total
            if node.children:
                tokens = [self._nodes[child].token for child in node.children]
                self._sums[node.children] = so_far + logits[row, tokens]
            if node.ends:
                self.scores[node.ends] = so_far + logits[row, self._stop]
                self._best = max(self._best, float(self.scores[node.ends[0]]))
