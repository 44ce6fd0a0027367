"""Copied values in other words, so that an intern learns to copy and not what it has copied.

Rows name few people, places and products, and small models learn them by heart: a name that no row
has is then read as one of those that rows have. So a share of the examples is shown with other
values, in the text and in the answer alike: mention replacement (Dai and Adel 2020, "An Analysis of
Simple Data Augmentation for Named Entity Recognition") with made-up mentions.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from interns.runtime.llama_cpp.copying import is_copied
from training.example import Example
from training.schema import canonical

_KEPT = 0.25  # share of a value's words that stay, so that "The", "Street" and units occur in all
_PIECE = re.compile(r"\d|[^\W\d_]+")
_LONG = 4  # letters; words of at least so many give halves to made-up words


def vary_values(
    examples: Sequence[Example],
    schema: Mapping[str, Any] | None,
    share: float,
    rng: random.Random,
) -> list[Example]:
    """Show a share of the examples with other values in their copied fields.

    Letters become words of the examples or halves of two of them put together, in the same case,
    and digits become digits: *RH2234* may become *LU9051*, *Anna Berg* may become *Lamter Berg*.

    Args:
        examples: Of `extract`, with answers as `training.schema.check_objects` writes them.
        schema: Says which fields are copied (``x-copy``); those that hold texts are varied. Without
            it or them the examples stay as they are.
        share: Of the examples, in [0, 1].
        rng: Decides which examples, and their values.

    Returns:
        As many examples, in the same order. One stays as it is where a value is not in its text,
        could not be copied any more, would be that of another field, or held the value of a field
        that is not varied, such as the number of a house within its address.
    """
    if not share or not schema:
        return list(examples)
    fields = schema["properties"].items()
    copied = [name for name, kind in fields if isinstance(kind, Mapping) and kind.get("x-copy")]
    words = _words(example.text for example in examples)
    return [
        _varied(example, copied, words, rng) if rng.random() < share else example
        for example in examples
    ]


def _varied(
    example: Example, copied: Sequence[str], words: Sequence[str], rng: random.Random
) -> Example:
    answer = json.loads(example.answer)
    named = {name: answer[name] for name in copied if isinstance(answer[name], str)}
    # The longest first: "Indian" within "Raja Indian Cuisine" is part of that name. Not of a set,
    # whose order differs from process to process.
    values = sorted(dict.fromkeys(filter(None, named.values())), key=len, reverse=True)
    if not values:
        return example
    pattern = "|".join(rf"(?<!\w){re.escape(value)}(?!\w)" for value in values)
    others = {value: _other(value, words, rng) for value in values}
    text = re.sub(pattern, lambda found: others[found[0]], example.text)
    varied = {name: others.get(value, "") for name, value in named.items()}
    kept = (str(value) for name, value in answer.items() if name not in named)
    if (
        len(set(others.values())) < len(others)
        or not all(is_copied(value, text) for value in varied.values())
        or any(value in example.text and value not in text for value in kept)
    ):
        return example
    return replace(example, text=text, answer=canonical({**answer, **varied}))


def _other(value: str, words: Sequence[str], rng: random.Random) -> str:
    """A value of the same form: letters for letters, digits for digits, the rest kept."""

    def piece(found: re.Match[str]) -> str:
        old = found[0]
        if old.isdigit():
            return str(rng.randrange(10))
        if len(old) < _LONG and old.isupper():  # codes, initials
            return "".join(chr(rng.randrange(ord("A"), ord("Z") + 1)) for _ in old)
        return old if rng.random() < _KEPT else _cased(_word(words, rng), old)

    return _PIECE.sub(piece, value)


def _word(words: Sequence[str], rng: random.Random) -> str:
    first = rng.choice(words)
    if rng.random() < 0.5:
        return first
    second = rng.choice(words)
    return first[: (len(first) + 1) // 2] + second[len(second) // 2 :]


def _cased(word: str, like: str) -> str:
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word.capitalize() if like[0].isupper() else word


def _words(texts: Iterable[str]) -> list[str]:
    """Different words of the texts in lower case, in order of appearance."""
    found = (piece.lower() for text in texts for piece in _PIECE.findall(text))
    return list(dict.fromkeys(word for word in found if len(word) >= _LONG)) or ["word"]
