"""Scores against values worked out by hand or published."""

from __future__ import annotations

import numpy as np
import pytest

from training import metrics
from training.agreement import kl_divergence, second_best_gap


def test_macro_f1_weighs_labels_equally() -> None:
    gold, said = ["a", "a", "a", "b"], ["a", "a", "b", "b"]
    assert metrics.accuracy(gold, said) == 0.75
    assert metrics.macro_f1(gold, said) == pytest.approx((0.8 + 2 / 3) / 2)


def test_wilson_interval_matches_the_published_example() -> None:
    low, high = metrics.wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_rouge_l_counts_the_longest_common_subsequence() -> None:
    assert metrics.rouge_l("police killed the gunman", "police kill the gunman") == 0.75
    assert metrics.rouge_l("a b", "") == 0.0


def test_token_f1_of_blank_texts_agrees() -> None:
    assert metrics.token_f1("", "") == 1.0
    assert metrics.token_f1("the red lamp", "red lamp") == pytest.approx(0.8)


def test_fields_count_only_when_present() -> None:
    assert metrics.field_counts({"a": "X ", "b": "", "c": 2}, {"a": "x", "c": 3, "d": 1}) == (
        1,
        2,
        3,
    )
    assert metrics.f1_from_counts(0, 0, 0) == 1.0


def test_perfectly_sure_and_half_right_is_half_off() -> None:
    found = metrics.expected_calibration_error([1.0, 1.0], [True, False])
    assert found == pytest.approx(0.5)


def test_temperature_cools_overconfident_scores() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 3))
    gold = [int(rng.choice(3, p=np.exp(row) / np.exp(row).sum())) for row in logits]
    assert metrics.fit_temperature(logits * 4, gold) == pytest.approx(4.0, rel=0.15)
    assert metrics.fit_temperature(np.zeros((0, 3)), []) == 1.0


def test_kl_divergence_is_zero_only_for_equal_distributions() -> None:
    logits = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    assert kl_divergence(logits, logits + 5) == pytest.approx([0, 0], abs=1e-9)
    half = np.log(np.array([[0.5, 0.5]], dtype=np.float32))
    quarter = np.log(np.array([[0.25, 0.75]], dtype=np.float32))
    assert kl_divergence(half, quarter) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))


def test_gap_is_between_the_two_best_logits() -> None:
    logits = np.array([[1.0, 4.0, 3.5], [2.0, 2.0, 0.0]], dtype=np.float32)
    assert second_best_gap(logits) == pytest.approx([0.5, 0.0])
