"""What one run was asked to do: ``request.json`` as a checked value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interns.errors import InvalidInput
from interns.settings import computing_of
from interns.skill import Skill

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_ROLES = {
    Skill.CLASSIFY: "Sort each text by {output}.",
    Skill.EXTRACT: "Write the facts of each text as JSON.",
    Skill.ANSWER: "Say whether the passage answers the question.",
    Skill.WRITE: "Answer what you are asked.",
}


@dataclass(frozen=True)
class Request:
    """The request.

    Attributes:
        name: Of the intern.
        skill: None when it shall be told from the data.
        role: One sentence, may be empty.
        data: File to learn from.
        text: Column with the input.
        answer: Column with the right output.
        exam: File to be examined on, or None to hold rows out.
        schema: JSON schema for `extract`, or None to infer it.
        recipe: Overrides of the recipe.
        mission: The office's mission.
        home: The data directory, where the dequantized base is cached.
        computing: How the office's engine computes (`EngineSettings.computing`).
        base: Name of the base.
        attribution: Where the data come from and under which licence.
    """

    name: str
    skill: Skill | None
    role: str
    data: Path
    text: str
    answer: str
    exam: Path | None
    schema: Path | None
    recipe: Mapping[str, Any]
    mission: str
    home: Path
    computing: Mapping[str, Any]
    base: str
    attribution: str

    def role_for(self, skill: Skill) -> str:
        """The role as given, or a plain one that says what the skill does."""
        return self.role.strip() or _ROLES[skill].format(output=self.answer)


def parse_request(values: Mapping[str, Any]) -> Request:
    """Check ``request.json``.

    Raises:
        InvalidInput: A value is missing or wrong; all problems are named at once.
    """
    problems = []
    name = str(values.get("name") or "")
    if not _NAME.fullmatch(name):
        problems.append(f"name {name!r} is not 1 to 40 of a-z, 0-9 and '-'")
    skill = values.get("skill") or None
    if skill is not None and skill not in list(Skill):
        problems.append(f"skill {skill!r} is none of {', '.join(Skill)}")
    problems += [
        f"{key} is missing" for key in ("data", "input", "output", "home") if not values.get(key)
    ]
    if not isinstance(values.get("recipe") or {}, Mapping):
        problems.append("recipe is no object")
    computing: Mapping[str, Any] = {}
    try:
        computing = computing_of(values.get("engine") or {})
    except InvalidInput as error:
        problems.append(error.message.rstrip("."))
    if problems:
        raise InvalidInput(
            f"The request cannot be worked on: {'; '.join(problems)}.", "See `interns onboard -h`."
        )
    return Request(
        name=name,
        skill=Skill(skill) if skill else None,
        role=str(values.get("role") or ""),
        data=Path(values["data"]),
        text=str(values["input"]),
        answer=str(values["output"]),
        exam=Path(values["exam"]) if values.get("exam") else None,
        schema=Path(values["schema"]) if values.get("schema") else None,
        recipe=dict(values.get("recipe") or {}),
        mission=str(values.get("mission") or ""),
        home=Path(values["home"]),
        computing=computing,
        base=str(values.get("base") or "starter"),
        attribution=str(values.get("attribution") or ""),
    )
