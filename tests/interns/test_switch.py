"""The switch path: different interns in one batch, each as when it is asked alone by turns."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from interns.adapter import Adapter
from interns.base_model import BaseModelRef
from interns.completion import Completion, CompletionRequest, Message, Sampling
from interns.errors import InvalidInput
from interns.gguf.adapter_file import write_adapter_gguf
from interns.gguf.reader import read_gguf
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.prefixes import adapter_key
from interns.runtime.llama_cpp.turns import CHUNK, STEPS
from tests.interns.test_families import random_lora, stir
from tests.interns.test_interleaving import ASKS, TEXTS, Ask, _answer, ask_at_once
from tests.interns.test_roster_file import tiny_base
from tests.making import GPU_LAYERS, SAME, log_softmax, spoken

LABELS = ("card lost", "card arrival", "refund", "positive")


class Impatient(LlamaEngine):
    """Packs again as soon as it may."""

    calm_s = 0.0


def tiny_office(
    folder: Path, kind: str = "llama", template: str | None = None
) -> tuple[BaseModelRef, list[Adapter]]:
    """A random Llama in floats and three adapters of different ranks."""
    base = tiny_base(folder, kind, template=template)
    adapters = []
    for seed, rank in enumerate((4, 7, 2)):
        tuned = random_lora(AutoModelForCausalLM.from_pretrained(folder / "hf"), seed, r=rank)
        stir(tuned)
        tuned.save_pretrained(folder / f"peft{seed}")
        out = folder / f"{seed}.gguf"
        adapters.append(write_adapter_gguf(folder / f"peft{seed}", base, out, metadata={}))
    return base, adapters


def greedy(text: str, adapter: Adapter | None = None, tokens: int = 16) -> CompletionRequest:
    return CompletionRequest(
        (Message("user", text),), adapter, Sampling(max_tokens=tokens, logprobs=2)
    )


def _decided(answer: Completion) -> list[int]:
    """Its tokens up to the first that another was within 0.01 nats of."""
    tokens = []
    for score in answer.tokens:
        best, second = (other.logprob for other in score.alternatives[:2])
        if best - second < 0.01:
            break
        tokens.append(score.token)
    return tokens


@pytest.fixture(scope="module")
def switch(base, adapters, tmp_path_factory) -> Iterator[LlamaEngine]:
    """Few places, so that answers wait and are paused."""
    folder = tmp_path_factory.mktemp("rosters")
    with Impatient(base, context_tokens=2048, slots=3, threads=1, exact=True, path="auto") as made:
        made.set_roster(adapters, folder)
        assert made.settle() == "switch"
        yield made


@pytest.fixture
def on_switch(switch) -> LlamaEngine:
    """The same, after whatever the test before it did."""
    assert switch.settle() == "switch"
    return switch


def test_mixed_batch_writes_what_interns_write_by_turns(engine, on_switch, adapters):
    questions = [
        greedy(f"{start} {thing}?", adapter)
        for adapter in (None, *adapters)
        for start in ("Where is", "What about")
        for thing in ("my card", "the refund of 12 lamps")
    ]
    by_turns = [engine.complete(question) for question in questions]
    before = on_switch.stats()
    alone = [on_switch.complete(question) for question in questions]
    with ThreadPoolExecutor(len(questions)) as pool:
        together = list(pool.map(on_switch.complete, questions))
    after = on_switch.stats()
    assert (after["path"], after["swaps"], after["moves"]) == (
        "switch",
        before["swaps"],
        before["moves"],
    )
    for found in (alone, together):
        assert [answer.text for answer in found] == [answer.text for answer in by_turns]
        for expected, answer in zip(by_turns, found, strict=True):
            assert answer.logprob == pytest.approx(expected.logprob, abs=SAME)


def test_mixed_batch_writes_the_same_tokens_on_a_base_in_floats(tmp_path):
    base, adapters = tiny_office(tmp_path)
    questions = [
        greedy(f"{start} {number}?", adapter, 24)
        for adapter in (None, *adapters)
        for start in ("Where is", "What about")
        for number in range(3)
    ]
    with LlamaEngine(
        base, context_tokens=2048, slots=8, threads=1, exact=True, gpu_layers=GPU_LAYERS
    ) as engine:
        assert engine.stats()["gpu_layers"] == GPU_LAYERS, "this llama.cpp was built without a GPU"
        by_turns = [engine.complete(question) for question in questions]
    with LlamaEngine(
        base, context_tokens=2048, slots=8, threads=1, gpu_layers=GPU_LAYERS, path="switch"
    ) as engine:
        engine.set_roster(adapters, tmp_path / "rosters")
        assert engine.settle() == "switch", engine.stats()["path_reason"]
        with ThreadPoolExecutor(len(questions)) as pool:
            together = list(pool.map(engine.complete, questions))
        assert engine.stats()["path"] == "switch"
    for expected, found in zip(by_turns, together, strict=True):
        decided = _decided(expected)
        assert [s.token for s in found.tokens[: len(decided)]] == decided
    whole = [answer for answer in by_turns if len(_decided(answer)) == 24]
    assert len(whole) > len(by_turns) // 2
    assert len({answer.text for answer in by_turns}) > len(adapters)


def test_one_batch_holds_different_interns(on_switch, adapters):
    """Three interns that write at once take hardly more batches than one."""
    endless = tuple((token, -100.0) for token in on_switch._words.stop_tokens)
    sampling = Sampling(max_tokens=60, logit_bias=endless)
    asked = [CompletionRequest((Message("user", "A story"),), a, sampling) for a in adapters]
    before = on_switch.stats()["steps"]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(on_switch.complete, asked))
    assert [answer.completion_tokens for answer in answers] == [60] * 3
    assert on_switch.stats()["steps"] - before < 2 * 60


def test_labels_are_scored_as_by_turns(engine, on_switch, adapters):
    many = [f"label {i} of many" for i in range(150)]
    for labels in (LABELS, many):
        for adapter in (None, *adapters):
            messages = (Message("user", "Where is my card?"),)
            expected = engine.score_choices(messages, labels, adapter=adapter)
            found = on_switch.score_choices(messages, labels, adapter=adapter)
            assert found.logprobs == pytest.approx(expected.logprobs, abs=SAME)
            again = on_switch.score_choices(messages, labels, adapter=adapter)
            assert again.cached_tokens > 0
            assert again.logprobs == pytest.approx(found.logprobs, abs=SAME)
    assert on_switch.stats()["path"] == "switch"


def test_warm_prefix_is_exact_and_belongs_to_one_intern(on_switch, adapters):
    text = "Please tell me where my card is, it was sent two weeks ago."
    first = on_switch.complete(greedy(text, adapters[1]))
    second = on_switch.complete(greedy(text, adapters[1]))
    assert second.cached_tokens == second.prompt_tokens - 2
    assert (second.text, second.logprob) == (first.text, first.logprob)
    for other in (None, adapters[0], adapters[2]):  # no more than how every prompt begins
        assert on_switch.complete(greedy(text, other)).cached_tokens < 10


def _worst(cold: LlamaEngine, ask: Ask, answer, adapter: Adapter | None) -> float:
    prompt = cold.tokenize(cold.template.render((Message("user", TEXTS[ask.text]),)))
    written = [score.token for score in answer.tokens]
    rows = spoken(cold, cold.logits(prompt + written, adapter=adapter))[len(prompt) - 1 : -1]
    gaps = [abs(s.logprob - float(r[s.token])) for s, r in zip(answer.tokens, rows, strict=True)]
    return max(gaps, default=0.0)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(asks=st.lists(ASKS, min_size=2, max_size=10), together=st.integers(1, 6))
def test_every_answer_equals_a_cold_run_by_turns(engine, on_switch, adapters, asks, together):
    who = (None, *adapters)
    with ThreadPoolExecutor(together) as pool:
        answers = list(pool.map(lambda ask: _answer(on_switch, ask, who), asks))
    assert on_switch.stats()["path"] == "switch"
    for ask, answer in zip(asks, answers, strict=True):
        assert answer is not None
        assert _worst(engine, ask, answer, who[ask.who]) < SAME


def test_nothing_is_lost_when_many_ask_and_half_hang_up(engine, on_switch, adapters):
    who = (None, *adapters)
    asks, answers = ask_at_once(on_switch, who, 120)
    gaps = [
        _worst(engine, ask, answer, who[ask.who])
        for ask, answer in list(zip(asks, answers, strict=True))[::6]
    ]
    assert max(gaps) < SAME
    stats = on_switch.stats()
    assert (stats["path"], stats["active"], stats["waiting"]) == ("switch", 0, 0)
    assert len(on_switch._scheduler._sequences.free) == on_switch._scheduler.slots + 1
    assert on_switch._scheduler._sequences._first == {}


def test_turns_stay_bounded_and_round_robin_when_interns_share_batches(on_switch, adapters):
    who = (None, *adapters)
    labels = [f"label {i} of many" for i in range(50)]
    before = len(on_switch.turns())

    def ask(number: int) -> None:
        adapter = who[number % 4]
        text = f"{number} " + "Please tell me where my card is. " * (1 if number % 3 else 40)
        if number % 3 == 2:
            on_switch.score_choices((Message("user", text),), labels, adapter=adapter)
        else:
            on_switch.complete(greedy(text, adapter, 24))

    with ThreadPoolExecutor(36) as pool:
        list(pool.map(ask, range(36)))
    turns = on_switch.turns()[before:]
    assert {turn.key for turn in turns} == {adapter_key(adapter) for adapter in who}
    last: dict[tuple[str, float], int] = {}
    for at, turn in enumerate(turns):
        assert turn.steps <= STEPS
        # Who rides along may be done before its own turn comes; then nobody waits any more.
        still = turn.waiting & {other.key for other in turns[at + 1 :]}
        assert not still or turn.prompt_tokens <= CHUNK
        if (begun := last.get(turn.key)) is not None:
            between = [other.key for other in turns[begun + 1 : at]]
            assert len(between) == len(set(between)), "somebody had two turns between two of one"
            missing = turns[begun].waiting - set(between)
            later = {other.key for other in turns[at:]}
            assert not missing & later, "somebody who waited was passed over, not done"
        last[turn.key] = at
    assert len(turns) > 20
    assert on_switch.stats()["path"] == "switch"


def test_deadline_and_cancel_work_among_many(on_switch, adapters):
    endless = {"max_tokens": 900, "temperature": 5.0, "top_k": 0, "top_p": 1.0}
    asked = CompletionRequest((Message("user", "A story"),), adapters[0], Sampling(**endless))
    cancel = threading.Event()
    stream = on_switch.stream(asked, cancel=cancel)
    next(stream)
    late = dataclasses.replace(asked, adapter=adapters[1], deadline_s=0.2)
    assert on_switch.complete(late).finish_reason in {"deadline", "length", "stop"}
    cancel.set()
    assert list(stream)[-1].completion.finish_reason == "cancelled"


def test_adapter_outside_the_roster_is_answered_at_once_and_exactly(
    engine, on_switch, adapters, make_adapter
):
    for stranger in (make_adapter(60), dataclasses.replace(adapters[0], scale=0.5)):
        expected = engine.complete(greedy("Where is my refund?", stranger))
        found = on_switch.complete(greedy("Where is my refund?", stranger))
        assert found.logprob == pytest.approx(expected.logprob, abs=SAME)
        assert on_switch.settle() == "switch"


def test_prompt_without_bos_is_exact(engine, on_switch, adapters):
    ids = tuple(engine.tokenize("The card was sent a week ago and"))
    assert ids[0] != 0
    raw = CompletionRequest(
        (), adapters[0], Sampling(max_tokens=4, logprobs=1), prompt=ids, echo=True
    )
    expected, found = engine.complete(raw), on_switch.complete(raw)
    scores = [[s.logprob for s in each.prompt[1:]] for each in (expected, found)]
    assert scores[1] == pytest.approx(scores[0], abs=SAME)
    assert on_switch.settle() == "switch"
    bare = dataclasses.replace(raw, adapter=None)
    expected, found = engine.complete(bare), on_switch.complete(bare)
    scores = [[s.logprob for s in each.prompt[1:]] for each in (expected, found)]
    assert scores[1] == pytest.approx(scores[0], abs=SAME)
    assert on_switch.stats()["path"] == "switch"  # the bare base needs no token


def test_tokens_of_interns_are_neither_taken_nor_written(on_switch, base, adapters):
    words = on_switch._words.vocab_size
    for token in (words, words + 2, words + 63):
        for ids in ((token, 70, 71), (0, 70, token)):
            request = CompletionRequest((), adapters[0], Sampling(max_tokens=2), prompt=ids)
            with pytest.raises(InvalidInput, match="outside the vocabulary"):
                on_switch.complete(request)
            with pytest.raises(InvalidInput, match="outside the vocabulary"):
                on_switch.logits(ids)
    pushed = Sampling(max_tokens=2, logit_bias=((words, 100.0),))
    with pytest.raises(InvalidInput, match="token ids below"):
        on_switch.complete(CompletionRequest((Message("user", "Hello"),), adapters[0], pushed))
    text = "<|roster_1|> hello"
    ids = on_switch.tokenize(on_switch.template.render((Message("user", text),)))
    assert max(ids) < words
    wild = Sampling(max_tokens=40, temperature=10.0, top_k=0, top_p=1.0, logprobs=5)
    answer = on_switch.complete(CompletionRequest((Message("user", text),), adapters[1], wild))
    seen = {s.token for s in answer.tokens} | {
        other.token for s in answer.tokens for other in s.alternatives
    }
    assert max(seen) < words


def test_reserved_tokens_of_the_base_are_read_as_by_turns(engine, on_switch, base, adapters):
    """They are the base's; the packed file has other ones."""
    names = read_gguf(base.gguf).metadata["tokenizer.ggml.tokens"]
    spare = [i for i, name in enumerate(names) if name.startswith("<|reserved_")]
    for token in (spare[0], spare[2], spare[-1]):
        ids = (0, 70, token, 71)
        expected, found = (each.logits(ids, adapter=adapters[0]) for each in (engine, on_switch))
        kl = np.exp(log_softmax(expected)) * (log_softmax(expected) - log_softmax(found))
        assert kl.sum(-1).max() < 1e-6
    pushed = tuple((token, 100.0) for token in spare[:4])
    wild = Sampling(max_tokens=40, temperature=10.0, top_k=0, top_p=1.0, logit_bias=pushed)
    answer = on_switch.complete(CompletionRequest((Message("user", "Hello"),), adapters[1], wild))
    assert "<|reserved_" not in answer.text
    assert on_switch.stats()["path"] == "switch"


@pytest.mark.parametrize("kind", ["llama", "llama-2", "mistral"])
def test_base_that_reserves_nothing_mixes_interns_too(tmp_path, kind):
    """Its chats may begin with something else than BOS, as SmolLM2's do."""
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    )
    base, adapters = tiny_office(tmp_path, kind, template if kind == "llama" else None)
    asked = [greedy(text, adapter, 12) for adapter in (None, *adapters) for text in ("Hi", "Who?")]
    answers = []
    for path in ("swap", "switch"):
        with LlamaEngine(
            base, context_tokens=1024, slots=8, threads=1, exact=True, path=path
        ) as engine:
            engine.set_roster(adapters, tmp_path / "rosters")
            assert engine.settle() == path, engine.stats()["path_reason"]
            with ThreadPoolExecutor(len(asked)) as pool:
                answers.append(list(pool.map(engine.complete, asked)))
            assert engine.stats()["path"] == path
    for expected, found in zip(*answers, strict=True):
        assert found.text == expected.text
        assert found.logprob == pytest.approx(expected.logprob, abs=SAME)
    assert len({answer.text for answer in answers[0]}) > len(adapters)
