"""An approval as lines of text: what will happen first, then the draft, why, and the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tui.model.visible import deceptive, visible
from tui.model.words import citation_line, effect_words

KEYS: Mapping[str, tuple[str, ...]] = {
    "action": ("approve", "edit", "reject"),
    "question": ("respond", "reject"),
    "outcome": ("approve", "respond", "reject"),
}


def approval_lines(approval: Mapping[str, Any], asked: str = "") -> list[str]:
    """Return the whole card; nothing is left out.

    Args:
        approval: As the API returns it.
        asked: The text of the task, if known.
    """
    lines = [f"#{approval['id']}  {approval['summary']}"]
    who = approval.get("intern")
    if who:
        lines.append(f"by      {who} v{approval.get('version')}")
    if approval["kind"] != "question":
        lines.append(f"effect  {effect_words(approval.get('effect'))}")
    lines.append(f"why     {approval.get('why') or 'not said'}")
    if asked:
        lines += ["", "asked", *_indented(asked)]
    if approval.get("draft"):
        lines += ["", "draft", *_indented(approval["draft"])]
    warning = hidden_warning(approval.get("draft") or "")
    if warning:
        lines.append(warning)
    evidence = [*evidence_lines(approval.get("evidence") or ())]
    evidence += [citation_line(one) for one in approval.get("citations") or ()]
    if evidence:
        lines += ["", "evidence", *(f"  {line}" for line in evidence)]
    lines += decision_lines(approval)
    return [visible(line) for line in lines]


def evidence_lines(evidence: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what a draft rests on, one line a piece; empty pieces are left out."""
    lines = []
    for piece in evidence:
        match piece.get("kind"):
            case "route":
                scores = [
                    f"{one.get('intern', one.get('name'))} {one['score']:.2f}"
                    for one in piece.get("candidates") or ()
                ]
                lines.append(f"route: {', '.join(scores) or 'nobody is in office'}")
            case "confidence":
                if piece.get("value") is not None:
                    lines.append(f"confidence {piece['value']:.2f}")
            case "checks":
                problems = piece.get("problems") or ()
                lines += [f"check: {problem}" for problem in problems] or ["checks passed"]
            case "attempt":
                lines.append(f"attempt {piece.get('number')}: {piece.get('trouble')}")
            case _:
                rest = (f"{key} {value}" for key, value in piece.items() if key != "kind")
                lines.append(f"{piece.get('kind', 'also')}: {', '.join(rest)}")
    return lines


def decision_lines(approval: Mapping[str, Any]) -> list[str]:
    """Return how an approval was decided, or which verbs it takes."""
    decision = approval.get("decision")
    if not decision:
        verbs = ", ".join(KEYS.get(approval["kind"], ()))
        return ["", f"waits for you: {verbs}"]
    lines = ["", f"{approval['status']} by {decision.get('by')} at {decision.get('at')}"]
    for name in ("text", "reason", "intern"):
        if decision.get(name):
            lines += [name, *_indented(str(decision[name]))]
    return lines


def hidden_warning(text: str) -> str:
    """Return a warning about hidden characters in a draft, or an empty string."""
    names = deceptive(text)
    return f"Careful: hidden characters, shown as <U+…>: {', '.join(names)}" if names else ""


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in text.splitlines() or [""]]
