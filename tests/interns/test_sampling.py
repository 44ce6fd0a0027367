"""Sampling: the asked distribution, the same for a seed, nothing forbidden."""

from __future__ import annotations

import numpy as np
import pytest

from interns.completion import Sampling
from interns.errors import InvalidInput
from interns.runtime.llama_cpp.sampling import Sampler, check_sampling, log_softmax_at

NONE = np.array([], dtype=np.int64)
WEIGHTS = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
LOGITS = np.log(WEIGHTS).astype(np.float32)


def _shares(sampling: Sampling, hidden=NONE, rounds: int = 4000) -> np.ndarray:
    sampler = Sampler(sampling, hidden)
    return np.bincount([sampler.pick(LOGITS)[0] for _ in range(rounds)], minlength=5) / rounds


def test_best_token_is_picked_when_the_temperature_is_zero():
    token, logprob = Sampler(Sampling(), NONE).pick(LOGITS)
    assert token == 0
    assert logprob == pytest.approx(np.log(0.5), abs=1e-5)


def test_shares_are_the_probabilities_when_nothing_is_cut():
    shares = _shares(Sampling(temperature=1.0, top_k=0, top_p=1.0))
    np.testing.assert_allclose(shares, WEIGHTS, atol=0.03)


def test_shares_are_flatter_when_the_temperature_is_two():
    expected = WEIGHTS**0.5 / (WEIGHTS**0.5).sum()
    shares = _shares(Sampling(temperature=2.0, top_k=0, top_p=1.0))
    np.testing.assert_allclose(shares, expected, atol=0.03)


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"top_k": 2}, 2),
        ({"top_p": 0.6}, 2),
        ({"top_p": 0.5}, 1),
        ({"min_p": 0.4}, 2),
        ({"min_p": 0.1}, 4),
        ({"top_k": 1}, 1),
    ],
)
def test_improbable_tokens_never_come_when_they_are_cut(settings, left):
    chosen = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **settings}
    shares = _shares(Sampling(**chosen), rounds=1500)
    assert np.flatnonzero(shares).tolist() == list(range(left))


def test_same_tokens_come_when_the_seed_is_the_same():
    def run(seed: int) -> list[int]:
        sampler = Sampler(Sampling(temperature=1.0, seed=seed), NONE)
        return [sampler.pick(LOGITS)[0] for _ in range(30)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_hidden_tokens_never_come_when_sampling():
    assert _shares(Sampling(temperature=5.0), np.array([0, 3]))[[0, 3]].sum() == 0


def test_another_token_comes_next_when_repeats_are_penalised():
    logits = np.array([1.0, 0.9, 0.1, -1.0], dtype=np.float32)
    sampler = Sampler(Sampling(repeat_penalty=2.0), NONE)
    assert [sampler.pick(logits)[0] for _ in range(3)] == [0, 1, 0]


def test_error_is_plain_when_no_token_is_left():
    with pytest.raises(InvalidInput):
        Sampler(Sampling(), np.arange(5)).pick(LOGITS)


def test_defaults_are_fine_when_checked():
    check_sampling(Sampling())
    assert log_softmax_at(LOGITS, 4) == pytest.approx(np.log(0.03), abs=1e-5)
