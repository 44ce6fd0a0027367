"""Tasks through the whole graph, with the real engine."""

from __future__ import annotations

import pytest

from interns.database import write_session
from interns.errors import Conflict, InvalidInput, NotFound
from interns.settings import set_value
from orchestrator.approval import Verdict
from orchestrator.tables import ApprovalRow
from tests.orchestrator.waiting import settled, until

TEXT = "Where is my parcel?"


def test_rejected_task_leaves_no_effect_and_keeps_the_reason(office_home, open_office):
    with open_office() as office:
        task = settled(office, office.submit(TEXT, intern="triage", effect="outbox")["id"])
        office.decide(task["approval_id"], Verdict("reject", by="me", reason="Wrong queue."))
        task = settled(office, task["id"], but="waiting")
        (kept,) = office.roster.corrections("triage")
    assert (task["status"], task["effects"]) == ("rejected", [])
    assert kept["reason"] == "Wrong queue."
    assert not office_home.outbox.exists()


def test_edited_text_is_what_leaves_the_office(office_home, open_office):
    with open_office() as office:
        task = settled(office, office.submit(TEXT, intern="triage", effect="file:a.txt")["id"])
        other = ({"delivery", "refund"} - {task["draft"]}).pop()
        with pytest.raises(InvalidInput, match="none of the labels"):
            office.decide(task["approval_id"], Verdict("edit", by="me", text="nonsense"))
        office.decide(task["approval_id"], Verdict("edit", by="me", text=other))
        task = settled(office, task["id"], but="waiting")
        assert office.roster.get("triage")["corrections"] == 1
    assert (task["status"], task["result"]) == ("done", other)
    assert (office_home.outbox / "a.txt").read_text() == other


def test_steps_and_charter_are_on_the_record(office_home, open_office):
    set_value(office_home, "charter.mission", "Help small shops.")
    with open_office() as office:
        task = office.submit(TEXT, intern="triage")
        steps = until(lambda: len(found := office.task(task["id"])["steps"]) == 5 and found)
        task = office.task(task["id"])
        version = office.desk.charter.version
    nodes = [step["node"] for step in steps]
    assert nodes == ["route", "retrieve", "draft", "check", "propose"]
    assert task["charter_version"] == version


def test_refusal_of_the_receiver_fails_the_task_with_a_fix(open_office, receiver):
    receiver.status = 404
    with open_office() as office:
        effect = f"webhook:{receiver.url}/hook"
        task = settled(office, office.submit(TEXT, intern="triage", effect=effect)["id"])
        office.decide(task["approval_id"], Verdict("approve", by="me"))
        task = settled(office, task["id"], but="waiting")
    assert task["status"] == "failed"
    assert "404" in task["error"]
    assert task["fix"]


def test_unanswered_post_asks_a_human_and_can_be_given_up(open_office, receiver):
    receiver.status = 503
    with open_office() as office:
        effect = f"webhook:{receiver.url}/hook"
        task = settled(office, office.submit(TEXT, intern="triage", effect=effect)["id"])
        office.decide(task["approval_id"], Verdict("approve", by="me"))

        def asked_again():
            found = office.approvals("pending")
            return found and found[0]["kind"] == "outcome"

        until(asked_again)
        (asked,) = office.approvals("pending")
        office.decide(asked["id"], Verdict("reject", by="me", reason="Receiver is gone."))
        task = settled(office, task["id"], but="waiting")
    assert task["status"] == "rejected"
    assert [effect["status"] for effect in task["effects"]] == ["unknown"]
    assert len(receiver.received) == 1


def test_promoted_intern_acts_without_asking_when_the_office_allows_it(office_home, open_office):
    set_value(office_home, "autonomy.default", "ask never")
    with open_office() as office:
        on_probation = settled(office, office.submit(TEXT, intern="triage")["id"])
        office.roster.promote("triage", 1)
        trusted = settled(office, office.submit(TEXT, intern="triage", effect="file:t.txt")["id"])
    assert on_probation["status"] == "waiting"
    assert (trusted["status"], trusted["approval_id"]) == ("done", None)
    assert (office_home.outbox / "t.txt").exists()


