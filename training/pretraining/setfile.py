"""The files of instruction and exam sets: rows read one by one, damage told."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interns.errors import BrokenFile


@contextmanager
def whole(path: Path, fix: str) -> Iterator[None]:
    """Tell which set is damaged when reading it fails.

    Raises:
        BrokenFile: It is truncated or in another form.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise BrokenFile(
            f"{path.parent.name}/{path.name} is truncated or in another form: {error!r}.", fix
        ) from error


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def csv_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file with a header."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(lines)
