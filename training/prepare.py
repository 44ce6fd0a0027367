"""Rows become examples: blanks and duplicates out, conflicts settled, splits without leakage."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from interns.errors import InvalidInput
from interns.skill import Skill
from training.dataset import Splits, label_counts
from training.example import Example
from training.ingest import Table
from training.recipe import Recipe
from training.schema import check_objects, infer_schema

MIN_ROWS = 20  # fewer cannot be split into something to learn and something to be examined on
_PASSAGE_COLUMNS = ("passages", "passage", "context", "contexts", "section")


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; `passages` is empty except for `answer`."""

    text: str
    answer: str
    passages: str = ""


@dataclass
class _Report:
    """What happened to the rows, counted while they are cleaned."""

    rows: int = 0
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def drop(self, why: str, rows: Sequence[int]) -> None:
        if rows:
            self.left_out[why] = self.left_out.get(why, 0) + len(rows)
            first = ", ".join(map(str, rows[:3]))
            self.notes.append(f"{len(rows)} rows left out, {why} (row {first} …)")


def infer_skill(table: Table, columns: Columns) -> Skill:
    """Guess what an intern would do with these rows."""
    answers = [row[columns.answer] for row in table.rows if row[columns.answer]]
    if answers and all(str(answer).lstrip().startswith("{") for answer in answers):
        return Skill.EXTRACT
    if any(name in table.columns for name in _PASSAGE_COLUMNS):
        return Skill.ANSWER
    distinct = set(answers)
    short = all(len(str(answer)) <= 60 for answer in distinct)
    repeated = len(distinct) <= max(2, len(answers) // 5)
    return Skill.CLASSIFY if answers and short and repeated else Skill.WRITE


def find_columns(table: Table, text: str, answer: str, *, passages: str = "") -> Columns:
    """Check the named columns and find the one with passages, if any.

    Raises:
        InvalidInput: A column is missing or both names are the same.
    """
    table.require(text, answer, *([passages] if passages else []))
    if text == answer:
        raise InvalidInput(
            f"Input and output are both {text!r}.", "Name the column with the right answers."
        )
    found = next((name for name in _PASSAGE_COLUMNS if name in table.columns), "")
    return Columns(text, answer, passages or (found if found not in {text, answer} else ""))


@dataclass(frozen=True)
class Task:
    """What shall be learned from a table.

    Attributes:
        skill: The kind of work.
        columns: Which columns hold what.
        schema: The JSON schema given for `extract`; None infers one.
    """

    skill: Skill
    columns: Columns
    schema: Mapping[str, Any] | None = None


def prepare(table: Table, exam_table: Table | None, task: Task, recipe: Recipe) -> Splits:
    """Clean the rows and split them.

    Args:
        table: The data to learn from.
        exam_table: Rows to be examined on, or None to hold some out of `table`.
        task: What shall be learned.
        recipe: Sizes of the splits, seed, what to do with rare labels.

    Raises:
        InvalidInput: Too few usable rows, one label only, a label with one example, answers
            that do not fit the schema; says which and what to do.
    """
    report = _Report(rows=len(table.rows), notes=list(table.notes))
    if task.skill is Skill.ANSWER and not task.columns.passages:
        raise InvalidInput(
            "An `answer` intern learns from questions with passages, but no column holds them.",
            f"Name it in the recipe (passages = …) or call it {_PASSAGE_COLUMNS[0]!r}.",
        )
    examples = _examples(table, task, report)
    examples = _unique(examples, task.skill, report)
    schema = None
    if task.skill is Skill.EXTRACT:
        schema = dict(task.schema) if task.schema else infer_schema(examples)
        examples = check_objects(examples, schema, table.path.name)
    if task.skill is Skill.CLASSIFY:
        examples = _check_labels(examples, recipe, report)
    exam: list[Example] = []
    if exam_table is not None:
        examples, exam = _given_exam(examples, exam_table, task, report, schema)
    _check_enough(len(examples), table, report)
    labels = tuple(sorted(label_counts(examples))) if task.skill is Skill.CLASSIFY else ()
    train, validation, held_out = _split(examples, task.skill, recipe, given=bool(exam))
    splits = Splits(tuple(train), tuple(validation), tuple(exam or held_out), labels, schema)
    return _finished(splits, examples, report)


def _finished(splits: Splits, examples: Sequence[Example], report: _Report) -> Splits:
    facts: dict[str, Any] = {
        "rows": report.rows,
        "usable": len(examples),
        "left_out": report.left_out,
        "notes": report.notes,
        "splits": splits.counts,
    }
    if splits.labels:
        facts["labels"] = label_counts(examples)
    return replace(splits, report=facts)


def _examples(table: Table, task: Task, report: _Report) -> list[Example]:
    kept, blank = [], []
    columns = task.columns
    for number, row in zip(table.numbers, table.rows, strict=True):
        text, answer = row.get(columns.text), row.get(columns.answer)
        passages = _passages(row.get(columns.passages)) if columns.passages else ()
        answers = task.skill is Skill.ANSWER
        if not text or (not answer and not answers) or (answers and not passages):
            blank.append(number)
        else:
            kept.append(Example(text, answer or "", number, passages if answers else ()))
    report.drop("blank", blank)
    if not kept:
        raise InvalidInput(
            f"All {len(table.rows)} rows of {table.path.name} are blank in "
            f"{columns.text!r} or {columns.answer!r}.",
            "Check that these are the right columns.",
        )
    return kept


def _passages(cell: str | None) -> tuple[str, ...]:
    if not cell:
        return ()
    if cell.startswith("["):
        try:
            values = json.loads(cell)
        except ValueError:
            return (cell,)
        return tuple(str(value) for value in values if str(value).strip())
    return (cell,)


def _unique(examples: list[Example], skill: Skill, report: _Report) -> list[Example]:
    """Drop repeats; for labels also settle texts that carry several of them."""
    seen: dict[tuple[str, ...], Example] = {}
    repeats = []
    for example in examples:
        key = (example.group, example.answer, *example.passages)
        if key in seen:
            repeats.append(example.row)
        else:
            seen[key] = example
    report.drop("the same text and answer as an earlier row", repeats)
    kept = list(seen.values())
    if skill is not Skill.CLASSIFY:
        return kept
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        votes[example.group][example.answer] += 1
    winner = {group: _majority(counts) for group, counts in votes.items()}
    losers = [e for e in kept if winner[e.group] != e.answer]
    report.drop("another label for a text that has one", [e.row for e in losers])
    return [e for e in kept if winner[e.group] == e.answer]


def _majority(votes: Counter[str]) -> str | None:
    """The label most rows give to a text; None when they disagree evenly."""
    (first, n), *rest = votes.most_common(2)
    return None if rest and rest[0][1] == n else first


def _check_labels(examples: list[Example], recipe: Recipe, report: _Report) -> list[Example]:
    counts = label_counts(examples)
    rare = [label for label, n in counts.items() if n < 2]
    if rare and recipe.drop_rare_labels:
        report.drop(
            f"label with one example ({', '.join(map(repr, rare[:5]))})",
            [e.row for e in examples if e.answer in rare],
        )
        examples = [e for e in examples if e.answer not in rare]
        counts = label_counts(examples)
    elif len(rare) > max(20, len(examples) // 4):
        raise InvalidInput(
            f"{len(counts)} different answers in {len(examples)} rows are no labels.",
            "Choose another output column, or --skill write.",
        )
    elif rare:
        names = ", ".join(map(repr, rare[:10])) + (" …" if len(rare) > 10 else "")
        raise InvalidInput(
            f"{_count(len(rare), 'label has', 'labels have')} one example only: {names}.",
            "Add examples, merge them into other labels, or leave them out with "
            "drop_rare_labels = true in the recipe.",
        )
    if len(counts) < 2:
        raise InvalidInput(
            f"All rows have the same label: {', '.join(map(repr, counts))}.",
            "Give at least two labels, or choose another output column.",
        )
    return examples


def _given_exam(
    examples: list[Example],
    table: Table,
    task: Task,
    report: _Report,
    schema: Mapping[str, Any] | None,
) -> tuple[list[Example], list[Example]]:
    """Read the exam's rows and take their texts out of what is learned."""
    table.require(task.columns.text, task.columns.answer)
    notes = _Report()
    exam = _examples(table, task, notes)
    report.notes.extend(f"Exam: {note}" for note in notes.notes)
    unknown = sorted({e.answer for e in exam} - {e.answer for e in examples})
    if task.skill is Skill.CLASSIFY and unknown:
        raise InvalidInput(
            f"The exam {table.path.name} has labels that the data have not: "
            f"{', '.join(map(repr, unknown[:10]))}.",
            "Add examples of them to the data, or take them out of the exam.",
        )
    if schema is not None:
        exam = check_objects(exam, schema, table.path.name)
    if len(exam) < 5:
        raise InvalidInput(
            f"The exam {table.path.name} has {len(exam)} usable rows.", "Give at least 5."
        )
    groups = {e.group for e in exam}
    report.drop("also in the exam", [e.row for e in examples if e.group in groups])
    return [e for e in examples if e.group not in groups], exam


def _check_enough(usable: int, table: Table, report: _Report) -> None:
    if usable < MIN_ROWS:
        why = "; ".join(f"{n} {reason}" for reason, n in report.left_out.items())
        raise InvalidInput(
            f"{table.path.name} has {usable} usable rows of {report.rows}"
            + (f" ({why})." if why else "."),
            f"Give at least {MIN_ROWS} rows with different texts.",
        )


def _split(
    examples: list[Example], skill: Skill, recipe: Recipe, *, given: bool
) -> tuple[list[Example], list[Example], list[Example]]:
    """Train, validation and exam, by whole groups; labels in equal shares."""
    total = len(examples)
    exam_rows = 0 if given else min(recipe.exam_rows, max(5, round(total * recipe.exam_share)))
    validation_rows = min(recipe.validation_rows, max(2, round(total * recipe.validation_share)))
    strata: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        strata[example.answer if skill is Skill.CLASSIFY else ""].append(example)
    train: list[Example] = []
    validation: list[Example] = []
    exam: list[Example] = []
    for stratum in strata.values():
        part = len(stratum) / total
        groups = _groups(stratum, recipe.seed)
        _take(groups, exam, exam_rows * part)
        _take(groups, validation, validation_rows * part if len(stratum) > 2 else 0)
        train.extend(example for group in groups for example in group)
    order = {id(example): i for i, example in enumerate(examples)}
    for rows in (train, validation, exam):
        rows.sort(key=lambda e: order[id(e)])
    return train, validation, exam


def _groups(examples: Iterable[Example], seed: int) -> list[list[Example]]:
    """Rows with the same text together, in an order that only seed and texts decide."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.group].append(example)

    def key(group: str) -> bytes:
        return hashlib.sha256(f"{seed}\n{group}".encode()).digest()

    return [groups[group] for group in sorted(groups, key=key)]


def _take(groups: list[list[Example]], into: list[Example], wanted: float) -> None:
    """Move whole groups until `wanted` rows are taken, at least one, leaving at least one."""
    taken = 0
    while wanted and len(groups) > 1 and taken < max(1, round(wanted)):
        group = groups.pop()
        into.extend(group)
        taken += len(group)


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
