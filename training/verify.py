"""llama.cpp with the exported adapter against torch: same tokens, same next-token choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from interns.adapter import Adapter
from interns.charter import Charter
from interns.gate import loosened
from interns.intern import Profile
from interns.prompt import task_messages
from interns.runtime.llama_cpp.engine import LlamaEngine
from training.agreement import Places, bounds_of, compare, computed_with, join
from training.candidates import labelled_candidates
from training.encoding import Encoder
from training.evaluation import Verification
from training.example import Example
from training.recipe import Recipe
from training.reference import TorchIntern

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
    stop_prompts: int,
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
        stop_prompts: On how many exam prompts.
        report: Called with prompts done and prompts in all.
    """
    rows = examples[: recipe.verify_rows]
    compared = []
    for done, example in enumerate(rows, start=1):
        compared.append(_compare(sides, profile, example, charter=charter))
        report(done, len(rows))
    equal = sum(each.tokens_equal for each in compared)
    places = join([each.places for each in compared])
    answers = join([each.answer for each in compared])
    bounds = bounds_of(sides.engine.base.gguf)
    asked = {
        "top1_decided": recipe.min_top1 or bounds.top1,
        "mean_kl": recipe.max_mean_kl or bounds.mean_kl,
        "stop_rate": recipe.min_stop_rate,
    }
    top1, decided = places.clear(bounds.margin)
    mean_kl = float(places.kl.mean())
    found = Verification(
        prompts=len(rows),
        positions=len(places.same),
        token_ids_equal=equal,
        token_mismatches=len(rows) - equal,
        top1_agreement=answers.everywhere,
        top1_everywhere=places.everywhere,
        top1_decided=top1,
        decided=decided,
        margin=bounds.margin,
        mean_kl=mean_kl,
        max_kl=float(places.kl.max()),
        stop_rate=stop_rate,
        stop_prompts=stop_prompts,
        bounds=asked,
        looser=loosened(asked, bounds),
        passed=False,
        **computed_with(sides.engine),
    )
    return replace(found, passed=found.agrees and stop_rate >= asked["stop_rate"])


@dataclass(frozen=True)
class _Compared:
    tokens_equal: bool
    places: Places
    answer: Places


def _compare(sides: Sides, profile: Profile, example: Example, *, charter: Charter) -> _Compared:
    """One prompt with its right answer, on both sides."""
    passages = tuple(line for line, _ in labelled_candidates(example)[:1])
    messages = task_messages(profile, example.text, charter=charter, passages=passages)
    theirs = sides.engine.tokenize(sides.engine.template.render(messages))
    answer = "yes" if passages else example.answer
    ids = [*theirs, *sides.encoder.answer_ids(answer)][:_MOST_TOKENS]
    expected = sides.torch.logits(ids)
    found = sides.engine.logits(ids, adapter=sides.adapter)[:, : expected.shape[1]]
    start = min(len(theirs), len(ids)) - 1  # where the answer's first token is chosen
    return _Compared(
        sides.encoder.prompt_ids(messages) == theirs,
        compare(expected, found),
        compare(expected[start:], found[start:]),
    )
