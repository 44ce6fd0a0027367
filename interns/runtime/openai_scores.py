"""Log-probabilities of given texts: from a prompt that is echoed, or from tokens that are forced.

llama-server echoes nothing, but says of each token that it writes how probable it was before any
bias. So labels are written there token by token, and a beginning that they share is written once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

from interns.adapter import Adapter
from interns.completion import TokenScore
from interns.errors import Incompatible, InternsError
from interns.runtime.endpoint import Endpoint, Over
from interns.runtime.openai_answers import read_error, read_scores, total
from interns.runtime.openai_models import Models

Json = dict[str, Any]
Ids = Sequence[int]

_AT_ONCE = 64  # prompts in one request
_FORCE = 1000.0  # more than the logits of one place ever differ by


class NoEcho(Incompatible):
    """The endpoint does not score a prompt."""


class Scores:
    """Scores of an endpoint. Safe to use from any thread.

    Args:
        far: The endpoint.
        models: Whom it answers for.
        vocabulary: Number of token ids.
        end: The token that ends an answer.
    """

    def __init__(self, far: Endpoint, models: Models, vocabulary: int, end: int) -> None:
        self._far = far
        self._models = models
        self._vocabulary = vocabulary
        self._end = end
        self._echoes = True

    def labels(
        self, prompt: Ids, labels: Sequence[Ids], adapter: Adapter | None, over: Over
    ) -> list[float]:
        """Log-probability of each label, followed by the end, after a prompt.

        Raises:
            Incompatible: The endpoint does not tell.
            InternsError: What `over` returned, or as the endpoint says.
        """
        who = self._models.asked_for(adapter, over)
        ended = [(*label, self._end) for label in labels]
        if self._echoes:
            try:
                return self._labels_echoed(who, prompt, ended, over)
            except NoEcho:
                self._echoes = False
        return self._labels_forced(who, prompt, ended, over)

    def echo(
        self, body: Json, prompts: Sequence[Ids], over: Over, alternatives: int = 0
    ) -> list[tuple[Json, list[TokenScore]]]:
        """Ask for completions with scored prompts; each choice with the scores of all its tokens.

        Raises:
            NoEcho: Only what was written is scored, if anything.
            InternsError: What `over` returned, or as the endpoint says.
        """
        choices = self._choices(body | {"prompt": prompts, "echo": True}, over)
        with self._far.told():
            found = [
                (choice, read_scores(choice["logprobs"], alternatives))
                for choice in sorted(choices, key=lambda choice: int(choice["index"]))
            ]
        if len(found) != len(prompts):
            raise _no_echo()
        for prompt, (_, scores) in zip(prompts, found, strict=True):
            # The first token follows nothing; one that was written follows the prompt.
            if len(scores) < len(prompt) or scores[0].logprob is not None:
                raise _no_echo()
        return found

    def _labels_echoed(
        self, who: Json, prompt: Ids, labels: Sequence[Ids], over: Over
    ) -> list[float]:
        # One token more than is wanted: not every server takes max_tokens 0.
        body = who | {"max_tokens": 1, "temperature": 0, "logprobs": 1}
        texts = [[*prompt, *label] for label in labels]
        found: list[float] = []
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            for text, (_, scores) in zip(some, self.echo(body, some, over), strict=True):
                found.append(total(scores[len(prompt) : len(text)]) or 0.0)
        return found

    def _labels_forced(
        self, who: Json, prompt: Ids, labels: Sequence[Ids], over: Over
    ) -> list[float]:
        beginnings = [[(*label[:i], label[i]) for i in range(len(label))] for label in labels]
        known = {
            (*before, token): self._forced(who, [*prompt, *before], token, over)
            for *before, token in dict.fromkeys(chain.from_iterable(beginnings))
        }
        return [math.fsum(known[each] for each in all_of_one) for all_of_one in beginnings]

    def _forced(self, who: Json, prompt: Ids, token: int, over: Over) -> float:
        """Log-probability of a token after a prompt."""
        score = self._written(who, prompt, token, over, likeliest=1)
        if score is None:  # it ends within a character: not told of, but among the likeliest
            other = self._written(who, prompt, self._end, over, likeliest=self._vocabulary)
            score = next(
                (s for s in (other.alternatives if other else ()) if s.token == token), None
            )
        if score is None or score.token != token or score.logprob is None:
            raise _no_echo()
        return score.logprob

    def _written(
        self, who: Json, prompt: Ids, token: int, over: Over, *, likeliest: int
    ) -> TokenScore | None:
        body = {
            "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": likeliest,
            "logit_bias": {str(token): _FORCE},
        }  # fmt: skip
        choices = self._choices(who | body, over)
        with self._far.told():
            return next(iter(read_scores(choices[0]["logprobs"], likeliest)), None)

    def _choices(self, body: Json, over: Over) -> list[Json]:
        with self._far.told():
            response = self._far.ask("/completions", body, over=over)
            if response.is_error:
                told = read_error(response)
                raise _no_echo(told) if "echo" in told.message else told
            choices: list[Json] = response.json()["choices"]
        return choices


def _no_echo(told: InternsError | None = None) -> NoEcho:
    why = f" ({told.message})" if told else ""
    return NoEcho(
        f"The endpoint does not report the log-probabilities of a prompt{why}.",
        "Use one that supports echo with logprobs, such as vLLM.",
    )
