"""Passages are exact spans of a bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from retrieval.chunking import chunk_document, split_sentences
from retrieval.document import Document


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def document(text: str, kind: str = "markdown") -> Document:
    return Document(Path("a.md"), "a", kind, "utf-8", "", len(text), text)


def test_passages_follow_headings_when_text_is_markdown() -> None:
    text = "# Top\n\n## One\n\nAlpha beta.\n\n## Two\n\nGamma delta.\n\n# Next\n\nEnd.\n"

    chunks = chunk_document(document(text), words)

    assert [chunk.heading for chunk in chunks] == ["Top > One", "Top > Two", "Next"]
    assert chunks[0].text == "Top\n\n## One\n\nAlpha beta."
    assert chunks[1].text == "Two\n\nGamma delta."


def test_neighbours_share_sentences_when_a_section_is_long() -> None:
    text = " ".join(f"This is sentence number {number}." for number in range(40))

    chunks = chunk_document(document(text), words, size=25, overlap=6)

    assert all(words([chunk.text])[0] <= 25 for chunk in chunks)
    assert all(a.end > b.start for a, b in pairwise(chunks))
    assert all(a.start < b.start for a, b in pairwise(chunks))


def test_a_sentence_is_cut_at_spaces_when_it_is_longer_than_a_passage() -> None:
    text = "word " * 1000

    chunks = chunk_document(document(text), words, size=50, overlap=10)

    assert len(chunks) >= 20
    assert all(set(chunk.text.split()) == {"word"} for chunk in chunks)


def test_text_without_spaces_is_cut_when_it_is_longer_than_a_passage() -> None:
    text = "x" * 5000

    chunks = chunk_document(document(text), lambda texts: list(map(len, texts)), size=100)

    assert "".join(chunk.text for chunk in chunks) == text


def test_hashes_are_no_headings_when_the_document_is_code() -> None:
    chunks = chunk_document(document("# a comment\nx = 1\n", "code"), words)

    assert [(chunk.heading, chunk.text) for chunk in chunks] == [("", "# a comment\nx = 1")]


@given(
    st.text(alphabet=st.sampled_from("abC. !?\n#-*>|`é")),
    st.integers(2, 30),
    st.integers(0, 40),
)
def test_passages_are_exact_and_cover_all_sentences_when_text_is_anything(
    text: str, size: int, overlap: int
) -> None:
    chunks = chunk_document(document(text), words, size=size, overlap=overlap)

    assert all(chunk.text == text[chunk.start : chunk.end] for chunk in chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    covered = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
    for start, end in split_sentences(text):
        assert all(place in covered for place in range(start, end) if not text[place].isspace())
