"""How a base is made: every number that changes the outcome, as plain data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interns.errors import InvalidInput

# What the corpus is divided into (see `training.pretraining.corpus`).
GROUPS = ("prose", "manuals", "novels", "dialogues", "instructions", "skills")
CHATS = frozenset({"dialogues", "instructions", "skills"})
TOKENIZER = "tokenizer.json"
_LARGEST_SHARE = 1e6
_HUGE = 1e300


@dataclass(frozen=True)
class Shape:
    """The size of a plain Llama with tied embeddings.

    Attributes:
        vocabulary: Rows of the embedding.
        hidden: Width of the residual stream.
        layers: Number of layers.
        heads: Query heads; `hidden` is a multiple of it.
        kv_heads: Key and value heads; `heads` is a multiple of it.
        feed_forward: Inner width of SwiGLU.
        context: Longest sequence in tokens.
        rope_theta: Base of the rotary wavelengths.
        norm_eps: Added to the mean square in RMSNorm.
    """

    vocabulary: int = 8192
    hidden: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 4
    feed_forward: int = 768
    context: int = 1024
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    @property
    def parameters(self) -> int:
        """Number of weights; the tied embedding counts once."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_heads * self.head_dim
        layer = attention + 3 * self.hidden * self.feed_forward + 2 * self.hidden
        return self.vocabulary * self.hidden + self.layers * layer + self.hidden


@dataclass(frozen=True)
class Course:
    """How long, how fast and on what it learns.

    Attributes:
        steps: Updates of the weights.
        rows: Sequences of `Shape.context` tokens per update.
        micro_rows: Sequences computed at once; divides `rows`.
        short_context: Tokens of a sequence until the rate decays, when there are accordingly more of
            them; divides `Shape.context`. 0 for the full context from the beginning.
        warmup: Updates in which the rate rises from 0.
        decay: Share of the updates, at the end, in which the rate falls to 0.
        matrix_rate: Muon's peak learning rate, for matrices.
        other_rate: AdamW's peak learning rate, for the embedding and the norms.
        weight_decay: Decoupled, on matrices only.
        clip: Largest norm of the gradient.
        seed: Same seed and data, same model (bit for bit on a CPU with as many threads; tested without
            compilation).
        skills: Chats to generate by program.
        held_out_every: Updates between two looks at held-out text.
        held_out_rows: Sequences per group in such a look.
        checkpoint_s: Seconds between checkpoints.
    """

    steps: int = 1000
    rows: int = 8
    micro_rows: int = 8
    short_context: int = 0
    warmup: int = 50
    decay: float = 0.25
    matrix_rate: float = 0.02
    other_rate: float = 3e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 7
    skills: int = 60_000
    held_out_every: int = 200
    held_out_rows: int = 8
    checkpoint_s: float = 60.0


@dataclass(frozen=True)
class PretrainRecipe:
    """One base.

    Attributes:
        name: Of the base.
        shape: Its size.
        course: How it learns.
        stable: Share of the sequences from each group until the rate decays.
        ending: The same while it decays: there the chats come in.
        tokenizer: The tokenizer file; None for the one beside the recipe.
    """

    name: str
    shape: Shape
    course: Course
    stable: Mapping[str, float]
    ending: Mapping[str, float]
    tokenizer: Path | None = field(default=None, compare=False)

    @property
    def tokens(self) -> int:
        """Token-steps of the whole run, padding included."""
        return self.course.steps * self.course.rows * self.shape.context

    @property
    def sha256(self) -> str:
        """Hash of all settings, 64 hex digits."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "model": dataclasses.asdict(self.shape),
            "training": dataclasses.asdict(self.course),
            "stable": dict(self.stable),
            "decay": dict(self.ending),
        }


def load_recipe(path: Path) -> PretrainRecipe:
    """Read a recipe file.

    Raises:
        InvalidInput: It is missing, is not TOML, or a value is unknown, of the wrong kind or out of
            range.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no recipe {str(path)!r}.", "Check the path.") from error
    except OSError as error:
        raise InvalidInput(
            f"The recipe {str(path)!r} cannot be read: {error.strerror}.",
            "Give the path of a file.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The recipe {str(path)!r} is not TOML: {error}.", "Mend it.") from error
    recipe = recipe_from_dict(values, name=path.stem)
    own = path.parent / str(values.get("tokenizer") or TOKENIZER)
    return dataclasses.replace(recipe, tokenizer=own)


