"""Write ``messages.csv``: messages to a small online shop, sorted into eight queues.

Deterministic: the same seed writes the same bytes. ``exam.csv`` beside it is written by hand and
has no part in this.

Run: ``python examples/triage/make_messages.py``
"""

from __future__ import annotations

import csv
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
QUEUES = (
    "account",
    "billing",
    "business",
    "cancellation",
    "complaint",
    "delivery",
    "product",
    "returns",
)
PER_QUEUE = 300
MAX_WORDS = 48

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_ASIDES = (
    "I have been a customer for years.",
    "I hope this is the right address.",
    "I am writing from my phone, sorry for typos.",
    "This is my first time shopping with you.",
    "I could not find the answer on your website.",
    "I have a quick question.",
    "A friend told me to write to you.",
    "Short one today:",
    "My wife asked me to write.",
    "Not sure who to ask.",
)
_SHORT_FORMS = {
    "please": "pls",
    "you": "u",
    "your": "ur",
    "because": "cos",
    "thanks": "thx",
    "though": "tho",
    "tomorrow": "tmrw",
    "are": "r",
}


def expand(pattern: str, slots: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """Turn a pattern of `phrases.toml` into one sentence."""
    while match := _CHOICE.search(pattern):
        chosen = rng.choice(match[1].split("|"))
        pattern = pattern[: match.start()] + chosen + pattern[match.end() :]
    while match := _SLOT.search(pattern):
        name = match[1]
        word = str(rng.randint(10234, 98765)) if name == "number" else rng.choice(slots[name])
        pattern = pattern[: match.start()] + word + pattern[match.end() :]
    text = re.sub(r"\s+", " ", pattern).strip()
    text = re.sub(r"\s+([,.;:?!])", r"\1", text)
    return re.sub(r"\ba ([aeiou])(?!n[ei]\b)", r"an \1", text)


def misspell(text: str, rng: random.Random) -> str:
    """Swap, drop or double one letter inside a longer word."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    at = rng.choice(long)
    word = words[at]
    i = rng.randrange(1, len(word) - 2)
    words[at] = rng.choice((
        word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        word[:i] + word[i + 1 :],
        word[:i] + word[i] + word[i:],
    ))
    return " ".join(words)


def hurried(text: str, rng: random.Random) -> str:
    """Make a text look typed in haste: lower case, short forms, less punctuation."""
    text = text.lower()
    for word, short in _SHORT_FORMS.items():
        if rng.random() < 0.4:
            text = re.sub(rf"\b{word}\b", short, text)
    if rng.random() < 0.5:
        text = re.sub(r"[.,;]", "", text)
    return text


def capitalised(sentence: str) -> str:
    """Return a sentence with a capital and an end mark."""
    sentence = sentence[:1].upper() + sentence[1:]
    return sentence if sentence[-1] in ".?!:" else sentence + "."


def message(core: str, queue: str, phrases: Mapping[str, Any], rng: random.Random) -> str:
    """Write one message around a core sentence."""
    slots = phrases["slots"]
    wanted = expand(core, slots, rng)
    terse = wanted[:1].islower() and core[:1] != "("
    if terse or rng.random() < 0.12:
        return misspell(wanted, rng) if rng.random() < 0.3 else wanted
    parts = [capitalised(wanted)]
    if rng.random() < 0.45:
        parts.insert(rng.choice((0, 1, 1)), expand(rng.choice(phrases[queue]["extra"]), slots, rng))
    if rng.random() < 0.15:
        parts.insert(0, rng.choice(_ASIDES))
    if rng.random() < 0.4:
        parts.insert(0, rng.choice(phrases["greetings"]["text"]))
    if rng.random() < 0.35:
        closing = rng.choice(phrases["closings"]["text"])
        parts.append(expand(closing, {"first": phrases["closings"]["first"]}, rng))
    text = " ".join(parts)
    if rng.random() < 0.22:
        text = misspell(text, rng)
    roll = rng.random()
    if roll < 0.12:
        return hurried(text, rng)
    if roll < 0.14:
        return text.upper()
    if roll < 0.19:
        return text.replace(".", "!", 1)
    return text


def make_rows(seed: int = 11) -> list[tuple[str, str]]:
    """Return (text, queue) rows, shuffled, all texts different."""
    rng = random.Random(seed)
    phrases = tomllib.loads((HERE / "phrases.toml").read_text("utf-8"))
    more = tomllib.loads((HERE / "phrases_more.toml").read_text("utf-8"))
    rows: dict[str, str] = {}
    for queue in QUEUES:
        cores: list[str] = [*phrases[queue]["core"], *more[queue]["core"]]
        made = tried = 0
        while made < PER_QUEUE:
            # By tries, not by rows: a core with few forms must not be asked for ever.
            text = message(cores[tried % len(cores)], queue, phrases, rng)
            tried += 1
            if text not in rows and len(text.split()) <= MAX_WORDS:
                rows[text] = queue
                made += 1
    shuffled = list(rows.items())
    rng.shuffle(shuffled)
    return shuffled


def main() -> None:
    """Write the file beside this script."""
    with (HERE / "messages.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "queue"))
        writer.writerows(make_rows())


if __name__ == "__main__":
    main()
