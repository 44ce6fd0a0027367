"""Adapters in memory: known by content, within a budget, and never freed while they answer."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from interns.completion import CompletionRequest, Message, Sampling
from interns.errors import BrokenFile, InvalidInput, NotFound
from interns.runtime.llama_cpp.adapters import AdapterPool
from interns.runtime.llama_cpp.batch import ContextSize
from interns.runtime.llama_cpp.budget import Budget
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.library import Context, Model
from tests.making import log_softmax

TEXT = "Where is my card? It was sent a week ago and nobody knows."


def _request(adapter=None, **settings) -> CompletionRequest:
    sampling = Sampling(**{"max_tokens": 6, **settings})
    return CompletionRequest((Message("user", TEXT),), adapter, sampling)


@pytest.fixture
def fresh(base):
    with LlamaEngine(base, context_tokens=1024, slots=2, threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def model(base):
    model = Model(base.gguf)
    context = Context(model, ContextSize(256, 2, 32, 32, 1, 1))
    yield model, context
    context.close()
    model.close()


def test_strength_has_its_own_answers_and_prefixes_but_shares_the_weights(fresh, adapters):
    half = dataclasses.replace(adapters[0], scale=0.5)
    whole = fresh.complete(_request(adapters[0]))
    weaker = fresh.complete(_request(half))
    assert weaker.cached_tokens == 0
    assert abs(weaker.logprob - whole.logprob) > 0.1
    ids = fresh.tokenize(TEXT)
    assert (
        np.abs(fresh.logits(ids, adapter=half) - fresh.logits(ids, adapter=adapters[0])).max() > 0.1
    )
    assert fresh.complete(_request(half)).cached_tokens == weaker.prompt_tokens - 2
    assert fresh.stats()["adapters_loaded"] == 1


def test_clones_of_an_intern_share_weights_and_prefixes(fresh, adapters, tmp_path):
    path = tmp_path / "clone.gguf"
    shutil.copy(adapters[0].path, path)
    clone = dataclasses.replace(adapters[0], path=path, name="clone@1")
    first = fresh.complete(_request(adapters[0]))
    second = fresh.complete(_request(clone))
    assert second.cached_tokens == first.prompt_tokens - 2
    assert fresh.stats()["adapters_loaded"] == 1
    assert fresh.stats()["adapter_bytes"] == path.stat().st_size


def test_version_trained_anew_under_the_same_path_has_its_own_weights(fresh, adapters, tmp_path):
    path = tmp_path / "adapter.gguf"
    shutil.copy(adapters[0].path, path)
    old = dataclasses.replace(adapters[0], path=path, name="triage")
    first = fresh.complete(_request(old))
    shutil.copy(adapters[1].path, path)
    new = dataclasses.replace(adapters[1], path=path, name="triage")
    second = fresh.complete(_request(new))
    assert second.cached_tokens == 0
    ids = fresh.tokenize(TEXT)
    np.testing.assert_array_equal(
        fresh.logits(ids, adapter=new), fresh.logits(ids, adapter=adapters[1])
    )
    assert np.abs(fresh.logits(ids, adapter=new) - fresh.logits(ids, adapter=old)).max() > 0.1
    assert fresh.complete(_request(old)).logprob != second.logprob
    assert first.cached_tokens == 0


def test_old_version_is_refused_when_its_file_was_replaced_and_its_weights_were_freed(
    base, adapters, make_adapter, tmp_path
):
    path = tmp_path / "adapter.gguf"
    shutil.copy(adapters[0].path, path)
    old = dataclasses.replace(adapters[0], path=path)
    with LlamaEngine(
        base, context_tokens=512, slots=1, threads=1, budget=Budget(adapters_mib=1)
    ) as engine:
        engine.complete(_request(old))
        shutil.copy(adapters[1].path, path)
        for seed in range(200, 208):  # as many as an engine keeps
            engine.complete(_request(make_adapter(seed)))
        with pytest.raises(BrokenFile, match="changed"):
            engine.complete(_request(old))
        path.unlink()
        with pytest.raises(NotFound):
            engine.complete(_request(old))
        new = dataclasses.replace(adapters[1])
        assert engine.complete(_request(new)).completion_tokens > 0
        assert engine.stats()["adapter_users"] == 0


class Overtaken(Model):
    """Somebody replaces the file, or takes it away, while it is looked at and loaded."""

    by: Path | None

    def load_adapter(self, path):
        if self.by is None:
            loaded = super().load_adapter(path)
            path.unlink()
            return loaded
        beside = path.with_suffix(".new")
        shutil.copy(self.by, beside)
        beside.replace(path)
        return super().load_adapter(path)

    def free_adapter(self, pointer):
        self.freed = getattr(self, "freed", 0) + 1
        super().free_adapter(pointer)


@pytest.mark.parametrize("gone", [False, True])
def test_weights_that_came_between_hash_and_load_are_not_taken(base, adapters, tmp_path, gone):
    path = tmp_path / "adapter.gguf"
    shutil.copy(adapters[0].path, path)
    model = Overtaken(base.gguf)
    model.by = None if gone else adapters[1].path
    context = Context(model, ContextSize(256, 2, 32, 32, 1, 1))
    pool = AdapterPool(model, context, 2, 2**30)
    with pytest.raises(BrokenFile, match="changed"):
        pool.take(dataclasses.replace(adapters[0], path=path))
    assert (pool.stats()["adapters_loaded"], model.freed) == (0, 1)
    context.close()
    model.close()


def test_longest_unused_is_given_up_within_number_and_budget(model, make_adapter):
    many = [make_adapter(seed) for seed in range(200, 205)]
    size = many[0].path.stat().st_size
    for pool in (AdapterPool(*model, 3, 100 * size), AdapterPool(*model, 100, 3 * size)):
        for each in many[:3]:
            pool.take(each)
            pool.give_back(each)
        first = pool.take(many[0])
        pool.give_back(many[0])
        for each in many[3:]:
            pool.take(each)
            pool.give_back(each)
        assert pool.stats() == {
            "adapters_loaded": 3, "adapter_bytes": 3 * size, "adapter_users": 0
        }  # fmt: skip
        assert pool.take(many[0]) is first
        pool.give_back(many[0])


def test_adapter_in_use_is_kept_whatever_the_budget_says(model, make_adapter):
    many = [make_adapter(seed) for seed in range(200, 205)]
    pool = AdapterPool(*model, 2, 1)
    pointers = [pool.take(each) for each in many]
    assert pool.stats()["adapters_loaded"] == pool.stats()["adapter_users"] == 5
    assert [pool.take(each) for each in many] == pointers
    for each in [*many, *many[1:]]:
        pool.give_back(each)
    pool.take(many[1])
    assert pool.take(make_adapter(205)) is not None
    assert pool.stats()["adapters_loaded"] == 3  # two in use, and the new one


def test_answer_goes_on_under_its_own_adapter_while_others_come_and_go(
    base, adapters, make_adapter
):
    with LlamaEngine(
        base, context_tokens=2048, slots=3, threads=1, budget=Budget(adapters_mib=1)
    ) as engine:
        request = _request(adapters[0], max_tokens=150, logprobs=1, logit_bias=((2, -100.0),))
        stream = engine.stream(request)
        next(stream)
        for seed in range(200, 206):
            engine.complete(_request(make_adapter(seed), max_tokens=2))
        answer = [piece.completion for piece in stream][-1]
        assert answer is not None
        assert answer.finish_reason == "length"
        written = [score.token for score in answer.tokens]
        prompt = engine.tokenize(engine.template.render(request.messages))
        logits = engine.logits(prompt + written, adapter=adapters[0])
        logits[:, 2] -= 100  # the request's bias
        rows = log_softmax(logits)
        cold = rows[np.arange(len(prompt) - 1, len(prompt) + len(written) - 1), written]
        warm = np.array([float(score.logprob or 0.0) for score in answer.tokens])
        assert np.abs(cold - warm).max() < 0.5
        assert engine.stats()["adapter_users"] == 0


@pytest.mark.parametrize("bad", [{"adapters_mib": 0}, {"prefix_mib": -1}, {"prefix_disk_mib": -1}])
def test_budget_is_refused_when_a_number_is_bad(bad):
    with pytest.raises(InvalidInput, match=next(iter(bad))):
        Budget(**bad)
