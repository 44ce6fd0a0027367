"""A gradient that is no number: left out when it is one, told as divergence when it stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_hook

from interns.gguf.base_file import write_hf_folder
from interns.intern import Profile
from interns.skill import Skill
from tests.tiny_bases import TINY
from training.dataset import Splits
from training.example import Example
from training.recipe import make_recipe
from training.tune import Job, LossNotFinite, Tuned, tune

WORDS = ("lamp", "chair", "mug", "rug", "clock", "table", "cup", "mirror", "desk", "bed")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Two labels; five passes of two batches each."""
    rows = tuple(Example(f"Where is my {word}?", "ab"[i % 2], i) for i, word in enumerate(WORDS))
    work, base = tmp_path / "work", tmp_path / "base"
    work.mkdir()
    write_hf_folder(TINY / "base.gguf", TINY, base)
    return Job(
        base_folder=base,
        splits=Splits(rows, (), (), labels=("a", "b")),
        profile=Profile("sorter", Skill.CLASSIFY, "Sort.", labels=("a", "b")),
        mission="",
        recipe=make_recipe(Skill.CLASSIFY, {"epochs": 5, "batch_tokens": 64, "vary_missions": 0}),
        out=work / "peft",
        checkpoint=work / "checkpoint.pt",
        curve=work / "curve.jsonl",
    )


@contextmanager
def poisoned(steps: Callable[[int], bool], *, forward: bool = False) -> Iterator[None]:
    """Make the gradient, or the loss, no number in the steps, counted from 1, that are named."""
    count = 0

    def spoil(module: torch.nn.Module, _given: Any, logits: Any) -> None:
        nonlocal count
        if getattr(module, "out_features", 0) != 8192 or not logits.requires_grad:  # only the head
            return
        count += 1
        if steps(count) and forward:
            logits.data.mul_(float("nan"))
        elif steps(count):
            logits.register_hook(lambda gradient: gradient * float("nan"))

    handle = register_module_forward_hook(spoil)
    try:
        yield
    finally:
        handle.remove()


def tuned(job: Job) -> Tuned:
    return tune(job, lambda _: None)


def weights(job: Job) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(job.out / "adapter_model.safetensors")
    return found


def test_a_batch_without_a_usable_gradient_is_left_out_and_counted(job: Job) -> None:
    with poisoned(lambda step: step in {2, 3, 5}):
        found = tuned(job)
    points = [json.loads(line) for line in job.curve.read_text("utf-8").splitlines()]
    assert found.skipped == 3
    assert found.steps == len(points) > 5
    assert all(point["loss"] > 0 for point in points)


def test_a_batch_left_out_leaves_the_weights_as_they_were(job: Job) -> None:
    # Of two steps in all: with the last one left out only the first moved anything.
    job = replace(job, recipe=replace(job.recipe, epochs=1))
    found = []
    for spoilt in (set(), {2}, {1, 2}):
        job.checkpoint.unlink(missing_ok=True)
        with poisoned(spoilt.__contains__):
            assert tuned(job).skipped == len(spoilt)
        found.append([w for name, w in weights(job).items() if "lora_B" in name])
    whole, half, none = found
    assert not all(torch.equal(a, b) for a, b in zip(whole, half, strict=True))
    assert any(w.any() for w in half)
    assert not any(w.any() for w in none)  # B begins as zeros


def test_a_loss_that_is_no_number_ends_the_training_at_once(job: Job) -> None:
    spoilt = poisoned(lambda step: step == 2, forward=True)
    with spoilt, pytest.raises(LossNotFinite, match="at step 2"):
        tuned(job)


def test_gradients_that_stay_no_numbers_end_the_training(job: Job) -> None:
    with poisoned(lambda step: step > 1), pytest.raises(LossNotFinite, match="at step 5"):
        tuned(job)


def test_beta2_of_the_recipe_changes_what_is_learned(job: Job) -> None:
    found = []
    for beta2 in (0.0, 0.95, 0.95):
        job.checkpoint.unlink(missing_ok=True)
        tuned(replace(job, recipe=replace(job.recipe, epochs=1, beta2=beta2)))
        found.append(weights(job))
    none, short, again = found
    assert all(torch.equal(short[name], again[name]) for name in short)
    assert not all(torch.equal(short[name], none[name]) for name in short)


def test_copied_values_are_varied_the_same_way_by_every_run(job: Job) -> None:
    schema = {"type": "object", "properties": {"item": {"type": "string", "x-copy": True}}}
    rows = tuple(
        Example(f"Where is my {word}?", json.dumps({"item": word}), i)
        for i, word in enumerate(WORDS)
    )
    found = []
    for share in (0.0, 1.0, 1.0):
        recipe = make_recipe(Skill.EXTRACT, {"epochs": 1, "vary_missions": 0, "vary_values": share})
        job.checkpoint.unlink(missing_ok=True)
        tuned(
            replace(
                job,
                splits=Splits(rows, (), (), schema=schema),
                profile=Profile("reader", Skill.EXTRACT, "Read.", schema=schema),
                recipe=recipe,
            )
        )
        found.append(weights(job))
    plain, varied, again = found
    assert all(torch.equal(varied[name], again[name]) for name in varied)
    assert not all(torch.equal(varied[name], plain[name]) for name in varied)
