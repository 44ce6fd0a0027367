"""What an OpenAI-compatible endpoint sends back, read into our own values and errors."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from interns.completion import Completion, Delta, FinishReason, TokenScore
from interns.errors import Busy, InternsError, InvalidInput, NotFound, TooLong, Unavailable

Json = dict[str, Any]


@dataclass
class Answer:
    """An answer that is coming in."""

    prompt_tokens: int
    begun: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    text: list[str] = field(default_factory=list)
    tokens: list[TokenScore] = field(default_factory=list)
    reason: FinishReason = "stop"
    usage: Json = field(default_factory=dict)

    def take(self, event: Json, scored: bool) -> Delta:
        """Note an event and return what it adds."""
        self.usage = event.get("usage") or self.usage
        if not event.get("choices"):
            return Delta("")
        choice = event["choices"][0]
        self.first = self.first or time.perf_counter()
        self.reason = choice.get("finish_reason") or self.reason
        tokens = read_scores(choice["logprobs"]) if choice.get("logprobs") else []
        self.tokens += tokens
        self.text.append(choice.get("text") or "")
        return Delta(self.text[-1], tokens=tuple(tokens) if scored else ())

    def end(self, reason: FinishReason, scored: bool) -> Delta:
        """Return the last piece."""
        now = time.perf_counter()
        details = self.usage.get("prompt_tokens_details") or {}
        completion = Completion(
            text="".join(self.text),
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=int(details.get("cached_tokens") or 0),
            completion_tokens=int(self.usage.get("completion_tokens") or len(self.tokens)),
            logprob=math.fsum(token.logprob or 0.0 for token in self.tokens),
            first_token_s=(self.first or now) - self.begun,
            total_s=now - self.begun,
            tokens=tuple(self.tokens) if scored else (),
        )
        return Delta("", completion)


def read_scores(logprobs: Json) -> list[TokenScore]:
    """Return the tokens of a ``logprobs`` object; their ids are not told."""
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    return [
        TokenScore(
            -1,
            _bytes(token),
            logprob,
            tuple(TokenScore(-1, _bytes(other), p) for other, p in (top or {}).items()),
        )
        for token, logprob, top in zip(
            logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True
        )
    ]


def _bytes(token: str) -> bytes:
    if token.startswith("bytes:\\x"):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode()


def read_event(line: str) -> Json:
    """Return one streamed event.

    Raises:
        InternsError: It tells an error.
    """
    event: Json = json.loads(line.removeprefix("data: "))
    if "error" in event:
        raise told_error(0, event)
    return event


def read_error(response: httpx.Response) -> InternsError:
    """Return what a refused request is told by."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    told = told_error(response.status_code, body if isinstance(body, dict) else {})
    if isinstance(told, Busy):
        with contextlib.suppress(ValueError):
            told.retry_after_s = float(response.headers.get("Retry-After", 1))
    return told


def told_error(status: int, body: Json) -> InternsError:
    """Return an error body as one of our errors; status 0 is an event of a stream."""
    error = body.get("error")
    told: Json = error if isinstance(error, dict) else {"message": error or body.get("message")}
    message = f"The endpoint refuses: {told.get('message') or f'HTTP status {status}'}"
    if told.get("code") == "context_length_exceeded":
        return TooLong(message)
    match status:
        case 400 | 422:
            return InvalidInput(message)
        case 401 | 403:
            return InvalidInput(message, "Set the variable that engine.token_variable names.")
        case 404:
            return NotFound(message, "Check what the endpoint serves, and engine.model.")
        case 429:
            return Busy(message, "Try again later.")
    return Unavailable(message, "Try again in a moment.")
