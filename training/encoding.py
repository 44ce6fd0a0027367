"""Examples become token ids, exactly as the serving engine will see them.

The prompt is rendered by the base's one chat template and tokenized with its control tokens; the
answer is tokenized by itself, as the engine generates it, and ends with the stop token.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interns.charter import Charter
from interns.completion import Message
from interns.errors import InvalidInput
from interns.intern import Profile
from interns.prompt import ChatTemplate, task_messages
from interns.skill import Skill
from training.candidates import labelled_candidates
from training.example import Example
from training.recipe import Recipe


@dataclass(frozen=True)
class Lesson:
    """One sequence to learn from.

    Attributes:
        ids: Prompt and answer.
        answer_start: Index of the answer's first token; loss is taken from there on.
        mission: Lessons with the same number share the beginning of their prompts.
    """

    ids: tuple[int, ...]
    answer_start: int
    mission: int


class Encoder:
    """The base's tokenizer and template.

    Args:
        folder: The base as a Hugging Face folder.
    """

    def __init__(self, folder: Path) -> None:
        # Not AutoTokenizer: some families' classes rebuild the tokenizer in their own way.
        from transformers import PreTrainedTokenizerFast

        self._tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        self.stop_id = int(self._tokenizer.eos_token_id)
        self.template = ChatTemplate(
            self._tokenizer.chat_template,
            self._tokenizer.bos_token or "",
            self._tokenizer.eos_token,
        )

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a rendered prompt, ready to be answered."""
        return self.text_ids(self.template.render(messages))

    def text_ids(self, text: str) -> list[int]:
        """Token ids of a text as it stands, nothing added."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer and the stop token."""
        return [*self.text_ids(answer), self.stop_id]


@dataclass(frozen=True)
class Lessons:
    """Every lesson of one pass, and how many were too long for the recipe."""

    items: tuple[Lesson, ...]
    too_long: int


def encode_lessons(
    encoder: Encoder,
    examples: Sequence[Example],
    profile: Profile,
    *,
    mission: str,
    recipe: Recipe,
    epoch: int,
) -> Lessons:
    """Encode one pass over the examples.

    Each example sees the office's own mission or, for a seeded share of them, another one or none
    at all, so that an intern stays right when the mission changes.

    Raises:
        InvalidInput: Every example is longer than the recipe's `max_tokens`.
    """
    missions = (mission, *(m for m in ("", *recipe.missions) if m != mission))
    rng = random.Random(f"{recipe.seed}/{epoch}")
    items, too_long = [], 0
    for example in examples:
        varied = len(missions) > 1 and rng.random() < recipe.vary_missions
        which = rng.randrange(1, len(missions)) if varied else 0
        charter = Charter(missions[which])
        for passages, answer in _pairs(example, profile.skill, recipe.negatives, rng):
            messages = task_messages(profile, example.text, charter=charter, passages=passages)
            prompt = encoder.prompt_ids(messages)
            ids = (*prompt, *encoder.answer_ids(answer))
            if len(ids) > recipe.max_tokens:
                too_long += 1
            else:
                items.append(Lesson(ids, len(prompt), which))
    if not items:
        raise InvalidInput(
            f"All {too_long} examples are longer than {recipe.max_tokens} tokens.",
            "Shorten the texts, or raise max_tokens in the recipe.",
        )
    return Lessons(tuple(items), too_long)


def _pairs(
    example: Example, skill: Skill, negatives: int, rng: random.Random
) -> list[tuple[tuple[str, ...], str]]:
    """What is asked and answered: for `answer`, single sentences judged yes or no."""
    if skill is not Skill.ANSWER:
        return [((), example.answer)]
    candidates = labelled_candidates(example)
    right = [text for text, fits in candidates if fits]
    wrong = [text for text, fits in candidates if not fits]
    # The most similar wrong sentence is the one that misleads; the others are drawn.
    shown = wrong[:1] + rng.sample(wrong[1:], min(len(wrong[1:]), max(0, negatives - 1)))
    pairs: list[tuple[tuple[str, ...], str]] = [((text,), "yes") for text in right]
    return pairs + [((text,), "no") for text in shown]
