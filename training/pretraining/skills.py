"""Chats made by program for what small models can really learn and interns need.

Every answer follows from the prompt. The same seed and passages give the same chats.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from training.pretraining import asking
from training.pretraining import passages as of_passages
from training.pretraining import records as of_records
from training.pretraining.chat import Chat
from training.pretraining.passages import Passage

# How often each is drawn, as parts.
ABOUT_RECORDS: Mapping[Callable[[random.Random], Chat], int] = {
    of_records.to_json: 6,
    of_records.one_field: 4,
    of_records.label: 4,
    of_records.routing: 2,
    of_records.remember: 3,
    of_records.own_role: 2,
}
ABOUT_PASSAGES: Mapping[Callable[[random.Random, Sequence[Passage]], Chat], int] = {
    of_passages.copy: 2,
    of_passages.quote: 4,
    of_passages.nth: 2,
    of_passages.cloze: 3,
    asking.ask: 7,
    of_passages.judge: 3,
    of_passages.title: 2,
    of_passages.choose_title: 1,
    of_passages.reformat: 2,
}


def generate(count: int, seed: int, passages: Sequence[Passage]) -> Iterator[Chat]:
    """`count` chats; without passages those about records only."""
    rng = random.Random(f"skills/{seed}")
    makers: list[Callable[[], Chat]] = [partial(make, rng) for make in ABOUT_RECORDS]
    weights = list(ABOUT_RECORDS.values())
    if passages:
        makers += [partial(make, rng, passages) for make in ABOUT_PASSAGES]
        weights += ABOUT_PASSAGES.values()
    for make in rng.choices(makers, weights, k=count):
        yield make()
