"""Bare prompts, scores of prompts as evaluation harnesses want them, and embeddings."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from tokenizers import Tokenizer

from interns.base_model import BaseModelRef
from interns.bases import STARTER, starter
from interns.errors import Unavailable
from interns.gguf.adapter_file import file_sha256
from orchestrator.api.openai import completions
from orchestrator.api.openai.bodies import CompletionBody
from retrieval.embedder import Embedder
from tests.orchestrator.waiting import until


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
