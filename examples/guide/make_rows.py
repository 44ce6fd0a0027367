"""Write ``rows.jsonl`` and ``exam.jsonl`` for `guide` from FairytaleQA and our own questions.

FairytaleQA (Apache-2.0) is read from the folder that ``INTERNS_DATASETS`` names; nothing of it is
kept in the project. Each row is a question, some passages, and the sentence that answers, blank
where none does. Training uses the train split, the exam the validation split.

Run: ``INTERNS_DATASETS=DIR python examples/guide/make_rows.py OUT``
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interns.answering import split_candidates

HERE = Path(__file__).resolve().parent
TRAIN_ROWS = 1100
EXAM_ROWS = 160
UNANSWERABLE = 0.3
PASSAGES = 3
_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an and as at be because but by did do does for from had has have he her him his in is it its"
        " of on or she so that the their them they to was were what when where which who why will with"
        " would you",
    )
)

Row = dict[str, Any]


def content_words(text: str) -> set[str]:
    """Return the words of a text that carry meaning, folded."""
    words = re.findall(r"[a-z0-9]+", text.casefold())
    return {word for word in words if word not in _STOP}


def gold_sentence(question: str, answers: list[str], section: str) -> str:
    """Return the one sentence of a section that holds the answer, or blank when unclear."""
    asked = content_words(question)
    scored = []
    for candidate in split_candidates([section]):
        words = content_words(candidate.text)
        held = 0.0
        for answer in answers:
            wanted = content_words(answer)
            held = max(held, len(wanted & words) / len(wanted) if wanted else 0.0)
        scored.append((held, len(asked & words) / max(1, len(asked)), candidate.line))
    scored.sort(reverse=True)
    if not scored or scored[0][0] < 0.6 or scored[0][0] + scored[0][1] < 0.8:
        return ""
    return scored[0][2]


def fairytales(folder: Path, split: str, rng: random.Random) -> Iterator[Row]:
    """Yield answerable and unanswerable questions of a split of FairytaleQA, shuffled."""
    stories: dict[str, dict[str, str]] = {
        story["story"]: {s["section"]: " ".join(s["text"].split()) for s in story["sections"]}
        for story in _read(folder / f"{split}_stories.jsonl")
    }
    questions = [
        row
        for row in _read(folder / f"{split}_qa.jsonl")
        if row["explicit"] == "explicit" and len(row["sections"]) == 1
    ]
    rng.shuffle(questions)
    names = sorted(stories)
    for row in questions:
        section = stories[row["story"]].get(row["sections"][0], "")
        gold = gold_sentence(row["question"], row["answers"], section)
        if not gold:
            continue
        name = row["story"]
        if rng.random() < UNANSWERABLE:
            name = rng.choice([other for other in names if other != name])
            gold, section = "", ""
        others = [text for text in stories[name].values() if text != section]
        passages = rng.sample(others, min(len(others), PASSAGES - bool(section)))
        if section:
            passages.insert(rng.randrange(len(passages) + 1), section)
        yield {"question": row["question"], "passages": passages, "answer": gold}


def own(file: Path, rng: random.Random) -> Iterator[Row]:
    """Yield our own questions on documents like the project's."""
    by_topic: dict[str, list[Row]] = defaultdict(list)
    for row in _read(file):
        by_topic[row["topic"]].append(row)
    for topic, rows in by_topic.items():
        for row in rows:
            others = [r["passage"] for name, rs in by_topic.items() if name != topic for r in rs]
            passages = [row["passage"], *rng.sample(sorted(set(others)), PASSAGES - 1)]
            rng.shuffle(passages)
            yield {"question": row["question"], "passages": passages, "answer": row["answer"]}


def write(path: Path, rows: list[Row]) -> None:
    """Write one JSON object a line."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    print(f"{len(rows)} rows -> {path.name}")


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def main() -> int:
    """Write both files into the folder given."""
    datasets = os.environ.get("INTERNS_DATASETS", "")
    folder = Path(datasets) / "fairytaleqa"
    if len(sys.argv) != 2 or not folder.is_dir():
        sys.exit("Usage: INTERNS_DATASETS=DIR make_rows.py OUT, where DIR holds fairytaleqa/")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(5)
    rows = list(fairytales(folder, "train", rng))[:TRAIN_ROWS]
    rows += own(HERE / "questions.jsonl", rng)
    rng.shuffle(rows)
    write(out / "rows.jsonl", rows)
    exam = list(fairytales(folder, "val", rng))[:EXAM_ROWS]
    write(out / "exam.jsonl", exam + _read(HERE / "exam.jsonl"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
