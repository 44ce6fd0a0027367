"""Keeps the present roster packed: makes its file, verifies it, moves the engine onto it.

All of it happens in a thread of its own while interns take turns on the bare base. A doubt anywhere
leaves the engine there, and `Packing.reason` says why.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import Message
from interns.errors import BrokenFile, Busy, Incompatible, InternsError, NotFound
from interns.gguf.reader import GgufFile
from interns.gguf.roster_file import (
    RosterFile,
    check_packable,
    read_roster,
    remove_roster,
    write_roster_gguf,
)
from interns.prompt import ChatTemplate
from interns.runtime.llama_cpp.adapters import verify_adapter
from interns.runtime.llama_cpp.agreement import check_agreement
from interns.runtime.llama_cpp.batch import ContextSize
from interns.runtime.llama_cpp.jobs import Solo
from interns.runtime.llama_cpp.library import Model
from interns.runtime.llama_cpp.logprobs import Logits
from interns.runtime.llama_cpp.path import SwitchPath
from interns.runtime.llama_cpp.prefixes import adapter_key
from interns.runtime.llama_cpp.scheduler import Scheduler
from interns.runtime.llama_cpp.solo import crowded_logits

# What a roster file is verified on.
PROMPTS = (
    "Where is my parcel? It was sent a week ago.",
    "Write one sentence about the weather in Zürich.",
    "Classify: the refund of 12.50 EUR has not arrived.",
    "def total(values): return",
)
CALM_S = 30.0
_AGAIN_S = 0.5
_FLOATS = {"F32", "F16", "BF16"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Wanted:
    """A roster that was set."""

    adapters: tuple[Adapter, ...]
    folder: Path

    def same(self, adapters: Sequence[Adapter], folder: Path) -> bool:
        ours, theirs = ([adapter_key(a) for a in each] for each in (self.adapters, adapters))
        return ours == theirs and self.folder == folder


class Packing:
    """Moves an engine between its paths as the roster allows. Safe to use from any thread.

    Args:
        base: The base of all adapters.
        file: Its checked GGUF file.
        scheduler: The engine's.
        size: Of the engine's context.
        gpu_layers: As the base is loaded.
        prompts: Token ids of some prompts, to verify with; all begin with the same.
        least: Interns for which packing is worth it.
        calm_s: Seconds without a request that needs the bare base before packing is tried again.
    """

    def __init__(
        self,
        base: BaseModelRef,
        file: GgufFile,
        scheduler: Scheduler,
        *,
        size: ContextSize,
        gpu_layers: int,
        prompts: Sequence[Sequence[int]],
        least: int,
        calm_s: float = CALM_S,
    ) -> None:
        self._base = base
        self._size = size
        self._gpu_layers = gpu_layers
        self._prompts = prompts
        self._least = least
        self._scheduler = scheduler
        self._calm_s = calm_s
        self._file = file
        self._quantized = any(info.kind.name not in _FLOATS for info in file.tensors.values())
        self._changed = threading.Condition()
        self._wanted = _Wanted((), Path())
        self._when: Literal["never", "now", "calm"] = "never"
        self._disturbed_at = 0.0
        self._closed = self._working = self._packable = False
        self._left: Future[str] = Future()
        self._thread: threading.Thread | None = None
        self.reason = "no roster was set"
        scheduler.fell_back = self.fell_back

    def set(self, adapters: Sequence[Adapter], folder: Path) -> None:
        """Serve these from now on, in one batch as soon as their file is verified."""
        distinct = tuple({adapter_key(adapter): adapter for adapter in adapters}.values())
        with self._changed:
            if self._closed or self._wanted.same(distinct, folder):
                return
            self._wanted, self._when = _Wanted(distinct, folder), "never"
            self._packable = False
            self._left = self._scheduler.move(None)
            if len(distinct) < self._least:
                self._tell(f"{len(distinct)} interns are in the roster, {self._least} are needed")
                return
            try:
                check_packable(self._file)
            except InternsError as error:
                self._tell(error.message)
                return
            self._tell("the roster changed; its file is being made and verified")
            self._packable, self._when = True, "now"
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="interns-packing", daemon=True
                )
                self._thread.start()

    def asked(self, adapter: Adapter | None, prompt: Sequence[int]) -> None:
        """Somebody asks this: if a packed roster cannot answer it, packing waits for calmer times."""
        packed = adapter is None or (
            prompt[:1] == [self._prompts[0][0]]
            and adapter_key(adapter) in {adapter_key(each) for each in self._wanted.adapters}
        )
        if not packed:
            self._disturbed_at = time.monotonic()

    def fell_back(self, why: str) -> None:
        """The engine left the packed roster because of a request."""
        with self._changed:
            if self._packable:
                self._tell(why)
                self._disturbed_at, self._when = time.monotonic(), "calm"
                self._changed.notify_all()

    def settle(self) -> None:
        """Wait until nothing is being made, verified or waited for."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._when == "never" and not self._working)
            )

    def close(self) -> None:
        """Begin nothing any more; `join` waits until nothing is in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the end of what is in progress; the scheduler must be closed before."""
        if self._thread is not None:
            self._thread.join()

    # The thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (wait := self._seconds()) != 0:
                    self._changed.wait(wait)
                if self._closed:
                    return
                self._when, self._working, wanted = "never", True, self._wanted
            try:
                self._pack(wanted)
            except Exception as error:  # any doubt leaves the engine where it is
                if not self._is_wanted(wanted):
                    log.info("the roster changed while it was packed")
                elif isinstance(error, InternsError):
                    log.warning("The roster is not packed: %s", error)
                else:
                    log.exception("packing the roster failed")
                with self._changed:
                    if self._is_wanted(wanted):
                        self._tell(f"packing failed: {error}")
            with self._changed:
                self._working = False
                self._changed.notify_all()

    def _seconds(self) -> float | None:
        """Until the next try; None means until something changes."""
        if self._when == "calm":
            return max(0.0, self._disturbed_at + self._calm_s - time.monotonic())
        return 0.0 if self._when == "now" else None

    def _pack(self, wanted: _Wanted) -> None:
        self._left.result()  # the old roster must not be what the new one is compared with
        for adapter in wanted.adapters:
            verify_adapter(adapter, self._base)
        roster = self._made(wanted)
        if not self._is_wanted(wanted):
            return
        model = Model(roster.path, self._gpu_layers)
        try:
            worst = check_agreement(
                model,
                roster,
                wanted.adapters,
                self._prompts,
                self._expected,
                size=self._size,
                quantized=self._quantized,
            )
        except BaseException as error:
            model.close()
            if not isinstance(error, InternsError) or error.code == "gate_not_met":
                remove_roster(roster.path)
            raise
        path = SwitchPath(model, self._size, roster)
        with self._changed:
            if not self._is_wanted(wanted):
                path.close()
                return
            moved = self._scheduler.move(path)
        self._moved(moved.result(), wanted, worst)
        self._tidy(roster.path)

    def _expected(self, tokens: Sequence[int], adapter: Adapter | None, copies: int) -> Logits:
        """Logits with one adapter on the base, however long the engine is busy."""
        steps = partial(crowded_logits, copies=copies)
        while True:
            solo = Solo(steps, adapter, tokens, copies * len(tokens), None)
            try:
                self._scheduler.submit(solo)
            except Busy:
                time.sleep(_AGAIN_S)
                continue
            found: Logits = solo.result.result()
            return found

    def _made(self, wanted: _Wanted) -> RosterFile:
        path = wanted.folder / f"roster-{self._base.sha256[:12]}.gguf"
        try:
            return read_roster(path, self._base, wanted.adapters)
        except (NotFound, BrokenFile, Incompatible):
            begins = self._prompts[0][0]
            return write_roster_gguf(
                self._base, wanted.adapters, path, begins, lambda: self._is_wanted(wanted)
            )

    def _is_wanted(self, wanted: _Wanted) -> bool:
        return self._wanted is wanted and not self._closed

    def _moved(self, refused: str, wanted: _Wanted, worst: float) -> None:
        with self._changed:
            if self._wanted is not wanted or self._when != "never":
                return
            if refused:
                self._tell(refused)
                self._disturbed_at, self._when = time.monotonic(), "calm"
            else:
                count = len(wanted.adapters)
                self._tell(f"{count} interns in one verified file, divergence {worst:.1g} nats")

    def _tidy(self, used: Path) -> None:
        """Remove the files of other bases; one that is still in use elsewhere is made anew."""
        for other in used.parent.glob("roster-*.gguf"):
            if other != used:
                with contextlib.suppress(OSError):
                    remove_roster(other)

    def _tell(self, reason: str) -> None:
        self.reason = reason
        log.info("engine path: %s", reason)


def prompts_of(template: ChatTemplate, words: Model) -> list[list[int]]:
    """Token ids of the prompts that a roster file is verified on."""
    texts = (template.render((Message("user", text),)) for text in PROMPTS)
    return [words.tokenize(text, special=True) for text in texts]


def unpackable(file: GgufFile, template: ChatTemplate, words: Model) -> str:
    """Why no roster of a base can ever be packed; empty if one can."""
    try:
        check_packable(file)
        charter = template.render((Message("system", "Be brief."), Message("user", "Hello")))
        prompts = [*prompts_of(template, words), words.tokenize(charter, special=True)]
        alike = len({prompt[0] for prompt in prompts}) == 1
    except InternsError as error:
        return error.message
    return "" if alike else "no token begins every prompt of the base's chat template"
