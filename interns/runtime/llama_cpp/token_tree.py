"""Which tokens begin others: where a token cannot follow, nothing that begins with it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]


class TokenTree:
    """The tokens of a vocabulary, each below the longest other one that it begins with.

    Args:
        pieces: The bytes of each token; tokens without bytes stand alone.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        known = {piece: token for token, piece in enumerate(pieces) if piece}
        parents = np.array([_longest(piece, known) for piece in pieces], dtype=np.int64)
        self.size = len(pieces)
        self._levels: list[tuple[Ids, Ids]] = []
        level = np.flatnonzero(parents < 0)
        self._roots = level
        while True:
            level = np.flatnonzero(np.isin(parents, level))
            if not len(level):
                return
            self._levels.append((level, parents[level]))

    def select(self, fits: Callable[[Ids], Ids]) -> Ids:
        """Return all tokens that fit, and ask about those only whose beginning does.

        Args:
            fits: Returns those of some tokens that fit; must not take a token whose beginning
                does not.
        """
        taken = np.zeros(self.size, dtype=np.bool_)
        taken[fits(self._roots)] = True
        for level, parents in self._levels:
            if not len(asked := level[taken[parents]]):
                break
            taken[fits(asked)] = True
        return np.flatnonzero(taken)


def _longest(piece: bytes, known: dict[bytes, int]) -> int:
    """The token that is the longest proper beginning of `piece`, or -1."""
    ends = range(len(piece) - 1, 0, -1)
    return next((known[piece[:end]] for end in ends if piece[:end] in known), -1)
