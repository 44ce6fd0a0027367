"""``python -m training.pretrain``: make a base from nothing.

    run RECIPE --corpus FOLDER --out FOLDER [--sets FOLDER] [--minutes 9]    again to resume
    prepare RECIPE --corpus FOLDER --out FOLDER [--sets FOLDER] [--part-mib 60]
    show RECIPE --corpus TOKENS --step 12    what a step read, decoded
    tokenizer --corpus FOLDER --out FILE [--sets FOLDER] [--vocabulary 8192]
    plan RECIPE [--teraflops 989 --utilisation 0.25]    what it costs; an estimate
    export RUN OUT    the finished run, or as far as it is, becomes the file that serves

All but `export` need torch, NumPy and tokenizers only. Narration goes to stderr, the outcome as JSON
to stdout. Exit status 3: the time is over, run the same command again.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from interns.errors import InternsError
from interns.waiting import wait_awake

UNFINISHED = 3
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    began = time.monotonic()
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    wait_awake()  # before torch is imported
    try:
        result = _COMMANDS[chosen.command](chosen, began)
    except InternsError as error:
        said = {"error": error.message, "fix": error.fix, "code": error.code}
        print(json.dumps(said, ensure_ascii=False), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(result, ensure_ascii=False))
    return 0 if result.get("finished", True) else UNFINISHED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="prepare, learn, write the result; again to resume")
    ready = commands.add_parser("prepare", help="only make the token files")
    learn = commands.add_parser("tokenizer", help="learn a tokenizer")
    show = commands.add_parser("show", help="print the rows of a step")
    plan = commands.add_parser("plan", help="what a recipe costs, as an estimate")
    export = commands.add_parser("export", help="write the file that serves")
    for command in (run, ready, show, plan):
        command.add_argument("recipe", type=Path)
    for command in (run, ready, learn):
        command.add_argument("--corpus", type=Path, required=True, help="NAME.jsonl.xz files")
        command.add_argument("--sets", type=Path, help="folder of instruction sets")
        command.add_argument("--out", type=Path, required=True)
    run.add_argument("--minutes", type=float, default=math.inf, help="longest stage")
    ready.add_argument("--part-mib", type=float, default=0.0, help="largest folder of files")
    learn.add_argument("--vocabulary", type=int, default=8192)
    show.add_argument("--corpus", type=Path, required=True, help="folder of token files")
    show.add_argument("--step", type=int, required=True, help="from 1 on")
    plan.add_argument("--teraflops", type=float, default=989.0, help="peak of the card in bf16")
    plan.add_argument("--utilisation", type=float, default=0.25, help="share of it, assumed")
    export.add_argument("run", type=Path, help="a run's folder, or its result")
    export.add_argument("out", type=Path)
    export.add_argument("--tokenizer", type=Path, help="if not the committed one")
    export.add_argument("--type", default="Q8_0", help="Q8_0 (default), F16 or F32")
    export.add_argument("--positions", type=int, default=0, help="if more than it learned from")
    return parser


def _run(chosen: argparse.Namespace, began: float) -> dict[str, Any]:
    from training.pretraining.recipe import load_recipe
    from training.pretraining.stage import Job, run_stage

    until = began + 60 * chosen.minutes
    recipe = load_recipe(chosen.recipe)
    return run_stage(Job(recipe, chosen.corpus, chosen.sets, chosen.out, until), _narrate)


def _prepare(chosen: argparse.Namespace, _began: float) -> dict[str, Any]:
    from training.pretraining.folder import owned
    from training.pretraining.preparing import Order, load_corpus, prepare
    from training.pretraining.recipe import TOKENIZER, load_recipe
    from training.pretraining.tokenizer import load_tokenizer

    recipe = load_recipe(chosen.recipe)
    tokenizer = load_tokenizer(recipe.tokenizer or Path(TOKENIZER), recipe.shape.vocabulary)
    limit = int(chosen.part_mib * 2**20)
    order = Order(chosen.corpus, chosen.sets, chosen.out, recipe.course, limit)
    with owned(chosen.out):
        prepare(order, tokenizer, _narrate)
        files, fingerprint = load_corpus(chosen.out, tokenizer)
    groups: dict[str, int] = {}
    for file in files:
        groups[file.group] = groups.get(file.group, 0) + len(file.ids)
    return {"sources": len(files), "tokens": groups, "fingerprint": fingerprint}


def _show(chosen: argparse.Namespace, _began: float) -> dict[str, Any]:
    from training.pretraining.preparing import load_corpus
    from training.pretraining.recipe import TOKENIZER, load_recipe
    from training.pretraining.showing import show_step
    from training.pretraining.tokenizer import load_tokenizer

    recipe = load_recipe(chosen.recipe)
    tokenizer = load_tokenizer(recipe.tokenizer or Path(TOKENIZER), recipe.shape.vocabulary)
    files, _ = load_corpus(chosen.corpus, tokenizer)
    return {"step": chosen.step, "rows": show_step(files, recipe, tokenizer, chosen.step)}


def _tokenizer(chosen: argparse.Namespace, _began: float) -> dict[str, Any]:
    from training.pretraining.origin import describe_sets
    from training.pretraining.preparing import sample_texts
    from training.pretraining.recipe import Course
    from training.pretraining.tokenizer import tokenizer_sha256, train_tokenizer

    _narrate(describe_sets(chosen.sets))
    texts = sample_texts(chosen.corpus, chosen.sets, Course())
    tokenizer = train_tokenizer(texts, chosen.vocabulary, chosen.out)
    return {"tokens": tokenizer.get_vocab_size(), "sha256": tokenizer_sha256(tokenizer)}


def _plan(chosen: argparse.Namespace, _began: float) -> dict[str, Any]:
    from training.pretraining.recipe import load_recipe
    from training.pretraining.throughput import flops_per_token

    recipe = load_recipe(chosen.recipe)
    per_token = flops_per_token(recipe.shape)
    seconds = per_token * recipe.tokens / (chosen.teraflops * 1e12 * chosen.utilisation)
    return {
        "name": recipe.name,
        "parameters": recipe.shape.parameters,
        "q8_0_bytes": round(recipe.shape.parameters * 34 / 32),
        "f16_bytes": 2 * recipe.shape.parameters,
        "token_steps": recipe.tokens,
        "flops_per_token": per_token,
        "estimated_minutes": round(seconds / 60, 1),
    }


def _export(chosen: argparse.Namespace, _began: float) -> dict[str, Any]:
    from training.pretraining.export import export_base

    return export_base(
        chosen.run,
        chosen.out,
        chosen.tokenizer,
        file_type=chosen.type,
        positions=chosen.positions,
    )


_COMMANDS = {
    "run": _run,
    "prepare": _prepare,
    "show": _show,
    "tokenizer": _tokenizer,
    "plan": _plan,
    "export": _export,
}


def _narrate(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
