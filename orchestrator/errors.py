"""Errors on the wire: the same fields over HTTP, in streams and in a daemon's last words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interns.errors import BY_CODE, Busy, InternsError


class Unauthorized(InternsError):
    """The caller showed no token or a wrong one."""

    code = "unauthorized"


class Forbidden(InternsError):
    """The request came by a name that is not this machine's."""

    code = "forbidden"


class EffectRefused(InternsError):
    """The effect certainly did not happen and would not happen the next time either."""

    code = "effect_refused"


class OutcomeUnknown(InternsError):
    """The effect may or may not have happened; a human has to look."""

    code = "outcome_unknown"


KINDS: dict[str, type[InternsError]] = BY_CODE | {
    kind.code: kind for kind in (Unauthorized, Forbidden, EffectRefused, OutcomeUnknown)
}
HTTP_STATUS = {
    "invalid_input": 422,
    "too_long": 422,
    "not_found": 404,
    "conflict": 409,
    "unavailable": 503,
    "busy": 429,
    "gate_not_met": 412,
    "needs_human": 409,
    "no_space": 507,
    "unauthorized": 401,
    "forbidden": 403,
}


def to_body(error: BaseException) -> dict[str, Any]:
    """Return the JSON form of any error; an unforeseen one keeps its class name."""
    if isinstance(error, InternsError):
        return {
            "error": error.message,
            "fix": error.fix,
            "code": error.code,
            "exit_code": error.exit_code,
            **({"retry_after_s": error.retry_after_s} if isinstance(error, Busy) else {}),
        }
    return {
        "error": f"Unforeseen {type(error).__name__}: {error}.",
        "fix": "Read daemon.log in the data directory; `interns doctor` checks the usual causes.",
        "code": "failed",
        "exit_code": 1,
    }


def from_body(body: Mapping[str, Any]) -> InternsError:
    """Return the error that `to_body` described."""
    kind = KINDS.get(str(body.get("code", "")), InternsError)
    told = (str(body.get("error", "The daemon reported an error.")), str(body.get("fix", "")))
    if issubclass(kind, Busy):
        return kind(*told, float(body.get("retry_after_s", 1.0)))
    return kind(*told)
