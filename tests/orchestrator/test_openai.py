"""Chats in the OpenAI dialect, by OpenAI's own client, against a real daemon."""

from __future__ import annotations

import json
import math

import openai
import pytest

from orchestrator.api.openai.messages import read_turn
from orchestrator.api.openai.tools import read_call

HELLO = [{"role": "user", "content": "Where is my parcel?"}]
TEXT = {"type": "text", "text": "Where is my parcel?"}


def test_models_are_the_office_the_base_interns_their_versions_and_the_embedder(ai):
    names = [model.id for model in ai.models.list()]
    assert names == [
        "auto", "starter", "triage", "triage@1", "writer", "writer@1", "all-MiniLM-L6-v2",
    ]  # fmt: skip
    assert ai.models.retrieve("triage@1").owned_by == "interns"
    with pytest.raises(openai.NotFoundError):
        ai.models.retrieve("nobody")


def test_classifier_answers_a_label_with_calibrated_probabilities(ai):
    answer = ai.chat.completions.create(
        model="triage", messages=HELLO, logprobs=True, top_logprobs=5
    )
    choice = answer.choices[0]
    assert choice.message.content in {"delivery", "refund"}
    assert choice.finish_reason == "stop"
    (entry,) = choice.logprobs.content
    assert {top.token for top in entry.top_logprobs} == {"delivery", "refund"}
    assert sum(math.exp(top.logprob) for top in entry.top_logprobs) == pytest.approx(1)
    assert entry.token == choice.message.content == entry.top_logprobs[0].token
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    again = ai.chat.completions.create(model="triage@1", messages=HELLO)
    assert again.choices[0].message.content == choice.message.content
    assert again.usage.prompt_tokens_details.cached_tokens == answer.usage.prompt_tokens - 2


def test_written_answer_is_the_same_streamed_and_whole(ai):
    asked = {
        "model": "writer", "messages": HELLO, "temperature": 1.0, "seed": 7, "top_p": 0.9,
        "max_completion_tokens": 12, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    whole = ai.chat.completions.create(**asked)
    assert whole.usage.completion_tokens <= 12
    text = whole.choices[0].message.content
    assert text
    tokens = whole.choices[0].logprobs.content
    assert len(tokens) == whole.usage.completion_tokens
    assert all(len(token.top_logprobs) == 2 for token in tokens)
    chunks = list(
        ai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    parts = [chunk.choices[0] for chunk in chunks[:-1]]
    assert parts[0].delta.role == "assistant"
    assert "".join(part.delta.content or "" for part in parts) == text
    assert [part.finish_reason for part in parts if part.finish_reason] == [
        whole.choices[0].finish_reason
    ]
    streamed = [token for part in parts if part.logprobs for token in part.logprobs.content]
    assert [token.token for token in streamed] == [token.token for token in tokens]
    assert ai.chat.completions.create(**asked).choices[0].message.content == text
    other = ai.chat.completions.create(**{**asked, "seed": 8, "temperature": 5.0, "top_p": 1.0})
    assert other.choices[0].message.content != text


def test_stop_text_ends_the_answer_and_is_left_out(ai):
    asked = {"model": "starter", "messages": HELLO, "max_tokens": 30}
    text = ai.chat.completions.create(**asked).choices[0].message.content
    stop = text[3:6]
    cut = ai.chat.completions.create(**asked, stop=[stop]).choices[0]
    assert cut.message.content == text[: text.index(stop)]
    assert cut.finish_reason == "stop"


def test_answer_is_held_to_a_json_schema_and_to_any_json(ai):
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["order", "refund"]}, "count": {"type": "integer"}},
        "required": ["kind", "count"],
    }
    held = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    for model in ("starter", "triage", "writer"):
        answer = ai.chat.completions.create(
            model=model, messages=HELLO, response_format=held, temperature=3.0, seed=1
        )
        value = json.loads(answer.choices[0].message.content)
        assert set(value) == {"kind", "count"}
    free = ai.chat.completions.create(
        model="starter", messages=HELLO, response_format={"type": "json_object"}, max_tokens=300,
    )  # fmt: skip
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content), dict)
    assert free.choices[0].message.content.startswith("{")


def _tool(name: str, **properties: object) -> dict:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    _tool("track", parcel={"type": "integer", "minimum": 0}),
    _tool("refund", reason={"enum": ["late", "broken"]}),
]


