"""What a verification says to people."""

from __future__ import annotations

import json

import pytest

from interns.bases import STARTER
from interns.gate import EXACT, QUANTIZED, engine_words, gate_words, loosened, looser_bounds

CUDA = "CUDA : ARCHS = 900 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX2 = 1 | OPENMP = 1 |"


@pytest.mark.parametrize(
    ("backend", "gpu_layers", "words"),
    [
        ("CPU : SSE3 = 1 | AVX2 = 1 | REPACK = 1 |", 0, "CPU"),
        (CUDA, 0, "CPU"),
        (CUDA, 12, "CUDA, 12 layers on the GPU"),
        ("MTL : EMBED_LIBRARY = 1 | CPU : NEON = 1 |", -1, "MTL, all layers on the GPU"),
        ("", 0, ""),
    ],
)
def test_backend_is_told_in_a_few_words(backend: str, gpu_layers: int, words: str) -> None:
    assert engine_words({"backend": backend, "gpu_layers": gpu_layers}) == words
    assert engine_words({}) == ""


@pytest.mark.parametrize("name", ["interviewer", "facts", "guide"])
def test_shipped_interns_passed_the_projects_own_gate(name: str) -> None:
    found = json.loads((STARTER / "interns" / name / "verification.json").read_text("utf-8"))
    assert found["passed"]
    assert gate_words(found) == ""


def test_a_looser_gate_that_was_passed_is_told_in_words() -> None:
    found = {"bounds": {"stop_rate": 0.95}, "looser": {"stop_rate": 0.99}, "passed": True}
    assert gate_words(found) == "passed a looser gate: answers that end 0.95 instead of 0.99"


@pytest.mark.parametrize("own", [EXACT, QUANTIZED])
def test_only_what_is_looser_than_the_projects_own_is_named(own) -> None:
    kept = {"top1_decided": own.top1, "mean_kl": own.mean_kl, "stop_rate": 0.99}
    stricter = {"top1_decided": 1.0, "mean_kl": own.mean_kl / 2, "stop_rate": 1.0}
    assert loosened(kept, own) == loosened(stricter, own) == {}
    for name, value in {"top1_decided": 0.5, "mean_kl": 1.0, "stop_rate": 0.0}.items():
        bounds = {**stricter, name: value}
        assert loosened(bounds, own) == {name: kept[name]}
        old = {"bounds": bounds, "margin": own.margin, "passed": False}
        assert looser_bounds(old) == {name: kept[name]}
        assert gate_words(old).startswith("held to a looser gate: ")
        assert gate_words(old).endswith(f" {value:g} instead of {kept[name]:g}")
        assert looser_bounds({**old, "looser": {}}) == {}  # what was written then counts
