"""The engine against `llama_cpp.Llama` on the same GGUF, in one run, as ratios.

Run it with ``python benchmarks/engine.py``; it prints Markdown tables. Both sides use the same
number of threads, take turns, and the best of several rounds counts, so that other work on the
machine disturbs both alike. Adapters are random and made on the spot; only speed is measured.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from made import make_adapter
from peer import llama

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.bases import starter
from interns.completion import CompletionRequest, Message, Sampling
from interns.runtime.llama_cpp.engine import LlamaEngine

TEXT = "My order of three lamps has not arrived and nobody answers the phone. "


@dataclass(frozen=True)
class Speed:
    """Best of the rounds: seconds to the first token, and tokens per second after it."""

    first_s: float
    rate: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    base = starter()
    with tempfile.TemporaryDirectory() as folder:
        adapters = [make_adapter(base, Path(folder) / str(i), seed=i) for i in range(4)]
        compare(base, adapters[0], options)
        with LlamaEngine(base, threads=options.threads) as engine:
            interleave(engine, adapters, options)
            score(engine, adapters[0], options)
        memory(base, adapters)


def request(text: str, tokens: int, adapter: Adapter | None = None) -> CompletionRequest:
    """A prompt that is answered at length: a hot sampler seldom picks the stop token."""
    sampling = Sampling(max_tokens=tokens, temperature=1.5, top_k=40, top_p=1.0)
    return CompletionRequest((Message("user", text),), adapter, sampling)


def ours(engine: LlamaEngine, asked: CompletionRequest) -> Speed:
    """One streamed answer of the engine."""
    begun = time.perf_counter()
    first, last = 0.0, None
    for piece in engine.stream(asked):
        first = first or time.perf_counter() - begun
        last = piece.completion
    assert last is not None
    written = last.completion_tokens - 1
    return Speed(last.first_token_s, written / (last.total_s - last.first_token_s))


def theirs(llama: Any, engine: LlamaEngine, asked: CompletionRequest) -> Speed:
    """The same prompt and sampling through `llama_cpp.Llama`."""
    ids = engine.tokenize(engine.template.render(asked.messages))
    chosen = asked.sampling
    llama.reset()
    llama._ctx.kv_cache_clear()
    begun = time.perf_counter()
    first, count = 0.0, 0
    stream = llama.generate(
        ids, top_k=chosen.top_k, top_p=1.0, min_p=0.0, temp=chosen.temperature, repeat_penalty=1.0
    )
    for token in stream:
        first = first or time.perf_counter() - begun
        count += 1
        if token == llama.token_eos() or count >= chosen.max_tokens:
            break
    return Speed(first, (count - 1) / (time.perf_counter() - begun - first))


def compare(base: BaseModelRef, adapter: Adapter, options: argparse.Namespace) -> None:
    """Alone and cold, with and without adapter; both sides in turn."""
    print("\n## One answer at a time\n")
    print(
        "| | prompt | first token, engine | `Llama` | ratio | tokens/s, engine | `Llama` | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, used in (("base", None), ("with adapter", adapter)):
        lora = {"lora_path": str(used.path)} if used else {}
        peer = llama(
            model_path=str(base.gguf),
            n_ctx=2048,
            n_threads=options.threads,
            n_threads_batch=options.threads,
            verbose=False,
            **lora,
        )
        for repeats in (1, 15):
            with LlamaEngine(base, threads=options.threads, slots=1) as engine:
                rounds = [
                    _pair(engine, peer, f"Round {n}. " + TEXT * repeats, options.tokens, used)
                    for n in range(options.rounds)
                ]
                count = engine.count_tokens(TEXT * repeats)
            us, them = (_best([pair[side] for pair in rounds]) for side in (0, 1))
            print(
                f"| {name} | {count} | {us.first_s * 1e3:.1f} ms | {them.first_s * 1e3:.1f} ms "
                f"| {us.first_s / them.first_s:.2f} | {us.rate:.0f} | {them.rate:.0f} "
                f"| {us.rate / them.rate:.2f} |"
            )
        peer.close()


def _pair(
    engine: LlamaEngine, llama: Any, text: str, tokens: int, adapter: Adapter | None
) -> tuple[Speed, Speed]:
    asked = request(text, tokens, adapter)
    return ours(engine, asked), theirs(llama, engine, asked)


def _best(speeds: list[Speed]) -> Speed:
    return Speed(min(s.first_s for s in speeds), max(s.rate for s in speeds))


def interleave(engine: LlamaEngine, adapters: list[Adapter], options: argparse.Namespace) -> None:
    """Eight answers at once: one intern, and four interns that take turns."""
    print("\n## Eight answers at once\n")
    print("| | tokens/s in all | against one at a time |")
    print("|---|---|---|")

    def ask(asked: CompletionRequest) -> int:
        return engine.complete(asked).completion_tokens

    def together(used: list[Adapter | None], workers: int) -> float:
        asked = [
            replace(
                request(f"{i} {TEXT}", options.tokens, used[i % len(used)]),
                sampling=Sampling(max_tokens=options.tokens, temperature=1.5, top_p=1.0, seed=i),
            )
            for i in range(8)
        ]
        begun = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            total = sum(pool.map(ask, asked))
        return total / (time.perf_counter() - begun)

    cases: dict[str, list[Adapter | None]] = {
        "base": [None],
        "one intern": [adapters[0]],
        "four interns": [*adapters],
    }
    for name, used in cases.items():
        alone = max(together(used, 1) for _ in range(3))
        busy = max(together(used, 8) for _ in range(3))
        print(f"| {name} | {busy:.0f} | {busy / alone:.2f} |")


def score(engine: LlamaEngine, adapter: Adapter, options: argparse.Namespace) -> None:
    """Label probabilities, cold and with a known beginning."""
    print("\n## Labels with exact probabilities\n")
    print("| labels | first time | same prompt again | new message |")
    print("|---|---|---|---|")
    for count in (4, 20, 77):
        labels = [f"label {chr(97 + i % 26)}{i}" for i in range(count)]
        system = Message("system", TEXT * 2)

        def timed(text: str, labels: list[str] = labels, system: Message = system) -> float:
            begun = time.perf_counter()
            engine.score_choices((system, Message("user", text)), labels, adapter=adapter)
            return time.perf_counter() - begun

        first = timed(f"{count} first")
        again = _least(options.rounds, lambda _, timed=timed, count=count: timed(f"{count} first"))
        other = _least(options.rounds, lambda n, timed=timed: timed(f"message {n}"))
        print(f"| {count} | {first * 1e3:.0f} ms | {again * 1e3:.0f} ms | {other * 1e3:.0f} ms |")


def _least(rounds: int, work: Callable[[int], float]) -> float:
    return min(work(n) for n in range(rounds))


def memory(base: BaseModelRef, adapters: list[Adapter]) -> None:
    """Resident memory before, with the base, and with four interns that answered."""
    process = psutil.Process()

    def resident() -> float:
        return process.memory_info().rss / 2**20

    print("\n## Memory\n")
    print("| | MiB more than before |")
    print("|---|---|")
    before = resident()
    with LlamaEngine(base) as engine:
        engine.complete(request(TEXT, 8))
        print(f"| base, 4096 tokens of cache | {resident() - before:.0f} |")
        for adapter in adapters:
            engine.complete(request(TEXT, 8, adapter))
        size = sum(adapter.path.stat().st_size for adapter in adapters) / 2**20
        print(f"| and four interns ({size:.0f} MiB of files) | {resident() - before:.0f} |")
        print(f"| threads | {threading.active_count()} |")


if __name__ == "__main__":
    main()
