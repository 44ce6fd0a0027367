"""A decision is never lost and an effect never doubled, whatever dies when."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.approval import Verdict
from tests.orchestrator.crash_child import Logbook
from tests.orchestrator.waiting import settled, until

ROOT = Path(__file__).resolve().parents[2]
KILLED = -9


def child(home, mode, *ids):
    command = [sys.executable, "-m", "tests.orchestrator.crash_child", str(home), mode]
    return subprocess.Popen([*command, *map(str, ids)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def parked(open_office):
    """Submit a task that waits for approval, close the office, return (task, approval)."""

    def park(effect):
        with open_office() as office:
            task = office.submit("Where is my parcel?", intern="triage", effect=effect)
            waiting = settled(office, task["id"])
            assert waiting["status"] == "waiting"
            return waiting["id"], waiting["approval_id"]

    return park


def test_effect_happens_once_when_killed_between_decision_and_effect(
    office_home, open_office, parked
):
    task_id, approval_id = parked("file:reply.txt")
    assert child(office_home.home, "decide-and-die", approval_id).wait(30) == KILLED
    assert not office_home.outbox.exists()
    with open_office() as office:
        task = settled(office, task_id, but="waiting")
        assert office.approval(approval_id)["decision"]["by"] == "child"
    assert task["status"] == "done"
    assert (office_home.outbox / "reply.txt").read_text() == task["draft"]
    assert [effect["attempt"] for effect in task["effects"]] == [1]


@pytest.mark.parametrize("moment", ["die-before-writing", "die-after-writing"])
def test_file_is_written_once_when_killed_around_the_effect(
    office_home, open_office, parked, moment
):
    task_id, approval_id = parked("file:reply.txt")
    assert child(office_home.home, moment, approval_id).wait(30) == KILLED
    with open_office() as office:
        task = settled(office, task_id, but="waiting")
        assert office.approvals("pending") == []
    assert task["status"] == "done"
    assert [path.name for path in office_home.outbox.iterdir()] == ["reply.txt"]
    assert (office_home.outbox / "reply.txt").read_text() == task["draft"]


def test_human_is_asked_when_killed_between_post_and_commit(
    office_home, open_office, parked, receiver
):
    task_id, approval_id = parked(f"webhook:{receiver.url}/hook/a")
    assert child(office_home.home, "die-after-posting", approval_id).wait(30) == KILLED
    assert len(receiver.received) == 1
    with open_office() as office:
        (asked,) = until(lambda: office.approvals("pending"))
        assert asked["kind"] == "outcome"
        assert office.task(task_id)["status"] == "waiting"
        office.decide(asked["id"], Verdict("respond", by="me", text="It arrived."))
        task = settled(office, task_id, but="waiting")
    assert task["status"] == "done"
    assert task["effects"][0]["result"]["answer"] == "It arrived."
    assert len(receiver.received) == 1


def test_post_is_repeated_with_its_key_when_a_human_says_so(
    office_home, open_office, parked, receiver
):
    task_id, approval_id = parked(f"webhook:{receiver.url}/hook/a")
    assert child(office_home.home, "die-after-posting", approval_id).wait(30) == KILLED
    with open_office() as office:
        (asked,) = until(lambda: office.approvals("pending"))
        office.decide(asked["id"], Verdict("approve", by="me"))
        task = settled(office, task_id, but="waiting")
    assert task["status"] == "done"
    assert [effect["attempt"] for effect in task["effects"]] == [2]
    assert len({post["key"] for post in receiver.received}) == 1
    assert len(receiver.received) == 2


def test_one_of_four_processes_wins_each_decision_and_each_effect_happens_once(
    office_home, open_office
):
    logbook = Logbook(office_home.home / "effects.log")
    with open_office(effects={"file": logbook}) as office:
        tasks = [
            office.submit(f"Parcel {n}?", intern="triage", effect=f"file:{n}.txt")["id"]
            for n in range(5)
        ]
        ids = [settled(office, task)["approval_id"] for task in tasks]
    children = [child(office_home.home, "race", *ids) for _ in range(4)]
    until(lambda: len(list(office_home.home.glob("ready-*"))) == 4, 60)
    (office_home.home / "go").touch()
    said = [json.loads(process.communicate(timeout=60)[0]) for process in children]
    assert sorted(number for one in said for number in one["won"]) == sorted(ids)
    lost = [message for one in said for message in one["lost"]]
    assert len(lost) == 3 * len(ids)
    assert all("was approved by" in message for message in lost)
    lines = logbook.path.read_text().splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(f"task-{t}/file" for t in tasks)
    with open_office(effects={"file": logbook}) as office:
        assert {office.task(task)["status"] for task in tasks} == {"done"}
        assert office.approvals("pending") == []
