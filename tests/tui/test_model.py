"""What screens and commands show, without a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.model.columns import columns_of
from tui.model.conversation import Conversation
from tui.model.curve import Point, draw, trend
from tui.model.diff import marked, summary, word_diff
from tui.model.form import command_line, problems, request_of
from tui.model.guard import ON_SCREEN_S, Guard
from tui.model.help import help_lines, key_words
from tui.model.hints import hint_line
from tui.model.mention import completions, mention
from tui.model.plan import plan_lines
from tui.model.records import answer_record, onboard_record, parked_record
from tui.model.runview import RunView
from tui.model.transcript import Entry, Transcript
from tui.model.visible import deceptive, visible
from tui.model.words import age, duration, exam_words, loss_line, route_line, shortened
from tui.model.wrap import fit, wrap

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc", "Cf", "Mn", "Me"]))


@example("0000 ", 2)
@given(TEXT, st.integers(2, 60))
def test_lines_fit_when_text_is_wrapped(text: str, width: int) -> None:
    assert all(cell_len(line) <= width for line in wrap(text, width))


@given(st.lists(st.text("abcdefg", min_size=1, max_size=8), min_size=1), st.integers(8, 40))
def test_no_word_is_lost_when_text_is_wrapped(words: list[str], width: int) -> None:
    assert " ".join(wrap(" ".join(words), width)).split() == words


def test_later_lines_are_aligned_when_a_line_has_a_label() -> None:
    assert wrap("why     it is on probation today", 24) == [
        "why     it is on",
        "        probation today",
    ]
    assert wrap("* v1   right in most rows, 3m ago", 24) == [
        "* v1   right in most",
        "       rows, 3m ago",
    ]


@example("⺀", 1)
@given(TEXT, st.integers(0, 40))
def test_width_is_exact_when_text_is_fitted(text: str, width: int) -> None:
    assert cell_len(fit(text, width)) == width


@given(st.lists(st.tuples(st.sampled_from(["you", "intern", "why"]), TEXT)), st.integers(10, 80))
def test_lines_are_the_same_when_added_or_wrapped_again(
    entries: list[tuple[str, str]], width: int
) -> None:
    grown, whole = Transcript(width), Transcript(40)
    for kind, text in entries:
        grown.add(Entry(kind, ""))  # type: ignore[arg-type]
        grown.grow(text)
        whole.add(Entry(kind, text))  # type: ignore[arg-type]
    whole.resize(width)
    assert grown.lines == whole.lines


@given(st.lists(st.tuples(st.sampled_from("sdta"), st.integers(1, 3), st.floats(0.0, 0.7))))
def test_nothing_is_decided_that_was_not_read_when_keys_arrive_at_random(
    steps: list[tuple[str, int, float]],
) -> None:
    guard, now, shown, since = Guard(), 100.0, None, 0.0
    for action, item, later in steps:
        now += later
        if action == "s":
            guard.show(item, now)
            if item != shown:
                shown, since = item, now
        elif action == "t":
            guard.type(now)
        elif action == "a":
            guard.appear(now)
            since = now
        elif not guard.refusal(item, now):
            assert item == shown
            assert now - since >= ON_SCREEN_S


def test_a_decision_is_refused_when_it_is_on_its_way() -> None:
    guard = Guard()
    guard.show(7, 0.0)
    guard.busy.add(7)
    assert guard.refusal(7, 10.0)
    guard.busy.discard(7)
    assert not guard.refusal(7, 10.0)


@given(
    st.lists(st.floats(0.01, 9), min_size=1, max_size=300),
    st.integers(12, 70),
    st.integers(2, 12),
    st.booleans(),
)
def test_picture_has_its_size_when_a_curve_is_drawn(
    losses: list[float], width: int, height: int, ascii_only: bool
) -> None:
    points = [Point(step, loss) for step, loss in enumerate(losses)]
    lines = draw(points, width, height, ascii_only=ascii_only)
    assert len(lines) == height
    assert all(len(line) == width for line in lines)
    if ascii_only:
        assert "".join(lines).isascii()


def test_trend_says_down_when_the_loss_falls() -> None:
    points = [Point(step, 2 - step / 100) for step in range(100)]
    assert trend(points).startswith("Down")
    assert trend(points[:2]) == "Too early for a trend."


@given(TEXT, TEXT)
def test_parts_make_both_texts_when_a_diff_is_split(before: str, after: str) -> None:
    changes = word_diff(before, after)
    assert "".join(text for kind, text in changes if kind != "removed") == after
    assert "".join(text for kind, text in changes if kind != "added") == before


def test_change_is_readable_without_colour_when_marked() -> None:
    assert marked("to Leeds today", "to York today") == "to [-Leeds-]{+York+} today"
    assert summary("to Leeds", "to York now") == "2 words added, 1 removed"
    assert summary("same", "same") == "nothing changed"


def test_hidden_characters_are_named_when_a_text_has_them() -> None:
    assert visible("pay\u200b \x1b[31m") == "pay<U+200B> <U+001B>[31m"
    assert deceptive("a\u202eb") == ["RIGHT-TO-LEFT OVERRIDE"]
    assert visible("naïve 日本 👩‍💻\n\t") == "naïve 日本 👩‍💻\n\t"


@given(st.lists(st.text("abc ", min_size=1, max_size=20), max_size=9), st.integers(20, 100))
def test_help_is_never_cut_when_hints_are_many(hints: list[str], width: int) -> None:
    for in_field in (False, True):
        line = hint_line(hints, width, in_field=in_field)
        assert line.endswith("? help")
        assert len(line) == width


def test_keys_are_written_in_words_when_help_lists_them() -> None:
    assert key_words("question_mark") == "?"
    assert key_words("ctrl+pageup") == "ctrl+pgup"
    assert help_lines([("a", "Approve", ""), ("w", "Respond", "nothing is chosen")]) == [
        "a  Approve",
        "w  Respond  (not now: nothing is chosen)",
    ]


def test_intern_is_found_when_it_is_named_first() -> None:
    assert mention("@triage where is it?") == ("triage", "where is it?")
    assert mention("write to @triage") == (None, "write to @triage")
    assert completions("@tr", ["triage", "writer"]) == ["triage"]
    assert completions("@triage x", ["triage"]) == []


def test_message_stands_alone_when_it_is_routed() -> None:
    talk = Conversation()
    talk.add("first", "one", "writer")
    talk.add("other", "two", "triage")
    assert talk.messages("again", None) == [{"role": "user", "content": "again"}]
    assert [turn["content"] for turn in talk.messages("again", "writer")] == [
        "first",
        "one",
        "again",
    ]


def test_times_are_short_when_told() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert age("2026-01-01T23:48:00+00:00", now) == "12m"
    assert duration(125) == "2 min 05 s"
    assert shortened("a  b\nc d", 5) == "a b…"


def test_route_is_one_line_when_told() -> None:
    route = {
        "intern": "triage",
        "score": 0.91,
        "threshold": 0.3,
        "candidates": [{"intern": "triage", "score": 0.91}, {"intern": "guide", "score": 0.2}],
    }
    assert route_line(route) == "-> triage 0.91 (at least 0.30; next: guide 0.20)"
    assert route_line({"intern": None, "why": "Too far."}) == "-> nobody. Too far."


def test_answer_has_the_promised_fields_when_events_are_summed_up() -> None:
    record = answer_record([
        {"event": "route", "intern": "triage", "score": 0.9, "candidates": []},
        {"event": "token", "text": "refund"},
        {
            "event": "done",
            "text": "refund",
            "intern": "triage",
            "version": 1,
            "probabilities": {"refund": 0.8, "delivery": 0.2},
            "tokens": 1,
            "prompt_tokens": 9,
            "seconds": 0.1,
        },
    ])
    promised = (
        "intern",
        "version",
        "text",
        "confidence",
        "abstained",
        "route",
        "citations",
        "usage",
    )
    assert set(promised) <= set(record)
    assert record["confidence"] == 0.8
    assert record["usage"]["completion_tokens"] == 1


def test_next_step_is_named_when_a_task_is_parked() -> None:
    assert parked_record({"id": 3, "approval_id": 9}) == {
        "id": 3,
        "status": "needs_approval",
        "approval": 9,
        "next": "interns approvals show 9",
    }


def test_run_is_shown_when_events_come() -> None:
    view = RunView()
    for event in (
        {"id": 1, "step": "ingest", "kind": "start"},
        {"id": 2, "step": "ingest", "kind": "done", "text": "90 rows"},
        {
            "id": 3,
            "step": "tune",
            "kind": "progress",
            "data": {"step_n": 1, "steps": 9, "loss": 2.0, "eta_s": 60, "progress": 0.1},
        },
        {"id": 4, "step": "tune", "kind": "progress", "data": {"step_n": 2, "eval_loss": 1.5}},
    ):
        view.take(event)
    assert view.step_lines()[0] == "[x] ingest  90 rows"
    assert view.step_lines()[2].startswith("[>] tune")
    assert view.points == [Point(1, 2.0)]
    assert view.checks == [Point(2, 1.5)]
    assert "left       1 min 00 s" in view.number_lines()
    assert view.last_id == 4


def test_exam_and_verification_are_told_when_a_run_ended() -> None:
    run = {
        "id": "r1",
        "name": "triage",
        "status": "failed",
        "started_at": "2026-01-01T00:00:00+00:00",
        "finished_at": "2026-01-01T00:01:30+00:00",
    }
    record = onboard_record(
        run,
        [
            {"step": "verify", "kind": "done", "data": {"mean_kl": 1e-4, "top1_agreement": 1.0}},
            {
                "step": "exam",
                "kind": "done",
                "data": {"score": 0.4, "baseline": 0.5, "examples": 9},
            },
        ],
    )
    assert record["exam"]["score"] == 0.4
    assert record["exam"]["n"] == 9
    assert record["verification"]["top1_agreement"] == 1.0
    assert record["seconds"] == 90.0


def test_loss_line_is_plain_when_some_figures_are_missing() -> None:
    assert loss_line({"step_n": 4, "steps": 20, "loss": 0.5}) == "step 4/20  loss 0.500"


def test_everything_wrong_is_named_at_once_when_a_form_is_checked() -> None:
    values = dict.fromkeys(
        ("name", "data", "input", "output", "skill", "role", "exam", "schema"), ""
    )
    values |= {"name": "Bad Name", "data": "no.csv", "skill": "sing"}
    found = problems(values, exists=lambda _: False)
    assert [line.split(":")[0] for line in found] == ["input", "output", "name", "skill", "data"]


def test_same_command_is_shown_when_a_form_is_filled() -> None:
    values = {"name": "triage", "data": "a b.csv", "input": "text", "output": "queue", "role": ""}
    command = command_line(request_of(values))
    assert command.startswith("interns onboard triage --data ")
    assert command.endswith("a b.csv' --input text --output queue")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,queue\n1,2\n"),
        ("a.tsv", "text\tqueue\n1\t2\n"),
        ("a.jsonl", json.dumps({"text": 1, "queue": 2})),
        ("a.json", json.dumps([{"text": 1, "queue": 2}])),
    ],
)
def test_columns_are_named_when_a_table_is_chosen(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert columns_of(tmp_path / name) == ["text", "queue"]


def test_no_columns_are_named_when_a_file_is_missing_or_binary(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\x00\x01\x02")
    assert columns_of(tmp_path / "a.csv") == []
    assert columns_of(tmp_path / "none.csv") == []


def test_plan_is_told_in_words_when_it_nests() -> None:
    plan = {"name": "t", "splits": {"train": 9}, "recipe": {"rank": 16}, "tune_s": 61.0, "x": None}
    assert plan_lines(plan) == ["name: t", "splits", "  train: 9", "tune: about 1 min 01 s"]


def test_exam_is_told_beside_what_did_without_the_intern():
    exam = {"metric": "accuracy", "score": 0.65, "baseline": 0.17}
    assert exam_words({}) == "no exam"
    assert exam_words(exam) == "accuracy 0.65, base 0.17"
    control = {"details": {"control": {"what": "words", "score": 0.793}}}
    assert exam_words(exam | control) == "accuracy 0.65, base 0.17, no model 0.79"
