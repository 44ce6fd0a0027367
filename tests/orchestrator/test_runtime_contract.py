"""One contract, two runtimes: the engine in this process, and our own server as the far end."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from interns.adapter import Adapter
from interns.bases import starter
from interns.charter import Charter
from interns.completion import (
    Choices,
    Completion,
    CompletionRequest,
    JsonSchema,
    Message,
    Sampling,
)
from interns.database import open_database
from interns.errors import Busy, Incompatible, InvalidInput, NotFound, TooLong, Unavailable
from interns.intern import Intern
from interns.paths import Paths
from interns.registry import InternRegistry
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.openai_runtime import OpenAIRuntime
from interns.runtime.port import Runtime
from interns.settings import set_value
from orchestrator.chat import chat
from orchestrator.client import OfficeClient
from orchestrator.drafting import draft
from orchestrator.service import Office
from tests.orchestrator.waiting import until

ASKED = (Message("user", "Where is my parcel?"),)
SLOTS, QUEUE = 2, 8
SETTINGS = {
    "INTERNS_ENGINE_THREADS": "1", "INTERNS_ENGINE_CONTEXT_TOKENS": "2048",
    "INTERNS_ENGINE_SLOTS": str(SLOTS), "INTERNS_ENGINE_QUEUE": str(QUEUE),
    "INTERNS_ENGINE_PATH": "swap", "OMP_NUM_THREADS": "1",
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {"kind": {"enum": ["order", "refund"]}, "count": {"type": "integer"}},
    "required": ["kind", "count"],
}


@dataclass(frozen=True)
class Side:
    """A runtime and how much it has to do."""

    runtime: Runtime
    load: Callable[[], int]

    def ask(self, who: Adapter | None = None, held: Any = None, **sampling: Any) -> Completion:
        asked = CompletionRequest(ASKED, who, Sampling(**({"max_tokens": 8} | sampling)), held)
        return self.runtime.complete(asked)

    def endless(self, most: int = 900, deadline_s: float | None = None) -> CompletionRequest:
        """An answer that goes on until somebody or something ends it."""
        ends = self.runtime.tokenize("<|endoftext|><|im_end|>")
        bias = tuple((token, -100.0) for token in ends)
        sampling = Sampling(max_tokens=most, logit_bias=bias)
        return CompletionRequest(ASKED, None, sampling, deadline_s=deadline_s)


def _intern(paths: Paths, name: str) -> Intern:
    database = open_database(paths.database)
    found = InternRegistry(database, paths, starter()).get(name)
    database.dispose()
    return found


@pytest.fixture(scope="module")
def served(home_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficeClient]:
    """A daemon whose engine is set as the one in this process is."""
    home = tmp_path_factory.mktemp("far") / "home"
    shutil.copytree(home_template, home)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        with OfficeClient.connect(Paths(home)) as connected:
            yield connected
            connected.shutdown()


@pytest.fixture(scope="module")
def writer(served: OfficeClient) -> Adapter:
    return _intern(served.paths, "writer").version.adapter


@pytest.fixture(scope="module")
def far(served: OfficeClient) -> Iterator[Side]:
    runtime = OpenAIRuntime(
        starter(), served.status()["openai_base_url"], token=served.paths.token.read_text().strip()
    )

    def load() -> int:
        engine = served.status()["engine"]
        return int(engine["active"] + engine["waiting"])

    yield Side(runtime, load)
    runtime.close()


@pytest.fixture(scope="module")
def own() -> Iterator[Side]:
    with LlamaEngine(
        starter(), context_tokens=2048, slots=SLOTS, queue=QUEUE, threads=1, gpu_layers=0
    ) as engine:

        def load() -> int:
            return int(engine.stats()["active"] + engine.stats()["waiting"])

        yield Side(engine, load)


@pytest.fixture(params=["own", "far"])
def side(request: pytest.FixtureRequest) -> Side:
    found: Side = request.getfixturevalue(request.param)
    return found


def test_answer_ends_with_a_text_and_a_reason(side, writer):
    for who in (None, writer):
        answer = side.ask(who, max_tokens=3)
        assert (answer.finish_reason, answer.completion_tokens) == ("length", 3)
        assert answer.text
        prompt = side.runtime.tokenize(side.runtime.template.render(ASKED))
        assert answer.prompt_tokens == len(prompt)
    assert side.ask(held=Choices(("yes",))).finish_reason == "stop"


def test_text_is_counted_and_cut_alike(own, far):
    for text in ("<|im_start|>user\nZürich", "", "\x00 \ud800 中文"):
        assert far.runtime.tokenize(text) == own.runtime.tokenize(text)
        assert far.runtime.count_tokens(text) == own.runtime.count_tokens(text)


def test_answer_is_held_to_a_schema_and_to_choices(side, writer):
    for who in (None, writer):
        told = side.ask(who, JsonSchema(SCHEMA), temperature=3.0, seed=1, max_tokens=200)
        value = json.loads(told.text)
        assert set(value) == {"kind", "count"}
        assert value["kind"] in {"order", "refund"}
        assert side.ask(who, Choices(("a b", "é")), temperature=5.0).text in {"a b", "é"}


def test_same_seed_writes_the_same(side):
    drawn = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "max_tokens": 12}
    first = side.ask(seed=7, **drawn).text
    assert side.ask(seed=7, **drawn).text == first
    assert side.ask(seed=8, **drawn).text != first


def test_stop_text_ends_the_answer_and_is_left_out(side):
    text = side.ask(max_tokens=20).text
    stop = text[3:6]
    cut = side.ask(max_tokens=20, stop=(stop,))
    assert (cut.text, cut.finish_reason) == (text[: text.index(stop)], "stop")


def test_bias_forces_and_forbids_a_token(side):
    (token,) = side.runtime.tokenize(" the")
    assert side.ask(max_tokens=3, logit_bias=((token, 100.0),)).text.strip() == "the the the"
    (ends,) = side.runtime.tokenize("<|im_end|>")
    assert side.ask(logit_bias=((ends, 100.0),)).finish_reason == "stop"


def test_tokens_are_scored_alike_streamed_and_whole(side, writer):
    for who in (None, writer):
        # The first asking leaves the prompt's keys and values behind, so that the next two
        # compute the same batches.
        side.ask(who)
        whole = side.ask(who, logprobs=2)
        asked = CompletionRequest(ASKED, who, Sampling(max_tokens=8, logprobs=2))
        pieces = list(side.runtime.stream(asked))
        streamed = [token for piece in pieces for token in piece.tokens]
        assert "".join(piece.text for piece in pieces) == pieces[-1].completion.text == whole.text
        assert tuple(streamed) == pieces[-1].completion.tokens
        assert _values(streamed) == pytest.approx(_values(whole.tokens), abs=1e-6)
        assert [token.data for token in streamed] == [token.data for token in whole.tokens]
        assert len(whole.tokens) == whole.completion_tokens
        assert all(len(token.alternatives) == 2 for token in whole.tokens)
        assert whole.logprob == pytest.approx(sum(_values(whole.tokens)), abs=1e-6)


def test_prompt_is_scored_token_by_token(side):
    ids = tuple(side.runtime.tokenize("The card was sent"))
    asked = CompletionRequest((), None, Sampling(max_tokens=0, logprobs=1), prompt=ids, echo=True)
    scored = side.runtime.complete(asked).prompt
    assert tuple(token.token for token in scored) == ids
    assert scored[0].logprob is None
    assert all(value < 0 for value in _values(scored[1:]))


def test_deadline_ends_an_answer_with_what_there_is(side):
    answer = side.runtime.complete(side.endless(1900, deadline_s=0.5))
    assert answer.finish_reason == "deadline"
    assert until(lambda: side.load() == 0)


@pytest.mark.parametrize("leaves", ["cancels", "goes"])
def test_caller_that_leaves_in_mid_answer_frees_its_place(side, leaves):
    cancel = threading.Event()
    pieces = side.runtime.stream(side.endless(1900), cancel=cancel)
    assert next(pieces).text
    if leaves == "cancels":
        cancel.set()
        assert list(pieces)[-1].completion.finish_reason == "cancelled"
    else:
        pieces.close()
    assert until(lambda: side.load() == 0)
    cancel.set()
    assert side.runtime.complete(side.endless(), cancel=cancel).finish_reason == "cancelled"


def test_who_finds_no_place_is_told_when_to_come_back(side):
    cancel = threading.Event()
    with ThreadPoolExecutor(SLOTS + QUEUE) as pool:
        answers = [
            pool.submit(side.runtime.complete, side.endless(1900), cancel=cancel)
            for _ in range(SLOTS + QUEUE)
        ]
        try:
            until(lambda: side.load() == SLOTS + QUEUE)
            with pytest.raises(Busy) as busy:
                side.ask()
        finally:
            cancel.set()
        assert busy.value.retry_after_s > 0
        assert {answer.result().finish_reason for answer in answers} == {"cancelled"}
    until(lambda: side.load() == 0)
    assert side.ask().text


def test_intern_answers_by_name_and_version(side, writer):
    asked = {"max_tokens": 8, "logprobs": 0}
    base, intern = side.ask(**asked), side.ask(writer, **asked)
    assert writer.name == "writer@1"
    assert base.tokens != intern.tokens
    with pytest.raises(Incompatible):
        side.ask(replace(writer, name="writer@2", base_sha256="0" * 64))


def test_name_that_is_not_served_is_refused(far, writer, served):
    with pytest.raises(NotFound, match="writer@2"):
        far.ask(replace(writer, name="writer@2"))
    url, token = served.status()["openai_base_url"], served.paths.token.read_text().strip()
    for model in ("no", "writer@2"):
        other = OpenAIRuntime(starter(), url, model=model, token=token)
        with pytest.raises(NotFound, match=model):
            Side(other, far.load).ask()
        other.close()


def test_what_cannot_be_answered_is_refused_with_what_to_try(side):
    with pytest.raises(InvalidInput) as wrong:
        side.ask(top_p=0)
    assert wrong.value.fix
    with pytest.raises(TooLong) as long:
        side.runtime.complete(CompletionRequest((Message("user", "word " * 3000),)))
    assert long.value.fix
    with pytest.raises(InvalidInput):
        side.runtime.score_choices(ASKED, ("a", "a"))
    with pytest.raises(InvalidInput, match="tail"):
        side.runtime.score_choices(ASKED, ("a", "b"), tail=1.0)


def test_closed_or_unreachable_runtime_is_unavailable(served):
    url, token = served.status()["openai_base_url"], served.paths.token.read_text().strip()
    nowhere = OpenAIRuntime(starter(), "http://127.0.0.1:9/v1")
    closed = OpenAIRuntime(starter(), url, token=token)
    closed.close()
    for runtime in (nowhere, closed):
        with pytest.raises(Unavailable):
            runtime.complete(CompletionRequest(ASKED))
        with pytest.raises(Unavailable):
            runtime.score_choices(ASKED, ("a", "b"))
        runtime.close()
    with pytest.raises(InvalidInput, match="token"):
        Side(OpenAIRuntime(starter(), url, token="wrong"), lambda: 0).ask()


# What both sides compute in batches of the same shape is the same number: nothing is lost on the
# wire. A base in 8 bits rounds by the shape of a batch, up to 0.2 nats a text, and the far end scores
# labels text by text where the engine shares their prompt.
WIRE, SHAPE = 1e-5, 0.2


def test_both_runtimes_compute_the_same(own, far, writer):
    labels = ("delivery", "refund", "Zürich", "delivery late")
    for number, who in enumerate((None, writer)):
        turns = (Message("user", f"Parcel {number}: nobody asked about it before."),)
        asked = CompletionRequest(turns, who, Sampling(max_tokens=8, logprobs=2))
        here, there = own.runtime.complete(asked), far.runtime.complete(asked)
        assert (there.text, there.completion_tokens) == (here.text, here.completion_tokens)
        assert there.prompt_tokens == here.prompt_tokens
        assert _values(there.tokens) == pytest.approx(_values(here.tokens), abs=WIRE)
        assert there.logprob == pytest.approx(here.logprob, abs=WIRE)
        ids = tuple(own.runtime.tokenize(f"Card {number} was sent to Zürich"))
        asked = CompletionRequest(
            (), who, Sampling(max_tokens=0, logprobs=1), prompt=ids, echo=True
        )
        here, there = (side.runtime.complete(asked).prompt for side in (own, far))
        assert _values(there[1:]) == pytest.approx(_values(here[1:]), abs=WIRE)
        drawn = Sampling(max_tokens=8, temperature=1.0, seed=3)
        asked = CompletionRequest((Message("user", f"Again, {number}."),), who, drawn)
        assert far.runtime.complete(asked).text == own.runtime.complete(asked).text
        scores = [side.runtime.score_choices(turns, labels, adapter=who) for side in (own, far)]
        assert scores[1].logprobs == pytest.approx(scores[0].logprobs, abs=SHAPE)
        assert sum(scores[1].probabilities) == pytest.approx(1)


def test_confidence_is_unknown_where_the_temperature_was_not_fitted(own, far, served):
    triage = _intern(served.paths, "triage")
    here, there = (
        list(draft(side.runtime, triage, ASKED, charter=Charter("")))[-1] for side in (own, far)
    )
    assert there["text"] == here["text"]
    assert here["calibrated"]
    assert here["confidence"] == here["probabilities"][here["text"]]
    assert not there["calibrated"]
    assert there["confidence"] is None
    assert sum(there["probabilities"].values()) == pytest.approx(1)


def test_office_answers_with_the_engine_of_another_office(
    served, own, home_template, tmp_path, monkeypatch
):
    shutil.copytree(home_template, tmp_path / "home")
    paths = Paths(tmp_path / "home")
    set_value(paths, "engine.url", served.status()["openai_base_url"])
    set_value(paths, "engine.token_variable", "FAR_OFFICE")
    monkeypatch.setenv("FAR_OFFICE", served.paths.token.read_text().strip())
    office = Office(paths)
    office.start(warm=False)
    try:
        before = served.status()["engine"]["prompt_tokens"]
        asked = [{"role": "user", "content": ASKED[0].content}]
        for name in ("writer", "triage"):
            *_, done = chat(
                office.desk, asked, intern=name, knowledge=None, cancel=office.new_cancel()
            )
            *_, here = draft(own.runtime, _intern(paths, name), ASKED, charter=office.desk.charter)
            assert (done["event"], done["text"]) == ("done", here["text"])
            assert (done["intern"], done["version"]) == (name, 1)
        assert office.status()["model"] == "ready"
        assert office.status()["engine"] is None  # nothing was loaded here
        assert served.status()["engine"]["prompt_tokens"] > before
    finally:
        office.stop()


def _values(tokens: Any) -> list[float]:
    return [token.logprob for token in tokens]
