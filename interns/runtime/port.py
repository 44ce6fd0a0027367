"""What the office needs from anything that runs a model."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from interns.adapter import Adapter
from interns.completion import ChoiceScores, Completion, CompletionRequest, Delta, Message


class Runtime(Protocol):
    """One base in memory that answers for many interns. Safe to call from any thread."""

    def complete(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Completion:
        """Answer and wait for the end; a set `cancel` ends it within one step."""
        ...

    def stream(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Answer piece by piece; the last piece carries the completion."""
        ...

    def score_choices(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        adapter: Adapter | None = None,
        temperature: float = 1.0,
        tail: float = 0.0,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> ChoiceScores:
        """How probable each choice is as the whole answer.

        Probabilities may be off by `tail`, where less has to be read then; 0 is exact.
        A set `cancel`, and `deadline_s` seconds, end the work with `errors.Unavailable`.
        """
        ...

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, control tokens parsed, nothing added."""
        ...

    def set_roster(self, adapters: Sequence[Adapter], folder: Path) -> None:
        """Say who is in office, so that they can be served better together.

        Others are answered too. `folder` is for files that can be made anew.
        """
        ...

    def close(self) -> None:
        """Free everything; calls in progress fail with `errors.Unavailable`."""
        ...
