"""Whatever is decided in whatever order, only what was approved happens, and once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interns.database import open_database, session, write_session
from interns.errors import InternsError, Unavailable
from interns.paths import Paths
from orchestrator import ledger
from orchestrator.approval import Proposal, Verdict
from orchestrator.clock import now_text
from orchestrator.desk import Desk
from orchestrator.nodes.act import act
from orchestrator.tables import RunRow, TaskRow

VERDICTS = st.sampled_from([
    Verdict("approve", by="ada"),
    Verdict("approve", by="eve", digest="0" * 64),
    Verdict("edit", by="bob", text="refund"),
    Verdict("edit", by="bob", text=" "),
    Verdict("reject", by="cyd", reason="no"),
    Verdict("reject", by="cyd", reason=""),
    Verdict("respond", by="dan", text="hm"),
])
STEPS = st.lists(st.one_of(VERDICTS, st.just("act")), max_size=8)


class Recorder:
    """Notes what it was told to do."""

    def __init__(self):
        self.done = []

    def check(self, target):
        return target

    def trace(self, delivery):
        return "unknown"

    def perform(self, delivery):
        self.done.append((delivery.key, delivery.payload))
        return {}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    paths = Paths(tmp_path_factory.mktemp("home"))
    engine = open_database(paths.database)
    yield Desk(engine, paths, {"file": Recorder()})
    engine.dispose()


def park(desk, number):
    """Write a task with a pending approval; return the state its graph would have."""
    at, run_id = now_text(), f"task-{number}"
    effect = {"effect_kind": "file", "effect_target": "x"}
    with write_session(desk.engine) as db:
        db.add(TaskRow(id=number, text="Where?", created_at=at, updated_at=at, **effect))
        db.flush()
        db.add(RunRow(id=run_id, kind="task", task_id=number, created_at=at))
    proposal = Proposal(
        task_id=number,
        run_id=run_id,
        kind="action",
        summary="…",
        draft="delivery",
        why="…",
        intern="triage",
        version=1,
        **effect,
    )
    row = ledger.propose(desk.engine, proposal)
    state = {"task_id": number, "run_id": run_id, "draft": "delivery", **effect}
    return row, {**state, "intern": "triage", "version": 1, "approval_id": row.id}


def test_only_the_first_valid_decision_counts_and_acts_once(desk):
    numbers = itertools.count(1)

    @settings(max_examples=60, deadline=None)
    @given(STEPS)
    def check(steps):
        row, state = park(desk, next(numbers))
        expected, acted = None, False
        for step in [*steps, "act", "act"]:
            if step == "act":
                try:
                    act(state, desk)
                    acted = True
                except Unavailable:
                    assert expected is None
                continue
            try:
                ledger.decide(desk.engine, row.id, step)
                assert expected is None, "a second decision was taken"
                expected = step
            except InternsError:
                pass
        text = {"approve": "delivery", "edit": "refund"}.get(getattr(expected, "verb", ""))
        happened = [p for key, p in desk.effects["file"].done if key == f"{row.run_id}/file"]
        assert happened == ([text] if text else [])
        with session(desk.engine) as db:
            status = db.get_one(TaskRow, row.task_id).status
        ends = {"approve": "done", "edit": "done", "reject": "rejected"}
        assert status == (ends[expected.verb] if expected else "waiting")
        assert acted == (expected is not None)

    check()
