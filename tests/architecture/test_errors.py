"""Every error says what to try."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from interns import errors

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("interns", "orchestrator", "retrieval", "training", "tui")
KINDS = {kind.__name__ for kind in errors.BY_CODE.values()}


def _without_fix(source: str) -> Iterator[int]:
    """Lines where an error is made with a message alone."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        unpacked = any(isinstance(each, ast.Starred) for each in node.args)
        fixes = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "fix")]
        empty = all(isinstance(fix, ast.Constant) and not fix.value for fix in fixes)
        if name in KINDS and not unpacked and empty:
            yield node.lineno


def test_every_error_says_what_to_try():
    silent = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for line in _without_fix(path.read_text("utf-8"))
    ]
    assert silent == []


def test_the_check_itself_finds_errors_without_a_way_out():
    raised = (
        'InvalidInput("No.")\nerrors.Busy("No.", "")\nBusy("No.", retry_after_s=3.0)\n'
        'Busy("No.", "Wait.")\nBusy("No.", fix=told)\nraise NotFound\n'
    )
    assert list(_without_fix(raised)) == [1, 2, 3]
