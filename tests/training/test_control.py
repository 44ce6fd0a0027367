"""The control of an exam: what the same rows give without a language model."""

from __future__ import annotations

import random

import pytest

from interns.intern import Profile
from interns.skill import Skill
from training.control import control_of
from training.dataset import Splits
from training.example import Example

WORDS = {"refund": ("money", "charged", "paid"), "delivery": ("parcel", "courier", "late")}


def _profile(skill: Skill) -> Profile:
    labels = tuple(sorted(WORDS)) if skill is Skill.CLASSIFY else ()
    return Profile(name="x", skill=skill, role="Sort.", labels=labels, schema=None, max_tokens=8)


def _rows(count: int, seed: int, label: str | None = None) -> tuple[Example, ...]:
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        about = draw.choice(sorted(WORDS))
        text = f"{number} {draw.choice(WORDS[about])} {draw.choice('abcdef')}"
        rows.append(Example(text, label or about, number))
    return tuple(rows)


def test_words_tell_labels_apart_where_words_do():
    splits = Splits(_rows(60, 1), (), _rows(40, 2))
    control = control_of(_profile(Skill.CLASSIFY), splits, ())
    assert control is not None
    assert control.score == 1.0
    assert control.interval[0] < 1.0
    assert control.what == "a linear classifier over words"


def test_words_are_at_chance_where_labels_are_drawn():
    draw = random.Random(3)
    train, exam = (
        tuple(Example(row.text, draw.choice(sorted(WORDS)), row.row) for row in _rows(400, seed))
        for seed in (1, 2)
    )
    control = control_of(_profile(Skill.CLASSIFY), Splits(train, (), exam), ())
    assert control is not None
    assert 0.4 < control.score < 0.6


@pytest.mark.parametrize("text", ["🙂", "…", "?!", "北京", "\u200b x"])
def test_texts_without_words_are_no_obstacle(text):
    train = (Example(text, "refund", 1), Example(f"{text} {text}", "delivery", 2))
    control = control_of(_profile(Skill.CLASSIFY), Splits(train, (), train), ())
    assert control is not None
    assert 0 <= control.score <= 1


@pytest.mark.parametrize("skill", [Skill.EXTRACT, Skill.WRITE])
def test_what_has_to_be_written_has_no_control(skill):
    assert control_of(_profile(skill), Splits((), (), _rows(5, 1)), ()) is None
