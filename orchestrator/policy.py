"""Must a human see this before it happens?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from interns.intern import State

Level = Literal["ask always", "ask when unsure", "ask never"]
SURE = 0.9


@dataclass(frozen=True)
class Ruling:
    """Whether a human is asked, and why, in one sentence."""

    ask: bool
    why: str


def rule(state: State, level: Level, *, confidence: float | None, problems: list[str]) -> Ruling:
    """Decide whether a human is asked about a draft.

    Args:
        state: Probation always asks.
        level: What the intern has earned, or the office's default.
        confidence: The intern's own, 0 to 1; None counts as unsure.
        problems: What the checks found.
    """
    if state == "probation":
        return Ruling(True, "The intern is on probation: every action is shown to a human.")
    if problems:
        return Ruling(True, f"The checks found: {'; '.join(problems)}.")
    match level:
        case "ask always":
            return Ruling(True, "The office asks about every action.")
        case "ask when unsure":
            sure = confidence is not None and confidence >= SURE
            if sure:
                return Ruling(False, f"Confidence {confidence:.2f} is at least {SURE}.")
            known = "unknown" if confidence is None else f"{confidence:.2f}"
            return Ruling(True, f"Confidence is {known}, below {SURE}.")
        case "ask never":
            return Ruling(False, "The office lets this intern act without asking.")
