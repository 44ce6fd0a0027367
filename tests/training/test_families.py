"""Training sees every family as torch does: the shared beginning changes no loss and no gradient."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.tiny_bases import KINDS, write_tiny_base
from training.collate import collate
from training.encoding import Lesson
from training.recipe import Recipe
from training.reference import load_base
from training.tune import _adapted, answer_loss


@pytest.mark.parametrize("kind", KINDS)
def test_shared_beginning_changes_nothing(kind: str, tmp_path: Path) -> None:
    base = load_base(write_tiny_base(tmp_path / "hf", kind), torch.device("cpu"))
    model = _adapted(base, Recipe(rank=4))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in weights:
            weight.add_(torch.randn_like(weight) * 0.1)
    dice = random.Random(1)
    beginning = [dice.randrange(5, 900) for _ in range(40)]  # longer than Gemma's tiny windows
    lessons = [
        Lesson((*beginning, *(dice.randrange(5, 900) for _ in range(size))), 40 + size - 3, 0)
        for size in (6, 9, 12)
    ]
    batch = collate(lessons, 2)
    assert batch.prefix.shape == (1, 40)
    shared = answer_loss(model, batch, torch.device("cpu"))
    apart = torch.cat([_losses(model, lesson) for lesson in lessons]).mean()
    torch.testing.assert_close(shared, apart, rtol=1e-4, atol=1e-5)
    ours = torch.autograd.grad(shared, weights)
    theirs = torch.autograd.grad(apart, weights)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-4)


def _losses(model: torch.nn.Module, lesson: Lesson) -> torch.Tensor:
    """Loss of each token of the answer, the lesson computed whole."""
    ids = torch.tensor([lesson.ids])
    logits = model(input_ids=ids).logits[0, lesson.answer_start - 1 : -1]
    return functional.cross_entropy(logits, ids[0, lesson.answer_start :], reduction="none")
