"""``/v1/chat/completions``: an intern in its own way, or the base, whole or streamed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from interns.completion import CompletionRequest, Message, Sampling, TokenScore
from orchestrator.api.openai import tools
from orchestrator.api.openai.bodies import ChatBody
from orchestrator.api.openai.messages import read_turn
from orchestrator.api.openai.models import Who, find_model
from orchestrator.api.openai.options import constraint_of, sampling_of
from orchestrator.api.openai.shapes import (
    chat_logprobs,
    finish_reason,
    label_logprobs,
    stamp,
    usage,
)
from orchestrator.chat import chat
from orchestrator.desk import Desk
from orchestrator.drafting import Wish, answer_events
from orchestrator.errors import from_body

Json = dict[str, Any]

HELD_TOKENS = 512


@dataclass(frozen=True)
class Asked:
    """A checked request.

    Attributes:
        body: As it came.
        who: Who answers.
        functions: The tools that may be called; the answer then is a call.
        events: The office's own events of the answer.
    """

    body: ChatBody
    who: Who
    functions: list[Json]
    events: Iterator[Json]


def read_request(desk: Desk, body: ChatBody, cancel: threading.Event) -> Asked:
    """Check a request and begin nothing yet.

    Raises:
        NotFound: There is no such model.
        InvalidInput: It is malformed or asks for what the engine does not do.
    """
    who = find_model(desk, body.model)
    functions = tools.offered(body)
    constraint = tools.call_schema(functions) if functions else constraint_of(body)
    sampling = sampling_of(body)
    if constraint is not None:  # an intern's own bound is for its own kind of answer
        sampling.setdefault("max_tokens", HELD_TOKENS)
    wish = Wish(sampling, constraint, body.deadline_s)
    turns = [read_turn(message) for message in body.messages]
    if who.intern is None and not who.routed:
        if functions:
            turns.insert(0, {"role": "system", "content": tools.instruction(functions)})
        return Asked(body, who, functions, _base_events(desk, turns, wish, cancel))
    # The system prompt of an intern is the charter's: it was trained on that one. So no system text
    # and no list of tools is put in; the schema alone holds it to a call of one of them.
    spoken = [turn for turn in turns if turn["role"] != "system"]
    events = chat(desk, spoken, intern=who.intern, knowledge=None, cancel=cancel, wish=wish)
    return Asked(body, who, functions, _raised(events))


def whole(asked: Asked) -> Json:
    """Return the answer in one piece.

    Raises:
        InternsError: What went wrong.
    """
    scores: list[TokenScore] = []
    done: Json = {}
    for event in asked.events:
        scores += event.get("scores", ())
        done = event
    message: Json = {"role": "assistant", "content": done["text"], "refusal": done.get("why")}
    reason = finish_reason(done["finish_reason"])
    calls = tools.read_call(done["text"]) if asked.functions else None
    if calls:
        message |= {"content": None, "tool_calls": calls}
        reason = "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    if asked.body.logprobs:
        choice["logprobs"] = _logprobs(asked.body, done, scores)
    start = stamp("chatcmpl", "chat.completion", _model(asked, done))
    return {**start, "choices": [choice], "usage": _usage(done)}


def chunks(asked: Asked) -> Iterator[Json]:
    """Yield the answer piece by piece, the first when there is something to tell.

    Raises:
        InternsError: What went wrong.
    """
    start = stamp("chatcmpl", "chat.completion.chunk", asked.who.name)
    counted = bool((asked.body.stream_options or {}).get("include_usage"))

    def chunk(delta: Json, reason: str | None = None, logprobs: Json | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": logprobs}
        return {**start, "choices": [choice], **({"usage": None} if counted else {})}

    first: Json = {"role": "assistant", "content": ""}
    for event in asked.events:
        if event["event"] == "route":
            start["model"] = _model(asked, event)
            continue
        if first:
            yield chunk(first)
            first = {}
        if event["event"] == "token" and not asked.functions:
            scores = event.get("scores")
            yield chunk({"content": event["text"]}, None, chat_logprobs(scores) if scores else None)
        elif event["event"] == "done":
            yield from (chunk(*last) for last in _ends(asked, event))
            if counted:
                yield {**start, "choices": [], "usage": _usage(event)}


def _ends(asked: Asked, done: Json) -> Iterator[tuple[Json, str | None, Json | None]]:
    reason = finish_reason(done["finish_reason"])
    if done.get("why"):
        yield {"refusal": done["why"]}, None, None
    calls = tools.read_call(done["text"]) if asked.functions else None
    if calls:
        yield {"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]}, None, None
        reason = "tool_calls"
    elif asked.functions:
        yield {"content": done["text"]}, None, None
    labelled = asked.body.logprobs and done.get("probabilities")
    yield {}, reason, _logprobs(asked.body, done, []) if labelled else None


def _base_events(
    desk: Desk, turns: list[dict[str, str]], wish: Wish, cancel: threading.Event
) -> Iterator[Json]:
    request = CompletionRequest(
        messages=tuple(Message(turn["role"], turn["content"]) for turn in turns),  # type: ignore[arg-type]  # checked above
        sampling=Sampling(**wish.sampling),
        constraint=wish.constraint,
        deadline_s=wish.deadline_s,
    )
    yield from answer_events(desk.runtime, request, cancel)


def _raised(events: Iterator[Json]) -> Iterator[Json]:
    for event in events:
        if event["event"] == "error":
            raise from_body(event)
        yield {"finish_reason": "stop", "cached_tokens": 0, **event}


def _logprobs(body: ChatBody, done: Json, scores: list[TokenScore]) -> Json | None:
    if done.get("probabilities"):
        return label_logprobs(done["probabilities"], done["text"], body.top_logprobs or 0)
    return chat_logprobs(scores) if scores else None


def _model(asked: Asked, done: Json) -> str:
    return (done.get("intern") or asked.who.name) if asked.who.routed else asked.who.name


def _usage(done: Json) -> Json:
    return usage(done["prompt_tokens"], done["cached_tokens"], done["tokens"])
