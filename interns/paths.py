"""Where everything of one office lies; `INTERNS_HOME` moves all of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path


@dataclass(frozen=True)
class Paths:
    """The data directory of one office. Nothing is created by naming it."""

    home: Path

    @classmethod
    def default(cls) -> Paths:
        """`INTERNS_HOME`, else the platform's data directory."""
        chosen = os.environ.get("INTERNS_HOME")
        home = Path(chosen).expanduser() if chosen else user_data_path("interns")
        return cls(home.absolute())

    def create(self) -> Paths:
        """Make the directory, readable by its owner only."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        return self

    @property
    def config(self) -> Path:
        """User settings, TOML."""
        return self.home / "config.toml"

    @property
    def lock(self) -> Path:
        """Held by the daemon; contains its pid."""
        return self.home / "daemon.lock"

    @property
    def address(self) -> Path:
        """JSON with the daemon's port, pid and version."""
        return self.home / "daemon.json"

    @property
    def token(self) -> Path:
        """Bearer token of the local API, mode 0600."""
        return self.home / "token"

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.home / "daemon.log"

    @property
    def database(self) -> Path:
        """SQLite: interns, tasks, approvals, documents."""
        return self.home / "office.db"

    @property
    def checkpoints(self) -> Path:
        """SQLite: LangGraph's checkpoints."""
        return self.home / "checkpoints.db"

    @property
    def vectors(self) -> Path:
        """Chroma's folder; can be rebuilt from the database."""
        return self.home / "vectors"

    @property
    def bases(self) -> Path:
        """Base models and their dequantized copies."""
        return self.home / "bases"

    @property
    def rosters(self) -> Path:
        """Base and adapters of the roster in one file; made anew when it is lost."""
        return self.home / "rosters"

    @property
    def interns(self) -> Path:
        """One folder per intern and version."""
        return self.home / "interns"

    @property
    def runs(self) -> Path:
        """One folder per onboarding run."""
        return self.home / "runs"

    @property
    def prefixes(self) -> Path:
        """Keys and values of earlier prompts; may be deleted at any time."""
        return self.home / "prefixes"

    @property
    def outbox(self) -> Path:
        """Files that approved tasks produced."""
        return self.home / "outbox"
