"""An intern follows to another base: trained anew from what it once learned from."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from interns.bases import starter, torch_folder
from interns.errors import Conflict, GateNotMet, Incompatible, NotFound
from tests.orchestrator.test_onboarding import QUICK, ended, request_for
from tests.orchestrator.waiting import until

__all__ = ["request_for"]  # a fixture
pytestmark = pytest.mark.timeout(600)


def second_base(office, paths):
    """The starter's own weights stored in 16 bits: as good, but another file."""
    folder = torch_folder(starter(), paths)
    (*_, done) = office.bases.pull(
        str(folder), name="second", file_type="F16", environment={}, cancel=threading.Event()
    )
    assert done["event"] == "done", done
    return done["base"]


def test_intern_is_trained_anew_on_another_base(office_home, open_office, request_for):
    with open_office() as office:
        run = office.onboarding.begin(request_for(recipe={**QUICK, "presentations": 120}))
        assert until(lambda: ended(office, run["id"]), 300)["status"] == "passed"
        base = second_base(office, office_home)

        taught = office.onboarding.teach("sorter", "second")
        assert taught["id"] != run["id"]
        assert taught["request"]["recipe"] == run["request"]["recipe"]
        with pytest.raises(Conflict, match="training"):
            until(lambda: office.onboarding.get(taught["id"])["status"] == "running", 60)
            office.bases.use("second")
        done = until(lambda: ended(office, taught["id"]), 300)
        assert (done["status"], done["version"]) == ("passed", 2), done["error"]

        first, second = office.roster.versions("sorter")
        assert (first["base_name"], second["base_name"]) == ("starter", "second")
        assert second["base_sha256"] == base["sha256"]
        assert first["dataset"]["fingerprint"] == second["dataset"]["fingerprint"]
        assert office.desk.worker("sorter").version.number == 1  # still in office, still able

        office.bases.use("second")
        assert not office.roster.get("sorter")["base_in_use"]
        with pytest.raises(Incompatible) as waits:
            office.desk.worker("sorter")
        assert "interns promote sorter 2" in waits.value.fix
        office.roster.promote("sorter", 2)
        assert office.roster.get("sorter")["base_in_use"]
        assert office.desk.worker("sorter").version.number == 2
        with pytest.raises(Conflict, match="already"):
            office.onboarding.teach("sorter", "second")

        data = Path(run["request"]["data"])
        kept = data.read_text()
        data.write_text(kept + "one more,south\n")
        with pytest.raises(Conflict, match="changed since") as caught:
            office.onboarding.teach("sorter", "starter")
        assert str(data) in caught.value.message
        data.unlink()
        with pytest.raises(NotFound, match="is gone") as caught:
            office.onboarding.teach("sorter", "starter")
        assert "onboard sorter" in caught.value.fix
        assert not any(row["status"] == "queued" for row in office.onboarding.list())


def test_teaching_is_refused_without_data_or_a_verified_base(open_office, office_home, request_for):
    with open_office() as office:
        base = second_base(office, office_home)
        with pytest.raises(NotFound, match="not trained in this office"):
            office.onboarding.teach("triage", "second")
        with pytest.raises(NotFound, match="No base is called"):
            office.onboarding.teach("triage", "third")
        with pytest.raises(Conflict, match="on the base starter already"):
            office.onboarding.teach("triage", "starter")
        path = Path(base["path"]).with_name("verification.json")
        path.write_text(json.dumps({"passed": False}))
        with pytest.raises(GateNotMet, match="not verified"):
            office.onboarding.begin(request_for(base="second"))
        assert office.onboarding.list() == []
