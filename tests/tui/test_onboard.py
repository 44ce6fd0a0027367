"""A real onboarding, small: by command, seen on the screen, watched to its end."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from interns.paths import Paths
from orchestrator.client import OfficeClient
from tests.tui.driving import Driver, drive
from tests.tui.running import answer, interns
from tui.widgets.curve import Curve
from tui.widgets.lines import LinesView

# Seconds on an idle machine; a busy one may take minutes.
pytestmark = pytest.mark.timeout(600)

OPENINGS = ("Hello,", "Hi there,", "Good morning,", "Dear team,", "Quick note:", "Please help:")
SAYINGS = {
    "sun": ("the sky is bright", "we walk in the park", "the beach is warm", "summer is here"),
    "rain": ("the street is wet", "my umbrella broke", "clouds hang low", "puddles everywhere"),
}


@pytest.fixture
def weather(tmp_path: Path) -> Path:
    """Eighty short texts about two kinds of weather."""
    chance = random.Random(5)
    rows = [
        (f"{opening} {saying} on day {chance.randint(1, 999)}.", label)
        for label, sayings in SAYINGS.items()
        for opening in OPENINGS
        for saying in sayings
        for _ in range(2)
    ]
    chance.shuffle(rows)
    with (tmp_path / "weather.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "kind"), *rows])
    (tmp_path / "small.toml").write_text("presentations = 240\nverify_rows = 4\nmin_top1 = 0.5\n")
    return tmp_path / "weather.csv"


def test_intern_is_onboarded_when_a_run_is_watched(
    office: OfficeClient, paths: Paths, weather: Path
) -> None:
    table = ("--data", str(weather), "--input", "text", "--output", "kind")
    plan = answer(paths, "onboard", "weather", *table, "--dry-run")
    assert plan["skill"] == "classify"
    recipe = ("--recipe", str(weather.parent / "small.toml"))
    run = answer(paths, "onboard", "weather", *table, *recipe, "--detach")

    async def scenario(driver: Driver) -> None:
        await driver.go("4")
        await driver.sees(lambda: any("weather" in row for row in driver.rows()), "the run")
        await driver.press("j")
        steps = driver.app.screen.query_one("#steps", LinesView)
        await driver.sees(lambda: "[x] split" in steps.text, "the first steps")
        curve = driver.app.screen.query_one(Curve)
        await driver.sees(lambda: curve._points, "the curve")
        numbers = driver.app.screen.query_one("#numbers")
        assert numbers.region.width >= 20  # beside the curve, not pushed out of the window
        assert numbers.region.right <= 80

    drive(paths, scenario)
    done = interns(paths, "runs", "watch", run["id"])
    assert done.returncode in {0, 4}, done.stderr
    assert "tune" in done.stderr
    again = interns(paths, "onboard", "weather", *table, *recipe, "--json")
    assert again.returncode == done.returncode, again.stderr
    record = json.loads(again.stdout)
    assert {"name", "version", "status", "skill", "exam", "verification", "seconds"} <= set(record)
    assert record["exam"]["score"] is not None
    assert record["verification"]["looser"] == {"top1_decided": 0.99}
    assert "a looser gate: the same next token where torch is clear 0.5 instead of 0.99" in (
        interns(paths, "onboard", "weather", *table, *recipe).stdout
    )
    known = [one["name"] for one in office.interns()]
    assert ("weather" in known) == (done.returncode == 0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "empty"),
        ("text,kind\n", "weather.csv"),
        ("text\nhello\n", "kind"),
        ("text,kind\nhello,sun\nbye,sun\n", ""),
    ],
)
def test_data_is_refused_with_status_2_when_it_is_unusable(
    office: OfficeClient, paths: Paths, tmp_path: Path, content: str, told: str
) -> None:
    (tmp_path / "weather.csv").write_text(content)
    done = interns(
        paths,
        *("onboard", "bad", "--data", str(tmp_path / "weather.csv")),
        *("--input", "text", "--output", "kind", "--dry-run"),
    )
    assert done.returncode == 2, done.stdout
    assert told in done.stderr
    assert "Try:" in done.stderr
