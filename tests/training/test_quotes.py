"""The blend of judgement and similarity is fitted on evidence and marked honestly."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from interns.answering import Weighed, choose, split_candidates
from interns.intern import Profile
from interns.skill import Skill
from training import quotes
from training.example import Example

PROFILE = Profile("guide", Skill.ANSWER, "Judge passages.")
PASSAGE = "The office opens at nine. It closes at five. Cats sleep a lot in winter."
ANSWERS = ("The office opens at nine.", "It closes at five.", "Cats sleep a lot in winter.", "")

Evidence = Callable[[bool, random.Random], float]


def _signal(right: bool, rng: random.Random) -> float:
    return (1.0 if right else -1.0) + rng.gauss(0, 0.5)


def _noise(right: bool, rng: random.Random) -> float:
    del right
    return rng.gauss(0, 1.0)


def _against(right: bool, rng: random.Random) -> float:
    return -_signal(right, rng)


def _rows(
    n: int, judgement: Evidence, similarity: Evidence
) -> tuple[list[Example], list[list[Weighed]]]:
    rng = random.Random(3)
    rows, weighed = [], []
    for i in range(n):
        answer = ANSWERS[i % len(ANSWERS)]
        rows.append(Example(f"Question {i}?", answer, i, (PASSAGE,)))
        weighed.append([
            Weighed(c, judgement(c.line == answer, rng), similarity(c.line == answer, rng))
            for c in split_candidates([PASSAGE])
        ])
    return rows, weighed


def test_both_kinds_of_evidence_count_when_both_tell_something() -> None:
    rows, weighed = _rows(200, _signal, _signal)
    fitted = quotes.fitted(PROFILE, weighed, rows)
    assert fitted.blend.judgement > 1
    assert fitted.blend.similarity > 1
    both = quotes.mark(weighed, rows, fitted).score
    one = quotes.mark(weighed, rows, quotes.fitted(PROFILE, _without(weighed), rows)).score
    assert both > one


def _without(weighed: list[list[Weighed]]) -> list[list[Weighed]]:
    return [[Weighed(w.candidate, 0.0, w.similarity) for w in row] for row in weighed]


def test_similarity_decides_when_the_judgement_is_noise() -> None:
    rows, weighed = _rows(400, _noise, _signal)
    blend = quotes.fitted(PROFILE, weighed, rows).blend
    assert blend.similarity > 1
    assert blend.judgement == 0.0


def test_evidence_is_left_out_when_it_speaks_against_the_truth() -> None:
    rows, weighed = _rows(200, _against, _signal)
    blend = quotes.fitted(PROFILE, weighed, rows).blend
    assert blend.judgement == 0.0
    assert blend.similarity > 1


def test_the_judgement_stands_alone_when_nothing_can_be_fitted() -> None:
    rows = [Example("Question?", "", i, (PASSAGE,)) for i in range(3)]  # nothing answers
    weighed = _rows(3, _noise, _noise)[1]
    assert quotes.fitted(PROFILE, weighed, rows).blend == PROFILE.blend


def test_quoting_nothing_is_right_only_when_nothing_answers() -> None:
    rows, weighed = _rows(200, _signal, _signal)
    fitted = quotes.fitted(PROFILE, weighed, rows)
    marks = quotes.mark(weighed, rows, fitted)
    for row, each, score in zip(rows, weighed, marks.scores, strict=True):
        said = choose(each, fitted).quote
        if not row.answer:
            assert score == float(not said)
        elif said == row.answer:
            assert score == 1.0
    assert marks.details["answerable"] == 150
    assert marks.details["unanswerable"] == 50
    assert marks.score == pytest.approx(
        (
            150 * marks.details["quote_f1_answerable"]
            + 50 * marks.details["abstained_when_unanswerable"]
        )
        / 200
    )


def test_the_control_quotes_the_most_similar_sentence_without_any_model() -> None:
    asked = {
        "When does the office open?": ANSWERS[0],
        "At what time does it close?": ANSWERS[1],
        "What do cats do in winter?": ANSWERS[2],
        "Who painted the ceiling of the chapel?": "",
        "How much does a ticket to Lisbon cost?": "",
    }
    rows = [Example(text, answer, i, (PASSAGE,)) for i, (text, answer) in enumerate(asked.items())]
    assert quotes.similarity_alone(PROFILE, rows, rows).score == 1.0
