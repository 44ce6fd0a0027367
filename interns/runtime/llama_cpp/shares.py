"""What the answers in progress put into the next batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.generation import Generation

_LEAST = 4


class Share(NamedTuple):
    """One answer's part of a batch.

    Attributes:
        run: Whose.
        rows: At least one; only the last may want logits.
        prompt: Whether they are of its prompt, or of what must be read again.
    """

    run: Generation
    rows: list[Row]
    prompt: bool


def share_out(runs: Sequence[Generation], room: int) -> Iterator[Share]:
    """The next token of every answer that is being written, then prompts in order.

    Args:
        runs: Answers in progress.
        room: Prompt tokens that the batch may have; of fewer than four none are read.
    """
    for run in sorted(runs, key=attrgetter("prefilling")):
        prompt = run.prefilling
        if prompt and room < _LEAST:
            continue
        rows = run.rows(room)
        yield Share(run, rows, prompt)
        if prompt:
            room -= len(rows)
