"""The bases an office can use; the embedded starter is the default.

The base that trains is the base that serves: torch gets the GGUF's own weights, dequantized once
into a Hugging Face folder that is cached by the GGUF's hash and checked before use.
"""

from __future__ import annotations

import fcntl
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


def starter() -> BaseModelRef:
    """Return the base that comes with the package.

    Raises:
        BrokenFile: Its file is missing.
    """
    gguf = STARTER / "starter.gguf"
    if not gguf.is_file():
        raise BrokenFile(f"The embedded base {gguf} is missing.", "Install Interns again.")
    return BaseModelRef("starter", gguf, _hash(gguf, gguf.stat().st_mtime_ns), STARTER)


def current_base(settings: Settings, paths: Paths) -> BaseModelRef:
    """Return the base the office uses.

    Raises:
        NotFound: The configured base is not here.
    """
    if settings.base.name == "starter":
        return starter()
    folder = paths.bases / settings.base.name
    gguf = folder / "base.gguf"
    if not gguf.is_file():
        raise NotFound(
            f"No base is called {settings.base.name!r} in {paths.bases}.",
            "Use `interns config set base.name starter`, or see `interns bases list`.",
        )
    return BaseModelRef(settings.base.name, gguf, _hash(gguf, gguf.stat().st_mtime_ns), folder)


def list_bases(settings: Settings, paths: Paths) -> list[dict[str, Any]]:
    """Return every base that is here: name, hash, size in bytes, and whether it is in use."""
    folders = sorted(paths.bases.glob("*/base.gguf")) if paths.bases.is_dir() else []
    found = [starter()] + [
        BaseModelRef(f.parent.name, f, _hash(f, f.stat().st_mtime_ns), f.parent) for f in folders
    ]
    return [
        {
            "name": base.name,
            "sha256": base.sha256,
            "bytes": base.gguf.stat().st_size,
            "path": str(base.gguf),
            "in_use": base.name == settings.base.name,
        }
        for base in found
    ]


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
