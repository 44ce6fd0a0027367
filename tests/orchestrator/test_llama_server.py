"""The contract of a runtime against a real llama-server; `INTERNS_TEST_LLAMA_SERVER` names the program.

Two tests of the contract are left out: it does not score a prompt, and it lets everybody wait.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from interns.adapter import Adapter
from interns.bases import starter
from interns.completion import CompletionRequest, Message, Sampling
from interns.errors import Incompatible, NotFound, Unavailable
from interns.paths import Paths
from interns.runtime.openai_runtime import OpenAIRuntime
from interns.settings import set_value
from orchestrator.chat import chat
from orchestrator.drafting import draft
from orchestrator.service import Office
from tests.orchestrator import test_runtime_contract as contract
from tests.orchestrator.test_runtime_contract import ASKED, SHAPE, SLOTS, Side
from tests.orchestrator.waiting import until

PROGRAM = os.environ.get("INTERNS_TEST_LLAMA_SERVER", "")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="INTERNS_TEST_LLAMA_SERVER names no program")

# Nats by which a token's log-probability differs at most: batches of other shapes, in 8 bits.
# Measured over 1289 tokens: 0.02 at most.
ROUNDED = 0.04
LABELS = ("delivery", "refund", "delivery late", "Zürich", "中")

own = contract.own
test_answer_ends_with_a_text_and_a_reason = contract.test_answer_ends_with_a_text_and_a_reason
test_text_is_counted_and_cut_alike = contract.test_text_is_counted_and_cut_alike
test_answer_is_held = contract.test_answer_is_held_to_a_schema_and_to_choices
test_same_seed_writes_the_same = contract.test_same_seed_writes_the_same
test_stop_text_ends_the_answer = contract.test_stop_text_ends_the_answer_and_is_left_out
test_bias_forces_and_forbids_a_token = contract.test_bias_forces_and_forbids_a_token
test_tokens_are_scored_alike = contract.test_tokens_are_scored_alike_streamed_and_whole
test_deadline_ends_an_answer = contract.test_deadline_ends_an_answer_with_what_there_is
test_caller_that_leaves = contract.test_caller_that_leaves_in_mid_answer_frees_its_place
test_intern_answers_by_name_and_version = contract.test_intern_answers_by_name_and_version
test_what_cannot_be_answered = contract.test_what_cannot_be_answered_is_refused_with_what_to_try


@contextmanager
def serving(*adapters: Adapter, slots: int = SLOTS) -> Iterator[tuple[str, Callable[[], None]]]:
    """The server's address, and what kills it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(PROGRAM, "-m", str(starter().gguf), "-a", "starter,second", "--port", str(port)),
        *("-c", str(2048 * slots), "-np", str(slots), "-t", "1", "-tb", "1", "--offline"),
        *(("--lora", ",".join(str(each.path) for each in adapters)) if adapters else ()),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: process.poll() is not None or _ready(url), timeout_s=60)
        assert process.poll() is None
        yield f"{url}/v1", process.kill
    finally:
        process.kill()
        process.wait()


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


@contextmanager
def reached(url: str, model: str = "") -> Iterator[Side]:
    runtime = OpenAIRuntime(starter(), url, model=model)

    def load() -> int:
        slots = httpx.get(url.removesuffix("/v1") + "/slots").json()
        return sum(slot["is_processing"] for slot in slots)

    yield Side(runtime, load)
    runtime.close()


