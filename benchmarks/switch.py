"""Eight interns at once: packed into one file against taking turns, as ratios in one run.

Run it with ``python benchmarks/switch.py``, or with ``--large`` on a random Llama of about 190 million
parameters made on the spot; it prints a Markdown table. The sides take turns and the best of several
rounds counts, so that other work on the machine disturbs all alike. Seconds of the processor are
counted beside those of the clock: with one thread both are equal on an idle machine, and on a busy
one only the former mean anything. Adapters are random; only speed is measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from engine import TEXT
from made import made_base, make_adapter

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import CompletionRequest, Message, Sampling
from interns.gguf.reader import read_gguf
from interns.runtime.llama_cpp.engine import LlamaEngine

INTERNS = 8


class Speed(NamedTuple):
    """Tokens per second of the clock and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="a random Llama of 190 M parameters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = made_base("large" if options.large else "starter")
        adapters = [make_adapter(base, Path(folder) / f"{i}", seed=i) for i in range(INTERNS)]
        measure(base, adapters, Path(folder) / "rosters", options)


def measure(
    base: BaseModelRef, adapters: Sequence[Adapter], folder: Path, options: argparse.Namespace
) -> None:
    """Both engines in turn, one open at a time: OpenMP has more threads than cores otherwise."""
    parameters = sum(int(np.prod(info.shape)) for info in read_gguf(base.gguf).tensors.values())
    nobody, one = [None] * INTERNS, [adapters[0]] * INTERNS
    rounds: list[dict[str, Speed]] = []
    for number in range(options.rounds):
        ask = partial(rate, tokens=options.tokens, number=number)
        with LlamaEngine(base, threads=options.threads, slots=INTERNS) as swap:
            ask(swap, nobody)
            sides = {
                "base, no adapter": ask(swap, nobody),
                "swap, 1 intern": ask(swap, one),
                "swap, 8 interns": ask(swap, adapters),
            }
            threads = swap.stats()["threads"]
        begun = time.perf_counter()
        with LlamaEngine(base, threads=options.threads, slots=INTERNS, path="switch") as switch:
            switch.set_roster(adapters, folder)
            if switch.settle() != "switch":
                raise SystemExit(switch.stats()["path_reason"])
            if not number:
                packed_s = time.perf_counter() - begun
            reason = switch.stats()["path_reason"]
            ask(switch, nobody)
            sides["switch, 8 interns"] = ask(switch, adapters)
            sides["switch, base only"] = ask(switch, nobody)
        rounds.append(sides)
    best = {
        name: Speed(*(max(values) for values in zip(*(each[name] for each in rounds), strict=True)))
        for name in rounds[0]
    }
    base_only, taking_turns = best["base, no adapter"], best["swap, 8 interns"]
    print(f"\n## {base.name}, {parameters / 1e6:.0f} M parameters, {threads} writing threads\n")
    print(f"{reason}; loaded, packed and verified in {packed_s:.1f} s.\n")
    print(
        "| 8 answers at once | tokens/s | of base | of swap | per CPU second | of base | of swap |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, speed in best.items():
        print(
            f"| {name} "
            f"| {speed.wall:.0f} | {speed.wall / base_only.wall:.2f} "
            f"| {speed.wall / taking_turns.wall:.2f} "
            f"| {speed.cpu:.0f} | {speed.cpu / base_only.cpu:.2f} "
            f"| {speed.cpu / taking_turns.cpu:.2f} |"
        )


def rate(engine: LlamaEngine, used: Sequence[Adapter | None], tokens: int, number: int) -> Speed:
    """Tokens per second over all answers, prompts included; none stops early."""
    stops = tuple((token, -100.0) for token in sorted(engine.stop_tokens))
    asked = [
        CompletionRequest(
            (Message("user", f"{number}.{i} {TEXT}"),),
            adapter,
            Sampling(max_tokens=tokens, temperature=1.5, top_p=1.0, seed=i, logit_bias=stops),
        )
        for i, adapter in enumerate(used)
    ]
    begun, spent = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(len(asked)) as pool:
        total = sum(answer.completion_tokens for answer in pool.map(engine.complete, asked))
    return Speed(total / (time.perf_counter() - begun), total / (time.process_time() - spent))


if __name__ == "__main__":
    main()
