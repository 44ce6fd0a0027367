"""How each skill is examined: what is asked, what counts, how sure it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from interns.adapter import Adapter
from interns.answering import Judge, Weighed
from interns.charter import Charter
from interns.completion import LABEL_TAIL, CompletionRequest, Constraint, JsonSchema, Message
from interns.intern import Blend, Profile
from interns.runtime.port import Runtime
from interns.skill import Skill
from training import metrics, quotes
from training.candidates import similarities
from training.example import Example

_JUDGE = "Does the passage answer the question? Answer yes or no."
_WORKERS = 8  # requests in flight; the engine batches those of one adapter


class _Prompter(Protocol):
    def __call__(
        self, profile: Profile, text: str, *, charter: Charter, passages: Sequence[str] = ()
    ) -> tuple[Message, ...]: ...


@dataclass(frozen=True)
class Candidate:
    """Who sits the exam: the intern, or the bare base with a prompt that explains the task.

    Attributes:
        runtime: The engine that will serve.
        profile: Labels, schema, bounds.
        adapter: The intern's, or None for the base.
        charter: The mission in force.
        messages: How a task becomes a prompt.
        tail: As for `Runtime.score_choices`; as in office, but 0 to calibrate.
    """

    runtime: Runtime
    profile: Profile
    adapter: Adapter | None
    charter: Charter
    messages: _Prompter
    tail: float = LABEL_TAIL

    def prompt(self, text: str) -> tuple[Message, ...]:
        """The messages of one task."""
        return self.messages(self.profile, text, charter=self.charter)


@dataclass(frozen=True)
class Marks:
    """What came out for one candidate.

    Attributes:
        metric: Name of the score.
        score: In [0, 1].
        interval: 95 % interval of it.
        ece: Expected calibration error, None where nothing is calibrated.
        ece_before: The same at a temperature of 1.
        details: Further figures.
        raw: What `calibrated` needs: label log-probabilities or judged candidates.
    """

    metric: str
    score: float
    interval: tuple[float, float]
    ece: float | None = None
    ece_before: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    raw: Any = None


Step = Callable[[int, int], None]


def sit(candidate: Candidate, rows: Sequence[Example], step: Step) -> Marks:
    """Let a candidate answer all rows and mark the answers.

    Args:
        candidate: Who.
        rows: What.
        step: Called with rows done and rows in all.
    """
    match candidate.profile.skill:
        case Skill.CLASSIFY:
            return _classify(candidate, rows, step)
        case Skill.EXTRACT:
            return _extract(candidate, rows, step)
        case Skill.ANSWER:
            return _answer(candidate, rows, step)
        case Skill.WRITE:
            return _write(candidate, rows, step)


def calibrated(profile: Profile, marks: Marks, rows: Sequence[Example]) -> Profile:
    """Fit the temperature of label probabilities, or what quotes are chosen by."""
    if not rows:
        return profile
    if profile.skill is Skill.CLASSIFY:
        gold = [profile.labels.index(row.answer) for row in rows]
        return replace(profile, temperature=metrics.fit_temperature(marks.raw, gold))
    if profile.skill is Skill.ANSWER:
        return quotes.fitted(profile, marks.raw, rows)
    return profile


def _classify(candidate: Candidate, rows: Sequence[Example], step: Step) -> Marks:
    profile = candidate.profile
    said, sure, sure_before, logprobs = [], [], [], []
    for done, row in enumerate(rows, start=1):
        scores = candidate.runtime.score_choices(
            candidate.prompt(row.text),
            profile.labels,
            adapter=candidate.adapter,
            temperature=profile.temperature,
            tail=candidate.tail,
        )
        said.append(scores.best)
        sure.append(max(scores.probabilities))
        sure_before.append(max(scores.at(1.0).probabilities))
        logprobs.append(scores.logprobs)
        step(done, len(rows))
    gold = [row.answer for row in rows]
    right = [a == b for a, b in zip(gold, said, strict=True)]
    return Marks(
        "accuracy",
        metrics.accuracy(gold, said),
        metrics.wilson_interval(sum(right), len(rows)),
        metrics.expected_calibration_error(sure, right),
        metrics.expected_calibration_error(sure_before, right),
        {
            "macro_f1": metrics.macro_f1(gold, said),
            "labels": metrics.per_label(gold, said),
            "confusions": [list(item) for item in metrics.confusions(gold, said)],
            "temperature": profile.temperature,
        },
        np.asarray(logprobs),
    )


def _extract(candidate: Candidate, rows: Sequence[Example], step: Step) -> Marks:
    schema = candidate.profile.schema or {}
    answers = _complete_all(
        candidate, rows, step, constraint=lambda row: JsonSchema(schema, source=row.text)
    )
    pairs = [
        (json.loads(row.answer), _object(said)) for row, said in zip(rows, answers, strict=True)
    ]
    counts = np.array([metrics.field_counts(gold, said) for gold, said in pairs])
    fields = {name: _field_accuracy(name, pairs) for name in schema.get("properties", {})}
    return Marks(
        "field_f1",
        metrics.f1_from_counts(*map(int, counts.sum(axis=0))),
        _counts_interval(counts),
        details={
            "exact_objects": sum(not _differs(gold, said) for gold, said in pairs) / len(pairs),
            "fields": fields,
            "valid_json": sum(bool(said) for _, said in pairs) / len(pairs),
            "token_f1": float(np.mean([metrics.token_f1(_texts(g), _texts(s)) for g, s in pairs])),
        },
    )


def _answer(candidate: Candidate, rows: Sequence[Example], step: Step) -> Marks:
    weighed = []
    for done, row in enumerate(rows, start=1):
        weighed.append(_weigh(candidate, row))
        step(done, len(rows))
    marks = quotes.mark(weighed, rows, candidate.profile)
    return Marks("quote_f1", marks.score, marks.interval, details=marks.details, raw=weighed)


def _write(candidate: Candidate, rows: Sequence[Example], step: Step) -> Marks:
    answers = _complete_all(candidate, rows, step, constraint=lambda _: None)
    scores = [metrics.rouge_l(row.answer, said) for row, said in zip(rows, answers, strict=True)]
    return Marks(
        "rouge_l",
        sum(scores) / max(1, len(scores)),
        metrics.bootstrap_interval(scores),
        details={
            "token_f1": sum(
                metrics.token_f1(row.answer, said) for row, said in zip(rows, answers, strict=True)
            )
            / max(1, len(rows)),
            "samples": [
                {"text": row.text[:300], "right": row.answer[:300], "said": said[:300]}
                for row, said in list(zip(rows, answers, strict=True))[:3]
            ],
        },
    )


def _complete_all(
    candidate: Candidate,
    rows: Sequence[Example],
    step: Step,
    *,
    constraint: Callable[[Example], Constraint | None],
) -> list[str]:
    def one(row: Example) -> str:
        request = CompletionRequest(
            candidate.prompt(row.text),
            candidate.adapter,
            candidate.profile.sampling,
            constraint(row),
        )
        return candidate.runtime.complete(request).text

    answers = []
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done, text in enumerate(pool.map(one, rows), start=1):
            answers.append(text)
            step(done, len(rows))
    return answers


def _weigh(candidate: Candidate, row: Example) -> list[Weighed]:
    """Judge the candidates of a row; the base has its judgement only, as a prompt alone would."""
    profile = candidate.profile
    if candidate.adapter is None:
        role = f"{profile.role} {_JUDGE}"  # the base is told what the intern has learned
        profile = replace(profile, role=role, blend=Blend())
    judge = Judge(candidate.runtime, profile, candidate.adapter, candidate.charter)
    weighed = judge.weigh(row.text, row.passages, similarities(row))
    if candidate.adapter is None:
        return [replace(each, similarity=0.0) for each in weighed]
    return weighed


def _texts(value: Mapping[str, Any]) -> str:
    """All values as one text."""
    return " ".join(str(each) for each in value.values() if each is not None)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:  # cut off at the longest answer
        return {}
    return value if isinstance(value, dict) else {}


def _differs(gold: dict[str, Any], said: dict[str, Any]) -> bool:
    right, expected, given = metrics.field_counts(gold, said)
    return not right == expected == given


def _field_accuracy(name: str, pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> float:
    equal = [not _differs({name: a.get(name)}, {name: b.get(name)}) for a, b in pairs]
    return sum(equal) / len(equal)


def _counts_interval(counts: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(counts), size=(1000, len(counts)))
    sums = counts[draws].sum(axis=1)
    scores = [metrics.f1_from_counts(*map(int, row)) for row in sums]
    low, high = np.quantile(scores, [0.025, 0.975])
    return float(low), float(high)
