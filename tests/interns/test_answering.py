"""Sentences as candidates, and the choice among them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interns.adapter import Adapter
from interns.answering import JUDGED, choose_span, judged, split_candidates
from interns.charter import Charter
from interns.completion import ChoiceScores, Completion, CompletionRequest, Delta, Message
from interns.errors import InvalidInput
from interns.intern import Profile
from interns.skill import Skill

GUIDE = Profile("guide", Skill.ANSWER, "Judge passages.", threshold=0.5)
PASSAGES = ("The office opens at nine. It closes at five.", "Cats sleep a lot in winter.")


class WordJudge:
    """A runtime that says yes to passages with a given word: a small model of our own."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.judged: list[str] = []

    def score_choices(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        adapter: Adapter | None = None,
        temperature: float = 1.0,
    ) -> ChoiceScores:
        passage = messages[-1].content.partition("Passage: ")[2]
        self.judged.append(passage)
        yes = 0.9 if self.word in passage else 0.1
        return ChoiceScores(tuple(choices), (math.log(yes), math.log(1 - yes)), (yes, 1 - yes))

    def complete(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Completion:
        raise AssertionError("answering never writes freely")

    def stream(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        raise AssertionError("answering never writes freely")

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        ("Mr. Smith went home. He slept well.", ["Mr. Smith went home.", "He slept well."]),
        (
            "# A title of some words\n\nOne line of\ntext here.",
            ["One line of\ntext here."],
        ),
        (
            "- the first item here\n- `x` is set to 3.5 now\n1. a numbered one",
            ["the first item here", "`x` is set to 3.5 now", "a numbered one"],
        ),
        ("| file | what it is |\n|---|---|\n| `a.db` | all the records |", None),
        ("Yes. No. Why so?", []),
        ("", []),
    ],
)
def test_sentences_items_and_rows_are_candidates_when_passages_are_cut(
    passage: str, expected: list[str] | None
) -> None:
    texts = [candidate.text for candidate in split_candidates([passage])]
    assert texts == (expected or texts)
    if expected is None:
        assert "`a.db` | all the records" in texts


@given(st.lists(st.text(max_size=600), max_size=4))
def test_candidates_are_exact_spans_in_order_when_text_is_anything(passages: list[str]) -> None:
    last = (0, 0)
    for candidate in split_candidates(passages):
        assert passages[candidate.n - 1][candidate.start : candidate.end] == candidate.text
        assert candidate.text == candidate.text.strip()
        assert (candidate.n, candidate.start) >= last
        last = (candidate.n, candidate.end)


def test_long_sentences_are_cut_when_they_exceed_the_limit() -> None:
    passage = "word after word, " * 100
    texts = [candidate.text for candidate in split_candidates([passage])]
    assert len(texts) > 3
    assert max(map(len, texts)) <= 400


def test_the_judged_sentence_is_quoted_when_it_is_above_the_threshold() -> None:
    answer = choose_span(
        WordJudge("closes"), GUIDE, None, "When does it close?", PASSAGES, Charter()
    )
    assert answer.quote == "It closes at five."
    assert PASSAGES[answer.n - 1][answer.start : answer.end] == answer.quote
    assert answer.score == pytest.approx(0.9)


def test_nothing_is_quoted_when_no_sentence_reaches_the_threshold() -> None:
    answer = choose_span(WordJudge("dogs"), GUIDE, None, "And dogs?", PASSAGES, Charter())
    assert answer.quote == ""
    assert answer.score == pytest.approx(0.1)


def test_nothing_is_quoted_when_there_are_no_passages() -> None:
    answer = choose_span(WordJudge("x"), GUIDE, None, "Anything?", (), Charter())
    assert (answer.quote, answer.n, answer.score) == ("", 0, 0.0)


def test_only_the_most_similar_are_judged_when_a_prior_is_given() -> None:
    passages = [" ".join(f"Sentence number {i} stands here." for i in range(40))]
    candidates = split_candidates(passages)
    prior = [0.9 if "number 7 " in c.text else 0.1 for c in candidates]
    judge = WordJudge("number 7 ")
    answer = choose_span(judge, GUIDE, None, "Which?", passages, Charter(), prior)
    assert len(judge.judged) < len(candidates)
    assert answer.n == 1
    assert "number 7 " in passages[0][answer.start : answer.end]


def test_a_wrong_number_of_priors_is_refused_when_choosing() -> None:
    with pytest.raises(InvalidInput, match="3 candidates"):
        choose_span(WordJudge("x"), GUIDE, None, "Which?", PASSAGES, Charter(), [0.5])


def test_the_intern_is_told_how_similar_a_sentence_is() -> None:
    shown = judged(["a", "b", "c"], [0.1, 0.87, -0.4])
    assert shown == [
        (1, "b\nRank: 1 Match: 8"),
        (0, "a\nRank: 2 Match: 1"),
        (2, "c\nRank: 3 Match: 0"),
    ]
    assert judged(["a", "b"], None) == [(0, "a"), (1, "b")]


def test_only_the_most_similar_sentences_are_judged() -> None:
    similar = [i / 100 for i in range(50)]
    assert [i for i, _ in judged(["x"] * 50, similar)] == list(range(49, 49 - JUDGED, -1))
