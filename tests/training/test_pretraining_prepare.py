"""Token files belong to the texts they were made from, and are made whole however often it fails."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from interns.errors import BrokenFile, Conflict, Incompatible, InvalidInput
from tests.training.conftest import environment
from tests.training.pretraining import lay_out, numbered, refuse_on_a_full_disk, write_corpus
from tests.training.test_pretraining_run import RECIPE
from training.pretrain import main
from training.pretraining.export import COMMITTED
from training.pretraining.folder import owned
from training.pretraining.preparing import Order, prepare
from training.pretraining.recipe import Course, load_recipe
from training.pretraining.stage import Job, run_stage
from training.pretraining.tokenizer import load_tokenizer

pytestmark = pytest.mark.timeout(600)  # seconds on an idle machine

SHORT = RECIPE.replace("steps = 24", "steps = 2").replace("skills = 400", "skills = 40")
QUESTION = '{"question": "2+2?", "answer": "2+2=<<2+2=4>>4\\n#### 4"}\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A recipe of two steps beside the committed tokenizer, a small corpus and a set."""
    corpus = {
        name: [row | {"text": f"{name} {row['text']}"} for row in numbered(60 + number)]
        for number, name in enumerate("abc")
    }
    lay_out(tmp_path, SHORT, corpus)
    (tmp_path / "sets" / "gsm8k").mkdir(parents=True)
    (tmp_path / "sets" / "gsm8k" / "train.jsonl").write_text(QUESTION)
    return tmp_path


def stage(place: Path, **changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"corpus": place / "corpus", "sets": None, "out": place / "out"}
    return run_stage(Job(load_recipe(place / "recipe.toml"), **given | changed), [].append)


def curve(place: Path, out: str = "out") -> bytes:
    return (place / out / "curve.jsonl").read_bytes()


# What it was made from -----------------------------------------------------------------------


def test_other_texts_and_sets_are_refused_once_tokens_are_made(place: Path) -> None:
    assert stage(place)["finished"]
    before = curve(place)
    with pytest.raises(InvalidInput, match="holds no corpus"):
        stage(place, corpus=place / "nowhere")
    with pytest.raises(Incompatible, match=r"something else: the set gsm8k\.") as refused:
        stage(place, sets=place / "sets")
    tokens = place / "out" / "prepared"
    assert f"--corpus {tokens}" in refused.value.fix
    write_corpus(place / "corpus" / "b.jsonl.xz", numbered(61))
    with pytest.raises(Incompatible, match=r"something else: b\.jsonl\.xz\."):
        stage(place)
    assert stage(place, corpus=tokens)["finished"]
    with pytest.raises(InvalidInput, match="--sets would not be read"):
        stage(place, corpus=tokens, sets=place / "sets")
    assert curve(place) == before


def test_tokens_of_unknown_origin_are_not_taken_over(place: Path) -> None:
    assert stage(place)["finished"]
    (place / "out" / "prepared" / "made-for.txt").unlink()
    with pytest.raises(Incompatible, match=r"no made-for\.txt"):
        stage(place)


def test_a_folder_without_known_sets_is_refused_and_the_found_ones_are_told(place: Path) -> None:
    order = Order(place / "corpus", place / "sest", place / "tokens", Course(skills=0))
    tokenizer, told = load_tokenizer(COMMITTED, 8192), list[str]()
    with pytest.raises(InvalidInput, match="none of the known instruction sets") as refused:
        prepare(order, tokenizer, told.append)
    assert "gsm8k/train.jsonl" in refused.value.fix
    assert not (place / "tokens").exists()
    order = Order(place / "corpus", place / "sets", place / "tokens", Course(skills=0))
    assert prepare(order, tokenizer, told.append)
    assert told[0].startswith("Instruction sets: gsm8k; not there: ")
    assert "databricks_dolly_15k" in told[0]
    (place / "sets" / "banking77").mkdir()
    (place / "sets" / "banking77" / "test.csv").write_text("text,label\nWhere is my card?,card\n")
    with pytest.raises(Incompatible, match=r"something else: the exam banking77/test\.csv\."):
        prepare(order, tokenizer, told.append)


# Failures ------------------------------------------------------------------------------------


def test_the_note_of_the_origin_is_written_once(place: Path) -> None:
    assert not stage(place, until=0.0)["finished"]
    note = place / "out" / "prepared" / "made-for.txt"
    before = note.stat()
    assert stage(place)["finished"]
    assert (note.stat().st_ino, note.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_damaged_token_file_can_be_made_anew(place: Path) -> None:
    assert stage(place)["finished"]
    before = curve(place)
    damaged = place / "out" / "prepared" / "b.npz.xz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-30])
    with pytest.raises(BrokenFile, match=r"b\.npz\.xz") as refused:
        stage(place)
    assert f"Delete {damaged} and give the same command again" in refused.value.fix
    damaged.unlink()
    (place / "out" / "checkpoint.pt").unlink()
    assert stage(place)["finished"]
    assert damaged.read_bytes() == whole
    assert curve(place) == before


def test_what_a_killed_process_left_half_written_is_cleared(place: Path) -> None:
    left = [
        place / "out" / ".checkpoint.pt.4711.partial",
        place / "out" / "prepared" / ".a.npz.xz.4711.partial",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with owned(place / "out"), pytest.raises(Conflict):
        stage(place)
    left[0].write_bytes(b"half")
    assert not stage(place, until=0.0)["finished"]
    assert not [path for path in left if path.exists()]


def test_an_out_that_is_a_file_is_told(place: Path) -> None:
    (place / "file").write_text("mine")
    for out in (place / "file", place / "file" / "below"):
        with pytest.raises(InvalidInput, match="cannot be the folder") as refused:
            stage(place, out=out)
        assert refused.value.fix
        order = Order(place / "corpus", None, out, Course(skills=0))
        with pytest.raises(InvalidInput, match="cannot be the folder"):
            prepare(order, load_tokenizer(COMMITTED, 8192), [].append)
    assert (place / "file").read_text() == "mine"


def command(place: Path, what: str, out: str) -> list[str]:
    return [
        *(sys.executable, "-m", "training.pretrain", what, str(place / "recipe.toml")),
        *("--corpus", str(place / "corpus"), "--out", str(place / out)),
    ]


def test_preparing_that_is_killed_ends_as_if_it_had_not_been(place: Path) -> None:
    assert stage(place)["finished"]
    tokens = place / "killed" / "prepared"
    for made in (1, 3):
        child = subprocess.Popen(
            command(place, "run", "killed"), env=environment(), stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and child.poll() is None:
            if len(list(tokens.glob("*.npz.xz"))) >= made:
                break
            time.sleep(0.0005)
        child.kill()
        assert child.wait() == -9
    assert not (place / "killed" / "checkpoint.pt").exists()
    assert stage(place, out=place / "killed")["finished"]
    assert curve(place, "killed") == curve(place)
    for path in (place / "out" / "prepared").glob("*.npz.xz"):
        assert (tokens / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("what", "room"), [("run", 10), ("prepare", 1500)])
def test_a_full_disk_while_preparing_is_told_and_the_rest_is_made_later(
    place: Path, what: str, room: int
) -> None:
    refuse_on_a_full_disk(command(place, what, "made"), room)
    assert not list((place / "made").rglob("*partial*"))
    assert main(command(place, what, "made")[3:]) == 0
