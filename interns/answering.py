"""How an `answer` intern answers: it quotes the sentence that answers, or nothing.

The candidates are the sentences of the passages, so a quote always exists word for word. The
intern judges each one by itself: *does this sentence answer the question?* Its judgement and the
similarity of question and sentence are blended by weights that onboarding fits on held-out rows,
so that an intern on a base that cannot read leaves the choice to the similarity.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from interns.adapter import Adapter
from interns.charter import Charter
from interns.errors import InvalidInput, Unavailable
from interns.intern import Profile
from interns.prompt import task_messages
from interns.runtime.port import Runtime

YES, NO = "yes", "no"

# Where similarities are known, only this many candidates are judged: the most similar ones.
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
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001))))  # the last one is U+3000
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


@dataclass(frozen=True)
class Weighed:
    """A candidate and what speaks for it.

    Attributes:
        candidate: The sentence.
        judgement: The intern's log-odds that it answers; 0 when the intern was not asked.
        similarity: Cosine of question and sentence in [-1, 1]; 0 when it is not known.
    """

    candidate: Candidate
    judgement: float
    similarity: float


@dataclass(frozen=True)
class Judge:
    """Who judges sentences: an intern, or the base with a prompt.

    Attributes:
        runtime: The model.
        profile: Of the intern; its `blend` and `threshold` decide.
        adapter: Of the intern, or None for the bare base.
        charter: The mission in force.
        cancel: Set it to end the judging within one step, with `Unavailable`.
        deadline_s: Seconds for all sentences together, after which it ends likewise.
    """

    runtime: Runtime
    profile: Profile
    adapter: Adapter | None
    charter: Charter
    cancel: threading.Event | None = None
    deadline_s: float | None = None

    def log_odds(self, question: str, sentence: str, *, spent_s: float = 0.0) -> float:
        """Log-odds of "yes" when shown one sentence, `spent_s` seconds after the first."""
        if self.deadline_s is not None and 0 < self.deadline_s <= spent_s:
            raise Unavailable(
                "The deadline passed before all sentences were judged.", "Raise deadline_s."
            )
        messages = task_messages(self.profile, question, charter=self.charter, passages=(sentence,))
        scores = self.runtime.score_choices(
            messages,
            (YES, NO),
            adapter=self.adapter,
            cancel=self.cancel,
            deadline_s=None if self.deadline_s is None else self.deadline_s - spent_s,
        )
        return scores.logprobs[0] - scores.logprobs[1]

    def weigh(
        self, question: str, passages: Sequence[str], similarities: Sequence[float] | None = None
    ) -> list[Weighed]:
        """Judge the sentences of the passages.

        Args:
            question: What was asked.
            passages: Where quotes may come from, best first.
            similarities: Cosine of the question and each candidate, in the order of
                `split_candidates(passages)`; None when they are not known.

        Returns:
            The most similar sentences first, at most `JUDGED` when similarities are known.

        Raises:
            InvalidInput: There are more or fewer similarities than candidates.
            Unavailable: It was cancelled, or the deadline passed.
        """
        candidates = split_candidates(passages)
        if similarities is not None and len(similarities) != len(candidates):
            raise InvalidInput(
                f"{len(candidates)} candidates need as many similarities, "
                f"but there are {len(similarities)}.",
                "Give one similarity for each of split_candidates(passages).",
            )
        started = time.monotonic()
        asked = self.profile.blend.judgement > 0
        return [
            Weighed(
                candidates[i],
                self.log_odds(question, candidates[i].line, spent_s=time.monotonic() - started)
                if asked
                else 0.0,
                similarities[i] if similarities is not None else 0.0,
            )
            for i in shortlist(len(candidates), similarities)
        ]

    def answer(
        self, question: str, passages: Sequence[str], similarities: Sequence[float] | None = None
    ) -> Answer:
        """Find the sentence that answers a question, if one does; arguments as for `weigh`."""
        return choose(self.weigh(question, passages, similarities), self.profile)


def choose(weighed: Sequence[Weighed], profile: Profile) -> Answer:
    """Quote the sentence with the best score, or nothing when it is below the threshold.

    Args:
        weighed: The candidates; of equals the first is taken.
        profile: Of the intern; its `blend` makes the scores.
    """
    if not weighed:
        return Answer("", 0, 0, 0, 0.0)
    blend = profile.blend
    odds = [blend.log_odds(each.judgement, each.similarity) for each in weighed]
    best = max(range(len(odds)), key=odds.__getitem__)
    score, found = _logistic(odds[best]), weighed[best].candidate
    quote = found.text if score >= profile.threshold else ""
    return Answer(quote, found.n, found.start, found.end, score)


def shortlist(count: int, similarities: Sequence[float] | None) -> list[int]:
    """Return which of `count` candidates are judged: the most similar first, at most `JUDGED`.

    Without similarities all are, in their order.
    """
    if similarities is None:
        return list(range(count))
    return sorted(range(count), key=lambda i: -similarities[i])[:JUDGED]


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
    end = start + len(passage[start:end].rstrip(_BLANKS + "|" if "|" in text else _BLANKS))
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
