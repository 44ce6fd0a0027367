"""`OpenAIRuntime` against a web server that answers as vLLM and others of the dialect document it."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import Completion, CompletionRequest, Message, Sampling
from interns.errors import (
    Busy,
    Incompatible,
    InvalidInput,
    NotFound,
    TooLong,
    Unavailable,
)
from interns.runtime.openai_runtime import OpenAIRuntime
from tests.interns.conftest import MakeAdapter
from tests.interns.far_end import FarEnd, Json, piece, scores

ASKED = (Message("user", "Where is my parcel?"),)
LABELS = ("delivery", "refund")


@pytest.fixture
def adapter(make_adapter: MakeAdapter, starter_base: BaseModelRef) -> Adapter:
    return make_adapter(4, on=starter_base)


def ask(runtime: OpenAIRuntime, **sampling: Any) -> Completion:
    return runtime.complete(CompletionRequest(ASKED, None, Sampling(max_tokens=4, **sampling)))


def test_stream_of_vllm_is_read(far, runtime):
    tops = [{" way": -2.5, " the": -0.25, " a": -1.5}]
    far.streams(
        piece("On", scores(("On", -0.5), tops=[{"On": -0.5}]), stop_reason=None, token_ids=None),
        {**piece(" way", scores((" way", -2.5), tops=tops)), "usage": None},
        piece("", scores(("", -0.25), tops=[{"": -0.25}]), "stop", stop_reason=2),
        {
            "id": "cmpl-1", "choices": [], "system_fingerprint": None,
            "usage": {
                "prompt_tokens": 9, "total_tokens": 12, "completion_tokens": 3,
                "prompt_tokens_details": None,
            },
        },
    )  # fmt: skip
    answer = ask(runtime, logprobs=2)
    assert (answer.text, answer.finish_reason) == ("On way", "stop")
    assert (answer.completion_tokens, answer.cached_tokens) == (3, 0)
    assert answer.logprob == pytest.approx(-3.25)
    likeliest = [(each.data, each.logprob) for each in answer.tokens[1].alternatives]
    assert likeliest == [(b" the", -0.25), (b" a", -1.5)]  # ranked, and no more than asked for


def test_nothing_is_made_up_when_neither_scores_nor_usage_come(far, runtime):
    far.streams(piece("The parcel"), piece("", None, "stop"))
    answer = ask(runtime)
    assert answer.logprob is None
    assert answer.completion_tokens == runtime.count_tokens("The parcel")
    assert far.sent[0]["logprobs"] == 1  # 0 would mean none to llama-server


@pytest.mark.parametrize(
    ("word", "ours"),
    [("stop", "stop"), ("length", "length"), ("max_tokens", "length"), ("eos_token", "stop"),
     ("stop_sequence", "stop"), ("content_filter", "stop")],
)  # fmt: skip
def test_other_words_for_an_end_are_known(far, runtime, word, ours):
    far.streams(piece("a", scores(("a", -0.1))), piece("", None, word))
    assert ask(runtime).finish_reason == ours


@pytest.mark.parametrize("word", ["abort", "error"])
def test_answer_that_was_broken_off_is_no_answer(far, runtime, word):
    far.streams(piece("a"), piece("", None, word))
    with pytest.raises(Unavailable, match=word):
        ask(runtime)


def test_stream_that_is_cut_is_no_answer(far, runtime):
    far.streams(piece("On its w"), end="")
    with pytest.raises(Unavailable, match="without a reason"):
        ask(runtime)


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (400, {"error": {"message": "bad top_p", "type": "BadRequestError", "code": 400}},
         InvalidInput, "bad top_p"),
        (400, {"object": "error", "message": "bad n", "type": "BadRequestError", "code": 400},
         InvalidInput, "bad n"),
        (422, {"detail": [{"msg": "Field required"}]}, InvalidInput, "Field required"),
        (400, {"error": {"message": "This model's maximum context length is 8 tokens.",
                         "code": 400}}, TooLong, "8 tokens"),
        (400, {"error": {"message": "the request exceeds", "type": "exceed_context_size_error",
                         "code": 400, "n_ctx": 8}}, TooLong, "exceeds"),
        (404, {"error": {"message": "The model `x` does not exist.", "type": "NotFoundError",
                         "code": 404}}, NotFound, "does not exist"),
        (401, {"error": "Unauthorized"}, InvalidInput, "Unauthorized"),
        (501, {"error": {"message": "no grammar here", "type": "not_supported_error",
                         "code": 501}}, Incompatible, "no grammar"),
        (502, b"<html>Bad Gateway</html>", Unavailable, "502"),
        (200, b"<html>hello</html>", Unavailable, "without a reason"),
    ],
)  # fmt: skip
def test_refusals_of_every_shape_are_told(far, runtime, status, body, kind, told):
    far.refuses(status, body)
    with pytest.raises(kind, match=told) as caught:
        ask(runtime)
    assert caught.value.fix


def test_error_inside_a_stream_is_told_by_its_own_status(far, runtime):
    far.streams(piece("a"), {"error": {"message": "no such place", "code": 429}})
    with pytest.raises(Busy, match="no such place"):
        ask(runtime)


def test_loading_endpoint_says_when_to_come_back(far, runtime):
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    far.refuses(503, loading, Retry_After="7")
    with pytest.raises(Unavailable, match="Loading model") as caught:
        ask(runtime)
    assert not isinstance(caught.value, Busy)
    assert "in 7 s" in caught.value.fix
    for header in ("Wed, 21 Oct 2026 07:28:00 GMT", "inf", "-3", "nan"):
        far.refuses(503, loading, Retry_After=header)
        with pytest.raises(Unavailable) as caught:
            ask(runtime)
        assert "in a moment" in caught.value.fix
    far.refuses(429, {"error": {"message": "full"}}, Retry_After="4")
    with pytest.raises(Busy) as busy:
        ask(runtime)
    assert busy.value.retry_after_s == 4


def _echo(runtime: OpenAIRuntime, far: FarEnd) -> list[Json]:
    """What a server with echo answers: a null, the prompt, the label, the stop token, one more."""
    prompt = runtime.tokenize(runtime.template.render(ASKED))
    choices = []
    for index, label in enumerate(LABELS):
        tail = [-1.0 - index] * (runtime.count_tokens(label) + 1) + [-9.0]
        values = [None, *[-3.0] * (len(prompt) - 1), *tail]
        logprobs = scores(*[("t", value) for value in values])
        choices.append({
            "index": index,
            "text": "",
            "logprobs": logprobs,
            "finish_reason": "length",
        })
    return choices


def test_labels_are_scored_in_whatever_order_choices_come(far, runtime):
    choices = _echo(runtime, far)
    far.refuses(200, {"choices": choices[::-1], "usage": None})
    found = runtime.score_choices(ASKED, LABELS)
    expected = [(-1.0 - i) * (runtime.count_tokens(label) + 1) for i, label in enumerate(LABELS)]
    assert found.logprobs == pytest.approx(expected)
    assert found.runtime == "openai"
    cooler = found.at(2.0).probabilities
    assert sum(cooler) == pytest.approx(1)
    assert cooler[0] / cooler[1] == pytest.approx(math.exp((expected[0] - expected[1]) / 2))


def test_scores_nobody_waits_for_any_more_are_left_at_once(far, runtime):
    far.reads = "before the status"
    echo = CompletionRequest((), None, Sampling(max_tokens=0), prompt=(5, 6), echo=True)
    for ask in (
        lambda **more: runtime.score_choices(ASKED, LABELS, **more),
        lambda cancel=None, deadline_s=None: runtime.complete(
            replace(echo, deadline_s=deadline_s), cancel=cancel
        ),
    ):
        for why, more in (
            ("cancelled", {"cancel": threading.Event()}),
            ("deadline", {"deadline_s": 0.2}),
        ):
            far.asked.clear(), far.left.clear()
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(ask, **more)
                assert far.asked.wait(10)
                if "cancel" in more:
                    more["cancel"].set()
                with pytest.raises(Unavailable, match=why):
                    answer.result(timeout=10)
            assert far.left.wait(10)
    with pytest.raises(InvalidInput, match="deadline"):
        runtime.score_choices(ASKED, LABELS, deadline_s=0.0)


def test_endpoint_without_echo_is_named_instead_of_scored_wrongly(far, runtime):
    choices = _echo(runtime, far)
    only_written = [{**each, "logprobs": scores(("a", -0.5))} for each in choices]
    for body in (only_written, [{**each, "logprobs": None} for each in choices], choices[:1]):
        far.refuses(200, {"choices": body})
        with pytest.raises(Incompatible, match="log-probabilities of a prompt"):
            runtime.score_choices(ASKED, LABELS)
    far.refuses(400, {"error": {"message": "Only no echo is supported", "code": 400}})
    with pytest.raises(Incompatible, match="Only no echo"):
        runtime.score_choices(ASKED, LABELS)


def test_every_token_that_ends_an_answer_is_told(far, runtime):
    """vLLM stops at the end token of the model it serves, which may name another one than ours."""
    far.streams(piece("a", scores(("a", -0.1)), "stop"))
    ask(runtime)
    ends = [token for text in ("<|endoftext|>", "<|im_end|>") for token in runtime.tokenize(text)]
    assert far.sent[0]["stop_token_ids"] == sorted(ends)


@pytest.mark.parametrize("reads", ["before the status", "after the status"])
@pytest.mark.parametrize("leaves", ["cancels", "closes the runtime"])
def test_far_end_is_left_while_it_reads_the_prompt(far, runtime, reads, leaves):
    far.reads = reads
    cancel = threading.Event()
    pieces = runtime.stream(CompletionRequest(ASKED, None, Sampling(max_tokens=4)), cancel=cancel)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(next, pieces)
        assert far.asked.wait(20)
        if leaves == "closes the runtime":
            runtime.close()
            with pytest.raises(Unavailable, match="closed"):
                answer.result()
        else:
            cancel.set()
            assert answer.result().completion.finish_reason == "cancelled"
    assert far.left.wait(20)


def test_base_is_asked_by_name_only_where_that_name_is_served(far, runtime):
    far.streams(piece("a", scores(("a", -0.1)), "stop"))
    far.lists("other-base", "triage@2")
    with pytest.raises(NotFound, match="does not serve 'starter', but other-base") as caught:
        ask(runtime)
    assert "engine.model" in caught.value.fix
    assert far.sent == []
    far.lists("starter")
    assert ask(runtime).text == "a"


def test_intern_is_asked_by_name_only_where_that_name_is_served(far, runtime, adapter):
    """llama-server answers to any name with its base, which would pass for the intern."""
    far.streams(piece("a", scores(("a", -0.1)), "stop"))
    request = CompletionRequest(ASKED, replace(adapter, name="triage@2"), Sampling())
    far.lists("starter")
    with pytest.raises(NotFound, match="does not serve 'triage@2', but starter"):
        runtime.complete(request)
    assert far.sent == []
    far.lists("starter", "triage@2")
    assert runtime.complete(request).text == "a"
    assert far.sent[0]["model"] == "triage@2"


def test_adapter_of_another_base_is_never_asked_for(far, runtime, adapter):
    far.lists("triage@2")
    other = replace(adapter, name="triage@2", base_sha256="0" * 64)
    with pytest.raises(Incompatible, match="another base"):
        runtime.complete(CompletionRequest(ASKED, other, Sampling()))
    assert far.sent == []
