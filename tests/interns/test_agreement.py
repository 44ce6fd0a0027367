"""The gate of a roster file compares batches that llama.cpp rounds alike."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from interns.bases import STARTER
from interns.completion import Message
from interns.errors import GateNotMet
from interns.gguf.roster_file import write_roster_gguf
from interns.manifest import read_version_folder
from interns.runtime.llama_cpp.agreement import check_agreement
from interns.runtime.llama_cpp.batch import ContextSize
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.jobs import Solo
from interns.runtime.llama_cpp.library import Model
from interns.runtime.llama_cpp.solo import crowded_logits
from tests.making import log_softmax

TEXTS = ("Where is my parcel? It was sent a week ago.", "Write one sentence about the weather.")
SIZE = ContextSize(cells=1024, sequences=8, batch=512, outputs=512, threads=1, batch_threads=1)


def _read(engine, tokens, adapter, copies):
    steps = partial(crowded_logits, copies=copies)
    solo = Solo(steps, adapter, tokens, copies * len(tokens), None)
    engine._scheduler.submit(solo)
    return solo.result.result()


@pytest.fixture(scope="module")
def engine(starter_base):
    """In 8 bits: there llama.cpp rounds, and otherwise for another number of rows."""
    with LlamaEngine(starter_base, context_tokens=4096, slots=8, threads=1) as made:
        yield made


@pytest.fixture(scope="module")
def prompts(engine):
    return [engine.tokenize(engine.template.render((Message("user", text),))) for text in TEXTS]


@pytest.mark.parametrize("copies", [1, 2, 7])
def test_logits_of_a_crowd_are_the_cold_ones_but_for_rounding(
    engine, prompts, starter_base, make_adapter, copies
):
    adapter = make_adapter(4, strength=0.15, on=starter_base)
    for tokens in prompts:
        cold = log_softmax(engine.logits(tokens, adapter=adapter))
        crowded = log_softmax(_read(engine, tokens, adapter, copies))
        assert crowded.shape == cold.shape
        assert (np.exp(cold) * (cold - crowded)).sum(-1).mean() < 1e-2


def test_one_adapter_reads_in_a_crowd_when_the_mixed_batch_is_large(
    engine, starter_base, make_adapter, prompts, tmp_path
):
    weak = [make_adapter(seed, on=starter_base) for seed in (1, 2, 3)]
    roster = write_roster_gguf(starter_base, weak, tmp_path / "roster.gguf", 0)
    packed = Model(roster.path)
    try:
        for who in (
            weak[:1],
            weak,
        ):  # below and above the size from which llama.cpp rounds otherwise
            found = []

            def expected(tokens, adapter, copies, found=found):
                found.append(copies)
                return _read(engine, tokens, adapter, copies)

            worst = check_agreement(
                packed, roster, who, prompts, expected, size=SIZE, quantized=True
            )
            assert worst < 1e-3
            assert (max(found) > 1) == (len(who) > 1)
    finally:
        packed.close()


def test_shipped_interns_agree_far_closer_than_the_gate_asks(
    engine, starter_base, prompts, tmp_path
):
    folders = sorted((STARTER / "interns").iterdir())
    shipped = [read_version_folder(folder).adapter for folder in folders]
    roster = write_roster_gguf(starter_base, shipped, tmp_path / "roster.gguf", 0)
    packed = Model(roster.path)
    expected = partial(_read, engine)
    try:
        worst = check_agreement(
            packed, roster, shipped, prompts, expected, size=SIZE, quantized=True
        )
        assert worst < 5e-4
        with pytest.raises(GateNotMet, match="answers otherwise"):  # the check sees a wrong intern
            check_agreement(
                packed,
                roster,
                shipped,
                prompts,
                lambda tokens, _, copies: _read(engine, tokens, None, copies),
                size=SIZE,
                quantized=True,
            )
    finally:
        packed.close()
