"""What an OpenAI-compatible endpoint sends back, read into our own values and errors.

The dialect has accents. vLLM and llama-server leave fields out or null, llama-server writes the
log-probabilities of a text as those of a chat, and each tells errors in its own shape.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from interns.completion import Completion, Delta, FinishReason, TokenScore
from interns.errors import (
    Busy,
    Incompatible,
    InternsError,
    InvalidInput,
    NotFound,
    TooLong,
    Unavailable,
)
from interns.runtime.llama_cpp.text_writer import TextWriter

Json = dict[str, Any]

_REASONS: Mapping[str, FinishReason] = {"length": "length", "max_tokens": "length"}
_BROKEN_OFF = {"abort", "error"}
_TOO_LONG = ("context_length_exceeded", "exceed_context_size_error")
_TOO_LONG_WORDS = ("maximum context length", "available context size")
_LONGEST_WAIT_S = 3600.0


@dataclass
class Answer:
    """An answer that is coming in.

    Attributes:
        prompt_tokens: As counted here.
        count: Counts the tokens of a text, for endpoints that do not say how many they wrote.
        alternatives: How many likely tokens were asked for at each place; None for no scores.
        stops: Texts that end it. They are looked for here: llama-server never sends what it holds
            back as the beginning of one when the answer ends there.
    """

    prompt_tokens: int
    count: Callable[[str], int]
    alternatives: int | None = None
    stops: tuple[str, ...] = ()
    begun: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    tokens: list[TokenScore] = field(default_factory=list)
    reason: FinishReason | None = None
    usage: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._writer = TextWriter(self.stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop text came."""
        return self._writer.stopped

    def take(self, event: Json) -> Delta:
        """Note an event and return what it adds.

        Raises:
            Unavailable: The endpoint broke the answer off.
        """
        self.usage = event.get("usage") or self.usage
        if not event["choices"]:
            return Delta("")
        choice = event["choices"][0]
        self.first = self.first or time.perf_counter()
        if choice.get("finish_reason"):
            self.reason = read_reason(choice["finish_reason"])
        tokens = read_scores(choice.get("logprobs"), self.alternatives or 0)
        self.tokens += tokens
        text = self._writer.write((choice.get("text") or "").encode("utf-8", "replace"))
        return Delta(text, tokens=tuple(tokens) if self.alternatives is not None else ())

    def end(self, reason: FinishReason | None = None) -> Delta:
        """Return the last piece.

        Args:
            reason: Why it ends here, or None for what the endpoint said.

        Raises:
            Unavailable: The endpoint said nothing: the connection was cut.
        """
        reason = reason or self.reason
        if reason is None:
            raise Unavailable("The endpoint ended its answer without a reason.", "Try again.")
        rest = self._writer.finish()
        now, text = time.perf_counter(), self._writer.text
        details = self.usage.get("prompt_tokens_details") or {}
        written = int(self.usage.get("completion_tokens") or len(self.tokens) or self.count(text))
        # llama-server does not score a token that ends within a character.
        told = len(self.tokens) == written
        completion = Completion(
            text=text,
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=int(details.get("cached_tokens") or 0),
            completion_tokens=written,
            logprob=total(self.tokens) if told else None,
            first_token_s=(self.first or now) - self.begun,
            total_s=now - self.begun,
            tokens=tuple(self.tokens) if self.alternatives is not None else (),
        )
        return Delta(rest, completion)


def read_reason(word: str) -> FinishReason:
    """Return why an answer ended; an unknown word is an end like any other.

    Raises:
        Unavailable: The endpoint broke the answer off.
    """
    if word in _BROKEN_OFF:
        raise Unavailable(f"The endpoint broke its answer off ({word}).", "Try again.")
    return _REASONS.get(word, "stop")


def total(scores: list[TokenScore] | tuple[TokenScore, ...]) -> float | None:
    """Sum of the log-probabilities, or None where there are none."""
    return math.fsum(score.logprob or 0.0 for score in scores) if scores else None


