"""The four screens with a real daemon, keyboard only, at 80 by 24."""

from __future__ import annotations

import asyncio

import pytest
from textual.widgets import Input

from interns.paths import Paths
from orchestrator.client import OfficeClient
from tests.tui.driving import Driver, drive
from tests.tui.running import SMALL_ENGINE, parked
from tui.app import InternsApp
from tui.model.transcript import Entry
from tui.screens.approvals import ApprovalsScreen
from tui.screens.base import OfficeScreen
from tui.screens.dialogs import Confirm, Pick
from tui.screens.help import HelpScreen
from tui.widgets.lines import LinesView
from tui.widgets.prompt import Prompt
from tui.widgets.transcript import TranscriptView

ASKED = "Where is my parcel?"


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
