"""The rows that one step reads, as a person reads them: source, document and text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from interns.errors import InvalidInput
from training.pretraining.chat import PAD
from training.pretraining.packing import Reader
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.tokenizer import control_id
from training.pretraining.tokens import UNLEARNED, TokenFile


def show_step(
    files: Sequence[TokenFile], recipe: PretrainRecipe, tokenizer: Tokenizer, step: int
) -> list[dict[str, Any]]:
    """Every row of a step.

    Args:
        files: The prepared corpus.
        recipe: Of the run.
        tokenizer: Made the ids.
        step: From 1 on, as messages and curves count.

    Returns:
        For each row its ``group`` and ``pieces``: ``source``, ``document`` (its number in the token
        file, from 1 on), ``tokens`` and ``text``.

    Raises:
        InvalidInput: The run has no such step, or the corpus lacks a group.
    """
    if not 1 <= step <= recipe.course.steps:
        raise InvalidInput(
            f"The recipe has no step {step}.", f"Give one from 1 to {recipe.course.steps}."
        )
    rows = Reader(files, recipe, control_id(tokenizer, PAD)).rows(step - 1)
    return [
        {
            "group": group,
            "pieces": [_piece([f for f in files if f.group == group], *p, tokenizer) for p in row],
        }
        for group, row in rows
    ]


def _piece(
    files: Sequence[TokenFile], start: int, size: int, tokenizer: Tokenizer
) -> dict[str, Any]:
    ends = list(accumulate(len(file.ids) for file in files))
    which = int(np.searchsorted(ends, start, side="right"))
    file = files[which]
    first = start - (ends[which] - len(file.ids))
    document = int(np.searchsorted(np.cumsum(file.lengths), first, side="right"))
    ids = file.ids[first : first + size] & ~np.uint16(UNLEARNED)
    return {
        "source": file.name,
        "document": document + 1,
        "tokens": size,
        "text": tokenizer.decode(ids.tolist(), skip_special_tokens=False),
    }
