"""Probabilities of whole labels: the trie of their tokens, each distinct prefix scored once.

A branch is what begins with one token. The prompt's logits tell how probable each branch is, and no
label is more probable than its branch. So the likeliest branch is numbered first, and reading ends
before the first one that is too far below the best whole label to matter.

Within a branch the nodes are numbered depth first, so that every batch is the next run of nodes:
whatever a node follows was computed before or stands in the same batch. Only the columns that lead
on are taken from the logits, besides their log-sum-exp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from interns.errors import InvalidInput
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.logprobs import Floats, Logits, log_sum_exp
from interns.runtime.llama_cpp.prefixes import shared_length

_FIRST_ROWS = 16  # nodes of the likeliest branches that are read before any is left out


def margin_for(tail: float, labels: int, temperature: float) -> float:
    """Nats below the best label from which all labels together hold no more than `tail`.

    Each of them holds at most ``exp(-margin / temperature)`` of what the best one holds.

    Args:
        tail: Share of the probability, in [0, 1); 0 gives infinity.
        labels: How many there are.
        temperature: Of the probabilities; the bound holds at 1 too.

    Raises:
        InvalidInput: There is no such share.
    """
    if not 0 <= tail < 1:
        raise InvalidInput(f"A tail of {tail} is not in [0, 1).", "Use 0 to read all labels.")
    return max(1.0, temperature) * math.log(labels / tail) if tail else math.inf


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
        margin: Nats below the best whole label from which a branch is not read; infinite: all are.

    Attributes:
        scores: Natural log-probability of each label read so far, same order; of the others the one
            of their branch, which is no less.
    """

    def __init__(
        self,
        labels: Sequence[Sequence[int]],
        stop: int,
        logits: Logits,
        *,
        margin: float = math.inf,
    ) -> None:
        self._stop, self._margin = stop, margin
        self._nodes = [_Node(-1, 0, 0, len(labels))]
        order = sorted(range(len(labels)), key=lambda i: (-logits[labels[i][0]], tuple(labels[i])))
        self._grow([(number, labels[number]) for number in order])
        self._sums = np.zeros(len(self._nodes))
        self.scores: Floats = np.zeros(len(labels))
        self._best = -math.inf
        self.take(0, logits[None])
        for branch in self._nodes[0].children:
            node = self._nodes[branch]
            self.scores[order[node.first : node.last]] = self._sums[branch]

    def __len__(self) -> int:
        """Number of distinct prefixes, the empty one not counted."""
        return len(self._nodes) - 1

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
        if math.isinf(self._margin):
            return len(self._nodes)
        branches = self._nodes[0].children
        ends = [*branches[1:], len(self._nodes)]
        if math.isinf(self._best):
            wanted = start + _FIRST_ROWS
        else:
            near = self._sums[branches] >= self._best - self._margin
            wanted = ends[int(near.sum()) - 1]
        if wanted <= start:
            return start
        # llama.cpp rounds a batch of one token differently, so none is asked for or left over.
        end = next((end for end in ends if end >= max(wanted, start + 2)), len(self._nodes))
        return len(self._nodes) if len(self._nodes) - end == 1 else end

    def batch(self, start: int, most_rows: int, most_labels: int) -> LabelBatch:
        """The nodes from `start` on, as many as fit and are worth it, but never one less than these."""
        last = self.reach(start)
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
