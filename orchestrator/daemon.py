"""The office's process: ``python -m orchestrator.daemon --home DIR``.

Takes the directory's lock, listens on loopback, writes where to, and serves until it is told to
end. What makes it refuse to start is its last line on stderr, as JSON.
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import secrets
import socket
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from interns.errors import Conflict, InternsError
from interns.paths import Paths
from interns.settings import Settings
from orchestrator.errors import to_body
from orchestrator.lock import DaemonLock

GRACE_S = 2
HOST = "127.0.0.1"

log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Tells the office at the first signal, so that streams end before connections do."""

    def __init__(self, config: uvicorn.Config, begin_stop: object = None) -> None:
        super().__init__(config)
        self.begin_stop = begin_stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown."""
        if callable(self.begin_stop):
            self.begin_stop()
        self.should_exit = True
        del sig, frame


def serve(paths: Paths, *, port: int | None = None) -> None:
    """Serve the office of `paths` until SIGTERM, SIGINT or a shutdown request.

    Args:
        paths: The data directory.
        port: Overrides the setting; 0 takes any free port.

    Raises:
        Conflict: Another daemon serves this directory, or the port is taken.
        Incompatible: The database is of a newer version.
    """
    paths.create()
    lock = DaemonLock(paths.lock)
    lock.acquire()
    try:
        settings = Settings.load(paths)
        listener = _listen(settings.daemon.port if port is None else port)
        try:
            _serve(paths, listener)
        finally:
            listener.close()
    finally:
        paths.address.unlink(missing_ok=True)
        lock.release()


def main() -> int:
    """Parse the command line, serve, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.daemon")
    parser.add_argument("--home", type=Path, help="data directory; default: INTERNS_HOME")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1; 0 takes any free one")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("httpx", "alembic", "sentence_transformers", "chromadb"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    paths = Paths(chosen.home.expanduser().absolute()) if chosen.home else Paths.default()
    try:
        serve(paths, port=chosen.port)
    except Exception as error:
        if not isinstance(error, InternsError):
            log.exception("the daemon cannot go on")
        body = to_body(error)
        sys.stderr.write(json.dumps(body) + "\n")
        return int(body["exit_code"])
    return 0


def _serve(paths: Paths, listener: socket.socket) -> None:
    # Checkpoints may hold plain values only; read by langgraph when it is imported.
    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
    from orchestrator.api.app import build_app
    from orchestrator.service import Office

    office = Office(paths)
    port = int(listener.getsockname()[1])
    server: _Server

    def stop() -> None:
        office.begin_stop()
        server.should_exit = True

    app = build_app(office, token=_token(paths.token), port=lambda: port, stop=stop)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    server = _Server(config, office.begin_stop)
    office.start()
    _write_address(paths, port)
    log.info("serving %s on http://%s:%d", paths.home, HOST, port)
    try:
        server.run(sockets=[listener])
    finally:
        office.stop()
        log.info("stopped")


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise Conflict(
                f"Port {port} of {HOST} cannot be used: {error.strerror}.",
                "Choose another: `interns config set daemon.port 0` takes any free one.",
            ) from error
        raise
    return listener


def _token(path: Path) -> str:
    """Return the directory's token, making it on first use; nobody else may read it."""
    if path.exists():
        path.chmod(0o600)
        token = path.read_text(encoding="utf-8").strip()
        if len(token) >= 32:
            return token
        path.unlink()
    token = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token


def _write_address(paths: Paths, port: int) -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("interns")
    except PackageNotFoundError:
        installed = "0"
    value = {"pid": os.getpid(), "port": port, "version": installed}
    partial = paths.address.with_suffix(".partial")
    partial.write_text(json.dumps(value), encoding="utf-8")
    partial.replace(paths.address)


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # libraries' threads may still be loading; nothing of ours is open
