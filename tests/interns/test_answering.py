"""Sentences as candidates, and the choice among them."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from interns.adapter import Adapter
from interns.answering import JUDGED, Judge, Weighed, choose, shortlist, split_candidates
from interns.charter import Charter
from interns.completion import ChoiceScores, Completion, CompletionRequest, Delta, Message
from interns.errors import InvalidInput, Unavailable
from interns.intern import Blend, Profile
from interns.skill import Skill

GUIDE = Profile("guide", Skill.ANSWER, "Judge passages.", threshold=0.5)
PASSAGES = ("The office opens at nine. It closes at five.", "Cats sleep a lot in winter.")


class WordJudge:
    """A runtime that says yes to passages with a given word: a small model of our own."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.judged: list[str] = []
        self.deadlines: list[float | None] = []

    def score_choices(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        adapter: Adapter | None = None,
        temperature: float = 1.0,
        tail: float = 0.0,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> ChoiceScores:
        if cancel is not None and cancel.is_set():
            raise Unavailable("The work was cancelled.", "Ask again.")
        self.deadlines.append(deadline_s)
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


@example(["0:0:0\x0c|"])
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


def _judge(word: str, profile: Profile = GUIDE) -> Judge:
    return Judge(WordJudge(word), profile, None, Charter())


def test_the_judged_sentence_is_quoted_when_it_is_above_the_threshold() -> None:
    answer = _judge("closes").answer("When does it close?", PASSAGES)
    assert answer.quote == "It closes at five."
    assert PASSAGES[answer.n - 1][answer.start : answer.end] == answer.quote
    assert answer.score == pytest.approx(0.9)


def test_nothing_is_quoted_when_no_sentence_reaches_the_threshold() -> None:
    answer = _judge("dogs").answer("And dogs?", PASSAGES)
    assert answer.quote == ""
    assert answer.score == pytest.approx(0.1)


def test_nothing_is_quoted_when_there_are_no_passages() -> None:
    answer = _judge("x").answer("Anything?", ())
    assert (answer.quote, answer.n, answer.score) == ("", 0, 0.0)


def test_only_the_most_similar_are_judged_when_similarities_are_known() -> None:
    passages = [" ".join(f"Sentence number {i} stands here." for i in range(40))]
    candidates = split_candidates(passages)
    similar = [0.9 if "number 7 " in c.text else 0.1 for c in candidates]
    runtime = WordJudge("number 7 ")
    answer = Judge(runtime, GUIDE, None, Charter()).answer("Which?", passages, similar)
    assert len(runtime.judged) == JUDGED < len(candidates)
    assert answer.n == 1
    assert "number 7 " in passages[0][answer.start : answer.end]


def test_similarity_decides_when_the_blend_trusts_it_more_than_the_intern() -> None:
    similar = [0.1, 0.2, 0.8]  # cats; the intern itself says yes to closing
    trusting = replace(GUIDE, blend=Blend(judgement=0.1, similarity=9.0, bias=-4.0))
    assert _judge("closes", trusting).answer("And cats?", PASSAGES, similar).n == 2
    assert _judge("closes").answer("And cats?", PASSAGES, similar).n == 1


def test_the_intern_is_not_asked_when_its_judgement_has_no_weight() -> None:
    runtime = WordJudge("closes")
    profile = replace(GUIDE, blend=Blend(judgement=0.0, similarity=9.0, bias=-4.0))
    judge = Judge(runtime, profile, None, Charter())
    answer = judge.answer("And cats?", PASSAGES, [0.1, 0.2, 0.8])
    assert answer.quote == PASSAGES[1]
    assert not runtime.judged


def test_the_first_is_taken_when_scores_are_equal() -> None:
    first, second = split_candidates(PASSAGES)[:2]
    assert choose([Weighed(first, 1.0, 0.0), Weighed(second, 1.0, 0.0)], GUIDE).start == first.start


def test_a_wrong_number_of_similarities_is_refused_when_judging() -> None:
    with pytest.raises(InvalidInput, match="3 candidates"):
        _judge("x").answer("Which?", PASSAGES, [0.5])


def test_the_most_similar_come_first_when_sentences_are_listed() -> None:
    assert shortlist(3, [0.1, 0.87, -0.4]) == [1, 0, 2]
    assert shortlist(2, None) == [0, 1]
    similar = [i / 100 for i in range(50)]
    assert shortlist(50, similar) == list(range(49, 49 - JUDGED, -1))


def test_judging_ends_when_it_is_cancelled_or_late() -> None:
    runtime, cancel = WordJudge("closes"), threading.Event()
    judge = Judge(runtime, GUIDE, None, Charter(), cancel=cancel, deadline_s=1000.0)
    judge.answer("When?", PASSAGES)
    left = [seconds for seconds in runtime.deadlines if seconds is not None]
    assert len(left) == 3
    assert left == sorted(left, reverse=True)
    cancel.set()
    with pytest.raises(Unavailable, match="cancelled"):
        judge.answer("When?", PASSAGES)
    with pytest.raises(Unavailable, match="deadline") as caught:
        Judge(WordJudge("x"), GUIDE, None, Charter(), deadline_s=1e-9).answer("When?", PASSAGES)
    assert "deadline_s" in caught.value.fix
