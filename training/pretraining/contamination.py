"""Exam texts that lie inside training texts: found by runs of words, and kept out.

Whole exam sets are never read, but their passages come from Wikipedia, papers and old books, which
other sets quote as well. A document that shares 13 words in a row with an exam text is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from training.pretraining.corpus import Document
from training.pretraining.setfile import csv_rows, json_lines, whole

_FIX = "Fetch the set anew: what it examines must be kept out of the texts."
RUN = 13  # words; shorter runs are often idioms
_WORD = re.compile(r"[^\W_]+")


class Examined:
    """The runs of words of all exam texts below a folder of sets.

    Args:
        sets: The folder; sets that it does not hold are passed over. None for no exams.

    Raises:
        BrokenFile: An exam set is truncated or in another form.
    """

    def __init__(self, sets: Path | None) -> None:
        self._runs: Mapping[str, frozenset[int]] = {
            name: frozenset(run for text in texts for run in _runs(text))
            for name, texts in (_read(sets) if sets else ())
        }
        self._all = frozenset[int]().union(*self._runs.values())

    def found_in(self, document: Document) -> list[str]:
        """The exam sets that a document shares a run of words with; mostly none."""
        text = document.text or "\n".join(message.content for message in document.chat)
        if self._all.isdisjoint(_runs(text)):
            return []
        return [name for name, runs in self._runs.items() if not runs.isdisjoint(_runs(text))]


def exam_files(sets: Path) -> dict[str, Path]:
    """What is read of a folder of sets to know the exams, by ``SET/FILE``."""
    listed = [f"{name}/{file}" for name, (files, _) in _EXAMS.items() for file in files]
    return {name: sets / name for name in listed if (sets / name).is_file()}


def _runs(text: str) -> Iterator[int]:
    """A hash of every run of words; equal within one process only, so none is stored."""
    words = _WORD.findall(text.casefold())
    return map(hash, zip(*(words[start:] for start in range(RUN)), strict=False))


def _read(sets: Path) -> Iterator[tuple[str, Iterator[str]]]:
    for name, (files, texts) in _EXAMS.items():
        paths = [sets / name / file for file in files if (sets / name / file).is_file()]
        if paths:
            yield name, _checked(paths, texts)


def _checked(paths: Iterable[Path], texts: Callable[[Path], Iterator[str]]) -> Iterator[str]:
    for path in paths:
        with whole(path, _FIX):
            yield from texts(path)


def _rows(*fields: str) -> Callable[[Path], Iterator[str]]:
    """Reads the texts of JSON lines."""
    return lambda path: (row[field] for row in json_lines(path) for field in fields)


def _cells(field: str) -> Callable[[Path], Iterator[str]]:
    """Reads a column of a CSV file."""
    return lambda path: (row[field] for row in csv_rows(path))


def _papers(path: Path) -> Iterator[str]:
    for row in json_lines(path):
        yield " ".join(row["source"])
        yield from row["target"]


def _stories(path: Path) -> Iterator[str]:
    for row in json_lines(path):
        yield from (section["text"] for section in row["sections"])


def _requests(path: Path) -> Iterator[str]:
    splits = json.loads(path.read_text("utf-8"))
    yield from (text for name in ("test", "oos_test") for text, _ in splits[name])


_EXAMS: Mapping[str, tuple[tuple[str, ...], Callable[[Path], Iterator[str]]]] = {
    "banking77": (("test.csv",), _cells("text")),
    "cacm": (("corpus.jsonl",), _rows("text")),
    "clinc150_oos": (("data_full.json",), _requests),
    "cranfield": (("corpus.jsonl",), _rows("text")),
    "e2e_nlg": (("testset_w_refs.csv",), _cells("ref")),
    "fairytaleqa": (("val_stories.jsonl", "test_stories.jsonl"), _stories),
    "gsm8k": (("test.jsonl",), _rows("question")),
    "scitldr": (("test.jsonl",), _papers),
    "sentence_polarity": (("all.jsonl",), _rows("text")),
    "xquad_en": (("xquad_en.jsonl",), _rows("context", "question")),
}
