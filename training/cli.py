"""``python -m training``: run or plan one run folder. Started by the office, or by hand.

    python -m training run FOLDER     work on FOLDER/request.json; again to resume
    python -m training plan FOLDER    what it would do, as JSON; trains nothing
    python -m training pull-base FOLDER    fetch and convert the base of FOLDER/request.json
    python -m training verify-base FOLDER  the base of FOLDER/request.json, llama.cpp against torch

Narration goes to stderr, the outcome as JSON to stdout; `pull-base` writes lines of JSON before it.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from interns.errors import InternsError
from interns.waiting import wait_awake

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text, folder in (
        ("run", "train, verify, examine, seal", "holds request.json"),
        ("plan", "only look", "holds request.json"),
        ("pull-base", "fetch and convert a base", "holds request.json"),
        ("verify-base", "compare a base with its copy in torch", "holds request.json"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path, help=folder)
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    wait_awake()  # before torch is imported
    try:
        result = _COMMANDS[chosen.command](chosen.folder)
    except InternsError as error:
        print(
            json.dumps({"error": error.message, "fix": error.fix, "code": error.code}),
            file=sys.stderr,
        )
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(result, ensure_ascii=False))
    return 0


def _run(folder: Path) -> dict[str, Any]:
    from training.artifacts import read_json
    from training.pipeline import train_intern

    _log_to(folder / "log.txt")
    train_intern(folder, listener=_narrate)
    return dict(read_json(folder / "outcome.json"))


def _plan(folder: Path) -> dict[str, Any]:
    from training.artifacts import RunFolder
    from training.estimate import estimate
    from training.gather import check_targets, gather
    from training.request import parse_request
    from training.steps import find_base

    request = parse_request(RunFolder(folder).request())
    base = find_base(request)
    found = gather(request)
    check_targets(found.recipe, base)
    return {
        "name": request.name,
        "skill": found.skill,
        "role": request.role_for(found.skill),
        "summary": found.sentence,
        "report": found.splits.report,
        "schema": found.splits.schema,
        "recipe": found.recipe.to_dict(),
        "base": base.name,
        "estimate": estimate(found.splits, found.skill, found.recipe, base).to_dict(),
    }


def _pull_base(folder: Path) -> dict[str, Any]:
    from training.base_pull import pull_base

    def emit(event: Mapping[str, Any]) -> None:
        print(json.dumps(event, ensure_ascii=False), flush=True)

    return pull_base(folder, emit)


def _verify_base(folder: Path) -> dict[str, Any]:
    from interns.bases import base_named
    from interns.paths import Paths
    from interns.settings import computing_of
    from training.artifacts import read_json
    from training.base_check import verify_base
    from training.reference import quiet_libraries

    request = read_json(folder / "request.json")
    paths = Paths(Path(request["home"])).create()
    with quiet_libraries():
        computing = computing_of(request.get("engine") or {})
        return verify_base(base_named(request["name"], paths), paths, computing)


_COMMANDS = {
    "run": _run,
    "plan": _plan,
    "pull-base": _pull_base,
    "verify-base": _verify_base,
}


def _narrate(event: Mapping[str, Any]) -> None:
    print(f"{event['step']:>8}  {event['text']}", file=sys.stderr, flush=True)


def _log_to(path: Path) -> None:
    if path.parent.is_dir():
        logging.basicConfig(
            filename=path, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s"
        )
        logging.captureWarnings(capture=True)
    warnings.simplefilter("ignore", FutureWarning)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
