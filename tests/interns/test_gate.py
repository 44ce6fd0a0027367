"""What a verification says to people."""

from __future__ import annotations

import pytest

from interns.gate import engine_words

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
