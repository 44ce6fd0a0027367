"""Adding, changing, removing and listing knowledge."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlmodel import select

from interns.database import session
from interns.errors import InvalidInput, NotFound
from retrieval.index import KnowledgeIndex
from retrieval.search import search
from retrieval.tables import FULL_TEXT_CHECK, ChunkRow, DocumentRow


def consistent(database: Engine) -> bool:
    """Full text equals the passages, and every passage equals its span."""
    with session(database) as opened:
        opened.connection().execute(text(FULL_TEXT_CHECK))
        documents = {row.id: row.text for row in opened.exec(select(DocumentRow))}
        chunks = opened.exec(select(ChunkRow)).all()
    return all(documents[row.document_id][row.start : row.end] == row.text for row in chunks)


def names(paths: tuple[str, ...]) -> list[str]:
    return [Path(path).name for path in paths]


def test_a_folder_is_added_once_when_added_twice(
    index: KnowledgeIndex, folder: Path, database: Engine
) -> None:
    first = index.add(folder, "docs")
    second = index.add(folder, "docs")

    assert names(first.added) == ["bees.txt", "coffee.md", "trains.html"]
    assert (second.added, second.changed, second.chunks) == ((), (), 0)
    assert second.unchanged == first.added
    assert index.list()[0]["documents"] == 3
    assert index.list()[0]["chunks"] == first.chunks
    assert consistent(database)


def test_only_the_changed_file_is_replaced_when_it_changes(
    index: KnowledgeIndex, folder: Path, database: Engine
) -> None:
    index.add(folder, "docs")
    (folder / "bees.txt").write_text("Wasps build nests of paper.", encoding="utf-8")

    report = index.add(folder, "docs")

    assert names(report.changed) == ["bees.txt"]
    assert search(index, "wasps", "docs", 1)[0].text == "Wasps build nests of paper."
    assert all("nectar" not in hit.text for hit in search(index, "nectar", "docs", 10))
    assert consistent(database)


def test_the_others_are_added_when_one_file_is_binary(index: KnowledgeIndex, folder: Path) -> None:
    (folder / "photo.md").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    (folder / "paper.pdf").write_bytes(b"%PDF-1.4")

    report = index.add(folder, "docs")

    assert len(report.added) == 3
    reasons = {file.path.name: file.reason for file in report.skipped}
    assert reasons["photo.md"] == "an image"
    assert "PDF" in reasons["paper.pdf"]


def test_a_binary_file_is_refused_with_its_reason_when_added_alone(
    index: KnowledgeIndex, folder: Path, tmp_path: Path
) -> None:
    index.add(folder, "docs")
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"GGUF" + bytes(100))

    with pytest.raises(InvalidInput, match=r"model\.bin was not added: a model file"):
        index.add(binary, "docs")

    assert index.list()[0]["documents"] == 3


def test_a_file_that_became_binary_keeps_its_old_text_when_added_again(
    index: KnowledgeIndex, folder: Path
) -> None:
    index.add(folder, "docs")
    (folder / "bees.txt").write_bytes(bytes(500))

    report = index.add(folder, "docs")

    assert names(tuple(str(file.path) for file in report.skipped)) == ["bees.txt"]
    assert "Drones" in search(index, "drones nectar", "docs", 1)[0].text


def test_missing_files_are_reported_and_kept_when_a_folder_is_added_again(
    index: KnowledgeIndex, folder: Path
) -> None:
    index.add(folder, "docs")
    (folder / "bees.txt").unlink()

    report = index.add(folder, "docs")

    assert names(report.missing) == ["bees.txt"]
    assert index.list()[0]["documents"] == 3


@pytest.mark.parametrize("name", ["", "../docs", "a b", "x" * 65, "-a"])
def test_a_name_is_refused_when_it_is_unusable(
    index: KnowledgeIndex, folder: Path, name: str
) -> None:
    with pytest.raises(InvalidInput, match="can not name knowledge"):
        index.add(folder, name)


def test_adding_is_refused_when_a_folder_is_empty(index: KnowledgeIndex, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(InvalidInput, match="holds no files"):
        index.add(tmp_path / "empty", "docs")


def test_one_file_or_all_go_when_removed(
    index: KnowledgeIndex, folder: Path, database: Engine
) -> None:
    index.add(folder, "docs")
    index.add(folder / "bees.txt", "other")

    assert index.remove("docs", folder / "more") == 1
    assert index.remove("docs") == 2
    with pytest.raises(NotFound):
        index.remove("docs")

    assert [row["name"] for row in index.list()] == ["other"]
    assert search(index, "bees", "docs") == []
    assert search(index, "bees", "other")
    assert consistent(database)


def test_knowledge_is_complete_when_threads_add_and_search_at_once(
    index: KnowledgeIndex, tmp_path: Path, database: Engine
) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(12)]
    for number, file in enumerate(files):
        file.write_text(f"Parcel number {number} is on shelf {number}.", encoding="utf-8")
    failures: list[BaseException] = []

    def work(part: list[Path]) -> None:
        try:
            for file in part:
                index.add(file, "docs")
                search(index, "parcel", "docs")
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(files[first::3],)) for first in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert index.list()[0]["documents"] == 12
    assert index.heal("docs") == 0
    assert consistent(database)
