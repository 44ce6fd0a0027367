"""The sequences of the engine's cache: who has which, what they begin with, what is kept of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from interns.errors import InternsError
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.jobs import Job, Solo
from interns.runtime.llama_cpp.library import Context
from interns.runtime.llama_cpp.loans import Loans
from interns.runtime.llama_cpp.path import Path
from interns.runtime.llama_cpp.prefix_cache import PrefixCache
from interns.runtime.llama_cpp.prefixes import AdapterKey, Kept

SHORTEST = 4

log = logging.getLogger(__name__)


class Sequences:
    """Places in the cache of the present path. Used by the owner thread only.

    Args:
        path: Already open; from now on this object's.
        prefixes: Keys and values of finished requests.
        count: Sequences that jobs may have at once.

    Attributes:
        path: The present one.
        open: Sequences that jobs have.
    """

    def __init__(self, path: Path, prefixes: PrefixCache, count: int) -> None:
        self.path = path
        self._prefixes = prefixes
        self._count = count
        self.free = list(range(count))
        self.open: set[int] = set()
        self._first: dict[int, int] = {}
        self._loans = Loans()

    @property
    def context(self) -> Context:
        """The present path's."""
        return self.path.context

    def stats(self) -> dict[str, int]:
        """Numbers of sequences, adapters and prefixes; from any thread."""
        return {"sequences": len(self.open), **self.path.stats(), **self._prefixes.stats()}

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch; a sequence begins with its intern's token where the path wants that.

        Raises:
            InternsError: There is no room for it, or llama.cpp failed.
        """
        if self._first and any(row.position == 0 for row in rows):
            rows = [self._begun(row) for row in rows]
        if not self.context.decode(rows):
            raise InternsError("The KV cache is full.", "Raise engine.context_tokens.")

    def cells(self, job: Job) -> int:
        """Cells that a job may need besides those it has from another."""
        return job.cells - self._loans.borrowed(job.sequence)

    def begin(self, job: Job, alike: Job | None = None, length: int = 0) -> None:
        """Give a job a sequence, with what is there already: its own pause, or a known prefix.

        When that fails, with whatever error, it has none.

        Args:
            job: It has none yet.
            alike: A job in progress that begins with the same tokens.
            length: How many of them are there.

        Raises:
            Incompatible: llama.cpp refuses its adapter.
            InternsError: There is no room.
        """
        self.path.take(job.adapter)
        job.sequence = self._take()
        try:
            self._fill(job, alike, length)
        except BaseException:
            self.release(job)
            raise
        first = self.path.first_token(job.adapter)
        if first is not None:
            self._first[job.sequence] = first

    def release(self, job: Job) -> None:
        """Take its sequence from a job that is not over."""
        self.end(job)
        self.clear_away(job)

    def end(self, job: Job) -> None:
        """A job is over and counts no more; what it computed lies there until `clear_away`."""
        self.open.discard(job.sequence)
        self.path.give_back(job.adapter)

    def clear_away(self, job: Job, *, keep: bool = False) -> None:
        """Free the sequence of an ended job, which may be copied first for the next such prompt."""
        try:
            if keep:
                self._keep(job)
        except Exception:  # a copy that failed is not the failure of an answer
            log.exception("what an answer computed could not be kept")
        self.context.drop_sequence(job.sequence)
        self.free.append(job.sequence)
        self._loans.leave(job.sequence)
        self._first.pop(job.sequence, None)
        job.sequence = -1

    def go_to(self, path: Path) -> None:
        """Leave the present path. Its context goes first, so that there are never two caches.

        No job may have a sequence any more; if the other path cannot be opened, the present one is
        opened again.

        Raises:
            InternsError: The other path cannot be opened; it is closed.
            RuntimeError: Neither can: nothing is left to compute on.
        """
        before = self.path
        self.free = list(range(self._count))
        self.open.clear()
        self._first.clear()
        self._loans.clear()
        before.shut()
        try:
            path.open()
        except InternsError:
            path.close()
            try:
                before.open()
            except InternsError as error:
                raise RuntimeError("no path can be opened") from error
            raise
        self.path = path
        before.close()

    def close(self) -> None:
        """Write down what is kept and free the path."""
        self._prefixes.close()
        self.path.close()

    # Inside -------------------------------------------------------------------------------------

    def _fill(self, job: Job, alike: Job | None, length: int) -> None:
        if job.paused:
            state, job.paused = job.paused, b""
            if not self.context.restore_sequence(job.sequence, state):
                raise InternsError("The KV cache is full.", "Raise engine.context_tokens.")
            return
        key = _files_under(job)
        found = None if key is None else self._prefixes.find(self._filed(key), job.prompt)
        if alike is not None and length >= max(SHORTEST, found[1] if found else 0):
            self.context.copy_sequence(alike.sequence, job.sequence, length)
            self._loans.lend(alike.sequence, job.sequence, length)
        else:
            length = self._known(found, job.prompt, job.sequence)
        job.start(job.sequence, length)

    def _keep(self, job: Job) -> None:
        key = _files_under(job)
        if key is None:
            return
        filed = self._filed(key)
        if self._prefixes.wants(filed, job.tokens):
            self._save(filed, job.tokens, job.sequence)

    def _begun(self, row: Row) -> Row:
        token = self._first.get(row.sequences[0]) if row.position == 0 else None
        return row if token is None else replace(row, token=token)

    def _known(self, found: tuple[Kept, int] | None, tokens: Sequence[int], sequence: int) -> int:
        """Put what is known of these tokens into a sequence; returns how many that are.

        At least two tokens are left to compute.
        """
        if found is None:
            return 0
        kept, shared = found
        length = min(shared, len(tokens) - 2)
        if length < SHORTEST or not self.context.restore_sequence(sequence, kept.state):
            self.context.drop_sequence(sequence)
            return 0
        self.context.drop_sequence(sequence, length)
        if length == shared and self._prefixes.wants_head(kept, shared, tokens):
            self._save(kept.key, tokens[:shared], sequence, head=True)
        return length

    def _take(self) -> int:
        """A free sequence; with no other one open the cache is cleared first.

        In a tidy cache the same prompt gives the same numbers to the last bit.
        """
        if not self.open:
            self.context.clear()
        sequence = self.free.pop()
        self.open.add(sequence)
        return sequence

    def _save(
        self, filed: AdapterKey, tokens: Sequence[int], sequence: int, *, head: bool = False
    ) -> None:
        if state := self.context.save_sequence(sequence):
            self._prefixes.keep(Kept(filed, tuple(tokens), state, head))

    def _filed(self, key: AdapterKey) -> AdapterKey:
        """Where keys and values lie: those of one path are not readable on another."""
        return f"{self.path.mark}{key[0]}", key[1]


def _files_under(job: Job) -> AdapterKey | None:
    return job.files_under if isinstance(job, Solo) else job.key
