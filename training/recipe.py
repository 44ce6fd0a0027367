"""How an intern is trained: every number that changes the outcome, as plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interns.errors import InvalidInput
from interns.gate import STOP_RATE
from interns.skill import Skill

GENERIC_MISSIONS = (
    "Serve people well and be honest with them.",
    "We help our customers quickly, kindly and correctly.",
    "Build a small company that people trust.",
)

# Every linear layer: LoRA on attention only learns worse at the same size (Schulman et al. 2025,
# "LoRA Without Regret"; PEFT's MetaMathQA comparison agrees).
ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Recipe:
    """The settings of one training run; hashed and kept beside what it produced.

    Attributes:
        rank: Rank of the LoRA matrices, 1 to 256.
        alpha: LoRA strength; with rsLoRA the update is scaled by alpha / sqrt(rank).
        rslora: Rank-stabilised scaling (Kalajdzievski 2023), folded into B on export.
        targets: Names of the adapted linear layers.
        lr: Peak learning rate of AdamW; 0 chooses by the length of the run (`Recipe.rate`).
        weight_decay: AdamW's, 0 as in the same source.
        beta2: AdamW's decay of the squared gradients, 0 to 0.99999: 0.95 remembers some 20 steps,
            0.999 a thousand. For long trainings whose loss breaks out try 0.95: a large gradient
            after many small ones moves the weights less far then (docs/lab-log.md).
        warmup: Share of the steps in which the rate rises from 0, in [0, 1).
        epochs: Passes over the training rows; 0 chooses them so that about `presentations` examples
            are seen, but at most 12 and at least `least_epochs`.
        least_epochs: Passes however many rows there are. Labels gained from 4; `interviewer` learned
            its rows by heart after 2 (docs/lab-log.md).
        presentations: Examples to see in all when `epochs` is 0.
        batch_tokens: Upper bound of tokens in a batch, padding included.
        max_tokens: Longest example in tokens, prompt and answer together.
        answer_tokens: Upper bound of an answer when serving; 0 takes it from the data.
        clip: Largest norm of the gradient.
        seed: Same seed and data, same adapter.
        missions: Missions shown besides the office's own while training.
        vary_missions: Share of examples that see one of `missions`, in [0, 1].
        vary_values: For `extract`: share of examples whose copied values are made up anew in every
            pass, in [0, 1] (`training.variation`).
        drop_rare_labels: Leave out labels with one example instead of refusing the data.
        exam_share: Share of rows held out for the exam when no exam file is given.
        exam_rows: Most rows held out for the exam when no exam file is given.
        validation_share: Share of rows held out to watch and calibrate.
        validation_rows: Most of them.
        baseline_rows: Most exam rows on which base+prompt is examined; a seeded sample.
        negatives: For `answer`: wrong sentences shown per right one.
        passages: For `answer`: name of the column with the passages.
        pass_mark: Lowest exam score that passes, in [0, 1]; it must beat the baseline as well.
        min_top1: Lowest share of equal next-token choices, torch against llama.cpp, where torch is
            clear; 0 takes what the base's number format allows (`training.agreement`).
        max_mean_kl: Largest mean KL divergence between both, nats; 0 as for `min_top1`.
        min_stop_rate: Lowest share of freely generated answers that end by themselves. Where one of
            these three is looser than the project's own, the verification says so.
        stop_rows: Most exam prompts answered freely where an office never does so (`classify`,
            `answer`); `write` and `extract` answer all of them.
        verify_rows: Exam prompts whose logits are compared.
        checkpoint_s: Seconds between checkpoints.
    """

    rank: int = 16
    alpha: float = 32.0
    rslora: bool = True
    targets: tuple[str, ...] = ALL_LINEAR
    lr: float = 0.0
    weight_decay: float = 0.0
    beta2: float = 0.999
    warmup: float = 0.05
    epochs: int = 0
    least_epochs: int = 2
    presentations: int = 5000
    batch_tokens: int = 768
    max_tokens: int = 512
    answer_tokens: int = 0
    clip: float = 1.0
    seed: int = 7
    missions: tuple[str, ...] = GENERIC_MISSIONS
    vary_missions: float = 0.5
    vary_values: float = 0.0
    drop_rare_labels: bool = False
    exam_share: float = 0.15
    exam_rows: int = 200
    validation_share: float = 0.1
    validation_rows: int = 150
    baseline_rows: int = 400
    negatives: int = 4
    passages: str = ""
    pass_mark: float = 0.0
    min_top1: float = 0.0
    max_mean_kl: float = 0.0
    min_stop_rate: float = STOP_RATE
    stop_rows: int = 100
    verify_rows: int = 24
    checkpoint_s: float = 15.0

    def passes(self, rows: int) -> int:
        """Passes over `rows` training rows: as set, or enough for `presentations`."""
        if self.epochs:
            return max(1, round(self.epochs))
        return max(self.least_epochs, min(12, round(self.presentations / max(1, rows))))

    def rate(self, steps: int) -> float:
        """Peak learning rate of a run of so many steps: as set, or 2e-3, less for long runs.

        LoRA wants about ten times full fine-tuning's (LoRA Without Regret). On the starter 2e-3 and
        1e-3 did alike up to some 200 steps; over 1,000 steps and more 2e-3 stayed at guessing where
        7e-4 learned (docs/lab-log.md). A fall with the square root goes through both.
        """
        return self.lr or 2e-3 * min(1.0, math.sqrt(200 / max(1, steps)))

    @property
    def sha256(self) -> str:
        """Hash of all settings, 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }


