"""Vectors can be lost in every way; SQL makes them again."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.dense import OPENING
from retrieval.index import KnowledgeIndex
from retrieval.search import search
from tests.retrieval.conftest import MakeIndex

REPOSITORY = Path(__file__).parents[2]
QUESTION = "which train goes at night?"


def first(index: KnowledgeIndex) -> str:
    hit = search(index, QUESTION, "docs", 1)[0]
    assert hit.similarity > 0.3  # found by its vector
    return Path(hit.path).name


@pytest.fixture
def vectors(make_index: MakeIndex, folder: Path, tmp_path: Path) -> Path:
    """The folder of a filled and closed vector store."""
    index = make_index()
    index.add(folder, "docs")
    assert first(index) == "trains.html"
    index.close()
    return tmp_path / "home" / "vectors"


def test_search_works_when_the_vector_folder_is_gone(make_index: MakeIndex, vectors: Path) -> None:
    shutil.rmtree(vectors)

    assert first(make_index()) == "trains.html"


@pytest.mark.parametrize("damage", [b"", b"garbage" * 5000])
def test_search_works_when_chromas_database_is_corrupt(
    make_index: MakeIndex, vectors: Path, damage: bytes
) -> None:
    database = next(vectors.rglob("chroma.sqlite3"))
    for extra in database.parent.glob("chroma.sqlite3-*"):
        extra.unlink()
    database.write_bytes(damage)

    assert first(make_index()) == "trains.html"


def test_search_works_when_index_files_are_corrupt(
    make_index: MakeIndex, vectors: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big.txt"
    big.write_text("\n\n".join(f"Note {number} on tea." for number in range(40)), encoding="utf-8")
    index = make_index()
    index.add(big, "docs")
    index.close()
    for file in vectors.rglob("*.bin"):
        file.write_bytes(b"\xff" * 64)
    for file in vectors.rglob("*.pickle"):
        file.write_bytes(b"no pickle")

    assert first(make_index()) == "trains.html"


def test_search_works_when_the_folder_vanishes_while_open(
    make_index: MakeIndex, vectors: Path
) -> None:
    index = make_index()
    assert first(index) == "trains.html"
    shutil.rmtree(vectors)

    assert first(make_index()) == "trains.html"


def test_vectors_are_made_again_when_an_opening_was_cut_short(
    make_index: MakeIndex, vectors: Path
) -> None:
    (vectors / "store-1" / OPENING).touch()

    assert first(make_index()) == "trains.html"
    assert [entry.name for entry in vectors.iterdir()] == ["store-2"]


def test_nothing_is_lost_when_the_process_is_killed_while_adding(
    make_index: MakeIndex, folder: Path, tmp_path: Path
) -> None:
    for number in range(30):
        (folder / f"note{number}.txt").write_text(f"Note {number} on tea.", encoding="utf-8")
    make_index().close()
    home = tmp_path / "home"
    command = [sys.executable, "-m", "tests.retrieval.adding_child", str(home), str(folder)]
    child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(8):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    index = make_index()
    before = index.list()[0]["documents"]
    index.heal("docs")
    report = index.add(folder, "docs")

    assert 7 <= before < 33
    assert len(report.unchanged) == before
    assert len(report.added) == 33 - before
    assert index.heal("docs") == 0
    assert first(index) == "trains.html"


def test_all_vectors_are_made_again_when_rebuilt(make_index: MakeIndex, vectors: Path) -> None:
    index = make_index()

    assert index.rebuild() == index.list()[0]["chunks"]
    assert first(index) == "trains.html"
