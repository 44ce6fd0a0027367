"""One thing to learn: a text and the answer a good intern gives."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_NOT_WORDS = re.compile(r"[\W_]+", re.UNICODE)


@dataclass(frozen=True)
class Example:
    """One row of the data, cleaned.

    Attributes:
        text: What the intern is given, never blank.
        answer: What it should say; blank only for `answer` interns (not in the sources).
        row: Line (CSV, JSONL) or item number (JSON) in the file it came from, from 1.
        passages: For `answer` interns: the retrieved passages, best first.
    """

    text: str
    answer: str
    row: int
    passages: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """Rows with the same group never lie in different splits."""
        return group_key(self.text)


def group_key(text: str) -> str:
    """Fold a text so that case, accents' encoding, spaces and punctuation do not count."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = _NOT_WORDS.sub(" ", folded).strip()
    return words or folded.strip()
