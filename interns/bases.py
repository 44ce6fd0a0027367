"""The bases an office can use; the embedded starter is the default.

The base that trains is the base that serves: torch gets the GGUF's own weights, dequantized once
into a Hugging Face folder that is cached by the GGUF's hash and checked before use.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, NotFound
from interns.gguf.base_file import write_hf_folder
from interns.manifest import check_sums, seal_folder, sha256_of
from interns.paths import Paths
from interns.settings import Settings

STARTER = Path(__file__).with_name("starter")
FACTS = "base.json"
VERIFICATION = "verification.json"


def starter() -> BaseModelRef:
    """Return the base that comes with the package.

    Raises:
        BrokenFile: Its file is missing.
    """
    gguf = STARTER / "starter.gguf"
    if not gguf.is_file():
        raise BrokenFile(f"The embedded base {gguf} is missing.", "Install Interns again.")
    return BaseModelRef("starter", gguf, _hash(gguf, gguf.stat().st_mtime_ns), STARTER)


def base_named(name: str, paths: Paths) -> BaseModelRef:
    """Return a base that is here.

    Raises:
        NotFound: There is none of that name.
        BrokenFile: The embedded one is missing.
    """
    if name == "starter":
        return starter()
    folder = paths.bases / name
    gguf = folder / "base.gguf"
    if not gguf.is_file() or Path(name).name != name:
        raise NotFound(
            f"No base is called {name!r} in {paths.bases}.",
            "Use `interns config set base.name starter`, or see `interns bases list`.",
        )
    facts, size = base_facts(folder), gguf.stat()
    known = facts.get("sha256") if facts.get("bytes") == size.st_size else None
    # The engine hashes the file anew before it loads it.
    return BaseModelRef(name, gguf, known or _hash(gguf, size.st_mtime_ns), folder)


def current_base(settings: Settings, paths: Paths) -> BaseModelRef:
    """Return the base the office uses.

    Raises:
        NotFound: The configured base is not here.
    """
    return base_named(settings.base.name, paths)


def bases_here(paths: Paths) -> list[BaseModelRef]:
    """Return every base that is here, the starter first."""
    folders = sorted(paths.bases.glob("*/base.gguf")) if paths.bases.is_dir() else []
    return [starter(), *(base_named(file.parent.name, paths) for file in folders)]


def list_bases(settings: Settings, paths: Paths) -> list[dict[str, Any]]:
    """Return every base that is here.

    Returns:
        For each: ``name``, ``sha256``, ``bytes``, ``path``, ``in_use``, ``verified``, and what was
        written down when it was pulled (family, file_type, licence, source, template).
    """
    return [
        {
            **base_facts(base.gguf.parent),
            "name": base.name,
            "sha256": base.sha256,
            "bytes": base.gguf.stat().st_size,
            "path": str(base.gguf),
            "in_use": base.name == settings.base.name,
            "verified": is_verified(base),
        }
        for base in bases_here(paths)
    ]


def base_facts(folder: Path) -> dict[str, Any]:
    """What was written down when a base was pulled; empty for one put there by hand."""
    if folder == STARTER:
        return {"family": "llama", "file_type": "Q8_0", "licence": "Apache-2.0"}
    return _read_json(folder / FACTS)


def is_verified(base: BaseModelRef) -> bool:
    """Whether llama.cpp and torch were found to agree on exactly this file."""
    if base.gguf.parent == STARTER:
        return True  # checked before every release
    found = _read_json(base.gguf.parent / VERIFICATION)
    return bool(found.get("passed")) and found.get("sha256") == base.sha256


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def torch_folder(base: BaseModelRef, paths: Paths) -> Path:
    """Return a Hugging Face folder with the base's own weights, made on first use.

    Several processes may ask at once; one makes it, the others wait. A folder whose hashes are
    wrong is made again.
    """
    target = paths.bases / base.sha256[:12] / "hf"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            try:
                check_sums(target)
            except BrokenFile:
                shutil.rmtree(target)
            else:
                return target
        partial = target.with_name("hf.partial")
        shutil.rmtree(partial, ignore_errors=True)
        write_hf_folder(base.gguf, base.tokenizer, partial)
        seal_folder(partial)
        partial.replace(target)
    return target


@lru_cache(maxsize=16)
def _hash(path: Path, _changed_ns: int) -> str:
    return sha256_of(path)
