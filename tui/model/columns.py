"""Which columns a table of examples has, read from its first lines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

_FIRST_BYTES = 65536


def columns_of(path: Path) -> list[str]:
    """Return the column names of a CSV, TSV, JSON or JSON Lines file, or none if it has none.

    A hint for a form only: training reads the file itself, with its encoding detected.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_FIRST_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return []
    if path.suffix in {".jsonl", ".ndjson", ".json"}:
        return _json_columns(text)
    first = next(iter(text.splitlines()), "")
    if "\x00" in first:
        return []
    delimiter = "\t" if first.count("\t") > first.count(",") else ","
    return [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]


def _json_columns(text: str) -> list[str]:
    start = text.find("{")
    try:
        first, _ = json.JSONDecoder().raw_decode(text, start) if start >= 0 else ({}, 0)
    except ValueError:
        return []
    return list(first) if isinstance(first, dict) else []
