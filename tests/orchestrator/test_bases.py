"""Bases of one's own: fetched, converted, checked, used; whatever goes wrong changes nothing."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from interns.base_source import parse_source, recommended
from interns.bases import bases_here, starter, torch_folder
from interns.errors import (
    Conflict,
    GateNotMet,
    Incompatible,
    InvalidInput,
    NotFound,
)
from interns.gguf.adapter_file import file_sha256, template_sha256
from interns.gguf.chat_template import OURS
from interns.gguf.families import FAMILIES
from interns.gguf.reader import read_gguf
from interns.runtime.llama_cpp.library import backend_description
from orchestrator.chat import chat
from orchestrator.errors import from_body
from tests.orchestrator.waiting import until
from tests.tiny_bases import write_tiny_base
from tests.tiny_hub import TinyHub

pytestmark = pytest.mark.timeout(600)
WIDE = {"intermediate_size": 24576}  # so that a download takes more than one of the hub's chunks


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A tiny random Llama without a chat template."""
    folder = write_tiny_base(tmp_path_factory.mktemp("tiny") / "tiny-llama", "llama")
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture
def hub():
    made = TinyHub()
    yield made
    made.close()


def pull(office, source, *, name="", file_type="", environment=None, cancel=None):
    """All events of a pull; an error is raised."""
    events = []
    for event in office.bases.pull(
        str(source),
        name=name,
        file_type=file_type,
        environment=environment or {},
        cancel=cancel or threading.Event(),
    ):
        events.append(event)
        if event["event"] == "error":
            raise from_body(event)
    return events


def ask(office, text, name):
    turns = [{"role": "user", "content": text}]
    return list(chat(office.desk, turns, intern=name, knowledge=None, cancel=threading.Event()))


def untouched(office, office_home):
    """The base in use is what it was, and nothing half-made can be mistaken for a base."""
    here = [one["name"] for one in office.bases.list() if one["here"]]
    return (office.desk.base, here) == (starter(), ["starter"])


def test_recommended_bases_are_of_families_that_can_be_served():
    known = {family.model_type for family in FAMILIES}
    assert len(recommended()) == 11
    for one in recommended():
        assert one.family in known
        assert parse_source(one.name).place == one.repository
        assert parse_source(one.repository).licence == one.licence
    with pytest.raises(InvalidInput, match="no recommended base") as caught:
        parse_source("smolm2-135m-instruct")
    assert "smollm2-135m-instruct" in caught.value.fix


def test_base_from_the_hub_is_used_and_interns_of_the_old_one_wait(
    office_home, open_office, hub, tmp_path
):
    folder = write_tiny_base(tmp_path / "wide", "llama", **WIDE)
    repository = hub.add("some/Wide-Base", folder, broken_off=[12 << 20])
    with open_office() as office:
        assert ask(office, "Where is my parcel?", "triage")[-1]["event"] == "done"
        events = pull(office, "some/Wide-Base", environment=hub.environment)
        steps = [event.get("step") for event in events]
        assert [one for one in dict.fromkeys(steps) if one in {"look up", "convert", "verify"}] == [
            "look up",
            "convert",
            "verify",
        ]
        weights = [start for name, start, _ in hub.asked if name == "model.safetensors"]
        assert weights[0] == 0
        assert weights[1] > 0  # broken off, then taken up where it was
        assert len(weights) == 2
        base = events[-1]["base"]
        assert (base["name"], base["verified"], base["file_type"]) == ("wide-base", True, "Q8_0")
        assert base["source"] == "some/Wide-Base"
        assert base["sha256"] == file_sha256(Path(base["path"]))
        assert not (Path(base["path"]).parent / "source").exists()
        assert repository.broken_off == []

        assert office.bases.use("wide-base")["in_use"]
        assert office.status()["base"] == "wide-base"
        (triage, writer) = office.roster.list()
        assert not triage["base_in_use"]
        assert triage["base_name"] == "starter"
        failed = ask(office, "Where is my parcel?", "triage")[-1]
        assert failed["code"] == "incompatible"
        assert "bases use starter" in failed["fix"]
        assert "teach triage --base wide-base" in failed["fix"]
        with pytest.raises(Incompatible):
            office.submit("Sort this", intern="writer")
        assert writer["version"] == 1
        assert ask(office, "Where is my parcel?", None)[-1]["abstained"]
    with open_office() as office:
        assert office.desk.base.name == "wide-base"  # also after a restart
        assert office.bases.use("starter")["in_use"]
        assert ask(office, "Where is my parcel?", "triage")[-1]["event"] == "done"
        again = pull(office, "some/Wide-Base", environment=hub.environment)
        assert again[-1]["base"]["verified"]
        assert len([name for name, *_ in hub.asked if name == "model.safetensors"]) == 2
        with pytest.raises(Conflict, match="here already"):
            pull(office, tmp_path / "wide", name="wide-base")


