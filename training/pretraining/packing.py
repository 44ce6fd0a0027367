"""Documents packed into rows, and which rows each step reads.

A row holds whole documents where they fit, and attention never crosses from one to the next. Texts
longer than a row are cut; the rests fill gaps. Best-fit packing (Ding et al. 2024,
arXiv:2404.10830) over a window of open rows leaves little padding.

Everything here is a function of the recipe's seed and the number of the step: a resumed run needs
no other position in the data.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from interns.errors import InvalidInput
from training.pretraining.recipe import CHATS, GROUPS, Course, PretrainRecipe
from training.pretraining.schedule import decay_begins
from training.pretraining.tokens import UNLEARNED, TokenFile

IGNORED = -100
_OPEN_ROWS = 64
_SHORTEST_PIECE = 8  # tokens; a shorter rest teaches nothing

Row = list[tuple[int, int]]  # (first token, tokens) of the pieces in it


class Batch(NamedTuple):
    """What one step reads, each of shape (rows, context).

    Attributes:
        ids: Token ids.
        targets: The next token where it is to be learned, else `IGNORED`.
        documents: Number of the document, counted within the row; padding is -1.
    """

    ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pile:
    """The documents of one group, to be packed anew in every pass.

    Attributes:
        ids: As in a `TokenFile`.
        starts: First token of each piece.
        sizes: Tokens of each piece, at most the context.
    """

    ids: npt.NDArray[np.uint16]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, files: Sequence[TokenFile], context: int, *, held_out: bool = False) -> Pile:
        """Gather the documents of files of one group.

        A text longer than `context` tokens becomes several pieces; of a chat only the beginning is
        read, since its end without it would be learned out of context.
        """
        starts, sizes, offset = [], [], 0
        for file in files:
            chosen = slice(file.learned, None) if held_out else slice(0, file.learned)
            lengths = file.lengths.astype(np.int64)
            first = (np.cumsum(lengths) - lengths + offset)[chosen]
            lengths = lengths[chosen]
            counts = np.ones_like(lengths) if file.group in CHATS else -(-lengths // context)
            which = np.repeat(np.arange(len(counts)), counts)
            part = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
            starts.append(first[which] + part * context)
            sizes.append(np.minimum(context, lengths[which] - part * context))
            offset += len(file.ids)
        all_starts, all_sizes = np.concatenate(starts), np.concatenate(sizes)
        long_enough = all_sizes >= _SHORTEST_PIECE
        return cls(
            np.concatenate([file.ids for file in files]),
            all_starts[long_enough],
            all_sizes[long_enough],
        )

    def rows(self, context: int, seed: Sequence[int]) -> list[Row]:
        """Pack all pieces once, in an order drawn from `seed`."""
        order = np.random.default_rng(list(seed)).permutation(len(self.starts))
        pieces = zip(self.starts[order].tolist(), self.sizes[order].tolist(), strict=True)
        rows: list[Row] = []
        open_rows: list[tuple[int, int]] = []  # (room, number of the row), least room first
        for piece in pieces:
            at = bisect_left(open_rows, (piece[1], 0))
            if at == len(open_rows):
                rows.append([])
                room, number = context, len(rows) - 1
            else:
                room, number = open_rows.pop(at)
            rows[number].append(piece)
            if room - piece[1] >= _SHORTEST_PIECE:
                insort(open_rows, (room - piece[1], number))
            if len(open_rows) > _OPEN_ROWS:
                open_rows.pop(0)
        return rows

    def batch(self, rows: Sequence[Row], context: int, pad: int) -> Batch:
        """Lay rows out as arrays; `pad` is the id that fills the gaps."""
        raw = np.full((len(rows), context), pad | UNLEARNED, dtype=np.uint16)
        documents = np.full((len(rows), context), -1, dtype=np.int64)
        for at, row in enumerate(rows):
            end = 0
            for number, (start, size) in enumerate(row):
                raw[at, end : end + size] = self.ids[start : start + size]
                documents[at, end : end + size] = number
                end += size
        ids = (raw & ~np.uint16(UNLEARNED)).astype(np.int64)
        targets = np.full_like(ids, IGNORED)
        follows = (documents[:, 1:] == documents[:, :-1]) & (raw[:, 1:] < UNLEARNED)
        targets[:, :-1][follows] = ids[:, 1:][follows]
        return Batch(ids, targets, documents)


class Reader:
    """The batches of a run.

    Args:
        files: The prepared corpus.
        recipe: Shares, seed and sizes.
        pad: Id of the padding token.

    Raises:
        InvalidInput: A group of the recipe has no documents.
    """

    def __init__(self, files: Sequence[TokenFile], recipe: PretrainRecipe, pad: int) -> None:
        self._recipe, self._pad = recipe, pad
        by_group: Mapping[str, list[TokenFile]] = {
            group: [file for file in files if file.group == group] for group in GROUPS
        }
        needed = [g for g in GROUPS if recipe.stable.get(g) or recipe.ending.get(g)]
        for group in needed:
            if not any(file.learned for file in by_group[group]):
                raise InvalidInput(
                    f"The recipe reads {group!r}, but the corpus has none.",
                    f"Add a source of it, or take {group} out of the recipe.",
                )
        context = recipe.shape.context
        self._held = {g: Pile.of(by_group[g], context, held_out=True) for g in needed}
        course = recipe.course
        self._turn = decay_begins(course)
        short = course.short_context or context
        self._phases = (
            _Phase(by_group, recipe.stable, short, self._turn, (course, context, pad, 1)),
            _Phase(by_group, recipe.ending, context, course.steps, (course, context, pad, 2)),
        )

    def batch(self, step: int) -> Batch:
        """What `step` reads; the same whenever it is asked for."""
        return self._phase(step).batch(step)

    def rows(self, step: int) -> list[tuple[str, Row]]:
        """The group and the pieces of each row that `step` reads."""
        return self._phase(step).rows(step)

    def describe(self, step: int) -> str:
        """Which rows `step` reads, for a message."""
        return self._phase(step).describe(step)

    def held_out(self) -> dict[str, Batch]:
        """The rows of each group that are never learned; groups without any are left out."""
        rows, context = self._recipe.course.held_out_rows, self._recipe.shape.context
        packed = {
            group: pile.rows(context, (0,))[:rows]
            for group, pile in self._held.items()
            if len(pile.starts)
        }
        return {
            group: self._held[group].batch(some, context, self._pad)
            for group, some in packed.items()
        }

    def _phase(self, step: int) -> _Phase:
        return self._phases[step >= self._turn]


class _Phase:
    """Steps with one mixture and one length of rows, numbered as in the whole run."""

    def __init__(
        self,
        by_group: Mapping[str, Sequence[TokenFile]],
        shares: Mapping[str, float],
        context: int,
        steps: int,
        common: tuple[Course, int, int, int],
    ) -> None:
        course, longest, self._pad, number = common
        self._context, self._seed = context, (course.seed, number)
        self._groups = [group for group in GROUPS if shares.get(group)]
        self._piles = {group: Pile.of(by_group[group], context) for group in self._groups}
        self._sizes: dict[str, int] = {}
        self._pass: dict[str, tuple[int, list[Row]]] = {}
        # The group of every row of every step, and how many of each came before the step.
        random = np.random.default_rng(list(self._seed))
        rows = course.rows * longest // context
        kinds = len(self._groups)
        self._draws = random.choice(
            kinds, size=(steps, rows), p=[shares[group] for group in self._groups]
        )
        counts = np.stack([(self._draws == kind).sum(axis=1) for kind in range(kinds)], axis=1)
        self._before = np.cumsum(counts, axis=0) - counts

    def rows(self, step: int) -> list[tuple[str, Row]]:
        taken = dict(zip(self._groups, self._before[step].tolist(), strict=True))
        found = []
        for number in self._draws[step].tolist():
            group = self._groups[number]
            found.append((group, self._row(group, taken[group])))
            taken[group] += 1
        return found

    def batch(self, step: int) -> Batch:
        parts = [
            self._piles[group].batch([row], self._context, self._pad)
            for group, row in self.rows(step)
        ]
        return Batch(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def describe(self, step: int) -> str:
        names = [self._groups[number] for number in self._draws[step].tolist()]
        counts = {name: names.count(name) for name in dict.fromkeys(names)}
        first = dict(zip(self._groups, self._before[step].tolist(), strict=True))
        return ", ".join(
            f"{name} rows {first[name]} to {first[name] + n - 1}" for name, n in counts.items()
        )

    def _row(self, group: str, number: int) -> Row:
        """Row `number` of a group, passes counted through: each as long as the first."""
        size = self._sizes.get(group)
        if size is None:
            size = self._sizes[group] = len(self._packed(group, 0))
        rows = self._packed(group, number // size)
        return rows[number % size % len(rows)]

    def _packed(self, group: str, which: int) -> list[Row]:
        known = self._pass.get(group)
        if known is None or known[0] != which:
            seed = (*self._seed, GROUPS.index(group), which)
            known = (which, self._piles[group].rows(self._context, seed))
            self._pass[group] = known
        return known[1]
