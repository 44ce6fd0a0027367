"""Web requests: a POST to an address that the settings allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import httpx

from interns.errors import InvalidInput
from orchestrator.effects import Delivery, Json, Trace
from orchestrator.errors import EffectRefused, OutcomeUnknown

TIMEOUT_S = 15.0


class WebhookHandler:
    """Posts the approved text as JSON.

    Args:
        allowed: Returns the URL prefixes in force; read anew at every use.
    """

    def __init__(self, allowed: Callable[[], Sequence[str]]) -> None:
        self._allowed = allowed

    def check(self, target: str) -> str:
        """Return the URL if it is on the allow-list.

        Raises:
            InvalidInput: It is no web address, or not allowed.
        """
        if not self._permits(target):
            raise InvalidInput(
                f"Webhook {target!r} is not allowed.",
                "Allow its prefix: `interns config set effects.webhooks URL`.",
            )
        return target

    def trace(self, delivery: Delivery) -> Trace:  # noqa: ARG002 - the port's signature
        """Nobody but the receiver knows whether a request arrived."""
        return "unknown"

    def perform(self, delivery: Delivery) -> Json:
        """Send one POST with an idempotency key; redirects are not followed.

        Raises:
            EffectRefused: The address is not allowed, or the receiver answered 4xx.
            OutcomeUnknown: No answer, an interrupted one, or 5xx.
        """
        if not self._permits(delivery.target):
            raise EffectRefused(
                f"Webhook {delivery.target!r} is no longer allowed; nothing was sent.",
                "Allow its prefix in effects.webhooks and submit the task again.",
            )
        body = {"key": delivery.key, "text": delivery.payload, **delivery.context}
        try:
            answer = httpx.post(
                delivery.target,
                json=body,
                headers={"Idempotency-Key": delivery.key},
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise OutcomeUnknown(
                f"{delivery.target} gave no answer: {type(error).__name__} {error}.",
                "Look at the receiver before it is sent once more.",
            ) from error
        if answer.status_code >= 500:
            raise OutcomeUnknown(
                f"{delivery.target} answered {answer.status_code}.",
                "Look at the receiver before it is sent once more.",
            )
        if not answer.is_success:
            raise EffectRefused(
                f"{delivery.target} refused the delivery with status {answer.status_code}.",
                "Check the address and what it accepts, then submit the task again.",
            )
        return {"status_code": answer.status_code, "idempotency_key": delivery.key}

    def _permits(self, target: str) -> bool:
        parts = urlsplit(target)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            return False
        if any(step in {"..", "."} for step in parts.path.split("/")):
            return False
        return any(_within(target, prefix) for prefix in self._allowed())


def _within(target: str, prefix: str) -> bool:
    """Whether `target` lies under `prefix`: same origin, and its path from a ``/`` on."""
    wanted, given = urlsplit(prefix), urlsplit(target)
    if (wanted.scheme, wanted.netloc.lower()) != (given.scheme, given.netloc.lower()):
        return False
    base = wanted.path.rstrip("/")
    return given.path == base or given.path.startswith(f"{base}/")
