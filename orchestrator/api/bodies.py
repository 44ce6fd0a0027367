"""What the API takes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Body(BaseModel):
    """Base of all bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Empty(Body):
    """Nothing."""


class Number(Body):
    """A version."""

    number: int = Field(ge=1)


class Source(Body):
    """A version folder, or the name of a shipped intern."""

    source: str


class BaseName(Body):
    """A base; empty is the one in use where that makes sense."""

    name: str


class Pull(Body):
    """A base to fetch; the environment holds the hub's settings of the caller's shell."""

    source: str = Field(min_length=1)
    name: str = ""
    file_type: str = ""
    environment: dict[str, str] = Field(default_factory=dict)


class Teach(Body):
    """The base of an intern's next version."""

    base: str = Field(min_length=1)


class Text(Body):
    """A text."""

    text: str


class Chat(Body):
    """A conversation that ends with the person."""

    messages: list[dict[str, str]]
    intern: str | None = None
    knowledge: str | None = None


class Task(Body):
    """A task."""

    text: str
    intern: str | None = None
    knowledge: str | None = None
    effect: str | dict[str, str] | None = None


class Decision(Body):
    """What a human says to an approval."""

    by: str = Field(min_length=1, max_length=200)
    digest: str | None = None
    text: str | None = None
    reason: str | None = None
    intern: str | None = None


class Documents(Body):
    """A file or folder to index."""

    path: str
    name: str


Onboard = dict[str, Any]
