"""Who may call: only this machine, only by this machine's name, only with the token.

The Host header is checked so that a web page cannot reach the office through a name of its own
that it lets point to 127.0.0.1.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from interns.errors import InternsError
from orchestrator.api.refusals import refusal
from orchestrator.errors import Forbidden, Unauthorized

OPEN_PATHS = frozenset({"/health"})


class Guard:
    """Lets a request through or answers 401 or 403; works on streams without buffering them.

    Args:
        app: What it guards.
        token: The bearer token.
        port: Returns the port the daemon listens on.
    """

    def __init__(self, app: ASGIApp, *, token: str, port: Callable[[], int]) -> None:
        self._app = app
        self._token = token.encode()
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        found = self._refusal(request)
        if found is None:
            await self._app(scope, receive, send)
        else:
            await refusal(request.url.path, found)(scope, receive, send)

    def _refusal(self, request: Request) -> InternsError | None:
        host = request.headers.get("host", "")
        if host not in {f"{name}:{self._port()}" for name in ("127.0.0.1", "localhost")}:
            return Forbidden(
                f"The office does not answer to the name {host!r}.",
                f"Use http://127.0.0.1:{self._port()}.",
            )
        if request.url.path in OPEN_PATHS:
            return None
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.encode(), self._token):
            return Unauthorized(
                "The token is missing or wrong.",
                "Send `Authorization: Bearer TOKEN`; the token lies in the data directory.",
            )
        return None
