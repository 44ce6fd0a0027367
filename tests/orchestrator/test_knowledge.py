"""Documents: indexed, searched, quoted with a place that resolves."""

from __future__ import annotations

import threading

import pytest

from interns.errors import InvalidInput
from interns.skill import Skill
from orchestrator.chat import chat
from retrieval.citation import resolve
from tests.making import version_folder
from tests.orchestrator.waiting import settled

QUESTION = "When is the shop open on Sunday?"


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "guides"
    folder.mkdir()
    (folder / "hours.md").write_text(
        "# Opening hours\n\nOn Sunday the shop is open from ten to four. "
        "On Monday the shop is closed all day.\n",
        encoding="utf-8",
    )
    (folder / "logo.png").write_bytes(bytes(range(256)) * 20)
    return folder


def ask(office, text, **options):
    options = {"intern": None, "knowledge": None, **options}
    turns = [{"role": "user", "content": text}]
    return list(chat(office.desk, turns, cancel=threading.Event(), **options))


def test_quotes_resolve_to_exact_spans_in_chat_and_in_tasks(open_office, library, tmp_path):
    guide = version_folder(
        tmp_path / "guide",
        "guide",
        seed=3,
        skill=Skill.ANSWER,
        labels=("yes", "no"),
        exemplars=("When does the shop open?", "Is there parking?"),
    )
    with open_office() as office:
        office.roster.import_from(str(guide))
        added = office.library.add(library, "shop")
        assert len(added["added"]) == 1
        assert "logo.png" in str(added["skipped"])
        assert office.library.list()[0]["name"] == "shop"
        assert "Sunday" in office.library.search(QUESTION, "shop", 3)[0]["text"]

        *_, done = ask(office, QUESTION, intern="guide", knowledge="shop")
        (citation,) = done["citations"]
        place = citation["document_id"], citation["start"], citation["end"]
        assert resolve(office.engine, *place) == citation["quote"]
        assert done["text"] == f'[{citation["n"]}] "{citation["quote"]}"'

        nothing = ask(office, QUESTION, intern="guide", knowledge="empty")[-1]
        assert (nothing["text"], nothing["abstained"]) == ("not in the sources", True)

        task = settled(office, office.submit(QUESTION, intern="guide", knowledge="shop")["id"])
        assert task["citations"][0]["quote"] in task["draft"]
        evidence = office.approval(task["approval_id"])["evidence"]
        assert {"kind": "checks", "problems": []} in evidence
        with pytest.raises(InvalidInput, match="nothing at"):
            office.library.add(tmp_path / "gone", "shop")
        with pytest.raises(InvalidInput, match="empty"):
            office.library.search("  ", "shop", 3)


def test_nobody_fits_a_text_far_from_every_exemplar(open_office):
    with open_office() as office:
        route, done = ask(office, "Compose a haiku about the moon over Kyoto.")
        assert route["intern"] is None
        assert {candidate["name"] for candidate in route["candidates"]} == {"triage", "writer"}
        assert (done["intern"], done["abstained"]) == (None, True)
