"""The same runtime over any OpenAI-compatible endpoint: vLLM, llama-server, another office.

Prompts are rendered and cut into tokens here, with the base's own template and tokenizer, and sent
as token ids to ``/completions``: what answers sees what the intern was trained on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import (
    ChoiceScores,
    Completion,
    CompletionRequest,
    Delta,
    Message,
    TokenScore,
)
from interns.errors import InternsError, InvalidInput, Unavailable
from interns.gguf.reader import read_gguf
from interns.prompt import ChatTemplate
from interns.runtime.deadline import check_deadline, cut_short, deadline_in
from interns.runtime.endpoint import LOOK_S, Endpoint, Events, Over
from interns.runtime.llama_cpp.constraints import check_scoring, gbnf_of
from interns.runtime.llama_cpp.library import Model
from interns.runtime.llama_cpp.sampling import check_sampling
from interns.runtime.openai_answers import (
    Answer,
    read_reason,
    total,
)
from interns.runtime.openai_models import Models
from interns.runtime.openai_scores import Scores
from interns.settings import EngineSettings

Json = dict[str, Any]


class OpenAIRuntime:
    """A `Runtime` whose model runs elsewhere. All methods may be called from any thread.

    Where the far end ignores a field, so does the answer: constraints need a server that knows
    ``structured_outputs`` (vLLM) or ``grammar`` (llama-server). Both report log-probabilities as they
    are before constraint and biases. Token ids of written tokens are -1 where not told.

    Args:
        base: The base that the far end serves; its template and tokenizer are used here.
        url: Endpoint, usually ending in ``/v1``.
        model: What the far end calls the base; empty means as we do.
        token: Bearer token, may be empty.
    """

    def __init__(self, base: BaseModelRef, url: str, *, model: str = "", token: str = "") -> None:
        file = read_gguf(base.gguf)
        tokenizer = str(base.tokenizer / "tokenizer.json")
        self._tokenizer: Any = Tokenizer.from_file(tokenizer)
        self._counter: Any = Tokenizer.from_file(tokenizer)
        self._counter.encode_special_tokens = True  # reads control tokens as the text they are
        self._eos = int(file.number("tokenizer.ggml.eos_token_id"))
        bos = int(file.number("tokenizer.ggml.bos_token_id"))
        self.base = base
        self.template = ChatTemplate(
            file.text("tokenizer.chat_template"), self._word(bos), self._word(self._eos)
        )
        words = Model(base.gguf, words_only=True)
        self._stops = sorted(words.stop_tokens)
        words.close()
        self._far = Endpoint(url, token)
        self._models = Models(self._far, base, model)
        self._scores = Scores(self._far, self._models, self._vocabulary, self._eos)

    def check(self, deadline_s: float) -> None:
        """Ask whether the endpoint serves the base.

        Raises:
            NotFound: It serves others only.
            Unavailable: It cannot be reached, or did not say so in time.
            InternsError: As it says.
        """
        self._models.asked_for(None, _until(None, deadline_s))

    # Answers ------------------------------------------------------------------------------------

    def complete(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Completion:
        """Answer and wait for the end; errors as the embedded engine's, where the far end tells.

        Raises:
            TooLong: The prompt does not fit the far end's context.
            InvalidInput: Bad sampling values or constraint.
            NotFound: The far end does not serve the intern or the base.
            Incompatible: The adapter belongs to another base.
            Busy: It has no place.
            Unavailable: It cannot be reached, or this runtime was closed.
        """
        if request.echo:
            return self._echoed(request, _until(cancel, request.deadline_s))
        last = [*self.stream(request, cancel=cancel)][-1]
        assert last.completion is not None, "the last piece carries it"  # noqa: S101 - see _pieces
        return last.completion

    def stream(
        self, request: CompletionRequest, *, cancel: threading.Event | None = None
    ) -> Iterator[Delta]:
        """Answer piece by piece; the last piece carries the completion.

        The request is checked at once, and sent to who is found when the first piece is taken.

        Raises:
            InternsError: As `complete`.
        """
        if request.echo:
            raise InvalidInput(
                "The prompt's log-probabilities cannot be streamed.", "Use complete instead."
            )
        prompt, body = self._body(request)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        sampling = request.sampling
        answer = Answer(len(prompt), self.count_tokens, sampling.logprobs, sampling.stop)
        return self._pieces(request, answer, body, cancel or threading.Event())

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

        All choices are read, whatever `tail` allows.

        Raises:
            InvalidInput: Bad labels, temperature, tail or deadline.
            Incompatible: The far end cannot score a prompt.
            Unavailable: `cancel` was set or `deadline_s` passed, among others.
            InternsError: As `complete`.
        """
        check_scoring(choices, temperature, tail)
        over = _until(cancel, deadline_s)
        prompt = self._tokens(messages)
        labels = [self._ids(choice) for choice in choices]
        logprobs = self._scores.labels(prompt, labels, adapter, over)
        heated = np.array(logprobs) / temperature
        weights = np.exp(heated - heated.max())
        return ChoiceScores(
            tuple(choices),
            tuple(logprobs),
            tuple(float(value) for value in weights / weights.sum()),
            len(prompt),
            runtime="openai",
        )

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a text, nothing added."""
        return len(self._counter.encode(_clean(text), add_special_tokens=False).ids)

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a text, control tokens parsed, nothing added."""
        return self._ids(text)

    def set_roster(self, adapters: Sequence[Adapter], folder: Path) -> None:
        """Nothing: the far end has its own."""

    def close(self) -> None:
        """Close the connections; answers in progress fail with `errors.Unavailable`."""
        self._far.close()

    # What is sent -------------------------------------------------------------------------------

    @cached_property
    def _vocabulary(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def _word(self, token: int) -> str:
        return str(self._tokenizer.id_to_token(token) or "")

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(_clean(text), add_special_tokens=False).ids)

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        if not messages:
            raise InvalidInput("There is no message to answer.", "Give at least one.")
        return self._ids(self.template.render(messages))

    def _body(self, request: CompletionRequest) -> tuple[list[int], Json]:
        sampling = request.sampling
        least = 0 if request.echo else 1
        check_sampling(sampling, self._vocabulary, least_tokens=least)
        check_deadline(request.deadline_s)
        prompt = list(request.prompt) or self._tokens(request.messages)
        body: Json = {
            "prompt": prompt,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "min_p": sampling.min_p,
            "repetition_penalty": sampling.repeat_penalty,
            "repeat_penalty": sampling.repeat_penalty,  # as llama-server calls it
            "seed": sampling.seed,
            "logprobs": max(1, sampling.logprobs or 0),  # to llama-server 0 means none
            # vLLM knows only its own model's end. A server that refuses unknown fields refuses
            # top_k already.
            "stop_token_ids": self._stops,
            "stop": list(sampling.stop) if request.echo else None,  # else see `Answer`
            "logit_bias": {str(i): bias for i, bias in sampling.logit_bias} or None,
            "deadline_s": request.deadline_s,
        }
        if request.constraint is not None:
            gbnf = gbnf_of(request.constraint)
            body |= {"grammar": gbnf, "structured_outputs": {"grammar": gbnf}}
        return prompt, {name: value for name, value in body.items() if value is not None}

    # What comes back ----------------------------------------------------------------------------

    def _pieces(
        self, request: CompletionRequest, answer: Answer, body: Json, cancel: threading.Event
    ) -> Iterator[Delta]:
        # Counted from before it is sent: the far end calls what its own deadline ended cut in length.
        over = _until(cancel, request.deadline_s)
        try:
            who = self._models.asked_for(request.adapter, over)
        except Unavailable:
            if not over():
                raise
            yield answer.end("cancelled" if cancel.is_set() else "deadline")
            return
        events = Events()
        coming = self._far.listen("/completions", who | body, events)
        try:
            while True:
                if over():
                    last = answer.end("cancelled" if cancel.is_set() else "deadline")
                    break
                with contextlib.suppress(Empty):
                    event = events.get(timeout=LOOK_S)
                    if isinstance(event, InternsError):
                        raise event
                    if event is None:
                        last = answer.end()
                        break
                    with self._far.told():
                        delta = answer.take(event)
                    if delta.text or delta.tokens:
                        yield delta
                    if answer.stopped:
                        last = answer.end("stop")
                        break
        finally:
            coming.cancel()
        yield last

    def _echoed(self, request: CompletionRequest, over: Over) -> Completion:
        begun = time.perf_counter()
        prompt, body = self._body(request)
        body |= self._models.asked_for(request.adapter, over)
        ((choice, scores),) = self._scores.echo(
            body, [prompt], over, request.sampling.logprobs or 0
        )
        head = tuple(
            TokenScore(token, score.data, score.logprob, score.alternatives)
            for token, score in zip(prompt, scores, strict=False)
        )
        tail = tuple(scores[len(prompt) :])
        text = b"".join(score.data for score in tail).decode("utf-8", "replace")
        seconds = time.perf_counter() - begun
        reason = read_reason(choice.get("finish_reason") or "length")
        return Completion(
            text, reason, len(prompt), 0, len(tail), total(tail), seconds, seconds, tail, head
        )


def remote_runtime(base: BaseModelRef, chosen: EngineSettings) -> OpenAIRuntime:
    """The runtime that an office's settings name; the token is read from the environment.

    Args:
        base: The office's.
        chosen: With a `url`.
    """
    token = os.environ.get(chosen.token_variable, "")
    return OpenAIRuntime(base, chosen.url, model=chosen.model, token=token)


def _until(cancel: threading.Event | None, deadline_s: float | None) -> Over:
    """Tells when an answer is no longer wanted, and why; the deadline counts from now."""
    deadline = deadline_in(deadline_s)

    def over() -> InternsError | None:
        if cancel is not None and cancel.is_set():
            return cut_short(late=False)
        return cut_short(late=True) if time.monotonic() >= deadline else None

    return over


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")
