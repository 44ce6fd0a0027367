"""Prefixes on disk: what no longer fits in memory, found again after a restart.

One file per prefix: a header that says for whom and by what it was computed, then keys and values.
Memory holds only an index. Nothing reaches llama.cpp, which may end the process on foreign bytes,
before header and checksum were found to be right; a file that is not is deleted.

The files are written by a thread of their own. Answers never wait for it: what it cannot take in
time is not written, and when the disk is full nothing is any more.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import struct
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from interns.errors import NoSpace
from interns.gguf.writing import whole_file
from interns.runtime.llama_cpp.prefixes import AdapterKey, Kept, Name, PrefixIndex, Tokens

_MAGIC = b"interns prefix 1"
_FIXED = struct.Struct(f"<{len(_MAGIC)}s32sQ")  # magic, hash of the header, length of the header
_ENDING = ".prefix"
_WAITING = 16 * 2**20
_HOUR_S = 3600.0
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, struct.error)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _File:
    """What a header says.

    Attributes:
        kept: The prefix, its state still empty.
        start: First byte of the state.
        size: Bytes of the state.
        sha256: Hash of the state.
    """

    kept: Kept
    start: int
    size: int
    sha256: str

    @property
    def whole(self) -> int:
        """Bytes of the file."""
        return self.start + self.size


class PrefixFolder:
    """A folder of prefixes. `fetch`, `offer` and `close` are called by one thread.

    Args:
        folder: Made when needed; what is in it and cannot be used is deleted.
        facts: What makes keys and values readable and right: base, template, runtime. A file with
            other facts is of no use.
        most_bytes: Size of all files; the longest unused are deleted. At most as much is written in
            an hour, so that a busy office does not wear out its disk.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], most_bytes: int) -> None:
        self._folder = folder
        self._facts = dict(facts)
        self._most = most_bytes
        self._lock = threading.Lock()
        self._index = PrefixIndex()
        self._sizes: dict[Name, int] = {}  # longest unused first
        self._counts = dict.fromkeys(("disk_hits", "disk_written", "disk_dropped"), 0)
        self._full = False
        self._allowed, self._allowed_at = float(most_bytes), time.monotonic()
        self._inbox: queue.SimpleQueue[Kept | None] = queue.SimpleQueue()
        self._waiting = 0
        self._until = float("inf")
        self._look()
        self._writer = threading.Thread(target=self._write_all, name="interns-spill", daemon=True)
        self._writer.start()

    def stats(self) -> dict[str, int]:
        """Files, their bytes, and what was read, written and left out since the start."""
        with self._lock:
            sizes = self._sizes.values()
            return {"disk_prefixes": len(sizes), "disk_bytes": sum(sizes), **self._counts}

    def fetch(self, key: AdapterKey, tokens: Tokens, at_least: int) -> tuple[Kept, int] | None:
        """The prefix with the longest equal start of `at_least` tokens, and how long it is."""
        with self._lock:
            row, length = self._index.longest(key, tokens)
            if length < at_least:
                return None
            self._sizes[key, row] = self._sizes.pop((key, row))
        kept = self._read((key, row))
        with self._lock:
            if kept is None:
                self._forget((key, row))
                return None
            self._counts["disk_hits"] += 1
        return kept, length

    def offer(self, kept: Kept) -> None:
        """Have a prefix written soon, if it is not there and there is time; returns at once."""
        with self._lock:
            now = time.monotonic()
            earned = (now - self._allowed_at) * self._most / _HOUR_S
            self._allowed, self._allowed_at = min(self._most, self._allowed + earned), now
            size = len(kept.state)
            busy = self._waiting and self._waiting + size > _WAITING
            if self._full or kept.name in self._sizes:
                return
            if busy or size > self._allowed:
                self._counts["disk_dropped"] += 1
                return
            self._waiting += size
            self._allowed -= size
        self._inbox.put(kept)

    def close(self, rest: Iterable[Kept], within_s: float) -> None:
        """Write what waits and then `rest`, until `within_s` seconds have passed."""
        self._until = time.monotonic() + within_s
        for kept in rest:
            self._inbox.put(kept)
        self._inbox.put(None)
        self._writer.join()

    # Writing ------------------------------------------------------------------------------------

    def _write_all(self) -> None:
        while (kept := self._inbox.get()) is not None:
            if not self._full and time.monotonic() < self._until:
                self._write(kept)
            with self._lock:
                self._waiting = max(0, self._waiting - len(kept.state))

    def _write(self, kept: Kept) -> None:
        head = self._header(kept)
        size = len(head) + len(kept.state)
        if kept.name in self._sizes or size > self._most:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with whole_file(self._path(kept.name)) as partial, partial.open("wb") as file:
                file.write(head)
                file.write(kept.state)
        except (OSError, NoSpace) as error:
            self._full = True
            log.warning("No more prefixes are written to %s: %s", self._folder, error)
            return
        with self._lock:
            self._index.add(*kept.name)
            self._sizes[kept.name] = size
            self._counts["disk_written"] += 1
            self._make_room()

    def _header(self, kept: Kept) -> bytes:
        (adapter, scale), tokens = kept.name
        said = {
            "facts": self._facts,
            "adapter": adapter,
            "scale": scale,
            "tokens": tokens,
            "head": kept.head,
            "size": len(kept.state),
            "sha256": sha256(kept.state).hexdigest(),
        }
        text = json.dumps(said).encode()
        return _FIXED.pack(_MAGIC, sha256(text).digest(), len(text)) + text

    # Reading ------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Fill the index with the headers of all usable files; delete the others."""
        found: list[tuple[float, _File]] = []
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            try:
                with path.open("rb") as file:
                    told = self._told(file)
                    found.append((os.fstat(file.fileno()).st_mtime, told))
                if path != self._path(told.kept.name):
                    found.pop()
                    raise ValueError
            except _UNUSABLE:
                _delete(path)
        for _, told in sorted(found, key=lambda one: one[0]):
            self._index.add(*told.kept.name)
            self._sizes[told.kept.name] = told.whole
        self._make_room()

    def _told(self, file: BinaryIO) -> _File:
        """Read a header; fails with one of `_UNUSABLE`."""
        magic, digest, length = _FIXED.unpack(file.read(_FIXED.size))
        whole = os.fstat(file.fileno()).st_size
        if magic != _MAGIC or length > whole:
            raise ValueError
        text = file.read(length)
        if sha256(text).digest() != digest:
            raise ValueError
        said = json.loads(text)
        if said["facts"] != self._facts:
            raise ValueError
        key = (str(said["adapter"]), float(said["scale"]))
        kept = Kept(key, tuple(map(int, said["tokens"])), b"", bool(said["head"]))
        told = _File(kept, _FIXED.size + length, int(said["size"]), str(said["sha256"]))
        if told.whole != whole:
            raise ValueError
        return told

    def _read(self, name: Name) -> Kept | None:
        """The prefix of a file whose every byte is as it was written, or None."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                told = self._told(file)
                state = file.read(told.size)
            if told.kept.name != name or sha256(state).hexdigest() != told.sha256:
                return None
            os.utime(path)
        except _UNUSABLE:
            return None
        return replace(told.kept, state=state)

    # Files; the lock is held --------------------------------------------------------------------

    def _path(self, name: Name) -> Path:
        about = json.dumps([self._facts, *name])
        return self._folder / f"{sha256(about.encode()).hexdigest()}{_ENDING}"

    def _make_room(self) -> None:
        while sum(self._sizes.values()) > self._most:
            self._forget(next(iter(self._sizes)))

    def _forget(self, name: Name) -> None:
        if self._sizes.pop(name, None) is not None:
            self._index.remove(*name)
            _delete(self._path(name))


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):  # a folder, or gone already
        path.unlink()
