"""What the engine costs on top of llama.cpp: the same greedy answers from a bare loop of C calls.

Run: ``python benchmarks/overhead.py [starter] [large]``; prints a Markdown table. The bare loop does
what no one can leave out: one `llama_decode` per step and the largest logit of each row; it knows no
text, stop tokens, log-probabilities or cancelling. Both sides have the same prompts, tokens, threads
and batch size, take turns in two processes (in one, OpenMP would have more threads than cores and make
them wait otherwise), and the best of several rounds counts. A round is prompts and answers together,
from the request to the whole text. On a machine that does other work too the processor's time tells
more than the clock, so both are printed.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

import numpy as np
from made import made_base

from interns.base_model import BaseModelRef
from interns.completion import CompletionRequest, Sampling
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.library import api, may_repack

PROMPT = 48
BATCH = 512
Prompts = Sequence[Sequence[int]]
Result = TypeVar("Result")


class BareLoop:
    """llama.cpp through ctypes and nothing else: one context, every sequence in each step."""

    def __init__(
        self, base: BaseModelRef, cells: int, sequences: int, threads: tuple[int, int]
    ) -> None:
        model = api.llama_model_default_params()
        model.n_gpu_layers = 0
        model.use_extra_bufts = may_repack()
        self._model = api.llama_model_load_from_file(os.fsencode(base.gguf), model)
        params = api.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = cells, BATCH, BATCH
        params.n_seq_max, params.kv_unified, params.no_perf = sequences, True, True
        params.n_threads, params.n_threads_batch = threads
        self._context = api.llama_init_from_model(self._model, params)
        self._memory = api.llama_get_memory(self._context)
        self._batch = api.llama_batch_init(BATCH, 0, 1)
        self._vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))

    def answer(self, prompts: Prompts, most: int) -> list[list[int]]:
        """Greedy answers of `most` tokens, all at once; stop tokens are tokens like others."""
        api.llama_memory_clear(self._memory, False)
        rows = [
            (token, position, sequence, position + 1 == len(prompt))
            for sequence, prompt in enumerate(prompts)
            for position, token in enumerate(prompt)
        ]
        answers: list[list[int]] = [[] for _ in prompts]
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            picked = self._decode(part)
            ended = [sequence for _, _, sequence, wanted in part if wanted]
            for sequence, token in zip(ended, picked, strict=True):
                answers[sequence].append(token)
        for step in range(most - 1):
            picked = self._decode([
                (answer[-1], len(prompt) + step, sequence, True)
                for sequence, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
            ])
            for answer, token in zip(answers, picked, strict=True):
                answer.append(token)
        return answers

    def _decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> list[int]:
        batch = self._batch
        batch.n_tokens = len(rows)
        wanted = 0
        for i, (token, position, sequence, output) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, output
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            wanted += output
        if api.llama_decode(self._context, batch) != 0:
            raise SystemExit("llama.cpp failed.")
        if not wanted:
            return []
        pointer = api.llama_get_logits(self._context)
        shape = (wanted, self._vocabulary)
        return list(map(int, np.ctypeslib.as_array(pointer, shape=shape).argmax(axis=1)))


class Apart:
    """The bare loop in a process of its own."""

    def __init__(self, *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_make_bare, initargs=arguments
        )

    def answer(self, prompts: Prompts, most: int) -> tuple[list[list[int]], float, float]:
        """As `BareLoop.answer`, with the seconds by the clock and of the processor."""
        return self._pool.submit(_bare_answer, prompts, most).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def _make_bare(*arguments: Any) -> None:
    global _bare  # noqa: PLW0603 - what the process is for
    _bare = BareLoop(*arguments)


def _bare_answer(prompts: Prompts, most: int) -> tuple[list[list[int]], float, float]:
    return timed(lambda: _bare.answer(prompts, most))


@dataclass(frozen=True)
class Round:
    """Both sides for the same answers: seconds by the clock and of the processor; equal texts."""

    bare_s: float
    engine_s: float
    bare_cpu_s: float
    engine_cpu_s: float
    equal: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bases", nargs="*", default=["starter", "large"])
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8], help="1 to 8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=0, help="0: as the engine chooses")
    options = parser.parse_args()
    print("| base | threads | answers at once | bare loop, tokens/s | engine | more time "
          "| more processor time | equal texts |")  # fmt: skip
    print("|---" * 8 + "|")
    for name in options.bases:
        compare(made_base(name), options)


def compare(base: BaseModelRef, options: argparse.Namespace) -> None:
    """One and eight answers at once, both sides in turn."""
    with LlamaEngine(base, threads=options.threads, slots=8, gpu_layers=0) as engine:
        size = engine._size
        threads = (size.threads, size.batch_threads)
        bare = Apart(base, size.cells, 8, threads)
        chance = np.random.default_rng(0)
        for count in options.at_once:
            rounds = []
            for _ in range(options.rounds + 1):
                prompts = endless(bare, engine, chance, count, options.tokens)
                rounds.append(one_round(bare, engine, prompts, options.tokens))
            show(base.name, size.threads, rounds[1:], count, options.tokens)
        bare.close()


def endless(
    bare: Apart, engine: LlamaEngine, chance: np.random.Generator, count: int, most: int
) -> list[list[int]]:
    """Random prompts whose greedy answers go on for `most` tokens."""
    found: list[list[int]] = []
    while len(found) < count:
        prompts = chance.integers(100, engine._words.vocab_size, (count, PROMPT)).tolist()
        answers, _, _ = bare.answer(prompts, most)
        ends = engine.stop_tokens
        found += [p for p, a in zip(prompts, answers, strict=True) if ends.isdisjoint(a)]
    return found[:count]


def one_round(bare: Apart, engine: LlamaEngine, prompts: Prompts, most: int) -> Round:
    """Both sides answer the same prompts."""
    expected, bare_s, bare_cpu_s = bare.answer(prompts, most)
    sampling = Sampling(max_tokens=most, temperature=0.0)
    asked = [CompletionRequest((), sampling=sampling, prompt=tuple(p)) for p in prompts]
    with ThreadPoolExecutor(len(asked)) as pool:
        answers, engine_s, engine_cpu_s = timed(lambda: list(pool.map(engine.complete, asked)))
    if any(answer.completion_tokens != most for answer in answers):
        engine_s = engine_cpu_s = math.inf  # rounding led it to a stop token: no fair round
    texts = [plain(engine, ids) for ids in expected]
    equal = sum(a.text == text for a, text in zip(answers, texts, strict=True))
    return Round(bare_s, engine_s, bare_cpu_s, engine_cpu_s, equal)


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """What work gives, its seconds by the clock and those of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - clock, time.process_time() - processor


def plain(engine: LlamaEngine, ids: Sequence[int]) -> str:
    """Text of token ids as the engine writes it."""
    return b"".join(map(engine._words.piece, ids)).decode("utf-8", "replace")


def show(name: str, threads: int, rounds: Sequence[Round], count: int, most: int) -> None:
    """One row of the table."""
    bare_s, engine_s = min(r.bare_s for r in rounds), min(r.engine_s for r in rounds)
    bare_cpu_s = min(r.bare_cpu_s for r in rounds)
    engine_cpu_s = min(r.engine_cpu_s for r in rounds)
    written, equal = count * most, sum(r.equal for r in rounds)
    print(
        f"| {name} | {threads} | {count} | {written / bare_s:.0f} | {written / engine_s:.0f} "
        f"| {100 * (engine_s / bare_s - 1):.1f} % | {100 * (engine_cpu_s / bare_cpu_s - 1):.1f} % "
        f"| {equal} of {count * len(rounds)} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