def recipe_from_dict(values: Mapping[str, Any], *, name: str = "") -> PretrainRecipe:
    """The recipe that `PretrainRecipe.to_dict` or a file wrote.

    Raises:
        InvalidInput: A value is unknown, of the wrong kind or out of range.
    """
    unknown = set(values) - {"name", "tokenizer", "model", "training", "stable", "decay"}
    if unknown:
        raise InvalidInput(
            f"A recipe has no part {min(unknown)!r}.",
            "It has model, training, stable and decay.",
        )
    stable = _shares("stable", values.get("stable"))
    recipe = PretrainRecipe(
        name=str(values.get("name") or name),
        shape=_build(Shape, "model", values.get("model", {})),
        course=_build(Course, "training", values.get("training", {})),
        stable=stable,
        ending=_shares("decay", values["decay"]) if "decay" in values else stable,
    )
    _check(recipe)
    return recipe


def _build(kind: Any, part: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise InvalidInput(
            f"{part} is {values!r}, but must be a table.", f"Write [{part}] and its settings below."
        )
    known = {item.name: item.default for item in dataclasses.fields(kind)}
    checked = {}
    for key, value in values.items():
        if key not in known:
            raise InvalidInput(
                f"[{part}] has no setting {key!r}.", f"It has: {', '.join(sorted(known))}."
            )
        whole = isinstance(known[key], int)
        if not _is_number(value) or (whole and value != int(value)):
            raise InvalidInput(
                f"[{part}] {key} is {value!r}, but must be a {'whole ' * whole}number.",
                f"For example: {key} = {known[key]}",
            )
        checked[key] = int(value) if whole else float(value)
    return kind(**checked)


def _is_number(value: Any) -> bool:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return known and -_HUGE < value < _HUGE  # neither infinite nor "not a number"


def _shares(part: str, values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping) or not values:
        raise InvalidInput(f"The recipe has no [{part}].", f"Give shares of {', '.join(GROUPS)}.")
    for group, share in values.items():
        if group not in GROUPS or not _is_number(share) or not 0 <= share <= _LARGEST_SHARE:
            raise InvalidInput(
                f"[{part}] {group} = {share!r} is no share of a group.",
                f"Give numbers from 0 to {_LARGEST_SHARE:g} for {', '.join(GROUPS)}.",
            )
    total = sum(values.values())
    if total <= 0:
        raise InvalidInput(f"The shares of [{part}] are all 0.", "Give one of them a number.")
    return {group: values[group] / total for group in GROUPS if values.get(group)}


_RANGES: Mapping[str, tuple[float, float]] = {
    # 260 control tokens and 256 bytes; token files keep one bit of 16 for what is not learned
    "vocabulary": (516, 32768),
    "hidden": (32, 4096),
    "layers": (1, 64),
    "feed_forward": (32, 65536),
    "context": (16, 32768),
    "rope_theta": (1, 1e8),
    "norm_eps": (1e-12, 1e-2),
    "steps": (1, 10**7),
    "rows": (1, 10**5),
    "short_context": (0, 32768),
    "warmup": (0, 10**6),
    "decay": (0, 1),
    "matrix_rate": (0, 10),
    "other_rate": (0, 10),
    "weight_decay": (0, 1),
    "clip": (1e-6, 1e6),
    "seed": (0, 2**63 - 1),
    "skills": (0, 10**7),
    "held_out_every": (1, 10**7),
    "held_out_rows": (1, 1000),
    "checkpoint_s": (0, 3600),
}


def _check(recipe: PretrainRecipe) -> None:
    values = dataclasses.asdict(recipe.shape) | dataclasses.asdict(recipe.course)
    for name, (low, high) in _RANGES.items():
        if not low <= values[name] <= high:
            raise InvalidInput(
                f"The recipe's {name} is {values[name]}, but must lie between {low:g} and {high:g}.",
                "Change that line.",
            )
    pairs = (("hidden", "heads"), ("heads", "kv_heads"), ("rows", "micro_rows"))
    for whole, part in pairs:
        if values[part] < 1 or values[whole] % values[part]:
            raise InvalidInput(
                f"{whole} = {values[whole]} is no multiple of {part} = {values[part]}.",
                f"Change {part}.",
            )
    if recipe.course.short_context and recipe.shape.context % recipe.course.short_context:
        raise InvalidInput(
            f"context = {recipe.shape.context} is no multiple of short_context = "
            f"{recipe.course.short_context}.",
            "Change short_context.",
        )
    if recipe.shape.head_dim % 2:
        raise InvalidInput("A head has an odd width.", "Choose hidden / heads even.")
    if recipe.shape.hidden % 32 or recipe.shape.feed_forward % 32:
        raise InvalidInput(
            "hidden and feed_forward must be multiples of 32.", "Q8_0 stores blocks of 32 weights."
        )
