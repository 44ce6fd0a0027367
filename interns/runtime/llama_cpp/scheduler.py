"""The one thread that owns the context: takes requests, gives turns, gives out what comes of them.

Answers of one intern are computed together, one token each per step, with a chunk of a new prompt
in the same batch. Interns take bounded turns (`turns`). On a path that mixes interns, the answers of
all others ride along in the batches of the intern in turn, which then comes first, not alone. When
all places are taken and an intern has none, another's newest answer is paused: its keys and values
are copied out and put back later.

The path changes between two batches: whatever is in progress is read again on the new one.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from interns.completion import FinishReason
from interns.errors import Busy, InternsError, Unavailable
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.generation import Generation
from interns.runtime.llama_cpp.jobs import Job, Solo
from interns.runtime.llama_cpp.library import Context
from interns.runtime.llama_cpp.path import Path
from interns.runtime.llama_cpp.prefix_cache import PrefixCache
from interns.runtime.llama_cpp.prefixes import AdapterKey, Kept
from interns.runtime.llama_cpp.turns import CHUNK, Lane, Rotation, Turn

SHORTEST = 4
_LEAST_CHUNK = 4
_WEIGHT = 0.2
_MOST_RETRY_S = 60


@dataclass(frozen=True, eq=False)
class _Move:
    """To another path; None is the path that can answer everything."""

    path: Path | None
    done: Future[str] = field(default_factory=Future)


class Scheduler:
    """Runs jobs on one context.

    Args:
        path: One that can answer everything, already open; from now on this object's.
        everything: Makes such a path again, when the present one cannot answer a request.
        slots: Requests in progress at once.
        prefixes: Keys and values of finished requests.
        waiting: Requests that may wait besides; further ones are refused.

    Attributes:
        fell_back: Told why, when that happened.
    """

    def __init__(
        self,
        path: Path,
        everything: Callable[[], Path],
        *,
        slots: int,
        prefixes: PrefixCache,
        waiting: int,
    ) -> None:
        self._everything = everything
        self.fell_back: Callable[[str], None] = _tell_nobody
        self.path = path
        size = self.context.size
        self.label_sequences = range(slots + 1, size.sequences)
        self.slots = slots
        self._most_jobs = slots + waiting
        self._prefixes = prefixes
        self._free = list(range(slots + 1))
        self._open: set[int] = set()
        self._first: dict[int, int] = {}
        self._rotation = Rotation()
        self._inbox: queue.SimpleQueue[Job | _Move | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._jobs = 0
        self._usual_s = 1.0
        self.counts = dict.fromkeys(
            (
                "steps", "swaps", "pauses", "moves", "prompt_tokens", "cached_tokens",
                "written_tokens", "scored",
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

    def move(self, path: Path | None) -> Future[str]:
        """Go over to another path after the current step; requests in progress go along.

        Args:
            path: A path that is not open yet, from now on this object's; None is the path that can
                answer everything.

        Returns:
            Empty when it was done, else which request stood against it; a path that was not taken is
            closed. Fails with what kept the path from being opened.
        """
        move = _Move(path)
        with self._lock:
            if not self._closed:
                self._inbox.put(move)
                return move.done
        self._refuse(move, "the engine was closed")
        return move.done

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
            **self.path.stats(),
            **self._prefixes.stats(),
        }

    def turns(self) -> list[Turn]:
        """The latest finished turns, oldest first."""
        return list(self._rotation.past)

    # What solo work may use ---------------------------------------------------------------------

    @property
    def context(self) -> Context:
        """The present path's."""
        return self.path.context

    @property
    def room(self) -> int:
        """Rows that the next batch of this turn may have."""
        return min(self._rotation.room, self.context.size.batch)

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch.

        Raises:
            InternsError: There is no room for it, or llama.cpp failed.
        """
        if self._first and any(row.position == 0 for row in rows):
            rows = [self._begun(row) for row in rows]
        if not self.context.decode(rows):
            raise InternsError("The KV cache is full.", "Raise engine.context_tokens.")
        self.counts["steps"] += 1

    def _begun(self, row: Row) -> Row:
        """The row as the path wants it: its intern's token where a sequence begins."""
        token = self._first.get(row.sequences[0]) if row.position == 0 else None
        return row if token is None else replace(row, token=token)

    # Sequences ----------------------------------------------------------------------------------

    def _open_sequence(self, key: AdapterKey | None, tokens: Sequence[int]) -> tuple[int, int]:
        """A sequence for these tokens, and how many of them it holds already.

        At least two tokens are left to compute. With no other sequence open the cache is cleared
        first: in a tidy cache the same prompt gives the same numbers to the last bit.
        """
        sequence = self._empty_sequence()
        found = None if key is None else self._prefixes.find(self._filed(key), tokens)
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
        self._first.pop(job.sequence, None)
        job.sequence = -1
        self.path.give_back(job.adapter)

    def _keep(self, job: Job) -> None:
        """Copy what a finished job computed for the next prompt that begins like it."""
        key = job.files_under if isinstance(job, Solo) else job.key
        if key is None:
            return
        filed = self._filed(key)
        if self._prefixes.wants(filed, job.tokens):
            self._save(filed, job.tokens, job.sequence)

    def _save(
        self, filed: AdapterKey, tokens: Sequence[int], sequence: int, *, head: bool = False
    ) -> None:
        if state := self.context.save_sequence(sequence):
            self._prefixes.keep(Kept(filed, tuple(tokens), state, head))

    def _filed(self, key: AdapterKey) -> AdapterKey:
        """Where keys and values lie: those of one path are not readable on another."""
        return f"{self.path.mark}{key[0]}", key[1]

    # The loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closed:
                self._receive()
                self._end_overdue()
                lane = self._rotation.present()
                if lane is not None:
                    self._admit(lane)
                    for other in list(self._rotation)[1:] if self.path.mixes else ():
                        self._admit(other, pausing=False)
                    self._step(lane)
        finally:
            with self._lock:
                self._closed = True
            self._shut_down()

    def _receive(self) -> None:
        idle = not len(self._rotation)
        while idle or not self._inbox.empty():
            item = self._inbox.get()
            if item is None:
                return
            if isinstance(item, _Move):
                self._do(item)
                continue
            self._rotation.add(item)
            idle = False
            if why := self.path.obstacle(item):
                self._fall_back(why)

    # Paths --------------------------------------------------------------------------------------

    def _fall_back(self, why: str) -> None:
        """Go to the path that can answer everything; if that fails, who needs it is told so."""
        try:
            self._go_to(self._everything())
        except InternsError as error:
            for lane in self._rotation:
                for job in list(lane.waiting):
                    if self.path.obstacle(job):
                        self._fail(lane, job, error)
            return
        self.fell_back(why)

    def _do(self, move: _Move) -> None:
        """Move, and tell who waits for it how that went, whatever happens."""
        try:
            move.done.set_result(self._try_move(move.path))
        except InternsError as error:
            move.done.set_exception(error)
        except BaseException as error:
            move.done.set_exception(error)
            raise

    def _try_move(self, path: Path | None) -> str:
        if path is None:
            if self.path.name != "swap":
                self._go_to(self._everything())
            return ""
        jobs = [job for lane in self._rotation for job in (*lane.begun, *lane.waiting)]
        why = next(filter(None, map(path.obstacle, jobs)), "")
        if why:
            path.close()
        else:
            self._go_to(path)
        return why

    def _go_to(self, path: Path) -> None:
        """Leave the present path. Its context goes first, so that there are never two caches."""
        before = self.path
        self._rewind()
        before.shut()
        try:
            path.open()
        except InternsError:
            path.close()
            try:
                before.open()
            except InternsError as error:  # nothing is left to compute on: the engine ends
                raise RuntimeError("no path can be opened") from error
            raise
        self.path = path
        before.close()
        self.counts["moves"] += 1

    def _rewind(self) -> None:
        """Nothing is in the cache any more: who was in progress waits to begin again, first."""
        for lane in self._rotation:
            begun, lane.solo, lane.runs = lane.begun, None, []
            lane.waiting.extendleft(reversed(begun))
            for job in lane.waiting:
                job.rewind()
        self._free = list(range(self.slots + 1))
        self._open.clear()
        self._first.clear()

    def _refuse(self, move: _Move, why: str) -> None:
        if move.path is not None:
            move.path.close()
        move.done.set_result(why)

    # Steps --------------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for lane in self._rotation:
            for job in [j for j in (*lane.begun, *lane.waiting) if j.cancel.is_set()]:
                self._finish(lane, job, "cancelled")
            for job in [j for j in (*lane.begun, *lane.waiting) if j.deadline <= now]:
                if job.begun:
                    self._finish(lane, job, "deadline")
                else:
                    self._fail(lane, job, Busy("No turn came before the deadline.", "Try again."))

    def _admit(self, lane: Lane, *, pausing: bool = True) -> None:
        """Begin the lane's waiting jobs in order, as far as places and cells go.

        A lane without a place takes one from another if `pausing`.
        """
        while lane.waiting:
            job = lane.waiting[0]
            if isinstance(job, Solo) and lane.solo is not None:
                return
            while not self._fits(job):
                if lane.begun or not pausing or not self._pause_one():
                    return
            try:
                self._begin(lane, job)
            except Exception as error:  # noqa: BLE001 - one request's failure is not the engine's
                told = error if isinstance(error, InternsError) else _unforeseen(error)
                self._fail(lane, job, told)

    def _fits(self, job: Job) -> bool:
        begun = [other for lane in self._rotation for other in lane.begun]
        cells = sum(other.cells for other in begun) + job.cells
        return len(begun) < self.slots and cells <= self.context.size.cells

    def _begin(self, lane: Lane, job: Job) -> None:
        self.path.take(job.adapter)
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
        first = self.path.first_token(job.adapter)
        if first is not None:
            self._first[job.sequence] = first
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
        if not lane.begun:
            self._rotation.end_turn()
            return
        runs = self._together(lane)
        solo = lane.solo if lane.solo and (lane.solo_next or not runs) else None
        jobs: list[Job] = [solo] if solo else list(runs)
        lane.solo_next = not solo
        try:
            self.counts["swaps"] += self.path.use(jobs[0].adapter)
            if solo:
                self._advance(lane, solo, turn)
            else:
                self._compute(runs, turn)
        except Exception as error:  # noqa: BLE001 - one request's failure is not the engine's
            told = error if isinstance(error, InternsError) else _unforeseen(error)
            for job in jobs:
                if job.sequence >= 0:
                    self._fail(self._rotation.lane(job), job, told)
        turn.steps += 1
        if turn.spent:
            self._rotation.end_turn()

    def _together(self, lane: Lane) -> list[Generation]:
        """The answers of the next batch: the lane's own, then those that may ride along."""
        lanes = self._rotation if self.path.mixes else [lane]
        return [run for each in lanes for run in each.runs]

    def _advance(self, lane: Lane, job: Solo, turn: Turn) -> None:
        assert job.running is not None, "it has begun"  # noqa: S101 - our own invariant
        rows = next(job.running, None)
        if rows is None:
            self.counts["scored"] += 1
            self._finish(lane, job, "stop")
        else:
            turn.prompt_tokens += rows

    def _compute(self, runs: Sequence[Generation], turn: Turn) -> None:
        rows: list[Row] = []
        outputs: list[Generation] = []
        counts: list[tuple[Generation, int]] = []
        room = self._rotation.room if len(self._rotation) > 1 else CHUNK
        for run in sorted(runs, key=lambda run: run.prefilling):
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
                self._take(run, logits[i], turn)

    def _take(self, run: Generation, logits: Any, turn: Turn) -> None:
        lane = self._rotation.lane(run)
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
            item = self._inbox.get()
            if isinstance(item, _Move):
                self._refuse(item, "the engine was closed")
            elif item is not None:
                left.append(item)
        for job in left:
            job.fail(Unavailable("The engine was closed.", "Start it again."))
        self._prefixes.close()
        self.path.close()


def _tell_nobody(why: str) -> None:
    del why


def _unforeseen(error: Exception) -> InternsError:
    told = InternsError(f"The engine failed at this request: {error!r}.", "See daemon.log.")
    told.__cause__ = error
    return told
