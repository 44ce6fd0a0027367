"""An intern as the Team screen shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from interns.gate import gate_words
from tui.model.visible import visible
from tui.model.words import age, exam_words, shortened

Styled = tuple[str, str]


def team_row(intern: Mapping[str, Any]) -> str:
    """Return the intern's row: name, version, state, score against the base."""
    exam = intern.get("exam") or {}
    score = "  – " if exam.get("score") is None else f"{exam['score']:.2f}"
    base = "" if exam.get("baseline") is None else f" ({exam['baseline']:.2f})"
    state = {"probation": "probat."}.get(intern["state"], intern["state"])
    name = shortened(intern["name"], 11)
    return f"{name:<11} v{intern['version']:<2} {state:<7} {score}{base}"


def version_row(version: Mapping[str, Any]) -> str:
    """Return a version's row."""
    mark = "*" if version["current"] else " "
    since = age(version.get("created_at"))
    return f"{mark} v{version['number']:<3} {exam_words(version.get('exam') or {})}, {since} ago"


def profile_lines(
    intern: Mapping[str, Any],
    versions: Sequence[Mapping[str, Any]],
    corrections: Sequence[Mapping[str, Any]],
) -> list[Styled]:
    """Return the profile: what it does, how well, its versions, what humans corrected."""
    exam = intern.get("exam") or {}
    lines: list[Styled] = [
        ("head", f"{intern['name']} v{intern['version']}, {intern['skill']}, {intern['state']}"),
        ("plain", str(intern["role"])),
        ("plain", ""),
        ("plain", f"exam      {exam_words(exam)}"),
    ]
    interval = exam.get("interval") or []
    if len(interval) == 2:
        rows = f" on {exam['examples']} rows" if exam.get("examples") else ""
        lines.append(("dim", f"          {interval[0]:.2f} to {interval[1]:.2f}{rows}"))
    if gate := gate_words(intern.get("verification") or {}):
        lines.append(("plain", f"gate      {gate}"))
    if intern.get("labels"):
        lines.append(("plain", f"labels    {', '.join(intern['labels'])}"))
    if intern.get("schema"):
        fields = ", ".join((intern["schema"].get("properties") or intern["schema"]).keys())
        lines.append(("plain", f"fields    {fields}"))
    lines += [("plain", ""), ("head", "versions (* in office)")]
    lines += [("plain", version_row(one)) for one in reversed(versions)]
    lines += _corrections(corrections)
    return [(style, visible(text)) for style, text in lines]


def _corrections(corrections: Sequence[Mapping[str, Any]]) -> list[Styled]:
    if not corrections:
        return []
    lines: list[Styled] = [("plain", ""), ("head", f"corrections ({len(corrections)})")]
    for one in corrections[:10]:
        lines.append(("del", shortened(_text(one.get("draft")), 200)))
        if one.get("corrected"):
            lines.append(("add", shortened(_text(one["corrected"]), 200)))
        if one.get("reason"):
            lines.append(("dim", f"why: {shortened(_text(one['reason']), 200)}"))
    return lines


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
