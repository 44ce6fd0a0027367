"""How commands speak: data on stdout, narration on stderr, JSON when asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from interns.errors import InternsError
from tui.model.visible import visible

GAP = "  "


def prepare_streams() -> None:
    """Let any text be written, whatever the locale."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def say(text: str) -> None:
    """Write narration to stderr at once."""
    print(visible(text), file=sys.stderr, flush=True)


def emit(value: Any) -> None:
    """Write one JSON object or array, and nothing else, to stdout."""
    print(json.dumps(value, ensure_ascii=not _utf8(), indent=2, default=str), flush=True)


def emit_line(value: Any) -> None:
    """Write one line of JSON to stdout at once, for streams of events."""
    print(json.dumps(value, ensure_ascii=not _utf8(), default=str), flush=True)


def show(text: str, *, end: str = "\n") -> None:
    """Write data to stdout; on a terminal control characters are made visible."""
    print(visible(text) if sys.stdout.isatty() else text, end=end, flush=True)


def show_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows in aligned columns; the last column is never cut."""
    cells = [[visible(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    if not cells:
        return
    table = [list(headers), *cells]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    for row in table:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(GAP.join(padded).rstrip())


def show_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Write name and value pairs, one a line; empty values are left out."""
    kept = [(name, visible(str(value))) for name, value in fields if value not in {None, ""}]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        lines = value.splitlines() or [""]
        print(f"{name.ljust(width)}  {lines[0]}".rstrip())
        for line in lines[1:]:
            print(f"{' ' * width}  {line}".rstrip())


def report(error: InternsError, *, as_json: bool) -> int:
    """Write an error to stderr and return the exit status of the command."""
    if as_json:
        body = {"error": error.message, "fix": error.fix, "code": error.code}
        print(json.dumps(body, ensure_ascii=not _utf8()), file=sys.stderr, flush=True)
    else:
        say(f"Error: {error.message}")
        if error.fix:
            say(f"Try:   {error.fix}")
    return error.exit_code


def interactive() -> bool:
    """Whether a person can be asked: a terminal on both sides, no CI, no ``--no-input``."""
    if os.environ.get("INTERNS_NO_INPUT") or os.environ.get("CI"):
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


def can_draw() -> bool:
    """Whether screens can be drawn: interactive, and a terminal that moves its cursor."""
    drawn_on = sys.stderr.isatty()  # where Textual writes its screens
    return interactive() and drawn_on and os.environ.get("TERM", "") not in {"", "dumb"}


def _utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in {"utf8", "utf8sig"}
