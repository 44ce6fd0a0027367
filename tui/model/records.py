"""What the API answers, in the fields that the commands promise.

Each function returns the promised fields first and the API's own after them, so that a script may
use either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = dict[str, Any]


def intern_record(intern: Mapping[str, Any]) -> Json:
    """Return one intern: name, skill, version, status, base, score and all else."""
    exam = intern.get("exam") or {}
    promised = {
        "name": intern["name"],
        "skill": intern["skill"],
        "version": intern["version"],
        "status": intern["state"],
        "base": intern["base"],
        "score": exam.get("score"),
    }
    return promised | dict(intern)


def version_record(intern: Mapping[str, Any], version: Mapping[str, Any]) -> Json:
    """Return one version of an intern in the same fields as `intern_record`."""
    exam = version.get("exam") or {}
    retired = intern["state"] == "retired"
    waiting = "retired" if retired else "beside"
    promised = {
        "name": intern["name"],
        "skill": intern["skill"],
        "version": version["number"],
        "status": intern["state"] if version["current"] else waiting,
        "base": version["base_sha256"],
        "score": exam.get("score"),
    }
    return promised | dict(version)


def route_record(route: Mapping[str, Any]) -> Json:
    """Return a route: intern, score, candidates of intern and score, threshold, why."""
    candidates = [
        {"intern": one.get("intern", one.get("name")), "score": one["score"]}
        for one in route.get("candidates", ())
    ]
    return dict(route) | {"candidates": candidates}


def citation_record(citation: Mapping[str, Any]) -> Json:
    """Return a citation: document, start, end, quote and all else."""
    promised = {
        "document": citation.get("path", ""),
        "start": citation["start"],
        "end": citation["end"],
        "quote": citation["quote"],
    }
    return promised | dict(citation)


def hit_record(hit: Mapping[str, Any]) -> Json:
    """Return a search hit: document, start, end, quote, score and all else."""
    promised = {
        "document": hit["path"],
        "start": hit["start"],
        "end": hit["end"],
        "quote": hit["text"],
        "score": hit["score"],
    }
    return promised | dict(hit)


def task_record(task: Mapping[str, Any]) -> Json:
    """Return a task: id, status, intern, draft, approval, effects, citations and all else."""
    promised = {
        "id": task["id"],
        "status": task["status"],
        "intern": task.get("intern"),
        "draft": task.get("draft"),
        "approval": task.get("approval_id"),
        "effects": task.get("effects") or [],
    }
    citations = [citation_record(one) for one in task.get("citations") or ()]
    return promised | dict(task) | {"citations": citations}


def approval_record(approval: Mapping[str, Any]) -> Json:
    """Return an approval: id, task, intern, kind, effect, draft, why, digest, created and all else."""
    promised = {
        "id": approval["id"],
        "task": approval["task_id"],
        "intern": approval.get("intern"),
        "kind": approval["kind"],
        "effect": approval.get("effect"),
        "draft": approval.get("draft"),
        "why": approval.get("why"),
        "digest": approval["digest"],
        "created": approval["created_at"],
    }
    citations = [citation_record(one) for one in approval.get("citations") or ()]
    return promised | dict(approval) | {"citations": citations}


def decision_record(approval: Mapping[str, Any]) -> Json:
    """Return what was decided: id, decision, by, at, and the task it moves."""
    decision = approval.get("decision") or {}
    return {
        "id": approval["id"],
        "decision": approval["status"],
        "by": decision.get("by"),
        "at": decision.get("at"),
        "task": approval["task_id"],
    }


def parked_record(task: Mapping[str, Any]) -> Json:
    """Return what ``--wait`` says about a task that a human must decide."""
    approval = task.get("approval_id")
    return {
        "id": task["id"],
        "status": "needs_approval",
        "approval": approval,
        "next": f"interns approvals show {approval}",
    }


def answer_record(events: Iterable[Mapping[str, Any]]) -> Json:
    """Return a streamed answer as one object.

    Args:
        events: The stream of `OfficeClient.ask`, without an error in it.
    """
    route: Mapping[str, Any] = {}
    done: Mapping[str, Any] = {}
    citations: list[Json] = []
    for event in events:
        match event.get("event"):
            case "route":
                route = event
            case "citation":
                citations.append(citation_record(event))
            case "done":
                done = event
    text = str(done.get("text", ""))
    intern = done.get("intern", route.get("intern"))
    return {
        "intern": intern,
        "version": done.get("version"),
        "text": text,
        "confidence": confidence(done),
        "abstained": bool(done.get("abstained", intern is None)),
        "route": {
            "score": route.get("score"),
            "runner_up": _runner_up(route, intern),
            "why": route.get("why"),
        },
        "citations": citations,
        "charter_version": done.get("charter_version"),
        "probabilities": done.get("probabilities"),
        "usage": {
            "prompt_tokens": done.get("prompt_tokens"),
            "completion_tokens": done.get("completion_tokens", done.get("tokens")),
            "seconds": done.get("seconds", done.get("total_s")),
            "tokens_per_s": done.get("tokens_per_s"),
            "first_token_s": done.get("first_token_s"),
        },
    }


def confidence(done: Mapping[str, Any]) -> float | None:
    """Return how sure the answer is, in [0, 1], or None when its skill gives no probability."""
    given = done.get("confidence")
    if given is not None:
        return float(given)
    probabilities = done.get("probabilities") or {}
    found = probabilities.get(done.get("text")) if isinstance(probabilities, Mapping) else None
    return float(found) if found is not None else None


# Shares of equal next tokens: in the answers, everywhere, where torch leads by `margin` nats.
_AGREEMENT = (
    "top1_agreement", "top1_everywhere", "top1_decided", "decided", "margin", "stop_rate",
)  # fmt: skip
_GATE = ("passed", "bounds", "looser", "backend", "gpu_layers")


def onboard_record(run: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> Json:
    """Return the outcome of an onboarding: name, version, status, skill, exam, verification, seconds.

    Args:
        run: As `OfficeClient.run` returns it after the end.
        events: All events of the run.
    """
    last: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("kind") in {"done", "failed", "report"} and event.get("data"):
            last[event["step"]] = {**last.get(event["step"], {}), **event["data"]}
    exam, verification = last.get("exam", {}), last.get("verify", {})
    return {
        "name": run["name"],
        "version": run.get("version"),
        "status": run["status"],
        "skill": run.get("skill") or last.get("split", {}).get("skill"),
        "exam": {
            "metric": exam.get("metric"),
            "score": exam.get("score"),
            "baseline": exam.get("baseline"),
            "n": exam.get("examples", exam.get("n")),
            "pass_mark": exam.get("pass_mark", exam.get("baseline")),
        },
        "verification": {
            "token_mismatches": verification.get("token_mismatches"),
            "mean_kl": verification.get("mean_kl"),
            **{name: verification.get(name) for name in (*_AGREEMENT, *_GATE)},
        },
        "seconds": seconds_between(run.get("started_at"), run.get("finished_at")),
        "run": run["id"],
        "error": run.get("error") or "",
        "fix": run.get("fix") or "",
        "code": run.get("code") or "",
    }


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Return the seconds between two ISO times, or None when one is missing."""
    from datetime import datetime

    if not start or not end:
        return None
    spent = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return round(spent.total_seconds(), 1)


def _runner_up(route: Mapping[str, Any], intern: str | None) -> Json | None:
    for one in route_record(route)["candidates"]:
        if one["intern"] != intern:
            return dict(one)
    return None
