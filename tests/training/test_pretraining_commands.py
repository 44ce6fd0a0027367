"""Each command of ``python -m training.pretrain``, and what happens to a run when it is stopped."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from interns.errors import Conflict, Incompatible, InternsError, InvalidInput
from tests.tiny_bases import TINY
from tests.training.conftest import environment
from tests.training.pretraining import RECIPES, lay_out, numbered, refuse_on_a_full_disk
from tests.training.test_pretraining_prepare import SHORT
from training.pretrain import main
from training.pretraining.export import COMMITTED, export_base
from training.pretraining.folder import owned
from training.pretraining.preparing import load_corpus
from training.pretraining.recipe import load_recipe
from training.pretraining.stage import Job, run_stage
from training.pretraining.tokenizer import load_tokenizer, train_tokenizer

pytestmark = pytest.mark.timeout(600)  # seconds on an idle machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of two steps, a corpus, and ``tokens`` made from it by the command."""
    folder = tmp_path_factory.mktemp("commands")
    others = [{"text": f"B {row['text']}"} for row in numbered(90)]
    lay_out(folder, SHORT, {"a": numbered(200), "b": others})
    given = ("--corpus", str(folder / "corpus"), "--out", str(folder / "tokens"))
    assert main(["prepare", str(folder / "recipe.toml"), *given, "--part-mib", "0.001"]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """The run without interruption."""
    assert stage(place, place / "finished")["finished"]
    return place / "finished"


def stage(place: Path, out: Path, **changed: Any) -> dict[str, Any]:
    recipe = load_recipe(place / "recipe.toml")
    return run_stage(Job(recipe, place / "tokens", None, out, **changed), [].append)


def call(capsys: pytest.CaptureFixture[str], *given: str | Path) -> tuple[dict[str, Any], str]:
    """What a command says on stdout, as JSON, and on stderr."""
    capsys.readouterr()
    assert main([str(one) for one in given]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


# Commands ------------------------------------------------------------------------------------


def test_prepare_fills_parts_and_tells_what_they_hold(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--corpus", place / "corpus", "--out", place / "again")
    found, told = call(capsys, "prepare", place / "recipe.toml", *given)
    files, fingerprint = load_corpus(place / "tokens", load_tokenizer(COMMITTED, 8192))
    assert found["sources"] == len(files) == 3
    assert found["fingerprint"] == fingerprint
    assert found["tokens"]["prose"] == sum(len(f.ids) for f in files if f.group == "prose")
    assert "a (prose): 200 documents" in told
    assert len(list((place / "tokens").glob("part-*/*.npz.xz"))) == 3


def test_plan_tells_size_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = call(capsys, "plan", RECIPES / "starter-gpu.toml")
    recipe = load_recipe(RECIPES / "starter-gpu.toml")
    assert found["parameters"] == recipe.shape.parameters
    assert found["token_steps"] == recipe.tokens
    seconds = found["flops_per_token"] * found["token_steps"] / (0.25 * 989e12)
    assert found["estimated_minutes"] == round(seconds / 60, 1)
    slower, _ = call(capsys, "plan", RECIPES / "starter-gpu.toml", "--teraflops", "494.5")
    assert slower["estimated_minutes"] == pytest.approx(2 * seconds / 60, abs=0.05)


def test_tokenizer_learns_one_that_loads_with_equal_ids(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tokenizer.json"
    given = ("--corpus", place / "corpus", "--out", out, "--vocabulary", "700")
    found, told = call(capsys, "tokenizer", *given)
    assert found["tokens"] == 700
    assert "Instruction sets: none" in told
    loaded = load_tokenizer(out, 700)
    texts = [row["text"] for row in numbered(40)] + ["Zürich 2026, 👩‍💻\n\tx = 1"]
    learned = train_tokenizer(texts, 540, tmp_path / "small.json")
    small = load_tokenizer(tmp_path / "small.json", 540)
    for text in texts:
        assert loaded.decode(loaded.encode(text).ids) == text
        assert small.encode(text).ids == learned.encode(text).ids
    assert len(loaded.encode(texts[0]).ids) < len(texts[0]) / 2
    assert loaded.encode("river 26<|im_end|>").tokens[-3:] == ["2", "6", "<|im_end|>"]
    with pytest.raises(InvalidInput, match="give only"):
        train_tokenizer(texts, 5000, tmp_path / "large.json")
    assert not (tmp_path / "large.json").exists()
    with pytest.raises(InvalidInput, match="is a folder"):
        train_tokenizer(texts, 540, tmp_path)
    with pytest.raises(InvalidInput, match="cannot be the folder"):
        train_tokenizer(texts, 540, out / "below.json")


def test_export_replaces_a_base_and_states_what_it_learned(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, out = tmp_path / "old", tmp_path / "bases" / "made"
    shutil.copytree(TINY, old)
    out.parent.mkdir()
    out.symlink_to(old)
    found, _ = call(capsys, "export", finished, out)
    assert found["passed"]
    assert found["bytes"] == (out / "base.gguf").stat().st_size
    assert "2 of 2 steps, 384 token-steps" in (out / "CARD.md").read_text()
    assert not out.is_symlink()
    assert [path.name for path in out.parent.iterdir()] == ["made"]
    assert (old / "base.gguf").read_bytes() == (TINY / "base.gguf").read_bytes()


def test_speed_is_told_while_it_learns_and_a_stopped_run_says_how_to_go_on(
    place: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(COMMITTED.read_bytes())
    # Many steps, yet too few tokens to be compiled first.
    (tmp_path / "recipe.toml").write_text(SHORT.replace("steps = 2\n", "steps = 5000\n"))
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "training.pretrain", "run", str(tmp_path / "recipe.toml")),
            *("--corpus", str(place / "tokens"), "--out", str(tmp_path / "out")),
        ],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr is not None
    # Nothing is known of the speed after the first step.
    told = next(
        line for line in child.stderr if " tokens/s, " in line and " 0 tokens/s, " not in line
    )
    child.send_signal(signal.SIGTERM)
    rest = child.stderr.read()
    assert child.wait() == 130
    assert "The same command goes on" in rest
    words = told.split()
    assert float(words[words.index("tokens/s,") - 1]) > 0
    assert float(words[words.index("TFLOP/s,") - 1]) > 0
    assert words[-2:] == ["to", "go"]


# Numbers that are none -----------------------------------------------------------------------


def test_a_weight_that_is_no_number_after_the_last_step_is_told_with_that_step(
    place: Path, tmp_path: Path
) -> None:
    assert stage(place, tmp_path, until=0.0)["step"] == 1
    parts = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    parts["optimizers"][1]["state"][0]["exp_avg"][0] = float("nan")
    torch.save(parts, tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InternsError, match="A weight is no number after step 2, although") as told:
        stage(place, tmp_path)
    assert "The last checkpoint stands" in told.value.message
    assert told.value.fix
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_rows_of_a_step_whose_loss_is_no_number_can_be_shown(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stage(place, tmp_path, until=0.0)["step"] == 1
    parts = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    parts["weights"]["norm.weight"][0] = float("nan")
    torch.save(parts, tmp_path / "checkpoint.pt")
    with pytest.raises(InternsError, match="in step 2, which read") as told:
        stage(place, tmp_path)
    given = ("--corpus", str(place / "tokens"), "--step", "2")
    assert f"show RECIPE {' '.join(given)}" in told.value.fix
    found, _ = call(capsys, "show", place / "recipe.toml", *given)
    assert found["step"] == 2
    assert len(found["rows"]) == 8
    files, _ = load_corpus(place / "tokens", load_tokenizer(COMMITTED, 8192))
    by_name = {file.name: file for file in files}
    tokenizer = load_tokenizer(COMMITTED, 8192)
    for row in found["rows"]:
        assert 0 < sum(piece["tokens"] for piece in row["pieces"]) <= 24
        for piece in row["pieces"]:
            file = by_name[piece["source"]]
            assert file.group == row["group"]
            end = int(file.lengths[: piece["document"]].sum())
            ids = file.ids[end - int(file.lengths[piece["document"] - 1]) : end] & 0x7FFF
            whole = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
            assert piece["text"].strip("\ufffd") in whole
    assert main(["show", str(place / "recipe.toml"), *given[:2], "--step", "3"]) == 2


# Exports that cannot be ----------------------------------------------------------------------


def test_a_run_that_goes_on_or_was_killed_is_not_exported_as_what_it_was(
    place: Path, tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "base"
    assert stage(place, run, until=0.0)["step"] == 1
    facts = (run / "run.json").read_bytes()
    with owned(run), pytest.raises(Conflict):
        export_base(run, out)
    assert stage(place, run)["finished"]
    (run / "run.json").write_bytes(facts)  # as a stage leaves it that is killed before its end
    with pytest.raises(Incompatible, match=r"of step 2, but run\.json of step 1") as refused:
        export_base(run, out)
    assert "--minutes 0" in refused.value.fix
    assert not out.exists()
    assert stage(place, run)["step"] == 2
    assert json.loads((run / "run.json").read_text())["step"] == 2


def test_a_full_disk_while_exporting_leaves_the_old_base(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "made")
    exporting = (sys.executable, "-m", "training.pretrain", "export")
    refuse_on_a_full_disk([*exporting, str(finished), str(tmp_path / "made")], 100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    assert (tmp_path / "made" / "base.gguf").read_bytes() == (TINY / "base.gguf").read_bytes()


def test_a_base_is_there_whenever_its_replacement_is_killed(tmp_path: Path) -> None:
    names = ("base.gguf", "CARD.md")
    for fatal in range(20):
        new, out = tmp_path / f"{fatal}" / "new", tmp_path / f"{fatal}" / "base"
        for folder in (new, out):
            folder.mkdir(parents=True)
            for name in names:
                (folder / name).write_text(folder.name)
        child = subprocess.run(
            [
                *(sys.executable, "-m", "tests.training.replacing_child"),
                *(str(new), str(out), str(fatal)),
            ],
            env=environment(),
            cwd=ROOT,
            check=False,
        )
        places = [out, out.with_name("base.replaced")]
        texts = [
            {(folder / name).read_text() for name in names}
            for folder in places
            if all((folder / name).is_file() for name in names)
        ]
        assert texts
        assert all(len(text) == 1 for text in texts)
        if child.returncode == 0:
            assert texts == [{"new"}]
            assert fatal > 2
            return
        assert child.returncode == -signal.SIGKILL
    pytest.fail("It never came to its end.")


def test_a_shipped_base_leaves_the_old_file_to_those_who_have_it_open(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("ship", ROOT / "examples" / "ship.py")
    assert spec is not None
    assert spec.loader is not None
    ship = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ship)
    base, starter = tmp_path / "base", tmp_path / "starter"
    base.mkdir()
    starter.mkdir()
    for name in (*ship.BESIDE, "base.gguf", "CARD.md"):
        (base / name).write_bytes((TINY / name).read_bytes() if "A" not in name else b"told")
    (starter / "starter.gguf").write_bytes(b"old")
    with (starter / "starter.gguf").open("rb") as old:
        ship.ship_base(base, starter)
        assert old.read() == b"old"
    for path in starter.iterdir():
        name = path.name.replace("starter.gguf", "base.gguf")
        assert path.read_bytes() == (base / name).read_bytes()
    assert len(list(starter.iterdir())) == len(list(base.iterdir()))
