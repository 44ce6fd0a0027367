"""The control of an exam: how far one comes on the same rows without a language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from interns.intern import Profile
from interns.skill import Skill
from training import metrics, quotes
from training.dataset import Splits
from training.example import Example

_WORD = r"\w+|[^\w\s]"


@dataclass(frozen=True)
class Control:
    """What came out without a language model.

    Attributes:
        what: What answered instead, in plain words.
        score: By the exam's own metric, in [0, 1].
        interval: 95 % interval of it.
        details: Further figures.
    """

    what: str
    score: float
    interval: tuple[float, float]
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "interval": list(self.interval)}


def control_of(profile: Profile, splits: Splits, validation: Sequence[Example]) -> Control | None:
    """Hold the exam without a language model, where something simple can sit it.

    Args:
        profile: Whose exam.
        splits: What the intern learned from and is examined on.
        validation: What it was calibrated on.

    Returns:
        None for skills whose answers have to be written.
    """
    match profile.skill:
        case Skill.CLASSIFY:
            return _words(splits)
        case Skill.ANSWER:
            marks = quotes.similarity_alone(profile, splits.exam, validation)
            return Control("the most similar sentence", marks.score, marks.interval, marks.details)
        case _:
            return None


def _words(splits: Splits) -> Control:
    """A linear classifier over words and pairs of words.

    The baseline of Wang and Manning (2012, "Baselines and Bigrams"), with scikit-learn's defaults;
    learned from the same rows as the intern.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=_WORD)
    model = make_pipeline(words, LinearSVC(random_state=0))
    model.fit([row.text for row in splits.train], [row.answer for row in splits.train])
    said = model.predict([row.text for row in splits.exam])
    gold = [row.answer for row in splits.exam]
    right = sum(a == b for a, b in zip(gold, said, strict=True))
    return Control(
        "a linear classifier over words",
        metrics.accuracy(gold, list(said)),
        metrics.wilson_interval(right, len(gold)),
    )
