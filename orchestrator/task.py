"""What a task is and what it may let out of the office: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from interns.errors import InvalidInput

TaskStatus = Literal["queued", "running", "waiting", "done", "rejected", "answered", "failed"]
TASK_STATUSES: tuple[TaskStatus, ...] = (
    "queued",
    "running",
    "waiting",
    "done",
    "rejected",
    "answered",
    "failed",
)
OPEN_STATUSES = ("queued", "running", "waiting")
MAX_TEXT = 100_000


@dataclass(frozen=True)
class EffectSpec:
    """What shall leave the office when a task is approved.

    Attributes:
        kind: ``none``, ``file`` or ``webhook``.
        target: File name inside the outbox, or URL; empty for ``none``.
    """

    kind: str = "none"
    target: str = ""

    @classmethod
    def parse(cls, asked: str | Mapping[str, str] | None) -> EffectSpec:
        """Read ``file:NAME``, ``webhook:URL``, ``outbox``, ``none`` or ``{"kind", "target"}``.

        Raises:
            InvalidInput: It has none of these forms.
        """
        if not asked:
            return cls()
        if isinstance(asked, Mapping):
            kind, target = str(asked.get("kind", "")), str(asked.get("target", ""))
        else:
            kind, _, target = asked.partition(":")
        if kind in {"outbox", "file"}:
            return cls("file", target.strip())
        if kind == "webhook":
            return cls("webhook", target.strip())
        if kind == "none":
            return cls()
        raise InvalidInput(
            f"{asked!r} is no effect.", "Use file:NAME, webhook:URL or outbox, or leave it out."
        )


def check_text(text: str) -> str:
    """Return the text of a task if it can be one.

    Raises:
        InvalidInput: It is empty or longer than `MAX_TEXT` characters.
    """
    if not text.strip():
        raise InvalidInput("The text is empty.", "Say what should be done.")
    if len(text) > MAX_TEXT:
        raise InvalidInput(
            f"The text has {len(text)} characters; at most {MAX_TEXT} are taken.",
            "Split it into several tasks.",
        )
    return text
