"""A base made ready to be used: fetched, converted, quantized, and written down.

Works in a folder of its own that the office later puts under the bases; whatever was fetched before
a run was interrupted is still there when the same base is pulled again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interns.base_source import BaseSource
from interns.errors import BrokenFile, InvalidInput
from interns.gguf.adapter_file import file_sha256, template_sha256
from interns.gguf.base_file import chat_template_of, check_base, write_base_gguf
from interns.gguf.chat_template import OURS, add_template
from interns.gguf.quantizing import K_QUANTS, quantize_gguf
from interns.gguf.reader import read_gguf
from interns.gguf.tokenizer_json import (
    read_tokenizer,
    special_tokens,
    tokenizer_of_gguf,
    write_tokenizer,
)
from interns.gguf.weights import Weights
from interns.hub import Repository, download, look_up, require_room
from training.artifacts import write_json

TYPES = ("Q8_0", *K_QUANTS, "F16", "F32")
_EVERY_S = 0.5
# Bytes needed beside the source, as a share of its own: the largest file on the way, and the copy
# in 32 bits that verification and training read.
_ROOM = 2.0 + 1.0

Json = dict[str, Any]
Emit = Callable[[Mapping[str, Any]], None]


def pull_base(folder: Path, emit: Emit) -> Json:
    """Make ``base.gguf`` and what belongs to it in `folder`.

    Args:
        folder: Holds ``request.json`` with name, kind, place, revision, licence and file_type.
        emit: Told what happens: step, text, and for a download its bytes.

    Returns:
        Content of ``base.json``.

    Raises:
        InvalidInput: The file type is unknown.
        NoSpace: The disk cannot hold the base.
        NeedsHuman: The repository is gated.
        Unavailable: The hub cannot be reached.
        BrokenFile: A file is truncated or damaged.
        Incompatible: The family or the tokenizer is not supported.
    """
    request = json.loads((folder / "request.json").read_text("utf-8"))
    source = BaseSource(
        request["kind"], request["place"], request["revision"], request.get("licence", "")
    )
    file_type = request["file_type"]
    if file_type not in TYPES and source.kind != "gguf":
        raise InvalidInput(f"Unknown file type {file_type!r}.", f"Use one of: {', '.join(TYPES)}.")
    gguf = folder / "base.gguf"
    commit = ""
    if source.kind == "gguf":
        ours = _take_gguf(Path(source.place), gguf, emit)
    else:
        hf = Path(source.place)
        if source.kind == "hub":
            hf, commit = _fetch(source, folder, emit)
        ours = _convert(hf, gguf, file_type, request["name"], emit)
    emit({"step": "check", "text": "Hashing the files."})
    return _write_down(folder, request, source, commit, ours=ours)


def _fetch(source: BaseSource, folder: Path, emit: Emit) -> tuple[Path, str]:
    emit({"step": "look up", "text": f"Asking the hub for {source.place}."})
    repository: Repository = look_up(source.place, source.revision)
    into = folder / "source"
    have = sum(f.stat().st_size for f in into.glob("*") if f.is_file()) if into.is_dir() else 0
    needed = round(repository.size * (1 + _ROOM)) - have
    require_room(folder, needed, f"{source.place}, its conversion and its check")
    told = 0.0

    def report(name: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _EVERY_S or done == total:
            told = now
            text = f"{name}: {done / 1e6:.1f} of {total / 1e6:.1f} MB"
            emit({"step": "download", "text": text, "bytes": done, "total_bytes": total})

    if have:
        text = f"Going on with the download; {have / 1e6:.1f} MB are here already."
        emit({"step": "download", "text": text, "bytes": have, "total_bytes": repository.size})
    download(repository, into, report)
    return into, repository.commit


def _convert(hf: Path, out: Path, file_type: str, name: str, emit: Emit) -> bool:
    """Write the GGUF and the tokenizer; whether the chat template is ours."""
    size = sum(file.stat().st_size for file in hf.glob("*.safetensors"))
    require_room(out.parent, round(size * _ROOM), f"The conversion of {hf.name} and its check")
    Weights.of_folder(hf)  # a truncated file is told before the work begins
    ours = not chat_template_of(hf)
    k_quant = file_type in K_QUANTS
    first = out.with_name("unquantized.gguf") if k_quant else out
    emit({"step": "convert", "text": f"Converting to GGUF ({'F16' if k_quant else file_type})."})

    def report(done: int, total: int) -> None:
        text = f"{done} of {total} weights"
        emit({"step": "convert", "text": text, "bytes": done, "total_bytes": total})

    write_base_gguf(
        hf, first, "F16" if k_quant else file_type, name=name, template=OURS, report=report
    )
    write_tokenizer(read_tokenizer(hf), special_tokens(hf), out.parent)
    if k_quant:
        emit({"step": "quantize", "text": f"Quantizing to {file_type}."})
        quantize_gguf(first, out, file_type)
        first.unlink()
    return ours


def _take_gguf(given: Path, out: Path, emit: Emit) -> bool:
    """Copy a ready-made GGUF; whether the chat template is ours."""
    emit({"step": "convert", "text": f"Copying {given.name}."})
    file = check_base(given)
    require_room(out.parent, 6 * given.stat().st_size, f"A copy of {given.name} and its check")
    ours = not file.text("tokenizer.chat_template")
    if ours:
        add_template(given, out, OURS)
    else:
        partial = out.with_suffix(".copy")
        shutil.copyfile(given, partial)
        partial.replace(out)
    tokens = file.metadata["tokenizer.ggml.tokens"]
    special = {
        f"{key}_token": tokens[int(file.number(f"tokenizer.ggml.{name}_token_id"))]
        for key, name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
        if f"tokenizer.ggml.{name}_token_id" in file.metadata
    }
    if "eos_token" not in special:
        raise BrokenFile(f"{given.name} names no token that ends a text.", "Choose another file.")
    write_tokenizer(tokenizer_of_gguf(file), special, out.parent)
    return ours


def _write_down(
    folder: Path, request: Mapping[str, Any], source: BaseSource, commit: str, *, ours: bool
) -> Json:
    gguf = folder / "base.gguf"
    file = read_gguf(gguf)
    template = file.text("tokenizer.chat_template")
    kinds = {info.kind.name for info in file.tensors.values() if len(info.shape) > 1}
    facts = {
        "name": request["name"],
        "source": source.place,
        "kind": source.kind,
        "revision": commit or source.revision,
        "licence": source.licence,
        "family": file.text("general.architecture"),
        "file_type": request["file_type"] if source.kind != "gguf" else "/".join(sorted(kinds)),
        "bytes": gguf.stat().st_size,
        "parameters": sum(_count(info.shape) for info in file.tensors.values()),
        "sha256": file_sha256(gguf),
        "tokenizer_sha256": file_sha256(folder / "tokenizer.json"),
        "template_sha256": template_sha256(template),
        "template": "ours" if ours else "the base's own",
        "pulled_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(folder / "base.json", facts)
    return facts


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
