"""A chat ends when its caller leaves or its time is up, whatever the intern's skill is."""

from __future__ import annotations

import threading

import pytest

from orchestrator.chat import chat
from orchestrator.drafting import Wish

ASKED = [{"role": "user", "content": "Where is my parcel? " * 20}]


@pytest.mark.parametrize(("intern", "end"), [("triage", "error"), ("writer", "done")])
def test_chat_ends_at_once_when_its_caller_has_left(open_office, intern, end):
    gone = threading.Event()
    gone.set()
    with open_office() as office:
        *_, last = chat(office.desk, ASKED, intern=intern, knowledge=None, cancel=gone)
        stats = office.desk.runtime.stats()
    assert last["event"] == end
    assert "cancelled" in str(last)
    assert stats["scored"] == 0


def test_label_is_not_waited_for_beyond_the_deadline(open_office):
    with open_office() as office:
        *_, last = chat(
            office.desk,
            ASKED,
            intern="triage",
            knowledge=None,
            cancel=threading.Event(),
            wish=Wish(deadline_s=0.0001),
        )
    assert last["event"] == "error"
    assert "deadline" in str(last)
