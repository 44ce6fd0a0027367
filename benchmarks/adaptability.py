"""How well a base adapts: fixed recipes on real tasks that stayed out of its pre-training.

Run: ``INTERNS_DATASETS=DIR python benchmarks/adaptability.py --out FOLDER [--base BASE] [--quick]
[TASK …]``, where DIR holds the data sets in their own forms and BASE is a folder with ``base.gguf``
and its tokenizer, as ``python -m training.pretrain export`` makes it; without it the starter is
examined. Every task is one ``python -m training run``; stopped, the same command goes on, and a
finished task is not done again. Prints Markdown.

``--quick`` takes small fixed subsets, the same for every base, to compare bases on two cores; its
scores are not those of the full sets.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from math import nan
from pathlib import Path
from typing import Any

from interns.answering import shortlist, split_candidates
from interns.bases import starter
from interns.gguf.adapter_file import file_sha256
from interns.runtime.llama_cpp.copying import is_copied
from training.candidates import similarities
from training.example import Example
from training.metrics import plain

Row = dict[str, Any]
Sets = Callable[[Path], tuple[list[Row], list[Row]]]  # rows to learn from and to be examined on

SEED = 11
QUICK_ROWS, QUICK_EXAM = 600, 120
NEAR = 2  # sentences of a passage that a question is asked about
LONGEST_ANSWER = 12  # words of an answer of Dolly's; longer ones tell more than was asked
E2E_EXAM = 1000  # rows of about half of the test split
LEAST_OF_A_LABEL = 3  # rows; of fewer none may be left after validation rows and duplicates
NAME = "examined"  # of a given base inside the data directory


@dataclass(frozen=True)
class Task:
    """One task: its rows as {text, answer[, passages]}, the skill, and what the recipe changes."""

    read: Sets
    skill: str
    role: str
    recipe: Mapping[str, Any]
    fields: Mapping[str, Row] = field(default_factory=dict)  # of `extract`: the schema of each


def main() -> int:
    """Run the tasks, print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    data = Path(os.environ.get("INTERNS_DATASETS", ""))
    if not (data / "banking77").is_dir():
        print("Set INTERNS_DATASETS to the folder that holds banking77 and the other sets.")
        return 2
    names = chosen.tasks or list(TASKS)
    if unknown := set(names) - set(TASKS):
        print(f"There is no task {min(unknown)!r}; there are {', '.join(TASKS)}.")
        return 2
    out = chosen.out.absolute() / ("quick" if chosen.quick else "full")
    base = install(chosen.base, out / "home")
    for name in names:
        work(name, data, out, base=base, quick=chosen.quick)
    print(table(names, out, chosen.base.name if chosen.base else "starter"))
    return 0


def install(base: Path | None, home: Path) -> str:
    """Put a base into the data directory of the benchmark; its name there."""
    home.mkdir(parents=True, exist_ok=True)
    place = home / "bases" / NAME
    wanted = base.absolute() if base else None
    if wanted and not (wanted / "base.gguf").is_file():
        raise SystemExit(f"{base} holds no base.gguf.")
    sha256 = file_sha256(wanted / "base.gguf" if wanted else starter().gguf)
    begun = home.parent / "base.sha256"
    if begun.is_file() and begun.read_text() != sha256:
        raise SystemExit(f"{home.parent} was begun with another base: give another --out.")
    begun.write_text(sha256)
    if wanted is None:
        return "starter"
    if not place.is_symlink():
        place.parent.mkdir(exist_ok=True)
        place.symlink_to(wanted, target_is_directory=True)
    return NAME


def work(name: str, data: Path, out: Path, *, base: str, quick: bool) -> None:
    """Onboard one task unless that is done; a failed gate is a result as well."""
    task, folder = TASKS[name], out / name
    recipe = {**task.recipe, **({"baseline_rows": 40} if quick else {})}
    if (begun := folder / "request.json").is_file() and json.loads(begun.read_text())[
        "recipe"
    ] != recipe:
        raise SystemExit(
            f"{folder} was begun with another recipe: remove it, or give another --out."
        )
    if (folder / "outcome.json").is_file():
        return
    if not begun.is_file():
        train, exam = task.read(data)
        if quick:
            train = few(train, QUICK_ROWS)
            if task.skill == "classify":  # a label of which no row was drawn cannot be learned
                drawn = Counter(row["answer"] for row in train)
                exam = [row for row in exam if drawn[row["answer"]] > LEAST_OF_A_LABEL]
            exam = few(exam, QUICK_EXAM)
        folder.mkdir(parents=True, exist_ok=True)
        schema = folder / "schema.json"
        if task.fields:
            train = [in_words(row, task.fields) for row in train]
            train = [row for row in train if is_written(row, task.fields)]
            schema.write_text(json.dumps({"type": "object", "properties": task.fields}))
        for file, rows in (("train.jsonl", train), ("exam.jsonl", exam)):
            lines = (json.dumps(row, ensure_ascii=False) for row in rows)
            (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        request = {
            "name": name,
            "skill": task.skill,
            "role": task.role,
            "base": base,
            "data": str(folder / "train.jsonl"),
            "exam": str(folder / "exam.jsonl"),
            "input": "text",
            "output": "answer",
            "schema": str(schema) if task.fields else None,
            "home": str(out / "home"),
            "recipe": recipe,
        }
        begun.write_text(json.dumps(request), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "training", "run", str(folder)], check=False,
                   stdout=subprocess.DEVNULL)  # fmt: skip


