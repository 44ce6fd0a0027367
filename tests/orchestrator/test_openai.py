"""The OpenAI dialect, asked by OpenAI's own client and by hand, against a real daemon."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from interns.base_model import BaseModelRef
from interns.bases import STARTER, starter
from interns.errors import Unavailable
from interns.gguf.adapter_file import file_sha256
from interns.paths import Paths
from orchestrator.api.openai import completions
from orchestrator.api.openai.bodies import CompletionBody
from orchestrator.api.openai.messages import read_turn
from orchestrator.api.openai.tools import read_call
from orchestrator.client import OfficeClient
from retrieval.embedder import Embedder
from tests.orchestrator.waiting import until

HELLO = [{"role": "user", "content": "Where is my parcel?"}]
TEXT = {"type": "text", "text": "Where is my parcel?"}


@pytest.fixture(scope="module")
def office(home_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficeClient]:
    """One daemon for all tests of this file, on a copy of the home."""
    import shutil

    home = tmp_path_factory.mktemp("openai") / "home"
    shutil.copytree(home_template, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERNS_ENGINE_THREADS", "1")
        patch.setenv("INTERNS_ENGINE_CONTEXT_TOKENS", "1024")
        patch.setenv("INTERNS_ENGINE_SLOTS", "2")
        patch.setenv("INTERNS_ENGINE_QUEUE", "8")
        patch.setenv("OMP_NUM_THREADS", "1")
        with OfficeClient.connect(Paths(home)) as connected:
            yield connected
            connected.shutdown()


@pytest.fixture(scope="module")
def ai(office: OfficeClient) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=office.status()["openai_base_url"],
        api_key=office.paths.token.read_text().strip(),
        max_retries=0,
        timeout=60,
    )


@pytest.fixture(scope="module")
def raw(office: OfficeClient) -> httpx.Client:
    return httpx.Client(
        base_url=office.status()["openai_base_url"],
        headers={"Authorization": f"Bearer {office.paths.token.read_text().strip()}"},
        timeout=60,
    )


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


def test_bare_prompts_are_continued_as_they_are(ai):
    texts = ["The parcel", "My card was"]
    answer = ai.completions.create(model="starter", prompt=texts, max_tokens=4, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    echoed = ai.completions.create(model="starter", prompt=texts[0], max_tokens=4, echo=True)
    assert echoed.choices[0].text == texts[0] + answer.choices[0].text
    pieces = list(
        ai.completions.create(model="starter", prompt=texts[0], max_tokens=4, stream=True)
    )
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text
    base, own = (
        ai.completions.create(model=model, prompt=texts[0], max_tokens=4, logprobs=1)
        for model in ("starter", "writer")
    )
    assert base.choices[0].logprobs.token_logprobs != own.choices[0].logprobs.token_logprobs


def _harness(raw: httpx.Client, tokens: list[list[int]] | list[str], contexts: list[int]) -> list:
    """Send what lm-evaluation-harness's `local-completions` sends, and read it as it does.

    From lm_eval 0.4.13, `LocalCompletionsAPI._create_payload` and `parse_logprobs`.
    """
    payload = {
        "model": "triage", "prompt": tokens, "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True,
    }  # fmt: skip
    answer = raw.post("/completions", json=payload)
    answer.raise_for_status()
    read = []
    choices = sorted(answer.json()["choices"], key=lambda choice: choice["index"])
    for choice, length in zip(choices, contexts, strict=True):
        logprobs = choice["logprobs"]["token_logprobs"][length:-1]
        tops = choice["logprobs"]["top_logprobs"][length:-1]
        greedy = all(p == max(top.values()) for p, top in zip(logprobs, tops, strict=True))
        read.append((sum(logprobs), greedy))
    return read


def test_evaluation_harness_scores_what_the_engine_scores(raw, office_home):
    from interns.database import open_database
    from interns.registry import InternRegistry
    from interns.runtime.llama_cpp.engine import LlamaEngine
    from interns.runtime.llama_cpp.logprobs import log_sum_exp

    engine = open_database(office_home.database)
    adapter = InternRegistry(engine, office_home, starter()).get("triage").version.adapter
    engine.dispose()
    with LlamaEngine(starter(), context_tokens=1024, slots=1, threads=1) as llm:
        context = llm.tokenize("Question: where is my parcel? Answer:")
        tokens = [context + llm.tokenize(text) for text in (" on the way", " lost", " refund")]
        found = _harness(raw, tokens, [len(context)] * 3)
        for ids, (logprob, greedy) in zip(tokens, found, strict=True):
            logits = llm.logits(ids, adapter=adapter)
            rows = (logits - log_sum_exp(logits)[:, None])[len(context) - 1 : -1]
            tail = ids[len(context) :]
            assert logprob == pytest.approx(float(rows[np.arange(len(tail)), tail].sum()), abs=0.05)
            assert greedy == (rows.argmax(axis=1).tolist() == tail)
        payload = {
            "prompt": [context], "model": "starter", "max_tokens": 5, "temperature": 0,
            "stop": ["\n", "<|im_end|>"], "seed": 1234, "until_ignored": True,
        }  # fmt: skip
        written = raw.post("/completions", json=payload).json()["choices"][0]
        assert "\n" not in written["text"]


def test_evaluation_harness_may_send_texts_in_batches(raw):
    """``tokenized_requests=False``: texts instead of ids, one alone as a text, control tokens written out."""
    texts = ["Queue: delivery<|im_end|>", "Über Straße 中文 refund<|im_end|>", "Queue: refund"]
    tokens = [_ids(text) for text in texts]
    contexts = [len(ids) - 2 for ids in tokens]
    by_text, by_id = (_harness(raw, prompts, contexts) for prompts in (texts, tokens))
    assert [greedy for _, greedy in by_text] == [greedy for _, greedy in by_id]
    for text, ids in zip(by_text, by_id, strict=True):
        assert text[0] == pytest.approx(ids[0], abs=0.05)
        assert math.isfinite(text[0])
    alone = raw.post("/completions", json={
        "model": "triage", "prompt": texts[1], "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True,
    }).json()["choices"][0]["logprobs"]  # fmt: skip
    assert len(alone["token_logprobs"]) == len(alone["top_logprobs"]) == len(tokens[1]) + 1


def test_evaluation_harness_reads_as_many_places_as_tokens_when_the_answer_ends_at_once(raw):
    """It cuts off the last place as the generated token, so that one must always be there."""
    ids = _ids("Queue: delivery")
    payload = {
        "model": "starter", "prompt": [ids], "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": True, "logit_bias": {str(_ids("<|im_end|>")[0]): 100},
    }  # fmt: skip
    choice = raw.post("/completions", json=payload).json()["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert len(choice["logprobs"]["token_logprobs"]) == len(ids) + 1


def test_evaluation_harness_generates_without_a_tokenizer_and_over_chats(raw):
    """``tokenizer_backend=None`` knows no end token, and sends null for it among the stop texts."""
    asked = {"model": "triage", "max_tokens": 16, "temperature": 0.0, "seed": 1234}
    for prompt in ("Where is my parcel?", ["Where is my parcel?", "A refund, please."]):
        payload = {**asked, "prompt": prompt, "stop": ["\n", None]}
        choices = raw.post("/completions", json=payload).json()["choices"]
        assert [choice["index"] for choice in choices] == list(range(len(choices)))
        assert all("\n" not in choice["text"] for choice in choices)
    messages = [{"role": "user", "content": "Where is my parcel?", "type": "text"}]
    payload = {**asked, "messages": messages, "stop": ["\n"]}
    (choice,) = raw.post("/chat/completions", json=payload).json()["choices"]
    assert (choice["index"], choice["message"]["content"]) in {(0, "delivery"), (0, "refund")}


def _ids(text: str) -> list[int]:
    tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_prompt_is_only_scored_when_no_token_is_wanted(ai):
    answer = ai.completions.create(
        model="starter", prompt="Über die Straße 中文", max_tokens=0, echo=True, logprobs=2
    )
    scored = answer.choices[0].logprobs
    assert answer.choices[0].text == "Über die Straße 中文"
    assert (scored.token_logprobs[0], scored.top_logprobs[0]) == (None, None)
    assert all(value < 0 for value in scored.token_logprobs[1:])
    assert scored.text_offset[0] == 0
    assert answer.usage.completion_tokens == 0


def test_prompts_of_a_client_that_left_are_not_scored(open_office):
    body = CompletionBody(
        model="starter", prompt=["word " * 700] * 200, max_tokens=0, echo=True, logprobs=1
    )
    with open_office() as office:
        requests = completions.read_request(office.desk, body)
        left = office.new_cancel()
        scored = office.desk.runtime.stats
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(completions.whole, office.desk, body, requests, left)
            until(lambda: scored()["scored"] > 0)
            left.set()
            with pytest.raises(Unavailable):
                answer.result()
        assert 0 < scored()["scored"] < len(requests)


def test_text_begins_with_the_token_that_the_base_asks_for(open_office, tmp_path):
    """Where its file sets ``add_bos_token``, as those of Llama and Mistral do; the starter's does not."""
    gguf = bytearray(starter().gguf.read_bytes())
    key = b"tokenizer.ggml.add_bos_token"
    gguf[gguf.index(key) + len(key) + 4] = 1  # behind the name stands the kind, then the value
    path = tmp_path / "begins.gguf"
    path.write_bytes(gguf)
    other = BaseModelRef("begins", path, file_sha256(path), starter().tokenizer)
    text, ids = "The parcel", _ids("The parcel")
    (begins,) = _ids("<|endoftext|>")

    def read(model: str, prompt: object) -> list[list[int]]:
        body = CompletionBody(model=model, prompt=prompt)
        return [list(each.prompt) for each in completions.read_request(office.desk, body)]

    with open_office() as office:
        assert read("starter", text) == read("starter", ids) == [ids]
        office.desk.use_base(other, lambda: None)
        assert read("begins", text) == read("begins", f"<|endoftext|>{text}") == [[begins, *ids]]
        assert read("begins", [text, text]) == [[begins, *ids]] * 2
        assert read("begins", ids) == [ids]


def test_embeddings_are_those_of_retrieval(ai):
    texts = ["Where is my parcel?", "Ein Paket"]
    answer = ai.embeddings.create(model="all-MiniLM-L6-v2", input=texts)
    vectors = np.array([each.embedding for each in answer.data])
    np.testing.assert_allclose(vectors, Embedder().embed(texts), atol=1e-5)
    plain = ai.embeddings.create(
        model="all-MiniLM-L6-v2", input=texts[0], encoding_format="float", dimensions=384
    )
    np.testing.assert_allclose(plain.data[0].embedding, vectors[0], atol=1e-5)
    assert answer.usage.prompt_tokens > 4
    for bad in ({"input": ""}, {"input": []}, {"input": [[1, 2]]}, {"input": "a", "dimensions": 3}):
        with pytest.raises(openai.BadRequestError):
            ai.embeddings.create(model="all-MiniLM-L6-v2", **bad)
    with pytest.raises(openai.NotFoundError):
        ai.embeddings.create(model="text-embedding-3-small", input="a")


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
