"""One-line sentences about answers, routes, interns and runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from tui.model.records import confidence

ScreenName = Literal["chat", "approvals", "team", "onboard"]


def route_line(route: Mapping[str, Any]) -> str:
    """Return who takes it and why: ``-> triage 0.91 (at least 0.30; next: guide 0.22)``."""
    intern = route.get("intern")
    if intern is None:
        return f"-> nobody. {route.get('why') or ''}".rstrip()
    others = [one for one in route.get("candidates", ()) if _name(one) != intern]
    notes = []
    if route.get("threshold"):
        notes.append(f"at least {route['threshold']:.2f}")
    if others:
        notes.append(f"next: {_name(others[0])} {others[0]['score']:.2f}")
    if not notes:
        return f"-> {intern}. {route.get('why') or ''}".rstrip()
    return f"-> {intern} {route.get('score') or 0:.2f} ({'; '.join(notes)})"


def citation_line(citation: Mapping[str, Any]) -> str:
    """Return a citation with its exact place."""
    return f'{citation_place(citation)}: "{citation["quote"]}"'


def citation_place(citation: Mapping[str, Any]) -> str:
    """Return where a quote stands: ``[1] docs/a.md, characters 10 to 80``."""
    place = f"{citation.get('path', '')}, characters {citation['start']} to {citation['end']}"
    return f"[{citation.get('n', '?')}] {place}"


def done_line(done: Mapping[str, Any]) -> str:
    """Return what an answer cost, such as ``triage v1, sure 0.97, 12 tokens, 38 tokens/s``."""
    intern = done.get("intern")
    if intern is None:
        return "Nobody fits. Name one with @NAME, or submit it as a task and a human is asked."
    parts = [f"{intern} v{done['version']}" if done.get("version") else str(intern)]
    sure = confidence(done)
    if sure is not None:
        parts.append(f"sure {sure:.2f}")
    if done.get("abstained"):
        parts.append("abstained")
    if (done.get("tokens") or 0) > 3:
        parts.append(f"{done['tokens']} tokens")
        if done.get("tokens_per_s"):
            parts.append(f"{done['tokens_per_s']:.0f} tokens/s")
    if (done.get("first_token_s") or 0) >= 0.1:
        parts.append(f"first after {done['first_token_s']:.1f} s")
    return ", ".join(parts)


def exam_words(exam: Mapping[str, Any]) -> str:
    """Return a score beside its rivals', such as ``accuracy 0.91, base 0.34, no model 0.87``."""
    if exam.get("score") is None:
        return "no exam"
    parts = [f"{exam.get('metric', 'score')} {exam['score']:.2f}"]
    if exam.get("baseline") is not None:
        parts.append(f"base {exam['baseline']:.2f}")
    if control := (exam.get("details") or {}).get("control"):
        parts.append(f"no model {control['score']:.2f}")
    return ", ".join(parts)


def effect_words(effect: Mapping[str, Any] | None) -> str:
    """Return what would leave the office, such as ``file reply.txt`` or ``nothing leaves``."""
    kind = (effect or {}).get("kind") or "none"
    if kind == "none":
        return "nothing leaves"
    target = (effect or {}).get("target") or "named after the task"
    return f"{kind} {target}"


def age(when: str | None, now: datetime | None = None) -> str:
    """Return how long ago an ISO time was: ``40s``, ``12m``, ``3h``, ``2d``."""
    if not when:
        return ""
    moment = datetime.fromisoformat(when)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def duration(seconds: float | None) -> str:
    """Return seconds for people: ``8 s``, ``2 min 05 s``, ``1 h 10 min``."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def shortened(text: str, width: int) -> str:
    """Return the first `width` columns of a text on one line; an ellipsis marks the cut."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: max(0, width - 1)].rstrip() + "…"


def loss_line(data: Mapping[str, Any]) -> str:
    """Return one line about a training step, such as ``step 40/200 20% loss 0.812 …``."""
    done, total = data.get("step_n"), data.get("steps")
    parts = [f"step {done}/{total}"] if done is not None else []
    if data.get("progress") is not None:
        parts.append(f"{data['progress'] * 100:.0f}%")
    if data.get("loss") is not None:
        parts.append(f"loss {data['loss']:.3f}")
    if data.get("eval_loss") is not None:
        parts.append(f"validation {data['eval_loss']:.3f}")
    if data.get("tokens_per_s"):
        parts.append(f"{data['tokens_per_s']:.0f} tokens/s")
    if data.get("eta_s") is not None:
        parts.append(f"{duration(data['eta_s'])} left")
    return "  ".join(parts)


def _name(candidate: Mapping[str, Any]) -> str:
    return str(candidate.get("intern", candidate.get("name")))