def is_written(row: Row, fields: Mapping[str, Row]) -> bool:
    """Whether what is to be copied stands in the text: of other rows copying cannot be learned."""
    values = json.loads(row["answer"])
    return all(
        is_copied(values.get(name, ""), row["text"])
        for name, kind in fields.items()
        if kind is COPY
    )


def in_words(row: Row, fields: Mapping[str, Row]) -> Row:
    """The row with its copied values as the text writes them: "fast food" for Fast food."""
    values = json.loads(row["answer"])
    for name, kind in fields.items():
        found = re.search(rf"(?<!\w){re.escape(values.get(name, ''))}(?!\w)", row["text"], re.I)
        if kind is COPY and found:
            values[name] = found[0]
    return {**row, "answer": json.dumps(values)}


def few(rows: list[Row], count: int) -> list[Row]:
    """A fixed sample, the same for every base."""
    return random.Random(SEED).sample(rows, count) if len(rows) > count else rows  # noqa: S311


def table(names: list[str], out: Path, base: str) -> str:
    """The results as Markdown."""
    head = (
        "| task | metric | exam | 95 % | token F1 | base+prompt | rows | passes | tuning | status |"
    )
    lines = [
        f"Base: {base}. {os.cpu_count()} CPUs, {platform.machine()}.",
        "",
        head,
        "|---" * 10 + "|",
    ]
    return "\n".join([*lines, *(row(name, out / name) for name in names)])


def row(name: str, folder: Path) -> str:
    """One task's line of the table."""
    path = folder / "outcome.json"
    outcome = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    exam, tuning = outcome.get("exam") or {}, outcome.get("tuning") or {}
    if not exam:
        return f"| {name} | – | not examined: {outcome.get('error', 'interrupted')} |" + " |" * 7
    low, high = exam["interval"]
    cells = (
        *(name, exam["metric"], f"{exam['score']:.3f}", f"{low:.3f}–{high:.3f}"),
        f"{exam['details'].get('token_f1', nan):.3f}",
        f"{exam['baseline']:.3f} ({exam['baseline_examples']} rows)",
        *(exam["examples"], tuning["epochs"], f"{tuning['seconds']:.0f} s", outcome["status"]),
    )
    return f"| {' | '.join(map(str, cells))} |"


# The sets in their own forms -----------------------------------------------------------------


def banking77(data: Path) -> tuple[list[Row], list[Row]]:
    """77 intents, official split."""
    train, test = (
        [{"text": r["text"], "answer": r["category"]} for r in read_csv(data / "banking77" / file)]
        for file in ("train.csv", "test.csv")
    )
    return train, test


def clinc150(data: Path) -> tuple[list[Row], list[Row]]:
    """150 intents in scope, official test split; learned from both others."""
    content = json.loads((data / "clinc150_oos" / "data_full.json").read_text("utf-8"))
    train, test = (
        [{"text": text, "answer": label} for split in splits for text, label in content[split]]
        for splits in (("train", "val"), ("test",))
    )
    return train, test


def sentence_polarity(data: Path) -> tuple[list[Row], list[Row]]:
    """No official split: every tenth row of a fixed order is the exam."""
    lines = read_lines(data / "sentence_polarity" / "all.jsonl")
    rows = [{"text": r["text"], "answer": r["label"]} for r in lines]
    random.Random(SEED).shuffle(rows)  # noqa: S311
    return [r for i, r in enumerate(rows) if i % 10], rows[::10]


def e2e(data: Path) -> tuple[list[Row], list[Row]]:
    """Sentences to facts. The set's train split is not here, and its dev split knows coffee shops only.

    So the restaurants of the test split, by name, are shared out: every other one is learned from
    besides the dev split, the others are the exam. As in the set's own splits, names are new.
    """
    dev, test = (
        [
            (dict(re.findall(r"(\w+)\[([^\]]*)\]", r["mr"])), r["ref"])
            for r in read_csv(data / "e2e_nlg" / file)
        ]
        for file in ("devset.csv", "testset_w_refs.csv")
    )
    examined = set(sorted({facts["name"] for facts, _ in test})[1::2])
    train, exam = (
        [
            {"text": text, "answer": json.dumps(facts)}
            for facts, text in rows
            if (facts["name"] in examined) is wanted
        ]
        for rows, wanted in (([*dev, *test], False), (test, True))
    )
    return train, few(exam, E2E_EXAM)  # each is written twice: to see how answers end, and held


def fairytaleqa(data: Path) -> tuple[list[Row], list[Row]]:
    """Questions whose answer lies in the text. Half of the answers are in its very words."""
    return asked(data), [question(*each) for each in questions(data / "fairytaleqa", "test")]


