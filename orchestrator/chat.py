"""Asking an intern directly: an answer that streams, without approval and without effect."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from interns.completion import Message
from interns.errors import InternsError, InvalidInput
from interns.intern import Intern
from interns.skill import Skill
from orchestrator.desk import Desk
from orchestrator.drafting import Wish, draft
from orchestrator.errors import to_body

Json = dict[str, Any]
PASSAGES = 5
NOBODY: Json = {
    "text": "",
    "intern": None,
    "version": None,
    "abstained": True,
    "confidence": None,
    "citations": [],
    "tokens": 0,
    "prompt_tokens": 0,
    "tokens_per_s": 0.0,
    "first_token_s": 0.0,
    "seconds": 0.0,
}


def chat(
    desk: Desk,
    messages: Sequence[Mapping[str, str]],
    *,
    intern: str | Intern | None,
    knowledge: str | None,
    cancel: threading.Event,
    wish: Wish | None = None,
) -> Iterator[Json]:
    """Yield route, token, citation and done events; what goes wrong is a last ``error`` event.

    Args:
        desk: What the office works with.
        messages: The conversation as plain dictionaries.
        intern: Who answers, by name or at a certain version; None chooses.
        knowledge: Collection to quote from.
        cancel: Ends the answer within one step when set.
        wish: How the caller wants the answer; None leaves it to the intern.
    """
    try:
        turns = read_turns(messages)
        yield from _chat(desk, turns, intern, knowledge, cancel, wish)
    except Exception as error:  # noqa: BLE001 - a stream has no other way to tell
        yield {"event": "error", **to_body(error)}


def read_turns(messages: Sequence[Mapping[str, str]]) -> tuple[Message, ...]:
    """Return the turns of a conversation that ends with the person.

    Raises:
        InvalidInput: A turn has no text, an unknown role, or the last is not the person's.
    """
    turns = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in {"user", "assistant"} or not isinstance(content, str):
            raise InvalidInput(
                "A message needs a role (user or assistant) and a text.",
                'Send {"role": "user", "content": "…"}.',
            )
        turns.append(Message(role, content))  # type: ignore[arg-type]  # checked above
    if not turns or turns[-1].role != "user" or not turns[-1].content.strip():
        raise InvalidInput("There is nothing to answer.", "End with a text of yours.")
    return tuple(turns)


def route_json(desk: Desk, text: str, knowledge: str | None = None) -> Json:
    """Return who would take `text`, with scores and the reason."""
    if not desk.able():
        others = [intern.name for intern in desk.registry.list()]
        waiting = f"Trained on another base than {desk.base.name}: {', '.join(others)}."
        return {
            "intern": None,
            "score": 0.0,
            "threshold": 0.0,
            "candidates": [],
            "why": waiting if others else "Nobody was onboarded yet.",
        }
    route = desk.route(text, knowledge)
    return {
        "intern": route.intern,
        "score": float(route.score),
        "threshold": float(route.threshold),
        "candidates": [
            {"name": name, "intern": name, "score": float(score)}
            for name, score in route.candidates
        ],
        "why": route.why,
    }


def named_json(name: str, why: str) -> Json:
    """Return the route of a task that somebody gave to an intern by name."""
    return {
        "intern": name,
        "score": 1.0,
        "threshold": 0.0,
        "candidates": [{"name": name, "intern": name, "score": 1.0}],
        "why": why,
    }


def passages_for(desk: Desk, intern: Intern, text: str, knowledge: str | None) -> list[Any]:
    """Return what an `answer` intern may quote; others get nothing."""
    if intern.profile.skill is not Skill.ANSWER:
        return []
    return list(desk.search(text, knowledge, PASSAGES))


def _chat(  # noqa: PLR0917 - one call, above
    desk: Desk,
    turns: tuple[Message, ...],
    asked: str | Intern | None,
    knowledge: str | None,
    cancel: threading.Event,
    wish: Wish | None,
) -> Iterator[Json]:
    text = turns[-1].content
    if asked is not None:
        intern = asked if isinstance(asked, Intern) else desk.worker(asked)
        route = named_json(intern.name, "Chosen by name.")
    else:
        route = route_json(desk, text, knowledge)
        if route["intern"] is None:
            yield {"event": "route", **route}
            done = {"why": route["why"], "charter_version": desk.charter.version}
            yield {"event": "done", **NOBODY, **done}
            return
        intern = desk.worker(route["intern"])
    yield {"event": "route", **route}
    passages = passages_for(desk, intern, text, knowledge)
    runtime = desk.runtime
    for event in draft(
        runtime,
        intern,
        turns,
        charter=desk.charter,
        passages=passages,
        similar=desk.similar,
        cancel=cancel,
        wish=wish,
    ):
        yield event
        if cancel.is_set() and event["event"] != "done":
            raise InternsError("The answer was cancelled.", "Ask again.")
