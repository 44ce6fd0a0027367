"""``/v1/completions``: text or token ids as they are, without template, charter or skill.

What evaluation harnesses measure with: ``echo`` and ``logprobs`` score a prompt token by token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any

from interns.base_model import BaseModelRef
from interns.completion import Completion, CompletionRequest, Sampling, TokenScore
from interns.errors import InvalidInput
from interns.gguf.reader import read_gguf
from orchestrator.api.openai.bodies import CompletionBody
from orchestrator.api.openai.models import find_model
from orchestrator.api.openai.options import constraint_of, sampling_of
from orchestrator.api.openai.shapes import cut_short, finish_reason, stamp, token_text, usage
from orchestrator.desk import Desk

Json = dict[str, Any]

MOST_PROMPTS = 256
_AT_ONCE = 8
_DEFAULT_TOKENS = 16


def read_request(desk: Desk, body: CompletionBody) -> list[CompletionRequest]:
    """Check a request and return one for each prompt.

    Raises:
        NotFound: There is no such model.
        InvalidInput: It is malformed or asks for what the engine does not do.
    """
    who = find_model(desk, body.model)
    if who.routed:
        raise InvalidInput("A bare prompt cannot be routed.", "Name an intern or the base.")
    if body.stream and body.echo:
        raise InvalidInput("echo cannot be streamed.", "Leave one of them out.")
    wanted: dict[str, Any] = {"max_tokens": _DEFAULT_TOKENS, **sampling_of(body)}
    prompts = _prompts(desk, body.prompt)
    if body.stream and len(prompts) > 1:
        raise InvalidInput("Only one prompt can be streamed.", "Send one request for each.")
    request = CompletionRequest(
        messages=(),
        adapter=who.intern.version.adapter if who.intern else None,
        sampling=Sampling(**wanted),
        constraint=constraint_of(body),
        deadline_s=body.deadline_s,
        echo=body.echo,
    )
    return [replace(request, prompt=tuple(prompt)) for prompt in prompts]


def whole(
    desk: Desk, body: CompletionBody, requests: Sequence[CompletionRequest], cancel: threading.Event
) -> Json:
    """Return the answers to all prompts.

    Raises:
        InternsError: What went wrong with the first that failed.
    """
    runtime = desk.runtime

    def complete(request: CompletionRequest) -> Completion:
        if cancel.is_set():  # nothing is begun for nobody, and a remote engine is not even asked
            raise cut_short()
        return runtime.complete(request, cancel=cancel)

    with ThreadPoolExecutor(min(_AT_ONCE, len(requests))) as pool:
        answers = list(pool.map(complete, requests))
    return {
        **stamp("cmpl", "text_completion", body.model),
        "choices": [_choice(i, answer, body) for i, answer in enumerate(answers)],
        "usage": usage(
            sum(answer.prompt_tokens for answer in answers),
            sum(answer.cached_tokens for answer in answers),
            sum(answer.completion_tokens for answer in answers),
        ),
    }


def chunks(
    desk: Desk, body: CompletionBody, request: CompletionRequest, cancel: threading.Event
) -> Iterator[Json]:
    """Yield the answer piece by piece.

    Raises:
        InternsError: What went wrong.
    """
    start = stamp("cmpl", "text_completion", body.model)
    offset = 0
    for delta in desk.runtime.stream(request, cancel=cancel):
        scored = _logprobs(delta.tokens, offset) if delta.tokens else None
        offset += len(delta.text)
        done = delta.completion
        reason = finish_reason(done.finish_reason) if done else None
        choice = {"index": 0, "text": delta.text, "logprobs": scored, "finish_reason": reason}
        yield {**start, "choices": [choice]}
        if done and (body.stream_options or {}).get("include_usage"):
            counts = usage(done.prompt_tokens, done.cached_tokens, done.completion_tokens)
            yield {**start, "choices": [], "usage": counts}


def _prompts(desk: Desk, given: str | list[str] | list[int] | list[list[int]]) -> list[list[int]]:
    match given:
        case str():
            prompts = [_read(desk, given)]
        case [int(), *_]:
            prompts = [given]  # type: ignore[list-item]  # pydantic made sure
        case [str(), *_]:
            prompts = [_read(desk, str(text)) for text in given]
        case _:
            prompts = given  # type: ignore[assignment]  # pydantic made sure
    if not prompts or not all(prompts):
        raise InvalidInput("A prompt is empty.", "Give at least one token.")
    if len(prompts) > MOST_PROMPTS:
        raise InvalidInput(f"{MOST_PROMPTS} prompts are the most.", "Send several requests.")
    return prompts


def _read(desk: Desk, text: str) -> list[int]:
    ids, begins = desk.runtime.tokenize(text), _begins(desk.base)
    return ids if not begins or ids[:1] == begins else [*begins, *ids]


@lru_cache(maxsize=4)
def _begins(base: BaseModelRef) -> list[int]:
    """What belongs before a text where the base's file says so, as llama-server and vLLM add it."""
    file = read_gguf(base.gguf)
    if file.metadata.get("tokenizer.ggml.add_bos_token") is not True:
        return []
    return [int(file.number("tokenizer.ggml.bos_token_id"))]


def _choice(index: int, answer: Completion, body: CompletionBody) -> Json:
    shown = [*answer.prompt, *answer.tokens]
    text = b"".join(score.data for score in answer.prompt).decode("utf-8", "replace")
    return {
        "index": index,
        "text": text + answer.text,
        "logprobs": _logprobs(shown, 0) if body.logprobs is not None else None,
        "finish_reason": finish_reason(answer.finish_reason),
    }


def _logprobs(scores: Sequence[TokenScore], offset: int) -> Json:
    offsets = []
    for score in scores:
        offsets.append(offset)
        offset += len(score.data.decode("utf-8", "replace"))
    return {
        "tokens": [token_text(score) for score in scores],
        "token_logprobs": [score.logprob for score in scores],
        "top_logprobs": [_best(score) for score in scores],
        "text_offset": offsets,
    }


def _best(score: TokenScore) -> dict[str, float | None] | None:
    """Return the likeliest tokens; of two that read alike the likelier one."""
    if score.logprob is None:
        return None
    best: dict[str, float | None] = {}
    for each in score.alternatives:
        best.setdefault(token_text(each), each.logprob)
    return best
