"""Homes with registered interns (random adapters on the real base), offices and daemons."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from interns.bases import starter
from interns.database import open_database
from interns.paths import Paths
from interns.registry import InternRegistry
from interns.skill import Skill
from orchestrator.client import OfficeClient
from orchestrator.service import Office
from tests.making import version_folder

Json = dict[str, Any]


@pytest.fixture(scope="session")
def home_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a `classify` intern and a `write` intern, made once."""
    home = tmp_path_factory.mktemp("template") / "home"
    sources = tmp_path_factory.mktemp("versions")
    paths = Paths(home).create()
    engine = open_database(paths.database)
    registry = InternRegistry(engine, paths, starter())
    registry.register(version_folder(sources / "triage", "triage"))
    writer = version_folder(sources / "writer", "writer", seed=2, skill=Skill.WRITE, labels=())
    registry.register(writer)
    engine.dispose()
    return home


@pytest.fixture
def office_home(home_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A fresh copy of that home, and a small engine for whoever opens it."""
    monkeypatch.setenv("INTERNS_ENGINE_THREADS", "1")
    monkeypatch.setenv("INTERNS_ENGINE_CONTEXT_TOKENS", "1024")
    monkeypatch.setenv("INTERNS_ENGINE_SLOTS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    shutil.copytree(home_template, tmp_path / "home")
    return Paths(tmp_path / "home")


@pytest.fixture(scope="module")
def office(home_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficeClient]:
    """One daemon for all tests of a file, on a copy of the home."""
    home = tmp_path_factory.mktemp("openai") / "home"
    shutil.copytree(home_template, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERNS_ENGINE_THREADS", "1")
        patch.setenv("INTERNS_ENGINE_CONTEXT_TOKENS", "1024")
        patch.setenv("INTERNS_ENGINE_SLOTS", "2")
        patch.setenv("INTERNS_ENGINE_QUEUE", "8")
        patch.setenv("OMP_NUM_THREADS", "1")
        with OfficeClient.connect(Paths(home)) as connected:
            yield connected
            connected.shutdown()


@pytest.fixture(scope="module")
def ai(office: OfficeClient) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=office.status()["openai_base_url"],
        api_key=office.paths.token.read_text().strip(),
        max_retries=0,
        timeout=60,
    )


@pytest.fixture(scope="module")
def raw(office: OfficeClient) -> httpx.Client:
    return httpx.Client(
        base_url=office.status()["openai_base_url"],
        headers={"Authorization": f"Bearer {office.paths.token.read_text().strip()}"},
        timeout=60,
    )


@pytest.fixture
def open_office(office_home: Paths) -> Callable[..., Any]:
    """Open the office of `office_home` in this process: ``with open_office() as office``."""

    @contextmanager
    def opened(**options: Any) -> Iterator[Office]:
        office = Office(office_home, **options)
        office.start(warm=False)
        try:
            yield office
        finally:
            office.stop()

    return opened


@pytest.fixture
def client(office_home: Paths) -> Iterator[OfficeClient]:
    """A real daemon on `office_home`."""
    with OfficeClient.connect(office_home) as connected:
        yield connected
        connected.shutdown()


class Receiver:
    """A web server on loopback that notes what it is sent and answers with `status`."""

    def __init__(self) -> None:
        self.received: list[Json] = []
        self.status = 204
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                key = self.headers["Idempotency-Key"]
                receiver.received.append({"key": key, **json.loads(body)})
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A webhook's other side; its prefix ``/hook`` is allowed."""
    made = Receiver()
    monkeypatch.setenv("INTERNS_EFFECTS_WEBHOOKS", f"{made.url}/hook")
    yield made
    made.server.shutdown()
    made.server.server_close()
