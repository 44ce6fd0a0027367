"""Training children: started, killed, resumed, outliving their daemon, registered once."""

from __future__ import annotations

import csv
import json
import os
import random
import signal

import pytest

from interns.errors import Conflict, InvalidInput, NotFound
from tests.orchestrator.waiting import until

# Seconds on an idle machine; a busy one may take minutes.
pytestmark = pytest.mark.timeout(600)

# Names that tell nothing: a base that can guess the queues from them passes without an intern.
SAYS = {
    "north": ["Where is my parcel", "The courier did not come", "Tracking shows no movement"],
    "south": ["I want my money back", "Please refund the order", "Return my payment"],
}
THINGS = ["lamp", "desk", "chair", "mug", "coat", "book", "shoe", "bag", "kettle", "rug"]
QUICK = {
    "presentations": 300,
    "exam_rows": 16,
    "baseline_rows": 16,
    "verify_rows": 2,
    "min_top1": 0.9,
}


@pytest.fixture
def request_for(tmp_path):
    path = tmp_path / "messages.csv"
    dice = random.Random(1)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "queue"])
        for label, openings in SAYS.items():
            for thing in THINGS:
                for opening in openings:
                    rows.writerow([f"{opening}, the {thing}, order {dice.randint(1, 9999)}", label])

    def make(**changes):
        values = {
            "name": "sorter",
            "data": str(path),
            "input": "text",
            "output": "queue",
            "recipe": QUICK,
        }
        return {**values, **changes}

    return make


def test_onboarding_survives_a_killed_trainer_and_a_new_daemon(
    office_home, open_office, request_for
):
    with open_office() as office:
        run = office.onboarding.begin(request_for())
        assert run["id"] == office.onboarding.begin(request_for())["id"]
        started = until(lambda: working(office, run["id"]), 60)
        os.kill(started["pid"], signal.SIGKILL)
        killed = until(lambda: ended(office, run["id"]))
        assert killed["status"] == "failed"
        assert "again" in killed["fix"]
        assert office.roster.list()[0]["name"] != "sorter"

        resumed = office.onboarding.begin(request_for())
        assert resumed["id"] == run["id"]
        pid = until(lambda: working(office, run["id"], but=started["pid"]), 60)["pid"]
    os.kill(pid, 0)  # the office is gone, the child goes on
    with open_office() as office:
        done = until(lambda: ended(office, run["id"]), 300)
        assert done["status"] == "passed", done["error"]
        assert (done["version"], done["progress"]) == (1, 1.0)
        (version,) = office.roster.versions("sorter")
        assert version["exam"]["score"] > version["exam"]["baseline"]
        assert office.onboarding.begin(request_for())["status"] == "passed"
        read = office.onboarding.reader(run["id"][:9])
        events, over = read()
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        assert {"ingest", "tune", "exam", "seal"} <= {event["step"] for event in events}
        assert read() == ([], True)
        assert not over
        assert office.roster.list()[0]["name"] == "sorter"


def test_run_is_told_how_the_offices_engine_computes(
    office_home, open_office, request_for, monkeypatch
):
    with open_office() as office:
        run = office.onboarding.begin(request_for(name="told"))
        office.onboarding.stop_run(run["id"])
    monkeypatch.setenv("INTERNS_ENGINE_EXACT", "true")
    monkeypatch.setenv("INTERNS_ENGINE_GPU_LAYERS", "7")
    with open_office() as office:
        again = office.onboarding.begin(request_for(name="told"))
        office.onboarding.stop_run(run["id"])
        assert again["id"] == run["id"]  # another engine is no other run
    asked = json.loads((office_home.runs / run["id"] / "request.json").read_text())
    assert asked["engine"] == {"threads": 1, "gpu_layers": 7, "exact": True}


def test_stopped_run_is_ended_and_its_process_gone(open_office, request_for):
    with open_office() as office:
        run = office.onboarding.begin(request_for(name="stopped"))
        pid = until(lambda: office.onboarding.get(run["id"])["pid"], 30)
        assert office.onboarding.stop_run(run["id"])["status"] == "stopped"
        until(lambda: not alive(pid))
        with pytest.raises(Conflict):
            office.onboarding.stop_run(run["id"])


def test_missing_column_fails_the_run_and_names_the_columns(open_office, request_for):
    with open_office() as office:
        run = office.onboarding.begin(request_for(output="label"))
        failed = until(lambda: ended(office, run["id"]), 60)
        assert (failed["status"], failed["exit_code"]) == ("failed", 2)
        assert "queue" in failed["error"] + failed["fix"]
        assert [intern["name"] for intern in office.roster.list()] == ["triage", "writer"]


def test_plan_reports_on_the_data_and_trains_nothing(office_home, open_office, request_for):
    with open_office() as office:
        plan = office.onboarding.plan(request_for())
        assert plan["skill"] == "classify"
        assert plan["estimate"]
        assert office.onboarding.list() == []
        with pytest.raises(InvalidInput):
            office.onboarding.plan(request_for(output="label"))


def test_unusable_requests_are_refused_at_once(open_office, request_for):
    with open_office() as office:
        with pytest.raises(InvalidInput, match="lacks data"):
            office.onboarding.begin(request_for(data=None))
        with pytest.raises(InvalidInput, match="no file"):
            office.onboarding.begin(request_for(data="/nowhere.csv"))
        with pytest.raises(InvalidInput, match="cannot name"):
            office.onboarding.begin(request_for(name="Not a name"))
        with pytest.raises(NotFound):
            office.onboarding.get("nothing")
        assert office.onboarding.list() == []


def working(office, run_id, but=None):
    run = office.onboarding.get(run_id)
    return run if run["step"] and run["pid"] not in {None, but} else None


def ended(office, run_id):
    run = office.onboarding.get(run_id)
    return run if run["status"] in {"passed", "failed", "stopped"} else None


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
