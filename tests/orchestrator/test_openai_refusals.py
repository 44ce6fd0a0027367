"""What the OpenAI dialect refuses, how, and that the daemon lives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.orchestrator.waiting import until

HELLO = [{"role": "user", "content": "Where is my parcel?"}]
TEXT = {"type": "text", "text": "Where is my parcel?"}


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        ({"model": "nobody"}, openai.NotFoundError),
        ({"model": "triage@9"}, openai.NotFoundError),
        ({"messages": []}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": ""}]}, openai.BadRequestError),
        ({"messages": [{"role": "wizard", "content": "a"}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": ["hi"]}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": [TEXT, 5]}]}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]},
         openai.BadRequestError),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [5]}, *HELLO]},
         openai.BadRequestError),
        ({"n": 2}, openai.BadRequestError),
        ({"temperature": 1e9}, openai.BadRequestError),
        ({"top_p": -1}, openai.BadRequestError),
        ({"max_tokens": -5}, openai.BadRequestError),
        ({"seed": -1}, openai.BadRequestError),
        ({"logit_bias": {"dog": 1}}, openai.BadRequestError),
        ({"logit_bias": {"9999999": 1}}, openai.BadRequestError),
        ({"frequency_penalty": 1.0}, openai.BadRequestError),
        ({"top_logprobs": 99}, openai.BadRequestError),
        ({"response_format": {"type": "xml"}}, openai.BadRequestError),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError),
        ({"extra_body": {"grammar": "root ::= root"}}, openai.BadRequestError),
        ({"extra_body": {"structured_outputs": {"regex": "a"}}}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "word " * 200_000}]}, openai.BadRequestError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_is_told_in_the_dialect(ai, wrong, kind, stream):
    asked = {"model": "writer", "messages": HELLO, "max_tokens": 2, **wrong}
    with pytest.raises(kind) as caught:
        ai.chat.completions.create(**asked, stream=stream)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert len(caught.value.body["message"]) > 10


def test_schema_that_recurses_is_refused_and_the_daemon_lives(ai, office):
    schema = {
        "type": "object",
        "properties": {"child": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object", "properties": {"child": {"$ref": "#/$defs/node"}}}},
    }
    held = {"type": "json_schema", "json_schema": {"name": "tree", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="no end"):
        ai.chat.completions.create(model="starter", messages=HELLO, response_format=held)
    assert office.status()["running"]


def test_nonsense_on_the_wire_is_refused_and_the_daemon_lives(raw, office):
    kind = {"Content-Type": "application/json"}
    for content in (
        b"\xff\xfe\x00",
        b"{",
        b"[]",
        b'{"model": "writer", "messages": "x"}',
        b'{"model": "writer", "messages": [{"role": "user", "content": "\xff\xfe"}]}',
        b'{"model": "writer", "messages": [{"role": "user", "content": NaN}]}',
        b'{"model": "starter", "prompt": "a", "temperature": NaN, "messages": []}',
        b"[" * 100_000,
    ):
        for path in ("/chat/completions", "/completions"):
            answer = raw.post(path, content=content, headers=kind)
            assert answer.status_code == 400, (content[:60], answer.text)
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    body = b'{"model": "writer", "max_tokens": 2, "messages": [{"role": "user", "content": "\\ud800"}]}'
    assert raw.post("/chat/completions", content=body, headers=kind).status_code == 200
    body = b'{"model": "starter", "max_tokens": 2, "echo": true, "prompt": "\\udfff"}'
    assert raw.post("/completions", content=body, headers=kind).status_code == 200
    assert raw.post("/completions", json={"model": "starter", "prompt": []}).status_code == 400
    assert raw.post("/completions", json={"model": "auto", "prompt": "a"}).status_code == 400
    assert raw.get("/nowhere").status_code == 404
    assert office.status()["running"]


DEEP: dict = {"type": "object"}
for _ in range(60):
    DEEP = {"type": "object", "properties": {"a": DEEP}, "required": ["a"]}
SCHEMAS = ({"$ref": "#"}, DEEP, {"enum": ["a" * 999] * 99}, {"type": "x"}, 5)
ODD = (
    st.sampled_from([
        None,
        True,
        -1,
        0,
        10**30,
        -1e308,
        1e308,
        "",
        "\x00",
        "\ud800",
        "a" * 2**20,
        ["a" * 10**5] * 3,
    ])
    | st.sampled_from(([], {}, [[]], [None], {"a": {"a": {}}}))
    | st.sampled_from(SCHEMAS).map(
        lambda schema: {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )
)
PARTS = ODD | st.sampled_from((TEXT, {"type": "text"}, {"type": 5}, {"type": "text", "text": 5}))
CALLED = st.fixed_dictionaries({"name": ODD, "arguments": ODD | st.just("{")})
CALLS = ODD | st.fixed_dictionaries({"type": ODD, "function": ODD | CALLED})
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": ODD | st.sampled_from(("system", "user", "assistant", "tool")),
            "content": ODD | st.lists(PARTS, max_size=3),
        },
        optional={"tool_calls": ODD | st.lists(CALLS, max_size=2)},
    ),
    min_size=1,
    max_size=3,
).map(lambda messages: [*messages, *HELLO])
FIELDS = (
    "model", "messages", "temperature", "top_p", "max_tokens", "seed", "stop", "logit_bias", "n",
    "logprobs", "top_logprobs", "response_format", "tools", "tool_choice", "stream", "prompt",
    "echo", "min_p", "top_k", "presence_penalty", "stream_options", "user",
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    odd=st.dictionaries(st.sampled_from(FIELDS), ODD, min_size=1, max_size=3)
    | st.fixed_dictionaries({"messages": MESSAGES}),
    path=st.sampled_from(("/chat/completions", "/completions")),
)
def test_whatever_a_field_holds_is_answered_or_refused_in_the_dialect(raw, odd, path):
    sound = {"model": "writer", "max_tokens": 2}
    sound |= {"messages": HELLO} if "chat" in path else {"prompt": "a", "model": "starter"}
    answer = raw.post(
        path, content=json.dumps(sound | odd), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {200, 400, 404}, answer.text[:500]
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "Traceback" not in answer.text


def test_who_shows_no_token_is_refused_in_the_dialect(ai):
    with pytest.raises(openai.AuthenticationError) as caught:
        ai.with_options(api_key="wrong").models.list()
    assert caught.value.body["code"] == "invalid_api_key"


def test_full_queue_is_told_with_a_time_to_come_back(raw, office):
    """16 at once find 2 places and a queue of 8; who hangs up gives the place back."""
    endless = {"prompt": "a", "model": "starter", "max_tokens": 900, "logit_bias": {"2": -100}}

    def ask(number: int) -> httpx.Response | None:
        try:
            return raw.post("/completions", json={**endless, "stream": number % 2 == 0}, timeout=5)
        except httpx.ReadTimeout:
            return None

    with ThreadPoolExecutor(16) as pool:
        refused = [answer for answer in pool.map(ask, range(16)) if answer is not None]
    refused = [answer for answer in refused if answer.status_code == 429]
    assert refused
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["error"]["code"] == "busy"
    until(lambda: office.status()["engine"]["active"] + office.status()["engine"]["waiting"] == 0)
    assert raw.post("/completions", json={**endless, "max_tokens": 1}).status_code == 200
