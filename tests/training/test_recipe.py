"""Recipes: defaults by skill, overrides checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interns.errors import InvalidInput
from interns.skill import Skill
from training.recipe import Recipe, load_overrides, make_recipe


def test_overrides_win_over_the_skill_and_the_defaults() -> None:
    assert make_recipe(Skill.WRITE, {}).lr != Recipe.lr
    assert make_recipe(Skill.WRITE, {}).rate(9000) == make_recipe(Skill.WRITE, {}).lr
    assert make_recipe(Skill.WRITE, {"lr": 1}).lr == 1.0


def test_rate_is_lower_the_longer_the_run_when_none_is_set() -> None:
    recipe = make_recipe(Skill.CLASSIFY, {})
    assert recipe.rate(1) == recipe.rate(200) == 2e-3
    assert recipe.rate(800) == pytest.approx(1e-3)
    assert make_recipe(Skill.CLASSIFY, {"lr": 3e-4}).rate(10_000) == 3e-4


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ({"learning_rate": 1e-3}, "no setting 'learning_rate'"),
        ({"rank": 0}, "between 1 and 256"),
        ({"rank": "16"}, "kind int"),
        ({"rank": 1.5}, "kind int"),
        ({"lr": True}, "kind float"),
        ({"beta2": 1.0}, "between 0 and 0.99999"),
        ({"rslora": 1}, "kind bool"),
        ({"missions": "one"}, "list of texts"),
        ({"targets": []}, "no target layers"),
        ({"use_dora": True}, "DoRA scales"),
        ({"bias": "all"}, "no biases"),
        ({"lora_bias": True}, "no biases"),
        ({"modules_to_save": ["lm_head"]}, "no whole modules"),
        ({"trainable_token_indices": [1]}, "no single rows"),
    ],
)
def test_wrong_settings_are_refused(overrides: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        make_recipe(Skill.CLASSIFY, overrides)


def test_hash_changes_with_any_setting() -> None:
    plain = make_recipe(Skill.CLASSIFY, {})
    assert plain.sha256 == make_recipe(Skill.CLASSIFY, {}).sha256
    assert plain.sha256 != make_recipe(Skill.CLASSIFY, {"seed": 8}).sha256


def test_passes_follow_the_number_of_rows() -> None:
    recipe = make_recipe(Skill.CLASSIFY, {"presentations": 7000})
    assert [recipe.passes(n) for n in (10, 1000, 100_000)] == [12, 7, 4]
    assert make_recipe(Skill.WRITE, {}).passes(100_000) == 2
    assert make_recipe(Skill.WRITE, {"least_epochs": 30}).passes(10) == 30
    assert make_recipe(Skill.CLASSIFY, {"epochs": 5}).passes(10) == 5


def test_recipe_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("lr = = 3")
    with pytest.raises(InvalidInput, match="not TOML"):
        load_overrides(path)
    path.write_text("lr = 3e-4\nmissions = ['x']")
    assert load_overrides(path) == {"lr": 3e-4, "missions": ["x"]}
