"""Lessons become batches: similar lengths together, the shared beginning computed once."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from training.encoding import Lesson

IGNORED = -100  # no loss here; torch's own default


@dataclass(frozen=True)
class Batch:
    """Lessons of one step.

    Attributes:
        prefix: Token ids that all lessons begin with, shape (1, prefix).
        ids: The rest of each lesson, padded on the right, shape (lessons, length).
        targets: The token to predict at each position or `IGNORED`, same shape.
        tokens: Tokens of the lessons without padding, the prefix counted for each.
    """

    prefix: torch.Tensor
    ids: torch.Tensor
    targets: torch.Tensor
    tokens: int


def plan_batches(
    lessons: Sequence[Lesson], batch_tokens: int, rng: random.Random
) -> list[list[Lesson]]:
    """Group lessons by mission and length, in seeded random order.

    A batch holds at most `batch_tokens` tokens, padding included and the shared prefix left out,
    but always at least one lesson.
    """
    by_mission: dict[int, list[Lesson]] = defaultdict(list)
    for lesson in lessons:
        by_mission[lesson.mission].append(lesson)
    batches: list[list[Lesson]] = []
    for mission in sorted(by_mission):
        group = by_mission[mission]
        shared = len(_common_prefix(group))
        rng.shuffle(group)  # equal lengths meet in another company every pass
        group.sort(key=lambda lesson: len(lesson.ids))
        batch: list[Lesson] = []
        for lesson in group:
            if batch and (len(batch) + 1) * (len(lesson.ids) - shared) > batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(lesson)
        batches.append(batch)
    rng.shuffle(batches)
    return batches


def collate(lessons: Sequence[Lesson], pad_id: int) -> Batch:
    """Put lessons into tensors.

    Padding lies to the right, where a causal model never looks, so no mask is needed.
    """
    prefix = _common_prefix(lessons)
    start = len(prefix)
    width = max(len(lesson.ids) for lesson in lessons) - start
    ids = torch.full((len(lessons), width), pad_id, dtype=torch.long)
    targets = torch.full((len(lessons), width), IGNORED, dtype=torch.long)
    for row, lesson in enumerate(lessons):
        rest = torch.tensor(lesson.ids[start:], dtype=torch.long)
        ids[row, : len(rest)] = rest
        first = lesson.answer_start - start
        targets[row, first - 1 : len(rest) - 1] = rest[first:]
    tokens = sum(len(lesson.ids) for lesson in lessons)
    return Batch(torch.tensor([prefix], dtype=torch.long), ids, targets, tokens)


def _common_prefix(lessons: Sequence[Lesson]) -> list[int]:
    """The ids all lessons begin with, short of each one's last prompt token."""
    first, last = min(lesson.ids for lesson in lessons), max(lesson.ids for lesson in lessons)
    most = min(lesson.answer_start for lesson in lessons) - 1
    # What the smallest and the largest share, all between them share.
    pairs = enumerate(zip(first[:most], last[:most], strict=False))
    end = next((at for at, (a, b) in pairs if a != b), min(most, len(first), len(last)))
    return list(first[:end])
