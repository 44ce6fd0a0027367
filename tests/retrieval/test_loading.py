"""Files become text, or are skipped with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from interns.errors import NotFound
from retrieval.document import Document, SkippedFile
from retrieval.html_text import html_to_markdown
from retrieval.loading import MAX_BYTES, find_files, load


def write(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        ("Grüße, Zoë – 5 €".encode(), "utf-8"),
        ("Grüße, Zoë – 5 €".encode("utf-8-sig"), "utf-8-sig"),
        ("Grüße, Zoë – 5 €".encode("utf-16"), "utf-16"),
        ("Grüße, Zoë – 5 €".encode("utf-32"), "utf-32"),
        ("Grüße, Zoë – 5 €".encode("utf-16-le"), "utf-16-le"),
        ("Grüße, Zoë – 5 €".encode("utf-16-be"), "utf-16-be"),
    ],
)
def test_text_is_the_same_when_encodings_differ(tmp_path: Path, raw: bytes, encoding: str) -> None:
    loaded = load(write(tmp_path, "a.txt", raw))

    assert isinstance(loaded, Document)
    assert (loaded.text, loaded.encoding) == ("Grüße, Zoë – 5 €", encoding)


def test_words_are_readable_when_text_is_in_an_old_encoding(tmp_path: Path) -> None:
    text = "Die Bäckerei öffnet früh. Übermorgen gibt es süße Brötchen für fünf Gäste. " * 4

    loaded = load(write(tmp_path, "a.txt", text.encode("cp1252")))

    assert isinstance(loaded, Document)
    assert loaded.text == text


def test_good_lines_stay_good_when_encodings_are_mixed(tmp_path: Path) -> None:
    raw = "first line über\n".encode() + "second line café\n".encode("cp1252") + b"third\n"

    loaded = load(write(tmp_path, "a.txt", raw))

    assert isinstance(loaded, Document)
    assert loaded.text == "first line über\nsecond line café\nthird\n"


def test_line_ends_are_line_feeds_when_the_file_has_others(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, "a.md", b"# T\r\n\r\none\rtwo\n"))

    assert isinstance(loaded, Document)
    assert (loaded.text, loaded.title, loaded.kind) == ("# T\n\none\ntwo\n", "T", "markdown")


@pytest.mark.parametrize(
    ("name", "raw", "reason"),
    [
        ("a.pdf", b"%PDF-1.7 ...", "PDF"),
        ("a.md", b"\x89PNG\r\n\x1a\n", "image"),
        ("a.svg", b"<svg viewBox=...", "image"),
        ("a.txt", bytes(range(256)) * 20, "binary"),
        ("a.txt", b"\x01\x02\x03\x04 some words" * 30, "binary"),
        ("a.docx", b"PK\x03\x04rest", "office document"),
        ("a.txt", b"", "no text"),
        ("a.txt", b" \n\n ", "no text"),
        ("a.html", b"<script>1</script>", "no text"),
        ("a.txt", b"a" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_a_file_is_skipped_with_a_reason_when_it_has_no_text(
    tmp_path: Path, name: str, raw: bytes, reason: str
) -> None:
    loaded = load(write(tmp_path, name, raw))

    assert isinstance(loaded, SkippedFile)
    assert reason in loaded.reason


def test_a_file_is_skipped_when_it_vanishes(tmp_path: Path) -> None:
    loaded = load(tmp_path / "gone.txt")

    assert isinstance(loaded, SkippedFile)
    assert "can not be read" in loaded.reason


def test_hidden_and_installed_files_are_passed_over_when_a_folder_is_read(tmp_path: Path) -> None:
    for name in (".git/config", "node_modules/a.md", "__pycache__/b.txt", ".hidden", "b/c.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, name, b"text")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert [file.name for file in find_files(tmp_path)] == ["c.md"]


def test_nothing_is_found_when_the_path_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder"):
        find_files(tmp_path / "nowhere")


def test_structure_is_kept_when_html_becomes_text() -> None:
    source = (
        "<head><title>no</title><style>p{}</style></head><h2>Hours &amp; prices</h2>"
        "<p>Open\n  daily.</p><ul><li>tea<li>cake</ul><table><tr><td>Mon<td>9</tr></table>"
        "<pre>a\n  b</pre><p>End<br>of it<script>x</script></p></unopened>"
    )

    text = html_to_markdown(source)

    assert "## Hours & prices\n\nOpen daily.\n\n- tea\n- cake" in text
    assert "| Mon 9" in text
    assert "```\na\n  b\n```" in text
    assert text.endswith("End\nof it\n")
