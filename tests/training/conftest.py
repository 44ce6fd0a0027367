"""A small real onboarding: three labels, the starter base, the same command a person starts."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_bases import TINY

MakeRun = Callable[..., Path]

_PHRASES = {
    "refund": (
        "I want my money back for the {}",
        "please refund the {}",
        "send back my payment, {}",
    ),
    "delivery": ("where is my {}", "my {} has not arrived", "when will the {} be shipped"),
    "praise": ("I love the {}", "the {} is wonderful, thank you", "great {}, well done"),
}
_THINGS = ("lamp", "chair", "blue mug", "rug", "clock", "table", "cup", "mirror", "desk", "bed")
# Enough to learn three labels in seconds.
QUICK = {
    "epochs": 4,
    "rank": 8,
    "batch_tokens": 256,
    "vary_missions": 0.2,
    "verify_rows": 6,
    "checkpoint_s": 0.3,
}


def write_messages(path: Path) -> None:
    """Write 90 different messages of three labels as CSV."""
    rows = [
        (phrase.format(thing), label)
        for label, phrases in _PHRASES.items()
        for phrase, thing in itertools.product(phrases, _THINGS)
    ]
    random.Random(1).shuffle(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data directory for all runs, so that a base is dequantized once; it has the base "tiny"."""
    home = tmp_path_factory.mktemp("home")
    (home / "bases").mkdir()
    (home / "bases" / "tiny").symlink_to(TINY, target_is_directory=True)
    return home


@pytest.fixture
def make_run(tmp_path: Path, home: Path) -> MakeRun:
    """Make a run folder with a request; every value can be overridden."""

    def make(**values: Any) -> Path:
        return new_run(tmp_path / "run", home, **values)

    return make


def new_run(folder: Path, home: Path, **values: Any) -> Path:
    """Make a run folder whose request asks for the small onboarding."""
    folder.mkdir(parents=True)
    data = folder / "messages.csv"
    write_messages(data)
    request = {
        "name": "sorter",
        "skill": "classify",
        "role": "Sort customer messages.",
        "data": str(data),
        "input": "text",
        "output": "label",
        "exam": None,
        "schema": None,
        "recipe": QUICK,
        "mission": "Help people.",
        "home": str(home),
        "base": "starter",
        "attribution": "made for this test",
        **values,
    }
    (folder / "request.json").write_text(json.dumps(request))
    return folder


def training_command(folder: Path, command: str = "run") -> list[str]:
    """The command that works on a run."""
    return [sys.executable, "-m", "training", command, str(folder)]


def environment() -> dict[str, str]:
    """One thread: runs of the same seed give the same numbers."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def run_training(folder: Path, command: str = "run") -> subprocess.CompletedProcess[str]:
    """Work on a run in its own process, as the office does."""
    return subprocess.run(
        training_command(folder, command),
        capture_output=True,
        text=True,
        env=environment(),
        timeout=580,
        check=False,
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """The small onboarding, done once without interruption."""
    folder = new_run(tmp_path_factory.mktemp("finished") / "run", home)
    done = run_training(folder)
    assert done.returncode == 0, done.stderr
    return folder
