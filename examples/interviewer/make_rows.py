"""Write ``rows.jsonl``, from which `interviewer` learns, from collections of questions.

The collections (MIT or CC BY 4.0 per row) are read from the folder that ``INTERNS_DATASETS``
names; nothing of them is kept in the project. An answer is cut to its first sentences, its
Markdown is taken off, and questions that are about a piece of code are left out. The exam is
``exam.jsonl`` beside this file, written by hand; bases have read the collections.

Run: ``INTERNS_DATASETS=DIR python examples/interviewer/make_rows.py OUT``
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

from training.pretraining.chats import INTERVIEW_LICENCES

MOST_WORDS = 44
LEAST_WORDS = 6
MOST_QUESTION_WORDS = 30

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?(?:details|summary|p|b|i|em|strong|br|div|a|sup|sub)\b[^>]*>", re.I)
_MARKS = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")
_LINE_START = re.compile(r"^\s*(?:[-*+>]+\s+|#{1,6}\s+|\d+[.)]\s+)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9])")
_NOT_ANSWERS = re.compile(
    r"^(answer: [a-e]\b|see |to be completed|useful resources|references?\b|tbd|check )", re.I
)


def plain(text: str) -> str:
    """Take Markdown and tags off a line of text."""
    text = _TAG.sub(" ", _LINK.sub(r"\1", text))
    return " ".join(_MARKS.sub("", text).split())


def first_sentences(answer: str) -> str:
    """Return the first sentences of an answer that fit `MOST_WORDS`, or blank."""
    before_code = re.split(r"```|\n\s*<img|\n\s*\|", answer)[0]
    lines = []
    for line in before_code.split("\n"):
        if line.strip() and not re.fullmatch(r"[\s*_#=-]*", line):
            text = plain(_LINE_START.sub("", line))
            lines.append(text if text[-1:] in ".:?!,;" else f"{text}.")
        elif len(" ".join(lines).split()) > LEAST_WORDS:
            break
    kept: list[str] = []
    for sentence in _SENTENCE.split(" ".join(line for line in lines if line != ".")):
        if kept and len(" ".join([*kept, sentence]).split()) > MOST_WORDS:
            break
        kept.append(sentence)
    text = " ".join(kept).rstrip(" ,:;")
    words = len(text.split())
    if not LEAST_WORDS <= words <= MOST_WORDS or _NOT_ANSWERS.match(text):
        return ""
    return text if text[-1] in ".?!" else f"{text}."


def make_rows(file: Path) -> tuple[list[dict[str, str]], Counter[tuple[str, str]]]:
    """Return the usable rows and how many come from each source under which licence."""
    rows, sources = [], Counter[tuple[str, str]]()
    seen = set()
    for line in file.read_text("utf-8").split("\n"):
        if not line:
            continue
        row = json.loads(line)
        question = plain(row["prompt"])
        usable = "```" not in row["prompt"] and len(question.split()) <= MOST_QUESTION_WORDS
        answer = first_sentences(row["response"]) if usable else ""
        if row["licence"] not in INTERVIEW_LICENCES or not answer or question.casefold() in seen:
            continue
        seen.add(question.casefold())
        rows.append({"question": question, "answer": answer})
        sources[row["source_repo"], row["licence"]] += 1
    return rows, sources


def main() -> int:
    """Write the rows into the folder given."""
    file = Path(os.environ.get("INTERNS_DATASETS", "")) / "interview_qa" / "interview_qa.jsonl"
    if len(sys.argv) != 2 or not file.is_file():
        sys.exit("Usage: INTERNS_DATASETS=DIR make_rows.py OUT, where DIR holds interview_qa/")
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    rows, sources = make_rows(file)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "rows.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(rows)} rows -> rows.jsonl")
    for (source, licence), count in sorted(sources.items()):
        print(f"{count:5} {licence:10} {source}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
