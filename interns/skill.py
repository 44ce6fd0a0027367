"""The four kinds of work an intern can learn."""

from __future__ import annotations

from enum import StrEnum


class Skill(StrEnum):
    """What an intern does with a text."""

    CLASSIFY = "classify"  # one label of a fixed set
    EXTRACT = "extract"  # a JSON object held to a schema
    ANSWER = "answer"  # quoted spans of retrieved passages, or "not in the sources"
    WRITE = "write"  # free text
