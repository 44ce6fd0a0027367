"""What a run remembers between steps: plain values, safe to store as JSON."""

from __future__ import annotations

from typing import Any, TypedDict


class TaskState(TypedDict, total=False):
    """The state of one task's graph.

    Attributes:
        task_id: The task.
        run_id: The run, also the graph's thread.
        text: What the person wrote.
        requested: Intern the person named, or None.
        knowledge: Collection to quote from, or None.
        effect_kind: ``none``, ``file`` or ``webhook``.
        effect_target: File name or URL.
        route: Who was chosen, with scores.
        intern: Who works on it; None when nobody fits.
        version: Number of the intern's version, fixed for this task.
        adapter_sha256: Hash of that version's adapter.
        passages: What may be quoted.
        draft: The intern's answer.
        citations: Quotes with their exact place.
        confidence: The intern's own, 0 to 1, or None.
        problems: What the checks found.
        ask: Whether a human is asked.
        why: The reason.
        approval_id: The open question, or None.
        trouble: Why a delivery's outcome is unknown, empty otherwise.
        attempt: How many deliveries were tried.
        ended: Status the task ended with, empty while it goes on.
    """

    task_id: int
    run_id: str
    text: str
    requested: str | None
    knowledge: str | None
    effect_kind: str
    effect_target: str
    route: dict[str, Any]
    intern: str | None
    version: int | None
    adapter_sha256: str
    passages: list[dict[str, Any]]
    draft: str
    citations: list[dict[str, Any]]
    confidence: float | None
    problems: list[str]
    ask: bool
    why: str
    approval_id: int | None
    trouble: str
    attempt: int
    ended: str
