import shutil
from dataclasses import replace

import pytest
from sqlmodel import select

from interns.bases import starter
from interns.database import open_database, session
from interns.errors import BrokenFile, Conflict, Incompatible, InvalidInput, NotFound
from interns.paths import Paths
from interns.registry import InternRegistry, check_name
from interns.tables import InternRow
from tests.making import version_folder


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "home").create()


@pytest.fixture
def registry(paths):
    return InternRegistry(open_database(paths.database), paths, starter())


def test_first_version_is_in_office_on_probation(registry, paths, tmp_path):
    version = registry.register(version_folder(tmp_path / "made"))
    intern = registry.get("triage")
    assert (intern.state, intern.version.number, version.number) == ("probation", 1, 1)
    assert version.folder == paths.interns / "triage" / "v1"
    assert intern.exemplars == ("Where is my parcel?", "I want my money back.")


def test_same_adapter_again_registers_nothing_new(registry, tmp_path):
    folder = version_folder(tmp_path / "made")
    assert registry.register(folder).number == registry.register(folder).number == 1
    assert len(registry.versions("triage")) == 1


def test_next_version_waits_until_it_is_promoted(registry, tmp_path):
    registry.register(version_folder(tmp_path / "one", seed=1))
    registry.register(version_folder(tmp_path / "two", seed=2))
    assert registry.get("triage").version.number == 1
    assert registry.promote("triage", 2).version.number == 2
    assert registry.get("triage").state == "office"
    assert [v.current for v in registry.versions("triage")] == [False, True]


def test_rollback_puts_the_version_before_back(registry, tmp_path):
    registry.register(version_folder(tmp_path / "one", seed=1))
    with pytest.raises(Conflict, match="one version"):
        registry.rollback("triage")
    registry.register(version_folder(tmp_path / "two", seed=2))
    registry.promote("triage", 2)
    assert registry.rollback("triage").version.number == 1


def test_retired_intern_is_listed_only_when_asked_for(registry, tmp_path):
    registry.register(version_folder(tmp_path / "made"))
    assert registry.retire("triage").state == "retired"
    assert registry.list() == []
    assert [i.name for i in registry.list(include_retired=True)] == ["triage"]


def test_adapter_of_another_base_is_refused(registry, tmp_path):
    other = replace(starter(), name="other", sha256="f" * 64)
    with pytest.raises(Incompatible, match="trained on base"):
        registry.register(version_folder(tmp_path / "made", base=other))
    assert registry.list() == []


def test_changed_or_unfinished_folder_registers_nothing(registry, paths, tmp_path):
    folder = version_folder(tmp_path / "made")
    (folder / "exam.json").write_text("{}")
    with pytest.raises(BrokenFile, match="changed"):
        registry.register(folder)
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(BrokenFile, match="no finished version"):
        registry.register(folder)
    with pytest.raises(NotFound):
        registry.register(tmp_path / "nowhere")
    assert not (paths.interns / "triage").exists()


def test_folder_left_by_a_dead_attempt_is_replaced(registry, paths, tmp_path):
    left = paths.interns / "triage" / "v1"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    registry.register(version_folder(tmp_path / "made"))
    assert not (left / "half").exists()


def test_version_survives_the_folder_it_came_from(registry, tmp_path):
    folder = version_folder(tmp_path / "made")
    registry.register(folder)
    shutil.rmtree(folder)
    assert registry.get("triage").version.adapter.path.is_file()


def test_unknown_name_lists_the_known_ones(registry, tmp_path):
    registry.register(version_folder(tmp_path / "made"))
    with pytest.raises(NotFound, match="Known: triage"):
        registry.get("trage")
    with pytest.raises(NotFound, match="no version 7"):
        registry.promote("triage", 7)


@pytest.mark.parametrize("name", ["", "Triage", "a b", "9lives", "x" * 41, "auto", "../up"])
def test_bad_name_is_refused(name):
    with pytest.raises(InvalidInput, match="cannot name"):
        check_name(name)


def test_failed_commit_leaves_no_row(registry, paths, tmp_path):
    folder = version_folder(tmp_path / "made")
    (paths.interns).mkdir()
    (paths.interns / "triage").write_text("a file where a folder must go")
    with pytest.raises(OSError, match="triage"):
        registry.register(folder)
    with session(open_database(paths.database)) as db:
        assert db.exec(select(InternRow)).all() == []
