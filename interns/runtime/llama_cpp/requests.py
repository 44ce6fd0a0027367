"""What callers ask becomes jobs: prompts as token ids, everything checked before the engine sees it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import CompletionRequest, Constraint, Message
from interns.errors import InvalidInput, TooLong
from interns.prompt import ChatTemplate
from interns.runtime.deadline import deadline_in
from interns.runtime.llama_cpp.adapters import verify_adapter
from interns.runtime.llama_cpp.batch import ContextSize
from interns.runtime.llama_cpp.constraints import check_scoring, gbnf_of
from interns.runtime.llama_cpp.generation import Generation, nothing
from interns.runtime.llama_cpp.grammar import GrammarMask
from interns.runtime.llama_cpp.jobs import Solo
from interns.runtime.llama_cpp.library import Model
from interns.runtime.llama_cpp.prefixes import adapter_key
from interns.runtime.llama_cpp.sampling import Sampler, check_sampling
from interns.runtime.llama_cpp.solo import cold_logits, score_labels, score_tokens
from interns.runtime.llama_cpp.text_writer import TextWriter

_LONGEST_TOKEN = 128


class Requests:
    """Makes jobs for one base. Safe to use from any thread.

    Every method raises `InvalidInput` or `TooLong` for what cannot be computed, and as
    `adapters.verify_adapter` for an adapter that must not be used.

    Args:
        base: The base.
        words: Its vocabulary.
        template: Its chat template.
        size: Of the engine's context.
        limit: Tokens of the longest prompt and answer together.
    """

    def __init__(
        self,
        base: BaseModelRef,
        words: Model,
        template: ChatTemplate,
        *,
        size: ContextSize,
        limit: int,
    ) -> None:
        self._base = base
        self._words = words
        self._template = template
        self._size = size
        self.limit = limit
        self._verified: set[tuple[str, str]] = set()

    def answer(
        self, request: CompletionRequest, cancel: threading.Event | None, *, streaming: bool
    ) -> Generation:
        """An answer to be written."""
        sampling = request.sampling
        check_sampling(sampling, self._words.vocab_size)
        deadline = deadline_in(request.deadline_s)
        prompt = self._prompt(request)
        self._verify(request.adapter)
        mask = self._mask(request.constraint)
        return Generation(
            prompt=prompt,
            adapter=request.adapter,
            most=min(sampling.max_tokens, self.limit - len(prompt)),
            sampler=Sampler(sampling, self._words.hidden_tokens, mask),
            writer=TextWriter(sampling.stop),
            piece=self._words.piece,
            stop_tokens=self._words.stop_tokens,
            streaming=streaming,
            cancel=cancel or threading.Event(),
            on_end=mask.close if mask else nothing,
            scored=sampling.logprobs is not None,
            deadline=deadline,
        )

    def prompt_scores(self, request: CompletionRequest, cancel: threading.Event | None) -> Solo:
        """The log-probability of every token of a prompt."""
        check_sampling(request.sampling, self._words.vocab_size, least_tokens=0)
        deadline = deadline_in(request.deadline_s)
        prompt = self._prompt(request)
        self._verify(request.adapter)
        count = request.sampling.logprobs or 0
        steps = partial(score_tokens, piece=self._piece, count=count)
        ends = cancel or threading.Event()
        return Solo(steps, request.adapter, prompt, len(prompt), None, ends, deadline)

    def label_scores(
        self,
        messages: Sequence[Message],
        choices: Sequence[str],
        adapter: Adapter | None,
        *,
        temperature: float,
        tail: float,
        cancel: threading.Event | None,
        deadline_s: float | None,
    ) -> Solo:
        """The log-probability of each label, followed by the stop token, as the whole answer.

        Raises:
            InvalidInput: Bad labels, temperature, tail or deadline.
            TooLong: The prompt and a label do not fit the context.
        """
        check_scoring(choices, temperature, tail)
        deadline = deadline_in(deadline_s)
        prompt = self.tokens(messages)
        labels = [self._words.tokenize(choice, special=False) for choice in choices]
        longest = max(map(len, labels))
        self._check_length(len(prompt) + longest)
        self._verify(adapter)
        batch = min(self._size.outputs, sum(map(len, labels)))
        return Solo(
            partial(
                score_labels,
                labels=labels,
                stop=self._words.eos,
                tail=tail,
                temperature=temperature,
            ),
            adapter,
            prompt,
            min(self._size.cells, len(prompt) + max(longest, batch)),
            adapter_key(adapter),
            cancel or threading.Event(),
            deadline,
        )

    def cold_logits(self, tokens: Sequence[int], adapter: Adapter | None) -> Solo:
        """Logits after every token, nothing reused."""
        ids = self._checked(tokens)
        self._verify(adapter)
        return Solo(cold_logits, adapter, ids, len(ids), None)

    def tokens(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of messages as the base's template renders them; the length is not checked."""
        if not messages:
            raise InvalidInput("There is no message to answer.", "Give at least one.")
        text = self._template.render(messages)
        if len(text) > self.limit * _LONGEST_TOKEN:  # spares the tokenizer a megabyte
            raise TooLong(
                f"The prompt has {len(text)} characters; the base {self._base.name} takes fewer "
                f"than {self.limit} tokens.",
                "Shorten the text, or give less knowledge with it.",
            )
        return self._words.tokenize(text, special=True)

    # Inside -------------------------------------------------------------------------------------

    def _prompt(self, request: CompletionRequest) -> list[int]:
        if request.prompt:
            return self._checked(request.prompt)
        prompt = self.tokens(request.messages)
        self._check_length(len(prompt))
        return prompt

    def _checked(self, tokens: Sequence[int]) -> list[int]:
        ids = [int(token) for token in tokens]
        if not ids or not all(0 <= i < self._words.vocab_size for i in ids):
            raise InvalidInput(
                "The token ids are empty or outside the vocabulary.",
                f"Give at least one, each from 0 to {self._words.vocab_size - 1}.",
            )
        self._check_length(len(ids))
        return ids

    def _check_length(self, count: int) -> None:
        if count >= self.limit:
            raise TooLong(
                f"The prompt has {count} tokens; the base {self._base.name} takes fewer than "
                f"{self.limit}.",
                "Shorten the text, or give less knowledge with it.",
            )

    def _verify(self, adapter: Adapter | None) -> None:
        if adapter is None or (adapter.sha256, adapter.base_sha256) in self._verified:
            return
        verify_adapter(adapter, self._base)
        self._verified.add((adapter.sha256, adapter.base_sha256))

    def _mask(self, constraint: Constraint | None) -> GrammarMask | None:
        return GrammarMask(self._words, gbnf_of(constraint)) if constraint else None

    def _piece(self, token: int) -> bytes:
        return self._words.piece(token, special=True)
