"""The card of a base: what it is, what it learned from, on what terms, and how far it reaches.

What a run cannot know, its scores and biases, is added by hand (``NOTES.md``, `docs/cards.py`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from training.pretraining.recipe import PretrainRecipe

# What the file that serves says of itself, as ``general.NAME``.
ABOUT = {
    "author": "The Interns contributors",
    "license": "apache-2.0",
    "description": (
        "A small base to be adapted, made from nothing. Some of its sources are share-alike: "
        "pass CARD.md and ATTRIBUTION.md on with the weights."
    ),
}
_SHARE_ALIKE = re.compile(r"BY-SA|Sharing")


def write_card(
    recipe: PretrainRecipe,
    facts: Mapping[str, Any],
    verified: Mapping[str, Any],
    file_type: str,
    positions: int = 0,
) -> str:
    """The card of the base as Markdown: data, compute, held-out loss, agreement, limits."""
    shape = dataclasses.asdict(recipe.shape)
    size = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in shape.items())
    rows = f"{recipe.course.short_context}, later " * bool(recipe.course.short_context)
    allowed = positions or recipe.shape.context
    beyond = allowed > recipe.shape.context
    compute = facts["flops_per_token"] * facts["tokens"]
    lines = [
        f"# {recipe.name}",
        "",
        f"A plain Llama with {facts['parameters'] / 1e6:.1f} M parameters, made from nothing by "
        f"`training/pretrain.py`, stored as {file_type}.",
        "",
        f"Size: {size}. It learned from rows of {rows}{recipe.shape.context} tokens; the file allows "
        f"{allowed}{', and what lies beyond the rows is answered worse' * beyond}.",
        "",
        "## Compute",
        "",
        f"{facts['step']} of {facts['steps']} steps, {facts['tokens']} token-steps in "
        f"{facts['seconds']:.0f} s on {facts['device']} with torch {facts['torch']}, "
        f"{compute:.1e} floating-point operations.",
        "",
        "## Held-out loss (nats per learned token)",
        "",
        "How it fell: [curve.svg](curve.svg), [curve.jsonl](curve.jsonl).",
        "",
        *[f"- {group}: {loss:.3f}" for group, loss in facts["held_out"].items()],
        "",
        "## Agreement of llama.cpp with torch",
        "",
        f"Token ids equal on {verified['token_ids_equal']} of {verified['texts']} texts; the same "
        f"next token at {verified['top1_agreement']:.2%} of {verified['positions']} positions and at "
        f"{verified['top1_decided']:.2%} of those where torch leads by {verified['margin']:.2f} nats; "
        f"mean KL {verified['mean_kl']:.1e} nats.",
        "",
        "## Learned from",
        "",
        "| source | group | documents | tokens | licence as stated |",
        "|---|---|---|---|---|",
        *[
            f"| {s['name']} | {s['group']} | {s['documents']} | {s['tokens']} | {s['licence']} |"
            for s in facts["sources"]
        ],
        "",
        _left_out(facts["sources"]),
        "",
        "## Licence",
        "",
        _licence(facts["sources"]),
        "",
        "## Limits",
        "",
        "English only. It is made to be adapted: without an adapter it states wrong things "
        "fluently. Much of its prose is old fiction and public-sector and product documentation, "
        "whose views and omissions it repeats.",
        "",
    ]
    return "\n".join(lines)


def _left_out(sources: Sequence[Mapping[str, Any]]) -> str:
    text = (
        "Left out as sets, because bases are examined on them: BANKING77, CLINC150, sentence "
        "polarity, E2E, SciTLDR, XQuAD, Cranfield, CACM, BBQ, CrowS-Pairs, WinoBias, FairytaleQA "
        "with the stories of its validation and test splits, and every other test split."
    )
    counts = {source["name"]: source.get("left_out") for source in sources}
    if None in counts.values():  # prepared before anybody looked
        return text
    shared = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    return (
        f"{text} Nor any document that shares 13 words in a row with an exam text that was at "
        f"hand; so left out: {shared or 'none'}."
    )


def _licence(sources: Sequence[Mapping[str, Any]]) -> str:
    alike = [source["name"] for source in sources if _SHARE_ALIKE.search(source["licence"])]
    return (
        "The code that made it is under Apache-2.0, and so are the weights, as NOTICE says, as far "
        "as that is for the project to give. They learned from the sources above, each under its "
        f"own licence; share-alike, wholly or in part: {', '.join(alike) or 'none'}. Whether such a "
        "licence reaches weights is not settled here: pass NOTICE, this card and "
        "ATTRIBUTION.md on with them."
    )
