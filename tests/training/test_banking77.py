"""Proof on real data: eight intents of BANKING77, from its own CSV files to a passed exam."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.conftest import run_training

# Seconds on an idle machine; a busy one may take minutes.
pytestmark = pytest.mark.timeout(600)

DATASETS = os.environ.get("INTERNS_DATASETS", "")
INTENTS = {
    "card_arrival",
    "lost_or_stolen_card",
    "exchange_rate",
    "top_up_failed",
    "change_pin",
    "country_support",
    "transfer_timing",
    "request_refund",
}


def _take(source: Path, target: Path) -> str:
    with source.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["category"] in INTENTS]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["text", "category"])
        writer.writeheader()
        writer.writerows(rows)
    return str(target)


@pytest.mark.skipif(not DATASETS, reason="INTERNS_DATASETS names no folder of data sets")
def test_eight_banking_intents_are_learned(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    source = Path(DATASETS) / "banking77"
    folder = make_run(
        data=_take(source / "train.csv", tmp_path / "train.csv"),
        exam=_take(source / "test.csv", tmp_path / "test.csv"),
        input="text",
        output="category",
        role="Sort questions of bank customers by intent.",
        recipe={"epochs": 2, "batch_tokens": 512, "baseline_rows": 60, "verify_rows": 96},
    )
    ended = run_training(folder)
    assert ended.returncode == 0, ended.stderr[-2000:]
    outcome = json.loads((folder / "outcome.json").read_text("utf-8"))
    exam, verification = outcome["exam"], outcome["verification"]
    assert exam["examples"] == 40 * len(INTENTS)
    assert exam["score"] >= 0.85
    assert exam["score"] > exam["baseline"]
    assert verification["top1_agreement"] >= 0.99
    assert verification["token_mismatches"] == 0
