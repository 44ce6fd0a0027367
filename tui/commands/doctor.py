"""`interns doctor`: what is wrong here, and which command mends it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import typer

from interns.errors import GateNotMet
from interns.paths import Paths
from tui.commands.options import AsJson
from tui.model.terminal import terminal_findings
from tui.output import emit, say, show, show_table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(as_json: AsJson = False) -> int:
    """Check this machine and the office. Exit status 4 when a check fails."""
    if not as_json:
        say("Looking ...")
    findings = [*_office_findings(), *terminal_findings()]
    failed = [one for one in findings if one["status"] == "fail"]
    if as_json:
        emit(findings)
    else:
        rows = [(one["status"], one["check"], one["found"]) for one in findings]
        show_table(("STATUS", "CHECK", "FOUND"), rows)
        for one in findings:
            if one["status"] != "ok" and one.get("fix"):
                show(f"Try for {one['check']}: {one['fix']}")
    return GateNotMet.exit_code if failed else 0


def _office_findings() -> list[dict[str, Any]]:
    """Return the office's findings, from a child so that a broken library cannot end us too."""
    home = str(Paths.default().home)
    command = [sys.executable, "-m", "orchestrator.doctor", "--json", "--home", home]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    try:
        found = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return [
            {
                "check": "installation",
                "status": "fail",
                "found": f"the checks ended with exit status {done.returncode}: {last}",
                "fix": "make setup",
            }
        ]
    return list(found)
