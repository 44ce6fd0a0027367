"""The one thread that owns the context: takes requests, gives turns, gives out what comes of them.

Answers of one intern are computed together, one token each per step, with a chunk of a new prompt
in the same batch. Interns take bounded turns (`turns`). When all places are taken and an intern
has none, another's newest answer is paused: its keys and values are copied out and put back later.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from interns.completion import FinishReason
from interns.errors import Busy, InternsError, Unavailable
from interns.runtime.llama_cpp.adapters import AdapterPool
from interns.runtime.llama_cpp.generation import Generation
from interns.runtime.llama_cpp.jobs import Job, Solo
from interns.runtime.llama_cpp.library import Context, Model, Row
from interns.runtime.llama_cpp.prefix_cache import PrefixCache
from interns.runtime.llama_cpp.prefixes import AdapterKey, Kept
from interns.runtime.llama_cpp.turns import CHUNK, Lane, Rotation, Turn

SHORTEST = 4
_LEAST_CHUNK = 4
_WEIGHT = 0.2
_MOST_RETRY_S = 60


class Scheduler:
    """Runs jobs on one context.

    Args:
        model: The base.
        context: Its cache; from now on used by this object's thread only.
        slots: Requests in progress at once.
        prefixes: Keys and values of finished requests.
        adapters: Adapters on the model.
        waiting: Requests that may wait besides; further ones are refused.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        *,
        slots: int,
        prefixes: PrefixCache,
        adapters: AdapterPool,
        waiting: int,
    ) -> None:
        self.context = context
        self.label_sequences = range(slots + 1, context.size.sequences)
        self._model = model
        self.slots = slots
        self._most_jobs = slots + waiting
        self._pool = adapters
        self._prefixes = prefixes
        self._free = list(range(slots + 1))
        self._open: set[int] = set()
        self._rotation = Rotation()
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._jobs = 0
        self._usual_s = 1.0
        self.counts = dict.fromkeys(
            (
                "steps", "swaps", "pauses", "prompt_tokens", "cached_tokens", "written_tokens",
                "scored",
            ),
            0,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._run, name="interns-engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand over a job from any thread.

        Raises:
            Busy: Too many wait already.
            Unavailable: The engine was closed.
        """
        with self._lock:
            if self._closed:
                raise Unavailable("The engine is closed.", "Start it again.")
            if self._jobs >= self._most_jobs:
                seconds = max(1, min(_MOST_RETRY_S, math.ceil(self._usual_s)))
                raise Busy(
                    f"The engine is busy: {self._jobs} requests are in progress or wait.",
                    f"Try again in about {seconds} s, or raise engine.queue.",
                    seconds,
                )
            self._jobs += 1
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
        lanes = list(self._rotation)
        return {
            **self.counts,
            "active": sum(len(lane.begun) for lane in lanes),
            "waiting": sum(len(lane.waiting) for lane in lanes) + self._inbox.qsize(),
            "sequences": len(self._open),
            **self._pool.stats(),
            **self._prefixes.stats(),
        }

    def turns(self) -> list[Turn]:
        """The latest finished turns, oldest first."""
        return list(self._rotation.past)

    # What solo work may use ---------------------------------------------------------------------

    @property
    def room(self) -> int:
        """Rows that the next batch of this turn may have."""
        return min(self._rotation.room, self.context.size.batch)

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch.

        Raises:
            InternsError: There is no room for it, or llama.cpp failed.
        """
        if not self.context.decode(rows):
            raise InternsError("The KV cache is full.", "Raise engine.context_tokens.")
        self.counts["steps"] += 1

    # Sequences ----------------------------------------------------------------------------------

    def _open_sequence(self, key: AdapterKey | None, tokens: Sequence[int]) -> tuple[int, int]:
        """A sequence for these tokens, and how many of them it holds already.

        At least two tokens are left to compute. With no other sequence open the cache is cleared
        first: in a tidy cache the same prompt gives the same numbers to the last bit.
        """
        sequence = self._empty_sequence()
        found = None if key is None else self._prefixes.find(key, tokens)
        if found is None:
            return sequence, 0
        kept, shared = found
        length = min(shared, len(tokens) - 2)
        if length < SHORTEST or not self.context.restore_sequence(sequence, kept.state):
            self.context.drop_sequence(sequence)
            return sequence, 0
        self.context.drop_sequence(sequence, length)
        if length == shared and self._prefixes.wants_head(kept, shared, tokens):
            self._save(kept.key, tokens[:shared], sequence, head=True)
        return sequence, length

    def _empty_sequence(self) -> int:
        if not self._open:
            self.context.clear()
        sequence = self._free.pop()
        self._open.add(sequence)
        return sequence

    def _release(self, job: Job) -> None:
        self.context.drop_sequence(job.sequence)
        self._open.discard(job.sequence)
        self._free.append(job.sequence)
        job.sequence = -1
        self._pool.give_back(job.adapter)

    def _keep(self, job: Job) -> None:
        """Copy what a finished job computed for the next prompt that begins like it."""
        key = job.files_under if isinstance(job, Solo) else job.key
        if key is not None and self._prefixes.wants(key, job.tokens):
            self._save(key, job.tokens, job.sequence)

    def _save(
        self, key: AdapterKey, tokens: Sequence[int], sequence: int, *, head: bool = False
    ) -> None:
        if state := self.context.save_sequence(sequence):
            self._prefixes.keep(Kept(key, tuple(tokens), state, head))

    # The loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._receive()
                self._end_overdue()
                lane = self._rotation.present()
                if lane is not None:
                    self._admit(lane)
                    self._step(lane)
        finally:
            with self._lock:
                self._closed = True
            self._shut_down()

    def _receive(self) -> None:
        idle = not len(self._rotation)
        while idle or not self._inbox.empty():
            job = self._inbox.get()
            if job is None:
                return
            self._rotation.add(job)
            idle = False

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for lane in self._rotation:
            for job in [j for j in (*lane.begun, *lane.waiting) if j.cancel.is_set()]:
                self._finish(lane, job, "cancelled")
            for job in [j for j in (*lane.begun, *lane.waiting) if j.deadline <= now]:
                if job.sequence >= 0 or job.paused:
                    self._finish(lane, job, "deadline")
                else:
                    self._fail(lane, job, Busy("No turn came before the deadline.", "Try again."))

    def _admit(self, lane: Lane) -> None:
        """Begin the lane's waiting jobs in order, as far as places and cells go."""
        while lane.waiting:
            job = lane.waiting[0]
            if isinstance(job, Solo) and lane.solo is not None:
                return
            while not self._fits(job):
                if lane.begun or not self._pause_one():
                    return
            try:
                self._begin(lane, job)
            except InternsError as error:
                self._fail(lane, job, error)

    def _fits(self, job: Job) -> bool:
        begun = [other for lane in self._rotation for other in lane.begun]
        cells = sum(other.cells for other in begun) + job.cells
        return len(begun) < self.slots and cells <= self.context.size.cells

    def _begin(self, lane: Lane, job: Job) -> None:
        self._pool.take(job.adapter)
        if job.paused:
            job.sequence = self._empty_sequence()
            state, job.paused = job.paused, b""
            if not self.context.restore_sequence(job.sequence, state):
                self._release(job)
                raise InternsError("The KV cache is full.", "Raise engine.context_tokens.")
        else:
            key = job.files_under if isinstance(job, Solo) else job.key
            job.start(*self._open_sequence(key, job.prompt))
            self.counts["prompt_tokens"] += len(job.prompt)
            self.counts["cached_tokens"] += job.decoded
        lane.waiting.popleft()
        if isinstance(job, Solo):
            lane.solo = job
            job.running = job.running or job.steps(self, job)
        else:
            lane.runs.append(job)

    def _pause_one(self) -> bool:
        """Take its place from the newest job of the lane with most of them; False if none can."""
        lane = max(self._rotation, key=lambda lane: len(lane.begun))
        if not lane.begun:
            return False
        job = lane.begun[-1]
        state = self.context.save_sequence(job.sequence)
        if not state and job.decoded:
            self._fail(lane, job, InternsError("The answer could not be paused.", "Ask again."))
            return True
        self._leave(lane, job)
        job.paused = state
        lane.waiting.appendleft(job)
        self.counts["pauses"] += 1
        return True

    def _step(self, lane: Lane) -> None:
        turn = self._rotation.turn
        solo = lane.solo if lane.solo and (lane.solo_next or not lane.runs) else None
        jobs: list[Job] = [solo] if solo else list(lane.runs)
        lane.solo_next = not solo
        if not jobs:
            self._rotation.end_turn()
            return
        try:
            self._use(jobs[0])
            if solo:
                self._advance(lane, solo, turn)
            else:
                self._compute(lane, turn)
        except Exception as error:  # noqa: BLE001 - one request's failure is not the engine's
            told = error if isinstance(error, InternsError) else _unforeseen(error)
            for job in jobs:
                if job.sequence >= 0:
                    self._fail(lane, job, told)
        turn.steps += 1
        if turn.spent:
            self._rotation.end_turn()

    def _use(self, job: Job) -> None:
        pointer = self._pool.take(job.adapter)
        self._pool.give_back(job.adapter)
        scale = job.adapter.scale if job.adapter else 0.0
        self.counts["swaps"] += self.context.use_adapter(pointer, scale)

    def _advance(self, lane: Lane, job: Solo, turn: Turn) -> None:
        assert job.running is not None, "it has begun"  # noqa: S101 - our own invariant
        rows = next(job.running, None)
        if rows is None:
            self.counts["scored"] += 1
            self._finish(lane, job, "stop")
        else:
            turn.prompt_tokens += rows

    def _compute(self, lane: Lane, turn: Turn) -> None:
        rows: list[Row] = []
        outputs: list[Generation] = []
        counts: list[tuple[Generation, int]] = []
        room = self._rotation.room if len(self._rotation) > 1 else CHUNK
        for run in sorted(lane.runs, key=lambda run: run.prefilling):
            if run.prefilling and room < _LEAST_CHUNK:
                continue
            new = run.rows(room)
            rows += new
            counts.append((run, len(new)))
            if run.prefilling:
                room -= len(new)
                turn.prompt_tokens += len(new)
            if new[-1].output:
                outputs.append(run)
        self.decode(rows)
        for run, count in counts:
            run.decoded += count
        logits = self.context.logits() if outputs else None
        for i, run in enumerate(outputs):
            if logits is not None:
                self._take(lane, run, logits[i], turn)

    def _take(self, lane: Lane, run: Generation, logits: Any, turn: Turn) -> None:
        try:
            reason = run.take(logits)
        except InternsError as error:
            self._fail(lane, run, error)
            return
        self.counts["written_tokens"] += 1
        turn.written += 1
        if reason is not None:
            self._finish(lane, run, reason)

    def _finish(self, lane: Lane, job: Job, reason: FinishReason) -> None:
        if job.sequence >= 0 and (reason == "stop" or isinstance(job, Generation)):
            self._keep(job)
        self._leave(lane, job)
        self._done(job)
        job.finish(reason)

    def _fail(self, lane: Lane, job: Job, error: InternsError) -> None:
        self._leave(lane, job)
        self._done(job)
        job.fail(error)

    def _leave(self, lane: Lane, job: Job) -> None:
        if job is lane.solo:
            lane.solo = None
        elif job in lane.runs:
            lane.runs.remove(job)
        else:
            lane.waiting.remove(job)
        if job.sequence >= 0:
            self._release(job)

    def _done(self, job: Job) -> None:
        seconds = time.perf_counter() - job.submitted_at
        with self._lock:
            self._jobs -= 1
            self._usual_s += _WEIGHT * (seconds - self._usual_s)

    def _shut_down(self) -> None:
        left = self._rotation.clear()
        while not self._inbox.empty():
            job = self._inbox.get()
            left += [job] if job is not None else []
        for job in left:
            job.fail(Unavailable("The engine was closed.", "Start it again."))
        self._prefixes.close()
        self.context.close()
        self._model.close()


def _unforeseen(error: Exception) -> InternsError:
    told = InternsError(f"The engine failed at this request: {error!r}.", "See daemon.log.")
    told.__cause__ = error
    return told
