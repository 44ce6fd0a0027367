"""Questions to a human and the answers they take: plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from interns.errors import InvalidInput

ApprovalKind = Literal["action", "question", "outcome"]
ApprovalStatus = Literal["pending", "approved", "edited", "rejected", "responded"]
Verb = Literal["approve", "edit", "reject", "respond"]

VALID_FOR = timedelta(days=30)
STATUS_OF: Mapping[str, ApprovalStatus] = {
    "approve": "approved",
    "edit": "edited",
    "reject": "rejected",
    "respond": "responded",
}
TAKES: Mapping[str, tuple[str, ...]] = {
    "action": ("approve", "edit", "reject"),
    "question": ("respond", "reject"),
    "outcome": ("approve", "respond", "reject"),
}
HINT: Mapping[str, str] = {
    "action": "Approve it, edit it (which approves your text), or reject it with a reason.",
    "question": "Respond with a text or name an intern, or reject it with a reason.",
    "outcome": "Approve sends it once more, respond notes what you found out, reject gives it up.",
}


@dataclass(frozen=True)
class Proposal:
    """One exact action, or a question, as it is put to a human.

    Attributes:
        task_id: The task it belongs to.
        run_id: The run that waits for the answer.
        kind: ``action``, ``question`` (nobody fits) or ``outcome`` (did it arrive?).
        summary: What will happen, in one sentence.
        draft: What would be handed over.
        why: Why a human is asked.
        intern: Who drafted it, None for a question.
        version: Number of the intern's version.
        adapter_sha256: Hash of that version's adapter.
        effect_kind: ``none``, ``file`` or ``webhook``.
        effect_target: File name or URL.
        evidence: What the draft rests on, as plain values.
        citations: Quoted spans with their exact place.
        salt: Tells apart questions that are otherwise equal, such as attempts.
    """

    task_id: int
    run_id: str
    kind: ApprovalKind
    summary: str
    draft: str
    why: str
    intern: str | None = None
    version: int | None = None
    adapter_sha256: str = ""
    effect_kind: str = "none"
    effect_target: str = ""
    evidence: list[dict[str, Any]] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    salt: str = ""

    @property
    def digest(self) -> str:
        """What a decision is bound to: 64 hex digits; any change of the action changes it."""
        return action_digest(
            task_id=self.task_id,
            run_id=self.run_id,
            intern=self.intern,
            version=self.version,
            adapter_sha256=self.adapter_sha256,
            text=self.draft,
            effect=(self.effect_kind, self.effect_target),
        )

    @property
    def key(self) -> str:
        """Proposing the same again finds the same row."""
        return f"{self.run_id}/{self.kind}/{self.salt}/{self.digest}"


@dataclass(frozen=True)
class Verdict:
    """What a human says to one approval.

    Attributes:
        verb: ``approve``, ``edit``, ``reject`` or ``respond``.
        by: Who says it.
        digest: As shown to them; None skips the comparison.
        text: The edited draft or the response.
        reason: Why it is rejected.
        intern: With ``respond``: who shall do the task.
    """

    verb: Verb
    by: str
    digest: str | None = None
    text: str | None = None
    reason: str | None = None
    intern: str | None = None

    def check(self, kind: str) -> None:
        """Refuse what makes no sense for this kind of approval.

        Raises:
            InvalidInput: The verb does not fit, or its text or reason is missing.
        """
        if self.verb not in TAKES[kind]:
            raise InvalidInput(f"This {kind} cannot take {self.verb!r}.", HINT[kind])
        if self.verb == "reject" and not (self.reason or "").strip():
            raise InvalidInput("A rejection needs a reason.", "Say why; the intern learns from it.")
        if self.verb == "edit" and not (self.text or "").strip():
            raise InvalidInput("The edited text is empty.", "Reject it instead, with a reason.")
        if self.verb == "respond" and not (self.text or "").strip() and not self.intern:
            raise InvalidInput("The response is empty.", HINT[kind])


def action_digest(
    *,
    task_id: int,
    run_id: str,
    intern: str | None,
    version: int | None,
    adapter_sha256: str,
    text: str,
    effect: tuple[str, str],
) -> str:
    """Return the SHA-256 of one exact action, 64 hex digits."""
    canonical = json.dumps(
        [task_id, run_id, intern, version, adapter_sha256, text, *effect],
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
