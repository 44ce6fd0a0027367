"""What leaves the office, and what must not."""

from __future__ import annotations

import pytest

from interns.errors import InvalidInput
from orchestrator.effects import Delivery
from orchestrator.effects.outbox import OutboxHandler
from orchestrator.effects.webhook import WebhookHandler
from orchestrator.errors import EffectRefused, OutcomeUnknown
from orchestrator.task import EffectSpec


def delivery(kind, target, payload="delivery"):
    return Delivery("task-1/x", kind, target, payload, {"task_id": 1})


@pytest.mark.parametrize("name", ["../out.txt", "/etc/passwd", "a/../../b", "."])
def test_file_outside_the_outbox_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput, match="outside the outbox"):
        OutboxHandler(tmp_path / "outbox").check(name)


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_impossible_file_name_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput, match="no file name"):
        OutboxHandler(tmp_path).check(name)


def test_file_below_another_file_is_refused(tmp_path):
    (tmp_path / "one").write_text("mine")
    with pytest.raises(EffectRefused, match="cannot be written"):
        OutboxHandler(tmp_path).perform(delivery("file", "one/two.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_symlink_that_leads_out_of_the_outbox_is_refused(tmp_path):
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "away").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="outside the outbox"):
        OutboxHandler(outbox).check("away/file.txt")


def test_file_is_written_whole_and_written_again_without_harm(tmp_path):
    handler = OutboxHandler(tmp_path)
    task = delivery("file", "deep/one.txt", "Grüße")
    assert handler.trace(task) == "absent"
    handler.perform(task)
    handler.perform(task)
    assert handler.trace(task) == "done"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["one.txt"]
    assert (tmp_path / "deep" / "one.txt").read_text("utf-8") == "Grüße"


def test_other_file_of_that_name_is_kept(tmp_path):
    (tmp_path / "one.txt").write_text("mine")
    handler = OutboxHandler(tmp_path)
    with pytest.raises(InvalidInput, match="already in the outbox"):
        handler.check("one.txt")
    with pytest.raises(EffectRefused, match="File exists"):
        handler.perform(delivery("file", "one.txt"))
    assert handler.trace(delivery("file", "one.txt")) == "unknown"
    assert (tmp_path / "one.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("prefix", "url", "allowed"),
    [
        ("http://a.test/hook", "http://a.test/hook", True),
        ("http://a.test/hook", "http://a.test/hook/one", True),
        ("http://a.test/", "http://a.test/any", True),
        ("http://a.test", "http://a.test/any", True),
        ("http://a.test/hook", "http://a.test/hooks", False),
        ("http://a.test/hook", "http://a.test/hook/../admin", False),
        ("http://a.test", "http://a.test.evil/x", False),
        ("http://a.test", "http://a.test@evil/x", False),
        ("http://a.test:80", "http://a.test:81/x", False),
        ("http://a.test", "file:///etc/passwd", False),
    ],
)
def test_only_listed_prefixes_are_allowed(prefix, url, allowed):
    handler = WebhookHandler(lambda: (prefix,))
    if allowed:
        assert handler.check(url) == url
    else:
        with pytest.raises(InvalidInput, match="not allowed"):
            handler.check(url)


def test_post_carries_text_context_and_key(receiver):
    WebhookHandler(lambda: (receiver.url,)).perform(delivery("webhook", f"{receiver.url}/hook"))
    assert receiver.received == [{"key": "task-1/x", "text": "delivery", "task_id": 1}]


@pytest.mark.parametrize(("status", "error"), [(404, EffectRefused), (500, OutcomeUnknown)])
def test_status_of_the_receiver_decides_what_is_known(receiver, status, error):
    receiver.status = status
    with pytest.raises(error, match=str(status)):
        WebhookHandler(lambda: (receiver.url,)).perform(delivery("webhook", receiver.url))


def test_outcome_is_unknown_when_nobody_answers():
    with pytest.raises(OutcomeUnknown, match="no answer"):
        WebhookHandler(lambda: ("http://127.0.0.1:9",)).perform(
            delivery("webhook", "http://127.0.0.1:9/x")
        )


@pytest.mark.parametrize(
    ("asked", "spec"),
    [
        (None, EffectSpec("none", "")),
        ("file:a.txt", EffectSpec("file", "a.txt")),
        ("outbox", EffectSpec("file", "")),
        ("webhook:http://x/y", EffectSpec("webhook", "http://x/y")),
        ({"kind": "file", "target": "b"}, EffectSpec("file", "b")),
    ],
)
def test_effect_is_read_from_its_short_form(asked, spec):
    assert EffectSpec.parse(asked) == spec


def test_unknown_effect_is_refused():
    with pytest.raises(InvalidInput, match="no effect"):
        EffectSpec.parse("fax:123")
