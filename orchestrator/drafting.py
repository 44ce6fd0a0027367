"""An intern does its work: one text in, one answer out, held by what its skill allows.

The same for a task and for a chat, so that what was tried in a chat is what a task does.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from interns.answering import Judge, split_candidates
from interns.charter import Charter
from interns.completion import (
    LABEL_TAIL,
    Completion,
    CompletionRequest,
    Constraint,
    JsonSchema,
    Message,
)
from interns.intern import Intern
from interns.prompt import NOT_IN_SOURCES, task_messages
from interns.runtime.port import Runtime
from interns.skill import Skill

if TYPE_CHECKING:
    from retrieval.hit import Hit

Json = dict[str, Any]
Similar = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Wish:
    """How a caller wants an answer, beyond the intern's own way.

    Attributes:
        sampling: Fields of `Sampling` to use instead of the intern's.
        constraint: Hold the answer to this, whatever the intern's skill is.
        deadline_s: Seconds after which the answer ends with what there is.
    """

    sampling: Mapping[str, Any] = field(default_factory=dict)
    constraint: Constraint | None = None
    deadline_s: float | None = None


def draft(
    runtime: Runtime,
    intern: Intern,
    turns: Sequence[Message],
    *,
    charter: Charter,
    passages: Sequence[Hit] = (),
    similar: Similar | None = None,
    cancel: threading.Event | None = None,
    wish: Wish | None = None,
) -> Iterator[Json]:
    """Yield ``token`` and ``citation`` events and last ``done`` with the whole answer.

    Args:
        runtime: The model.
        intern: Who answers, with the version in office.
        turns: The conversation; the last turn is the person's.
        charter: The mission in force.
        passages: For `answer`: where quotes may come from, best first.
        similar: Cosine between a question and each of some sentences, a prior for `answer`.
        cancel: Ends the answer within one step when set; a label or a quote that is not found yet
            then fails with `errors.Unavailable`, as at the deadline.
        wish: How the caller wants the answer; None leaves it to the intern.
    """
    wish = wish or Wish()
    started = time.monotonic()
    match intern.profile.skill:
        case _ if wish.constraint is not None:
            events = _complete(runtime, intern, turns, charter, wish=wish, cancel=cancel)
        case Skill.CLASSIFY:
            events = _classify(
                runtime, intern, turns[-1].content, charter, wish=wish, cancel=cancel
            )
        case Skill.ANSWER:
            judge = Judge(
                runtime,
                intern.profile,
                intern.version.adapter,
                charter,
                cancel=cancel,
                deadline_s=wish.deadline_s,
            )
            events = _answer(judge, turns[-1].content, passages=passages, similar=similar)
        case Skill.EXTRACT:
            text = turns[-1].content
            held = JsonSchema(intern.profile.schema or {"type": "object"}, source=text)
            wish = replace(wish, constraint=held)
            events = _complete(runtime, intern, turns[-1:], charter, wish=wish, cancel=cancel)
        case Skill.WRITE:
            events = _complete(runtime, intern, turns, charter, wish=wish, cancel=cancel)
    for event in events:
        if event["event"] != "done":
            yield event
            continue
        seconds = time.monotonic() - started
        yield (
            _DONE
            | event
            | {
                "intern": intern.name,
                "version": intern.version.number,
                "charter_version": charter.version,
                "seconds": seconds,
                "first_token_s": event.get("first_token_s", seconds),
                "tokens_per_s": event.get("tokens", 0) / seconds if seconds > 0 else 0.0,
            }
        )


_DONE: Json = {
    "confidence": None,
    "abstained": False,
    "citations": [],
    "prompt_tokens": 0,
    "cached_tokens": 0,
    "tokens": 0,
    "finish_reason": "stop",
}


def _classify(
    runtime: Runtime,
    intern: Intern,
    text: str,
    charter: Charter,
    *,
    wish: Wish,
    cancel: threading.Event | None,
) -> Iterator[Json]:
    profile = intern.profile
    messages = task_messages(profile, text, charter=charter)
    scores = runtime.score_choices(
        messages,
        profile.labels,
        adapter=intern.version.adapter,
        temperature=profile.temperature,
        tail=LABEL_TAIL,
        cancel=cancel,
        deadline_s=wish.deadline_s,
    )
    calibrated = scores.runtime == profile.fitted_with
    if not calibrated:
        scores = scores.at(1.0)
    probabilities = dict(zip(scores.labels, scores.probabilities, strict=True))
    yield {"event": "token", "text": scores.best}
    yield {
        "event": "done",
        "text": scores.best,
        # What was never calibrated on this runtime is not known, so that a human is asked.
        "confidence": probabilities[scores.best] if calibrated else None,
        "probabilities": probabilities,
        "calibrated": calibrated,
        "tokens": runtime.count_tokens(scores.best),
        "prompt_tokens": scores.prompt_tokens,
        "cached_tokens": scores.cached_tokens,
    }


def _complete(
    runtime: Runtime,
    intern: Intern,
    turns: Sequence[Message],
    charter: Charter,
    *,
    wish: Wish,
    cancel: threading.Event | None = None,
) -> Iterator[Json]:
    system, last = task_messages(intern.profile, turns[-1].content, charter=charter)
    request = CompletionRequest(
        messages=(system, *turns[:-1], last),
        adapter=intern.version.adapter,
        sampling=replace(intern.profile.sampling, **wish.sampling),
        constraint=wish.constraint,
        deadline_s=wish.deadline_s,
    )
    yield from answer_events(runtime, request, cancel)


def answer_events(
    runtime: Runtime, request: CompletionRequest, cancel: threading.Event | None = None
) -> Iterator[Json]:
    """Yield ``token`` events and last ``done`` for one request.

    When log-probabilities were asked for, ``token`` events carry them as ``scores``.
    """
    completion: Completion | None = None
    for delta in runtime.stream(request, cancel=cancel):
        if delta.text or delta.tokens:
            scores = {"scores": delta.tokens} if delta.tokens else {}
            yield {"event": "token", "text": delta.text, **scores}
        completion = delta.completion or completion
    assert completion is not None, "the last delta carries it"  # noqa: S101 - the port's promise
    yield {
        "event": "done",
        "text": completion.text,
        "confidence": _confidence(completion),
        "tokens": completion.completion_tokens,
        "prompt_tokens": completion.prompt_tokens,
        "cached_tokens": completion.cached_tokens,
        "finish_reason": completion.finish_reason,
        "first_token_s": completion.first_token_s,
    }


def _confidence(completion: Completion) -> float | None:
    """Mean probability of a token, or None where the runtime does not tell."""
    if completion.logprob is None:
        return None
    return math.exp(completion.logprob / max(1, completion.completion_tokens))


def _answer(
    judge: Judge, question: str, *, passages: Sequence[Hit], similar: Similar | None
) -> Iterator[Json]:
    texts = [hit.text for hit in passages]
    lines = [candidate.line for candidate in split_candidates(texts)]
    found = None
    if lines:
        found = judge.answer(question, texts, similar(question, lines) if similar else None)
    if found is None or not found.quote:
        yield {"event": "token", "text": NOT_IN_SOURCES}
        yield {
            "event": "done",
            "text": NOT_IN_SOURCES,
            "abstained": True,
            "confidence": 1.0 - found.score if found else 1.0,
            "tokens": judge.runtime.count_tokens(NOT_IN_SOURCES),
        }
        return
    hit = passages[found.n - 1]
    citation = {
        "n": found.n,
        "document_id": hit.document_id,
        "path": hit.path,
        "title": hit.title,
        "start": hit.start + found.start,
        "end": hit.start + found.end,
        "quote": found.quote,
    }
    text = f'[{found.n}] "{found.quote}"'
    yield {"event": "token", "text": text}
    yield {"event": "citation", **citation}
    yield {
        "event": "done",
        "text": text,
        "confidence": found.score,
        "citations": [citation],
        "tokens": judge.runtime.count_tokens(text),
    }
