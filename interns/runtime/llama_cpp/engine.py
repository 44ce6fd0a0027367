"""The engine all interns answer with: one base in memory, adapters put on it as needed."""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import (
    ChoiceScores,
    Completion,
    CompletionRequest,
    Message,
    TokenScore,
)
from interns.errors import BrokenFile, InternsError, InvalidInput, Unavailable
from interns.gguf.adapter_file import file_sha256
from interns.gguf.base_file import check_base
from interns.prompt import ChatTemplate
from interns.runtime.llama_cpp.batch import ContextSize
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.generation import Generation, Pieces
from interns.runtime.llama_cpp.jobs import Solo
from interns.runtime.llama_cpp.library import (
    Model,
    backend_description,
    default_threads,
    gpu_layer_count,
)
from interns.runtime.llama_cpp.packing import CALM_S, Packing, prompts_of, unpackable
from interns.runtime.llama_cpp.path import SwapPath
from interns.runtime.llama_cpp.prefix_cache import make_cache
from interns.runtime.llama_cpp.requests import Requests
from interns.runtime.llama_cpp.scheduler import Scheduler
from interns.runtime.llama_cpp.turns import Turn

_BATCH = 512
_LABELS = 96
_ADAPTERS = 8
_MIB = 2**20
_SMALL_VOCABULARY = 16384
_LARGE_VOCABULARY_OUTPUTS = 128
_LEAST = {"auto": 2, "switch": 1}


