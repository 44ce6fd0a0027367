"""Where a base can come from: a recommended one, a hub repository, a folder or a GGUF file."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from interns.errors import InvalidInput

Kind = Literal["hub", "folder", "gguf"]

_FILE = Path(__file__).with_name("recommended.toml")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_Q8_BYTES, _F32_BYTES, _HUB_BYTES = 1.07, 4.0, 2.0  # per parameter


@dataclass(frozen=True)
class Recommended:
    """A base known to work here.

    Attributes:
        name: What to call it on the command line.
        repository: On the hub.
        family: As the exporter knows it.
        licence: Under which its maker gives it away.
        parameters: Numbers in it, about.
        gated: Whether its licence must be accepted before it can be downloaded.
    """

    name: str
    repository: str
    family: str
    licence: str
    parameters: int
    gated: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values with estimates: bytes to download, to keep as Q8_0, to serve and to train."""
        kept = round(self.parameters * _Q8_BYTES)
        download = round(self.parameters * _HUB_BYTES)
        memory = memory_of(self.parameters, kept)
        return {**asdict(self), "download_bytes": download, "bytes": kept, **memory}


def memory_of(parameters: int, size: int) -> dict[str, int]:
    """Rough memory, in bytes, to serve a base and to train on it (in 32 bits).

    Args:
        parameters: Numbers in it; 0 where that is not known.
        size: Of its GGUF file.
    """
    if not parameters:
        return {}
    return {
        "serve_bytes": round(1.1 * size) + 300_000_000,
        "train_bytes": round(1.2 * _F32_BYTES * parameters) + 1_000_000_000,
    }


@dataclass(frozen=True)
class BaseSource:
    """Where a base comes from.

    Attributes:
        kind: What `place` is.
        place: Repository, or absolute path of a folder or file.
        revision: Of the repository; empty is its newest.
        licence: As far as it is known.
    """

    kind: Kind
    place: str
    revision: str = ""
    licence: str = ""

    def default_name(self) -> str:
        """A name made of the place's last part."""
        last = Path(self.place).stem if self.kind == "gguf" else self.place.rsplit("/", 1)[-1]
        return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-.")[:64] or "base"


@cache
def recommended() -> tuple[Recommended, ...]:
    """The bases that are known to work here."""
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(Recommended(**entry) for entry in data["base"])


def parse_source(text: str) -> BaseSource:
    """Understand what a person typed.

    Args:
        text: A recommended name, ``owner/name`` or ``owner/name@revision`` on the hub, a folder
            with safetensors, or a GGUF file. Absolute paths of this machine win.

    Raises:
        InvalidInput: It is none of these; the nearest recommended name is given.
    """
    path = Path(text).expanduser()
    if path.is_absolute() and path.is_dir():
        return BaseSource("folder", str(path.absolute()))
    if path.is_absolute() and path.is_file():
        return BaseSource("gguf", str(path.absolute()))
    for one in recommended():
        if text.lower() in {one.name, one.repository.lower()}:
            return BaseSource("hub", one.repository, licence=one.licence)
    if text.endswith(".gguf") or text.startswith(("/", "./", "~")):
        raise InvalidInput(f"There is no {text}.", "Check the path.")
    if _REPOSITORY.fullmatch(text):
        place, _, revision = text.partition("@")
        return BaseSource("hub", place, revision)
    names = [one.name for one in recommended()]
    near = difflib.get_close_matches(text.lower(), names, n=1)
    raise InvalidInput(
        f"{text!r} is no recommended base, no hub repository (owner/name), no folder and no file.",
        f"Did you mean {near[0]!r}?" if near else "See `interns bases list`.",
    )


def check_base_name(name: str) -> str:
    """Return `name` if it may name a base.

    Raises:
        InvalidInput: It is empty, too long, taken by the package or has other characters.
    """
    if not _NAME.fullmatch(name) or name == "starter":
        raise InvalidInput(
            f"{name!r} cannot name a base.",
            "Use lower-case letters, digits, '.', '_' and '-', at most 64; not 'starter'.",
        )
    return name
