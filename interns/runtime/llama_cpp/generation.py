"""One answer on its way: prompt tokens in, text out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Self

from interns.adapter import Adapter
from interns.completion import Completion, Delta, FinishReason, TokenScore
from interns.errors import InternsError
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.prefixes import AdapterKey, adapter_key
from interns.runtime.llama_cpp.sampling import Pick, Sampler
from interns.runtime.llama_cpp.text_writer import TextWriter


def prompt_rows(prompt: Sequence[int], start: int, sequence: int, budget: int) -> list[Row]:
    """The next rows of a prompt, at most `budget` of them; only the last token wants logits.

    A last single token is never left over: llama.cpp rounds a batch of one differently, and a
    prompt should give the same numbers however much of it was cached.
    """
    end = min(len(prompt), start + budget)
    if len(prompt) - end == 1 and end - start > 2:
        end -= 1
    return [Row(prompt[i], i, (sequence,), output=i + 1 == len(prompt)) for i in range(start, end)]


@dataclass(eq=False)
class Generation:
    """State of one answer. Filled by the caller's thread, then owned by the engine's.

    Attributes:
        prompt: Token ids, at least one.
        adapter: Whose answer, or None for the bare base.
        most: Tokens to write at most.
        sampler: Picks tokens.
        writer: Turns them into text.
        piece: Bytes of a token.
        stop_tokens: Ids that end an answer.
        streaming: Whether pieces are wanted before the end.
        scored: Whether each token is reported with its log-probability.
        cancel: Set by anyone to end the answer.
        deadline: When to end it, on the clock of `time.monotonic`; infinite for never.
        sequence: Where its keys and values lie, or -1.
        paused: Its keys and values while another intern has its place.
    """

    prompt: list[int]
    adapter: Adapter | None
    most: int
    sampler: Sampler
    writer: TextWriter
    piece: Callable[[int], bytes]
    stop_tokens: frozenset[int]
    streaming: bool
    cancel: threading.Event
    on_end: Callable[[], None]
    scored: bool = False
    deadline: float = math.inf
    out: SimpleQueue[Delta | InternsError] = field(default_factory=SimpleQueue)
    sequence: int = -1
    paused: bytes = b""
    cached: int = 0
    decoded: int = 0
    written: list[int] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)
    unsent: list[TokenScore] = field(default_factory=list)
    logprob: float = 0.0
    submitted_at: float = field(default_factory=time.perf_counter)
    first_at: float = 0.0

    @property
    def key(self) -> AdapterKey:
        """What its KV entries are filed under."""
        return adapter_key(self.adapter)

    @property
    def cells(self) -> int:
        """KV cells it may need."""
        return len(self.prompt) + self.most

    @property
    def begun(self) -> bool:
        """Whether anything was computed for it."""
        return self.sequence >= 0 or bool(self.paused or self.written)

    @property
    def prefilling(self) -> bool:
        """Whether more than the next token is still to be computed."""
        return self.decoded < len(self.prompt) + max(0, len(self.written) - 1)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens that are in the KV cache."""
        return (*self.prompt, *self.written)[: self.decoded]

    def start(self, sequence: int, cached: int) -> None:
        """Begin in a sequence whose first `cached` tokens are there already."""
        self.sequence, self.cached, self.decoded = sequence, cached, cached

    def rewind(self) -> None:
        """Its keys and values are lost: begin again where it is, with all tokens it has."""
        self.sequence, self.decoded, self.paused = -1, 0, b""

    def rows(self, budget: int) -> list[Row]:
        """The next tokens to compute, at most `budget`; only the last may want logits."""
        if self.written and not self.prefilling:
            return [Row(self.written[-1], self.decoded, (self.sequence,), output=True)]
        tokens = [*self.prompt, *self.written] if self.written else self.prompt
        return prompt_rows(tokens, self.decoded, self.sequence, budget)

    def take(self, pick: Pick) -> FinishReason | None:
        """Write the next token; returns why the answer ends, if it does."""
        if not self.written:
            self.first_at = time.perf_counter()
        self.written.append(pick.token)
        self.logprob += pick.logprob
        if self.scored:
            self._note(pick)
        if pick.token in self.stop_tokens:
            return "stop"
        text = self.writer.write(self.piece(pick.token))
        if self.streaming and (text or self.unsent):
            self.out.put(Delta(text, tokens=self._send()))
        if self.writer.stopped:
            return "stop"
        return "length" if len(self.written) >= self.most else None

    def _note(self, pick: Pick) -> None:
        others = (TokenScore(token, self.piece(token), p) for token, p in pick.alternatives)
        score = TokenScore(pick.token, self.piece(pick.token), pick.logprob, tuple(others))
        self.scores.append(score)
        self.unsent.append(score)

    def _send(self) -> tuple[TokenScore, ...]:
        sent = tuple(self.unsent)
        self.unsent.clear()
        return sent

    def finish(self, reason: FinishReason) -> None:
        """Give out the completion."""
        rest = self.writer.finish()
        now = time.perf_counter()
        completion = Completion(
            text=self.writer.text,
            finish_reason=reason,
            prompt_tokens=len(self.prompt),
            cached_tokens=self.cached,
            completion_tokens=len(self.written),
            logprob=self.logprob,
            first_token_s=(self.first_at or now) - self.submitted_at,
            total_s=now - self.submitted_at,
            tokens=tuple(self.scores),
        )
        self.on_end()
        self.out.put(Delta(rest, completion, self._send()))

    def fail(self, error: InternsError) -> None:
        """Give out an error instead of an answer."""
        self.on_end()
        self.out.put(error)


class Pieces:
    """The pieces of a streamed answer as they come; leaving off cancels it, even before the first.

    Args:
        out: Where the engine puts them.
        cancel: Set when nobody wants more.
    """

    def __init__(self, out: SimpleQueue[Delta | InternsError], cancel: threading.Event) -> None:
        self._out = out
        self._cancel = cancel
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        if self._over:
            raise StopIteration
        piece = self._out.get()
        if isinstance(piece, InternsError):
            self.close()
            raise piece
        self._over = piece.completion is not None  # whole: there is nothing left to cancel
        return piece

    def close(self) -> None:
        """Cancel what is left of the answer; safe to call twice."""
        if not self._over:
            self._over = True
            self._cancel.set()

    __del__ = close


def nothing() -> None:
    """For answers that hold nothing to free."""
