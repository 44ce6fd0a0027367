"""A small pre-training for tests: its folder, and its commands on a full disk."""

from __future__ import annotations

import json
import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.training.conftest import environment
from tests.training.test_pretraining_data import write_corpus
from training.pretraining.export import COMMITTED


def lay_out(folder: Path, recipe: str, corpus: Mapping[str, Sequence[dict[str, Any]]]) -> Path:
    """A recipe beside the committed tokenizer, and a corpus of some sources."""
    (folder / "recipe.toml").write_text(recipe)
    (folder / "tokenizer.json").write_bytes(COMMITTED.read_bytes())
    (folder / "corpus").mkdir()
    for name, rows in corpus.items():
        write_corpus(folder / "corpus" / f"{name}.jsonl.xz", rows)
    return folder


def refuse_on_a_full_disk(command: Sequence[str], room: int) -> None:
    """Run a command that may write no file beyond `room` bytes; it must say that the disk is full."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run(
        command,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lower,
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "no_space"
