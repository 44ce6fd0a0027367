"""Generated chats about real passages: copying, quoting, judging, formatting, naming."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interns.charter import Charter
from interns.completion import Message
from interns.intern import Profile
from interns.prompt import NOT_IN_SOURCES, task_messages
from interns.skill import Skill
from training.pretraining import words
from training.pretraining.chat import Chat, make_chat
from training.pretraining.corpus import Document

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z“\"])")
_WORD = re.compile(r"[^\W\d_]{4,}")
_LONGEST_TITLE = 80
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(frozen=True)
class Passage:
    """A few sentences of one document that stand together.

    Attributes:
        title: First line of the document, or empty.
        sentences: Two to six of them.
    """

    title: str
    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences as one paragraph."""
        return " ".join(self.sentences)


def cut_passages(documents: Iterable[Document], rng: random.Random, each: int) -> list[Passage]:
    """Up to `each` passages of every text."""
    found = []
    for document in documents:
        paragraphs = document.text.split("\n\n")
        title = paragraphs[0] if "\n" not in paragraphs[0] else ""
        telling = " " in title and len(title) <= _LONGEST_TITLE and title[-1].isalnum()
        chosen = rng.sample(paragraphs[1:], min(each * 3, len(paragraphs) - 1))
        good = [p for p in map(_sentences, chosen) if len(p) > 1]
        for sentences in good[:each]:
            size = rng.randint(2, min(6, len(sentences)))
            begin = rng.randint(0, len(sentences) - size)
            found.append(Passage(title if telling else "", sentences[begin : begin + size]))
    return found


def copy(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Repeat a text word for word."""
    text = rng.choice(passages).text
    ask = rng.choice(("Repeat this text:", "Copy the text word for word.", "Say it again:"))
    return make_chat(f"{ask}\n\n{text}", text)


def quote(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Quote the sentence with a word, or say that there is none."""
    passage, other = rng.choice(passages), rng.choice(passages)
    there = rng.random() < 0.7
    sentence = rng.choice(passage.sentences if there else other.sentences)
    found = _WORD.findall(sentence)
    word = rng.choice(found) if found else sentence.split()[0]
    hits = [one for one in passage.sentences if word in one]
    ask = rng.choice((
        f"Quote the sentence that mentions “{word}”.",
        f"Which sentence says something about {word}?",
        f"Find the sentence with the word {word}.",
    ))
    rule = f"Quote from the text. If it is not there, say: {NOT_IN_SOURCES}."
    return make_chat(f"{passage.text}\n\n{ask}", hits[0] if hits else NOT_IN_SOURCES, system=rule)


def nth(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Give the sentence at a place: first, second … or last."""
    passage = rng.choice(passages)
    at = rng.randrange(len(passage.sentences))
    last = at == len(passage.sentences) - 1 and rng.random() < 0.5
    place = "last" if last else _ORDINALS[at]
    return make_chat(f"What is the {place} sentence?\n\n{passage.text}", passage.sentences[at])


def cloze(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Fill a gap from the passage that is given above it."""
    passage = rng.choice(passages)
    sentence = rng.choice(passage.sentences)
    pieces = sentence.split()
    at = rng.randrange(len(pieces))
    gap = " ".join([*pieces[:at], "___", *pieces[at + 1 :]])
    return make_chat(f"{passage.text}\n\nWhich word is missing?\n{gap}", pieces[at])


def judge(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Does the passage answer? As an `answer` intern is asked (see `interns.prompt`)."""
    passage, other = rng.choice(passages), rng.choice(passages)
    sentence = rng.choice(passage.sentences)
    found = _WORD.findall(sentence)
    some = rng.sample(found, min(len(found), 3)) or sentence.split()[:3]
    question = f"What does the text say about {' and '.join(some)}?"
    right = rng.random() < 0.5 or other.text == passage.text
    profile = Profile("guide", Skill.ANSWER, "Say whether the passage answers the question.")
    shown = (sentence if right else rng.choice(other.sentences),)
    charter = Charter(words.mission(rng) if rng.random() < 0.5 else "")
    asked = task_messages(profile, question, charter=charter, passages=shown)
    fits = all(word in shown[0] for word in some)
    return (*asked, Message("assistant", "yes" if fits else "no"))


def title(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Name what a passage is about."""
    passage = rng.choice(passages)
    if not passage.title:
        return nth(rng, passages)
    ask = rng.choice(("Give this text a title.", "What is the text about?", "Name the topic:"))
    return make_chat(f"{ask}\n\n{passage.text}", passage.title)


def choose_title(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Choose the title that fits from several."""
    passage = rng.choice(passages)
    titles = {rng.choice(passages).title for _ in range(4)} - {"", passage.title}
    if not passage.title or not titles:
        return quote(rng, passages)
    shown = sorted({*titles, passage.title})
    rng.shuffle(shown)
    listed = "\n".join(f"{chr(65 + i)}. {name}" for i, name in enumerate(shown))
    answer = f"{chr(65 + shown.index(passage.title))}. {passage.title}"
    return make_chat(f"{passage.text}\n\nWhich title fits?\n{listed}", answer)


def reformat(rng: random.Random, passages: Sequence[Passage]) -> Chat:
    """Write sentences or words in another form."""
    sentences = rng.choice(passages).sentences
    pieces = rng.sample(words.THINGS + words.CITIES + words.FIRST, rng.randint(3, 7))
    given = ", ".join(pieces)
    asked, answer = rng.choice((
        (f"Write as a list:\n{given}", "\n".join(f"- {p}" for p in pieces)),
        (f"Number these:\n{given}", "\n".join(f"{i}. {p}" for i, p in enumerate(pieces, 1))),
        (f"Sort by alphabet:\n{given}", ", ".join(sorted(pieces, key=str.casefold))),
        (f"As a JSON array:\n{given}", json.dumps(pieces)),
        (f"How many are there?\n{given}", str(len(pieces))),
        (f"Turn round the order:\n{given}", ", ".join(reversed(pieces))),
        (f"In capital letters:\n{given}", given.upper()),
        (f"One sentence a line:\n{' '.join(sentences)}", "\n".join(sentences)),
        (
            f"Put a star before each sentence:\n{' '.join(sentences)}",
            "\n".join(f"* {one}" for one in sentences),
        ),
    ))
    return make_chat(asked, answer)


def _sentences(paragraph: str) -> tuple[str, ...]:
    if not 80 <= len(paragraph) <= 1500 or "\n" in paragraph:
        return ()
    return tuple(one.strip() for one in _SENTENCE.split(paragraph) if 20 <= len(one) <= 400)
