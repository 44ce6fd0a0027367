"""What the engine's thread works on: answers, and work of several steps such as label scores."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from interns.adapter import Adapter
from interns.completion import FinishReason
from interns.errors import InternsError
from interns.runtime.deadline import cut_short
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.generation import Generation
from interns.runtime.llama_cpp.library import Context
from interns.runtime.llama_cpp.prefixes import AdapterKey, adapter_key


class Desk(Protocol):
    """What a step of solo work may use."""

    label_sequences: range

    @property
    def context(self) -> Context:
        """The present cache."""
        ...

    @property
    def room(self) -> int:
        """Rows that the next batch of this turn may have."""
        ...

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch; fails with `InternsError` when there is no room for it."""
        ...


Steps = Iterator[int]


@dataclass(eq=False)
class Solo:
    """Work whose batches are its own, done one batch a step.

    Attributes:
        steps: Makes the work; each item is one decoded batch: how many rows it had. What it needs
            later it copies before it yields, because the next batch may be another's.
        adapter: Set on the context before each step.
        prompt: Token ids it begins with.
        cells: KV cells it may need.
        files_under: What the prompt's keys and values are filed under; None keeps nothing.
        result: Where the outcome goes; `steps` sets `outcome` before it ends.
        decoded: Prompt tokens that are in the KV cache.
        cached: How many of them were there when it began.
        cancel: Set by anyone to end it; it then fails, as at its deadline.
        deadline: When to end it, on the clock of `time.monotonic`; infinite for never.
    """

    steps: Callable[[Desk, Solo], Steps]
    adapter: Adapter | None
    prompt: Sequence[int]
    cells: int
    files_under: AdapterKey | None
    cancel: threading.Event = field(default_factory=threading.Event)
    deadline: float = math.inf
    result: Future[Any] = field(default_factory=Future)
    outcome: Any = None
    sequence: int = -1
    decoded: int = 0
    cached: int = 0
    paused: bytes = b""
    running: Steps | None = None
    submitted_at: float = field(default_factory=time.perf_counter)

    @property
    def key(self) -> AdapterKey:
        """Whose turn it runs in."""
        return adapter_key(self.adapter)

    @property
    def begun(self) -> bool:
        """Whether anything was computed for it."""
        return self.sequence >= 0 or bool(self.paused)

    @property
    def seconds_left(self) -> float | None:
        """Until its deadline, always above 0; None without one."""
        left = self.deadline - time.monotonic()
        return None if left == math.inf else max(left, 1e-9)

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens that are in the KV cache."""
        return self.prompt[: self.decoded]

    def start(self, sequence: int, cached: int) -> None:
        """Begin in a sequence whose first `cached` tokens are there already."""
        self.sequence, self.cached, self.decoded = sequence, cached, cached

    def rewind(self) -> None:
        """Its keys and values are lost: begin again from the start."""
        self.sequence, self.decoded, self.paused, self.running = -1, 0, b"", None

    def finish(self, reason: FinishReason) -> None:
        """Give out the outcome; work that was cut short has none."""
        if reason == "stop":
            self.result.set_result(self.outcome)
        else:
            self.fail(cut_short(late=reason == "deadline"))

    def fail(self, error: InternsError) -> None:
        """Give the waiting caller an error."""
        self.result.set_exception(error)


Job = Generation | Solo
