"""Weighted reciprocal rank fusion."""

from __future__ import annotations

import pytest

from retrieval.fusion import fuse

EQUAL = {"a": 1.0, "b": 1.0}


def test_the_score_is_one_when_first_everywhere() -> None:
    fused = fuse({"a": ["x", "y"], "b": ["x", "z"]}, EQUAL)

    assert fused["x"] == pytest.approx(1.0)
    assert list(fused) == ["x", "y", "z"]
    assert all(0 < score <= 1 for score in fused.values())


def test_agreement_wins_when_two_rankings_place_it_second() -> None:
    fused = fuse({"a": ["x", "both"], "b": ["y", "both"]}, EQUAL)

    assert next(iter(fused)) == "both"


def test_the_heavier_ranking_decides_when_they_differ() -> None:
    fused = fuse({"a": ["x"], "b": ["y"]}, {"a": 1.0, "b": 2.0})

    assert list(fused) == ["y", "x"]


def test_nothing_is_returned_when_nothing_is_ranked() -> None:
    assert fuse({"a": [], "b": []}, EQUAL) == {}
