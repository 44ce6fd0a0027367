"""All 77 intents of BANKING77, official split, by the command a person would type.

Run: ``INTERNS_DATASETS=folder python benchmarks/proof_banking77.py`` (or ``make proof``), where
``folder/banking77`` holds the data set's own ``train.csv`` and ``test.csv``. Prints Markdown. Takes
more than half an hour on two cores: tuning and exam took 33 and 40 minutes of one busy thread each.
The office lies in a temporary folder and is stopped at the end.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
ROLE = "Sort questions of bank customers by intent."
SOURCE = "BANKING77 (Casanueva et al. 2020, arXiv:2003.04807), CC BY 4.0"
RECIPE = Path(__file__).with_name("banking77.toml")


def main() -> int:
    """Onboard, print the figures, stop the office; return the exit status."""
    data = Path(os.environ.get("INTERNS_DATASETS", "")) / "banking77"
    if not (data / "train.csv").is_file():
        print("Set INTERNS_DATASETS to the folder that holds banking77/train.csv and test.csv.")
        return 2
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "INTERNS_HOME": home}
        started = time.monotonic()
        try:
            done = _interns(environment, *_onboarding(data))
            seconds = time.monotonic() - started
            if not done.stdout.strip():
                print(done.stderr[-2000:])
                return done.returncode or 1
            print(_markdown(json.loads(done.stdout), _details(Path(home)), seconds))
        finally:
            _interns(environment, "stop")
    return done.returncode


def _onboarding(data: Path) -> list[str]:
    return [
        *("onboard", "banking77", "--data", str(data / "train.csv"), "--exam"),
        *(str(data / "test.csv"), "--input", "text", "--output", "category"),
        *("--skill", "classify", "--role", ROLE, "--attribution", SOURCE),
        *("--recipe", str(RECIPE), "--json"),
    ]


def _interns(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "interns", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=None if "onboard" in arguments else subprocess.DEVNULL,
        text=True,
        check=False,
    )


def _details(home: Path) -> dict[str, Any]:
    """The outcome as the training child wrote it: more than the command prints."""
    (outcome,) = home.glob("runs/*/outcome.json")
    return dict(json.loads(outcome.read_text("utf-8")))


def _markdown(printed: dict[str, Any], outcome: dict[str, Any], seconds: float) -> str:
    exam, found, tuning = outcome["exam"], outcome["verification"], outcome["tuning"]
    low, high = exam["interval"]
    rows = [
        ("status", printed["status"]),
        ("accuracy, official test", f"{exam['score']:.3f} (95 % {low:.3f}–{high:.3f})"),
        ("exam rows", exam["examples"]),
        ("macro F1", f"{exam['details']['macro_f1']:.3f}"),
        ("calibration error", f"{exam['ece']:.3f}"),
        (f"base+prompt ({exam['baseline_examples']} rows)", f"{exam['baseline']:.3f}"),
        ("another mission", f"{exam['details']['accuracy_under_another_mission']:.3f}"),
        ("top-1 agreement, llama.cpp and torch", f"{found['top1_agreement']:.4f}"),
        ("mean KL", f"{found['mean_kl']:.1e}"),
        ("token mismatches", found["token_mismatches"]),
        ("answers that end by themselves", f"{found['stop_rate']:.0%}"),
        ("tuning", f"{tuning['seconds']:.0f} s, {tuning['tokens_per_s']:.0f} tokens/s"),
        ("the whole onboarding", f"{seconds:.0f} s"),
        ("machine", f"{os.cpu_count()} CPUs, {platform.machine()}"),
    ]
    lines = ["| BANKING77, 77 intents | |", "|---|---|"]
    return "\n".join(lines + [f"| {name} | {value} |" for name, value in rows])


if __name__ == "__main__":
    sys.exit(main())
