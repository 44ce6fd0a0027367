"""`interns bases`: the model that all interns share."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import typer

from interns.errors import GateNotMet, InternsError
from interns.paths import Paths
from orchestrator.errors import from_body
from tui.commands.options import AsJson
from tui.office import open_office
from tui.output import emit, say, show_table

bases = typer.Typer(help="The model that all interns share.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bases, name="bases")


@bases.command("list")
def list_bases(as_json: AsJson = False) -> None:
    """List the bases that are here."""
    with open_office() as office:
        found = office.bases()
    if as_json:
        emit(found)
        return
    show_table(
        ("NAME", "IN USE", "MB", "SHA256", "PATH"),
        (
            (
                one["name"],
                "yes" if one.get("in_use") else "no",
                f"{one.get('bytes', 0) / 1e6:.1f}",
                str(one["sha256"])[:12],
                one.get("path", ""),
            )
            for one in found
        ),
    )


@bases.command()
def verify(as_json: AsJson = False) -> int:
    """Compare the base in llama.cpp with its copy in torch: token ids and probabilities."""
    say(
        "Comparing llama.cpp with torch: token ids of 10,000 texts, probabilities of 12 prompts ..."
    )
    command = [sys.executable, "-m", "training", "verify-base", str(Paths.default().create().home)]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    found = _result(done)
    if as_json:
        emit(found)
    else:
        _show(found)
    return 0 if found["passed"] else GateNotMet.exit_code


def _result(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what the child found; its error is raised as ours."""
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise child_error(done) from None
    return found


def child_error(done: subprocess.CompletedProcess[str]) -> InternsError:
    """Return the error that a child process of ours wrote last."""
    lines = done.stderr.strip().splitlines() or ["It said nothing."]
    try:
        return from_body(json.loads(lines[-1]))
    except (ValueError, AttributeError):
        return InternsError(
            f"The check ended with exit status {done.returncode}: {lines[-1]}",
            "Look for the cause: interns doctor",
        )


def _show(found: dict[str, Any]) -> None:
    show_table(
        ("CHECK", "RESULT"),
        (
            ("base", found["base"]),
            ("sha256", str(found["sha256"])[:12]),
            ("equal token ids", f"{found['token_ids_equal']} of {found['texts']} texts"),
            ("same next token", f"{found['top1_agreement']:.4f} of {found['positions']} places"),
            ("mean difference", f"{found['mean_kl']:.1e} nats"),
            ("passed", "yes" if found["passed"] else "no"),
        ),
    )
