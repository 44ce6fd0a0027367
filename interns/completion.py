"""What is asked of a runtime and what it answers: plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from interns.adapter import Adapter

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "cancelled", "deadline"]

EMBEDDED = "llama.cpp"
"""The runtime in this process, which training examines and calibrates with."""


LABEL_TAIL = 0.001
"""Share of the probability that labels may hold unread, in exams and in office alike."""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Sampling:
    """How the next token is picked.

    Attributes:
        max_tokens: Upper bound of generated tokens, at least 1.
        temperature: 0 picks the most probable token; otherwise 0 < t <= 10.
        top_k: Keep the k most probable tokens; 0 keeps all.
        top_p: Keep the smallest set with this probability mass, in (0, 1].
        min_p: Drop tokens below this share of the best one, in [0, 1).
        repeat_penalty: 1.0 is off; values up to 2.0 discourage repeats.
        seed: Same seed, same tokens.
        stop: Texts that end the answer and are not part of it.
        logit_bias: Token ids and what is added to their logits, in [-100, 100]; at most 1024.
        logprobs: Report the log-probability of each token and of so many likely alternatives,
            0 to 100; None reports nothing.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None


@dataclass(frozen=True)
class Choices:
    """Hold the answer to one of these labels, at least one, all different."""

    labels: tuple[str, ...]


@dataclass(frozen=True)
class JsonSchema:
    """Hold the answer to a JSON schema.

    A string property with ``"x-copy": true`` may only take a run of words of `source`, so that
    names and numbers are copied, never invented; an absent fact is the empty string.

    Attributes:
        schema: A JSON schema of type object, or of several such under ``anyOf``.
        source: The text that copied fields come from.
    """

    schema: Mapping[str, Any]
    source: str = ""


@dataclass(frozen=True)
class Grammar:
    """Hold the answer to a GBNF grammar whose start rule is ``root``."""

    gbnf: str


Constraint = Choices | JsonSchema | Grammar


@dataclass(frozen=True)
class CompletionRequest:
    """One prompt for one intern (or the bare base, without adapter).

    Attributes:
        messages: A conversation, rendered with the base's template; empty when `prompt` is given.
        adapter: Whose answer, or None for the bare base.
        sampling: How tokens are picked.
        constraint: What the answer is held to.
        deadline_s: Seconds from submission after which the answer ends with what there is; a
            request that is still waiting then fails with `errors.Busy`. Above 0.
        prompt: Token ids to go on from, as they are, instead of messages.
        echo: Report the log-probabilities of the prompt's tokens too, as `sampling.logprobs` says;
            only then may `max_tokens` be 0.
    """

    messages: tuple[Message, ...]
    adapter: Adapter | None = None
    sampling: Sampling = field(default_factory=Sampling)
    constraint: Constraint | None = None
    deadline_s: float | None = None
    prompt: tuple[int, ...] = ()
    echo: bool = False


@dataclass(frozen=True)
class TokenScore:
    """A token and how probable it was.

    Attributes:
        token: Its id.
        data: Its bytes; a character may span several tokens.
        logprob: Natural log-probability, under the constraint if there is one; None for the first
            token of a prompt, which follows nothing.
        alternatives: The likeliest tokens at this place, best first.
    """

    token: int
    data: bytes
    logprob: float | None
    alternatives: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished answer.

    Attributes:
        text: The answer without stop token.
        finish_reason: ``stop`` (stop token or stop text), ``length``, ``cancelled`` or
            ``deadline``.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: How many of them were already in the KV cache.
        completion_tokens: Generated tokens, stop token included.
        logprob: Sum of natural log-probabilities of the generated tokens under the constraint;
            None where a remote runtime does not tell.
        first_token_s: Seconds from submission to the first token.
        total_s: Seconds from submission to the end.
        tokens: The written tokens one by one, when log-probabilities were asked for.
        prompt: The prompt's tokens one by one, when they were asked for.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    logprob: float | None
    first_token_s: float
    total_s: float
    tokens: tuple[TokenScore, ...] = ()
    prompt: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of a streamed answer; the last one carries the finished completion.

    Attributes:
        text: Whole characters, no part of a stop text.
        completion: On the last piece.
        tokens: Tokens written since the last piece, when log-probabilities were asked for; their
            text may come with a later piece.
    """

    text: str
    completion: Completion | None = None
    tokens: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class ChoiceScores:
    """How probable each label is as the whole answer.

    Attributes:
        labels: As given.
        logprobs: Natural log-probability of each label followed by the stop token, same order; for
            labels left unread an even share of what they may hold together.
        probabilities: Softmax of ``logprobs / temperature``: sums to 1.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: How many of them were already in the KV cache.
        runtime: What computed them: `EMBEDDED`, or ``openai`` for any endpoint of that dialect.
    """

    labels: tuple[str, ...]
    logprobs: tuple[float, ...]
    probabilities: tuple[float, ...]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    runtime: str = EMBEDDED

    def at(self, temperature: float) -> ChoiceScores:
        """The same log-probabilities under another temperature, above 0."""
        heated = [each / temperature for each in self.logprobs]
        weights = [math.exp(each - max(heated)) for each in heated]
        total = math.fsum(weights)
        return replace(self, probabilities=tuple(weight / total for weight in weights))

    @property
    def best(self) -> str:
        """The most probable label."""
        return max(zip(self.probabilities, self.labels, strict=True))[1]
