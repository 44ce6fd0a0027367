"""Cells that a sequence has from another: of a head that answers begin with alike there is one copy."""

from __future__ import annotations


class Loans:
    """Who has how many leading tokens in whose cells. Used by the owner thread only."""

    def __init__(self) -> None:
        self._from: dict[int, tuple[int, int]] = {}

    def lend(self, lender: int, borrower: int, length: int) -> None:
        """The first `length` tokens of `borrower` lie in cells that `lender` has as well."""
        self._from[borrower] = (lender, length)

    def borrowed(self, sequence: int) -> int:
        """Tokens of a sequence that lie in cells counted elsewhere."""
        return self._from.get(sequence, (-1, 0))[1]

    def leave(self, sequence: int) -> None:
        """A sequence is dropped. Who borrowed most of it has its cells from now on."""
        own = self._from.pop(sequence, None)
        heirs = sorted(
            (length, borrower)
            for borrower, (lender, length) in self._from.items()
            if lender == sequence
        )
        if not heirs:
            return
        most, heir = heirs.pop()
        for length, borrower in heirs:
            self._from[borrower] = (heir, length)
        del self._from[heir]
        if own is not None:
            self._from[heir] = (own[0], min(own[1], most))

    def clear(self) -> None:
        """Every sequence is gone."""
        self._from.clear()
