"""The packaged embedding model, once for all tests, and an empty knowledge index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from interns.database import open_database
from retrieval.embedder import Embedder
from retrieval.index import KnowledgeIndex

MakeIndex = Callable[[], KnowledgeIndex]

GUIDE = """# Coffee machine

## Descaling

Descale the machine every three months. Pour 200 ml of citric acid solution into the tank.
Run the cleaning programme twice. Rinse with fresh water.

## Warranty

The warranty lasts five years. It does not cover lime damage.
"""


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(tmp_path / "home" / "office.db")
    yield engine
    engine.dispose()


@pytest.fixture
def make_index(database: Engine, tmp_path: Path, embedder: Embedder) -> Iterator[MakeIndex]:
    """Open the index of this test's folder, as another start of the daemon would."""
    opened: list[KnowledgeIndex] = []

    def make() -> KnowledgeIndex:
        for index in opened:
            index.close()
        opened.append(KnowledgeIndex(database, tmp_path / "home" / "vectors", embedder))
        return opened[-1]

    yield make
    for index in opened:
        index.close()


@pytest.fixture
def index(make_index: MakeIndex) -> KnowledgeIndex:
    return make_index()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three small documents."""
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    (folder / "coffee.md").write_text(GUIDE, encoding="utf-8")
    (folder / "bees.txt").write_text(
        "Bees dance to tell where flowers are. Drones do not collect nectar.", encoding="utf-8"
    )
    (folder / "more" / "trains.html").write_text(
        "<title>x</title><h1>Trains</h1><p>The night train to Vienna leaves at 22:40.</p>",
        encoding="utf-8",
    )
    return folder
