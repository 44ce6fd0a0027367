"""The four screens with a real daemon, keyboard only, at 80 by 24."""

from __future__ import annotations

import asyncio

import pytest
from textual.events import Key
from textual.widgets import Input, TextArea

from interns.paths import Paths
from orchestrator.client import OfficeClient
from tests.tui.driving import Driver, drive
from tests.tui.running import SMALL_ENGINE, parked
from tui.app import InternsApp
from tui.model.transcript import Entry
from tui.screens.approvals import ApprovalsScreen
from tui.screens.base import OfficeScreen
from tui.screens.dialogs import AskLine, Confirm, EditText, Pick
from tui.screens.help import HelpScreen
from tui.widgets.lines import LinesView
from tui.widgets.prompt import Prompt
from tui.widgets.rows import RowList
from tui.widgets.transcript import TranscriptView

ASKED = "Where is my parcel?"
STRANGE = "Compose an opera about the tides of a distant moon."


def _said(driver: Driver) -> str:
    entries = driver.app.chat.query_one(TranscriptView).transcript.entries
    return "\n".join(f"{one.who}: {one.text}" for one in entries)


def test_last_hint_is_help_when_any_screen_is_open(office: OfficeClient, paths: Paths) -> None:
    async def scenario(driver: Driver) -> None:
        for digit, place in (("2", "Approvals"), ("3", "Team"), ("4", "Onboard"), ("1", "Chat")):
            await driver.go(digit)
            await driver.sees(lambda p=place: f"{p}" in driver.line("top"), place)  # type: ignore[misc]
            assert driver.line("hints").endswith("? help")
            assert len(driver.line("hints")) <= 80
            assert len(driver.line("top")) <= 80

    drive(paths, scenario)


def test_answer_is_shown_with_its_reason_when_a_message_is_sent(
    office: OfficeClient, paths: Paths
) -> None:
    async def scenario(driver: Driver) -> None:
        await driver.write(ASKED)
        await driver.press("enter")
        await driver.sees(lambda: "triage v" in _said(driver), "an answer")
        said = _said(driver)
        assert f"You: {ASKED}" in said
        assert "triage: -> triage" in said
        assert ": delivery" in said or ": refund" in said

    drive(paths, scenario)


def test_last_line_is_visible_when_the_chat_grows_longer_than_the_screen(
    office: OfficeClient, paths: Paths
) -> None:
    async def scenario(driver: Driver) -> None:
        view = driver.app.chat.query_one(TranscriptView)
        for number in range(30):
            view.add(Entry("note", f"remark {number}"))
        await driver.sees(lambda: view.scroll_offset.y == view.max_scroll_y > 0, "the end")
        await driver.press("escape", "g")
        await driver.sees(lambda: view.scroll_offset.y == 0, "the beginning")
        view.add(Entry("note", "one more"))  # who reads above is not torn away
        await driver.pilot.pause(0.2)
        assert view.scroll_offset.y == 0
        await driver.press("G")
        await driver.sees(lambda: view.scroll_offset.y == view.max_scroll_y, "the end again")
        view.add(Entry("note", "the last"))
        await driver.sees(lambda: view.scroll_offset.y == view.max_scroll_y, "the new end")

    drive(paths, scenario)


def test_no_character_is_cut_when_a_text_is_longer_than_its_pane(
    office: OfficeClient, paths: Paths
) -> None:
    async def scenario(driver: Driver) -> None:
        await driver.go("4")
        view = driver.app.screen.query_one("#plan", LinesView)
        view.show_lines([("plain", "word " * 400)])
        await driver.sees(lambda: view.show_vertical_scrollbar, "a scroll bar")
        width = view.scrollable_content_region.width
        assert all(len(text) <= width for _, text in view._wrapped)

    drive(paths, scenario)


def test_intern_is_completed_when_tab_is_pressed(office: OfficeClient, paths: Paths) -> None:
    async def scenario(driver: Driver) -> None:
        await driver.sees(lambda: "@writer" in driver.line("status"), "the names")
        await driver.write("@wri")
        await driver.press("tab")
        prompt = driver.app.screen.query_one(Prompt)
        assert prompt.text == "@writer "
        await driver.write("One")
        await driver.press("alt+enter")
        await driver.write("two")
        assert prompt.text == "@writer One\ntwo"
        await driver.press("enter")
        await driver.sees(lambda: "writer v1" in _said(driver), "an answer")
        assert prompt.text == ""

    drive(paths, scenario)


