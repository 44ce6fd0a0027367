"""The learning rate over the steps: warm-up, stable, decay."""

from __future__ import annotations

from math import sqrt

from training.pretraining.recipe import Course


def decay_begins(course: Course) -> int:
    """The first step in which the rate falls and the ending's mixture is read."""
    return course.steps - round(course.steps * course.decay)


def rate_factor(step: int, course: Course) -> float:
    """What the peak rates are multiplied with in `step` (0 to steps - 1), in [0, 1].

    It rises linearly, stays, and falls as 1 - sqrt(share of the decay that is done), which does
    better than a straight line (Hägele et al. 2024, arXiv:2405.18392).
    """
    begin = decay_begins(course)
    if step >= begin:
        return 1.0 - sqrt((step - begin) / (course.steps - begin))
    return min(1.0, (step + 1) / course.warmup) if course.warmup else 1.0
