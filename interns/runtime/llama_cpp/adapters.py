"""Adapters in memory: loaded when first needed, the longest unused given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.errors import BrokenFile, Incompatible
from interns.gguf.adapter_file import check_adapter, file_sha256
from interns.runtime.llama_cpp.library import Context, Model


def verify_adapter(adapter: Adapter, base: BaseModelRef) -> None:
    """Check an adapter and its file before llama.cpp sees it.

    Raises:
        NotFound: The file is gone.
        BrokenFile: It is not the file that was registered, or it is damaged.
        Incompatible: It belongs to another base.
    """
    if adapter.base_sha256 != base.sha256:
        raise Incompatible(
            f"The adapter was trained on another base ({adapter.base_sha256[:12]}) than the one in "
            f"use ({base.name}, {base.sha256[:12]}).",
            "Use that base, or onboard the intern again on this one.",
        )
    check_adapter(adapter.path, base)
    _check_content(adapter)


class AdapterPool:
    """Adapters on one model, within a number and a budget. Used by the owner thread only.

    They are known by content: clones of an intern share weights, and a version trained anew under
    the same path is another adapter. Every loaded one makes a swap slower, so few are kept. One
    that answers at the moment is never given up, whatever the budget says.

    Args:
        model: What they are put on.
        context: Must not use one that is freed.
        most: Adapters to keep.
        most_bytes: Bytes of their files to keep.
    """

    def __init__(self, model: Model, context: Context, most: int, most_bytes: int) -> None:
        self._model = model
        self._context = context
        self._most = most
        self._most_bytes = most_bytes
        self._loaded: dict[str, tuple[Any, int]] = {}  # pointer and bytes, longest unused first
        self._users: dict[str, int] = {}

    def stats(self) -> dict[str, int]:
        """How many are loaded, their bytes, and by how many requests they are used."""
        loaded = list(self._loaded.values())
        return {
            "adapters_loaded": len(loaded),
            "adapter_bytes": sum(size for _, size in loaded),
            "adapter_users": sum(list(self._users.values())),
        }

    def take(self, adapter: Adapter | None) -> Any | None:
        """Pointer of the adapter, loaded if it is not; None for the bare base.

        Raises:
            NotFound: Its file is gone.
            BrokenFile: Its file was changed.
            Incompatible: llama.cpp refuses it.
        """
        if adapter is None:
            return None
        held = self._loaded.pop(adapter.sha256, None) or self._load(adapter)
        self._loaded[adapter.sha256] = held
        self._users[adapter.sha256] = self._users.get(adapter.sha256, 0) + 1
        return held[0]

    def give_back(self, adapter: Adapter | None) -> None:
        """One answer with this adapter is over."""
        if adapter is not None:
            self._users[adapter.sha256] -= 1

    def _load(self, adapter: Adapter) -> tuple[Any, int]:
        before = _state(adapter.path)
        _check_content(adapter)  # it may have been changed since it was verified
        size = adapter.path.stat().st_size
        self._make_room(size)
        pointer = self._model.load_adapter(adapter.path)
        if _state(adapter.path) != before:  # replaced between the two looks: who knows by what
            self._model.free_adapter(pointer)
            raise _changed(adapter)
        return pointer, size

    def _make_room(self, size: int) -> None:
        for sha in [sha for sha in self._loaded if not self._users.get(sha)]:
            held = sum(size for _, size in self._loaded.values())
            if len(self._loaded) < self._most and held + size <= self._most_bytes:
                return
            self._context.use_adapter(None)
            self._model.free_adapter(self._loaded.pop(sha)[0])
            self._users.pop(sha, None)


def _check_content(adapter: Adapter) -> None:
    if file_sha256(adapter.path) != adapter.sha256:
        raise _changed(adapter)


def _changed(adapter: Adapter) -> BrokenFile:
    return BrokenFile(
        f"{adapter.path.name} was changed after it was registered.",
        "Import the intern again, or roll back to another version.",
    )


def _state(path: Path) -> tuple[int, int, int] | None:
    """What a file cannot be replaced, written or taken away without changing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
