"""The whole path: a CSV becomes a sealed version, or a clear reason."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interns.errors import Conflict
from interns.gate import engine_words
from interns.gguf.adapter_file import read_adapter_metadata
from interns.manifest import read_version_folder
from interns.runtime.llama_cpp.library import backend_description
from interns.skill import Skill
from tests.training.conftest import run_training, write_messages
from training.agreement import computed_with
from training.artifacts import STEPS, RunFolder
from training.control import control_of
from training.dataset import load_splits
from training.steps import Workshop

# Seconds on an idle machine; a busy one may take minutes.
pytestmark = pytest.mark.timeout(600)


def _events(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _outcome(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "outcome.json").read_text("utf-8")))


def test_version_folder_is_complete_and_beats_the_base(finished_run: Path) -> None:
    version = read_version_folder(finished_run / "version")
    assert version.profile.skill is Skill.CLASSIFY
    assert version.profile.labels == ("delivery", "praise", "refund")
    assert version.exam["score"] > version.exam["baseline"]
    assert version.exam["score"] >= 0.8
    assert version.dataset["attribution"] == "made for this test"
    assert len(version.exemplars) <= 64
    names = {file.name for file in version.folder.iterdir()}
    assert names >= {"card.md", "curve.jsonl", "verification.json", "recipe.json", "peft"}


def test_llama_cpp_agrees_with_torch(finished_run: Path) -> None:
    found = _outcome(finished_run)["verification"]
    assert found["token_mismatches"] == 0
    assert found["top1_agreement"] >= 0.99
    assert found["mean_kl"] <= 5e-3
    assert found["stop_rate"] >= 0.99
    assert found["stop_prompts"] == _outcome(finished_run)["exam"]["examples"]
    assert found["top1_decided"] >= 0.99
    assert 0.9 < found["top1_everywhere"] <= 1
    assert found["bounds"] == {"top1_decided": 0.99, "mean_kl": 5e-3, "stop_rate": 0.99}


def test_adapter_file_tells_base_recipe_exam_and_agreement(finished_run: Path) -> None:
    version = read_version_folder(finished_run / "version")
    told = read_adapter_metadata(version.adapter.path)
    assert told["base.sha256"] == version.adapter.base_sha256
    assert told["tokenizer.sha256"] == version.tokenizer_sha256
    assert told["template.sha256"] == version.template_sha256
    assert told["recipe.sha256"] == version.recipe["sha256"]
    assert float(told["exam.score"]) == version.exam["score"]
    assert float(told["exam.baseline"]) == version.exam["baseline"]
    verification = json.loads((version.folder / "verification.json").read_text("utf-8"))
    for name in ("top1_everywhere", "top1_decided", "mean_kl", "stop_rate"):
        assert float(told[f"verification.{name}"]) == verification[name]
    assert told["verification.backend"] == verification["backend"] == backend_description()
    for name in ("gpu_layers", "threads", "exact"):
        assert told[f"verification.{name}"] == str(verification[name])
    card = (version.folder / "card.md").read_text("utf-8")
    assert f"llama.cpp ({engine_words(verification)}) agrees with torch" in card


def test_calibration_is_told_before_and_after(finished_run: Path) -> None:
    version = read_version_folder(finished_run / "version")
    exam = version.exam
    assert 0 <= exam["ece"] <= 1
    assert 0 <= exam["ece_before"] <= 1
    assert exam["details"]["temperature"] == version.profile.temperature
    assert version.profile.fitted_with == "llama.cpp"
    card = (version.folder / "card.md").read_text("utf-8")
    assert f"{exam['ece']:.3f}; {exam['ece_before']:.3f} without the temperature" in card


def test_exam_holds_a_control_without_a_language_model(finished_run: Path) -> None:
    version = read_version_folder(finished_run / "version")
    exam = version.exam
    control = exam["details"]["control"]
    splits = load_splits(finished_run / "work" / "data")
    expected = control_of(version.profile, splits, splits.validation)
    assert expected is not None
    assert control == expected.to_dict()
    card = (version.folder / "card.md").read_text("utf-8")
    assert f"a linear classifier over words: {control['score']:.3f}" in card
    worse = exam["score"] < control["interval"][0]
    assert ("The intern is worse" in card) == worse


def test_every_step_is_told_in_order(finished_run: Path) -> None:
    events = _events(finished_run)
    done = [event["step"] for event in events if event["kind"] == "done"]
    assert [step for step in done if step in STEPS] == list(STEPS)
    progress = [e["data"] for e in events if e["step"] == "tune" and e["kind"] == "progress"]
    assert progress[-1]["progress"] == 1.0
    assert progress[-1]["loss"] < progress[0]["loss"] or len(progress) == 1
    assert set(progress[0]) >= {"step_n", "steps", "loss", "eval_loss", "tokens_per_s", "eta_s"}


def test_finished_run_is_kept_when_started_again(finished_run: Path) -> None:
    before = (finished_run / "version" / "SHA256SUMS").stat().st_mtime_ns
    again = run_training(finished_run)
    assert again.returncode == 0
    assert json.loads(again.stdout)["status"] == "passed"
    assert (finished_run / "version" / "SHA256SUMS").stat().st_mtime_ns == before


def test_failed_exam_leaves_no_version(make_run: Callable[..., Path]) -> None:
    quick = {"epochs": 1, "rank": 1, "verify_rows": 2, "pass_mark": 1.0, "lr": 1e-6}
    folder = make_run(base="tiny", recipe={**quick, "min_stop_rate": 0})
    ended = run_training(folder)
    outcome = _outcome(folder)
    assert ended.returncode == outcome["exit_code"] == 4
    assert outcome["code"] == "gate_not_met"
    assert outcome["exam"]["passed"] is False
    assert not (folder / "version").exists()
    assert not (folder / "version.partial").exists()
    assert _events(folder)[-1]["kind"] == "failed"


def test_answers_that_do_not_end_leave_no_version(make_run: Callable[..., Path]) -> None:
    quick = {"epochs": 1, "rank": 1, "verify_rows": 2, "lr": 1e-6}
    folder = make_run(base="tiny", recipe={**quick, "answer_tokens": 1})
    ended = run_training(folder)
    outcome = _outcome(folder)
    assert ended.returncode == outcome["exit_code"] == 4
    assert outcome["code"] == "gate_not_met"
    assert outcome["verification"]["stop_rate"] < 0.99
    assert "agrees with torch" in outcome["error"]
    assert "end by themselves, too few" in outcome["error"]
    assert "Train longer" in outcome["fix"]
    assert "score" in outcome["exam"]
    assert not (folder / "version").exists()


def test_diverging_loss_stops_with_advice(make_run: Callable[..., Path]) -> None:
    folder = make_run(base="tiny", recipe={"lr": 1e3, "alpha": 1e4, "clip": 1e6, "rank": 4})
    ended = run_training(folder)
    outcome = _outcome(folder)
    assert ended.returncode == 1, ended.stderr
    assert "the loss is" in outcome["error"]
    assert "learning rate" in outcome["fix"]
    assert not (folder / "version").exists()


def test_plan_tells_what_would_happen_and_trains_nothing(make_run: Callable[..., Path]) -> None:
    folder = make_run(skill=None)
    plan = json.loads(run_training(folder, "plan").stdout)
    assert plan["skill"] == "classify"
    assert plan["report"]["labels"] == {"delivery": 30, "praise": 30, "refund": 30}
    assert plan["estimate"]["total_s"] > 0
    assert {file.name for file in folder.iterdir()} == {"messages.csv", "request.json"}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"input": "body"}, "no column 'body'"),
        ({"data": "/nowhere/a.csv"}, "There is no file"),
        ({"name": "Not A Name!"}, "is not 1 to 40"),
        ({"recipe": {"rnk": 3}}, "no setting 'rnk'"),
        ({"skill": "juggle"}, "none of classify"),
        ({"engine": {"threads": -1}}, "engine.threads"),
        ({"engine": {"gpus": 1}}, "engine.gpus"),
    ],
)
def test_unusable_requests_end_with_exit_code_2(
    make_run: Callable[..., Path], change: dict[str, Any], error: str
) -> None:
    folder = make_run(**change)
    ended = run_training(folder)
    assert ended.returncode == 2
    assert error in json.loads(ended.stderr.splitlines()[-1])["error"]
    assert _outcome(folder)["exit_code"] == 2


def test_verification_runs_on_an_engine_that_computes_as_the_office_does(
    make_run: Callable[..., Path],
) -> None:
    folder = make_run(engine={"threads": 3, "gpu_layers": 0, "exact": True})
    with Workshop(RunFolder(folder)).engine() as engine:
        found = computed_with(engine)
    assert (found["threads"], found["gpu_layers"], found["exact"]) == (3, 0, True)


def test_base_is_checked_with_the_settings_in_its_request(tmp_path: Path, home: Path) -> None:
    asked = {"name": "starter", "home": str(home), "engine": {"threads": -1}}
    (tmp_path / "request.json").write_text(json.dumps(asked))
    ended = run_training(tmp_path, "verify-base")
    assert ended.returncode == 2
    assert "engine.threads" in json.loads(ended.stderr.splitlines()[-1])["error"]


def test_failed_run_is_read_again_when_the_data_are_mended(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    (folder / "messages.csv").write_text("")
    assert run_training(folder).returncode == 2
    write_messages(folder / "messages.csv")
    assert run_training(folder, "plan").returncode == 0


def test_second_process_on_a_run_is_refused(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    with (folder / "lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match="Process 4711"), RunFolder(folder).owned():
            pass


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"recipe": {"targets": ["q_proj", "lm_head"]}}, "'lm_head' cannot be trained"),
        ({"recipe": {"use_dora": True}}, "could be trained but not served"),
        ({"base": "nowhere"}, "No base is called"),
    ],
)
def test_what_cannot_be_served_is_refused_before_training(
    make_run: Callable[..., Path], changes: dict[str, Any], why: str
) -> None:
    folder = make_run(**changes)
    assert run_training(folder).returncode == 2
    outcome = _outcome(folder)
    assert why in outcome["error"]
    assert outcome["fix"]
    assert not any(event["step"] == "tune" for event in _events(folder))
