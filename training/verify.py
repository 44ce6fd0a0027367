"""llama.cpp with the exported adapter against torch: same tokens, same next-token choices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interns.adapter import Adapter
from interns.charter import Charter
from interns.intern import Profile
from interns.prompt import task_messages
from interns.runtime.llama_cpp.engine import LlamaEngine
from training.candidates import labelled_candidates
from training.encoding import Encoder
from training.evaluation import Verification
from training.example import Example
from training.recipe import Recipe
from training.reference import TorchIntern

# The best token is at least a quarter more probable than the second. Q8_0 rounds activations to 8
# bits, which moves the starter's logits by up to 0.2: closer calls are ties.
CLEAR = math.log(1.25)
_MOST_TOKENS = 384  # of one prompt and answer: enough to compare, quick on two cores


@dataclass(frozen=True)
class Sides:
    """The same intern twice."""

    engine: LlamaEngine
    adapter: Adapter
    torch: TorchIntern
    encoder: Encoder


def verify(
    sides: Sides,
    profile: Profile,
    examples: Sequence[Example],
    *,
    charter: Charter,
    recipe: Recipe,
    stop_rate: float,
    report: Callable[[int, int], None],
) -> Verification:
    """Compare both sides on held-out prompts with their right answers.

    Args:
        sides: Engine and torch.
        profile: Whose prompts.
        examples: Held-out rows; the first `recipe.verify_rows` are taken.
        charter: The mission in force.
        recipe: The bounds.
        stop_rate: Share of answers that end with the stop token, as measured.
        report: Called with prompts done and prompts in all.
    """
    rows = examples[: recipe.verify_rows]
    compared = []
    for done, example in enumerate(rows, start=1):
        compared.append(_compare(sides, profile, example, charter=charter))
        report(done, len(rows))
    equal = sum(each.tokens_equal for each in compared)
    kl = np.concatenate([each.kl for each in compared])
    same = np.concatenate([each.same_choice for each in compared])
    clear = np.concatenate([each.decided for each in compared])
    chosen = np.concatenate([each.same_choice[each.answer_start :] for each in compared])
    top1, mean_kl = float(same[clear].mean()), float(kl.mean())
    return Verification(
        prompts=len(rows),
        positions=len(same),
        token_ids_equal=equal,
        token_mismatches=len(rows) - equal,
        top1_agreement=float(chosen.mean()),
        top1_everywhere=float(same.mean()),
        top1_decided=top1,
        decided=float(clear.mean()),
        mean_kl=mean_kl,
        max_kl=float(kl.max()),
        stop_rate=stop_rate,
        passed=equal == len(rows)
        and top1 >= recipe.min_top1
        and mean_kl <= recipe.max_mean_kl
        and stop_rate >= recipe.min_stop_rate,
    )


@dataclass(frozen=True)
class _Compared:
    tokens_equal: bool
    kl: npt.NDArray[np.float64]
    same_choice: npt.NDArray[np.bool_]
    decided: npt.NDArray[np.bool_]
    answer_start: int


def _compare(sides: Sides, profile: Profile, example: Example, *, charter: Charter) -> _Compared:
    """One prompt with its right answer, on both sides."""
    passages = tuple(line for line, _ in labelled_candidates(example)[:1])
    messages = task_messages(profile, example.text, charter=charter, passages=passages)
    theirs = sides.engine.tokenize(sides.engine.template.render(messages))
    answer = "yes" if passages else example.answer
    ids = [*theirs, *sides.encoder.answer_ids(answer)][:_MOST_TOKENS]
    expected = sides.torch.logits(ids)
    found = sides.engine.logits(ids, adapter=sides.adapter)[:, : expected.shape[1]]
    return _Compared(
        sides.encoder.prompt_ids(messages) == theirs,
        kl_divergence(expected, found),
        expected.argmax(axis=1) == found.argmax(axis=1),
        second_best_gap(expected) >= CLEAR,
        min(len(theirs), len(ids)) - 1,
    )


def kl_divergence(
    expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """KL divergence of next-token distributions at every position, nats.

    Args:
        expected: Logits, shape (positions, vocabulary).
        found: Logits of the same shape.
    """
    p, q = _log_softmax(expected), _log_softmax(found)
    divergence: npt.NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=1)
    return np.maximum(divergence, 0.0)


def second_best_gap(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """How far the best logit is ahead of the second, at every position."""
    best = np.partition(logits, -2, axis=1)[:, -2:]
    gap: npt.NDArray[np.float32] = best[:, 1] - best[:, 0]
    return gap


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
