"""Instruction sets as chats, from a folder of data sets in their own forms.

Only their training splits are read, and none of the sets on which bases and shipped interns are
examined.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from interns.charter import Charter
from interns.completion import Message
from interns.intern import Profile
from interns.prompt import baseline_messages
from interns.skill import Skill
from training.pretraining import words
from training.pretraining.chat import Chat, make_chat
from training.pretraining.corpus import Document, clean, licence_of
from training.pretraining.setfile import csv_rows, json_lines, whole

_FIX = "Fetch the set anew, or take its folder away."
INTERVIEW_LICENCES = ("MIT", "CC BY 4.0")  # of the interview questions that are read
_LONGEST = 6000  # characters of an answer worth learning whole
_SUMS = re.compile(r"<<[^>]*>>")
_BITEXT_ROWS = 10_000


def read_sets(folder: Path) -> Iterator[tuple[str, Path, Iterator[Document]]]:
    """Name, file and chats of every known set that the folder holds."""
    for name, (file, read) in SETS.items():
        path = folder / name / file
        if path.is_file():
            yield name, path, (Document(chat=chat) for chat in _checked(path, read))


def licence_of_set(path: Path) -> str:
    """The licence of a set's file: of the rows that are read where they name it, else as stated.

    Raises:
        BrokenFile: The file is truncated or in another form.
    """
    if path.name != SETS["interview_qa"][0]:
        return licence_of(path)
    with whole(path, _FIX):
        counts = Counter(row["licence"] for row in _interview_rows(path))
    return ", ".join(f"{licence} ({count} rows)" for licence, count in sorted(counts.items()))


def dolly(path: Path, rng: random.Random) -> Iterator[Chat]:
    """databricks-dolly-15k: instruction, perhaps with a text, and a person's answer."""
    for row in json_lines(path):
        context = clean(row["context"])
        yield _plain(rng, f"{clean(row['instruction'])}\n\n{context}", clean(row["response"]))


def gsm8k(path: Path, rng: random.Random) -> Iterator[Chat]:
    """Word problems with their way of solving, without the calculator's marks."""
    for row in json_lines(path):
        worked = _SUMS.sub("", row["answer"]).replace("\n#### ", "\nThe answer is ")
        yield _plain(rng, row["question"], f"{worked}.")


def interviews(path: Path, rng: random.Random) -> Iterator[Chat]:
    """Interview questions with model answers."""
    for row in _interview_rows(path):
        yield _plain(rng, clean(row["prompt"]), clean(row["response"]))


def self_instruct(path: Path, rng: random.Random) -> Iterator[Chat]:
    """The seed tasks written by people."""
    for row in json_lines(path):
        for case in row["instances"]:
            asked = f"{clean(row['instruction'])}\n\n{clean(case['input'])}"
            yield _plain(rng, asked, clean(case["output"]))


def bitext(path: Path, rng: random.Random) -> Iterator[Chat]:
    """Support requests to be sorted by intent, among labels drawn anew each time."""
    rows = list(csv_rows(path))
    labels = sorted({row["intent"] for row in rows})
    for row in rng.sample(rows, min(len(rows), _BITEXT_ROWS)):
        others = [name for name in labels if name != row["intent"]]
        shown = [row["intent"], *rng.sample(others, rng.randint(1, len(others)))]
        rng.shuffle(shown)
        profile = Profile("triage", Skill.CLASSIFY, "Sort customers' requests.", tuple(shown))
        charter = Charter(words.mission(rng) if rng.random() < 0.5 else "")
        asked = baseline_messages(profile, row["utterance"], charter=charter)
        yield (*asked, Message("assistant", row["intent"]))


Reader = Callable[[Path, random.Random], Iterator[Chat]]
SETS: Mapping[str, tuple[str, Reader]] = {
    "databricks_dolly_15k": ("dolly_15k.jsonl", dolly),
    "gsm8k": ("train.jsonl", gsm8k),
    "interview_qa": ("interview_qa.jsonl", interviews),
    "self_instruct": ("seed_tasks.jsonl", self_instruct),
    "bitext_customer_support_intents": ("bitext_20000_utterances.csv", bitext),
}


def _interview_rows(path: Path) -> Iterator[Mapping[str, str]]:
    return (row for row in json_lines(path) if row["licence"] in INTERVIEW_LICENCES)


def _checked(path: Path, read: Reader) -> Iterator[Chat]:
    with whole(path, _FIX):
        for chat in read(path, random.Random(f"chats/{path.name}")):
            for message in chat:
                message.content.encode()  # a ValueError for half of a surrogate pair
            if chat[-1].content and len(chat[-1].content) <= _LONGEST:
                yield chat


def _plain(rng: random.Random, asked: str, answer: str) -> Chat:
    """A question and its answer; two of three times under a system message."""
    draw = rng.random()
    profile = Profile(rng.choice(words.FIRST).casefold(), Skill.WRITE, "Answer what you are asked.")
    system = "" if draw < 1 / 3 else "You are a helpful intern."
    if draw > 2 / 3:
        system = Charter(words.mission(rng)).system_prompt(profile)
    return make_chat(asked, answer, system=system)
