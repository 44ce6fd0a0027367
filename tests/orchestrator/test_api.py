"""What the client gets from a real daemon."""

from __future__ import annotations

import json

import httpx
import pytest

from interns.errors import Busy, Conflict, InvalidInput, NotFound
from orchestrator.errors import from_body, to_body


def last(events):
    return list(events)[-1]


def test_office_answers_lists_and_streams_through_its_client(client, office_home):
    status = client.status()
    assert (status["running"], status["interns"], status["base"]) == (True, 2, "starter")
    assert [intern["name"] for intern in client.interns()] == ["triage", "writer"]
    assert client.intern("triage")["labels"] == ["delivery", "refund"]
    assert client.versions("triage")[0]["current"]
    assert client.bases()[0]["in_use"]

    events = list(client.ask("Where is my parcel?", intern="triage"))
    assert [event["event"] for event in events] == ["route", "token", "done"]
    assert set(events[-1]["probabilities"]) == {"delivery", "refund"}
    assert sum(events[-1]["probabilities"].values()) == pytest.approx(1)
    assert events[-1]["charter_version"]

    written = list(client.ask("Hello", intern="writer"))
    text = "".join(event["text"] for event in written if event["event"] == "token")
    assert text == written[-1]["text"]
    assert written[-1]["tokens"] > 1

    unknown = last(client.ask("Hello", intern="triag"))
    assert (unknown["event"], unknown["exit_code"]) == ("error", 2)
    assert "triage" in unknown["fix"]
    assert last(client.chat([]))["code"] == "invalid_input"


@pytest.mark.parametrize(
    "error", [Busy("Full.", "Wait.", 7.0), NotFound("Gone.", "Look."), InvalidInput("Bad.")]
)
def test_an_error_comes_over_the_wire_as_it_was(error):
    read = from_body(json.loads(json.dumps(to_body(error))))
    assert (type(read), read.message, read.fix) == (type(error), error.message, error.fix)
    assert getattr(read, "retry_after_s", None) == getattr(error, "retry_after_s", None)


def test_approvals_are_decided_through_the_client(client):
    task = client.submit("Where is my parcel?", intern="triage", effect="file:a.txt")
    task = client.wait_task(task["id"], 30)
    (pending,) = client.approvals()
    assert client.approval(pending["id"]) == pending
    with pytest.raises(Conflict, match="not what you were shown"):
        client.approve(pending["id"], "0" * 64)
    decided = client.approve(pending["id"], pending["digest"])
    assert decided["status"] == "approved"
    with pytest.raises(Conflict, match="was approved by"):
        client.reject(pending["id"], "Too late.")
    assert client.wait_task(task["id"], 10)["status"] == "done"
    assert client.tasks("done")[0]["id"] == task["id"]
    for call in (lambda: client.task(99), lambda: client.approval(99), lambda: client.run("x")):
        with pytest.raises(NotFound):
            call()
    with pytest.raises(InvalidInput, match="status"):
        client.tasks("sleeping")
    kinds = []
    for event in client.events():
        kinds.append(event["kind"])
        if event["kind"] == "task.ended":
            break
    assert {"office.started", "approval.pending", "approval.decided", "effect.done"} <= set(kinds)


def test_malformed_requests_name_what_is_wrong(client, office_home):
    token = office_home.token.read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{client.address.url}/api/tasks", json={"txt": 1}, headers=headers)
    assert answer.status_code == 422
    assert "text" in answer.json()["error"]
    missing = httpx.get(f"{client.address.url}/api/nowhere", headers=headers)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    with pytest.raises(NotFound, match="no shipped intern"):
        client.import_folder("../../tests")
