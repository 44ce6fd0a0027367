"""Hybrid search: what is found, and that every hit can be cited."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from interns.errors import InvalidInput
from retrieval.citation import resolve
from retrieval.index import KnowledgeIndex
from retrieval.keyword import match_expression
from retrieval.search import search


def test_the_passage_is_first_when_asked_in_other_words(
    index: KnowledgeIndex, folder: Path
) -> None:
    index.add(folder, "docs")

    hit = search(index, "how do I clean my espresso maker?", "docs")[0]

    assert hit.path.endswith("coffee.md")
    assert hit.heading == "Coffee machine > Descaling"
    assert hit.similarity > 0.3


def test_the_passage_is_first_when_only_a_rare_word_matches(
    index: KnowledgeIndex, folder: Path
) -> None:
    (folder / "codes.txt").write_text("Error ZX-4711-Q means the tank is empty.", encoding="utf-8")
    index.add(folder, "docs")

    assert search(index, "ZX-4711-Q", "docs")[0].path.endswith("codes.txt")


def test_hits_resolve_to_their_text_when_cited(
    index: KnowledgeIndex, folder: Path, database: Engine
) -> None:
    (folder / "umlaut.txt").write_text("Ünï 😀 cödé. " * 120, encoding="utf-8")
    index.add(folder, "docs")

    hits = search(index, "warranty train bees ünï", "docs", limit=50)

    assert len(hits) >= 5
    for hit in hits:
        assert resolve(database, hit.document_id, hit.start, hit.end) == hit.text
    assert all(a.score >= b.score for a, b in pairwise(hits))


def test_only_the_named_collection_is_searched_when_one_is_named(
    index: KnowledgeIndex, folder: Path
) -> None:
    index.add(folder / "bees.txt", "nature")
    index.add(folder / "coffee.md", "kitchen")

    assert {hit.title for hit in search(index, "bees", "kitchen", 10)} == {"Coffee machine"}
    assert search(index, "bees", "unknown") == []
    assert search(index, "bees", None, 10)[0].title == "bees.txt"
    assert len({hit.path for hit in search(index, "bees", None, 10)}) == 2


def test_a_search_is_refused_when_the_limit_is_out_of_range(index: KnowledgeIndex) -> None:
    with pytest.raises(InvalidInput, match="1 to 50"):
        search(index, "x", "docs", 0)


@pytest.mark.parametrize(
    "query",
    ['"', "AND", "a AND (b", "NEAR(a b)", "col:x", "*", "-", "^a", "'; DROP TABLE chunks; --", ""],
)
def test_text_is_found_when_a_query_looks_like_syntax(
    index: KnowledgeIndex, folder: Path, query: str
) -> None:
    index.add(folder / "bees.txt", "docs")

    assert search(index, f"{query} nectar", "docs")
    search(index, query, "docs")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=60))
def test_nothing_fails_when_a_query_is_anything(index: KnowledgeIndex, query: str) -> None:
    search(index, query, "docs")


def test_stop_words_count_when_there_are_no_others() -> None:
    assert match_expression("what is the warranty") == '"warranty"'
    assert match_expression("to be or not") == '"not"'
    assert match_expression("to be") == '"to" OR "be"'
    assert match_expression("?!") == ""
