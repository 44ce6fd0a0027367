"""What can leave the office: one handler per kind of effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Json = dict[str, Any]
Trace = Literal["done", "absent", "unknown"]


@dataclass(frozen=True)
class Delivery:
    """One effect to carry out.

    Attributes:
        key: Unique and the same on every attempt; sent along as idempotency key.
        kind: Which handler carries it out.
        target: File name or URL.
        payload: The approved text.
        context: What a receiver may want to know: task, intern, version.
    """

    key: str
    kind: str
    target: str
    payload: str
    context: Json


class EffectHandler(Protocol):
    """Carries out one kind of effect."""

    def check(self, target: str) -> str:
        """Return the target to use, or refuse it when the task is submitted.

        Raises:
            InvalidInput: This target is not allowed.
        """
        ...

    def trace(self, delivery: Delivery) -> Trace:
        """Look whether an interrupted delivery happened; never repeats it."""
        ...

    def perform(self, delivery: Delivery) -> Json:
        """Carry it out and return what to record.

        Raises:
            EffectRefused: It certainly did not happen.
            OutcomeUnknown: It may have happened.
        """
        ...
