import pytest

from interns.errors import InvalidInput
from interns.paths import Paths
from interns.settings import Settings, get_value, keys, set_value, source_of


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Paths(tmp_path / "home")


def test_defaults_hold_when_nothing_is_written(paths):
    settings = Settings.load(paths)
    assert (settings.base.name, settings.autonomy.default) == ("starter", "ask always")
    assert source_of(paths, "base.name") == "default"


def test_environment_beats_project_beats_user(paths, tmp_path, monkeypatch):
    set_value(paths, "engine.slots", "3")
    assert get_value(paths, "engine.slots") == 3
    (tmp_path / "interns.toml").write_text("[engine]\nslots = 5\n")
    assert (get_value(paths, "engine.slots"), source_of(paths, "engine.slots")) == (
        5,
        "interns.toml",
    )
    monkeypatch.setenv("INTERNS_ENGINE_SLOTS", "7")
    assert (get_value(paths, "engine.slots"), source_of(paths, "engine.slots")) == (
        7,
        "environment",
    )


def test_set_keeps_comments_and_other_keys(paths):
    paths.create()
    paths.config.write_text('# ours\n[charter]\nmission = "Old"  # keep\n[engine]\nslots = 2\n')
    set_value(paths, "charter.mission", "Help = people, 24/7")
    text = paths.config.read_text()
    assert "# ours" in text
    assert "slots = 2" in text
    assert get_value(paths, "charter.mission") == "Help = people, 24/7"


def test_lists_are_given_with_commas(paths):
    set_value(paths, "effects.webhooks", "http://127.0.0.1:1/, https://shop.test/hook")
    assert Settings.load(paths).effects.webhooks == (
        "http://127.0.0.1:1/",
        "https://shop.test/hook",
    )


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("engine.slots", "0", "engine.slots"),
        ("engine.slots", "many", "engine.slots"),
        ("engine.gpu_layers", "-5", "greater than or equal to 0"),
        ("engine.gpu_layers", "all", "engine.gpu_layers"),
        ("charter.vision", "x", "charter.mission"),
        ("autonomy.default", "always trust", "autonomy.default"),
    ],
)
def test_bad_value_is_refused_and_nothing_written(paths, key, text, words):
    with pytest.raises(InvalidInput) as caught:
        set_value(paths, key, text)
    assert words in caught.value.message + caught.value.fix
    assert not paths.config.exists()


def test_broken_file_is_named_and_not_overwritten(paths):
    paths.create()
    paths.config.write_text("[charter\n")
    with pytest.raises(InvalidInput, match=r"config\.toml"):
        set_value(paths, "charter.mission", "x")
    assert paths.config.read_text() == "[charter\n"


def test_every_problem_is_named_at_once(paths):
    paths.create()
    paths.config.write_text('[engine]\nslots = 0\ncontext_tokens = 1\n[nonsense]\na = "b"\n')
    with pytest.raises(InvalidInput) as caught:
        Settings.load(paths)
    for word in ("slots", "context_tokens", "nonsense"):
        assert word in caught.value.message


def test_every_key_has_a_sentence():
    assert all(sentence.endswith(".") for _, sentence, _ in keys())
