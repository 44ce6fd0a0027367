"""Errors as HTTP answers: the office's four fields, and OpenAI's shape under ``/v1``."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from starlette.responses import JSONResponse

from interns.errors import Busy, InternsError
from orchestrator.errors import HTTP_STATUS, to_body

Json = dict[str, Any]

OPENAI_PATH = "/v1/"
# Where OpenAI's clients expect another status than ours, they raise the right class by it.
_OPENAI_STATUS = HTTP_STATUS | {"invalid_input": 400, "too_long": 400}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "invalid_request_error",
    429: "rate_limit_error",
}
_CODES = {"too_long": "context_length_exceeded", "unauthorized": "invalid_api_key"}


def refusal(
    path: str, error: BaseException, *, status: int | None = None, param: str | None = None
) -> JSONResponse:
    """Return the answer that tells `error` to a client that called `path`.

    Args:
        path: What was called; it decides the shape.
        error: What went wrong.
        status: HTTP status; None follows from the error.
        param: For OpenAI's shape: the field that is to blame.
    """
    code = error.code if isinstance(error, InternsError) else "failed"
    headers = {"Retry-After": str(ceil(error.retry_after_s))} if isinstance(error, Busy) else None
    if path.startswith(OPENAI_PATH):
        number = status or _OPENAI_STATUS.get(code, 500)
        body: Mapping[str, Any] = openai_error(error, status=number, param=param)
    else:
        number = status or HTTP_STATUS.get(code, 500)
        body = to_body(error)
    return JSONResponse(body, status_code=number, headers=headers)


def openai_error(
    error: BaseException, *, status: int | None = None, param: str | None = None
) -> Json:
    """Return an error in OpenAI's shape; what to try is part of the message."""
    told = to_body(error)
    number = status or _OPENAI_STATUS.get(told["code"], 500)
    message = f"{told['error']} {told['fix']}".strip()
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(number, "server_error"),
            "param": param,
            "code": _CODES.get(told["code"], told["code"]),
        }
    }
