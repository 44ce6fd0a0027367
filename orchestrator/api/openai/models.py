"""Model names: ``auto``, an intern, a version of it as ``name@n``, the base, the embedding model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from interns.errors import NotFound
from interns.intern import Intern
from orchestrator.desk import Desk

Json = dict[str, Any]

AUTO = "auto"


@dataclass(frozen=True)
class Who:
    """Who is to answer.

    Attributes:
        name: The model as it was asked for.
        intern: The intern at the right version; None for the bare base or ``auto``.
        routed: Whether the office is to choose.
    """

    name: str
    intern: Intern | None = None
    routed: bool = False


def find_model(desk: Desk, name: str) -> Who:
    """Return who goes by that name.

    Raises:
        NotFound: Nobody does.
    """
    if name == AUTO:
        return Who(name, routed=True)
    if name == desk.base.name:
        return Who(name)
    person, _, number = name.partition("@")
    interns = {intern.name: intern for intern in desk.registry.list()}
    if person in interns and not number:
        return Who(name, interns[person])
    if person in interns and number.isdecimal():
        for version in desk.registry.versions(person):
            if version.number == int(number):
                return Who(name, replace(interns[person], version=version))
    raise _unknown(name)


def list_models(desk: Desk) -> list[Json]:
    """Return all models."""
    base = desk.base.name
    found = [_model(AUTO, "office"), _model(base, "base")]
    for intern in desk.registry.list():
        created = int(intern.created_at.timestamp())
        found.append(_model(intern.name, "interns", created, root=base))
        for version in desk.registry.versions(intern.name):
            at = int(version.created_at.timestamp())
            found.append(_model(f"{intern.name}@{version.number}", "interns", at, root=base))
    return [*found, _model(embedder_name(desk), "embeddings")]


def get_model(desk: Desk, name: str) -> Json:
    """Return one model.

    Raises:
        NotFound: There is none of that name.
    """
    for each in list_models(desk):
        if each["id"] == name:
            return each
    raise _unknown(name)


def embedder_name(desk: Desk) -> str:
    """Return the name of the embedding model, known without loading it."""
    from retrieval.embedder import PACKAGED_MODEL

    return desk.settings.retrieval.model or PACKAGED_MODEL


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no model {name!r}.", "GET /v1/models lists all of them.")


def _model(name: str, owner: str, created: int = 0, **more: str) -> Json:
    return {"id": name, "object": "model", "created": created, "owned_by": owner, **more}