def read_scores(logprobs: Json | None, alternatives: int) -> list[TokenScore]:
    """Return the tokens of a ``logprobs`` object in either shape, none for null.

    Args:
        logprobs: As for texts (``tokens``, ``token_logprobs``, ``top_logprobs``) or as for chats
            (``content``).
        alternatives: Most likely tokens to keep at each place; vLLM adds the chosen one to them.
    """
    if not logprobs:
        return []
    if logprobs.get("content") is not None:
        return [_chat_score(entry, alternatives) for entry in logprobs["content"]]
    if not logprobs.get("tokens"):
        return []
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    return [
        TokenScore(
            -1,
            _bytes(token),
            logprob,
            _best([TokenScore(-1, _bytes(t), p) for t, p in (top or {}).items()], alternatives),
        )
        for token, logprob, top in zip(
            logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True
        )
    ]


def _chat_score(entry: Json, alternatives: int) -> TokenScore:
    data = bytes(entry["bytes"]) if entry.get("bytes") else _bytes(entry["token"])
    others = [_chat_score(each, 0) for each in entry.get("top_logprobs") or ()]
    return TokenScore(int(entry.get("id", -1)), data, entry["logprob"], _best(others, alternatives))


def _best(scores: list[TokenScore], count: int) -> tuple[TokenScore, ...]:
    return tuple(sorted(scores, key=lambda score: -(score.logprob or 0.0))[:count])


def _bytes(token: str) -> bytes:
    if token.startswith("bytes:\\x"):
        return bytes.fromhex(token.removeprefix("bytes:").replace("\\x", ""))
    return token.encode()


def read_event(line: str) -> Json | None:
    """Return what one line of a stream tells; None for comments, blanks and its end.

    Raises:
        InternsError: It tells an error.
    """
    field_name, colon, value = line.partition(":")
    value = value.strip()
    if field_name != "data" or not colon or value in ("", "[DONE]"):
        return None
    event: Json = json.loads(value)
    if event.get("error") or event.get("object") == "error":
        raise told_error(0, event)
    return event


def read_error(response: httpx.Response) -> InternsError:
    """Return what a refused request is told by."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    told = told_error(response.status_code, body if isinstance(body, dict) else {})
    wait = _wait_s(response.headers.get("Retry-After", ""))
    if isinstance(told, Busy):
        told.retry_after_s = wait or 1.0
    elif isinstance(told, Unavailable) and wait:
        told.fix = f"Try again in {math.ceil(wait)} s."
    return told


def _wait_s(header: str) -> float:
    """Seconds to wait, 0 where none are told; a date instead of seconds is left out."""
    with contextlib.suppress(ValueError):
        seconds = float(header)
        return seconds if 0 < seconds <= _LONGEST_WAIT_S else 0.0
    return 0.0


def told_error(status: int, body: Json) -> InternsError:
    """Return an error body as one of our errors.

    Args:
        status: HTTP status; 0 for an event of a stream, which may tell its own.
        body: ``{"error": {…}}``, vLLM's older ``{"object": "error", …}``, or FastAPI's
            ``{"detail": …}``.
    """
    error = body.get("error", body)
    told: Json = error if isinstance(error, dict) else {"message": error}
    code, words = told.get("code"), told.get("message") or told.get("detail")
    if not status and isinstance(code, int):
        status = code
    message = f"The endpoint refuses: {words or f'HTTP status {status}'}"
    if {code, told.get("type")} & set(_TOO_LONG) or any(w in message for w in _TOO_LONG_WORDS):
        return TooLong(
            message, "Shorten the text, give less knowledge with it, or serve a longer context."
        )
    match status:
        case 400 | 401 | 403 | 422:
            fix = "Change what it names, or ask one that takes it."
            if status in {401, 403}:
                fix = "Set the variable that engine.token_variable names."
            return InvalidInput(message, fix)
        case 404:
            return NotFound(message, "Check what the endpoint serves, and engine.model.")
        case 429:
            return Busy(message, "Try again later.")
        case 501:
            return Incompatible(message, "Use an endpoint that can do this, such as vLLM.")
    return Unavailable(message, "Try again in a moment.")