def test_error_stays_in_the_chat_when_an_intern_is_unknown(
    office: OfficeClient, paths: Paths
) -> None:
    async def scenario(driver: Driver) -> None:
        await driver.write("@triag hello")
        await driver.press("enter")
        await driver.sees(lambda: "Did you mean 'triage'?" in _said(driver), "an error")
        await driver.press("escape", "n")
        assert "hello" not in _said(driver)

    drive(paths, scenario)


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


def test_version_changes_when_promoted_and_rolled_back(office: OfficeClient, paths: Paths) -> None:
    async def scenario(driver: Driver) -> None:
        await driver.go("3")
        await driver.sees(lambda: "versions" in driver.detail(), "the profile")
        await driver.press("p")
        await driver.sees(lambda: isinstance(driver.app.screen, Pick), "the versions")
        await driver.press("g", "enter")
        await driver.sees(lambda: "triage v2" in driver.detail(), "version 2")
        await driver.press("b")
        await driver.sees(lambda: isinstance(driver.app.screen, Confirm), "the question")
        await driver.press("enter")  # only y says yes
        assert isinstance(driver.app.screen, Confirm)
        await driver.press("y")
        await driver.sees(lambda: "triage v1" in driver.detail(), "version 1")
        await driver.press("c")
        await driver.sees(
            lambda: (
                driver.app.screen is driver.app.chat
                and driver.app.chat.query_one(Prompt).text == "@triage "
            ),
            "the chat",
        )

    drive(paths, scenario)
    assert office.intern("triage")["version"] == 1


def test_answer_is_dropped_when_the_app_stopped_before_it_came(
    office: OfficeClient, paths: Paths
) -> None:
    apps: list[InternsApp] = []

    async def scenario(driver: Driver) -> None:
        apps.append(driver.app)

    drive(paths, scenario)
    late: list[str] = []
    with apps[0]._context():
        apps[0].chat.on_office_screen_answered(OfficeScreen.Answered(lambda: late.append("late")))
        apps[0].chat.tell_bars()  # its widgets are gone: touching one would raise
    assert not late


def test_form_is_checked_when_it_is_not_filled(office: OfficeClient, paths: Paths) -> None:
    async def scenario(driver: Driver) -> None:
        await driver.go("4")
        await driver.press("enter")
        await driver.sees(lambda: isinstance(driver.app.screen.focused, Input), "the form")
        await driver.write("Bad Name")
        await driver.press("ctrl+d")
        plan = driver.app.screen.query_one("#plan", LinesView)
        await driver.sees(lambda: "data: fill it in." in plan.text, "what is missing")
        assert "name: lower-case" in plan.text

    drive(paths, scenario)


def test_keys_are_listed_when_help_is_asked(office: OfficeClient, paths: Paths) -> None:
    parked(office, ASKED, intern="triage")

    async def scenario(driver: Driver) -> None:
        await driver.go("2")
        await driver.sees(lambda: len(driver.rows()) == 1, "the queue")
        await driver.press("question_mark")
        await driver.sees(lambda: isinstance(driver.app.screen, HelpScreen), "the help")
        lines = driver.app.screen.query_one(LinesView).text.splitlines()
        assert lines[0].split() == ["a", "Approve"]
        assert any("Respond" in line and "not now" in line for line in lines)
        await driver.press("escape")
        await driver.sees(lambda: isinstance(driver.app.screen, ApprovalsScreen), "the queue")

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


def test_every_screen_fits_when_the_window_is_60_by_16(office: OfficeClient, paths: Paths) -> None:
    async def scenario(driver: Driver) -> None:
        for digit in "2341":
            await driver.go(digit)
            await driver.read()
            assert driver.line("hints").endswith("? help")
            assert not driver.app.screen.query_one("#too-small").display

    drive(paths, scenario, size=(60, 16))


def test_colours_are_the_terminals_when_no_color_is_set(
    office: OfficeClient, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(driver: Driver) -> None:
        assert driver.app.theme == "ansi-dark"

    drive(paths, scenario)


def test_screens_come_back_when_the_daemon_was_stopped(
    empty_home: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SMALL_ENGINE.items():
        monkeypatch.setenv(name, value)

    async def scenario(driver: Driver) -> None:
        with OfficeClient.connect(empty_home, start=False) as client:
            await asyncio.to_thread(client.shutdown)
        await driver.sees(lambda: driver.app.link.state == "closed", "the loss")
        await driver.sees(lambda: "office closed" in driver.line("top"), "the notice")
        await driver.go("3")
        await driver.sees(lambda: driver.app.link.state == "ready", "the office again")

    try:
        drive(empty_home, scenario)
    finally:
        with OfficeClient.connect(empty_home, start=False) as client:
            client.shutdown()