@pytest.fixture(scope="module")
def paths(home_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    home = tmp_path_factory.mktemp("llama") / "home"
    shutil.copytree(home_template, home)
    return Paths(home)


@pytest.fixture(scope="module")
def writer(paths: Paths) -> Adapter:
    return contract._intern(paths, "writer").version.adapter


@pytest.fixture(scope="module")
def triage(paths: Paths) -> Adapter:
    return contract._intern(paths, "triage").version.adapter


@pytest.fixture(scope="module")
def url(triage: Adapter, writer: Adapter) -> Iterator[str]:
    with serving(triage, writer) as (found, _):
        yield found


@pytest.fixture(scope="module")
def far(url: str) -> Iterator[Side]:
    with reached(url) as found:
        yield found


@pytest.fixture
def side(far: Side) -> Side:
    return far


def test_base_and_interns_compute_the_same(own, far, triage, writer):
    for number, who in enumerate((None, triage, writer)):
        turns = (Message("user", f"Parcel {number}: nobody asked about it before."),)
        asked = CompletionRequest(turns, who, Sampling(max_tokens=8, logprobs=2))
        here, there = own.runtime.complete(asked), far.runtime.complete(asked)
        assert (there.text, there.completion_tokens) == (here.text, here.completion_tokens)
        assert [each.token for each in there.tokens] == [each.token for each in here.tokens]
        assert _values(there) == pytest.approx(_values(here), abs=ROUNDED)
        scores = [side.runtime.score_choices(turns, LABELS, adapter=who) for side in (own, far)]
        assert scores[1].logprobs == pytest.approx(scores[0].logprobs, abs=SHAPE)
        assert sum(scores[1].probabilities) == pytest.approx(1)
        assert scores[1].runtime == "openai"


def test_interns_are_never_mixed(triage, writer):
    """It takes up keys and values that it put aside under another adapter, unless told not to."""
    first, second = (tuple(range(start, start + 40)) for start in (340, 380))
    with serving(triage, writer, slots=1) as (url, _), reached(url) as far:

        def ask(prompt: tuple[int, ...], who: Adapter | None) -> list[float]:
            sampling = Sampling(max_tokens=2, logprobs=0)
            return _values(
                far.runtime.complete(CompletionRequest((), who, sampling, None, None, prompt))
            )

        alone = {who: ask(first, who) for who in (None, triage, writer)}
        for who, before in ((writer, triage), (triage, writer), (None, writer), (writer, None)):
            ask(first, before)
            ask(second, who)
            assert ask(first, who) == pytest.approx(alone[who], abs=1e-4)


def test_names_that_are_not_served_are_refused(url, far, writer, tmp_path):
    with reached(url, model="second") as other:
        assert other.ask().text == far.ask().text
    with reached(url, model="third") as other, pytest.raises(NotFound, match="starter"):
        other.ask()
    elsewhere = tmp_path / "writer" / "v2" / "adapter.gguf"
    elsewhere.parent.mkdir(parents=True)
    shutil.copy(writer.path, elsewhere)
    with pytest.raises(NotFound, match="writer/v2"):
        far.ask(replace(writer, path=elsewhere, name="writer@2"))
    with serving() as (bare, _), reached(bare) as other:
        assert other.ask().text == far.ask().text
        with pytest.raises(NotFound, match="writer@1"):
            other.ask(writer)


def test_what_it_cannot_do_is_told(url, far):
    echo = CompletionRequest((), None, Sampling(max_tokens=8), None, None, (300, 301, 302), True)
    with pytest.raises(Incompatible, match="log-probabilities of a prompt"):
        far.runtime.complete(echo)
    with reached(url.removesuffix("/v1")) as other, pytest.raises(Incompatible) as caught:
        other.ask()
    assert "/v1" in caught.value.fix


def test_server_that_is_killed_is_unavailable():
    with serving() as (url, kill), reached(url) as far:
        pieces = far.runtime.stream(far.endless(1900))
        assert next(pieces).text
        kill()
        with pytest.raises(Unavailable):
            list(pieces)
        with pytest.raises(Unavailable):
            far.ask()


def test_office_answers_with_it(own, url, home_template, tmp_path):
    shutil.copytree(home_template, tmp_path / "home")
    paths = Paths(tmp_path / "home")
    set_value(paths, "engine.url", url)
    set_value(paths, "engine.model", "second")
    office = Office(paths)
    office.start(warm=False)
    try:
        asked = [{"role": "user", "content": ASKED[0].content}]
        done = {}
        for name in ("writer", "triage"):
            *_, done[name] = chat(
                office.desk, asked, intern=name, knowledge=None, cancel=office.new_cancel()
            )
            assert (done[name]["event"], done[name]["intern"]) == ("done", name)
        # What is written may differ: its repeat penalty counts the prompt's tokens too.
        assert done["writer"]["text"]
        triage = contract._intern(paths, "triage")
        *_, here = draft(own.runtime, triage, ASKED, charter=office.desk.charter)
        assert done["triage"]["text"] == here["text"]
        assert done["triage"]["confidence"] is None  # fitted with the embedded engine
        assert office.status()["engine"] is None  # nothing was loaded here
    finally:
        office.stop()


def _values(answer) -> list[float]:
    return [token.logprob for token in answer.tokens]
