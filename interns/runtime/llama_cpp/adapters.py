"""Adapters in memory: loaded when first needed, the longest unused given up."""

from __future__ import annotations

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
    if file_sha256(adapter.path) != adapter.sha256:
        raise BrokenFile(
            f"{adapter.path.name} was changed after it was registered.",
            "Import the intern again, or roll back to another version.",
        )


class AdapterPool:
    """At most `most` adapters on one model. Used by the owner thread only.

    Every loaded adapter makes a swap slower, so few are kept; one that answers at the moment is
    never given up.
    """

    def __init__(self, model: Model, context: Context, most: int) -> None:
        self._model = model
        self._context = context
        self._most = most
        self._loaded: dict[str, Any] = {}
        self._users: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._loaded)

    def take(self, adapter: Adapter | None) -> Any | None:
        """Pointer of the adapter, loaded if it is not; None for the bare base."""
        if adapter is None:
            return None
        pointer = self._loaded.pop(adapter.sha256, None)
        if pointer is None:
            self._make_room()
            pointer = self._model.load_adapter(adapter.path)
        self._loaded[adapter.sha256] = pointer
        self._users[adapter.sha256] = self._users.get(adapter.sha256, 0) + 1
        return pointer

    def give_back(self, adapter: Adapter | None) -> None:
        """One answer with this adapter is over."""
        if adapter is not None:
            self._users[adapter.sha256] -= 1

    def _make_room(self) -> None:
        idle = [sha for sha in self._loaded if not self._users.get(sha)]
        for sha in idle[: max(0, len(self._loaded) + 1 - self._most)]:
            self._context.use_adapter(None)
            self._model.free_adapter(self._loaded.pop(sha))
            self._users.pop(sha, None)
