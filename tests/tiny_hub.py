"""A hub of one's own on loopback: the few endpoints that fetching a model needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c" * 40
LARGE = 1 << 16
_CHUNK = 1 << 16


@dataclass
class TinyRepository:
    """One repository.

    Attributes:
        files: Content by name.
        gated: Whether files want a token.
        claimed: Sizes that the hub tells instead of the real ones.
        damaged: Names of files that are sent with a wrong byte.
        broken_off: Bytes after which the connection of a large file is dropped, once per entry.
        held_after: Bytes after which a large file waits for `release`.
    """

    files: dict[str, bytes]
    gated: bool = False
    claimed: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    broken_off: list[int] = field(default_factory=list)
    held_after: int | None = None


class TinyHub:
    """Serves repositories by name; `asked` holds what was fetched: name, first byte, token."""

    def __init__(self) -> None:
        self.repositories: dict[str, TinyRepository] = {}
        self.asked: list[tuple[str, int, str]] = []
        self.release = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.split("?", 1)[0]
                if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/.+)?", path):
                    hub._describe(self, found[1])
                elif found := re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/[^/]+/(.+)", path):
                    hub._send_file(self, found[1], found[2])
                else:
                    hub._refuse(self, 404, "EntryNotFound")

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What tells huggingface_hub to ask here."""
        url = f"http://127.0.0.1:{self.server.server_port}"
        return {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"}

    def add(self, name: str, folder: Path, **how: Any) -> TinyRepository:
        """Offer the files of a folder."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        self.repositories[name] = TinyRepository(files, **how)
        return self.repositories[name]

    def close(self) -> None:
        """Stop serving."""
        self.release.set()
        self.server.shutdown()
        self.server.server_close()

    def _describe(self, to: BaseHTTPRequestHandler, name: str) -> None:
        repository = self.repositories.get(name)
        if repository is None:
            self._refuse(to, 401, "RepoNotFound")
            return
        siblings = []
        for file, content in repository.files.items():
            size = repository.claimed.get(file, len(content))
            blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            one: dict[str, Any] = {"rfilename": file, "size": size, "blobId": blob}
            if len(content) >= LARGE:
                digest = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"sha256": digest, "size": size, "pointerSize": 134}
            siblings.append(one)
        body = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
        self._answer(to, 200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send_file(self, to: BaseHTTPRequestHandler, name: str, file: str) -> None:
        repository = self.repositories[name]
        token = to.headers.get("Authorization", "")
        if repository.gated and not token:
            self._refuse(to, 401, "GatedRepo")
            return
        content = repository.files[file]
        if file in repository.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        wanted = re.fullmatch(r"bytes=(\d+)-", to.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        if to.command == "GET":
            self.asked.append((file, start, token))
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        large = len(content) >= LARGE and to.command == "GET"
        breaks = large and repository.broken_off and repository.broken_off[0] < len(content)
        stop = repository.broken_off.pop(0) if breaks else None
        held = large and repository.held_after is not None
        hold = max(0, repository.held_after - start) if held else None
        status = 206 if wanted else 200
        self._answer(to, status, content[start:], headers, stop=stop, hold=hold)

    def _answer(
        self,
        to: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str],
        *,
        stop: int | None = None,
        hold: int | None = None,
    ) -> None:
        to.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            to.send_header(key, value)
        to.end_headers()
        if to.command == "HEAD":
            return
        try:
            for at in range(0, len(body), _CHUNK):
                if stop is not None and at >= stop:
                    to.close_connection = True
                    return
                if hold is not None and at >= hold:
                    self.release.wait()
                to.wfile.write(body[at : at + _CHUNK])
        except OSError:  # the other side left, as it may
            to.close_connection = True

    def _refuse(self, to: BaseHTTPRequestHandler, status: int, code: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": "Refused.", "X-Repo-Commit": COMMIT}
        self._answer(to, status, b"{}", headers)
