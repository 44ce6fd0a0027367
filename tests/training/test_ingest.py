"""Files of every kind become rows, or are refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interns.errors import InvalidInput
from training.ingest import Table, read_table


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _texts(table: Table) -> list[str | None]:
    return [row["text"] for row in table.rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_the_same_in_every_unicode_encoding(tmp_path: Path, encoding: str) -> None:
    path = _write(tmp_path, "a.csv", "text,label\nnaïve café 👍,x\n".encode(encoding))
    assert _texts(read_table(path)) == ["naïve café 👍"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Où est mon colis ? Il devait arriver à Orléans", "cp1252"),
        ("It’s the customer’s “second” order – 20 €", "cp1252"),
        ("Здравствуйте, где моя посылка, она должна была прийти", "cp1251"),
    ],
)
def test_older_encoding_is_guessed_and_said(tmp_path: Path, text: str, encoding: str) -> None:
    rows = "".join(f'"{text} {i}",x\n' for i in range(40))
    table = read_table(_write(tmp_path, "a.csv", f"text,label\n{rows}".encode(encoding)))
    assert _texts(table)[0] == f"{text} 0"
    assert "guessed" in table.notes[0]


def test_mixed_encodings_are_refused_with_their_lines(tmp_path: Path) -> None:
    data = b"text,label\n" + "café,x\n".encode() + "café,y\n".encode("cp1252")
    with pytest.raises(InvalidInput, match="line 3 is not UTF-8, but line 2 is"):
        read_table(_write(tmp_path, "a.csv", data))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"PK\x03\x04" + bytes(100), "zip or Excel"),
        (b"GGUF" + bytes(100), "GGUF"),
        (b"text,label\nabc\x00\x01\x02,x\n", "zero byte"),
        (bytes(range(1, 32)) * 50 + b"\xff\xfe\x80", "control characters"),
    ],
)
def test_binary_files_are_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"binary.*{why}"):
        read_table(_write(tmp_path, "a.csv", content))


@pytest.mark.parametrize("content", ["", "  \n\n", "text,label\n"])
def test_empty_files_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidInput, match=r"is empty|has no rows"):
        read_table(_write(tmp_path, "a.csv", content))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    content = f'text{delimiter}label\n"a, b; c"{delimiter}x\nd{delimiter}y\n'
    table = read_table(_write(tmp_path, "a.csv", content))
    assert table.columns == ("text", "label")
    assert _texts(table) == ["a, b; c", "d"]


def test_quoted_texts_keep_commas_and_line_breaks(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "a.csv", 'text,label\n"one,\ntwo ""x""",y\nz,w\n'))
    assert _texts(table) == ['one,\ntwo "x"', "z"]
    assert table.numbers == (2, 4)


def test_missing_column_names_the_columns_there_are(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "a.csv", "text,label\na,b\n"))
    with pytest.raises(InvalidInput, match="no column 'queue'") as caught:
        table.require("text", "queue")
    assert "'text', 'label'" in caught.value.fix


def test_one_column_file_asks_about_the_delimiter(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "a.csv", "text\na\nb\n"))
    with pytest.raises(InvalidInput) as caught:
        table.require("text", "label")
    assert "delimiter" in caught.value.fix


def test_unclosed_quotation_mark_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="line 3"):
        read_table(_write(tmp_path, "a.csv", 'text,label\na,b\n"c,d\ne,f\n'))


def test_rows_with_too_many_cells_are_left_out_and_named(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "a.csv", "text,label\na,b\nc,d,e\nf,g\n"))
    assert _texts(table) == ["a", "f"]
    assert "line 3" in table.notes[0]


def test_json_and_jsonl_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": None, "extra": {"n": 1}}]
    lines = "\n".join(json.dumps(row) for row in rows)
    as_list = read_table(_write(tmp_path, "a.json", json.dumps(rows)))
    as_lines = read_table(_write(tmp_path, "a.jsonl", lines))
    wrapped = read_table(_write(tmp_path, "b.json", json.dumps({"data": rows})))
    assert as_list.rows == as_lines.rows == wrapped.rows
    assert as_list.rows[1] == {"text": "b", "label": None, "extra": '{"n": 1}'}


def test_broken_json_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"Line 2 of a\.jsonl"):
        read_table(_write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": \n'))


def test_blank_and_null_cells_are_null(tmp_path: Path) -> None:
    table = read_table(_write(tmp_path, "a.csv", "text,label\n  ,x\nNaN,y\nnull,z\na,\n"))
    assert _texts(table) == [None, None, None, "a"]
    assert table.rows[3]["label"] is None


def test_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="There is no file"):
        read_table(tmp_path / "no.csv")
