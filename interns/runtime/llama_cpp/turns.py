"""Who is computed next: one lane per intern, served round robin in bounded turns.

Between two turns of one intern every other intern that waits gets exactly one turn, and a turn is
at most eight steps or one chunk of prompt tokens, whichever comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from interns.runtime.llama_cpp.generation import Generation
from interns.runtime.llama_cpp.jobs import Job, Solo
from interns.runtime.llama_cpp.prefixes import AdapterKey, shared_start

STEPS = 8
CHUNK = 256
_LEAST_CHUNK = 16
_REMEMBERED = 4096
_WORTH_WAITING = 16


@dataclass
class Turn:
    """What one intern got before the next one's turn.

    Attributes:
        key: Whose turn: adapter hash and strength, or that of the bare base.
        waiting: Who waited when it began.
        steps: Batches computed.
        prompt_tokens: Prompt and label tokens computed, those that rode along included.
        written: Tokens written, likewise.
    """

    key: AdapterKey
    waiting: frozenset[AdapterKey]
    steps: int = 0
    prompt_tokens: int = 0
    written: int = 0

    @property
    def spent(self) -> bool:
        """Whether it is over."""
        return self.steps >= STEPS or CHUNK - self.prompt_tokens < _LEAST_CHUNK


@dataclass(eq=False)
class Lane:
    """The requests of one intern.

    Attributes:
        waiting: Not begun, or paused; in order.
        runs: Answers in progress.
        solo: Work in progress; one at a time, so that its numbers do not depend on what else its
            own intern is asked.
        solo_next: Whether the solo work has the next step, not the answers.
    """

    key: AdapterKey
    waiting: deque[Job] = field(default_factory=deque)
    runs: list[Generation] = field(default_factory=list)
    solo: Solo | None = None
    solo_next: bool = True

    @property
    def begun(self) -> list[Job]:
        """Requests in progress, oldest first."""
        return [*([self.solo] if self.solo else []), *self.runs]

    @property
    def empty(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.waiting or self.runs or self.solo)

    def alike(self, job: Job) -> tuple[Generation | None, int]:
        """The answer in progress that begins most like a job, and how many tokens of it are there."""
        found: tuple[Generation | None, int] = (None, 0)
        if not job.begun and isinstance(job, Generation):
            for run in self.runs:
                length = min(run.decoded, shared_start(run.prompt, job.prompt))
                if length > found[1]:
                    found = run, length
        return found

    def reads_for(self, job: Job) -> bool:
        """Whether an answer in progress is about to read tokens that a waiting job begins with."""
        if job.begun or not isinstance(job, Generation):
            return False
        return any(
            (end := run.decoded + _WORTH_WAITING) <= len(job.prompt) - 2
            and run.prompt[:end] == job.prompt[:end]
            for run in self.runs
        )


class Rotation:
    """All lanes; the first one has the turn. Used by the owner thread only."""

    def __init__(self) -> None:
        self._lanes: dict[AdapterKey, Lane] = {}
        self._turn: Turn | None = None
        self.past: deque[Turn] = deque(maxlen=_REMEMBERED)

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def turn(self) -> Turn:
        """The present turn, begun when needed; there must be a lane."""
        if self._turn is None:
            first, *others = self._lanes
            self._turn = Turn(first, frozenset(others))
        return self._turn

    @property
    def room(self) -> int:
        """Prompt tokens that are left in this turn; nobody waits for a lane that is alone."""
        return CHUNK - self.turn.prompt_tokens if len(self._lanes) > 1 else 2 * CHUNK

    def prompt_room(self, runs: Sequence[Generation]) -> int:
        """Prompt tokens that the next batch of these answers may have.

        A burst of prompts may fill it as long as nobody waits for the next token of an answer.
        """
        burst = len(runs) > 1 and all(run.prefilling for run in runs)
        return self.room if burst or len(self._lanes) > 1 else CHUNK

    def lane(self, job: Job) -> Lane:
        """The lane of a request in progress."""
        return self._lanes[job.key]

    def add(self, job: Job) -> None:
        """Queue a request in its intern's lane; a new lane comes last."""
        self._lanes.setdefault(job.key, Lane(job.key)).waiting.append(job)

    def present(self) -> Lane | None:
        """The lane whose turn it is, after those with nothing to do have gone."""
        for lane in self:
            if lane.empty:
                if self._turn is not None and self._turn.key == lane.key:
                    self.end_turn()
                del self._lanes[lane.key]
        return self._lanes[self.turn.key] if self._lanes else None

    def end_turn(self) -> None:
        """The lane in turn goes last."""
        if self._turn is None:
            return
        self.past.append(self._turn)
        self._lanes[self._turn.key] = self._lanes.pop(self._turn.key)
        self._turn = None

    def rewind(self) -> None:
        """Nothing is in the cache any more: who was in progress waits to begin again, first."""
        for lane in self:
            begun, lane.solo, lane.runs = lane.begun, None, []
            lane.waiting.extendleft(reversed(begun))
            for job in lane.waiting:
                job.rewind()

    def clear(self) -> list[Job]:
        """Take out every request."""
        jobs = [job for lane in self for job in (*lane.begun, *lane.waiting)]
        self._lanes.clear()
        self._turn = None
        return jobs