def test_question_is_asked_when_nobody_fits_and_answered_by_a_human(open_office):
    with open_office() as office:
        for name in ("triage", "writer"):
            office.roster.retire(name)
        first = settled(office, office.submit("Compose a haiku.")["id"])
        assert first["route"]["intern"] is None
        asked = office.approval(first["approval_id"])
        assert asked["kind"] == "question"
        office.decide(asked["id"], Verdict("respond", by="me", text="Not our work."))
        first = settled(office, first["id"], but="waiting")
        (kept,) = office.roster.corrections(None)
        second = settled(office, office.submit("Where is my parcel?")["id"])
        office.roster.promote("triage", 1)
        given = Verdict("respond", by="me", intern="triage")
        office.decide(second["approval_id"], given)
        (drafted,) = until(lambda: office.approvals("pending"))
        second = office.task(second["id"])
    assert (first["status"], first["result"]) == ("answered", "Not our work.")
    assert (kept["input"], kept["corrected"]) == ("Compose a haiku.", "Not our work.")
    assert second["intern"] == "triage"
    assert (drafted["kind"], drafted["intern"]) == ("action", "triage")


def test_task_goes_on_when_the_checkpoints_are_lost(office_home, open_office):
    with open_office() as office:
        task = settled(office, office.submit(TEXT, intern="triage", effect="file:a.txt")["id"])
    for file in office_home.home.glob("checkpoints.db*"):
        file.unlink()
    with open_office() as office:
        office.decide(task["approval_id"], Verdict("approve", by="me"))
        task = settled(office, task["id"], but="waiting")
    assert task["status"] == "done"
    assert [effect["attempt"] for effect in task["effects"]] == [1]


def test_question_is_written_again_when_its_row_is_lost(open_office):
    with open_office() as office:
        task = settled(office, office.submit(TEXT, intern="triage", effect="file:a.txt")["id"])
        (before,) = office.approvals("pending")
    with open_office() as office:
        with write_session(office.engine) as db:
            db.delete(db.get_one(ApprovalRow, before["id"]))
        (after,) = until(lambda: office.approvals("pending"))
        assert after["digest"] == before["digest"]
        office.decide(after["id"], Verdict("approve", by="me", digest=before["digest"]))
        assert settled(office, task["id"], but="waiting")["status"] == "done"


def test_record_changed_by_hand_is_not_acted_on(office_home, open_office):
    with open_office() as office:
        task = settled(office, office.submit(TEXT, intern="triage", effect="file:a.txt")["id"])
        with write_session(office.engine) as db:
            db.get_one(ApprovalRow, task["approval_id"]).draft = "something else"
        office.decide(task["approval_id"], Verdict("approve", by="me"))
        task = settled(office, task["id"], but="waiting")
    assert (task["status"], task["code"]) == ("failed", "effect_refused")
    assert not office_home.outbox.exists()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("  ", {}, "empty"),
        ("hello", {"intern": "triag"}, "triag"),
        ("hello", {"effect": "file:../x"}, "outside the outbox"),
        ("hello", {"effect": "webhook:http://evil.test/"}, "not allowed"),
    ],
)
def test_bad_task_is_refused_and_not_stored(open_office, text, options, message):
    with open_office() as office:
        with pytest.raises(InvalidInput, match=message):
            office.submit(text, **options)
        assert office.tasks() == []


def test_prompt_longer_than_the_context_fails_the_task_with_a_fix(open_office):
    with open_office() as office:
        task = settled(office, office.submit("parcel " * 3000, intern="writer")["id"])
    assert (task["status"], task["code"]) == ("failed", "too_long")
    assert task["fix"]


def test_unknown_numbers_are_not_found(open_office):
    with open_office() as office:
        with pytest.raises(NotFound):
            office.task(99)
        with pytest.raises(NotFound):
            office.approval(99)


def test_deciding_twice_is_refused(open_office):
    with open_office() as office:
        task = settled(office, office.submit(TEXT, intern="triage")["id"])
        office.decide(task["approval_id"], Verdict("approve", by="ada"))
        with pytest.raises(Conflict, match="approved by ada"):
            office.decide(task["approval_id"], Verdict("approve", by="bob"))
