"""From the request to clean, split examples: what `run` and `plan` both begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interns.base_model import BaseModelRef
from interns.gguf.families import family_of_arch
from interns.gguf.reader import read_gguf
from interns.skill import Skill
from training.dataset import Splits
from training.ingest import read_table
from training.prepare import Task, find_columns, infer_skill, prepare
from training.recipe import Recipe, make_recipe
from training.request import Request
from training.schema import read_schema


@dataclass(frozen=True)
class Gathered:
    """The examples and what they are for."""

    splits: Splits
    skill: Skill
    recipe: Recipe

    @property
    def sentence(self) -> str:
        """What was found in the data, in one paragraph."""
        report: Mapping[str, Any] = self.splits.report
        parts = [f"{report['rows']} rows, {report['usable']} usable for {self.skill.value}"]
        parts += [f"{n} left out: {why}" for why, n in report["left_out"].items()]
        labels: Mapping[str, int] = report.get("labels", {})
        if labels:
            shown = [f"{label} {n}" for label, n in list(labels.items())[:12]]
            more = f" and {len(labels) - 12} more" if len(labels) > 12 else ""
            parts.append(f"{len(labels)} labels: {', '.join(shown)}{more}")
        return "; ".join(parts) + "."


def gather(request: Request) -> Gathered:
    """Read, clean and split the data of a request.

    Raises:
        InvalidInput: The data cannot be used; says why and what to do.
    """
    table = read_table(request.data)
    overrides = request.recipe
    columns = find_columns(
        table, request.text, request.answer, passages=str(overrides.get("passages") or "")
    )
    schema = read_schema(request.schema) if request.schema else None
    skill = request.skill or (Skill.EXTRACT if schema else infer_skill(table, columns))
    recipe = make_recipe(skill, overrides)
    exam = read_table(request.exam) if request.exam else None
    return Gathered(prepare(table, exam, Task(skill, columns, schema), recipe), skill, recipe)


def check_targets(recipe: Recipe, base: BaseModelRef) -> None:
    """Refuse, before anything is trained, a recipe whose layers could not be served.

    Raises:
        InvalidInput: It names a layer that the base has not, or that llama.cpp cannot adapt.
    """
    arch = read_gguf(base.gguf).text("general.architecture")
    family_of_arch(arch).targets(recipe.targets)


def answer_tokens(splits: Splits, skill: Skill, recipe: Recipe, base: BaseModelRef) -> int:
    """Upper bound of an answer when serving: what the data need and some room."""
    if recipe.answer_tokens:
        return recipe.answer_tokens
    if skill is Skill.ANSWER:
        return 8
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(base.tokenizer / "tokenizer.json"))
    texts = {e.answer for e in splits.train}
    longest = max(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    return min(512, longest + longest // 4 + 4)
