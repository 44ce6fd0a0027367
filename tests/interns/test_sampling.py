"""Sampling: the asked distribution, the same for a seed, nothing forbidden."""

from __future__ import annotations

import numpy as np
import pytest

from interns.completion import Sampling
from interns.errors import InvalidInput
from interns.runtime.llama_cpp.logprobs import log_sum_exp
from interns.runtime.llama_cpp.sampling import Pick, Sampler, check_sampling, pick_all

NONE = np.array([], dtype=np.int64)
WEIGHTS = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
LOGITS = np.log(WEIGHTS).astype(np.float32)


def _pick(sampler: Sampler, logits: np.ndarray = LOGITS) -> Pick:
    [pick] = pick_all([sampler], logits[None])
    if isinstance(pick, InvalidInput):
        raise pick
    return pick


def _shares(sampling: Sampling, hidden=NONE, rounds: int = 4000) -> np.ndarray:
    sampler = Sampler(sampling, hidden)
    return np.bincount([_pick(sampler).token for _ in range(rounds)], minlength=5) / rounds


def test_best_token_is_picked_when_the_temperature_is_zero():
    pick = _pick(Sampler(Sampling(), NONE))
    assert pick.token == 0
    assert pick.logprob == pytest.approx(np.log(0.5), abs=1e-5)
    assert pick.alternatives == ()


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
        return [_pick(sampler).token for _ in range(30)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_hidden_tokens_never_come_when_sampling():
    assert _shares(Sampling(temperature=5.0), np.array([0, 3]))[[0, 3]].sum() == 0


def test_another_token_comes_next_when_repeats_are_penalised():
    logits = np.array([1.0, 0.9, 0.1, -1.0], dtype=np.float32)
    sampler = Sampler(Sampling(repeat_penalty=2.0), NONE)
    assert [_pick(sampler, logits).token for _ in range(3)] == [0, 1, 0]


def test_error_is_plain_when_no_token_is_left():
    with pytest.raises(InvalidInput):
        _pick(Sampler(Sampling(), np.arange(5)))


def test_defaults_are_fine_when_checked():
    check_sampling(Sampling(), 5)


def test_bias_moves_the_shares_as_its_exponential_says():
    bias = float(np.log(4))
    shares = _shares(Sampling(temperature=1.0, top_k=0, top_p=1.0, logit_bias=((4, bias),)))
    expected = WEIGHTS * [1, 1, 1, 1, 4]
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.03)


def test_token_never_comes_when_its_bias_is_minus_100():
    assert _pick(Sampler(Sampling(logit_bias=((0, -100.0),)), NONE)).token == 1


def test_hidden_tokens_never_come_when_biased():
    assert _pick(Sampler(Sampling(logit_bias=((3, 100.0),)), np.array([3]))).token == 0


def test_alternatives_are_the_likeliest_with_their_probabilities():
    pick = _pick(Sampler(Sampling(temperature=1.0, seed=3, logprobs=3), np.array([1])))
    left = WEIGHTS[[0, 2, 3]] / WEIGHTS[[0, 2, 3, 4]].sum()
    assert [token for token, _ in pick.alternatives] == [0, 2, 3]
    np.testing.assert_allclose(np.exp([p for _, p in pick.alternatives]), left, atol=1e-5)
    assert dict(pick.alternatives)[pick.token] == pick.logprob


def test_no_more_alternatives_are_given_than_are_possible():
    pick = _pick(Sampler(Sampling(logprobs=50), np.array([0, 1, 2])))
    assert [token for token, _ in pick.alternatives] == [3, 4]


def test_answers_picked_together_are_those_picked_alone():
    random = np.random.default_rng(3)
    rows = random.normal(0, 3, (5, 400)).astype(np.float32)
    settings = (
        Sampling(),
        Sampling(temperature=1.0, seed=5, top_k=0),
        Sampling(logit_bias=((7, 50.0),), logprobs=2),
        Sampling(repeat_penalty=1.5),
        Sampling(logit_bias=tuple((i, -100.0) for i in range(300))),
    )
    hidden = np.arange(10, 40)
    together = pick_all([Sampler(each, hidden) for each in settings], rows)
    alone = [_pick(Sampler(each, hidden), row) for each, row in zip(settings, rows, strict=True)]
    assert together == alone
    assert together[2].token == 7


def test_one_answer_without_a_token_does_not_disturb_the_others():
    samplers = [
        Sampler(Sampling(), NONE),
        Sampler(Sampling(), np.arange(5)),
        Sampler(Sampling(), NONE),
    ]
    first, none, third = pick_all(samplers, np.stack([LOGITS, LOGITS, LOGITS[::-1]]))
    assert isinstance(none, InvalidInput)
    assert (first.token, third.token) == (0, 4)
    assert first.logprob == third.logprob == pytest.approx(np.log(0.5), abs=1e-5)


def test_log_sum_exp_is_exact_for_rows_of_all_sizes():
    random = np.random.default_rng(0)
    for shape in ((1, 1), (3, 7), (40, 6144), (2, 200_000)):
        rows = random.normal(0, 30, shape).astype(np.float32)
        rows[0, 0] = -np.inf if shape[1] > 1 else 3.0
        exact = np.log(np.exp(rows.astype(np.float64)).sum(axis=1))
        np.testing.assert_allclose(log_sum_exp(rows), exact, rtol=1e-6)
