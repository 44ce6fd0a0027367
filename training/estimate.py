"""What a run will take, guessed before it starts."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from interns.base_model import BaseModelRef
from interns.skill import Skill
from training.dataset import Splits
from training.recipe import Recipe

# Measured on two idle cores with the starter of 30.7 M (33 MB of Q8_0) and `triage`: 386 s of tuning
# for 790,000 tokens as they are counted here. Time grows with the base's size, and memory less so.
_TOKENS_PER_S = 2050.0
_STARTER_BYTES = 33.0e6
_FIXED_S = 15.0  # imports, loading, export, verification
_ANSWERS_PER_S = 25.0  # exam rows, both candidates
_MIB_PER_TOKEN = 1.5  # of a batch: 3.9 GiB were seen with 2,048
_PROMPT_TOKENS = 28  # template, mission and role


@dataclass(frozen=True)
class Estimate:
    """Tokens, seconds and memory of a run, roughly."""

    tokens_per_pass: int
    passes: int
    tune_s: float
    exam_s: float
    total_s: float
    memory_mib: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def estimate(splits: Splits, skill: Skill, recipe: Recipe, base: BaseModelRef) -> Estimate:
    """Guess from a sample of the texts and the size of the base."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base.tokenizer / "tokenizer.json"))
    sample = random.Random(0).sample(splits.train, min(200, len(splits.train)))
    counted = sum(
        len(tokenizer.encode(e.text).ids) + len(tokenizer.encode(e.answer).ids) for e in sample
    )
    per_row = counted / len(sample) + _PROMPT_TOKENS
    shown = recipe.negatives + 1 if skill is Skill.ANSWER else 1
    tokens = round(per_row * len(splits.train) * shown)
    size = base.gguf.stat().st_size / _STARTER_BYTES
    passes = recipe.passes(len(splits.train))
    tune_s = tokens * passes * size / _TOKENS_PER_S
    exam_s = (len(splits.exam) + len(splits.validation)) * 2 * size / _ANSWERS_PER_S
    return Estimate(
        tokens_per_pass=tokens,
        passes=passes,
        tune_s=round(tune_s, 1),
        exam_s=round(exam_s, 1),
        total_s=round(tune_s + exam_s + _FIXED_S, 1),
        memory_mib=round(500 + 320 * size + recipe.batch_tokens * _MIB_PER_TOKEN * size**0.7),
    )
