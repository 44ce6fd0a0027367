"""The queue of approvals with a real daemon, keyboard only."""

from __future__ import annotations

import asyncio

from textual.events import Key
from textual.widgets import TextArea

from interns.paths import Paths
from orchestrator.client import OfficeClient
from tests.tui.driving import Driver, drive
from tests.tui.running import parked
from tui.screens.approvals import ApprovalsScreen
from tui.screens.dialogs import AskLine, EditText
from tui.widgets.rows import RowList

ASKED = "Where is my parcel?"
STRANGE = "Compose an opera about the tides of a distant moon."


def test_action_happens_when_it_is_approved(office: OfficeClient, paths: Paths) -> None:
    approval = parked(office, ASKED, intern="triage", effect="file:approved.txt")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{approval['id']}" in driver.detail(), "the card")
        assert "file approved.txt" in driver.detail()
        assert ASKED in driver.detail()
        await driver.read()
        await driver.press("a")
        await driver.sees(lambda: driver.rows() == [], "an empty queue")
        await driver.sees((paths.outbox / "approved.txt").exists, "the effect")

    drive(paths, scenario)
    assert office.approval(approval["id"])["status"] == "approved"


def test_nothing_is_decided_when_a_key_comes_too_early(office: OfficeClient, paths: Paths) -> None:
    first = parked(office, ASKED, intern="triage")
    second = parked(office, "I want my money back.", intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{first['id']}" in driver.detail(), "the card")
        await driver.press("a", "a", "a")
        assert "only just appeared" in driver.line("status")
        await driver.read()
        await driver.press("a", "a", "a")
        await driver.sees(lambda: len(driver.rows()) == 1, "one decision")
        await asyncio.sleep(0.2)

    drive(paths, scenario)
    assert office.approval(first["id"])["status"] == "approved"
    assert office.approval(second["id"])["status"] == "pending"


def test_edited_text_is_approved_when_it_is_sent(office: OfficeClient, paths: Paths) -> None:
    approval = parked(office, ASKED, intern="triage", effect="file:changed.txt")
    other = "refund" if approval["draft"] == "delivery" else "delivery"

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{approval['id']}" in driver.detail(), "the card")
        await driver.read()
        await driver.press("e")
        await driver.sees(lambda: isinstance(driver.app.screen, EditText), "the editor")
        driver.app.screen.query_one(TextArea).text = other
        await driver.press("ctrl+s")
        await driver.sees((paths.outbox / "changed.txt").exists, "the effect")

    drive(paths, scenario)
    decided = office.approval(approval["id"])
    assert decided["status"] == "edited"
    assert decided["decision"]["text"].strip() == other


def test_reason_is_kept_when_it_is_rejected(office: OfficeClient, paths: Paths) -> None:
    approval = parked(office, ASKED, intern="triage", effect="file:rejected.txt")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{approval['id']}" in driver.detail(), "the card")
        await driver.read()
        await driver.press("r")
        await driver.sees(lambda: isinstance(driver.app.screen, AskLine), "the question")
        await driver.press("enter")  # an empty reason is not taken
        assert isinstance(driver.app.screen, AskLine)
        await driver.press("escape")
        await driver.sees(lambda: isinstance(driver.app.screen, ApprovalsScreen), "the queue")
        assert office.approval(approval["id"])["status"] == "pending"
        await driver.press("r")
        assert "only just appeared" in driver.line("status")  # a moment after the dialog
        await driver.read()
        await driver.press("r")
        await driver.sees(lambda: isinstance(driver.app.screen, AskLine), "the question")
        await driver.sees(lambda: driver.app.screen.focused, "its field")
        await driver.write("Too short")
        await driver.press("enter")
        await driver.sees(lambda: driver.rows() == [], "an empty queue")

    drive(paths, scenario)
    decided = office.approval(approval["id"])
    assert decided["status"] == "rejected"
    assert decided["decision"]["reason"] == "Too short"
    assert not (paths.outbox / "rejected.txt").exists()


def test_nothing_is_decided_when_words_are_typed_at_the_queue(
    office: OfficeClient, paths: Paths
) -> None:
    approval = parked(office, ASKED, intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{approval['id']}" in driver.detail(), "the card")
        await driver.read()
        await driver.write("bad answer")
        await driver.pilot.pause(0.3)
        assert isinstance(driver.app.screen, ApprovalsScreen)

    drive(paths, scenario)
    assert office.approval(approval["id"])["status"] == "pending"


def test_no_letter_decides_when_a_dialog_is_about_to_open(
    office: OfficeClient, paths: Paths
) -> None:
    approval = parked(office, ASKED, intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{approval['id']}" in driver.detail(), "the card")
        await driver.read()
        driver.app.post_message(Key("r", "r"))
        for letter in "aaaa":
            driver.app.post_message(Key(letter, letter))
        await driver.pilot.pause(0.5)

    drive(paths, scenario)
    assert office.approval(approval["id"])["status"] == "pending"


def test_question_is_answered_when_nobody_fits(office: OfficeClient, paths: Paths) -> None:
    approval = parked(office, STRANGE)

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: STRANGE in driver.detail(), "the card")
        assert "a approve" not in driver.line("hints")
        await driver.read()
        await driver.press("a")  # a question cannot be approved
        assert office.approval(approval["id"])["status"] == "pending"
        await driver.press("enter")
        await driver.sees(lambda: isinstance(driver.app.screen, AskLine), "the question")
        await driver.sees(lambda: driver.app.screen.focused, "its field")
        await driver.write("We do not sing")
        await driver.press("enter")
        await driver.sees(lambda: driver.rows() == [], "an empty queue")

    drive(paths, scenario)
    assert office.approval(approval["id"])["decision"]["text"] == "We do not sing"


def test_person_is_told_when_the_card_is_stale(office: OfficeClient, paths: Paths) -> None:
    approval = parked(office, ASKED, intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: f"#{approval['id']}" in driver.detail(), "the card")
        screen = driver.app.screen
        assert isinstance(screen, ApprovalsScreen)
        await driver.read()
        # Last of all: news from the office would fetch the right digest again.
        screen._approvals[str(approval["id"])]["digest"] = "0" * 64
        await driver.press("a")
        await driver.sees(lambda: "Not decided" in driver.line("status"), "the refusal")

    drive(paths, scenario)
    assert office.approval(approval["id"])["status"] == "pending"


def test_choice_stays_when_a_new_approval_arrives(office: OfficeClient, paths: Paths) -> None:
    parked(office, ASKED, intern="triage")
    second = parked(office, "I want my money back.", intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: len(driver.rows()) == 2, "two rows")
        await driver.press("j")
        await driver.sees(lambda: f"#{second['id']}" in driver.detail(), "the second card")
        await asyncio.to_thread(parked, office, STRANGE)
        await driver.sees(lambda: len(driver.rows()) == 3, "three rows")
        assert driver.app.screen.query_one(RowList).key == str(second["id"])
        assert f"#{second['id']}" in driver.detail()
        await driver.sees(lambda: "Approvals(3)" in driver.line("top"), "the count")

    drive(paths, scenario)


def test_nothing_is_decided_when_the_window_is_too_small(
    office: OfficeClient, paths: Paths
) -> None:
    approval = parked(office, ASKED, intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.sees(lambda: driver.app.screen.query_one("#too-small").display, "the notice")
        await driver.go("2")
        await driver.read()
        await driver.press("a")
        await asyncio.sleep(0.3)

    drive(paths, scenario, size=(50, 12))
    assert office.approval(approval["id"])["status"] == "pending"
