"""The `interns` command in a process of its own, with a real daemon."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interns.manifest import seal_folder
from interns.paths import Paths
from orchestrator.client import OfficeClient
from tests.making import version_folder
from tests.tui.running import answer, eventually, interns, parked

ASKED = "Where is my parcel?"
STRANGE = "Compose an opera about the tides of a distant moon."


def test_version_is_told_when_nothing_runs(empty_home: Paths) -> None:
    done = interns(empty_home, "--version")
    assert done.stdout.startswith("interns ")
    assert not empty_home.home.exists()


def test_help_is_shown_with_status_2_when_there_is_no_terminal(empty_home: Paths) -> None:
    done = interns(empty_home)
    assert done.returncode == 2
    assert "onboard" in done.stdout
    assert interns(empty_home, "--help").returncode == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lst"], "interns list"),
        (["task", "submit"], "There is no text"),
        (["ask"], "There is no text"),
        (["ask", "@", "Where is it?"], "'@' names no intern"),
        (["ask", "@Triage", "Where is it?"], "'@Triage' names no intern"),
        (["show"], "NAME"),
        (["approvals", "reject", "1"], "--reason"),
        (["approvals", "edit", "1"], "--file"),
        (["onboard", "x", "--data", "none.csv", "--input", "a", "--output", "b"], "none.csv"),
        (["knowledge", "add", "no-such-folder"], "no-such-folder"),
        (["config", "get", "no.key"], "no.key"),
        (["config", "set", "daemon.port", "many"], "daemon.port"),
        (["config", "set", "base.name", "another"], "bases use another"),
        (["approvals", "review", "--plain"], "not a terminal"),
    ],
)
def test_usage_is_refused_without_a_daemon_when_it_is_wrong(
    empty_home: Paths, words: list[str], told: str
) -> None:
    done = interns(empty_home, *words)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert not done.stdout
    assert not empty_home.lock.exists()


def test_error_is_one_object_on_stderr_when_json_is_asked(empty_home: Paths) -> None:
    done = interns(empty_home, "ask", "--json")
    assert set(json.loads(done.stderr)) == {"error", "fix", "code"}
    assert not done.stdout


def test_nothing_is_started_when_status_is_asked(empty_home: Paths) -> None:
    found = answer(empty_home, "status", code=1)
    assert found["running"] is False
    assert found["home"] == str(empty_home.home)
    assert not empty_home.home.exists()
    assert interns(empty_home, "stop").returncode == 1


def test_setting_is_kept_when_it_is_set(empty_home: Paths) -> None:
    assert interns(empty_home, "config", "set", "charter.mission", "Be kind.").returncode == 0
    assert interns(empty_home, "config", "get", "charter.mission").stdout == "Be kind.\n"
    found = answer(empty_home, "config", "get", INTERNS_CHARTER_MISSION="Be quick.")
    mission = next(one for one in found if one["key"] == "charter.mission")
    assert (mission["value"], mission["source"]) == ("Be quick.", "environment")
    assert interns(empty_home, "config", "path").stdout.strip() == str(empty_home.config)


def test_home_is_moved_when_a_flag_says_so(empty_home: Paths, tmp_path: Path) -> None:
    done = interns(empty_home, "status", "--json", "--home", str(tmp_path / "other"))
    assert json.loads(done.stdout)["home"] == str(tmp_path / "other")


def test_roster_has_the_promised_fields_when_listed(office: OfficeClient, paths: Paths) -> None:
    found = answer(paths, "list")
    assert [one["name"] for one in found] == ["triage", "writer"]
    assert {"name", "skill", "version", "status", "base", "score"} <= set(found[0])
    versions = answer(paths, "versions", "triage")
    assert [one["version"] for one in versions] == [1, 2]
    assert "classify" in interns(paths, "show", "triage").stdout


def test_status_is_2_when_a_name_or_number_is_unknown(office: OfficeClient, paths: Paths) -> None:
    for words in (
        ("show", "nobody"),
        ("versions", "nobody"),
        ("approvals", "show", "999"),
        ("approvals", "approve", "999"),
        ("task", "show", "999"),
        ("runs", "show", "zzz"),
        ("import", "nothing-here"),
    ):
        done = interns(paths, *words)
        assert done.returncode == 2, (words, done.stderr)
        assert "Error:" in done.stderr


def test_nearest_name_is_offered_when_a_name_is_misspelt(
    office: OfficeClient, paths: Paths
) -> None:
    done = interns(paths, "ask", "@triag", ASKED)
    assert done.returncode == 2
    assert "'triage'" in done.stderr


def test_version_changes_when_promoted_and_rolled_back(office: OfficeClient, paths: Paths) -> None:
    assert answer(paths, "promote", "triage", "2")["version"] == 2
    assert answer(paths, "rollback", "triage")["version"] == 1


def test_answer_is_alone_on_stdout_when_asked(office: OfficeClient, paths: Paths) -> None:
    done = interns(paths, "ask", "@triage", ASKED)
    assert done.stdout.strip() in {"delivery", "refund"}
    assert "triage v" in done.stderr
    record = answer(paths, "ask", "@triage", ASKED)
    assert record["text"] == done.stdout.strip()
    assert 0 < record["confidence"] <= 1


def test_name_may_stand_in_quotes_with_the_text(office: OfficeClient, paths: Paths) -> None:
    apart, together = (
        answer(paths, "ask", *words) for words in (("@triage", ASKED), (f"@triage {ASKED}",))
    )
    assert together["intern"] == "triage"
    assert together["text"] == apart["text"]


def test_nobody_answers_with_status_0_when_nobody_fits(office: OfficeClient, paths: Paths) -> None:
    record = answer(paths, "ask", STRANGE)
    assert record["intern"] is None
    assert record["abstained"] is True


def test_text_is_read_from_stdin_and_file_when_asked(
    office: OfficeClient, paths: Paths, tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text("It was due on Monday.")
    done = interns(paths, "ask", "@triage", "-", "-f", str(tmp_path / "more.txt"), stdin=ASKED)
    assert done.returncode == 0
    assert done.stdout.strip() in {"delivery", "refund"}


def test_events_are_lines_of_json_when_asked(office: OfficeClient, paths: Paths) -> None:
    done = interns(paths, "ask", "@triage", ASKED, "--events")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["event"] for one in events] == ["route", "token", "done"]
    assert all(one["schema_version"] == 1 for one in events)


def test_candidates_are_scored_when_routed(office: OfficeClient, paths: Paths) -> None:
    found = answer(paths, "route", ASKED)
    assert found["intern"] == "triage"
    assert set(found["candidates"][0]) == {"intern", "score"}


def test_task_ends_with_status_5_when_a_human_is_needed(office: OfficeClient, paths: Paths) -> None:
    parked_task = answer(
        paths, "task", "submit", ASKED, "--effect", "file:five.txt", "--wait", code=5
    )
    number = parked_task["approval"]
    assert parked_task["status"] == "needs_approval"
    assert parked_task["next"] == f"interns approvals show {number}"
    listed = answer(paths, "approvals", "list")
    promised = {"id", "task", "intern", "kind", "effect", "draft", "why", "digest", "created"}
    assert promised <= set(listed[0])
    decided = answer(paths, "approvals", "approve", str(number))
    assert decided["decision"] == "approved"
    assert {"id", "decision", "by", "at"} <= set(decided)
    task = answer(paths, "task", "wait", str(parked_task["id"]))
    assert task["status"] == "done"
    assert {"id", "status", "intern", "draft", "approval", "effects", "citations"} <= set(task)
    eventually((paths.outbox / "five.txt").exists, "the effect")


def test_second_decision_is_refused_with_status_1_when_decided(
    office: OfficeClient, paths: Paths
) -> None:
    number = str(parked(office, ASKED, intern="triage")["id"])
    assert interns(paths, "approvals", "reject", number, "-m", "no").returncode == 0
    done = interns(paths, "approvals", "approve", number)
    assert done.returncode == 1
    assert "by" in done.stderr


def test_decision_is_refused_when_the_digest_is_stale(office: OfficeClient, paths: Paths) -> None:
    number = str(parked(office, ASKED, intern="triage")["id"])
    done = interns(paths, "approvals", "approve", number, "--digest", "0" * 64)
    assert done.returncode == 1
    assert answer(paths, "approvals", "show", number)["status"] == "pending"


def test_edit_becomes_a_correction_when_approved(office: OfficeClient, paths: Paths) -> None:
    approval = parked(office, ASKED, intern="triage", effect="file:edited.txt")
    other = "refund" if approval["draft"] == "delivery" else "delivery"
    done = interns(paths, "approvals", "edit", str(approval["id"]), "--file", "-", stdin=other)
    assert done.returncode == 0, done.stderr
    kept = answer(paths, "corrections", "triage")
    assert kept[0]["corrected"].strip() == other
    assert other in interns(paths, "show", "triage", "--corrections").stdout


def test_question_is_answered_when_nobody_fits(office: OfficeClient, paths: Paths) -> None:
    waiting = answer(paths, "task", "submit", STRANGE, "--wait", code=5)
    shown = interns(paths, "approvals", "show", str(waiting["approval"]))
    assert "respond" in shown.stdout
    assert STRANGE in shown.stdout
    answer(paths, "approvals", "respond", str(waiting["approval"]), "--text", "We do not sing.")
    assert answer(paths, "task", "wait", str(waiting["id"]))["status"] == "answered"


def test_file_outside_the_outbox_is_refused_when_submitted(
    office: OfficeClient, paths: Paths
) -> None:
    done = interns(paths, "task", "submit", ASKED, "--effect", "file:../out.txt")
    assert done.returncode == 2


def test_passages_have_their_place_when_searched(
    office: OfficeClient, paths: Paths, tmp_path: Path
) -> None:
    text = "The lighthouse keeper counts every ship. Gulls eat at noon."
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "sea.md").write_text(text)
    (tmp_path / "notes" / "blob.bin").write_bytes(bytes(range(256)))
    report = answer(paths, "knowledge", "add", str(tmp_path / "notes"), "--name", "sea")
    assert report["name"] == "sea"
    hit = answer(paths, "knowledge", "search", "who counts ships", "--name", "sea")[0]
    assert {"document", "start", "end", "quote", "score"} <= set(hit)
    assert text[hit["start"] : hit["end"]] == hit["quote"]
    assert answer(paths, "knowledge", "list")


def test_lists_are_arrays_when_json_is_asked(office: OfficeClient, paths: Paths) -> None:
    for words in (("runs", "list"), ("bases", "list"), ("task", "list"), ("corrections",)):
        assert isinstance(answer(paths, *words), list)
    assert answer(paths, "status")["running"] is True


def test_lines_are_answered_when_chat_is_piped(office: OfficeClient, paths: Paths) -> None:
    done = interns(paths, "chat", "--plain", stdin=f"@triage {ASKED}\n\n/quit\n")
    assert done.returncode == 0
    assert done.stdout.strip() in {"delivery", "refund"}


def test_checks_have_a_fix_when_the_doctor_looks(office: OfficeClient, paths: Paths) -> None:
    done = interns(paths, "doctor", "--json")
    findings = json.loads(done.stdout)
    assert {one["check"] for one in findings} >= {"python", "llama.cpp", "base", "terminal"}
    failed = [one for one in findings if one["status"] == "fail"]
    assert done.returncode == (4 if failed else 0)
    assert all(one["fix"] for one in failed)


def test_verification_is_told_when_an_intern_is_shown(empty_home: Paths, tmp_path: Path) -> None:
    folder = version_folder(tmp_path / "triage")
    found = {"passed": True, "backend": "CUDA : ARCHS = 900 | CPU : AVX2 = 1 |", "gpu_layers": 99}
    (folder / "verification.json").write_text(json.dumps(found))
    seal_folder(folder)
    lax = version_folder(tmp_path / "lax", "lax", seed=1)
    loosened = {"passed": True, "bounds": {"stop_rate": 0.95}, "looser": {"stop_rate": 0.99}}
    (lax / "verification.json").write_text(json.dumps(loosened))
    seal_folder(lax)
    try:
        assert interns(empty_home, "import", str(folder)).returncode == 0
        shown = interns(empty_home, "show", "triage").stdout
        assert "CUDA, 99 layers on the GPU" in shown
        assert "looser gate" not in shown
        assert answer(empty_home, "show", "triage")["verification"] == {**found, "looser": {}}
        assert interns(empty_home, "import", str(lax)).returncode == 0
        looser = "passed a looser gate: answers that end 0.95 instead of 0.99"
        assert looser in interns(empty_home, "show", "lax").stdout
        (stop_rate,) = answer(empty_home, "show", "lax")["verification"]["looser"].items()
        assert stop_rate == ("stop_rate", 0.99)
    finally:
        interns(empty_home, "stop")


def test_daemon_starts_and_ends_when_commands_need_it(empty_home: Paths) -> None:
    done = interns(empty_home, "list", "--json")
    assert json.loads(done.stdout) == []
    try:
        assert answer(empty_home, "status")["running"] is True
        assert interns(empty_home, "serve").returncode == 1
    finally:
        assert interns(empty_home, "stop").returncode == 0
    assert interns(empty_home, "status").returncode == 1
