"""An answer through the daemon against the same GGUF through `llama_cpp.Llama` directly.

Run: ``python benchmarks/daemon.py``. Both answer the same question with the shipped `interviewer` on
the same GGUF and prompt, in turn, 10 times each; medians and their ratio. The daemon's figures
include HTTP, routing by name, streaming and its repeat penalty; `Llama` decodes greedily without
one, so the answers differ in length: the rate counts the tokens after the first. Then the daemon's
memory with the shipped interns loaded, and how long nobody answers after it is killed.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from peer import llama

from interns.bases import starter
from interns.charter import Charter
from interns.paths import Paths
from interns.prompt import task_messages
from interns.registry import InternRegistry
from orchestrator.client import OfficeClient

SHIPPED = ("interviewer", "facts", "guide")
QUESTION = "What is the difference between a process and a thread?"
ROUNDS = 10


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder)).create()
        client = OfficeClient.connect(paths)
        try:
            _measure(client, paths)
            client = _after_a_kill(client, paths)
        finally:
            client.shutdown()


def _after_a_kill(client: OfficeClient, paths: Paths) -> OfficeClient:
    """Kill the daemon, have another one started and answer; print the seconds."""
    os.kill(client.address.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(client.address.pid)], timeout=10)
    begun = time.perf_counter()
    client = OfficeClient.connect(paths)
    _through_daemon(client)
    print(f"\nKilled, started again and answered in {time.perf_counter() - begun:.1f} s.")
    return client


def _measure(client: OfficeClient, paths: Paths) -> None:
    pid = client.status()["pid"]
    for name in SHIPPED:
        client.import_folder(name)
    _through_daemon(client)
    intern = client.intern("interviewer")
    version = client.versions("interviewer")[-1]
    direct = llama(
        model_path=str(starter().gguf),
        lora_path=str(Path(version["folder"]) / "adapter.gguf"),
        n_ctx=2048,
        n_threads=os.cpu_count(),
        verbose=False,
    )
    prompt = _prompt(intern, paths)
    figures: dict[str, list[tuple[float, float]]] = {"daemon": [], "llama_cpp.Llama": []}
    for _ in range(ROUNDS):
        figures["daemon"].append(_through_daemon(client))
        figures["llama_cpp.Llama"].append(_directly(direct, prompt))
    print("| | first token, ms | tokens/s after it |\n|---|---|---|")
    medians = {}
    for name, rows in figures.items():
        first, rate = (statistics.median(column) for column in zip(*rows, strict=True))
        medians[name] = (first, rate)
        print(f"| {name} | {first * 1000:.1f} | {rate:.0f} |")
    ours, theirs = medians["daemon"], medians["llama_cpp.Llama"]
    print(f"| ratio | {ours[0] / theirs[0]:.2f} | {ours[1] / theirs[1]:.2f} |")
    for name in SHIPPED:
        list(client.ask("Order 512 for Ada, two lamps.", intern=name))
    used = psutil.Process(pid).memory_info()
    print(f"\nDaemon, base and {len(SHIPPED)} interns loaded: RSS {used.rss / 2**20:.0f} MiB.")


def _prompt(intern: dict[str, object], paths: Paths) -> str:
    from interns.database import open_database

    registry = InternRegistry(open_database(paths.database), paths, starter())
    profile = registry.get(str(intern["name"])).profile
    from interns.gguf.reader import read_gguf
    from interns.prompt import ChatTemplate

    source = read_gguf(starter().gguf).text("tokenizer.chat_template")
    template = ChatTemplate(source, "<|endoftext|>", "<|im_end|>")
    return template.render(task_messages(profile, QUESTION, charter=Charter()))


def _through_daemon(client: OfficeClient) -> tuple[float, float]:
    started, first, tokens = time.perf_counter(), 0.0, 0
    for event in client.ask(QUESTION, intern="interviewer"):
        if event["event"] == "token" and not first:
            first = time.perf_counter() - started
        if event["event"] == "done":
            tokens = event["tokens"]
    return first, (tokens - 1) / (time.perf_counter() - started - first)


def _directly(model: Any, prompt: str) -> tuple[float, float]:
    model.reset()
    started, first, tokens = time.perf_counter(), 0.0, 0
    pieces = model.create_completion(
        model.tokenize(prompt.encode(), add_bos=False, special=True),
        max_tokens=128,
        temperature=0.0,
        stream=True,
    )
    for _ in pieces:
        first = first or time.perf_counter() - started
        tokens += 1
    return first, (tokens - 1) / (time.perf_counter() - started - first)


if __name__ == "__main__":
    main()
