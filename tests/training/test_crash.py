"""Killed or out of space: nothing is lost, nothing half-made stands."""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from interns.bases import starter
from interns.errors import NoSpace
from tests.making import random_peft
from tests.training.conftest import environment, new_run, run_training, training_command
from training.artifacts import RunFolder, require_space
from training.export import export_adapter

# Seconds on an idle machine; a busy one may take minutes.
pytestmark = pytest.mark.timeout(600)


def _steps_done(folder: Path) -> int:
    curve = folder / "work" / "curve.jsonl"
    return curve.read_bytes().count(b"\n") if curve.is_file() else 0


def _kill_while_tuning(folder: Path, after_steps: int) -> int:
    child = subprocess.Popen(
        training_command(folder),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if _steps_done(folder) >= after_steps and (folder / "work" / "checkpoint.pt").is_file():
            break
        time.sleep(0.02)
    child.kill()
    return child.wait()


def test_killed_run_ends_with_the_same_weights_when_resumed(
    make_run: Callable[..., Path], tmp_path: Path, home: Path
) -> None:
    whole = new_run(tmp_path / "whole", home, base="tiny")
    assert run_training(whole).returncode == 0
    folder = make_run(base="tiny")
    assert _kill_while_tuning(folder, after_steps=12) == -9
    assert not (folder / "version").exists()
    resumed = run_training(folder)
    assert resumed.returncode == 0, resumed.stderr
    expected = load_file(whole / "version" / "peft" / "adapter_model.safetensors")
    found = load_file(folder / "version" / "peft" / "adapter_model.safetensors")
    assert expected.keys() == found.keys()
    worst = max(abs(expected[name] - found[name]).max() for name in expected)
    assert worst == 0.0
    assert _curve(folder) == _curve(whole)


def _curve(folder: Path) -> str:
    return (folder / "version" / "curve.jsonl").read_text("utf-8")


def test_full_disk_ends_the_run_and_it_goes_on_with_space(make_run: Callable[..., Path]) -> None:
    folder = make_run(recipe={"epochs": 1, "verify_rows": 2, "min_stop_rate": 0, "exam_rows": 5})
    limit = 1_500_000  # bytes a file may have: more than any log, less than the adapter

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ended = subprocess.run(
        training_command(folder),
        env=environment(),
        preexec_fn=lower,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    outcome = json.loads((folder / "outcome.json").read_text())
    assert (ended.returncode, outcome["code"]) == (1, "no_space"), ended.stderr
    assert "Free some space" in outcome["fix"]
    assert not (folder / "version").exists()
    assert not list(folder.rglob("*.gguf"))


def test_full_disk_during_export_leaves_nothing_half_made(tmp_path: Path) -> None:
    peft = random_peft(tmp_path / "from")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(NoSpace):
            export_adapter(peft, starter(), tmp_path / "to", metadata={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "to").iterdir())


def test_missing_space_is_told_before_writing(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="are free"):
        require_space(tmp_path, 2**60, "the version")


def test_half_written_event_is_cut_when_the_run_goes_on(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    whole = '{"step": "tune"}\n'
    (folder / "events.jsonl").write_text(whole + '{"step": "tu')
    with RunFolder(folder).owned():
        assert (folder / "events.jsonl").read_text() == whole
