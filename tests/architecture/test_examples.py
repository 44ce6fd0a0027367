"""The committed examples are what their generators write, and fit for an exam."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from interns.answering import split_candidates
from interns.runtime.llama_cpp.copying import is_copied

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def test_customer_messages_are_the_committed_ones_when_generated_again() -> None:
    made = _script(EXAMPLES / "triage" / "make_messages.py").make_rows()
    committed = [(row["text"], row["queue"]) for row in _csv(EXAMPLES / "triage" / "messages.csv")]
    assert made == committed


def test_order_messages_are_the_committed_ones_when_generated_again() -> None:
    made = _script(EXAMPLES / "facts" / "make_messages.py").make_rows()
    assert made == _jsonl(EXAMPLES / "facts" / "messages.jsonl")


def test_queues_are_balanced_when_triage_is_examined() -> None:
    exam = _csv(EXAMPLES / "triage" / "exam.csv")
    counts = Counter(row["queue"] for row in exam)
    taught = {row["queue"] for row in _csv(EXAMPLES / "triage" / "messages.csv")}
    assert len(exam) >= 200
    assert set(counts) == taught
    assert len(set(counts.values())) == 1


def test_no_exam_text_is_taught_when_triage_is_examined() -> None:
    taught = {row["text"].casefold() for row in _csv(EXAMPLES / "triage" / "messages.csv")}
    exam = [row["text"].casefold() for row in _csv(EXAMPLES / "triage" / "exam.csv")]
    assert len(set(exam)) == len(exam)
    assert not taught & set(exam)


@pytest.mark.parametrize("name", ["messages.jsonl", "exam.jsonl"])
def test_every_fact_stands_in_its_message_when_facts_are_copied(name: str) -> None:
    schema = json.loads((EXAMPLES / "facts" / "schema.json").read_text("utf-8"))
    for row in _jsonl(EXAMPLES / "facts" / name):
        facts = json.loads(row["facts"])
        assert list(facts) == schema["required"]
        assert facts["request"] in schema["properties"]["request"]["enum"]
        for field, value in facts.items():
            assert field == "request" or is_copied(value, row["text"]), (field, row["text"])


def test_every_gold_sentence_can_be_quoted_when_guide_is_examined() -> None:
    rows = _jsonl(EXAMPLES / "guide" / "exam.jsonl")
    assert len(rows) >= 40
    for row in rows:
        lines = {candidate.line for candidate in split_candidates(row["passages"])}
        assert not row["answer"] or row["answer"] in lines, row["question"]


def test_interview_answers_are_as_long_as_those_learned_from_when_interviewer_is_examined() -> None:
    bounds = _script(EXAMPLES / "interviewer" / "make_rows.py")
    shown = json.loads((EXAMPLES / "interviewer" / "exemplars.json").read_text("utf-8"))
    exam = _jsonl(EXAMPLES / "interviewer" / "exam.jsonl")
    assert len({row["question"].casefold() for row in exam}) == len(exam) >= 80
    assert not {row["question"] for row in exam} & set(shown)
    for row in exam:
        assert len(row["question"].split()) <= bounds.MOST_QUESTION_WORDS
        assert bounds.first_sentences(row["answer"]) == row["answer"]
