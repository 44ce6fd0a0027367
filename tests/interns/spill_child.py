"""A process with an engine that spills: one whose disk is full, and one that is to be killed."""

from __future__ import annotations

import itertools
import resource
import sys
from pathlib import Path

from interns.bases import starter
from interns.completion import CompletionRequest, Message, Sampling
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.engine import LlamaEngine

ROLE = "You sell lamps for an office by the sea and answer every letter in one short sentence. " * 3
TEXTS = ("Where is my parcel?", "A lamp broke.", "Nobody wrote to me.")


def main(folder: Path, what: str) -> None:
    """Ask the texts once with a full disk, or ask without end."""
    if what == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    budget = Budget(prefix_mib=1, prefix_folder=folder, prefix_disk_mib=256)
    with LlamaEngine(starter(), context_tokens=1024, slots=1, threads=1, budget=budget) as engine:
        for number, text in enumerate(itertools.cycle(TEXTS) if what == "endless" else TEXTS):
            asked = f"{number}. {text}" if what == "endless" else text
            messages = (Message("system", ROLE), Message("user", asked))
            engine.complete(CompletionRequest(messages, sampling=Sampling(max_tokens=2)))
            print("answered", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
