"""A small pre-training for tests: its texts and tokens, its folder, its commands on a full disk."""

from __future__ import annotations

import json
import lzma
import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.training.conftest import environment
from training.pretraining.export import COMMITTED
from training.pretraining.tokens import UNLEARNED, TokenFile

RECIPES = COMMITTED.parent
TEXT = "The river rises in the hills. It runs through the town and past the mill. " * 6


def write_corpus(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    content = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(lzma.compress(content.encode()))
    return path


def numbered(count: int) -> list[dict[str, Any]]:
    return [
        {"id": str(i), "title": f"Part {i}", "text": f"{TEXT} Number {i}."} for i in range(count)
    ]


def make_file(lengths: Sequence[int], learned: int, group: str = "prose") -> TokenFile:
    """Ids count up, so that every token can be told; the first of each document is unlearned."""
    ids = np.arange(sum(lengths), dtype=np.uint16)
    ids[np.cumsum([0, *lengths[:-1]])] |= UNLEARNED
    return TokenFile("made", group, "", "", ids, np.array(lengths, dtype=np.uint32), learned)


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
