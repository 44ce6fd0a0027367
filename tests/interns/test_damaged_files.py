"""Damaged GGUF files are refused with a reason or served; no file ends the process."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from interns.errors import BrokenFile
from interns.gguf.base_file import check_base

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "cases"), [("adapter", 60), ("base", 60)])
def test_no_damage_ends_the_process(starter_base, make_adapter, tmp_path, kind, cases):
    adapter = make_adapter(4, strength=0.15, on=starter_base)
    source = adapter.path if kind == "adapter" else starter_base.gguf
    command = [sys.executable, "-m", "tests.interns.damage_child", str(source), str(tmp_path)]
    done = subprocess.run(
        [*command, kind, str(cases)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout[-60:], done.stderr[-2000:])
    *lines, last = done.stdout.splitlines()
    assert last == "alive"
    said = Counter(line.split(" ", 1)[1] for line in lines)
    assert set(said) == {"served", "refused"}
    assert said.total() == cases
    assert said["refused"] > cases // 3


def _key(name: str) -> bytes:
    text = name.encode()
    return struct.pack("<Q", len(text)) + text


# llama.cpp ended the process on each of these, or our own check took hours.
@pytest.mark.parametrize(
    ("after", "skip", "new"),
    [
        (_key("llama.block_count"), 4, struct.pack("<I", 0)),
        (_key("llama.block_count"), 4, struct.pack("<I", 2**31 - 1)),
        (_key("llama.attention.layer_norm_rms_epsilon"), 4, struct.pack("<f", -1.0)),
        (_key("llama.attention.layer_norm_rms_epsilon"), 4, struct.pack("<f", float("nan"))),
        (_key("output_norm.weight"), 12, struct.pack("<I", 1)),
        (_key("blk.0.attn_norm.weight"), 12, struct.pack("<I", 26)),
        (_key("Ġthe"), -5, "Ġand".encode()),
    ],
)
def test_base_that_llama_cpp_cannot_compute_with_is_refused(base, tmp_path, after, skip, new):
    data = bytearray(base.gguf.read_bytes())
    at = data.index(after) + len(after) + skip
    data[at : at + len(new)] = new
    path = tmp_path / "base.gguf"
    path.write_bytes(data)
    with pytest.raises(BrokenFile):
        check_base(path)
