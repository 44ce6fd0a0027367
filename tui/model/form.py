"""The form of an onboarding: its fields, what is wrong with them, and the same as a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SKILLS = ("classify", "extract", "answer", "write")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: Its name in a request.
        label: What stands before it.
        hint: What stands in it while it is empty.
        required: Whether it must be filled.
    """

    name: str
    label: str
    hint: str
    required: bool = False


FIELDS = (
    Field("name", "name", "such as triage", required=True),
    Field("data", "data", "a CSV, TSV, JSON or JSON Lines file", required=True),
    Field("input", "input", "column with what comes in", required=True),
    Field("output", "output", "column with what goes out", required=True),
    Field("skill", "skill", f"{', '.join(SKILLS)}; empty: found out"),
    Field("role", "role", "one sentence, such as Sort messages."),
    Field("exam", "exam", "your own exam file, if any"),
    Field("schema", "schema", "JSON schema, for extract"),
)
PATHS = ("data", "exam", "schema")


def problems(values: Mapping[str, str], *, exists: Callable[[str], bool]) -> list[str]:
    """Return everything that is wrong with a filled form, in the order of its fields."""
    found = [f"{one.label}: fill it in." for one in FIELDS if one.required and not values[one.name]]
    if values["name"] and not _NAME.fullmatch(values["name"]):
        found.append("name: lower-case letters, digits and - only, at most 40.")
    if values["skill"] and values["skill"] not in SKILLS:
        found.append(f"skill: one of {', '.join(SKILLS)}.")
    found += [
        f"{name}: there is no file {values[name]}."
        for name in PATHS
        if values[name] and not exists(values[name])
    ]
    return found


def request_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the request that a filled form stands for."""
    from pathlib import Path

    request: dict[str, Any] = {name: value for name, value in values.items() if value}
    for name in PATHS:
        if name in request:
            request[name] = str(Path(request[name]).expanduser().absolute())
    return request


def command_line(request: Mapping[str, Any]) -> str:
    """Return the command that does the same."""
    flags = [
        f"--{name} {shlex.quote(str(value))}" for name, value in request.items() if name != "name"
    ]
    return f"interns onboard {request['name']} {' '.join(flags)}"
