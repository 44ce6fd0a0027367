"""A home with two registered interns (random adapters on the real base) and its real daemon."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from interns.bases import starter
from interns.database import open_database
from interns.paths import Paths
from interns.registry import InternRegistry
from interns.skill import Skill
from orchestrator.client import OfficeClient
from tests.making import version_folder
from tests.tui.running import SMALL_ENGINE


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_counts() -> None:
    """Commands that are started hear Ctrl-C, also where a shell in the background ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def home_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a `classify` intern of two versions and a `write` intern, made once."""
    home = tmp_path_factory.mktemp("template") / "home"
    sources = tmp_path_factory.mktemp("versions")
    paths = Paths(home).create()
    engine = open_database(paths.database)
    registry = InternRegistry(engine, paths, starter())
    registry.register(version_folder(sources / "triage", "triage"))
    registry.register(version_folder(sources / "triage2", "triage", seed=1))
    writer = version_folder(
        sources / "writer",
        "writer",
        seed=2,
        skill=Skill.WRITE,
        labels=(),
        exemplars=("Tell me about closures.", "What is a decorator?"),
    )
    registry.register(writer)
    engine.dispose()
    return home


@pytest.fixture(scope="session")
def paths(home_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """The office that all tests of this folder share; each hands in its own tasks."""
    home = tmp_path_factory.mktemp("office") / "home"
    shutil.copytree(home_template, home)
    return Paths(home)


@pytest.fixture(scope="session")
def shared(paths: Paths) -> Iterator[OfficeClient]:
    """A real daemon on `paths`."""
    before = dict(os.environ)
    os.environ.update(SMALL_ENGINE)
    try:
        connected = OfficeClient.connect(paths)
    finally:
        os.environ.clear()
        os.environ.update(before)
    with connected:
        yield connected
        connected.shutdown()


@pytest.fixture
def office(shared: OfficeClient) -> OfficeClient:
    """The shared office with an empty queue."""
    for approval in shared.approvals():
        shared.reject(approval["id"], "left by another test")
    return shared


@pytest.fixture
def empty_home(tmp_path: Path) -> Paths:
    """A data directory that does not exist yet; whatever is started on it is stopped."""
    return Paths(tmp_path / "home")
