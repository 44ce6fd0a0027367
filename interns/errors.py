"""The errors a person can meet, each with what to do next.

InternsError
├── InvalidInput        bad data, flag or setting                     exit 2
├── NotFound            no such intern, task, run, document           exit 2
├── Conflict            the thing changed or was decided already      exit 1
├── BrokenFile          a file is truncated, corrupt or foreign       exit 1
├── Incompatible        parts that do not belong together             exit 1
├── NoSpace             the disk is full                              exit 1
├── TooLong             a prompt does not fit the context             exit 2
├── Unavailable         starting, stopping, port taken: try again     exit 3
│   └── Busy            too many requests wait: try again later       exit 3
├── GateNotMet          an exam, verification or doctor check failed  exit 4
└── NeedsHuman          work is parked until a person decides         exit 5
"""

from __future__ import annotations

from typing import Any


class InternsError(Exception):
    """Base of every error shown to a person.

    Attributes:
        message: What happened and why, in one or two sentences.
        fix: What to try next, or an empty string.
        code: Stable word for programs, the same in JSON and over HTTP.
        exit_code: Exit status of a command that ends with this error.
    """

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __reduce__(self) -> tuple[type[InternsError], tuple[Any, ...]]:
        return type(self), (self.message, self.fix)


class InvalidInput(InternsError, ValueError):
    """Bad data, a bad flag or a bad setting."""

    code = "invalid_input"
    exit_code = 2


class NotFound(InternsError, LookupError):
    """Nothing is known under that name or number: on a command line, a wrong argument."""

    code = "not_found"
    exit_code = 2


class Conflict(InternsError):
    """The thing changed since it was read, or was already decided."""

    code = "conflict"


class BrokenFile(InternsError, ValueError):
    """A file is truncated, corrupt or of another kind."""

    code = "broken_file"


class Incompatible(InternsError, ValueError):
    """Parts that do not belong together: an adapter and another base, say."""

    code = "incompatible"


class NoSpace(InternsError, OSError):
    """The disk is full."""

    code = "no_space"


class TooLong(InternsError, ValueError):
    """A prompt does not fit the context of the base."""

    code = "too_long"
    exit_code = 2


class Unavailable(InternsError, ConnectionError):
    """Not now: the daemon is starting, busy or unreachable."""

    code = "unavailable"
    exit_code = 3


class Busy(Unavailable):
    """Too many requests wait already.

    Attributes:
        retry_after_s: Seconds after which another try is likely to be taken.
    """

    code = "busy"

    def __init__(self, message: str, fix: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, fix)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[Busy], tuple[Any, ...]]:
        return type(self), (self.message, self.fix, self.retry_after_s)


class GateNotMet(InternsError):
    """An exam, a verification or a doctor check did not pass."""

    code = "gate_not_met"
    exit_code = 4


class NeedsHuman(InternsError):
    """Work is parked until a person decides."""

    code = "needs_human"
    exit_code = 5


BY_CODE: dict[str, type[InternsError]] = {
    kind.code: kind
    for kind in (
        InternsError,
        InvalidInput,
        NotFound,
        Conflict,
        BrokenFile,
        Incompatible,
        NoSpace,
        TooLong,
        Unavailable,
        Busy,
        GateNotMet,
        NeedsHuman,
    )
}
