"""The exam: held-out rows answered through llama.cpp, intern against base+prompt.

Both sides answer under the same constraint: labels are scored, objects are held to the schema,
quotes are sentences that exist. The base gets a prompt that spells out what to do.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from interns.adapter import Adapter
from interns.charter import Charter
from interns.completion import CompletionRequest
from interns.intern import Profile
from interns.prompt import baseline_messages, task_messages
from interns.runtime.port import Runtime
from interns.skill import Skill
from training import exams
from training.candidates import labelled_candidates
from training.control import control_of
from training.dataset import Splits
from training.evaluation import Exam
from training.example import Example
from training.exams import Candidate, Marks
from training.recipe import Recipe

Report = Callable[[str, int, int], None]

# Never shown in training: does the intern stay right when the organisation's mission changes?
STRANGE_MISSION = "We restore old wooden boats and teach others how to do it."


@dataclass(frozen=True)
class Examiner:
    """Who holds the exam, and with what.

    Attributes:
        runtime: The engine that will serve.
        adapter: The exported adapter.
        charter: The mission in force.
        recipe: Sizes and the pass mark.
        report: Called with what is being done, rows done and rows in all.
    """

    runtime: Runtime
    adapter: Adapter
    charter: Charter
    recipe: Recipe
    report: Report

    def calibrate(self, profile: Profile, validation: Sequence[Example]) -> Profile:
        """Fit what a profile holds besides the adapter: temperature, or blend and threshold.

        Args:
            profile: As trained.
            validation: Rows that are neither learned from nor examined.
        """
        return self._calibrated(self.intern(profile), validation)

    def examine(self, profile: Profile, splits: Splits) -> Exam:
        """Hold the exam: the intern's, base+prompt's, and the control's without a model.

        Args:
            profile: Calibrated.
            splits: The exam's rows, and those that the base's own threshold and the control are
                fitted on, so that they are not cheated.
        """
        rows = splits.exam
        intern = self._sit("exam", self.intern(profile), rows)
        sample = list(rows)
        if len(rows) > self.recipe.baseline_rows:
            sample = random.Random(self.recipe.seed).sample(sample, self.recipe.baseline_rows)
        base = self._baseline(profile)
        if profile.skill is Skill.ANSWER:
            base = replace(base, profile=self._calibrated(base, splits.validation))
        baseline = self._sit("base and prompt", base, sample)
        details = dict(intern.details)
        if control := control_of(profile, splits, self._calibration(splits.validation)):
            details["control"] = control.to_dict()
        if profile.skill is Skill.CLASSIFY:
            strange = replace(self.intern(profile), charter=Charter(STRANGE_MISSION))
            marks = self._sit("another mission", strange, rows[:60])
            details["accuracy_under_another_mission"] = marks.score
        return Exam(
            metric=intern.metric,
            score=intern.score,
            baseline=baseline.score,
            examples=len(rows),
            baseline_examples=len(sample),
            interval=intern.interval,
            pass_mark=self.recipe.pass_mark,
            passed=intern.score > baseline.score and intern.score >= self.recipe.pass_mark,
            ece=intern.ece,
            ece_before=intern.ece_before,
            details=details,
        )

    def stop_rate(self, profile: Profile, rows: Sequence[Example]) -> float:
        """Share of free answers, without constraint, that end with the stop token.

        Args:
            profile: Its own `max_tokens` bounds the answers.
            rows: Of `stop_sample`.
        """

        def ends(example: Example) -> bool:
            passages = tuple(line for line, _ in labelled_candidates(example)[:1])
            request = CompletionRequest(
                task_messages(profile, example.text, charter=self.charter, passages=passages),
                self.adapter,
                profile.sampling,
            )
            return self.runtime.complete(request).finish_reason == "stop"

        # One after the other: in a batch a near tie may fall otherwise, and this gates.
        ended = 0
        for done, row in enumerate(rows, start=1):
            ended += ends(row)
            self.report("answers without constraint", done, len(rows))
        return ended / max(1, len(rows))

    def stop_sample(self, profile: Profile, exam: Sequence[Example]) -> Sequence[Example]:
        """The exam's rows whose prompts are answered freely."""
        every = profile.skill in {Skill.WRITE, Skill.EXTRACT}
        return exam if every else exam[: self.recipe.stop_rows]

    def intern(self, profile: Profile) -> Candidate:
        """The intern as a candidate in the exam."""
        return Candidate(self.runtime, profile, self.adapter, self.charter, task_messages)

    def _baseline(self, profile: Profile) -> Candidate:
        return Candidate(self.runtime, profile, None, self.charter, baseline_messages)

    def _calibrated(self, candidate: Candidate, validation: Sequence[Example]) -> Profile:
        profile = candidate.profile
        if profile.skill not in {Skill.CLASSIFY, Skill.ANSWER}:
            return profile
        rows = self._calibration(validation)
        marks = self._sit("calibration", replace(candidate, tail=0.0), rows)
        return exams.calibrated(profile, marks, rows)

    def _calibration(self, validation: Sequence[Example]) -> Sequence[Example]:
        return validation[: self.recipe.validation_rows]

    def _sit(self, what: str, candidate: Candidate, rows: Sequence[Example]) -> Marks:
        def report(done: int, total: int) -> None:
            self.report(what, done, total)

        return exams.sit(candidate, rows, report)


def exemplars(train: Sequence[Example], limit: int = 64) -> list[str]:
    """Typical inputs for the router: every label in turn, short ones first to be drawn."""
    by_answer: dict[str, list[str]] = {}
    rng = random.Random(0)
    for example in rng.sample(list(train), len(train)):
        key = example.answer if len(example.answer) <= 60 else ""
        by_answer.setdefault(key, []).append(example.text[:400])
    chosen: list[str] = []
    while len(chosen) < limit and any(by_answer.values()):
        for texts in by_answer.values():
            if texts and len(chosen) < limit:
                chosen.append(texts.pop())
    return chosen
