"""Citations resolve to exact spans or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from interns.errors import InvalidInput, NotFound
from retrieval.citation import find_quote, resolve
from retrieval.index import KnowledgeIndex
from retrieval.search import search


def test_a_citation_no_longer_resolves_when_its_file_changed(
    index: KnowledgeIndex, folder: Path, database: Engine
) -> None:
    index.add(folder, "docs")
    hit = search(index, "bees dance", "docs")[0]
    (folder / "bees.txt").write_text("Other words.", encoding="utf-8")
    index.add(folder, "docs")

    with pytest.raises(NotFound, match="removed, or its file changed"):
        resolve(database, hit.document_id, hit.start, hit.end)


@pytest.mark.parametrize(("start", "end"), [(-1, 4), (4, 4), (5, 2), (0, 10_000)])
def test_a_span_is_refused_when_it_is_not_inside(
    index: KnowledgeIndex, folder: Path, database: Engine, start: int, end: int
) -> None:
    index.add(folder, "docs")
    document = index.documents("docs")[0]

    with pytest.raises(InvalidInput, match="not inside"):
        resolve(database, document["id"], start, end)


def test_a_quote_is_found_when_white_space_differs() -> None:
    text = "Intro. The warranty\n  lasts (five) years."

    assert find_quote(text, "warranty lasts (five) years") == (11, 40)
    assert find_quote(text, "lasts six years") is None
    assert find_quote(text, "  ") is None
    assert find_quote(text, "Intro.", start=3) is None
