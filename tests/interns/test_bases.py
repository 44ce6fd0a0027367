import json

import pytest
from gguf.constants import LlamaFileType

from interns.bases import current_base, list_bases, starter, torch_folder
from interns.errors import NotFound
from interns.gguf.reader import read_gguf
from interns.manifest import check_sums
from interns.paths import Paths
from interns.settings import Settings, set_value


@pytest.fixture
def paths(tmp_path):
    return Paths(tmp_path / "home").create()


def test_starter_is_in_use_without_any_setting(paths):
    settings = Settings.load(paths)
    assert current_base(settings, paths) == starter()
    listed = list_bases(settings, paths)
    assert [(b["name"], b["in_use"]) for b in listed] == [("starter", True)]
    kind = LlamaFileType(int(read_gguf(starter().gguf).number("general.file_type")))
    assert kind.name.endswith(listed[0]["file_type"])


def test_unknown_base_is_refused_with_the_way_back(paths):
    set_value(paths, "base.name", "nowhere")
    with pytest.raises(NotFound) as caught:
        current_base(Settings.load(paths), paths)
    assert "base.name starter" in caught.value.fix


def test_torch_folder_is_made_once_and_mended_when_damaged(paths):
    folder = torch_folder(starter(), paths)
    made = (folder / "SHA256SUMS").stat().st_mtime_ns
    assert torch_folder(starter(), paths) == folder
    assert (folder / "SHA256SUMS").stat().st_mtime_ns == made
    (folder / "config.json").write_text("{}")
    torch_folder(starter(), paths)
    check_sums(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
