"""The one thread that owns the context: takes requests, gives turns, gives out what comes of them.

Answers of one intern are computed together, one token each per step, with a chunk of a new prompt
in the same batch. Interns take bounded turns (`turns`). On a path that mixes interns, the answers of
all others ride along in the batches of the intern in turn, which then comes first, not alone. When
all places are taken and an intern has none, another's newest answer is paused: its keys and values
are copied out and put back later.

The path changes between two batches: whatever is in progress is read again on the new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from interns.completion import FinishReason
from interns.errors import Busy, InternsError, Unavailable
from interns.runtime.llama_cpp.batch import Row
from interns.runtime.llama_cpp.generation import Generation
from interns.runtime.llama_cpp.intake import Intake, Move
from interns.runtime.llama_cpp.jobs import Job, Solo
from interns.runtime.llama_cpp.library import Context
from interns.runtime.llama_cpp.path import Path
from interns.runtime.llama_cpp.prefix_cache import PrefixCache
from interns.runtime.llama_cpp.sampling import Pick, pick_all
from interns.runtime.llama_cpp.sequences import Sequences
from interns.runtime.llama_cpp.shares import share_out
from interns.runtime.llama_cpp.turns import Lane, Rotation, Turn


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
        self._sequences = Sequences(path, prefixes, slots + 1)
        size = self.context.size
        self.label_sequences = range(slots + 1, size.sequences)
        self.slots = slots
        self._rotation = Rotation()
        self._intake = Intake(slots + waiting)
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
        self._intake.submit(job)

    def move(self, path: Path | None) -> Future[str]:
        """Go over to another path after the current step; requests in progress go along.

        Args:
            path: A path that is not open yet, from now on this object's; None is the path that can
                answer everything.

        Returns:
            Empty when it was done, else which request stood against it; a path that was not taken is
            closed. Fails with what kept the path from being opened.
        """
        move = Move(path)
        self._intake.move(move)
        return move.done

    def close(self) -> None:
        """Stop after the current step, fail what is left, free everything. Safe to call twice."""
        self._intake.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def stats(self) -> dict[str, int]:
        """Counters and the present load; approximate while answers are written."""
        lanes = list(self._rotation)
        return {
            **self.counts,
            "active": sum(len(lane.begun) for lane in lanes),
            "waiting": sum(len(lane.waiting) for lane in lanes) + len(self._intake),
            **self._sequences.stats(),
        }

    def turns(self) -> list[Turn]:
        """The latest finished turns, oldest first."""
        return list(self._rotation.past)

    # What solo work may use ---------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The present one."""
        return self._sequences.path

    @property
    def context(self) -> Context:
        """The present path's."""
        return self._sequences.context

    @property
    def room(self) -> int:
        """Rows that the next batch of this turn may have."""
        return min(self._rotation.room, self.context.size.batch)

    def decode(self, rows: Sequence[Row]) -> None:
        """Compute a batch.

        Raises:
            InternsError: There is no room for it, or llama.cpp failed.
        """
        self._sequences.decode(rows)
        self.counts["steps"] += 1

    # The loop -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._intake.closed:
                self._receive()
                self._end_overdue()
                lane = self._rotation.present()
                if lane is not None:
                    self._admit(lane)
                    for other in list(self._rotation)[1:] if self.path.mixes else ():
                        self._admit(other, pausing=False)
                    self._step(lane)
        finally:
            self._intake.close()
            self._shut_down()

    def _receive(self) -> None:
        idle = not len(self._rotation)
        while idle or not self._intake.empty():
            item = self._intake.get()
            if item is None:
                return
            if isinstance(item, Move):
                item.carry_out(self._try_move)
                continue
            if idle:
                self._intake.gather()
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
        """Leave the present path; whoever was in progress begins again on the other."""
        self._rotation.rewind()
        self._sequences.go_to(path)
        self.counts["moves"] += 1

    # Steps --------------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for lane in self._rotation:
            jobs = (*lane.begun, *lane.waiting)
            for job in [j for j in jobs if j.deadline <= now or j.cancel.is_set()]:
                if job.cancel.is_set():
                    self._finish(lane, job, "cancelled")
                elif job.begun:
                    self._finish(lane, job, "deadline")
                else:
                    late = Busy("No turn came before the deadline.", "Raise deadline_s, or wait.")
                    self._fail(lane, job, late)

    def _admit(self, lane: Lane, *, pausing: bool = True) -> None:
        """Begin the lane's waiting jobs in order, as far as places and cells go.

        A lane without a place takes one from another if `pausing`.
        """
        while lane.waiting:
            job = lane.waiting[0]
            if (isinstance(job, Solo) and lane.solo is not None) or lane.reads_for(job):
                return
            while not self._fits(lane, job):
                if lane.begun or not pausing or not self._pause_one():
                    return
            try:
                self._begin(lane, job)
            except Exception as error:  # noqa: BLE001 - one request's failure is not the engine's
                told = error if isinstance(error, InternsError) else _unforeseen(error)
                self._fail(lane, job, told)

    def _fits(self, lane: Lane, job: Job) -> bool:
        begun = [other for each in self._rotation for other in each.begun]
        room = self.context.size.cells - sum(map(self._sequences.cells, begun)) - job.cells
        return len(begun) < self.slots and (room >= 0 or room + lane.alike(job)[1] >= 0)

    def _begin(self, lane: Lane, job: Job) -> None:
        resumed = bool(job.paused)
        self._sequences.begin(job, *lane.alike(job))
        if not resumed:
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
        if not lane.begun:
            self._rotation.end_turn()
            return
        lanes = self._rotation if self.path.mixes else [lane]
        runs = [run for each in lanes for run in each.runs]
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

    def _advance(self, lane: Lane, job: Solo, turn: Turn) -> None:
        assert job.running is not None, "it has begun"  # noqa: S101 - our own invariant
        rows = next(job.running, None)
        if rows is None:
            self.counts["scored"] += 1
            self._finish(lane, job, "stop")
        else:
            turn.prompt_tokens += rows

    def _compute(self, runs: Sequence[Generation], turn: Turn) -> None:
        shares = list(share_out(runs, self._rotation.prompt_room(runs)))
        self.decode([row for share in shares for row in share.rows])
        for share in shares:
            share.run.decoded += len(share.rows)
            turn.prompt_tokens += len(share.rows) if share.prompt else 0
        outputs = [share.run for share in shares if share.rows[-1].output]
        if not outputs:
            return
        picks = pick_all([run.sampler for run in outputs], self.context.logits())
        over: list[Generation] = []
        try:
            for run, pick in zip(outputs, picks, strict=True):
                if self._take(run, pick, turn):
                    over.append(run)
        finally:
            for run in over:  # nobody waits for the copies
                self._sequences.clear_away(run, keep=True)

    def _take(self, run: Generation, pick: Pick | InternsError, turn: Turn) -> bool:
        """Write its next token; whether its whole answer was given out with that."""
        lane = self._rotation.lane(run)
        if isinstance(pick, InternsError):
            self._fail(lane, run, pick)
            return False
        reason = run.take(pick)
        self.counts["written_tokens"] += 1
        turn.written += 1
        if reason is not None:
            self._give_out(lane, run, reason)
        return reason is not None

    def _give_out(self, lane: Lane, job: Job, reason: FinishReason) -> None:
        """Its place is free when the answer comes; its sequence is not cleared away yet."""
        self._remove(lane, job)
        if job.sequence >= 0:
            self._sequences.end(job)
        self._done(job)
        job.finish(reason)

    def _finish(self, lane: Lane, job: Job, reason: FinishReason) -> None:
        self._give_out(lane, job, reason)
        if job.sequence >= 0:
            keep = reason == "stop" or isinstance(job, Generation)
            self._sequences.clear_away(job, keep=keep)

    def _fail(self, lane: Lane, job: Job, error: InternsError) -> None:
        self._leave(lane, job)
        self._done(job)
        job.fail(error)

    def _leave(self, lane: Lane, job: Job) -> None:
        self._remove(lane, job)
        if job.sequence >= 0:
            self._sequences.release(job)

    def _remove(self, lane: Lane, job: Job) -> None:
        if job is lane.solo:
            lane.solo = None
        elif job in lane.runs:
            lane.runs.remove(job)
        else:
            lane.waiting.remove(job)

    def _done(self, job: Job) -> None:
        self._intake.done(time.perf_counter() - job.submitted_at)

    def _shut_down(self) -> None:
        left = self._rotation.clear()
        while not self._intake.empty():
            item = self._intake.get()
            if isinstance(item, Move):
                item.refuse("the engine was closed")
            elif item is not None:
                left.append(item)
        for job in left:
            job.fail(Unavailable("The engine was closed.", "Start it again."))
        self._sequences.close()


def _tell_nobody(why: str) -> None:
    del why


def _unforeseen(error: Exception) -> InternsError:
    told = InternsError(f"The engine failed at this request: {error!r}.", "See daemon.log.")
    told.__cause__ = error
    return told
