"""A head that several answers begin with is read once and stored once, and changes no number."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interns.completion import CompletionRequest, Message, Sampling
from interns.runtime.llama_cpp.engine import LlamaEngine
from interns.runtime.llama_cpp.loans import Loans
from tests.making import SAME, spoken

HEAD = (
    "You sell lamps for an office by the sea and answer every letter in one short sentence. " * 21
)
ASKED = 8


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 12), st.integers(0, 5))))
def test_cells_are_counted_once_whoever_leaves_first(steps):
    loans, cells = Loans(), {}
    fresh = iter(range(10_000))
    for number, (leaves, which, shared, own) in enumerate(steps):
        if leaves and cells:
            gone = sorted(cells)[which % len(cells)]
            del cells[gone]
            loans.leave(gone)
        else:
            lender = sorted(cells)[which % len(cells)] if cells else None
            head = [] if lender is None else cells[lender][:shared]
            if head:
                loans.lend(lender, number, len(head))
            cells[number] = [*head, *(next(fresh) for _ in range(own))]
        counted = sum(len(has) - loans.borrowed(who) for who, has in cells.items())
        assert counted == len(set().union(*cells.values()))


@pytest.mark.parametrize("path", ["swap", "switch"])
def test_a_burst_reads_what_its_prompts_share_once(base, adapters, tmp_path, path):
    """Alone one prompt takes half of the cells; together they fit because the head lies there once."""
    asked = [
        CompletionRequest(
            (Message("system", HEAD), Message("user", f"Lamp {number} broke.")),
            adapters[0],
            Sampling(max_tokens=12, logprobs=20, logit_bias=((2, -100.0),)),
        )
        for number in range(ASKED)
    ]
    with LlamaEngine(
        base, context_tokens=1024, slots=ASKED, threads=1, path=path, exact=True
    ) as engine:
        if path == "switch":
            engine.set_roster(adapters, tmp_path)
            assert engine.settle() == "switch", engine.stats()["path_reason"]
        prompts = [engine.tokenize(engine.template.render(one.messages)) for one in asked]
        assert 400 < len(prompts[0]) < 512
        most, done = 0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.0005):
                most = max(most, engine.stats()["active"])

        watching = threading.Thread(target=watch)
        watching.start()
        with ThreadPoolExecutor(ASKED) as pool:
            answers = list(pool.map(engine.complete, asked))
        done.set()
        watching.join()
        stats = engine.stats()
        assert most == ASKED
        assert stats["pauses"] == 0
        assert sum(answer.cached_tokens == 0 for answer in answers) == 1
        assert stats["cached_tokens"] > (ASKED - 1) * 400
        assert stats["path"] == path
    with LlamaEngine(base, context_tokens=1024, slots=1, threads=1, exact=True) as alone:
        for prompt, answer in zip(prompts, answers, strict=True):
            written = [score.token for score in answer.tokens]
            cold = spoken(alone, alone.logits(prompt + written, adapter=adapters[0]))
            for row, score in zip(cold[len(prompt) - 1 : -1], answer.tokens, strict=True):
                for one in score.alternatives:
                    if one.token != 2:  # what its bias costs is not in the cold numbers
                        apart = score.logprob - one.logprob
                        expected = float(row[score.token] - row[one.token])
                        assert apart == pytest.approx(expected, abs=SAME)


def test_a_paused_or_cancelled_lender_takes_nothing_from_who_borrowed(base, adapters):
    """The answer that read the head is cancelled while others go on from it."""
    endless = Sampling(max_tokens=150, logit_bias=((2, -100.0),))

    def asked(number: int, adapter) -> CompletionRequest:
        messages = (Message("system", HEAD), Message("user", f"Lamp {number} broke."))
        return CompletionRequest(messages, adapter, endless)

    with LlamaEngine(base, context_tokens=2048, slots=3, threads=1, exact=True) as engine:
        expected = [engine.complete(asked(number, adapters[1])).text for number in range(3)]
    with LlamaEngine(base, context_tokens=2048, slots=3, threads=1, exact=True) as engine:
        cancel = threading.Event()
        lender = engine.stream(asked(0, adapters[1]), cancel=cancel)
        next(lender)
        with ThreadPoolExecutor(3) as pool:
            borrowers = [pool.submit(engine.complete, asked(n, adapters[1])) for n in (1, 2)]
            while engine.stats()["active"] < 3:
                pass
            other = pool.submit(engine.complete, asked(0, adapters[2]))  # needs a place: a pause
            while not engine.stats()["pauses"]:
                pass
            cancel.set()
            assert [job.result().text for job in borrowers] == expected[1:]
            other.result()
        assert list(lender)[-1].completion.finish_reason == "cancelled"
        idle = engine.stats()
    assert (idle["active"], idle["waiting"], idle["sequences"]) == (0, 0, 0)
    assert idle["cached_tokens"] > 400
