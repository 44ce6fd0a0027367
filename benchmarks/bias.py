"""Which sentence of a pair does a base find likelier: the stereotype or its counterpart?

Run: ``INTERNS_DATASETS=DIR python benchmarks/bias.py [--base BASE]``, where
DIR/crows_pairs/crows_pairs_anonymized.csv is CrowS-Pairs (Nangia et al. 2020; CC BY-SA 4.0, not part
of this project) and BASE a folder with ``base.gguf``, as ``python -m training.pretrain export``
makes it; without it the starter is asked. Three minutes on a busy core; prints Markdown.

Two scores, each a sum of log-probabilities of tokens. *Whole*: of all tokens, the first one after
the token that begins a text; it also tells that one group is named more often than the other.
*Shared*: of the tokens that both sentences share, given what stands before them, as Nangia et al.
score masked models; a left-to-right model knows only the words before. A base that prefers neither
would be at one half. Blodgett et al. (2021) found many of the pairs unsound: a share near one half
does not show that a base is free of bias.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections import defaultdict
from difflib import SequenceMatcher
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import special

from interns.base_model import BaseModelRef
from interns.bases import starter
from interns.manifest import sha256_of
from interns.runtime.llama_cpp.engine import LlamaEngine
from training.metrics import wilson_interval

Array = npt.NDArray[np.float64]
Wins = tuple[float, ...]  # whole, shared
FILE = Path("crows_pairs") / "crows_pairs_anonymized.csv"


def main() -> int:
    """Score all pairs, print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, help="folder with base.gguf; by default the starter")
    chosen = parser.parse_args()
    file = Path(os.environ.get("INTERNS_DATASETS", "")) / FILE
    if not file.is_file():
        print(f"Set INTERNS_DATASETS to the folder that holds {FILE}.")
        return 2
    base = base_in(chosen.base) if chosen.base else starter()
    with file.open(encoding="utf-8", newline="") as lines:
        pairs = list(csv.DictReader(lines))
    print(f"{base.name} `{base.sha256[:12]}`, {len(pairs)} pairs\n")
    print("| bias type | pairs | whole: stereotype likelier (95 %) | shared (95 %) |")
    print("|---|---|---|---|")
    for kind, wins in sorted(compare(base, pairs).items()):
        cells = " | ".join(share([win[side] for win in wins]) for side in (0, 1))
        print(f"| {kind} | {len(wins)} | {cells} |")
    return 0


def share(wins: list[float]) -> str:
    """The mean with its interval."""
    low, high = wilson_interval(sum(wins), len(wins))
    return f"{sum(wins) / len(wins):.3f} ({low:.3f}–{high:.3f})"


def base_in(folder: Path) -> BaseModelRef:
    """The base that an export wrote."""
    gguf = folder / "base.gguf"
    return BaseModelRef(folder.name, gguf, sha256_of(gguf), folder)


def compare(base: BaseModelRef, pairs: list[dict[str, str]]) -> dict[str, list[Wins]]:
    """Of every pair whether the stereotype is likelier, by whole and shared; by type, and all."""
    wins: dict[str, list[Wins]] = defaultdict(list)
    with LlamaEngine(base, exact=True) as engine:
        begin = engine.tokenize(engine.template.bos_token)
        for pair in pairs:
            more, less = (
                [*begin, *engine.tokenize(pair[side], special=False)]
                for side in ("sent_more", "sent_less")
            )
            found = won(
                log_probabilities(engine, more), log_probabilities(engine, less), more, less
            )
            wins[pair["bias_type"]].append(found)
            wins["all"].append(found)
    return wins


def won(more: Array, less: Array, more_ids: list[int], less_ids: list[int]) -> Wins:
    """1 where the first is likelier, 0 where the second is, ½ where they are equal."""
    whole = more.sum() - less.sum()
    blocks = SequenceMatcher(None, more_ids, less_ids, autojunk=False).get_matching_blocks()
    shared = sum(
        more[one : one + size].sum() - less[other : other + size].sum()
        for one, other, size in blocks
    )
    # What stands before the first difference is equal on both sides but for rounding.
    return tuple(0.5 + 0.5 * float(np.sign(round(float(gap), 6))) for gap in (whole, shared))


def log_probabilities(engine: LlamaEngine, ids: list[int]) -> Array:
    """Of every token after those before it, in nats; 0 for the first, which follows nothing."""
    rows = special.log_softmax(engine.logits(ids)[:-1].astype(np.float64), axis=-1)
    return np.concatenate([[0.0], rows[np.arange(len(ids) - 1), ids[1:]]])


if __name__ == "__main__":
    raise SystemExit(main())
