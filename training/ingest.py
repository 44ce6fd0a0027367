"""Any table or JSON file becomes rows of named text, or is refused with a reason.

Knows nothing of skills, labels or splits.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charset_normalizer import from_bytes

from interns.errors import InvalidInput

MAX_BYTES = 2 * 2**30
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_MAGIC = (
    (b"PK\x03\x04", "a zip or Excel file"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PAR1", "a Parquet file"),
    (b"GGUF", "a GGUF model"),
    (b"SQLite format 3", "a SQLite database"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_LEGACY = ("cp1250", "cp1251", "cp1252", "cp1253", "shift_jis", "gb18030", "euc_kr")
_WESTERN = set("àáâäãåæçèéêëìíîïñòóôöøùúûüÿœßÀÁÂÄÅÆÇÈÉÊËÍÎÓÔÖØÙÚÛÜŒ«»“”„‘’–—…•€£§°¿¡´·\u00a0")
_DELIMITERS = (",", ";", "\t", "|")
_NULLS = {"", "nan", "<na>", "#n/a", "null"}


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes:
        path: Where they came from.
        columns: Names, in order.
        rows: One mapping per row; None where the cell is null or blank.
        numbers: Line (CSV, JSONL) or item number (JSON) of each row, from 1.
        kind: ``csv``, ``json`` or ``jsonl``.
        encoding: As read.
        notes: What was noticed, in plain words.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str | None], ...]
    numbers: tuple[int, ...]
    kind: str
    encoding: str
    notes: tuple[str, ...] = field(default=())

    def require(self, *columns: str) -> None:
        """Refuse the table when a column is missing.

        Raises:
            InvalidInput: Names the missing ones and those there are.
        """
        missing = [column for column in columns if column not in self.columns]
        if missing:
            names = ", ".join(repr(name) for name in missing)
            raise InvalidInput(
                f"{self.path.name} has no column {names}.",
                f"It has: {', '.join(repr(c) for c in self.columns)}."
                + (" One column only: is the delimiter right?" if len(self.columns) == 1 else ""),
            )


def read_table(path: Path) -> Table:
    """Read CSV, TSV, JSON or JSONL in any common encoding.

    Raises:
        InvalidInput: No such file, empty, binary, of mixed encodings, or not well-formed; the
            message names the line.
    """
    data = _read(path)
    text, encoding, notes = decode(data, path.name)
    if not text.strip():
        raise InvalidInput(f"{path.name} is empty.", "Give a file with a header and rows.")
    kind = _kind(path, text)
    if kind == "csv":
        columns, rows, numbers, more = _parse_csv(path, text)
    else:
        columns, rows, numbers, more = _parse_json(path.name, text, kind)
    if not rows:
        raise InvalidInput(f"{path.name} has no rows.", "Give a file with a header and rows.")
    return Table(path, tuple(columns), tuple(rows), tuple(numbers), kind, encoding, (*notes, *more))


def decode(data: bytes, name: str) -> tuple[str, str, tuple[str, ...]]:
    """Turn a file's bytes into text.

    Returns:
        The text, the encoding, and notes for people.

    Raises:
        InvalidInput: Binary, or lines in different encodings.
    """
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise _binary(name, f"it is {what}")
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            try:
                return data.decode(encoding), encoding, ()
            except UnicodeDecodeError as e:
                raise InvalidInput(
                    f"{name} starts as {encoding}, but breaks off at byte {e.start}.",
                    "Save it again as UTF-8.",
                ) from e
    if b"\x00" in data[: 2**20]:
        raise _binary(name, f"it has a zero byte at position {data.index(0)}")
    try:
        return data.decode("utf-8"), "utf-8", ()
    except UnicodeDecodeError:
        return _decode_legacy(data, name)


def _decode_legacy(data: bytes, name: str) -> tuple[str, str, tuple[str, ...]]:
    """Text that is not UTF-8: one older encoding throughout, or nothing."""
    utf8, other = [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.isascii():
            continue
        try:
            line.decode("utf-8")
            utf8.append(number)
        except UnicodeDecodeError:
            other.append(number)
    control = sum(byte < 32 and byte not in (9, 10, 12, 13) for byte in data[: 2**16])
    if control > len(data[: 2**16]) * 0.02:
        raise _binary(name, "it is full of control characters")
    if utf8:
        raise InvalidInput(
            f"{name} mixes encodings: line {other[0]} is not UTF-8, but line {utf8[0]} is.",
            f"Save the file as UTF-8 and check {_lines(other)}.",
        )
    encoding = "cp1252" if _reads_western(data) else _guess(data)
    if encoding is None:
        raise InvalidInput(
            f"The encoding of {name} cannot be told; line {other[0]} is not UTF-8.",
            "Save the file as UTF-8.",
        )
    note = f"Read as {encoding}, guessed from {_lines(other)}: save as UTF-8 to be sure."
    return data.decode(encoding), encoding, (note,)


def _reads_western(data: bytes) -> bool:
    """Whether Windows' western encoding gives plausible letters: the guesser favours others."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    foreign = [character for character in text if ord(character) > 127]
    letters = sum(character.isalpha() for character in text)
    plausible = sum(character in _WESTERN for character in foreign)
    return plausible >= 0.95 * len(foreign) and len(foreign) <= 0.3 * letters


