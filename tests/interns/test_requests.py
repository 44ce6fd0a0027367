"""What a request may ask for, and what is refused: probabilities, deadlines, places, nonsense."""

from __future__ import annotations

import dataclasses
import pickle
import threading

import pytest

from interns.completion import CompletionRequest, Message, Sampling
from interns.errors import Busy, InvalidInput, TooLong, Unavailable
from interns.runtime.llama_cpp.engine import LlamaEngine
from tests.making import SAME, log_softmax, spoken

ENDLESS = {"max_tokens": 1500, "temperature": 5.0, "top_k": 0, "top_p": 1.0}


def _request(text: str, adapter=None, **settings) -> CompletionRequest:
    return CompletionRequest(
        (Message("user", text),), adapter, Sampling(**{"max_tokens": 12, **settings})
    )


def test_each_written_token_has_its_probability_and_alternatives(engine, adapters):
    request = _request("Where is my card?", adapters[0], logprobs=4)
    answer = engine.complete(request)
    assert len(answer.tokens) == answer.completion_tokens
    assert sum(t.logprob for t in answer.tokens) == pytest.approx(answer.logprob)
    text = b"".join(t.data for t in answer.tokens).decode("utf-8", "replace")
    assert text.startswith(answer.text)
    prompt = engine.tokenize(engine.template.render(request.messages))
    written = [t.token for t in answer.tokens]
    rows = spoken(engine, engine.logits(prompt + written, adapter=adapters[0]))[
        len(prompt) - 1 : -1
    ]
    for row, token in zip(rows, answer.tokens, strict=True):
        assert token.logprob == pytest.approx(float(row[token.token]), abs=SAME)
        assert [a.logprob for a in token.alternatives] == sorted(
            (a.logprob for a in token.alternatives), reverse=True
        )
        assert token.alternatives[0].token == token.token  # greedy
        assert len(token.alternatives) == 4


def test_streamed_tokens_are_those_of_the_whole(engine):
    pieces = list(engine.stream(_request("Tell me about dogs.", logprobs=0, max_tokens=20)))
    assert pieces[-1].completion is not None
    assert sum((piece.tokens for piece in pieces), ()) == pieces[-1].completion.tokens
    assert engine.complete(_request("Hello")).tokens == ()


def test_prompt_is_scored_token_by_token_when_it_is_echoed(engine, adapters):
    ids = tuple(engine.tokenize("The card was sent to Berlin " * 60))
    assert len(ids) > 300
    request = CompletionRequest(
        (), adapters[1], Sampling(max_tokens=0, logprobs=2), prompt=ids, echo=True
    )
    answer = engine.complete(request)
    assert (answer.text, answer.completion_tokens) == ("", 0)
    assert tuple(t.token for t in answer.prompt) == ids
    assert answer.prompt[0].logprob is None
    rows = log_softmax(engine.logits(list(ids), adapter=adapters[1]))
    for row, token in zip(rows, answer.prompt[1:], strict=False):
        assert token.logprob == pytest.approx(float(row[token.token]), abs=SAME)
        assert token.alternatives[0].token == int(row.argmax())
    longer = dataclasses.replace(request, sampling=Sampling(max_tokens=2, logprobs=1))
    assert engine.complete(longer).prompt[-1].logprob == answer.prompt[-1].logprob
    assert engine.complete(longer).completion_tokens <= 2


def test_token_ids_are_gone_on_from_as_they_are(engine):
    messages = (Message("user", "Where is my card?"),)
    ids = tuple(engine.tokenize(engine.template.render(messages)))
    chat = engine.complete(CompletionRequest(messages, sampling=Sampling(max_tokens=8)))
    raw = engine.complete(CompletionRequest((), sampling=Sampling(max_tokens=8), prompt=ids))
    assert raw.text == chat.text


def test_biased_token_is_written_or_never(engine):
    (token,) = engine.tokenize(" dog", special=False)
    want = _request("Hello", logit_bias=((token, 100.0),), max_tokens=3)
    assert engine.complete(want).text == " dog dog dog"


def test_answer_ends_with_what_there_is_at_its_deadline(base):
    with LlamaEngine(base, context_tokens=2048, slots=1, threads=1, exact=True) as engine:
        asked = dataclasses.replace(_request("A story", **ENDLESS), deadline_s=0.5)
        answer = engine.complete(asked)
        assert answer.finish_reason == "deadline"
        assert 0 < answer.completion_tokens < 1500
        with pytest.raises(InvalidInput, match="deadline"):
            engine.complete(dataclasses.replace(asked, deadline_s=0.0))


def test_request_fails_as_busy_when_its_deadline_passes_before_its_turn(base):
    with LlamaEngine(base, context_tokens=2048, slots=1, threads=1, exact=True) as engine:
        first = engine.stream(_request("A story", **ENDLESS))
        next(first)
        with pytest.raises(Busy, match="deadline"):
            engine.complete(dataclasses.replace(_request("Hello"), deadline_s=0.05))
        first.close()