# What each skill changes of the defaults above.
_BY_SKILL: dict[Skill, dict[str, Any]] = {
    Skill.CLASSIFY: {"presentations": 16_000, "least_epochs": 4},
    Skill.EXTRACT: {"presentations": 6000, "exam_rows": 120, "baseline_rows": 60},
    Skill.ANSWER: {"presentations": 3000, "exam_rows": 120, "vary_missions": 0.25},
    Skill.WRITE: {
        "presentations": 3000,
        "batch_tokens": 3072,
        "exam_rows": 60,
        "validation_rows": 40,
        "lr": 1e-3,
    },
}


# What people know from PEFT and ask for: refused by name, because it could be trained, not served.
_UNSERVABLE: dict[str, str] = {
    "use_dora": "DoRA scales whole columns of the base, which llama.cpp's adapters cannot",
    "dora": "DoRA scales whole columns of the base, which llama.cpp's adapters cannot",
    "bias": "an adapter file holds no biases",
    "lora_bias": "an adapter file holds no biases",
    "modules_to_save": "an adapter file holds no whole modules, only low-rank changes of them",
    "trainable_token_indices": "an adapter file holds no single rows of the embedding",
}


def make_recipe(skill: Skill, overrides: Mapping[str, Any]) -> Recipe:
    """The defaults of a skill with a person's overrides on top.

    Raises:
        InvalidInput: An unknown name, a value of the wrong kind or out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(Recipe)}
    values: dict[str, Any] = dict(_BY_SKILL[skill])
    for name, value in overrides.items():
        if name in _UNSERVABLE:
            raise InvalidInput(
                f"{name!r} could be trained but not served: {_UNSERVABLE[name]}.",
                "Leave it out; rslora = true with more rank does the same work.",
            )
        if name not in fields:
            raise InvalidInput(
                f"A recipe has no setting {name!r}.", f"It has: {', '.join(sorted(fields))}."
            )
        values[name] = _cast(name, value, getattr(Recipe, name))
    recipe = Recipe(**values)
    _check(recipe)
    return recipe


def load_overrides(path: Path) -> dict[str, Any]:
    """Read a recipe file (TOML) as overrides.

    Raises:
        InvalidInput: The file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as e:
        raise InvalidInput(f"There is no recipe {str(path)!r}.", "Check the path.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InvalidInput(f"The recipe {str(path)!r} is not TOML: {e}.", "Mend that line.") from e


def _cast(name: str, value: Any, default: Any) -> Any:
    """Turn a value from TOML or JSON into the kind its default has."""
    kind = type(default)
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        return tuple(str(item) for item in value)
    if isinstance(default, bool | str) and isinstance(value, kind):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in {int, float} and number and (kind is float or value == int(value)):
        return kind(value)
    raise InvalidInput(
        f"The recipe's {name!r} is {value!r}, but must be of kind "
        f"{'list of texts' if kind is tuple else kind.__name__}.",
        f"For example: {name} = {json.dumps(default)}",
    )


_RANGES: dict[str, tuple[float, float]] = {
    "rank": (1, 256),
    "alpha": (1e-6, 1e4),
    "lr": (0, 1e3),
    "weight_decay": (0, 1),
    "beta2": (0, 0.99999),
    "warmup": (0, 0.99),
    "epochs": (0, 1000),
    "least_epochs": (1, 1000),
    "presentations": (1, 10**8),
    "batch_tokens": (64, 10**6),
    "max_tokens": (32, 32768),
    "answer_tokens": (0, 4096),
    "clip": (1e-6, 1e6),
    "vary_missions": (0, 1),
    "vary_values": (0, 1),
    "exam_share": (0.01, 0.5),
    "exam_rows": (5, 10**6),
    "validation_share": (0.01, 0.5),
    "validation_rows": (2, 10**6),
    "baseline_rows": (1, 10**6),
    "negatives": (1, 100),
    "pass_mark": (0, 1),
    "min_top1": (0, 1),
    "max_mean_kl": (0, 100),
    "min_stop_rate": (0, 1),
    "stop_rows": (1, 10**4),
    "verify_rows": (1, 10**4),
    "checkpoint_s": (0, 3600),
}


def _check(recipe: Recipe) -> None:
    for name, (low, high) in _RANGES.items():
        value = getattr(recipe, name)
        if not low <= value <= high:
            raise InvalidInput(
                f"The recipe's {name!r} is {value}, but must lie between {low:g} and {high:g}.",
                f"The default is {getattr(Recipe, name)}.",
            )
    if not recipe.targets:
        raise InvalidInput("The recipe names no target layers.", "Leave 'targets' out.")
