"""The organisation's mission and an intern's role become the system message."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from interns.intern import Profile


@dataclass(frozen=True)
class Charter:
    """What the organisation stands for; in every intern's prompt.

    Attributes:
        mission: One or two sentences; empty when none was written yet.
    """

    mission: str = ""

    @property
    def version(self) -> str:
        """12 hex digits that name this wording; recorded on every run."""
        return hashlib.sha256(self.mission.strip().encode()).hexdigest()[:12]

    def system_prompt(self, profile: Profile) -> str:
        """Return the system message of `profile` under this charter."""
        role = f"You are {profile.name}. {profile.role}".strip()
        mission = " ".join(self.mission.split())
        return f"Mission: {mission}\n{role}" if mission else role
