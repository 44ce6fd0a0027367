"""No decision by accident: what must be true before a key decides."""

from __future__ import annotations

from dataclasses import dataclass, field

ON_SCREEN_S = 0.5
QUIET_S = 0.5


@dataclass
class Guard:
    """Knows what is on screen since when; all times are seconds of one monotonic clock.

    A decision counts only for the item that has been on screen for `ON_SCREEN_S`, not while another
    decision on it is under way, and not within `QUIET_S` of typing somewhere else.
    """

    shown: int | None = None
    since: float = 0.0
    typed: float = float("-inf")
    busy: set[int] = field(default_factory=set)

    def show(self, item: int | None, now: float) -> None:
        """Note which item is on screen; the same item again changes nothing."""
        if item != self.shown:
            self.shown, self.since = item, now

    def appear(self, now: float) -> None:
        """Note that the screen itself came up: its item starts anew."""
        self.since = now

    def type(self, now: float) -> None:
        """Note when a letter was typed that meant something else."""
        self.typed = max(self.typed, now)

    def refusal(self, item: int | None, now: float) -> str:
        """Return why `item` cannot be decided now, or an empty string."""
        if item is None or item != self.shown:
            return "Nothing is chosen."
        if item in self.busy:
            return "This decision is on its way."
        if now - self.since < ON_SCREEN_S or now - self.typed < QUIET_S:
            return "It only just appeared: read it, then press again."
        return ""
