"""What the terminal can do, as findings of `interns doctor`."""

from __future__ import annotations

import locale
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

Finding = dict[str, Any]
COLUMNS, ROWS = 80, 24


def terminal_findings(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Return findings about terminal, size, characters and colour: check, status, found, fix."""
    return [_kind(environment), _size(), _characters(environment), _colour(environment)]


def plain_glyphs(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether only ASCII should be drawn: asked for, the Linux console, or no UTF-8."""
    if environment.get("INTERNS_ASCII") or environment.get("TERM") == "linux":
        return True
    stream = sys.__stdout__  # Textual puts a stand-in without an encoding in place of stdout
    encoding = getattr(stream, "encoding", None) or locale.getpreferredencoding(False)
    return "utf" not in encoding.lower()


def _kind(environment: Mapping[str, str]) -> Finding:
    term = environment.get("TERM", "")
    if not sys.stdout.isatty():
        return _finding("terminal", "ok", "output is not a terminal: commands work, screens do not")
    if term in {"", "dumb"}:
        fix = "export TERM=xterm-256color, or use --plain"
        return _finding("terminal", "warn", f"TERM={term or 'unset'} cannot draw screens", fix)
    return _finding("terminal", "ok", f"TERM={term}")


def _size() -> Finding:
    size = shutil.get_terminal_size()
    found = f"{size.columns} columns, {size.lines} rows"
    if size.columns < COLUMNS or size.lines < ROWS:
        fix = f"make the window at least {COLUMNS} columns by {ROWS} rows"
        return _finding("terminal size", "warn", found, fix)
    return _finding("terminal size", "ok", found)


def _characters(environment: Mapping[str, str]) -> Finding:
    if plain_glyphs(environment):
        fix = "export LANG=C.UTF-8"
        return _finding("characters", "warn", "only ASCII is drawn: curves are coarser", fix)
    return _finding("characters", "ok", "UTF-8")


def _colour(environment: Mapping[str, str]) -> Finding:
    if environment.get("NO_COLOR"):
        return _finding("colour", "ok", "NO_COLOR is set: no colour codes are written")
    return _finding("colour", "ok", "colour is never the only sign")


def _finding(check: str, status: str, found: str, fix: str = "") -> Finding:
    return {"check": check, "status": status, "found": found, "fix": fix}
