"""How an `answer` intern answers: it quotes the sentence that answers, or nothing.

The candidates are the sentences of the passages, so a quote always exists word for word. The
intern judges each one by itself: *does this sentence answer the question?* Where the caller knows
how similar question and sentence are, the intern is told so in its prompt, as a rank and a match
from 0 to 9. On the starter this is still worse than similarity alone (`docs/lab-log.md`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from interns.adapter import Adapter
from interns.charter import Charter
from interns.errors import InvalidInput
from interns.intern import Profile
from interns.prompt import task_messages
from interns.runtime.port import Runtime

YES, NO = "yes", "no"

# With a prior, only this many candidates are judged by the model: the most similar ones.
JUDGED = 12
MIN_WORDS = 3
MAX_CHARACTERS = 400

_BREAK = re.compile(
    r"""
      \n\s*\n                       # a blank line
    | \n(?=\s*(?:[-*+]|\d+[.)])\s)  # the next item of a list
    | \n(?=\s*(?:\#|\||```))        # a heading, a row of a table, a fence
    | (?<=[.!?])["'”’)\]*_]*\s+(?=["'“‘(\[*_]*[A-Z0-9À-Þ]|`)
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Prof|No|vs|cf|e\.g|i\.e|etc)|\b[A-Z])\.$")
_MARK = re.compile(r"\s*(?:[-*+]\s+|\d+[.)]\s+|>\s+|\|\s*)?")
_HEADING = re.compile(r"\s*(?:#{1,6}\s|```|\|?[\s:|-]*$)")


@dataclass(frozen=True)
class Candidate:
    """A sentence that may be quoted.

    Attributes:
        n: Which passage it stands in, from 1.
        start: Offset of its first character in that passage.
        end: Offset after its last character.
        text: Exactly the characters from `start` to `end`.
    """

    n: int
    start: int
    end: int
    text: str

    @property
    def line(self) -> str:
        """The text on one line, as the intern is shown it."""
        return " ".join(self.text.split())


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        quote: The sentence that answers, or an empty string: not in the sources.
        n: Which passage the best sentence stands in, from 1; 0 when there is none.
        start: Offset of the best sentence in that passage.
        end: Offset after it.
        score: How sure the intern is that the best sentence answers, in [0, 1].
    """

    quote: str
    n: int
    start: int
    end: int
    score: float


def split_candidates(passages: Sequence[str]) -> list[Candidate]:
    """Return the sentences, list items and table rows of the passages, in order.

    Headings, rules and bits of fewer than three words are no answers and are left out.
    """
    found = []
    for n, passage in enumerate(passages, start=1):
        for start, end in _sentences(passage):
            text = passage[start:end]
            if len(re.findall(r"\w+", text)) >= MIN_WORDS:
                found.append(Candidate(n, start, end, text))
    return found


def choose_span(  # noqa: PLR0917 - one call, used by serving and by the exam
    runtime: Runtime,
    profile: Profile,
    adapter: Adapter | None,
    question: str,
    passages: Sequence[str],
    charter: Charter,
    prior: Sequence[float] | None = None,
) -> Answer:
    """Find the sentence that answers a question, if one does.

    Args:
        runtime: The model.
        profile: Of the intern; its `threshold` decides between a quote and *not in the sources*.
        adapter: Of the intern, or None for the bare base.
        question: What was asked.
        passages: Where quotes may come from, best first.
        charter: The mission in force.
        prior: Similarity of the question and each candidate, in the order of
            `split_candidates(passages)`, cosine in [-1, 1]; None when there is none.

    Raises:
        InvalidInput: There are more or fewer prior values than candidates.
    """
    candidates = split_candidates(passages)
    if prior is not None and len(prior) != len(candidates):
        raise InvalidInput(
            f"{len(candidates)} candidates need as many prior values, but there are {len(prior)}."
        )
    lines = [candidate.line for candidate in candidates]
    best: tuple[float, Candidate] | None = None
    for i, shown in judged(lines, prior):
        odds = judge(runtime, profile, adapter, question, shown, charter=charter)
        if best is None or odds > best[0]:  # of equals the most similar one, which comes first
            best = (odds, candidates[i])
    if best is None:
        return Answer("", 0, 0, 0, 0.0)
    score, found = _logistic(best[0]), best[1]
    quote = found.text if score >= profile.threshold else ""
    return Answer(quote, found.n, found.start, found.end, score)


def judged(lines: Sequence[str], similarities: Sequence[float] | None) -> list[tuple[int, str]]:
    """Return which candidates the intern is shown, and how, the most similar first.

    Args:
        lines: All candidates on one line each.
        similarities: Cosine of the question and each candidate in [-1, 1], or None.

    Returns:
        Index into `lines` and the text to show; at most `JUDGED` when similarities are known.
    """
    if similarities is None:
        return list(enumerate(lines))
    order = sorted(range(len(lines)), key=lambda i: -similarities[i])[:JUDGED]
    return [
        (i, f"{lines[i]}\nRank: {rank} Match: {max(0, min(9, int(similarities[i] * 10)))}")
        for rank, i in enumerate(order, start=1)
    ]


def judge(
    runtime: Runtime,
    profile: Profile,
    adapter: Adapter | None,
    question: str,
    sentence: str,
    *,
    charter: Charter,
) -> float:
    """Return the log-odds of "yes" when the intern is shown one sentence."""
    messages = task_messages(profile, question, charter=charter, passages=(sentence,))
    scores = runtime.score_choices(messages, (YES, NO), adapter=adapter)
    return (scores.logprobs[0] - scores.logprobs[1]) / profile.temperature


def _logistic(value: float) -> float:
    value = max(-60.0, min(60.0, value))
    return 1.0 / (1.0 + math.exp(-value))


def _sentences(passage: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for match in _BREAK.finditer(passage):
        before = passage[start : match.start()].rstrip()
        if _ABBREVIATION.search(before) and "\n\n" not in match[0]:
            continue
        spans.append((start, match.end()))
        start = match.end()
    spans.append((start, len(passage)))
    trimmed = (_trim(passage, first, last) for first, last in spans)
    return [part for span in trimmed if span for part in _shorten(passage, *span)]


def _trim(passage: str, start: int, end: int) -> tuple[int, int] | None:
    """Leave out list marks and blanks at both ends; None for headings and rules."""
    text = passage[start:end]
    if _HEADING.match(text):
        newline = text.lstrip().find("\n")
        if newline < 0 or not text.lstrip().startswith(("#", "```")):
            return None
        start += len(text) - len(text.lstrip()) + newline + 1
        return _trim(passage, start, end)
    mark = _MARK.match(text)
    start += mark.end() if mark else 0
    end = start + len(passage[start:end].rstrip(" \t\r\n|" if "|" in text else None))
    return (start, end) if end > start else None


def _shorten(passage: str, start: int, end: int) -> list[tuple[int, int]]:
    """Cut what is too long to judge at semicolons, commas or blanks."""
    parts = []
    while end - start > MAX_CHARACTERS:
        window = passage[start : start + MAX_CHARACTERS]
        cut = window.rfind("; ") + 1
        if cut < MAX_CHARACTERS // 3:
            cut = max(window.rfind(", ") + 1, window.rfind("\n"))
        if cut < MAX_CHARACTERS // 3:
            cut = window.rfind(" ")
        cut = cut if cut > 0 else MAX_CHARACTERS
        parts.append((start, start + len(window[:cut].rstrip())))
        start += cut
        start += len(passage[start:end]) - len(passage[start:end].lstrip())
    return [*parts, (start, end)] if end > start else parts
