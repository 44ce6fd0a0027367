"""What counts as agreement, and that a 16-bit base meets the strict bounds with an intern on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interns.base_model import BaseModelRef
from interns.bases import STARTER, starter, torch_folder
from interns.charter import Charter
from interns.gate import EXACT, QUANTIZED
from interns.gguf.adapter_file import file_sha256, write_adapter_gguf
from interns.gguf.base_file import write_base_gguf
from interns.manifest import read_version_folder
from interns.paths import Paths
from interns.runtime.llama_cpp.engine import LlamaEngine
from training.agreement import bounds_of, compare, join
from training.encoding import Encoder
from training.example import Example
from training.recipe import make_recipe
from training.reference import TorchIntern
from training.report import verification_sentence
from training.verify import Sides, verify

EXAM = Path(__file__).parents[2] / "examples" / "facts" / "exam.jsonl"


def test_a_tie_is_counted_everywhere_but_not_where_torch_is_clear() -> None:
    expected = np.array([[3.0, 1.0, 0.0], [1.0, 0.9, 0.0], [0.0, 0.0, 4.0]], dtype=np.float32)
    found = np.array([[3.1, 1.0, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 4.0]], dtype=np.float32)
    places = compare(expected, found)
    assert places.everywhere == pytest.approx(2 / 3)
    assert places.clear(0.5) == (1.0, pytest.approx(2 / 3))
    assert places.clear(0.05) == (pytest.approx(2 / 3), 1.0)
    assert places.clear(9.0) == (1.0, 0.0)
    assert len(join([places, places]).kl) == 6


def test_choice_that_flips_clearly_is_never_called_a_tie() -> None:
    expected = np.array([[3.0, 1.0]], dtype=np.float32)
    assert compare(expected, expected[:, ::-1]).clear(QUANTIZED.margin) == (0.0, 1.0)


def test_bounds_follow_the_numbers_the_base_is_stored_in(tmp_path: Path) -> None:
    assert bounds_of(starter().gguf) == QUANTIZED
    hf = torch_folder(starter(), Paths(tmp_path))
    for kind in ("F16", "F32"):
        write_base_gguf(hf, tmp_path / kind, kind, name="starter")
        assert bounds_of(tmp_path / kind) == EXACT


@pytest.mark.parametrize("kind", ["Q8_0", "F16"])
def test_gate_holds_for_a_trained_intern_and_is_strict_on_16_bits(
    kind: str, tmp_path: Path
) -> None:
    version = read_version_folder(STARTER / "interns" / "facts")
    hf, base, adapter = torch_folder(starter(), Paths(tmp_path)), starter(), version.adapter
    if kind == "F16":
        gguf = tmp_path / "base.gguf"
        write_base_gguf(hf, gguf, kind, name="starter")
        base = BaseModelRef("starter-16", gguf, file_sha256(gguf), STARTER)
        adapter = write_adapter_gguf(
            version.folder / "peft", base, tmp_path / "adapter.gguf", metadata={}
        )
    rows = [json.loads(line) for line in EXAM.read_text("utf-8").splitlines()[:32]]
    examples = [Example(row["text"], row["facts"], n) for n, row in enumerate(rows)]
    recipe = make_recipe(version.profile.skill, {"verify_rows": 32})
    with LlamaEngine(base, context_tokens=1024, slots=1, threads=1, gpu_layers=0) as engine:
        sides = Sides(engine, adapter, TorchIntern(hf, version.folder / "peft"), Encoder(hf))

        def check(stop_rate: float, **bounds: float):
            return verify(
                sides,
                version.profile,
                examples,
                charter=Charter(""),
                recipe=replace(recipe, **bounds),
                stop_rate=stop_rate,
                stop_prompts=32,
                report=lambda *_: None,
            )

        found = check(1.0)
        assert found.passed
        assert found.token_mismatches == 0
        expected = EXACT if kind == "F16" else QUANTIZED
        assert found.bounds == {
            "top1_decided": expected.top1,
            "mean_kl": expected.mean_kl,
            "stop_rate": 0.99,
        }
        assert found.margin == expected.margin
        if kind == "F16":
            # What is left are ties: torch led by at most 0.0044 nats where both parted, and a base
            # in 32 bits parted at 3 of 4,288 positions as well (docs/lab-log.md).
            assert found.top1_decided == 1.0
            assert found.top1_everywhere >= 0.997
            assert found.decided >= 0.97
        else:  # what an 8-bit base costs, and why ties are left out there
            assert found.top1_everywhere < found.top1_decided
        assert found.looser == {}
        few = {"verify_rows": 4}  # what follows is about the bounds, not about the numbers
        loose = check(0.97, min_top1=0.5, min_stop_rate=0.95, max_mean_kl=1.0, **few)
        assert "passed a looser gate: " in verification_sentence(loose)
        assert "looser" not in verification_sentence(found)
        assert loose.looser == {
            "top1_decided": expected.top1,
            "mean_kl": expected.mean_kl,
            "stop_rate": 0.99,
        }
        strict = check(1.0, **few)
        assert strict.passed
        cut_off = check(0.98, **few)
        assert (cut_off.passed, cut_off.agrees) == (False, True)
        assert "agrees with torch" in verification_sentence(cut_off)
        apart = check(1.0, max_mean_kl=strict.mean_kl / 2, **few)
        assert (apart.passed, apart.agrees) == (False, False)
        assert "does NOT agree with torch" in verification_sentence(apart)
