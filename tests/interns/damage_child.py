"""A process that loads damaged files, one after the other, and says what came of each."""

from __future__ import annotations

import dataclasses
import random
import sys
from pathlib import Path

from interns.adapter import Adapter
from interns.bases import starter
from interns.completion import CompletionRequest, Message, Sampling
from interns.errors import InternsError
from interns.gguf.adapter_file import file_sha256
from interns.gguf.reader import read_gguf
from interns.runtime.llama_cpp.engine import LlamaEngine

BASE = starter()
ASKED = (Message("user", "Where is my parcel?"),)


def damaged(whole: bytes, header: int, seed: int) -> bytes:
    """A file with some bits flipped or numbers replaced, mostly in its header, or cut off."""
    chance, data = random.Random(seed), bytearray(whole)
    if seed % 6 == 5:
        return whole[: chance.randrange(chance.choice((header, len(whole))))]
    for _ in range(chance.choice((1, 1, 1, 3, 10))):
        at = chance.randrange(header if seed % 6 < 4 else len(data) - 8)
        match seed % 3:
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.choice((0, 127, 128, 255))
            case _:
                data[at : at + 4] = chance.choice((bytes(4), b"\xff" * 4, chance.randbytes(4)))
    return bytes(data)


def as_adapter(engine: LlamaEngine, path: Path) -> None:
    """Answer with the file as an adapter that was registered so."""
    adapter = Adapter(path, file_sha256(path), BASE.sha256)
    engine.complete(CompletionRequest(ASKED, adapter, Sampling(max_tokens=3)))


def as_base(path: Path) -> None:
    """Answer with the file as a base that was registered so."""
    base = dataclasses.replace(BASE, gguf=path, sha256=file_sha256(path))
    with LlamaEngine(base, context_tokens=256, slots=1, threads=1) as engine:
        engine.complete(CompletionRequest(ASKED, sampling=Sampling(max_tokens=3)))
        engine.score_choices(ASKED, ("yes", "no"))


def main(source: Path, work: Path, kind: str, seeds: range) -> None:
    """Try each seed; print its number before and what came of it after."""
    whole = source.read_bytes()
    header = min(tensor.offset for tensor in read_gguf(source).tensors.values())
    with LlamaEngine(BASE, context_tokens=256, slots=1, threads=1) as engine:
        for seed in seeds:
            path = work / f"{seed}.gguf"
            path.write_bytes(damaged(whole, header, seed))
            print(seed, end=" ", flush=True)
            try:
                as_adapter(engine, path) if kind == "adapter" else as_base(path)
                print("served", flush=True)
            except InternsError as error:
                print("refused" if len(error.message) > 10 else "without a reason", flush=True)
            path.unlink()
        engine.complete(CompletionRequest(ASKED, sampling=Sampling(max_tokens=3)))
    print("alive", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], range(int(sys.argv[4])))