def xquad(data: Path) -> tuple[list[Row], list[Row]]:
    """Learned from the same rows, examined on XQuAD, which is for evaluation only."""
    lines = read_lines(data / "xquad_en" / "xquad_en.jsonl")
    return asked(data), [question(r["context"], r["question"], r["answers"][0]) for r in lines]


@cache  # both tasks learn from them, and finding the sentences takes minutes
def asked(data: Path) -> list[Row]:
    """Passage questions to learn from: FairytaleQA's, and Dolly's few on encyclopedias.

    None of Dolly's passages shares 13 words with one of the exams.
    """
    dolly = [
        (r["context"], r["instruction"], r["response"].strip().rstrip("."))
        for r in read_lines(data / "databricks_dolly_15k" / "dolly_15k.jsonl")
        if len(r["response"].split()) <= LONGEST_ANSWER
    ]
    return [
        question(passage, text, answer)
        for passage, text, answer in [*questions(data / "fairytaleqa", "train"), *dolly]
        if plain(answer) in plain(f"{passage} {text}")  # of the others copying cannot be learned
    ]


def scitldr(data: Path) -> tuple[list[Row], list[Row]]:
    """Abstracts to one line; the first of several is the reference."""
    train, test = (
        [
            {"text": " ".join(r["source"]), "answer": r["target"][0]}
            for r in read_lines(data / "scitldr" / f"{split}.jsonl")
        ]
        for split in ("train", "test")
    )
    return train, test


def questions(folder: Path, split: str) -> list[tuple[str, str, str]]:
    """FairytaleQA's explicit questions of a split: first section, question, answer."""
    sections = {
        (story["story"], part["section"]): part["text"]
        for story in read_lines(folder / f"{split}_stories.jsonl")
        for part in story["sections"]
    }
    return [
        (sections[r["story"], r["sections"][0]], r["question"], r["answer"])
        for r in read_lines(folder / f"{split}_qa.jsonl")
        if r["explicit"] == "explicit" and (r["story"], r["sections"][0]) in sections
    ]


def question(passage: str, text: str, answer: str) -> Row:
    """The sentences of a passage that are nearest to a question, and the object with its answer.

    As where an office looks things up: similarity finds the place, the intern reads it. The question
    stands before them, since who reads forwards must know what to look for, and behind them, where
    the answer begins. Other forms had lower scores (docs/benchmarks.md).
    """
    lines = [candidate.line for candidate in split_candidates((passage,))]
    near = shortlist(len(lines), similarities(Example(text, answer, 0, (passage,))))[:NEAR]
    place = "\n".join(lines[i] for i in near)
    return {"text": f"{text}\n\n{place}\n\n{text}", "answer": json.dumps({"answer": answer})}


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def read_lines(path: Path) -> Iterator[Row]:
    """The objects of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


COPY: Row = {"type": "string", "x-copy": True}
# What stands in the text in its own words is copied; the others have a few fixed values.
E2E_FIELDS: Mapping[str, Row] = {
    "name": COPY,
    "eatType": COPY,
    "food": COPY,
    "priceRange": {
        "enum": ["", "cheap", "moderate", "high", "less than £20", "£20-25", "more than £30"]
    },
    "rating": {"enum": ["", "low", "average", "high", "1 out of 5", "3 out of 5", "5 out of 5"]},
    "area": {"enum": ["", "city centre", "riverside"]},
    "familyFriendly": {"enum": ["", "yes", "no"]},
    "near": COPY,
}
# On the former starter rank 64 learned the same rows faster than the default 16 (docs/lab-log.md).
INTENTS = {"batch_tokens": 2048, "drop_rare_labels": True, "epochs": 4, "rank": 64}
PASSAGES = (
    "extract",
    "Answer the question at the end in words of the text.",
    {"batch_tokens": 2048, "epochs": 3, "rank": 64},
    {"answer": COPY},
)
TASKS: Mapping[str, Task] = {
    "banking77": Task(banking77, "classify", "Sort questions of bank customers.", INTENTS),
    "clinc150": Task(clinc150, "classify", "Sort requests by intent.", {**INTENTS, "epochs": 6}),
    "sentence-polarity": Task(
        sentence_polarity,
        "classify",
        "Say whether a review is good or bad.",
        {"batch_tokens": 2048, "beta2": 0.95, "epochs": 3, "rank": 64},  # docs/lab-log.md
    ),
    "e2e": Task(
        e2e,
        "extract",
        "Write the facts of each text as JSON.",
        {"batch_tokens": 2048, "epochs": 3, "rank": 64, "vary_values": 0.5},
        E2E_FIELDS,
    ),
    "fairytaleqa": Task(fairytaleqa, *PASSAGES),
    "xquad": Task(xquad, *PASSAGES),
    "scitldr": Task(scitldr, "write", "Sum the abstract up in one line.", {"max_tokens": 768}),
}


if __name__ == "__main__":
    sys.exit(main())