def _guess(data: bytes) -> str | None:
    match = from_bytes(data, cp_isolation=list(_LEGACY)).best()
    return match.encoding if match else None


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(
                f"{path.name} is larger than 2 GiB.", "Take a sample of the rows; less is enough."
            )
        return path.read_bytes()
    except FileNotFoundError as e:
        raise InvalidInput(f"There is no file {str(path)!r}.", "Check the path.") from e
    except IsADirectoryError as e:
        raise InvalidInput(f"{str(path)!r} is a folder.", "Give one data file.") from e
    except PermissionError as e:
        raise InvalidInput(f"{str(path)!r} may not be read.", "Check its permissions.") from e


def _kind(path: Path, text: str) -> str:
    suffix = path.suffix.casefold()
    if suffix in {".jsonl", ".ndjson"}:
        return "jsonl"
    if suffix == ".json":
        return "json"
    if suffix in {".csv", ".tsv", ".tab"}:
        return "csv"
    start = text.lstrip()[:1]
    return {"[": "json", "{": "jsonl"}.get(start, "csv")


_Parsed = tuple[Sequence[str], list[Mapping[str, str | None]], list[int], list[str]]


def _parse_csv(path: Path, text: str) -> _Parsed:
    csv.field_size_limit(2**31 - 1)
    delimiter = "\t" if path.suffix.casefold() in {".tsv", ".tab"} else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Mapping[str, str | None]] = []
    numbers: list[int] = []
    ragged: list[int] = []
    header: list[str] = []
    number = 1
    try:
        for cells in reader:
            start, number = number, reader.line_num + 1
            if not any(cell.strip() for cell in cells) and (not header or len(cells) < 2):
                continue
            if not header:
                header = _header(path.name, cells)
            elif len(cells) > len(header):
                ragged.append(start)
            else:
                padded = [*cells, *[""] * (len(header) - len(cells))]
                rows.append(dict(zip(header, map(_cell, padded), strict=True)))
                numbers.append(start)
    except csv.Error as e:
        raise InvalidInput(
            f"{path.name} is no well-formed CSV from line {number} on: {e}.",
            "Look for a quotation mark that is never closed.",
        ) from e
    if ragged and len(ragged) > max(3, len(rows) // 50):
        raise InvalidInput(
            f"{path.name} has {len(ragged)} rows with more cells than the header's "
            f"{len(header)}, first in line {ragged[0]}.",
            "Put texts that contain the delimiter in quotation marks.",
        )
    notes = [f"Left out {_lines(ragged)}: more cells than the header."] if ragged else []
    return header, rows, numbers, notes


def _header(name: str, cells: Iterable[str]) -> list[str]:
    columns = [cell.strip() or f"column {i}" for i, cell in enumerate(cells, start=1)]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise InvalidInput(
            f"{name} has more than one column {twice[0]!r}.", "Give every column its own name."
        )
    return columns


def _delimiter(text: str) -> str:
    """The delimiter that splits the first lines most evenly; a comma when none does."""
    best, best_score = ",", 0
    sample = text[: 2**16]
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        try:
            widths = [len(cells) for cells, _ in zip(reader, range(20), strict=False) if cells]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            score = sum(width == widths[0] for width in widths) * 100 // len(widths)
            if score > best_score:
                best, best_score = delimiter, score
    return best


def _parse_json(name: str, text: str, kind: str) -> _Parsed:
    items = _json_lines(name, text) if kind == "jsonl" else _json_items(name, text)
    columns: dict[str, None] = {}
    rows: list[Mapping[str, str | None]] = []
    for number, item in items:
        if not isinstance(item, dict):
            raise InvalidInput(
                f"Item {number} of {name} is {type(item).__name__}, not an object.",
                'Write every row as {"column": value, …}.',
            )
        columns.update(dict.fromkeys(map(str, item)))
        rows.append({str(key): _value(value) for key, value in item.items()})
    return tuple(columns), rows, [number for number, _ in items], []


def _json_lines(name: str, text: str) -> list[tuple[int, Any]]:
    items = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                items.append((number, json.loads(line)))
            except ValueError as e:
                raise InvalidInput(
                    f"Line {number} of {name} is not JSON: {e}.", "Mend or delete that line."
                ) from e
    return items


def _json_items(name: str, text: str) -> list[tuple[int, Any]]:
    try:
        value = json.loads(text)
    except ValueError as e:
        try:
            return _json_lines(name, text)
        except InvalidInput:
            raise InvalidInput(f"{name} is not JSON: {e}.", "Mend that place.") from e
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise InvalidInput(f"{name} is no list of objects.", "Write it as [{…}, {…}].")
    return list(enumerate(value, start=1))


def _value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _cell(value)
    return json.dumps(value, ensure_ascii=False)


def _cell(value: str) -> str | None:
    return None if value.strip().casefold() in _NULLS else value.strip()


def _binary(name: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{name} is binary, not text: {why}.", "Export the data as CSV, JSON or JSONL first."
    )


def _lines(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"
