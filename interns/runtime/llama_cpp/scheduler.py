"""The one thread that owns the context: who is computed next.

Answers of the same adapter are computed together, one token each per step. Adapters take turns of
at most eight steps. Work that needs the context alone (label scores, logits) runs between steps.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from interns.adapter import Adapter
from interns.completion import FinishReason
from interns.errors import InternsError, Unavailable
from interns.runtime.llama_cpp.adapters import AdapterPool
from interns.runtime.llama_cpp.generation import Generation
from interns.runtime.llama_cpp.library import Context, Model, Row
from interns.runtime.llama_cpp.prefixes import AdapterKey, Kept, PrefixCache

QUANTUM = 8
PREFILL = 256
SHORTEST = 4


@dataclass(eq=False)
class Solo:
    """Work that has the context to itself.

    Attributes:
        work: What to do, on the owner thread.
        adapter: Set on the context before.
        cells: KV cells it may need.
        result: Where the outcome goes.
    """

    work: Callable[[Scheduler], Any]
    adapter: Adapter | None
    cells: int
    result: Future[Any] = field(default_factory=Future)

    def fail(self, error: InternsError) -> None:
        """Give the waiting caller an error."""
        self.result.set_exception(error)


Job = Generation | Solo


class Scheduler:
    """Runs jobs on one context.

    Args:
        model: The base.
        context: Its cache; from now on used by this object's thread only.
        slots: Answers at once.
        kept: Finished sequences to keep for their prefixes.
        adapters: Adapters to keep loaded.
    """

    def __init__(
        self, model: Model, context: Context, *, slots: int, kept: int, adapters: int
    ) -> None:
        self.context = context
        self.label_sequences = range(slots + 1, context.size.sequences)
        self._model = model
        self.slots = slots
        self._pool = AdapterPool(model, context, adapters)
        self._prefixes = PrefixCache(kept, context.size.cells // 2)
        self._free = list(range(slots + 1))
        self._open: set[int] = set()
        self._waiting: deque[Job] = deque()
        self._active: dict[AdapterKey, list[Generation]] = {}
        self._turns: deque[AdapterKey] = deque()
        self._steps_left = QUANTUM
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self.counts = dict.fromkeys(
            ("steps", "swaps", "prompt_tokens", "cached_tokens", "written_tokens", "scored"), 0
        )
        self._thread = threading.Thread(target=self._run, name="interns-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand over a job from any thread.

        Raises:
            Unavailable: The engine was closed.
        """
        with self._lock:
            if self._closed:
                raise Unavailable("The engine is closed.", "Start it again.")
            self._inbox.put(job)

    def close(self) -> None:
        """Stop after the current step, fail what is left, free everything. Safe to call twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def stats(self) -> dict[str, int]:
        """Counters and the present load; approximate while answers are written."""
        return {
            **self.counts,
            "active": sum(len(runs) for runs in list(self._active.values())),
            "waiting": len(self._waiting) + self._inbox.qsize(),
            "adapters_loaded": len(self._pool),
            "kept_prefixes": len(self._prefixes),
            "kept_tokens": self._prefixes.tokens,
        }

    # What solo work may use ---------------------------------------------------------------------

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch.

        Raises:
            InternsError: There is no room for it, or llama.cpp failed.
        """
        if not self.context.decode(rows):
            raise InternsError("The KV cache is full.", "Raise engine.context_tokens.")
        self.counts["steps"] += 1

    def open_sequence(self, key: AdapterKey, tokens: Sequence[int]) -> tuple[int, int]:
        """A sequence for these tokens, and how many of them it holds already.

        At least two tokens are left to compute. With no other sequence open the cache is cleared
        first: in a tidy cache the same prompt gives the same numbers to the last bit.
        """
        if not self._open:
            self.context.clear()
        sequence = self._free.pop()
        self._open.add(sequence)
        found = self._prefixes.find(key, tokens)
        if found is None:
            return sequence, 0
        kept, length = found
        length = min(length, len(tokens) - 2)
        if length < SHORTEST or not self.context.restore_sequence(sequence, kept.state):
            self.context.drop_sequence(sequence)
            return sequence, 0
        self.context.drop_sequence(sequence, length)
        return sequence, length

    def close_sequence(self, sequence: int, key: AdapterKey, tokens: Sequence[int]) -> None:
        """Give a sequence back; what it holds is kept for the next prompt that begins like it.

        Args:
            sequence: From `open_sequence`.
            key: Under which adapter it was computed.
            tokens: What it holds, or nothing if it must not be used again.
        """
        if self._prefixes.wants(key, tokens):
            state = self.context.save_sequence(sequence)
            if state:
                self._prefixes.keep(Kept(key, tuple(tokens), state))
        self._release(sequence)

    # The loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._receive()
                self._end_cancelled()
                self._admit()
                self._step()
        finally:
            with self._lock:
                self._closed = True
            self._shut_down()

    def _receive(self) -> None:
        idle = not self._waiting and not self._active
        while idle or not self._inbox.empty():
            job = self._inbox.get()
            if job is None:
                return
            self._waiting.append(job)
            idle = False

    def _end_cancelled(self) -> None:
        for job in [j for j in self._waiting if isinstance(j, Generation) and j.cancel.is_set()]:
            self._waiting.remove(job)
            job.finish("cancelled")
        for run in [r for runs in self._active.values() for r in runs if r.cancel.is_set()]:
            self._end(run, "cancelled")

    def _admit(self) -> None:
        """Start waiting jobs in order, as far as slots and cells go; at most one of solo work."""
        while self._waiting:
            job = self._waiting[0]
            runs = [run for group in self._active.values() for run in group]
            used = sum(run.cells for run in runs)
            if len(runs) >= self.slots or used + job.cells > self.context.size.cells:
                return
            self._waiting.popleft()
            try:
                self._pool.take(job.adapter)
            except InternsError as error:
                job.fail(error)
                continue
            if isinstance(job, Solo):
                self._run_solo(job)
                return
            self._start(job)

    def _start(self, run: Generation) -> None:
        run.start(*self.open_sequence(run.key, run.prompt))
        self.counts["prompt_tokens"] += len(run.prompt)
        self.counts["cached_tokens"] += run.cached
        if run.key not in self._active:
            self._active[run.key] = []
            self._turns.append(run.key)
        self._active[run.key].append(run)

    def _run_solo(self, job: Solo) -> None:
        try:
            self._use(job.adapter)
            job.result.set_result(job.work(self))
        except (InternsError, MemoryError) as error:
            job.result.set_exception(error)
        finally:
            self._pool.give_back(job.adapter)

    def _use(self, adapter: Adapter | None) -> None:
        pointer = self._pool.take(adapter)
        self._pool.give_back(adapter)
        scale = adapter.scale if adapter else 0.0
        self.counts["swaps"] += self.context.use_adapter(pointer, scale)

    def _step(self) -> None:
        if not self._turns:
            return
        runs = list(self._active[self._turns[0]])
        try:
            self._compute(runs)
        except InternsError as error:
            for run in runs:
                self._leave(run)
                self._release(run.sequence)
                run.fail(error)
        self._steps_left -= 1
        if self._steps_left <= 0:
            self._turns.rotate(-1)
            self._steps_left = QUANTUM

    def _compute(self, runs: list[Generation]) -> None:
        self._use(runs[0].adapter)
        rows: list[Row] = []
        outputs: list[Generation] = []
        counts: list[tuple[Generation, int]] = []
        for run in sorted(runs, key=lambda run: run.prefilling):
            new = run.rows(PREFILL - len(rows)) if len(rows) < PREFILL else []
            rows += new
            counts.append((run, len(new)))
            if new and new[-1].output:
                outputs.append(run)
        self.decode(rows)
        for run, count in counts:
            run.decoded += count
        logits = self.context.logits() if outputs else None
        for i, run in enumerate(outputs):
            if logits is not None:
                self._take(run, logits[i])

    def _take(self, run: Generation, logits: Any) -> None:
        try:
            reason = run.take(logits)
        except InternsError as error:
            self._leave(run)
            self._release(run.sequence)
            run.fail(error)
            return
        self.counts["written_tokens"] += 1
        if reason is not None:
            self._end(run, reason)

    def _end(self, run: Generation, reason: FinishReason) -> None:
        self._leave(run)
        self.close_sequence(run.sequence, run.key, run.tokens)
        run.finish(reason)

    def _leave(self, run: Generation) -> None:
        group = self._active[run.key]
        group.remove(run)
        if not group:
            del self._active[run.key]
            self._steps_left = QUANTUM if self._turns[0] == run.key else self._steps_left
            self._turns.remove(run.key)
        self._pool.give_back(run.adapter)

    def _release(self, sequence: int) -> None:
        self.context.drop_sequence(sequence)
        self._open.discard(sequence)
        self._free.append(sequence)

    def _shut_down(self) -> None:
        left: list[Job] = [run for runs in self._active.values() for run in runs]
        left += self._waiting
        while not self._inbox.empty():
            job = self._inbox.get()
            left += [job] if job is not None else []
        self._active.clear()
        self._waiting.clear()
        for job in left:
            job.fail(Unavailable("The engine was closed.", "Start it again."))
        self.context.close()
        self._model.close()
