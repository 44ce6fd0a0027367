r"""The engine against llama.cpp's own tools: `llama-server` with adapters, `llama-batched-bench`.

Run: ``python benchmarks/peers.py FOLDER [--base large]``, where FOLDER holds the two programs, built
from the source distribution of the llama-cpp-python that is installed::

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
    tar xf llama_cpp_python-0.3.36.tar.gz && cd llama_cpp_python-0.3.36/vendor/llama.cpp
    cmake -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
        -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_USE_PREBUILT_UI=OFF
    cmake --build build --target llama-server llama-batched-bench    # FOLDER is build/bin

Eight requests are made at once, of eight interns, of one, and of the base: of `llama-server` by HTTP
with an adapter per request, of the engine by calls from as many threads. Both compute the same
prompts, greedily and without stop tokens; they take turns, and the best of several rounds counts.
The tools' threads wait for each other as they do by default, which is best on an idle machine only.
Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from made import made_base, make_adapter

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import CompletionRequest, Sampling
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.library import may_repack

AT_ONCE, PROMPT, CELLS, BATCH = 8, 48, 4096, 512
START_S = 120
SERVER, BATCHED_BENCH = "llama-server", "llama-batched-bench"
Prompts = Sequence[Sequence[int]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds llama-server and llama-batched-bench")
    parser.add_argument("--base", choices=("starter", "large"), default="large")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    missing = [name for name in (BATCHED_BENCH, SERVER) if not (options.folder / name).is_file()]
    if len(missing) == 2:
        parser.error(
            f"{options.folder} holds neither {SERVER} nor {BATCHED_BENCH}: build them first"
        )
    for name in missing:
        print(f"Left out: there is no {name} in {options.folder}.")
    base = made_base(options.base)
    with tempfile.TemporaryDirectory() as folder, LlamaEngine(base, slots=AT_ONCE) as engine:
        adapters = [make_adapter(base, Path(folder) / str(i), seed=i) for i in range(AT_ONCE)]
        threads = (engine._size.threads, engine._size.batch_threads)
        if BATCHED_BENCH not in missing:
            against_batched_bench(options, base, engine, threads)
        if SERVER not in missing:
            against_server(options, base, engine, adapters, threads)


def against_server(
    options: argparse.Namespace,
    base: BaseModelRef,
    engine: LlamaEngine,
    adapters: Sequence[Adapter],
    threads: tuple[int, int],
) -> None:
    """Eight different interns, one, and the bare base, both sides in turn."""
    chance = np.random.default_rng(0)
    print(
        f"\n| {AT_ONCE} requests at once, {base.name} | engine, tokens/s | `llama-server` | ratio |"
    )
    print("|---|---|---|---|")
    with serving(options.folder, base, adapters, threads) as client:
        cases: dict[str, list[int | None]] = {
            "8 interns": list(range(AT_ONCE)),
            "1 intern": [0] * AT_ONCE,
            "base": [None] * AT_ONCE,
        }
        for name, used in cases.items():
            ours, theirs = [], []
            for _ in range(options.rounds + 1):
                prompts = chance.integers(100, 6000, (AT_ONCE, PROMPT)).tolist()
                ours.append(asked_of_engine(engine, prompts, adapters, used, options.tokens))
                theirs.append(asked_of_server(client, prompts, used, options.tokens))
            us, them = max(ours[1:]), max(theirs[1:])
            print(f"| {name} | {us:.0f} | {them:.0f} | {us / them:.2f} |", flush=True)


def asked_of_engine(
    engine: LlamaEngine,
    prompts: Prompts,
    adapters: Sequence[Adapter],
    used: Sequence[int | None],
    most: int,
) -> float:
    """Tokens written per second, prompts included in the time."""
    # The server's `ignore_eos` is a bias against stop tokens as well.
    stops = tuple((token, -100.0) for token in sorted(engine.stop_tokens))
    sampling = Sampling(max_tokens=most, temperature=0.0, logit_bias=stops)
    requests = [
        CompletionRequest((), None if i is None else adapters[i], sampling, prompt=tuple(prompt))
        for prompt, i in zip(prompts, used, strict=True)
    ]
    return rate([lambda r=r: engine.complete(r).completion_tokens for r in requests])


def asked_of_server(
    client: httpx.Client, prompts: Prompts, used: Sequence[int | None], most: int
) -> float:
    """The same of `llama-server`."""

    def ask(prompt: Sequence[int], number: int | None) -> int:
        body = {
            "prompt": list(prompt),
            "n_predict": most,
            "temperature": 0.0,
            "samplers": ["temperature"],
            "ignore_eos": True,
            "cache_prompt": False,
            "lora": [{"id": i, "scale": float(i == number)} for i in range(AT_ONCE)],
        }
        return int(
            client.post("/completion", json=body).raise_for_status().json()["tokens_predicted"]
        )

    return rate([lambda p=p, n=n: ask(p, n) for p, n in zip(prompts, used, strict=True)])


def rate(asks: Sequence[Callable[[], int]]) -> float:
    """Tokens per second of requests that are made at once."""
    with ThreadPoolExecutor(len(asks)) as pool:
        begun = time.perf_counter()
        written = sum(pool.map(lambda ask: ask(), asks))
        return written / (time.perf_counter() - begun)


@contextmanager
def serving(
    folder: Path, base: BaseModelRef, adapters: Sequence[Adapter], threads: tuple[int, int]
) -> Iterator[httpx.Client]:
    """`llama-server` with all adapters loaded and none applied."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(str(folder / SERVER), "-m", str(base.gguf), "--port", str(port)),
        *("-c", str(CELLS), "-b", str(BATCH), "-ub", str(BATCH), "-np", str(AT_ONCE), "-kvu"),
        *("-t", str(threads[0]), "-tb", str(threads[1]), "--no-ui", "--offline", "-cram", "0"),
        *("--lora-init-without-apply", "--lora", ",".join(str(each.path) for each in adapters)),
        *(() if may_repack() else ("--no-repack",)),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as client:
                wait_for(client, process)
                yield client
        finally:
            process.terminate()
            process.wait()


def wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Return when the server is ready."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/health").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{SERVER} did not start.")


def against_batched_bench(
    options: argparse.Namespace,
    base: BaseModelRef,
    engine: LlamaEngine,
    threads: tuple[int, int],
) -> None:
    """The base alone, one and eight at once; the tool picks no tokens at all, it only decodes."""
    chance = np.random.default_rng(1)
    best: dict[int, float] = {}
    ours: dict[int, float] = {}
    for _ in range(options.rounds):
        for result in batched_bench(options.folder, base, options.tokens, threads):
            count = int(result["pl"])
            speed = count * options.tokens / float(result["t"])
            best[count] = max(best.get(count, 0.0), speed)
        for count in (1, AT_ONCE):
            prompts = chance.integers(100, 6000, (count, PROMPT)).tolist()
            speed = asked_of_engine(engine, prompts, (), [None] * count, options.tokens)
            ours[count] = max(ours.get(count, 0.0), speed)
    print(f"\n| at once, {base.name} | engine, tokens/s | `llama-batched-bench` | ratio |")
    print("|---|---|---|---|")
    for count, them in sorted(best.items()):
        print(f"| {count} | {ours[count]:.0f} | {them:.0f} | {ours[count] / them:.2f} |")


def batched_bench(
    folder: Path, base: BaseModelRef, most: int, threads: tuple[int, int]
) -> list[dict[str, Any]]:
    """What the tool reports, one entry for each number of sequences."""
    command = [
        *(str(folder / BATCHED_BENCH), "-m", str(base.gguf), "-c", str(CELLS), "-kvu"),
        *("-b", str(BATCH), "-ub", str(BATCH), "-t", str(threads[0]), "-tb", str(threads[1])),
        *("-npp", str(PROMPT), "-ntg", str(most), "-npl", f"1,{AT_ONCE}"),
        *("--output-format", "jsonl"),
        *(() if may_repack() else ("--no-repack",)),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"n_kv_max"')]


if __name__ == "__main__":
    main()
