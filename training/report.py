"""The model card of a version: what it is, what it learned from, how it did, where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interns.base_model import BaseModelRef
from interns.gate import engine_words, gate_words
from interns.intern import Profile
from interns.skill import Skill
from training.evaluation import Exam, Verification

_METRICS = {
    "accuracy": "share of right labels",
    "field_f1": "F1 over the fields of the objects",
    "quote_f1": "word F1 of the quote; 1 for rightly saying *not in the sources*",
    "rouge_l": "ROUGE-L F1 against the reference answer",
}
_LIMITS = {
    Skill.CLASSIFY: "It always chooses one of its labels, also for a text that fits none: "
    "look at the probability.",
    Skill.EXTRACT: "Copied fields come from the text word for word; other fields can be wrong.",
    Skill.ANSWER: "It quotes one sentence. What takes several sentences to answer, it misses.",
    Skill.WRITE: "It writes in the style of its examples and states wrong things fluently: "
    "a person must read every answer.",
}


@dataclass(frozen=True)
class CardFacts:
    """Everything a card tells."""

    profile: Profile
    base: BaseModelRef
    dataset: Mapping[str, Any]
    recipe: Mapping[str, Any]
    exam: Exam
    verification: Verification


def exam_sentence(exam: Exam) -> str:
    """The result in one line, as people read it."""
    low, high = exam.interval
    verdict = "passed" if exam.passed else "failed"
    control = exam.details.get("control")
    alone = (
        f", without a language model ({control['what']}) {control['score']:.3f}" if control else ""
    )
    return (
        f"{verdict}: {exam.metric} {exam.score:.3f} (95 % {low:.3f}–{high:.3f}) on {exam.examples} "
        f"held-out rows; base+prompt {exam.baseline:.3f}{alone}"
    )


def verification_sentence(found: Verification) -> str:
    """The agreement of both sides in one line."""
    verdict = "agrees" if found.agrees else "does NOT agree"
    where, gate = engine_words(found.to_dict()), gate_words(found.to_dict())
    return (
        f"llama.cpp{f' ({where})' if where else ''} {verdict} with torch: the same next token at {found.top1_everywhere:.2%} of "
        f"{found.positions} positions, {found.top1_agreement:.2%} of the answers' and "
        f"{found.top1_decided:.2%} of those where torch leads by {found.margin:.2f} nats "
        f"({found.decided:.0%}), mean KL {found.mean_kl:.1e}, {found.token_mismatches} token "
        f"mismatches, {found.stop_rate:.1%} of {found.stop_prompts} answers end by themselves"
        + (", too few" if found.stop_rate < found.bounds["stop_rate"] else "")
        + (f"; {gate}" if gate else "")
    )


def write_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    profile, dataset = facts.profile, facts.dataset
    lines = [
        f"# {profile.name}",
        "",
        f"An intern that can **{profile.skill.value}**. {profile.role}",
        "",
        f"A LoRA on the base `{facts.base.name}` (`{facts.base.sha256[:12]}`); it runs on no other.",
        "",
        "## Learned from",
        "",
        f"{_splits(dataset)} Fingerprint `{dataset['fingerprint'][:12]}`.",
        *[f"- {note}" for note in dataset["notes"]],
        "",
        f"Source: {dataset['attribution'] or 'not stated'}",
        "",
        "## Exam",
        "",
        f"{exam_sentence(facts.exam).capitalize()}.",
        f"Measured: {_METRICS[facts.exam.metric]}; the baseline answered "
        f"{facts.exam.baseline_examples} of these rows.",
        "",
        *_details(facts.exam),
        "## Verification",
        "",
        f"{verification_sentence(facts.verification)}.",
        "",
        "## Recipe",
        "",
        *_recipe(facts.recipe),
        "",
        "## Limits",
        "",
        _LIMITS[profile.skill],
        "It was examined on rows like those it learned from; other texts can do worse.",
        "",
    ]
    return "\n".join(lines)


def _splits(dataset: Mapping[str, Any]) -> str:
    splits = dataset["splits"]
    return (
        f"{splits['train']} rows; {splits['validation']} more to watch and calibrate, "
        f"{splits['exam']} for the exam."
    )


def _details(exam: Exam) -> list[str]:
    lines: list[str] = []
    if exam.ece is not None:
        before = (
            "" if exam.ece_before is None else f"; {exam.ece_before:.3f} without the temperature"
        )
        lines.append(f"Calibration error of the probabilities: {exam.ece:.3f}{before}.")
    for name, value in exam.details.items():
        if isinstance(value, int | float):
            lines.append(f"- {name.replace('_', ' ')}: {value:.3g}")
    lines += _control(exam)
    labels: Mapping[str, Mapping[str, float]] = exam.details.get("labels", {})
    if labels:
        lines += ["", "| label | examples | precision | recall | F1 |", "|---|---|---|---|---|"]
        lines += [
            f"| {name} | {score['examples']:.0f} | {score['precision']:.2f} "
            f"| {score['recall']:.2f} | {score['f1']:.2f} |"
            for name, score in labels.items()
        ]
    confusions: Sequence[Sequence[Any]] = exam.details.get("confusions", ())
    if confusions:
        lines += ["", "Most frequent mistakes:"]
        lines += [f"- {right} taken for {said}: {n}" for right, said, n in confusions]
    fields: Mapping[str, float] = exam.details.get("fields", {})
    lines += [f"- field {name}: {share:.0%} right" for name, share in fields.items()]
    return [*lines, ""] if lines else []


def _control(exam: Exam) -> list[str]:
    control: Mapping[str, Any] | None = exam.details.get("control")
    if control is None:
        return []
    low, high = control["interval"]
    verdict = "is not clearly better than it"
    if exam.score > high:
        verdict = "adds to it"
    elif exam.score < low:
        verdict = "is worse: a stronger base or more rows are needed before it earns its place"
    return [
        "",
        f"Control without a language model, {control['what']}: {control['score']:.3f} "
        f"(95 % {low:.3f}–{high:.3f}) on the same rows. The intern {verdict}.",
    ]


def _recipe(recipe: Mapping[str, Any]) -> list[str]:
    tuning = recipe.get("tuning", {})
    shown = ("rank", "alpha", "rslora", "lr", "batch_tokens", "max_tokens", "seed")
    used = {**recipe, "lr": tuning.get("rate") or recipe["lr"]}
    lines = [f"- {name}: {used[name]}" for name in shown]
    if tuning:
        lines.append(
            f"- {tuning['epochs']} passes, {tuning['steps']} steps, {tuning['tokens']} tokens in "
            f"{tuning['seconds']:.0f} s ({tuning['tokens_per_s']:.0f} tokens/s)"
        )
    return lines
