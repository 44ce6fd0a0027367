"""Grammar rules for text that may only be copied from a source.

The source is cut into words. A copied text is a run of neighbouring words joined by one blank;
punctuation around the run may be left out: from *call (Anna Berg), please* both *Anna Berg* and
*(Anna Berg),* can be copied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

_WORD = re.compile(
    r"""(?P<lead>[(\[{<"'“‘«*]*)(?P<core>.*?)(?P<trail>(?:['’]s)?[.,;:!?)\]}>"'”’»*]*)$""",
    re.DOTALL,
)
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,6})?(?![\w]|\.\d)")


@dataclass(frozen=True)
class Word:
    """A word and the punctuation around it; together they are the word as written."""

    lead: str
    core: str
    trail: str


def words_of(source: str) -> list[Word]:
    """The words of a text, in order."""
    words = []
    for written in source.split():
        found = _WORD.match(written)
        if found is None or not found["core"]:
            words.append(Word("", written, ""))
        else:
            words.append(Word(found["lead"], found["core"], found["trail"]))
    return words


def numbers_of(source: str, *, whole: bool) -> list[str]:
    """Different numbers of a text as JSON numbers, in order of appearance."""
    found = dict.fromkeys(match for match in _NUMBER.findall(source) if _is_json(match))
    return [number for number in found if not (whole and "." in number)]


def copy_rules(source: str, literal: Callable[[str], str]) -> dict[str, str]:
    """GBNF rules; ``copy`` is a JSON string that holds a run of words of `source`, or nothing.

    Args:
        source: The text to copy from.
        literal: Writes a GBNF string literal.
    """
    words = words_of(source)
    if not words:
        return {"copy": literal('""')}
    starts = " | ".join(f"s{i}" for i in range(len(words)))
    rules = {"copy": f"{literal(chr(34))} ({starts})? {literal(chr(34))}"}
    for i, word in enumerate(words):
        whole = f"{literal(_inside(word.lead + word.core))} e{i}"
        rules[f"s{i}"] = f"{literal(_inside(word.core))} e{i} | {whole}" if word.lead else whole
        rules[f"m{i}"] = whole
        following = f'(" " m{i + 1})?' if i + 1 < len(words) else '""'
        rules[f"e{i}"] = (
            f"({literal(_inside(word.trail))} {following})?" if word.trail else following
        )
    return rules


def is_copied(value: str, source: str) -> bool:
    """Whether `value` is what `copy_rules` allows: empty, or a run of words of `source`."""
    if not value:
        return True
    words = words_of(source)
    for start in range(len(words)):
        for first in {words[start].core, words[start].lead + words[start].core}:
            text = first
            for i in range(start, len(words)):
                if value in (text, text + words[i].trail):
                    return True
                if not value.startswith(text) or i + 1 == len(words):
                    break
                text += words[i].trail + " " + words[i + 1].lead + words[i + 1].core
    return False


def _inside(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _is_json(number: str) -> bool:
    digits = number.removeprefix("-").split(".")[0]
    return digits == "0" or not digits.startswith("0")
