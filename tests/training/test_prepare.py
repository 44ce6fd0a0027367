"""Rows become examples and splits: nothing leaks, nothing is lost silently."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interns.errors import InvalidInput
from interns.skill import Skill
from training.dataset import Splits, load_splits
from training.example import group_key
from training.ingest import Table
from training.prepare import Columns, Task, infer_skill, prepare
from training.recipe import make_recipe

COLUMNS = Columns("text", "label")


def _table(rows: Sequence[Mapping[str, str | None]]) -> Table:
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    numbers = tuple(range(2, len(rows) + 2))
    return Table(Path("data.csv"), names, tuple(rows), numbers, "csv", "utf-8")


def _labelled(pairs: Sequence[tuple[str | None, str | None]]) -> Table:
    return _table([{"text": text, "label": label} for text, label in pairs])


def _prepare(table: Table, exam: Table | None = None, **recipe: Any) -> Splits:
    return prepare(table, exam, Task(Skill.CLASSIFY, COLUMNS), make_recipe(Skill.CLASSIFY, recipe))


def _rows(n: int, labels: Sequence[str] = ("a", "b")) -> list[tuple[str | None, str | None]]:
    return [(f"text number {i}", labels[i % len(labels)]) for i in range(n)]


def test_splits_hold_every_label_and_every_row_once() -> None:
    splits = _prepare(_labelled(_rows(100, ("a", "b", "c"))))
    rows = [e.row for part in (splits.train, splits.validation, splits.exam) for e in part]
    assert sorted(rows) == list(range(2, 102))
    for part in (splits.train, splits.validation, splits.exam):
        assert {e.answer for e in part} == {"a", "b", "c"}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(" aAbB.,!é\u0301ß", min_size=1, max_size=4), min_size=60, max_size=200))
def test_no_text_occurs_in_two_splits(texts: list[str]) -> None:
    table = _table([{"text": t.strip() or "x", "label": "some words"} for t in texts])
    try:
        splits = prepare(table, None, Task(Skill.WRITE, COLUMNS), make_recipe(Skill.WRITE, {}))
    except InvalidInput:
        return  # too few different texts
    groups = [{e.group for e in part} for part in (splits.train, splits.validation, splits.exam)]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_order_of_rows_does_not_change_the_splits() -> None:
    rows = _rows(80)
    forwards, backwards = _prepare(_labelled(rows)), _prepare(_labelled(rows[::-1]))
    assert {e.text for e in forwards.exam} == {e.text for e in backwards.exam}
    assert forwards.fingerprint == backwards.fingerprint


def test_texts_of_the_exam_file_are_not_learned() -> None:
    exam = _labelled([(f"Text, number {i}!", "a" if i % 2 == 0 else "b") for i in range(10)])
    splits = _prepare(_labelled(_rows(60)), exam)
    assert not {e.group for e in splits.exam} & {e.group for e in splits.train}
    assert splits.report["left_out"]["also in the exam"] == 10
    assert len(splits.exam) == 10


def test_exam_with_unknown_label_is_refused() -> None:
    exam = _labelled([(f"new {i}", "zzz") for i in range(10)])
    with pytest.raises(InvalidInput, match="'zzz'"):
        _prepare(_labelled(_rows(60)), exam)


def test_repeats_and_blanks_are_left_out_and_counted() -> None:
    pairs = [*_rows(40), ("Text number 1!", "b"), (None, "a"), ("some text", None)]
    splits = _prepare(_labelled(pairs))
    assert splits.report["left_out"] == {
        "blank": 2,
        "the same text and answer as an earlier row": 1,
    }
    assert splits.report["usable"] == 40


def test_most_frequent_label_wins_when_labels_disagree() -> None:
    pairs = [*_rows(40), ("same", "a"), ("Same", "a"), ("same.", "b"), ("tie", "a"), ("tie", "b")]
    splits = _prepare(_labelled(pairs))
    kept = {
        e.text: e.answer for part in (splits.train, splits.exam, splits.validation) for e in part
    }
    assert kept["same"] == "a"
    assert "tie" not in kept
    assert splits.report["left_out"]["another label for a text that has one"] == 3


def test_all_null_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"All 30 rows .* are blank"):
        _prepare(_labelled([(None, "a")] * 30))


def test_too_few_rows_are_refused_with_the_reason() -> None:
    with pytest.raises(InvalidInput, match="19 usable rows of 21") as caught:
        _prepare(_labelled([*_rows(19), (None, "a"), (None, "b")]))
    assert "20" in caught.value.fix


def test_label_with_one_example_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="one example only: 'rare'") as caught:
        _prepare(_labelled([*_rows(40), ("odd", "rare")]))
    assert "drop_rare_labels" in caught.value.fix


def test_label_with_one_example_is_left_out_when_the_recipe_says_so() -> None:
    splits = _prepare(_labelled([*_rows(40), ("odd", "rare")]), drop_rare_labels=True)
    assert splits.labels == ("a", "b")
    assert splits.report["left_out"] == {"label with one example ('rare')": 1}


def test_single_label_is_refused() -> None:
    with pytest.raises(InvalidInput, match="same label: 'a'"):
        _prepare(_labelled(_rows(40, ("a",))))


def test_free_text_is_no_label_set() -> None:
    with pytest.raises(InvalidInput, match="are no labels"):
        _prepare(_labelled([(f"question {i}", f"answer {i}") for i in range(60)]))


def test_skill_is_told_from_the_data() -> None:
    labels = _labelled(_rows(40))
    objects = _labelled([(f"t {i}", json.dumps({"n": i})) for i in range(40)])
    free = _labelled([(f"t {i}", f"some long answer number {i}") for i in range(40)])
    quotes = _table([{"text": "q", "label": "s", "passage": "s."}] * 30)
    found = [infer_skill(table, COLUMNS) for table in (labels, objects, free, quotes)]
    assert found == [Skill.CLASSIFY, Skill.EXTRACT, Skill.WRITE, Skill.ANSWER]


def test_saved_splits_are_read_back_equal(tmp_path: Path) -> None:
    pairs = [(f"line\u2028break {i} é", "ab"[i % 2]) for i in range(40)]
    splits = _prepare(_labelled(pairs))
    splits.save(tmp_path)
    assert load_splits(tmp_path).fingerprint == splits.fingerprint


@pytest.mark.parametrize("text", ["I'm here", "i m HERE!", "  I’m,here "])
def test_group_ignores_case_spaces_and_punctuation(text: str) -> None:
    assert group_key(text) == "i m here"
