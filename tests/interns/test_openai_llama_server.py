"""`OpenAIRuntime` against a web server that answers as a real llama-server did.

The forms are those of the llama-server that llama-cpp-python 0.3.36 carries, serving the starter;
`tests/orchestrator/test_llama_server.py` asks the program itself.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.bases import starter
from interns.completion import Completion, CompletionRequest, Message, Sampling
from interns.errors import Incompatible, NotFound, Unavailable
from interns.runtime.openai_runtime import OpenAIRuntime
from tests.interns.conftest import MakeAdapter
from tests.interns.far_end import Json, piece

ASKED = (Message("user", "Where is my parcel?"),)
END, VOCABULARY = 2, 8192


@pytest.fixture
def triage(make_adapter: MakeAdapter, starter_base: BaseModelRef) -> Adapter:
    return replace(make_adapter(4, on=starter_base), name="triage@1")


def ask(runtime: OpenAIRuntime, who: Adapter | None = None, **sampling: Any) -> Completion:
    sampling = {"max_tokens": 4} | sampling
    return runtime.complete(CompletionRequest(ASKED, who, Sampling(**sampling)))


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


def test_base_is_found_under_each_of_its_names(far, runtime):
    """Of ``-a starter,second`` the last in the alphabet is the model, and all are other names."""
    model = {"id": "second", "aliases": ["second", "starter"], "tags": [], "object": "model"}
    far.gives("/v1/models", {"models": [], "object": "list", "data": [model]})
    far.streams(piece("The", token(685, "The", -1.5)), last("length", 1))
    assert ask(runtime).text == "The"
    other = OpenAIRuntime(starter(), far.url, model="nobody")
    with pytest.raises(NotFound, match="does not serve 'nobody', but second, starter"):
        ask(other)
    other.close()


def test_answer_of_its_own_dialect_is_told_from_a_cut_one(far, runtime):
    """As under an address without /v1."""
    native = {"index": 0, "content": "a", "tokens": [324], "stop": False, "tokens_predicted": 1}
    far.streams(native, {**native, "content": "", "stop": True, "stop_type": "limit"})
    with pytest.raises(Incompatible, match="another dialect") as caught:
        ask(runtime)
    assert "/v1" in caught.value.fix


def test_written_tokens_are_never_taken_for_an_echo(far, runtime):
    """It ignores ``echo``: what it scores is what it wrote."""
    written = [token(300 + i, "I", -2.0)["content"][0] for i in range(8)]
    choice = {"index": 0, "text": "I" * 8, "logprobs": {"content": written}}
    far.gives("/v1/completions", {"choices": [{**choice, "finish_reason": "length"}]})
    asked = CompletionRequest(
        (), None, Sampling(max_tokens=8, logprobs=1), None, None, (5, 6), True
    )
    with pytest.raises(Incompatible, match="log-probabilities of a prompt"):
        runtime.complete(asked)


class Writer:
    """Writes the token that a bias asks for; one that ends within a character is not told of."""

    def __init__(self, within: tuple[int, ...] = ()) -> None:
        self.within = within

    @staticmethod
    def logprob(prompt: list[int], written: int) -> float:
        return -0.001 * written - 0.1 * prompt[-1]

    def __call__(self, body: Json) -> Json:
        if body.get("echo"):
            logprobs = [token(300, "I", -2.0) for _ in body["prompt"]]
        else:
            ((written, _),) = body["logit_bias"].items()
            number, prompt = int(written), body["prompt"]
            likeliest = range(VOCABULARY) if body["logprobs"] == VOCABULARY else [685]
            tops = [token(i, "", self.logprob(prompt, i))["content"][0] for i in likeliest]
            logprobs = [token(number, "", self.logprob(prompt, number), tops)]
            if number in self.within:
                logprobs = [None]
        return {
            "choices": [
                {"index": i, "text": "", "logprobs": each, "finish_reason": "length"}
                for i, each in enumerate(logprobs)
            ]
        }


def test_labels_are_written_token_by_token_where_nothing_is_echoed(far, runtime):
    labels = ("delivery", "delivery late", "Zürich")
    (lead,) = runtime.tokenize("Zü")[1:2]
    far.answers = writer = Writer(within=(lead,))
    prompt = runtime.tokenize(runtime.template.render(ASKED))
    expected = []
    for label in labels:
        text = [*prompt, *runtime.tokenize(label), END]
        ends = range(len(prompt), len(text))
        expected.append(math.fsum(writer.logprob(text[:end], text[end]) for end in ends))
    found = runtime.score_choices(ASKED, labels)
    assert found.logprobs == pytest.approx(expected)
    assert found.runtime == "openai"
    echo, *asked = far.sent
    assert echo["echo"]
    beginnings = {(*body["prompt"], *body["logit_bias"]) for body in asked if body["logprobs"] == 1}
    assert len(beginnings) == len(asked) - 1  # each once, and once the whole vocabulary
    runtime.score_choices(ASKED, labels)
    assert [body for body in far.sent if body.get("echo")] == [echo]  # not tried again


def test_label_is_not_scored_by_another_token(far, runtime):
    """As where a server bounds the bias."""
    far.answers = lambda body: Writer()({**body, "logit_bias": {"685": 1}})
    with pytest.raises(Incompatible, match="log-probabilities of a prompt"):
        runtime.score_choices(ASKED, ("delivery", "refund"))


def _listed(*adapters: Adapter) -> list[Json]:
    return [
        {"id": i, "path": str(each.path), "scale": 1.0, "task_name": "", "prompt_prefix": ""}
        for i, each in enumerate(adapters)
    ]


def test_intern_is_asked_by_the_file_of_its_adapter(far, runtime, triage, make_adapter):
    """Unless told otherwise all adapters are put on, and a cache knows nothing of adapters."""
    far.lists("starter")
    far.streams(piece("The", token(685, "The", -1.5)), last("length", 1))
    other = make_adapter(2, on=starter())
    for listed, scales in (((triage, other), [1.0, 0.0]), ((other, triage), [0.0, 1.0])):
        far.gives("/lora-adapters", _listed(*listed))
        ask(runtime, triage)
        sent = far.sent[-1]
        assert sent["lora"] == [{"id": i, "scale": scale} for i, scale in enumerate(scales)]
        assert (sent["model"], sent["cache_prompt"]) == ("starter", False)
        ask(runtime)
        assert [each["scale"] for each in far.sent[-1]["lora"]] == [0.0, 0.0]
    count = len(far.sent)
    far.gives("/lora-adapters", _listed(other))
    with pytest.raises(NotFound, match="has no adapter") as caught:
        ask(runtime, triage)
    assert "--lora" in caught.value.fix
    far.gives("/lora-adapters", [])
    with pytest.raises(NotFound, match="does not serve 'triage@1', but starter"):
        ask(runtime, triage)
    assert len(far.sent) == count
    ask(runtime)
    assert "lora" not in far.sent[-1]


def test_nobody_is_asked_while_the_adapters_are_not_known(far, runtime):
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    far.gives("/lora-adapters", loading)
    far.replies["/lora-adapters"] = (503, *far.replies["/lora-adapters"][1:])
    with pytest.raises(Unavailable, match="Loading model"):
        ask(runtime)
    assert far.sent == []


def test_caller_can_leave_while_the_adapters_are_looked_up(far, runtime):
    """The list comes after the batch that is computed, which may be a long prompt's."""
    far.reads = "before it lists"
    cancel = threading.Event()
    asked = CompletionRequest(ASKED, None, Sampling(max_tokens=4))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(runtime.complete, asked, cancel=cancel)
        assert far.asked.wait(20)
        cancel.set()
        assert answer.result(timeout=20).finish_reason == "cancelled"
    assert far.left.wait(20)
    late = runtime.complete(replace(asked, deadline_s=0.2))
    assert (late.finish_reason, late.text) == ("deadline", "")
    with pytest.raises(Unavailable, match="deadline"):
        runtime.score_choices(ASKED, ("a", "b"), deadline_s=0.2)
    assert far.sent == []
