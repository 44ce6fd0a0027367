"""What the examiner tells while it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from interns.manifest import read_version_folder
from training.artifacts import RunFolder
from training.evaluate import Examiner
from training.steps import Workshop

pytestmark = pytest.mark.timeout(600)  # a run is made first


def test_answers_without_constraint_are_told_one_by_one(finished_run: Path) -> None:
    shop, version = Workshop(RunFolder(finished_run)), read_version_folder(finished_run / "version")
    told: list[tuple[str, int, int]] = []
    with shop.engine() as engine:
        examiner = Examiner(
            engine, version.adapter, shop.charter, shop.recipe, lambda *words: told.append(words)
        )
        rate = examiner.stop_rate(version.profile, shop.splits.exam[:3])
    assert rate == 1.0
    assert told == [("answers without constraint", done, 3) for done in (1, 2, 3)]