class LlamaEngine:
    """A `Runtime` on llama.cpp. All methods may be called from any thread.

    Args:
        base: The base; its file is checked before it is loaded.
        context_tokens: Tokens in the KV cache, shared by all answers in progress; also the longest
            prompt plus answer, unless the base was trained on less. At least 256.
        slots: Answers computed at once, 1 to 64; further requests wait.
        queue: Requests that may wait; still further ones are refused with `errors.Busy`.
        threads: CPU threads; 0 means the physical cores, at most 4.
        gpu_layers: Layers on the GPU: a number, or ``auto`` for all when there is one.
        path: ``swap``: interns take turns. ``switch``: as soon as the roster that `set_roster` names
            is packed into one verified file, one batch holds different interns; until then, and
            while a request needs it, they take turns. ``auto``: so from two interns on.
        exact: Keys, values and attention in 32 bits instead of 16. On a base in 32 bits an answer
            then is the same, to 1e-5 nats a token, whatever is answered beside it.
        budget: What to keep between requests.

    Attributes:
        calm_s: Seconds without a request that a packed roster cannot answer before it is used again.

    Raises:
        NotFound: The base's file is gone.
        BrokenFile: It is damaged or not the file that was named.
        InvalidInput: A setting is out of range.
        InternsError: There is not enough memory.
    """

    calm_s = CALM_S

    def __init__(  # noqa: PLR0913 - each keyword is one setting of the office
        self,
        base: BaseModelRef,
        *,
        context_tokens: int = 4096,
        slots: int = 8,
        queue: int = 64,
        threads: int = 0,
        gpu_layers: int | str = "auto",
        path: str = "swap",
        exact: bool = False,
        budget: Budget | None = None,
    ) -> None:
        if path not in {"swap", *_LEAST}:
            raise InvalidInput(f"engine.path is {path!r}.", "Use auto, swap or switch.")
        if context_tokens < 256 or not 1 <= slots <= 64 or queue < 1 or threads < 0:
            raise InvalidInput(
                f"Bad engine setting: context_tokens={context_tokens}, slots={slots}, "
                f"queue={queue}, threads={threads}.",
                "Use context_tokens of at least 256, slots of 1 to 64, queue of 1 or more, "
                "threads of 0 or more.",
            )
        budget = budget or Budget()
        file = check_base(base.gguf)
        if file_sha256(base.gguf) != base.sha256:
            raise BrokenFile(f"The base {base.name} was changed on disk.", "Fetch or make it anew.")
        self.base = base
        self._layers = layers = gpu_layer_count(gpu_layers)
        with contextlib.ExitStack() as opened:  # what is open when a later step fails
            model = Model(base.gguf, layers)
            opened.callback(model.close)
            self.template = ChatTemplate(
                file.text("tokenizer.chat_template"), *map(model.name, (model.bos, model.eos))
            )
            can_mix = path in _LEAST
            why = unpackable(file, self.template, model) if can_mix else "engine.path is swap"
            # A change of path frees the model; what grammars and callers use of it must stay.
            self._words = model if why else Model(base.gguf, words_only=True)
            opened.callback(self._words.close)
            self._fixed = why
            small = model.vocab_size <= _SMALL_VOCABULARY
            write, read = default_threads(model.parameters)
            size = ContextSize(
                cells=-(-context_tokens // 256) * 256,
                sequences=slots + 1 + _LABELS,
                batch=_BATCH,
                outputs=_BATCH if small else _LARGE_VOCABULARY_OUTPUTS,
                threads=threads or write,
                batch_threads=threads or read,
                exact=exact,
            )
            self._size = size
            self._requests = Requests(
                base,
                self._words,
                self.template,
                size=size,
                limit=min(size.cells, model.trained_context),
            )
            again = partial(_swap_path, base.gguf, layers, size, budget.adapters_mib)
            first = SwapPath(model, size, _ADAPTERS, budget.adapters_mib * _MIB)
            opened.callback(first.close)
            first.open()
            facts = {"base": base.sha256, "template": self.template.sha256}
            self._scheduler = Scheduler(
                first,
                again,
                slots=slots,
                prefixes=make_cache(budget, facts | first.context.facts),
                waiting=queue,
            )
            opened.callback(self._scheduler.close)
            self._packing = None
            if not why:
                self._packing = Packing(
                    base,
                    file,
                    self._scheduler,
                    size=size,
                    gpu_layers=layers,
                    prompts=prompts_of(self.template, self._words),
                    least=_LEAST[path],
                    calm_s=self.calm_s,
                )
            opened.pop_all()
        self._finalizer = weakref.finalize(
            self, _close, self._scheduler, self._packing, self._words
        )
        atexit.register(self._finalizer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Answers ------------------------------------------------------------------------------------

    def complete(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Completion:
        """Answer and wait for the end.

        Args:
            request: What to answer.
            cancel: Set it to end the answer within one step.

        Raises:
            TooLong: The prompt does not fit the context.
            InvalidInput: Bad sampling values or constraint.
            BrokenFile: The adapter's file is damaged.
            Incompatible: The adapter belongs to another base.
            Busy: Too many requests wait, or the deadline passed before this one's turn.
            Unavailable: The engine was closed, or an echoed prompt was cut short.
        """
        prompt: tuple[TokenScore, ...] = ()
        if request.echo:
            solo = self._requests.prompt_scores(request, cancel)
            prompt = self._work(solo)
            if request.sampling.max_tokens == 0:
                return Completion("", "length", len(prompt), 0, 0, 0.0, 0.0, 0.0, prompt=prompt)
            request = replace(request, deadline_s=solo.seconds_left)
        run = self._submit(request, cancel, streaming=False)
        outcome = run.out.get()
        if isinstance(outcome, InternsError):
            raise outcome
        if outcome.completion is None:
            raise InternsError("The answer ended without a result.", "Try again.")
        return replace(outcome.completion, prompt=prompt)

    def stream(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Pieces:
        """Answer piece by piece; whole characters only, no stop text.

        The request is checked and submitted at once, not when the first piece is taken. Closing the
        iterator cancels the answer. The last piece carries the completion.

        Raises:
            InternsError: As `complete`.
        """
        cancel = cancel or threading.Event()
        if request.echo:
            raise InvalidInput("An echoed prompt cannot be streamed.", "Use complete, or no echo.")
        run = self._submit(request, cancel, streaming=True)
        return Pieces(run.out, cancel)

    def score_choices(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        *,
        adapter: Adapter | None = None,
        temperature: float = 1.0,
        tail: float = 0.0,
        cancel: threading.Event | None = None,
        deadline_s: float | None = None,
    ) -> ChoiceScores:
        """Probability of each choice, followed by the stop token, as the whole answer.

        Args:
            messages: The prompt.
            choices: Different labels, at least one.
            adapter: Whose judgement, or None for the bare base.
            temperature: Above 0; divides the log-probabilities before they are normalised.
            tail: Share of the probability, in [0, 1), that choices may hold unread: every probability
                is within it of the exact one, and the best choice is the best. 0 reads all.
            cancel: Set it to end the work within one step; it then fails with `Unavailable`.
            deadline_s: Seconds after which it fails likewise, as `Busy` before its turn. Above 0.

        Raises:
            TooLong: The prompt and a label do not fit the context.
            InvalidInput: Bad labels, temperature or tail.
            InternsError: As `complete`.
        """
        solo = self._requests.label_scores(
            messages,
            choices,
            adapter,
            temperature=temperature,
            tail=tail,
            cancel=cancel,
            deadline_s=deadline_s,
        )
        logprobs = tuple(float(value) for value in self._work(solo))
        scores = ChoiceScores(tuple(choices), logprobs, (), len(solo.prompt), solo.cached)
        return scores.at(temperature)

    # Text and tokens ----------------------------------------------------------------------------

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self._words.stop_tokens

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text, nothing added."""
        return len(self._words.tokenize(text, special=False))

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text, nothing added; control tokens are parsed if `special`."""
        return self._words.tokenize(text, special=special)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of token ids, control tokens included."""
        return self._words.detokenize(ids)

    def logits(
        self, tokens: Sequence[int], *, adapter: Adapter | None = None
    ) -> npt.NDArray[np.float32]:
        """Logits after every token, computed cold: nothing is reused from earlier prompts.

        Args:
            tokens: Token ids, at least one.
            adapter: Whose, or None for the bare base.

        Returns:
            Array of shape (tokens, vocabulary).

        Raises:
            TooLong: They do not fit the context.
            InvalidInput: No tokens, or ids that do not exist.
            InternsError: As `complete`.
        """
        result: npt.NDArray[np.float32] = self._work(self._requests.cold_logits(tokens, adapter))
        return result

    # State --------------------------------------------------------------------------------------

    def set_roster(self, adapters: Sequence[Adapter], folder: Path) -> None:
        """Say who is in office, in any order; returns at once.

        Where `path` and base allow it, their adapters are packed into one file in the background,
        and one batch holds different interns once that file is verified. Every adapter, in the
        roster or not, is answered at any time. `stats` tells the present path and why.

        Args:
            adapters: Of this base.
            folder: Where the file may lie; it is used again when nothing changed.
        """
        if self._packing is not None:
            self._packing.set(adapters, folder)

    def settle(self) -> str:
        """Wait until the last roster is packed, or found not to be; returns the path in use."""
        if self._packing is not None:
            self._packing.settle()
        return self._scheduler.path.name

    def stats(self) -> dict[str, Any]:
        """Load and counters: slots, answers in progress, cache use, tokens since the start."""
        return {
            "path": self._scheduler.path.name,
            "path_reason": self._packing.reason if self._packing else self._fixed,
            "base": self.base.name,
            "slots": self._scheduler.slots,
            "context_tokens": self._requests.limit,
            "cells": self._size.cells,
            "threads": self._size.threads,
            "gpu_layers": self._layers,
            "exact": self._size.exact,
            "backend": backend_description(),
            **self._scheduler.stats(),
        }

    def turns(self) -> list[Turn]:
        """The latest finished turns of the interns, oldest first: who got how much, who waited."""
        return self._scheduler.turns()

    def close(self) -> None:
        """Free everything; answers in progress fail with `errors.Unavailable`."""
        self._finalizer()
        atexit.unregister(self._finalizer)

    # Inside -------------------------------------------------------------------------------------

    def _work(self, solo: Solo) -> Any:
        if self._packing is not None:
            self._packing.asked(solo.adapter, solo.prompt)
        self._scheduler.submit(solo)
        return solo.result.result()

    def _submit(
        self, request: CompletionRequest, cancel: threading.Event | None, *, streaming: bool
    ) -> Generation:
        run = self._requests.answer(request, cancel, streaming=streaming)
        if self._packing is not None:
            self._packing.asked(run.adapter, run.prompt)
        try:
            self._scheduler.submit(run)
        except Unavailable:
            run.on_end()
            raise
        return run


def _swap_path(gguf: Path, layers: int, size: ContextSize, adapters_mib: int) -> SwapPath:
    return SwapPath(Model(gguf, layers), size, _ADAPTERS, adapters_mib * _MIB)


def _close(scheduler: Scheduler, packing: Packing | None, words: Model) -> None:
    """Packing first learns that nothing is wanted any more, then that nobody computes for it."""
    if packing is not None:
        packing.close()
    scheduler.close()
    if packing is not None:
        packing.join()
    words.close()
