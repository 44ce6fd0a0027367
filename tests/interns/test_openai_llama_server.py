"""`OpenAIRuntime` against a web server that answers as a real llama-server did.

The forms are those of the llama-server that llama-cpp-python 0.3.36 carries, serving the starter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from interns.bases import starter
from interns.completion import Completion, CompletionRequest, Message, Sampling
from interns.errors import Incompatible
from interns.runtime.openai_runtime import OpenAIRuntime
from tests.interns.far_end import FarEnd, Json, piece

ASKED = (Message("user", "Where is my parcel?"),)
END = 2


@pytest.fixture
def runtime(far: FarEnd) -> Iterator[OpenAIRuntime]:
    made = OpenAIRuntime(starter(), far.url)
    yield made
    made.close()


def ask(runtime: OpenAIRuntime, **sampling: Any) -> Completion:
    sampling = {"max_tokens": 4} | sampling
    return runtime.complete(CompletionRequest(ASKED, None, Sampling(**sampling)))


def token(number: int, text: str, logprob: float, tops: list[Json] | None = None) -> Json:
    entry = {"id": number, "token": text, "bytes": list(text.encode()), "logprob": logprob}
    return {"content": [{**entry, "top_logprobs": tops or [entry]}]}


def last(reason: str, written: int) -> Json:
    """The last event: it carries a choice and the usage at once."""
    usage = {
        "completion_tokens": written, "prompt_tokens": 17, "total_tokens": 17 + written,
        "prompt_tokens_details": {"cached_tokens": 16},
    }  # fmt: skip
    return {**piece("", None, reason), "usage": usage, "timings": {"predicted_n": written}}


def test_stream_is_read(far, runtime):
    top = {"id": 711, "token": "You", "bytes": [89, 111, 117], "logprob": -2.25}
    end = {"id": 0, "token": "", "bytes": [], "logprob": -9.5}
    far.streams(
        ":",  # sent while nothing else is
        piece("The", token(685, "The", -1.5, [top, end])),
        piece("", token(END, "", -0.25)),
        last("stop", 2),
    )
    answer = ask(runtime, logprobs=2)
    assert (answer.text, answer.finish_reason) == ("The", "stop")
    assert (answer.completion_tokens, answer.cached_tokens) == (2, 16)
    assert answer.logprob == pytest.approx(-1.75)
    assert [each.token for each in answer.tokens] == [685, END]
    assert [each.data for each in answer.tokens[0].alternatives] == [b"You", b""]
    assert far.sent[0]["repeat_penalty"] == far.sent[0]["repetition_penalty"] == 1.0
    assert far.sent[0]["logprobs"] == 2


def test_probability_of_an_answer_is_unknown_where_a_token_was_not_scored(far, runtime):
    """Of the two tokens of "ü" only the second is told of."""
    far.streams(
        piece("Z", token(317, "Z", -11.0)), piece("ü", token(380, "ü", -5.5)), last("length", 3)
    )
    answer = ask(runtime, logprobs=0)
    assert (answer.text, answer.completion_tokens, len(answer.tokens)) == ("Zü", 3, 2)
    assert answer.logprob is None


def test_text_that_might_have_begun_a_stop_text_is_not_lost(far, runtime):
    """llama-server holds it back and never sends it when the answer ends there: it is not told."""
    pieces = piece("The", token(685, "The", -1.5)), piece(" city", token(1713, " city", -1.5))
    far.streams(*pieces, last("length", 2))
    whole = ask(runtime, stop=("city is",))
    assert (whole.text, whole.finish_reason) == ("The city", "length")
    cut = ask(runtime, stop=(" ci",))
    assert (cut.text, cut.finish_reason) == ("The", "stop")
    assert all("stop" not in body for body in far.sent)


def test_answer_of_its_own_dialect_is_told_from_a_cut_one(far, runtime):
    """As under an address without /v1."""
    native = {"index": 0, "content": "a", "tokens": [324], "stop": False, "tokens_predicted": 1}
    far.streams(native, {**native, "content": "", "stop": True, "stop_type": "limit"})
    with pytest.raises(Incompatible, match="another dialect") as caught:
        ask(runtime)
    assert "/v1" in caught.value.fix
