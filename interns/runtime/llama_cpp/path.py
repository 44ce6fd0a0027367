"""How adapters come upon the base: `SwapPath` one at a time, `SwitchPath` all in one batch.

An engine is on one path at a time. Both answer alike; a path says which jobs it can answer exactly.
"""

from __future__ import annotations

from typing import Protocol

from interns.adapter import Adapter
from interns.gguf.roster_file import RosterFile
from interns.runtime.llama_cpp.adapters import AdapterPool
from interns.runtime.llama_cpp.batch import ContextSize
from interns.runtime.llama_cpp.jobs import Job
from interns.runtime.llama_cpp.library import Context, Model


class Path(Protocol):
    """A model in memory and a context on it. Used by the owner thread only.

    Attributes:
        name: ``swap`` or ``switch``.
        mixes: Whether one batch may hold several interns.
        mark: What keys and values computed on this path are filed under; equal marks can read each
            other's.
    """

    name: str
    mixes: bool
    mark: str

    @property
    def context(self) -> Context:
        """Its cache, from `open` to `shut`."""
        ...

    def open(self) -> None:
        """Make the context.

        Raises:
            InternsError: There is not enough memory.
        """
        ...

    def shut(self) -> None:
        """Free the context; the model stays."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...

    def obstacle(self, job: Job) -> str:
        """Why this path cannot answer a job exactly; empty if it can."""
        ...

    def take(self, adapter: Adapter | None) -> None:
        """A job with this adapter begins.

        Raises:
            Incompatible: llama.cpp refuses the adapter.
        """
        ...

    def give_back(self, adapter: Adapter | None) -> None:
        """A job with this adapter is over."""
        ...

    def use(self, adapter: Adapter | None) -> bool:
        """The next batch is for this adapter; True if something had to be changed."""
        ...

    def first_token(self, adapter: Adapter | None) -> int | None:
        """What stands at position 0 in place of the prompt's own token, if anything."""
        ...

    def stats(self) -> dict[str, int]:
        """Numbers of the adapters in memory; from any thread."""
        ...


class _Opened:
    """What both paths have: a model, and a context while it is open."""

    def __init__(self, model: Model, size: ContextSize, vocabulary: int | None = None) -> None:
        self._model = model
        self._size = size
        self._vocabulary = vocabulary
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        """Its cache, from `open` to `shut`."""
        assert self._context is not None, "it is open"  # noqa: S101 - our own invariant
        return self._context

    def open(self) -> None:
        """Make the context."""
        self._context = Context(self._model, self._size, self._vocabulary)

    def shut(self) -> None:
        """Free the context; the model stays."""
        if self._context is not None:
            self._context.close()
            self._context = None

    def close(self) -> None:
        """Free everything."""
        self.shut()
        self._model.close()


class SwapPath(_Opened):
    """The base as it is, with one adapter on the context at a time.

    Args:
        model: The base; from now on this object's.
        size: Of the context.
        adapters: Adapters to keep loaded.
        adapter_bytes: Bytes of their files to keep loaded.
    """

    name = "swap"
    mixes = False
    mark = ""

    def __init__(self, model: Model, size: ContextSize, adapters: int, adapter_bytes: int) -> None:
        super().__init__(model, size)
        self._most = adapters, adapter_bytes

    def open(self) -> None:
        """Make the context."""
        super().open()
        self._pool = AdapterPool(self._model, self.context, *self._most)

    def obstacle(self, job: Job) -> str:
        """Nothing: this path can answer everything."""
        del job
        return ""

    def take(self, adapter: Adapter | None) -> None:
        """Load the adapter if it is not, and keep it while it answers."""
        self._pool.take(adapter)

    def give_back(self, adapter: Adapter | None) -> None:
        """One answer with this adapter is over."""
        self._pool.give_back(adapter)

    def use(self, adapter: Adapter | None) -> bool:
        """Put the adapter on the context; True if another one was there."""
        pointer = self._pool.take(adapter)
        self._pool.give_back(adapter)
        return self.context.use_adapter(pointer, adapter.scale if adapter else 0.0)

    def first_token(self, adapter: Adapter | None) -> int | None:
        """Nothing: the prompt stays as it is."""
        del adapter
        return None

    def stats(self) -> dict[str, int]:
        """How many are loaded, their bytes, and by how many requests they are used."""
        return self._pool.stats()


class SwitchPath(_Opened):
    """A verified roster file: the first token of a sequence says whose it is.

    Args:
        model: The roster file, loaded; from now on this object's.
        size: Of the context.
        roster: What the file holds.
    """

    name = "switch"
    mixes = True

    def __init__(self, model: Model, size: ContextSize, roster: RosterFile) -> None:
        super().__init__(model, size, roster.vocabulary)
        self._roster = roster
        self.mark = f"{roster.sha256}:"

    def obstacle(self, job: Job) -> str:
        """An adapter that is not in the file, or a prompt whose first token cannot be replaced."""
        return self._roster.obstacle(job.adapter, job.prompt)

    def take(self, adapter: Adapter | None) -> None:
        """Nothing: all are there."""

    def give_back(self, adapter: Adapter | None) -> None:
        """Nothing: all stay."""

    def use(self, adapter: Adapter | None) -> bool:
        """Nothing: the batch says it, token by token."""
        del adapter
        return False

    def first_token(self, adapter: Adapter | None) -> int | None:
        """The adapter's token, which is read as the one that it takes the place of."""
        return None if adapter is None else self._roster.tokens[adapter.sha256, adapter.scale]

    def stats(self) -> dict[str, int]:
        """How many are in the file; they are part of the base's own memory."""
        return {"adapters_loaded": len(self._roster.tokens)}
