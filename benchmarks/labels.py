"""Labels read to the end against labels read as an office reads them, in one run.

Run: ``python benchmarks/labels.py RUN [--rows 200]``, where RUN is the folder of a finished run of a
label intern, such as ``benchmarks/adaptability.py`` leaves. Both ways answer each row of its exam, one
right after the other and by turns first, so that other work on the machine disturbs both alike; each
prompt is read once before, so that it is cached for both. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from interns.completion import LABEL_TAIL, ChoiceScores
from interns.manifest import VersionFolder, read_version_folder
from interns.prompt import task_messages
from training.artifacts import RunFolder
from training.example import Example
from training.steps import Workshop


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rows", type=int, default=200)
    options = parser.parse_args()
    shop = Workshop(RunFolder(options.run))
    version = read_version_folder(options.run / "version")
    rows = shop.splits.exam[: options.rows]
    found = measure(shop, version, rows)
    every, some = (seconds / len(rows) for seconds in found.seconds.values())
    print("| labels | rows | all labels | as in office | ratio | same answer | furthest apart |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {len(version.profile.labels)} | {len(rows)} | {every * 1e3:.0f} ms "
        f"| {some * 1e3:.0f} ms | {every / some:.2f} | {found.same} | {found.apart:.5f} |"
    )


@dataclass
class Found:
    """Seconds by share left unread, equal answers, and how far probabilities were apart."""

    seconds: dict[float, float] = field(default_factory=lambda: {0.0: 0.0, LABEL_TAIL: 0.0})
    same: int = 0
    apart: float = 0.0


def measure(shop: Workshop, version: VersionFolder, rows: Sequence[Example]) -> Found:
    """Answer every row both ways."""
    profile, found = version.profile, Found()
    with shop.engine() as engine:
        for number, row in enumerate(rows):
            messages = task_messages(profile, row.text, charter=shop.charter)
            ask = partial(engine.score_choices, messages, adapter=version.adapter)
            ask(profile.labels[:1])
            said: dict[float, ChoiceScores] = {}
            for tail in sorted(found.seconds, reverse=bool(number % 2)):
                begun = time.perf_counter()
                said[tail] = ask(profile.labels, temperature=profile.temperature, tail=tail)
                found.seconds[tail] += time.perf_counter() - begun
            exact, close = said[0.0], said[LABEL_TAIL]
            found.same += exact.best == close.best
            pairs = zip(exact.probabilities, close.probabilities, strict=True)
            found.apart = max(found.apart, *(abs(a - b) for a, b in pairs))
    return found


if __name__ == "__main__":
    main()
