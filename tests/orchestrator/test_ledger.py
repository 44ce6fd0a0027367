"""Decisions: bound to what was shown, made once, kept with their correction."""

from __future__ import annotations

import pytest
from sqlmodel import select

from interns.database import open_database, session, write_session
from interns.errors import Conflict, InvalidInput, NotFound
from orchestrator import ledger
from orchestrator.approval import Proposal, Verdict
from orchestrator.clock import now_text
from orchestrator.tables import ApprovalRow, CorrectionRow, RunRow, TaskRow


@pytest.fixture
def engine(tmp_path):
    opened = open_database(tmp_path / "office.db")
    at = now_text()
    with write_session(opened) as db:
        db.add(TaskRow(id=1, text="Where is it?", created_at=at, updated_at=at))
        db.flush()
        db.add(RunRow(id="task-1", kind="task", task_id=1, created_at=at))
    yield opened
    opened.dispose()


def proposal(**changes):
    values = {
        "task_id": 1,
        "run_id": "task-1",
        "kind": "action",
        "summary": "triage writes a file.",
        "draft": "delivery",
        "why": "probation",
        "intern": "triage",
        "version": 1,
        "adapter_sha256": "a" * 64,
        "effect_kind": "file",
        "effect_target": "one.txt",
    }
    return Proposal(**{**values, **changes})


def corrections(engine):
    with session(engine) as db:
        return db.exec(select(CorrectionRow)).all()


def test_proposing_twice_gives_one_row_and_parks_the_task(engine):
    first, second = ledger.propose(engine, proposal()), ledger.propose(engine, proposal())
    assert first.id == second.id
    assert len(ledger.listed(engine, "pending")) == 1
    with session(engine) as db:
        assert db.get_one(TaskRow, 1).status == "waiting"


@pytest.mark.parametrize(
    "change",
    [
        {"draft": "refund"},
        {"version": 2},
        {"adapter_sha256": "b" * 64},
        {"intern": "other"},
        {"effect_target": "two.txt"},
        {"effect_kind": "webhook"},
    ],
)
def test_digest_changes_when_any_part_of_the_action_changes(change):
    assert proposal(**change).digest != proposal().digest


def test_second_decision_is_refused_and_names_the_first(engine):
    row = ledger.propose(engine, proposal())
    ledger.decide(engine, row.id, Verdict("approve", by="ada", digest=row.digest))
    with pytest.raises(Conflict, match="approved by ada"):
        ledger.decide(engine, row.id, Verdict("reject", by="bob", reason="no"))
    assert ledger.find(engine, row.id).status == "approved"
    assert corrections(engine) == []


def test_decision_is_refused_when_its_digest_is_of_something_else(engine):
    row = ledger.propose(engine, proposal())
    with pytest.raises(Conflict, match="not what you were shown"):
        ledger.decide(engine, row.id, Verdict("approve", by="ada", digest="0" * 64))
    assert ledger.find(engine, row.id).status == "pending"


def test_edit_keeps_input_draft_and_correction(engine):
    row = ledger.propose(engine, proposal())
    ledger.decide(engine, row.id, Verdict("edit", by="ada", text="refund"))
    (kept,) = corrections(engine)
    assert (kept.kind, kept.input, kept.draft, kept.corrected) == (
        "edit",
        "Where is it?",
        "delivery",
        "refund",
    )


def test_rejection_without_reason_is_refused_and_nothing_is_kept(engine):
    row = ledger.propose(engine, proposal())
    with pytest.raises(InvalidInput, match="needs a reason"):
        ledger.decide(engine, row.id, Verdict("reject", by="ada", reason="  "))
    assert ledger.find(engine, row.id).status == "pending"
    assert corrections(engine) == []


@pytest.mark.parametrize(
    ("kind", "verb"), [("action", "respond"), ("question", "approve"), ("outcome", "edit")]
)
def test_verb_is_refused_when_it_does_not_fit_the_kind(engine, kind, verb):
    row = ledger.propose(engine, proposal(kind=kind))
    with pytest.raises(InvalidInput, match="cannot take"):
        ledger.decide(engine, row.id, Verdict(verb, by="ada", text="x", reason="x"))


def test_expired_approval_is_rejected_by_the_office(engine):
    row = ledger.propose(engine, proposal())
    with write_session(engine) as db:
        db.get_one(ApprovalRow, row.id).expires_at = "2020-01-01T00:00:00.000000+00:00"
    with pytest.raises(Conflict, match="expired"):
        ledger.decide(engine, row.id, Verdict("approve", by="ada"))
    assert ledger.expire(engine) == ["task-1"]
    assert ledger.find(engine, row.id).status == "rejected"
    assert ledger.expire(engine) == []


def test_unknown_approval_is_not_found(engine):
    with pytest.raises(NotFound, match="no approval 7"):
        ledger.decide(engine, 7, Verdict("approve", by="ada"))
