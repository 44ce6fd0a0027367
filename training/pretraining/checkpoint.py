"""The state of a run on disk: whole or absent, and only continued by the run that wrote it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interns.errors import BrokenFile, Incompatible
from interns.gguf.writing import whole_file
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.schedule import decay_begins

_PARTS = ("recipe", "tokenizer", "corpus")


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the next step depends on.

    Attributes:
        identity: Hashes of ``recipe`` (`recipe_sha256`), ``tokenizer`` and ``corpus``.
        step: Steps that are done; with the recipe's seed it is the position in the data.
        weights: Of the model.
        optimizers: State of each, in order.
        random: Torch's generators, ``cpu`` and perhaps ``cuda``.
        seconds: Spent on steps so far.
    """

    identity: Mapping[str, str]
    step: int
    weights: Mapping[str, Tensor]
    optimizers: tuple[Mapping[str, Any], ...]
    random: Mapping[str, Tensor]
    seconds: float

    def save(self, path: Path) -> None:
        """Write it beside the old one and put it in its place.

        Raises:
            NoSpace: The disk is full; the old one stands.
        """
        # Through memory: torch tells of a full disk in words that say nothing of it.
        held = io.BytesIO()
        torch.save({**vars(self), "optimizers": list(self.optimizers)}, held)
        with whole_file(path) as partial:
            partial.write_bytes(held.getbuffer())


def recipe_sha256(recipe: PretrainRecipe, step: int) -> str:
    """Hash of the settings that the first `step` steps depend on, 64 hex digits.

    How long the run is, how long its rate decays and what is read then count only once that has
    begun: until there a longer recipe goes on from the same state.
    """
    if step > decay_begins(recipe.course):
        return recipe.sha256
    values = recipe.to_dict()
    del values["decay"], values["training"]["steps"], values["training"]["decay"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        BrokenFile: It is truncated or no checkpoint of ours.
    """
    try:
        parts = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**{**parts, "optimizers": tuple(parts["optimizers"])})
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise BrokenFile(
            f"{path.name} is truncated or no checkpoint: {str(error)[:200]}.",
            "Delete it to begin anew.",
        ) from error


def check_identity(found: Checkpoint, identity: Mapping[str, str], path: Path) -> None:
    """Refuse a checkpoint that another recipe, tokenizer or corpus made.

    Raises:
        Incompatible: Says which of them differs.
    """
    other = [part for part in _PARTS if found.identity.get(part) != identity[part]]
    if other:
        raise Incompatible(
            f"{path} was made with another {' and '.join(other)}.",
            "Go on with what made it, or give another folder with --out.",
        )


def random_state() -> dict[str, Tensor]:
    """The state of torch's generators."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random(state: Mapping[str, Tensor]) -> None:
    """Put `random_state` back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
