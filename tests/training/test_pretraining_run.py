"""A whole pre-training on a tiny model, by the command a person types; killed, filled, poisoned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from interns.errors import Conflict, Incompatible
from interns.gguf.reader import read_gguf
from interns.gguf.weights import Weights
from tests.training.conftest import environment
from tests.training.pretraining import lay_out, numbered, refuse_on_a_full_disk, write_corpus
from training.pretraining.checkpoint import load_checkpoint
from training.pretraining.curves import Curve, draw
from training.pretraining.export import COMMITTED, export_base
from training.pretraining.shards import write_shards

pytestmark = pytest.mark.timeout(600)  # seconds on an idle machine

STEPS = 24
RECIPE = f"""
[model]
vocabulary = 8192
hidden = 64
layers = 2
heads = 2
kv_heads = 1
feed_forward = 96
context = 48
[training]
steps = {STEPS}
rows = 4
micro_rows = 2
short_context = 24
warmup = 4
skills = 400
held_out_every = 8
held_out_rows = 2
checkpoint_s = 0
[stable]
prose = 1
skills = 1
[decay]
skills = 1
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside the committed tokenizer, and a small corpus."""
    folder = tmp_path_factory.mktemp("pretrain")
    return lay_out(folder, RECIPE, {"parts": numbered(600)})


def command(place: Path, out: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "training.pretrain", "run", str(place / "recipe.toml")),
        *("--corpus", str(place / "corpus"), "--out", str(out), *more),
    ]


def run(place: Path, out: Path, *more: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(place, out, *more),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """The run without interruption."""
    done = run(place, place / "finished")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["finished"]
    assert outcome["step"] == STEPS
    assert outcome["tokens_per_s"] > 0
    return place / "finished"


def curve(folder: Path) -> bytes:
    return (folder / "curve.jsonl").read_bytes()


def test_the_loss_falls_and_held_out_text_is_looked_at(finished: Path) -> None:
    lines = Curve(finished / "curve.jsonl").lines()
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == STEPS
    assert losses[0] > 8.5
    assert losses[-1] < 8.0
    looks = [line for line in lines if "held_out" in line]
    assert [line["step"] for line in looks] == [8, 16, 24]
    assert looks[-1]["held_out"]["prose"] < looks[0]["held_out"]["prose"]
    drawn = (finished / "curve.svg").read_text()
    assert drawn == draw(lines, f"recipe, {STEPS} of {STEPS} steps")
    assert drawn.count("<polyline") == 1 + len(looks[-1]["held_out"])


def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(
    place: Path, finished: Path
) -> None:
    out = place / "killed"
    for after in (3, 4, 11, 17):
        child = subprocess.Popen(
            command(place, out),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and child.poll() is None:
            if (out / "curve.jsonl").is_file() and curve(out).count(b"loss") >= after:
                break
            time.sleep(0.001)
        child.kill()
        assert child.wait() == -9
    last = run(place, out)
    assert last.returncode == 0, last.stderr
    assert "Going on after step" in last.stderr
    assert curve(out) == curve(finished)
    expected = load_checkpoint(finished / "checkpoint.pt")
    found = load_checkpoint(out / "checkpoint.pt")
    assert all(torch.equal(found.weights[name], w) for name, w in expected.weights.items())


def test_stages_that_run_out_of_time_end_as_one_run(place: Path, finished: Path) -> None:
    out, prepared = place / "stages", str(finished / "prepared")
    stages = [run(place, out, "--corpus", prepared, "--minutes", "0") for _ in range(3)]
    assert [stage.returncode for stage in stages] == [3, 3, 3]
    assert curve(out).count(b"loss") == 3
    assert run(place, out, "--corpus", prepared).returncode == 0
    assert curve(out) == curve(finished)


def test_a_longer_run_goes_on_from_before_the_rate_fell(
    place: Path, finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(COMMITTED.read_bytes())
    longer = RECIPE.replace(f"steps = {STEPS}", "steps = 32")
    (tmp_path / "recipe.toml").write_text(longer)
    prepared = ("--corpus", str(finished / "prepared"))
    went_on, whole = tmp_path / "went-on", tmp_path / "whole"
    went_on.mkdir()
    for name in ("stable.pt", "curve.jsonl"):
        to = "checkpoint.pt" if name == "stable.pt" else name
        (went_on / to).write_bytes((finished / name).read_bytes())
    done = run(tmp_path, went_on, *prepared)
    assert done.returncode == 0, done.stderr
    assert "Going on after step 18." in done.stderr
    assert run(tmp_path, whole, *prepared).returncode == 0
    assert curve(went_on) == curve(whole)
    # What has begun to decay cannot be prolonged.
    (went_on / "checkpoint.pt").write_bytes((finished / "checkpoint.pt").read_bytes())
    refused = run(tmp_path, went_on, *prepared)
    assert "another recipe" in json.loads(refused.stderr.splitlines()[-1])["error"]


def test_the_result_is_small_files_that_hold_the_weights(finished: Path, tmp_path: Path) -> None:
    result = finished / "result"
    facts = json.loads((result / "run.json").read_text())
    assert [source["name"] for source in facts["sources"]] == ["generated_skills", "parts"]
    assert facts["tokens"] == STEPS * 4 * 48
    weights = load_checkpoint(finished / "checkpoint.pt").weights
    found = Weights.of_folder(result)
    assert {f"model.{name}" for name in weights} == set(found)
    for name, weight in weights.items():
        brought = torch.from_numpy(found[f"model.{name}"])
        assert torch.equal(brought, weight.bfloat16().float())
    write_shards(weights, tmp_path, limit=100_000)
    write_shards(weights, tmp_path, limit=60_000)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) > 2
    assert set(Weights.of_folder(tmp_path)) == set(found)


@pytest.mark.parametrize(
    ("change", "said"), [("recipe", "another recipe"), ("corpus", "another corpus")]
)
def test_a_folder_of_another_run_is_refused(
    place: Path, finished: Path, tmp_path: Path, change: str, said: str
) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(COMMITTED.read_bytes())
    rate = "0.5" if change == "recipe" else "0.02"
    text = RECIPE.replace("[training]", f"[training]\nmatrix_rate = {rate}")
    (tmp_path / "recipe.toml").write_text(text if change == "recipe" else RECIPE)
    (tmp_path / "corpus").symlink_to(finished / "prepared")
    if change == "corpus":
        (tmp_path / "corpus").unlink()
        (tmp_path / "corpus").mkdir()
        for path in (finished / "prepared").glob("*.xz"):
            (tmp_path / "corpus" / f"my-{path.name}").write_bytes(path.read_bytes())
    done = run(tmp_path, finished)
    assert done.returncode == 1
    assert said in json.loads(done.stderr.splitlines()[-1])["error"]
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_a_full_disk_leaves_the_last_checkpoint_and_the_run_goes_on(
    place: Path, finished: Path
) -> None:
    out = place / "full"
    prepared = str(finished / "prepared")
    assert run(place, out, "--corpus", prepared, "--minutes", "0").returncode == 3
    before = (out / "checkpoint.pt").read_bytes()
    refuse_on_a_full_disk(command(place, out, "--corpus", prepared), 1_000_000)
    assert (out / "checkpoint.pt").read_bytes() == before
    assert not [path for path in out.iterdir() if "partial" in path.name]
    assert run(place, out, "--corpus", prepared).returncode == 0
    assert curve(out) == curve(finished)


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_batch(
    place: Path, finished: Path
) -> None:
    out = place / "poisoned"
    prepared = str(finished / "prepared")
    assert run(place, out, "--corpus", prepared, "--minutes", "0").returncode == 3
    parts = torch.load(out / "checkpoint.pt", weights_only=True)
    parts["weights"]["norm.weight"][0] = float("nan")
    torch.save(parts, out / "checkpoint.pt")
    before = (out / "checkpoint.pt").read_bytes()
    stopped = run(place, out, "--corpus", prepared)
    assert stopped.returncode == 1
    error = json.loads(stopped.stderr.splitlines()[-1])["error"]
    assert "nan" in error
    assert "in step 2, which read" in error
    assert " rows " in error
    assert "The last checkpoint stands" in error
    assert (out / "checkpoint.pt").read_bytes() == before


def test_a_truncated_checkpoint_is_told_and_kept(place: Path, finished: Path) -> None:
    out = place / "truncated"
    out.mkdir()
    whole = (finished / "checkpoint.pt").read_bytes()
    (out / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    done = run(place, out, "--corpus", str(finished / "prepared"))
    assert done.returncode == 1
    assert json.loads(done.stderr.splitlines()[-1])["code"] == "broken_file"
    assert len((out / "checkpoint.pt").read_bytes()) == len(whole) // 2


def test_a_truncated_source_stops_before_anything_is_learned(place: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    path = write_corpus(corpus / "parts.jsonl.xz", numbered(300))
    path.write_bytes(path.read_bytes()[:-50])
    done = run(place, tmp_path / "out", "--corpus", str(corpus))
    assert done.returncode == 1
    assert "parts.jsonl.xz is truncated" in done.stderr
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_the_export_is_the_file_that_serves_with_equal_tokens(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bases" / "made"
    found = export_base(finished / "result", out)
    assert found["passed"]
    assert found["texts"] == found["token_ids_equal"] == 10_000
    assert sorted(path.name for path in out.iterdir()) == [
        "ATTRIBUTION.md",
        "CARD.md",
        "base.gguf",
        "curve.jsonl",
        "curve.svg",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["made"]
    card = (out / "CARD.md").read_text()
    assert "| parts | prose |" in card
    assert "BANKING77" in card
    assert "so left out: none" in card
    served = read_gguf(out / "base.gguf")
    assert served.text("general.license") == "apache-2.0"
    assert "share-alike" in served.text("general.description")


def test_an_export_never_replaces_what_is_no_base(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(Conflict, match="holds no base"):
        export_base(finished, tmp_path / "mine")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_an_export_with_another_tokenizer_is_refused(finished: Path, tmp_path: Path) -> None:
    data = json.loads(COMMITTED.read_text())
    data["model"]["merges"][-2:] = reversed(data["model"]["merges"][-2:])
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(Incompatible, match="not the tokenizer of this run"):
        export_base(finished, tmp_path / "out", tmp_path / "tokenizer.json")
    assert not (tmp_path / "out").exists()


# Hides what a bare machine with torch, NumPy and tokenizers lacks; torch itself probes for some.
_BARE = """
import sys
from importlib.abc import MetaPathFinder

class Bare(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused}:
            raise ModuleNotFoundError(name + " is not on a bare machine", name=name)

sys.meta_path.insert(0, Bare())
from training.pretrain import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_run_needs_torch_numpy_and_tokenizers_only(
    place: Path, finished: Path, tmp_path: Path
) -> None:
    refused = {
        *("transformers", "peft", "gguf", "safetensors", "llama_cpp", "sqlmodel", "pydantic"),
        *("scipy", "chromadb", "fastapi", "tomlkit", "sentence_transformers", "platformdirs"),
        *("psutil", "jsonschema", "textual", "matplotlib"),
    }
    done = subprocess.run(
        [
            *(sys.executable, "-c", _BARE.format(refused=refused)),
            *command(place, tmp_path / "out", "--minutes", "0")[3:],
            *("--corpus", str(finished / "prepared")),
        ],
        env={**environment(), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["step"] == 1
