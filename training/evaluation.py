"""What an exam and a verification found: plain values as they are written to JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Exam:
    """The result of the held-out exam.

    Attributes:
        metric: ``accuracy``, ``field_f1``, ``quote_f1`` or ``rouge_l``.
        score: The intern's, in [0, 1].
        baseline: Base+prompt's on the same rows, under the same constraint, in [0, 1].
        examples: Exam rows of the intern.
        baseline_examples: Exam rows of the baseline.
        interval: 95 % interval of the score.
        pass_mark: The lowest score that passes besides beating the baseline.
        passed: Whether it takes office.
        ece: Expected calibration error of label probabilities, None where there are none.
        ece_before: The same without the temperature, which validation rows chose.
        details: Further figures, by skill.
    """

    metric: str
    score: float
    baseline: float
    examples: int
    baseline_examples: int
    interval: tuple[float, float]
    pass_mark: float
    passed: bool
    ece: float | None = None
    ece_before: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `n` repeats `examples` for the command line's contract."""
        values = dataclasses.asdict(self)
        values["interval"] = list(self.interval)
        values["n"] = self.examples
        return values


@dataclass(frozen=True)
class Verification:
    """How well llama.cpp with the exported adapter agrees with torch.

    Attributes:
        prompts: Prompts compared.
        positions: Next-token distributions compared.
        token_ids_equal: Prompts whose token ids are equal on both sides.
        token_mismatches: Prompts whose are not.
        top1_agreement: Share of the answers' positions, where an intern chooses, with the same
            most probable token.
        top1_everywhere: Share of all positions, the prompts' own texts included.
        top1_decided: The same where torch's first token leads its second by `margin`; this gates.
        decided: Share of positions where it does.
        margin: In nats; what it is and why is in `training.agreement`.
        mean_kl: Mean KL divergence torch → llama.cpp, nats.
        max_kl: Largest.
        stop_rate: Share of free answers to exam prompts that ended with the stop token.
        stop_prompts: How many were asked.
        bounds: What had to hold: ``top1_decided`` and ``stop_rate`` at least, ``mean_kl`` at most.
        passed: Whether it does, and all token ids are equal.
        backend: How llama.cpp describes what it computed on; empty in older files, as are the others.
        gpu_layers: Layers on the GPU, -1 for all.
        threads: CPU threads that wrote.
        exact: Whether keys, values and attention had 32 bits.
        looser: The project's own bounds where the recipe's are looser (`interns.gate`); None in older
            files.
    """

    prompts: int
    positions: int
    token_ids_equal: int
    token_mismatches: int
    top1_agreement: float
    top1_everywhere: float
    top1_decided: float
    decided: float
    margin: float
    mean_kl: float
    max_kl: float
    stop_rate: float
    stop_prompts: int
    bounds: dict[str, float]
    passed: bool
    backend: str = ""
    gpu_layers: int = 0
    threads: int = 0
    exact: bool = False
    looser: dict[str, float] | None = None

    @property
    def agrees(self) -> bool:
        """Whether both sides compute alike; `passed` asks besides that answers end."""
        return (
            self.token_mismatches == 0
            and self.top1_decided >= self.bounds["top1_decided"]
            and self.mean_kl <= self.bounds["mean_kl"]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)
