"""A web server on loopback that answers as a test says, and the forms that endpoints answer in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


class FarEnd:
    """Answers every path with what a test put there, and notes what it was sent."""

    def __init__(self) -> None:
        self.replies: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.sent: list[Json] = []
        self.reads: str = ""
        self.answers: Callable[[Json], Json] | None = None
        self.asked, self.left = threading.Event(), threading.Event()
        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"far": self})
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path: str, *, asked: bool) -> tuple[int, dict[str, str], bytes]:
        if asked and self.answers:
            return 200, {}, json.dumps(self.answers(self.sent[-1])).encode()
        return self.replies.get(path, (404, {}, b"{}"))

    def refuses(self, status: int, body: object, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.replies["/v1/completions"] = (status, named, content)

    def streams(self, *lines: str | Json, end: str = "data: [DONE]\n\n") -> None:
        texts = [line if isinstance(line, str) else f"data: {json.dumps(line)}" for line in lines]
        body = "".join(f"{text}\n\n" for text in texts) + end
        kind = {"Content-Type": "text/event-stream"}
        self.replies["/v1/completions"] = (200, kind, body.encode())

    def lists(self, *names: str) -> None:
        models = {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
        self.gives("/v1/models", models)

    def gives(self, path: str, body: object) -> None:
        self.replies[path] = (200, {}, json.dumps(body).encode())


class _Handler(BaseHTTPRequestHandler):
    far: FarEnd
    protocol_version = "HTTP/1.1"
    used = False

    def do_GET(self) -> None:
        if self.far.reads == "before it lists":
            self._read_for_ever()
        else:
            self._reply()

    def do_POST(self) -> None:
        self.far.sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        if self.far.reads:
            self._read_for_ever()
        else:
            self._reply()

    def _read_for_ever(self) -> None:
        """At work: nothing comes, with or without a status, until the caller leaves."""
        if self.far.reads == "after the status":
            self.send_response(200)
            self.end_headers()
        self.far.asked.set()
        assert self.rfile.read(1) == b""
        self.far.left.set()

    def _reply(self) -> None:
        if self.used:  # llama-server promises to keep a connection, and ends it at times
            self.close_connection = True
            return
        self.used = True
        status, headers, body = self.far.reply(self.path, asked=self.command == "POST")
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def piece(text: str, logprobs: Json | None = None, reason: str | None = None, **more: Any) -> Json:
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason, **more}
    return {"id": "cmpl-1", "object": "text_completion", "choices": [choice]}


def scores(*pairs: tuple[str, float], tops: list[Any] | None = None) -> Json:
    """A ``logprobs`` object as texts carry it."""
    return {
        "tokens": [token for token, _ in pairs],
        "token_logprobs": [logprob for _, logprob in pairs],
        "top_logprobs": tops,
        "text_offset": [0] * len(pairs),
    }
