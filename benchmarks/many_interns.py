"""Many interns on one base: memory, the time of a switch, and a prompt that is known already.

Run: ``python benchmarks/many_interns.py [memory] [switch] [warm]``; all three without a name. Prints
Markdown tables. Memory and warm prompts are measured on the random Llama of about 190 M parameters,
switches on that and on the starter. Adapters are random.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from made import large, made_base, make_adapter

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import CompletionRequest, Sampling
from interns.gguf.base_file import hf_config
from interns.gguf.reader import read_gguf
from interns.runtime.llama_cpp.batch import ContextSize, Row
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.library import Context, Model, default_threads

MIB = 2**20
PROMPT = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["memory", "switch", "warm"])
    parser.add_argument("--interns", type=int, default=50)
    parser.add_argument("--switches", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=2000, help="of the prompt that is warm")
    parser.add_argument("--rounds", type=int, default=2, help="of the warm prompt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "memory" in options.parts:
            memory(Path(folder) / "memory", options.interns)
        if "switch" in options.parts:
            print("\n| base | loaded | same intern, p50 | other intern, p50 | p95 | switch, p50 |")
            print("|---|---|---|---|---|---|")
            for name in ("starter", "large"):
                for loaded in (2, 8):
                    switch(made_base(name), Path(folder) / f"{name}{loaded}", loaded, options)
        if "warm" in options.parts:
            warm(options)


# Memory --------------------------------------------------------------------------------------


def memory(folder: Path, count: int) -> None:
    """Resident memory after each of so many interns was asked once."""
    base = large()
    folder.mkdir()
    adapters = [make_adapter(base, folder / str(i), seed=i) for i in range(count)]
    gc.collect()
    before = resident()
    with LlamaEngine(base) as engine:
        chance = np.random.default_rng(0)
        engine.complete(asked(chance, PROMPT, 16))
        alone = resident() - before
        for adapter in adapters:
            engine.complete(asked(chance, PROMPT, 16, adapter))
        used, stats = resident() - before, engine.stats()
    config = hf_config(read_gguf(base.gguf))
    cell = 4 * config["num_hidden_layers"] * config["hidden_size"]  # keys and values, F16
    cache, kept = stats["cells"] * cell / MIB, stats["kept_tokens"] * cell / MIB
    file, each = base.gguf.stat().st_size / MIB, adapters[0].path.stat().st_size / MIB
    loaded = stats["adapters_loaded"]
    bound = file + loaded * each + cache + kept
    print(f"\n| {count} interns on {base.name} | MiB |\n|---|---|")
    print(f"| file of the base | {file:.0f} |")
    print(f"| {loaded} adapters kept loaded, {each:.1f} each | {loaded * each:.0f} |")
    print(f"| all {count} adapters | {count * each:.0f} |")
    print(f"| keys and values: {stats['cells']} cells | {cache:.0f} |")
    print(f"| prefixes kept outside the cache: {stats['kept_tokens']} tokens | {kept:.0f} |")
    print(f"| sum of base, loaded adapters, keys and values | {bound:.0f} |")
    print(f"| resident more than before, base alone | {alone:.0f} |")
    print(f"| resident more than before, {count} interns asked | {used:.0f} |")
    print(f"| of the sum | {used / bound:.2f} |")


def resident() -> float:
    """Resident memory of this process in MiB."""
    return float(psutil.Process().memory_info().rss / MIB)


def asked(
    chance: np.random.Generator, prompt: int, most: int, adapter: Adapter | None = None
) -> CompletionRequest:
    """A random prompt of so many tokens."""
    ids = chance.integers(100, 6000, prompt).tolist()
    sampling = Sampling(max_tokens=most, temperature=0.0)
    return CompletionRequest((), adapter, sampling, prompt=tuple(ids))


# A switch ------------------------------------------------------------------------------------


def switch(base: BaseModelRef, folder: Path, loaded: int, options: argparse.Namespace) -> None:
    """One token for one intern and one for another in turn, with so many adapters loaded."""
    folder.mkdir()
    model = Model(base.gguf)
    write, read = default_threads(model.parameters)
    context = Context(model, ContextSize(512, 8, 64, 64, write, read))
    paths = [make_adapter(base, folder / str(i), seed=i).path for i in range(loaded)]
    adapters = [model.load_adapter(path) for path in paths]
    same, other = [], []
    for number in range(-4, options.switches):
        for times, adapter in ((other, adapters[number % 2]), (same, adapters[number % 2])):
            begun = time.perf_counter()
            context.use_adapter(adapter)
            context.decode([Row(200, max(0, number) % 256, (0,), output=True)])
            context.logits()
            if number >= 0:
                times.append(time.perf_counter() - begun)
            context.clear()
    context.close()
    model.close()
    stay, median, late = (
        1000 * float(value)
        for value in (np.median(same), np.median(other), np.quantile(other, 0.95))
    )
    print(
        f"| {base.name} | {loaded} | {stay:.2f} ms | {median:.2f} ms | {late:.2f} ms "
        f"| {median - stay:.2f} ms |",
        flush=True,
    )


# A known prompt ------------------------------------------------------------------------------


def warm(options: argparse.Namespace) -> None:
    """Seconds from the request to the first token: cold, again, and with another end."""
    base, chance = large(), np.random.default_rng(1)
    rows: list[tuple[float, float, float]] = []
    with LlamaEngine(base, context_tokens=4096) as engine:
        engine.complete(asked(chance, PROMPT, 4))
        for _ in range(options.rounds):
            prompt = asked(chance, options.tokens, 1).prompt
            ending = asked(chance, 16, 1).prompt
            first = [first_token_s(engine, ids) for ids in (prompt, prompt, (*prompt, *ending))]
            rows.append((first[0], first[1], first[2]))
    cold, again, longer = (min(column) for column in zip(*rows, strict=True))
    print(f"\n| prompt of {options.tokens} tokens on {base.name} | first token | cold is |")
    print("|---|---|---|")
    print(f"| cold | {1000 * cold:.0f} ms | |")
    print(f"| the same again | {1000 * again:.0f} ms | {cold / again:.0f} × |")
    print(
        f"| the same beginning, 16 tokens more | {1000 * longer:.0f} ms | {cold / longer:.0f} × |"
    )


def first_token_s(engine: LlamaEngine, prompt: Sequence[int]) -> float:
    """Seconds from submission to the first token, as the engine reports them."""
    sampling = Sampling(max_tokens=1, temperature=0.0)
    request = CompletionRequest((), sampling=sampling, prompt=tuple(prompt))
    return engine.complete(request).first_token_s


if __name__ == "__main__":
    main()
