"""What can happen in an office, as the words that screens follow."""

from __future__ import annotations

from enum import StrEnum


class EventKind(StrEnum):
    """Kinds of events in the stream."""

    TASK_QUEUED = "task.queued"
    TASK_STEP = "task.step"
    TASK_ENDED = "task.ended"
    APPROVAL_PENDING = "approval.pending"
    APPROVAL_DECIDED = "approval.decided"
    EFFECT_INTENT = "effect.intent"
    EFFECT_DONE = "effect.done"
    EFFECT_UNKNOWN = "effect.unknown"
    EFFECT_FAILED = "effect.failed"
    RUN_CHANGED = "run.changed"
    INTERN_CHANGED = "intern.changed"
    KNOWLEDGE_CHANGED = "knowledge.changed"
    OFFICE_STARTED = "office.started"
