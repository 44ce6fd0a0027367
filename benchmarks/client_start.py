"""How long a command takes to start, as a ratio to a bare Python of the same environment.

Run: ``python benchmarks/client_start.py``. Prints a Markdown table; medians of 15 runs, in turn, so
that other load on the machine meets all of them alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
RUNS = 15
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import typer'": [sys.executable, "-c", "import typer"],
    "interns --version": [BIN / "interns", "--version"],
    "interns list --json (daemon runs)": [BIN / "interns", "list", "--json"],
    "interns approvals list --json (daemon runs)": [
        BIN / "interns",
        "approvals",
        "list",
        "--json",
    ],
}


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "INTERNS_HOME": home}
        cold = _seconds([BIN / "interns", "status", "--json"], environment)
        started = _seconds([BIN / "interns", "list", "--json"], environment)
        spent: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(RUNS):
            for name, command in COMMANDS.items():
                spent[name].append(_seconds(command, environment))
        subprocess.run([BIN / "interns", "stop"], env=environment, check=True, capture_output=True)
    bare = statistics.median(spent["python -c pass"])
    print("| command | median ms | × bare Python |\n|---|---|---|")
    for name, seconds in spent.items():
        median = statistics.median(seconds)
        print(f"| `{name}` | {median * 1000:.0f} | {median / bare:.1f} |")
    print(f"| `interns status` without a daemon, once | {cold * 1000:.0f} | {cold / bare:.1f} |")
    print(f"| `interns list` that starts the daemon, once | {started * 1000:.0f} | |")


def _seconds(command: list[str | Path], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=False, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