def test_scores_end_when_they_are_cancelled_or_late(base):
    messages = (Message("user", "A story. " * 600),)
    long = CompletionRequest(messages, sampling=Sampling(max_tokens=1, logprobs=0), echo=True)
    labels = [f"label number {i}" for i in range(200)]
    gone = threading.Event()
    gone.set()
    with LlamaEngine(base, context_tokens=2048, slots=1, threads=1, exact=True) as engine:
        first = engine.stream(_request("A story", **ENDLESS))
        next(first)
        with pytest.raises(Unavailable, match="cancelled"):  # though it has no turn yet
            engine.score_choices(messages, labels, cancel=gone)
        with pytest.raises(Busy, match="deadline"):
            engine.score_choices(messages, labels, deadline_s=0.05)
        first.close()
        for late in (
            lambda: engine.score_choices(messages, labels, deadline_s=0.02),
            lambda: engine.complete(dataclasses.replace(long, deadline_s=0.02)),
        ):
            with pytest.raises(Unavailable, match="deadline") as caught:
                late()
            assert caught.value.fix
        with pytest.raises(Unavailable, match="cancelled"):
            engine.complete(long, cancel=gone)
        with pytest.raises(InvalidInput, match="deadline"):
            engine.score_choices(messages, labels, deadline_s=0.0)
        echoed = engine.complete(dataclasses.replace(long, deadline_s=600.0))
        assert len(echoed.prompt) == echoed.prompt_tokens > 1000
        stats = engine.stats()
    assert (stats["active"], stats["sequences"]) == (0, 0)


def test_engine_says_busy_and_when_to_come_back_when_its_queue_is_full(base):
    with LlamaEngine(base, context_tokens=2048, slots=1, queue=2, threads=1, exact=True) as engine:
        streams = [engine.stream(_request("A story", **ENDLESS)) for _ in range(3)]
        with pytest.raises(Busy, match="busy") as caught:
            engine.complete(_request("Hello"))
        assert isinstance(caught.value, Unavailable)
        assert (caught.value.code, caught.value.exit_code) == ("busy", 3)
        assert 1 <= caught.value.retry_after_s <= 60
        assert pickle.loads(pickle.dumps(caught.value)).retry_after_s == caught.value.retry_after_s
        with pytest.raises(Busy):
            engine.score_choices((Message("user", "Hello"),), ("a", "b"))
        for stream in streams:
            next(stream)
            stream.close()
        assert engine.complete(_request("Hello")).completion_tokens > 0
    with pytest.raises(InvalidInput, match="queue"):
        LlamaEngine(base, queue=0)


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 10**12},
        {"temperature": 1e300},
        {"temperature": float("inf")},
        {"top_p": float("nan")},
        {"min_p": -0.1},
        {"min_p": float("nan")},
        {"seed": 2**64},
        {"stop": ("x",) * 1000},
        {"logit_bias": ((8192, 1.0),)},
        {"logit_bias": ((-1, 1.0),)},
        {"logit_bias": ((5, 101.0),)},
        {"logit_bias": ((5, float("nan")),)},
        {"logit_bias": tuple((i, 1.0) for i in range(2000))},
        {"logprobs": -1},
        {"logprobs": 10**9},
        {"repeat_penalty": float("inf")},
    ],
)
def test_absurd_sampling_values_are_refused_with_a_reason(engine, bad):
    with pytest.raises(InvalidInput, match="Bad sampling value"):
        engine.complete(_request("Hello", **bad))
    assert engine.complete(_request("Hello", max_tokens=1)).completion_tokens == 1


@pytest.mark.parametrize(
    "text", ["a" * 2**20, "word " * 200_000, "\n" * 2**20, "😀" * 2**18, "b" * 250_000]
)
def test_a_megabyte_is_refused_and_the_engine_lives(engine, text):
    with pytest.raises(TooLong):
        engine.complete(_request(text))
    with pytest.raises(TooLong):
        engine.score_choices((Message("user", text),), ("a", "b"))
    with pytest.raises((TooLong, InvalidInput)):
        engine.score_choices((Message("user", "Hello"),), ("a", text))
    assert engine.complete(_request("Hello", max_tokens=1)).completion_tokens == 1


def test_half_characters_and_null_bytes_are_answered_and_the_engine_lives(engine):
    for text in ("\ud800 \udfff", "a\x00b", "\ufffe\uffff", "\u202e" * 50):
        assert engine.complete(_request(text, max_tokens=2)).completion_tokens > 0
        assert len(engine.score_choices((Message("user", text),), (text or "a", "b")).labels) == 2


def test_prompts_that_make_no_sense_are_refused(engine):
    with pytest.raises(InvalidInput, match="outside"):
        engine.complete(CompletionRequest((), prompt=(5, 8192)))
    with pytest.raises(InvalidInput, match="streamed"):
        engine.stream(CompletionRequest((), prompt=(5,), echo=True))
    with pytest.raises(InvalidInput, match="max_tokens"):
        engine.complete(CompletionRequest((), sampling=Sampling(max_tokens=0), prompt=(5,)))