def test_stopped_download_goes_on_where_it_was(office_home, open_office, hub, tmp_path):
    folder = write_tiny_base(tmp_path / "wide", "llama", **WIDE)
    hub.add("some/wide", folder, held_after=25 << 20)
    with open_office() as office:
        cancel = threading.Event()
        events = office.bases.pull(
            "some/wide", name="", file_type="", environment=hub.environment, cancel=cancel
        )
        parts = office_home.bases / ".pulling" / "wide" / "source"

        def stop_on_the_way():
            until(lambda: [p for p in parts.glob("*.part") if p.stat().st_size >= 10 << 20], 60)
            cancel.set()

        threading.Thread(target=stop_on_the_way, daemon=True).start()
        seen = list(events)
        assert seen[-1]["code"] == "unavailable"
        assert "goes on" in seen[-1]["fix"]
        assert untouched(office, office_home)
        hub.release.set()
        assert pull(office, "some/wide", environment=hub.environment)[-1]["base"]["verified"]
        weights = [start for name, start, _ in hub.asked if name == "model.safetensors"]
        assert weights == [0, weights[1]]
        assert weights[1] >= 10 << 20


def test_gated_repository_wants_a_person_and_then_a_token(open_office, office_home, hub, tiny):
    hub.add("maker/gated", tiny, gated=True)
    with open_office() as office:
        with pytest.raises(Exception, match="gated") as caught:
            pull(office, "maker/gated", environment=hub.environment)
        assert (caught.value.code, caught.value.exit_code) == ("needs_human", 5)
        assert "HF_TOKEN" in caught.value.fix
        assert untouched(office, office_home)
        with pytest.raises(NotFound, match="no repository"):
            pull(office, "maker/unknown", environment=hub.environment)
        token = hub.environment | {"HF_TOKEN": "hf_abc"}
        assert pull(office, "maker/gated", environment=token)[-1]["base"]["verified"]
        assert hub.asked[-1][2] == "Bearer hf_abc"
        stored = [path for path in office_home.home.rglob("*") if path.is_file()]
        assert not any(b"hf_abc" in path.read_bytes() for path in stored)


def test_offline_setting_and_silent_hub_are_told(open_office, office_home, hub):
    gone = hub.environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    with open_office() as office:
        for environment, why in ((gone, "could not be fetched"), ({"HF_HUB_OFFLINE": "1"}, "off")):
            with pytest.raises(Exception, match=why) as caught:
                pull(office, "some/base", environment=environment)
            assert caught.value.code == "unavailable"
            assert caught.value.fix
        assert untouched(office, office_home)


def test_damaged_download_is_found_and_fetched_anew(open_office, office_home, hub, tiny):
    repository = hub.add("some/tiny", tiny, damaged={"model.safetensors"})
    with open_office() as office:
        with pytest.raises(Exception, match="arrived damaged") as caught:
            pull(office, "some/tiny", environment=hub.environment)
        assert caught.value.code == "broken_file"
        assert untouched(office, office_home)
        repository.damaged.clear()
        assert pull(office, "some/tiny", environment=hub.environment)[-1]["base"]["verified"]


def test_full_disk_is_told_before_the_first_byte(open_office, office_home, hub, tiny):
    hub.add("some/huge", tiny, claimed={"model.safetensors": 10**16})
    with open_office() as office:
        with pytest.raises(Exception, match="free at") as caught:
            pull(office, "some/huge", environment=hub.environment)
        assert caught.value.code == "no_space"
        assert "same again" in caught.value.fix
        assert hub.asked == []
        assert untouched(office, office_home)


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        ("truncated", "broken_file", "cut off"),
        ("tokenizer", "incompatible", "cannot represent the tokenizer"),
        ("family", "incompatible", "'mamba' are not supported"),
    ],
)
def test_unusable_folder_is_refused(open_office, office_home, tiny, tmp_path, change, code, why):
    folder = shutil.copytree(tiny, tmp_path / "changed")
    if change == "truncated":
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    if change == "tokenizer":
        data = json.loads((folder / "tokenizer.json").read_text())
        data["model"]["type"] = "WordPiece"
        (folder / "tokenizer.json").write_text(json.dumps(data))
    if change == "family":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    with open_office() as office:
        with pytest.raises(Exception, match=why) as caught:
            pull(office, folder)
        assert caught.value.code == code
        assert caught.value.fix
        assert untouched(office, office_home)
        assert ask(office, "Where is my parcel?", "triage")[-1]["event"] == "done"


