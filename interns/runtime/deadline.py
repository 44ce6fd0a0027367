"""When work is over before it is done: its deadline has passed, or somebody cancelled it."""

from __future__ import annotations

import math
import time

from interns.errors import InvalidInput, Unavailable


def check_deadline(seconds: float | None) -> None:
    """Refuse seconds that are not above 0.

    Raises:
        InvalidInput: They are not.
    """
    if seconds is not None and not seconds > 0:
        raise InvalidInput(
            f"A deadline of {seconds} s is not above 0.", "Give more, or leave deadline_s out."
        )


def deadline_in(seconds: float | None) -> float:
    """When that is from now, on the clock of `time.monotonic`; infinite for None.

    Raises:
        InvalidInput: It is not above 0.
    """
    check_deadline(seconds)
    return time.monotonic() + (seconds or math.inf)


def cut_short(*, late: bool) -> Unavailable:
    """Why what was asked will never come: too late, or cancelled."""
    if late:
        return Unavailable("The deadline passed before the answer was there.", "Raise deadline_s.")
    return Unavailable("The work was cancelled.", "Ask again.")
