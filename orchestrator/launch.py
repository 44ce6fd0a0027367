"""Find the daemon of a data directory, or start it and wait until it answers."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import httpx

from interns.errors import InternsError, Unavailable
from interns.paths import Paths
from orchestrator.errors import from_body
from orchestrator.lock import lock_owner

START_TIMEOUT_S = 40.0
POLL_S = 0.05


@dataclass(frozen=True)
class Address:
    """Where a daemon listens.

    Attributes:
        pid: Its process.
        port: Its port on 127.0.0.1.
        version: Its version of Interns.
    """

    pid: int
    port: int
    version: str

    @property
    def url(self) -> str:
        """Root of the API."""
        return f"http://127.0.0.1:{self.port}"


def loopback(**options: Any) -> httpx.Client:
    """Return a client for plain HTTP on this machine.

    It loads no certificates, which nothing here needs and which would cost 40 ms at every start.
    """
    empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.Client(trust_env=False, verify=empty, **options)


def find_daemon(paths: Paths) -> Address | None:
    """Return the address of a daemon that answers, or None."""
    try:
        address = Address(**json.loads(paths.address.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return address if _answers(address) else None


def start_daemon(paths: Paths) -> Address:
    """Start the daemon of `paths` and return its address once it answers.

    Several callers may do so at once: one daemon wins, all get its address.

    Raises:
        Unavailable: It did not answer in time.
        InternsError: What the daemon itself said when it refused to start.
    """
    paths.create()
    deadline = time.monotonic() + START_TIMEOUT_S
    child: subprocess.Popen[bytes] | None = None
    offset = 0
    while time.monotonic() < deadline:
        if address := find_daemon(paths):
            return address
        if child is None and lock_owner(paths.lock) is None:
            offset = paths.log.stat().st_size if paths.log.exists() else 0
            child = _spawn(paths)
        elif child is not None and child.poll() is not None and lock_owner(paths.lock) is None:
            raise _last_words(paths, offset)
        time.sleep(POLL_S)
    raise Unavailable(
        f"The daemon for {paths.home} did not answer within {START_TIMEOUT_S:.0f} s.",
        f"Read {paths.log}, then try again.",
    )


def _spawn(paths: Paths) -> subprocess.Popen[bytes]:
    descriptor = os.open(paths.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.daemon", "--home", str(paths.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _answers(address: Address) -> bool:
    try:
        with loopback(timeout=5.0) as http:
            health = http.get(f"{address.url}/health").json()
    except (httpx.HTTPError, ValueError):
        return False
    return bool(health.get("pid") == address.pid and health.get("status") != "stopping")


def _last_words(paths: Paths, offset: int) -> InternsError:
    with paths.log.open("rb") as file:
        file.seek(offset)
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if isinstance(body, dict) and "error" in body:
            return from_body(body)
    return Unavailable(
        f"The daemon for {paths.home} ended while starting.", f"Read {paths.log} for the reason."
    )
