"""What an intern may do without asking."""

from __future__ import annotations

from interns.intern import Intern
from interns.settings import Settings
from orchestrator.policy import Level, Ruling, rule


def level_of(settings: Settings) -> Level:
    """Return the level of interns past probation: the office's default."""
    return settings.autonomy.default


def ruling_for(
    intern: Intern, settings: Settings, *, confidence: float | None, problems: list[str]
) -> Ruling:
    """Decide whether a human is asked about this intern's draft."""
    return rule(intern.state, level_of(settings), confidence=confidence, problems=problems)
