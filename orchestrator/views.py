"""Rows and values as the plain dictionaries that the API speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from interns.gate import looser_bounds
from interns.intern import Intern, Version
from orchestrator.tables import ApprovalRow, CorrectionRow, EffectRow, RunRow, TaskRow

Json = dict[str, Any]


def task_json(row: TaskRow, steps: Sequence[Json], effects: Sequence[EffectRow]) -> Json:
    """Return one task."""
    return {
        "id": row.id,
        "text": row.text,
        "status": row.status,
        "requested_intern": row.requested_intern,
        "knowledge": row.knowledge,
        "intern": row.intern,
        "version": row.version,
        "route": row.route,
        "draft": row.draft,
        "passages": row.passages,
        "citations": row.citations,
        "approval_id": row.approval_id,
        "effect": {"kind": row.effect_kind, "target": row.effect_target},
        "effects": [effect_json(effect) for effect in effects],
        "result": row.result,
        "error": row.error,
        "fix": row.fix,
        "code": row.code,
        "charter_version": row.charter_version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "steps": list(steps),
    }


def effect_json(row: EffectRow) -> Json:
    """Return one effect."""
    return {
        "key": row.key,
        "kind": row.kind,
        "target": row.target,
        "status": row.status,
        "attempt": row.attempt,
        "result": row.result,
        "at": row.updated_at,
    }


def approval_json(row: ApprovalRow) -> Json:
    """Return one approval with its whole card."""
    decided = row.status != "pending"
    decision = {
        "text": row.decided_text,
        "reason": row.reason,
        "intern": row.decided_intern,
        "by": row.decided_by,
        "at": row.decided_at,
    }
    return {
        "id": row.id,
        "task_id": row.task_id,
        "run_id": row.run_id,
        "kind": row.kind,
        "summary": row.summary,
        "intern": row.intern,
        "version": row.version,
        "adapter_sha256": row.adapter_sha256,
        "draft": row.draft,
        "why": row.why,
        "evidence": row.evidence,
        "citations": row.citations,
        "effect": {"kind": row.effect_kind, "target": row.effect_target},
        "digest": row.digest,
        "status": row.status,
        "decision": decision if decided else None,
        "expires_at": row.expires_at,
        "created_at": row.created_at,
    }


def run_json(row: RunRow) -> Json:
    """Return one run."""
    return row.model_dump(exclude={"pid_started", "events_read", "attempts"})


def correction_json(row: CorrectionRow) -> Json:
    """Return one correction."""
    return row.model_dump()


def intern_json(intern: Intern, corrections: int = 0, *, base_sha256: str) -> Json:
    """Return one intern with the version in office.

    Args:
        intern: The intern.
        corrections: How many it could learn from.
        base_sha256: Of the base in use; on any other an intern waits.
    """
    version, profile = intern.version, intern.profile
    return {
        "name": intern.name,
        "skill": profile.skill.value,
        "role": profile.role,
        "state": intern.state,
        "version": version.number,
        "adapter_sha256": version.adapter.sha256,
        "base": version.adapter.base_sha256,
        "base_name": version.base_name,
        "base_in_use": version.adapter.base_sha256 == base_sha256,
        "exam": plain(version.exam),
        "verification": _verification(version),
        "labels": list(profile.labels),
        "schema": plain(profile.schema) if profile.schema is not None else None,
        "exemplars": len(intern.exemplars),
        "corrections": corrections,
        "created_at": intern.created_at.isoformat(),
    }


def version_json(version: Version) -> Json:
    """Return one version."""
    return {
        "number": version.number,
        "adapter_sha256": version.adapter.sha256,
        "base_sha256": version.adapter.base_sha256,
        "base_name": version.base_name,
        "exam": plain(version.exam),
        "verification": _verification(version),
        "recipe": plain(version.recipe),
        "dataset": plain(version.dataset),
        "folder": str(version.folder),
        "created_at": version.created_at.isoformat(),
        "current": version.current,
    }


def _verification(version: Version) -> Json:
    """Return what was verified; which bounds were looser is added where the file does not say."""
    found = plain(version.verification)
    return found | {"looser": looser_bounds(found)} if found else {}


def plain(value: Mapping[str, Any]) -> Json:
    """Return a mapping as an ordinary dictionary."""
    return dict(value)
