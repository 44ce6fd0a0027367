"""Is a text what an intern of this skill may hand over?"""

from __future__ import annotations

import json
from typing import Any

from interns.errors import InvalidInput
from interns.intern import Profile
from interns.skill import Skill

LOW_CONFIDENCE = 0.5


def problems_of(profile: Profile, text: str) -> list[str]:
    """Return what is wrong with a draft, in plain words; empty when nothing is."""
    match profile.skill:
        case Skill.CLASSIFY if text not in profile.labels:
            return [f"{text!r} is none of the labels {', '.join(profile.labels)}"]
        case Skill.EXTRACT:
            return _schema_problems(profile, text)
        case _ if not text.strip():
            return ["the draft is empty"]
        case _:
            return []


def check_edit(profile: Profile, text: str) -> None:
    """Refuse an edited draft that the receiver could not read.

    Raises:
        InvalidInput: It is no label of the set, or no JSON of the schema.
    """
    problems = problems_of(profile, text)
    if problems:
        raise InvalidInput(
            f"The edited text cannot be approved: {'; '.join(problems)}.",
            "Correct it, or reject the draft with a reason.",
        )


def _schema_problems(profile: Profile, text: str) -> list[str]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match

    try:
        value: Any = json.loads(text)
    except ValueError as error:
        return [f"it is not JSON: {error}"]
    try:
        problem = best_match(Draft202012Validator(profile.schema or {}).iter_errors(value))
    except SchemaError as error:
        return [f"the intern's schema is broken: {error.message}"]
    if problem is None:
        return []
    place = ".".join(str(part) for part in problem.absolute_path)
    return [f"{place}: {problem.message}" if place else problem.message]
