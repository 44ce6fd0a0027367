"""Interview questions: which rows may be read, and which are kept for the exam of an intern.

`examples/interviewer/make_rows.py` makes the exam by the same rule, so no base that is prepared
here has seen what the intern `interviewer` is examined on.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

LICENCES = ("MIT", "CC BY 4.0")
EXAM_SHARE = 0.1

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?(?:details|summary|p|b|i|em|strong|br|div|a|sup|sub)\b[^>]*>", re.I)
_MARKS = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=\w)[*_](?!\w)")


def plain(text: str) -> str:
    """Take Markdown and tags off a line of text."""
    text = _TAG.sub(" ", _LINK.sub(r"\1", text))
    return " ".join(_MARKS.sub("", text).split())


def in_exam(question: str) -> bool:
    """Whether a question, already `plain`, is held out; its text alone decides."""
    digest = hashlib.sha256(question.casefold().encode()).digest()
    return digest[0] < 256 * EXAM_SHARE


def may_be_read(row: Mapping[str, str]) -> bool:
    """Whether a base may learn from a row: its licence allows it and no exam asks it."""
    return row["licence"] in LICENCES and not in_exam(plain(row["prompt"]))


def licences(rows: Iterable[Mapping[str, str]]) -> str:
    """The licences of rows with the number of rows of each."""
    counts = Counter(row["licence"] for row in rows)
    return ", ".join(f"{licence} ({count} rows)" for licence, count in sorted(counts.items()))
