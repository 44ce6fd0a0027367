"""One contract, two runtimes: the engine in this process, and our own server as the far end."""

from __future__ import annotations

import threading

import pytest

from interns.bases import starter
from interns.charter import Charter
from interns.completion import Choices, CompletionRequest, Message, Sampling
from interns.database import open_database
from interns.errors import InvalidInput, NotFound, TooLong, Unavailable
from interns.registry import InternRegistry
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.openai_runtime import OpenAIRuntime
from orchestrator.drafting import draft

ASKED = (Message("user", "Where is my parcel?"),)


@pytest.fixture
def both(client, office_home):
    """The two runtimes and the adapter of one intern."""
    database = open_database(office_home.database)
    adapter = InternRegistry(database, office_home, starter()).get("writer").version.adapter
    database.dispose()
    token = office_home.token.read_text().strip()
    url = client.status()["openai_base_url"]
    with LlamaEngine(starter(), context_tokens=1024, slots=2, threads=1) as own:
        far = OpenAIRuntime(starter(), url, token=token)
        yield (own, far), adapter, url
        far.close()


def test_both_runtimes_keep_the_same_contract(both, office_home):
    (own, far), adapter, url = both
    for who in (None, adapter):
        asked = CompletionRequest(ASKED, who, Sampling(max_tokens=8, logprobs=2))
        here, there = own.complete(asked), far.complete(asked)
        assert (there.text, there.completion_tokens) == (here.text, here.completion_tokens)
        assert there.prompt_tokens == here.prompt_tokens
        assert there.logprob == pytest.approx(here.logprob, abs=0.3)
        labels = ("delivery", "refund", "Zürich", "delivery late")
        scores = [each.score_choices(ASKED, labels, adapter=who) for each in (own, far)]
        assert scores[1].logprobs == pytest.approx(scores[0].logprobs, abs=0.3)
        assert sum(scores[1].probabilities) == pytest.approx(1)
    held = CompletionRequest(ASKED, None, Sampling(temperature=5.0), Choices(("a b", "é")))
    ids = tuple(own.tokenize("The card was sent"))
    echoed = CompletionRequest((), None, Sampling(max_tokens=0, logprobs=1), prompt=ids, echo=True)
    for each in (own, far):
        assert each.tokenize("<|im_start|>user\nZürich") == own.tokenize("<|im_start|>user\nZürich")
        assert each.count_tokens("Zürich") == own.count_tokens("Zürich")
        assert each.complete(held).text in {"a b", "é"}
        assert tuple(token.token for token in each.complete(echoed).prompt) == ids
        pieces = list(each.stream(CompletionRequest(ASKED, None, Sampling(max_tokens=6))))
        assert "".join(piece.text for piece in pieces) == pieces[-1].completion.text
        cancel = threading.Event()
        cancel.set()
        assert each.complete(held, cancel=cancel).finish_reason == "cancelled"
        with pytest.raises(InvalidInput):
            each.complete(CompletionRequest(ASKED, None, Sampling(top_p=0)))
        with pytest.raises(TooLong):
            each.complete(CompletionRequest((Message("user", "word " * 3000),)))
    with pytest.raises(NotFound):
        OpenAIRuntime(
            starter(), url, model="no", token=office_home.token.read_text().strip()
        ).complete(held)
    with pytest.raises(Unavailable):
        OpenAIRuntime(starter(), "http://127.0.0.1:9/v1").complete(held)
    far.close()
    with pytest.raises(Unavailable):
        far.complete(held)


def test_confidence_is_unknown_where_the_temperature_was_not_fitted(both, office_home):
    (own, far), _, _ = both
    database = open_database(office_home.database)
    triage = InternRegistry(database, office_home, starter()).get("triage")
    database.dispose()
    here, there = (
        list(draft(runtime, triage, ASKED, charter=Charter("")))[-1] for runtime in (own, far)
    )
    assert there["text"] == here["text"]
    assert here["calibrated"]
    assert here["confidence"] == here["probabilities"][here["text"]]
    assert not there["calibrated"]
    assert there["confidence"] is None
    assert sum(there["probabilities"].values()) == pytest.approx(1)