@pytest.mark.parametrize("model", ["starter", "writer"])
def test_tools_are_called_with_arguments_that_fit(ai, model):
    answer = ai.chat.completions.create(model=model, messages=HELLO, tools=TOOLS)
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert call.function.name in {"track", "refund"}
    chosen = {"type": "function", "function": {"name": "refund"}}
    chunks = list(
        ai.chat.completions.create(
            model=model, messages=HELLO, tools=TOOLS, tool_choice=chosen, stream=True
        )
    )
    called = [c.choices[0].delta.tool_calls[0] for c in chunks if c.choices[0].delta.tool_calls]
    assert called[0].function.name == "refund"
    assert json.loads(called[0].function.arguments)["reason"] in {"late", "broken"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    spoken = ai.chat.completions.create(
        model=model, messages=HELLO, tools=TOOLS, tool_choice="none", max_tokens=3
    )
    assert spoken.choices[0].message.tool_calls is None


@pytest.mark.parametrize("model", ["starter", "writer"])
@pytest.mark.parametrize("stream", [False, True])
def test_loop_of_calls_ends_when_a_tool_has_answered(ai, model, stream):
    def ask(messages: list, choice: object) -> tuple[str | None, list | None, str | None]:
        answer = ai.chat.completions.create(
            model=model, messages=messages, tools=TOOLS, tool_choice=choice, max_tokens=64,
            stream=stream,
        )  # fmt: skip
        if not stream:
            choice = answer.choices[0]
            return choice.message.content, choice.message.tool_calls, choice.finish_reason
        parts = [chunk.choices[0] for chunk in answer]
        calls = [call for part in parts for call in part.delta.tool_calls or ()]
        text = "".join(part.delta.content or "" for part in parts)
        return text or None, calls or None, parts[-1].finish_reason

    text, (call,), reason = ask(HELLO, "auto")
    assert (text, reason) == (None, "tool_calls")
    function = {"name": call.function.name, "arguments": call.function.arguments}
    calls = [{"id": call.id, "type": "function", "function": function}]
    result = {"role": "tool", "tool_call_id": call.id, "content": "It comes tomorrow."}
    told = [*HELLO, {"role": "assistant", "content": None, "tool_calls": calls}, result]
    text, called, reason = ask(told, "auto")
    assert text
    assert called is None
    assert reason in {"stop", "length"}
    for choice in ("required", {"type": "function", "function": {"name": "refund"}}):
        _, called, reason = ask(told, choice)
        assert len(called) == 1
        assert reason == "tool_calls"
    _, called, _ = ask([*told, *HELLO], "auto")
    assert len(called) == 1


def test_base_is_told_the_tools_and_an_intern_keeps_the_prompt_it_was_trained_on(ai):
    read = {
        (model, bool(tools)): ai.chat.completions.create(
            model=model, messages=HELLO, max_tokens=1, **tools
        ).usage.prompt_tokens
        for model in ("starter", "writer")
        for tools in ({}, {"tools": TOOLS})
    }
    assert read["starter", True] > read["starter", False] + 20
    assert read["writer", True] == read["writer", False]


def test_calls_of_earlier_turns_are_read_as_they_were_written():
    function = {"name": "track", "arguments": '{"parcel": 5, "to": "Zürich"}'}
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    written = '{"name": "track", "arguments": {"parcel": 5, "to": "Zürich"}}'
    assert read_turn(called)["content"] == written
    assert read_call(written)[0]["function"] == function
    spoken = {**called, "content": [{"type": "text", "text": "One "}, {**TEXT, "text": "moment."}]}
    assert read_turn(spoken)["content"] == f"One moment.\n{written}"
    cut = {**called, "tool_calls": [{"function": {"name": "track", "arguments": '{"parcel'}}]}
    assert read_turn(cut)["content"] == '{"name": "track", "arguments": "{\\"parcel"}'


def test_office_chooses_when_the_model_is_auto(ai):
    answer = ai.chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "I want my money back."}]
    )
    assert answer.model in {"triage", "writer", "auto"}
    if answer.model == "triage":
        assert answer.choices[0].message.content in {"delivery", "refund"}


def test_office_says_why_nobody_answers(ai):
    asked = {
        "model": "auto",
        "messages": [{"role": "user", "content": "How tall is Mount Everest?"}],
    }
    answer = ai.chat.completions.create(**asked)
    message = answer.choices[0].message
    assert (answer.model, message.content) == ("auto", "")
    assert message.refusal.startswith("Nobody fits")
    chunks = [chunk.choices[0] for chunk in ai.chat.completions.create(**asked, stream=True)]
    assert "".join(chunk.delta.refusal or "" for chunk in chunks) == message.refusal
    assert chunks[-1].finish_reason == answer.choices[0].finish_reason == "stop"
    known = ai.chat.completions.create(model="triage", messages=HELLO)
    assert known.choices[0].message.refusal is None