def test_base_without_a_template_gets_ours_and_its_gguf_can_be_pulled(
    open_office, office_home, tiny, tmp_path
):
    with open_office() as office:
        base = pull(office, tiny, file_type="F32")[-1]["base"]
        assert base["name"] == "tiny-llama-f32"
        assert base["template"] == "ours"
        assert base["template_sha256"] == template_sha256(OURS)
        gguf = Path(base["path"])
        assert read_gguf(gguf).text("tokenizer.chat_template") == OURS
        copied = shutil.copyfile(gguf, tmp_path / "Ready-Made.gguf")
        made = pull(office, copied)[-1]["base"]
        assert (made["name"], made["verified"]) == ("ready-made", True)
        assert made["sha256"] == base["sha256"]
        assert made["template"] == "the base's own"


def test_smaller_file_by_llama_cpp_is_made_and_unverified_base_is_not_used(
    open_office, office_home, tmp_path, monkeypatch
):
    monkeypatch.setenv("INTERNS_ENGINE_EXACT", "true")
    folder = write_tiny_base(
        tmp_path / "tiny", "llama-2", hidden_size=256, intermediate_size=256, initializer_range=0.02
    )
    with open_office() as office:
        base = pull(office, folder, name="small", file_type="q4_k_m")[-1]["base"]
        assert base["file_type"] == "Q4_K_M"
        kinds = {info.kind.name for info in read_gguf(Path(base["path"])).tensors.values()}
        assert "Q4_K" in kinds
        verification = Path(base["path"]).with_name("verification.json")
        found = json.loads(verification.read_text())
        verification.write_text(json.dumps(found | {"passed": False}))
        with pytest.raises(GateNotMet, match="not verified") as caught:
            office.bases.use("small")
        assert "bases verify small" in caught.value.fix
        assert office.desk.base == starter()
        (*_, done) = office.bases.verify("small", threading.Event())
        assert done["verification"]["passed"]
        assert done["verification"]["backend"] == backend_description()
        assert done["verification"]["threads"] == 1  # as the office's engine, not by the machine
        assert done["verification"]["exact"]
        gguf = Path(base["path"])
        gguf.write_bytes(gguf.read_bytes()[:-100])
        with pytest.raises(GateNotMet, match="not verified"):
            office.bases.use("small")
        assert office.desk.base == starter()
        assert ask(office, "Where is my parcel?", "triage")[-1]["event"] == "done"


def test_base_named_elsewhere_cannot_be_switched_here(open_office, office_home, monkeypatch):
    torch_folder(starter(), office_home)
    with open_office() as office:
        pull(office, torch_folder(starter(), office_home), name="second")
        monkeypatch.setenv("INTERNS_BASE_NAME", "starter")
        with pytest.raises(Conflict, match="environment"):
            office.bases.use("second")
        assert office.desk.base == starter()
        for name in ("starter", "Bad Name", "../x"):
            with pytest.raises(InvalidInput, match="cannot name a base"):
                pull(office, torch_folder(starter(), office_home), name=name)


def test_base_in_use_stays_when_the_change_cannot_be_recorded(open_office, office_home):
    folder = torch_folder(starter(), office_home)
    with open_office() as office:
        pull(office, folder, name="second")
        other = next(base for base in bases_here(office_home) if base.name == "second")
        serving = office.desk.runtime

        def fail() -> None:
            raise OSError("the disk is full")

        with pytest.raises(OSError, match="full"):
            office.desk.use_base(other, fail)
        assert office.desk.base == starter()
        assert office.desk.runtime is serving
        assert ask(office, "Where is my parcel?", "triage")[-1]["event"] == "done"


def test_base_is_changed_when_the_model_is_still_loading(open_office, office_home):
    folder = torch_folder(starter(), office_home)
    with open_office() as office:
        pull(office, folder, name="second")
        office.desk.llm.warm()  # as a daemon does when it starts
        office.bases.use("second")
        assert office.desk.base.name == "second"
        assert office.desk.runtime.base.name == "second"
