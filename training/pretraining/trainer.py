"""The model, its optimizers and one step of learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.memory import keep_freed_memory
from training.precision import fast_math
from training.pretraining.attention import Mask, choose_kind, make_mask
from training.pretraining.llama import Llama, initialize
from training.pretraining.muon import Muon
from training.pretraining.packing import IGNORED, Batch
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.schedule import rate_factor

_BETAS = (0.9, 0.95)  # of AdamW, as usual in pre-training
_WORTH_COMPILING = 1_000_000  # tokens; on a CPU compiling takes as long as some 100,000 of them


class Trainer:
    """Learns from batches; in bf16 where the device is fast at it, compiled where that pays.

    Args:
        recipe: Size and rates.
        device: Where to compute.
    """

    def __init__(self, recipe: PretrainRecipe, device: torch.device) -> None:
        self._recipe, self._device = recipe, device
        if device.type == "cpu":
            keep_freed_memory()
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        self.model = Llama(recipe.shape)
        initialize(self.model, recipe.course.seed)
        self.model.to(device)
        shape = recipe.shape
        self.attention, self.note = choose_kind(device, shape.heads, shape.kv_heads, shape.head_dim)
        self.optimizers = self._make_optimizers()
        self._loss = self._make_loss()

    def step(self, number: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """Learn from one batch.

        Args:
            number: Of the step, from 0; decides the learning rate.
            batch: `Course.rows` rows.

        Returns:
            The mean loss in nats per learned token, and the norm of the gradient before clipping.
            Both still on the device, so that the next batch can be read meanwhile.
        """
        course = self._recipe.course
        factor = rate_factor(number, course)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
        learned = max(1, int((batch.targets != IGNORED).sum()))
        total = torch.zeros((), device=self._device)
        at_once = course.micro_rows * len(batch.ids) // course.rows
        for begin in range(0, len(batch.ids), at_once):
            rows = Batch(*(part[begin : begin + at_once] for part in batch))
            loss = self._sum(rows) / learned
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), course.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return total, norm

    @torch.no_grad()
    def held_out(self, batches: Mapping[str, Batch]) -> dict[str, float]:
        """Mean loss of each group in nats per token; row by row, so that one shape is compiled."""
        losses = {}
        for group, batch in batches.items():
            rows = [Batch(*(part[at : at + 1] for part in batch)) for at in range(len(batch.ids))]
            total = sum(float(self._sum(row)) for row in rows)
            losses[group] = round(total / max(1, int((batch.targets != IGNORED).sum())), 6)
        return losses

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        return all(bool(weight.isfinite().all()) for weight in self.model.parameters())

    def load(
        self, weights: Mapping[str, Tensor], optimizers: tuple[Mapping[str, Any], ...]
    ) -> None:
        """Put a checkpoint's state in place."""
        self.model.load_state_dict(dict(weights))
        for optimizer, state in zip(self.optimizers, optimizers, strict=True):
            optimizer.load_state_dict(dict(state))

    def _make_loss(self) -> Callable[[Tensor, Tensor, Mask], Tensor]:
        """The sum of losses of some rows, compiled where that pays.

        On CUDA with logits at every position, so that no step waits to hear which are learned; a CPU
        is spared those that are not.
        """
        if self._device.type == "cuda":
            return torch.compile(self.model.loss_everywhere, dynamic=False)
        if self._device.type != "cpu" or self._recipe.tokens < _WORTH_COMPILING:
            return self.model.loss
        body = torch.compile(self.model.body, dynamic=False)
        return lambda ids, targets, mask: self.model.sum_of_losses(body(ids, mask), targets)

    def _make_optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        course = self._recipe.course
        matrices = [p for p in self.model.layers.parameters() if p.ndim == 2]
        known = {id(matrix) for matrix in matrices}
        others = [p for p in self.model.parameters() if id(p) not in known]
        optimizers = (
            Muon(matrices, course.matrix_rate, weight_decay=course.weight_decay),
            torch.optim.AdamW(others, course.other_rate, betas=_BETAS, weight_decay=0.0),
        )
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]
        return optimizers

    def _sum(self, rows: Batch) -> Tensor:
        ids, targets, documents = (self._tensor(part) for part in rows)
        with fast_math(self._device):
            return self._loss(ids, targets, make_mask(documents, self.attention))

    def _tensor(self, part: np.ndarray) -> Tensor:
        return torch.from_numpy(part).to(self._device, non_blocking=True)
