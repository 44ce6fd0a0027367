"""An intern and its versions: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from interns.adapter import Adapter
from interns.completion import EMBEDDED, Sampling
from interns.skill import Skill

# Keskar et al. 2019 (CTRL) found 1.2 to balance truth and loops.
REPEAT_PENALTY = 1.2

State = Literal["probation", "office", "retired"]


@dataclass(frozen=True)
class Blend:
    """How an `answer` intern's judgement and plain similarity make one score.

    Attributes:
        judgement: Weight of the intern's log-odds of "yes", at least 0; at 0 it is not asked.
        similarity: Weight of the cosine of question and sentence, at least 0.
        bias: Added to both.
    """

    judgement: float = 1.0
    similarity: float = 0.0
    bias: float = 0.0

    def log_odds(self, judgement: float, similarity: float) -> float:
        """Log-odds that a sentence answers the question."""
        return self.judgement * judgement + self.similarity * similarity + self.bias


@dataclass(frozen=True)
class Profile:
    """What the prompt and the constraints need to know about an intern.

    Attributes:
        name: Lower-case letters, digits and ``-``, 1 to 40 characters.
        skill: The kind of work.
        role: One sentence that completes the charter, such as "Sort customer messages."
        labels: The label set of a ``classify`` intern, else empty.
        schema: The JSON schema of an ``extract`` intern, else None.
        max_tokens: Upper bound of an answer.
        temperature: Calibration temperature of label probabilities, above 0.
        fitted_with: The runtime it was fitted with; another one computes in other numbers, and
            says how probable a label is but not how sure to be of that.
        threshold: For ``answer``: below this score the intern says *not in the sources*.
        blend: For ``answer``: what its score is made of, fitted on validation rows.
    """

    name: str
    skill: Skill
    role: str
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 128
    temperature: float = 1.0
    fitted_with: str = EMBEDDED
    threshold: float = 0.0
    blend: Blend = Blend()

    @property
    def sampling(self) -> Sampling:
        """How its answers are picked, in exams and in office alike.

        Small models fall into loops in free text; a repeat penalty breaks them.
        """
        free = self.skill is Skill.WRITE
        return Sampling(max_tokens=self.max_tokens, repeat_penalty=REPEAT_PENALTY if free else 1.0)


@dataclass(frozen=True)
class Version:
    """One trained state of an intern; never changed once registered.

    Attributes:
        number: 1, 2, 3 …
        folder: Where its files lie (see `interns.manifest`).
        adapter: The LoRA that serves.
        profile: As trained.
        exam: Content of ``exam.json``.
        verification: Content of ``verification.json``.
        recipe: Content of ``recipe.json``.
        dataset: Content of ``dataset.json``.
        created_at: When it was registered, UTC.
        current: Whether it is in office.
        base_name: What the base it was trained on was called; the adapter has its hash.
    """

    number: int
    folder: Path
    adapter: Adapter
    profile: Profile
    exam: Mapping[str, Any]
    verification: Mapping[str, Any]
    recipe: Mapping[str, Any]
    dataset: Mapping[str, Any]
    created_at: datetime
    current: bool = False
    base_name: str = ""


@dataclass(frozen=True)
class Intern:
    """A named worker with one skill and the version that is in office."""

    name: str
    state: State
    version: Version
    created_at: datetime
    exemplars: tuple[str, ...] = field(default=())

    @property
    def profile(self) -> Profile:
        """The profile of the version in office."""
        return self.version.profile
