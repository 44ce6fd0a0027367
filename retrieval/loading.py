"""Files become documents: found in folders, recognised as text, decoded; others are skipped.

What a file is, its bytes decide, not its name. Every file that can not be used is reported with a
reason and stops nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from charset_normalizer import from_bytes

from interns.errors import NotFound
from retrieval.document import Document, SkippedFile
from retrieval.html_text import html_to_markdown

MAX_BYTES = 20_000_000
SNIFFED_BYTES = 65_536
IGNORED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}

KINDS = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".rst": "rst",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".text": "text",
    "": "text",
}

_SIGNATURES = (
    (b"%PDF", "PDF documents are not supported yet; save it as text, Markdown or HTML"),
    (b"PK\x03\x04", "a ZIP archive or an office document; save it as text, Markdown or HTML"),
    (b"\xd0\xcf\x11\xe0", "an old office document; save it as text, Markdown or HTML"),
    (b"{\\rtf", "RTF documents are not supported; save it as text, Markdown or HTML"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"<svg", "an image"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"GGUF", "a model file"),
    (b"\x7fELF", "a program"),
    (b"\x1f\x8b", "a compressed file"),
)
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_TITLE = re.compile(r"^#{1,3}[ \t]+(\S.*?)[ \t#]*$|^(\S.*)\n(?:={3,}|-{3,})[ \t]*$", re.MULTILINE)


def find_files(path: Path) -> list[Path]:
    """Return the file itself, or all files of a folder in a stable order.

    Hidden files and folders, and folders of installed or compiled code, are passed over.

    Raises:
        NotFound: Nothing is there.
    """
    if path.is_file():
        return [path.resolve()]
    if not path.is_dir():
        raise NotFound(f"There is no file or folder {path}.", "Check the path.")
    return sorted(_walk(path.resolve()))


def load(path: Path) -> Document | SkippedFile:
    """Read one file; a file without usable text comes back as skipped, with the reason."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return SkippedFile(path, f"larger than {MAX_BYTES // 1_000_000} MB")
        raw = path.read_bytes()
    except OSError as error:
        return SkippedFile(path, f"can not be read: {error.strerror or error}")
    reason = _why_not_text(raw)
    if reason:
        return SkippedFile(path, reason)
    text, encoding = decode(raw)
    if _looks_binary(text):
        return SkippedFile(path, "binary, not text")
    return _document(path, raw, text, encoding)


def decode(raw: bytes) -> tuple[str, str]:
    """Return text and the name of its encoding; never fails.

    UTF-8 lines beside lines of an older encoding are decoded line by line, so that one bad line
    does not garble the rest.
    """
    marked = next((name for mark, name in _MARKS if raw.startswith(mark)), None)
    for encoding in (marked, _unmarked_utf16(raw), "utf-8"):
        try:
            if encoding:
                return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    if _mostly_utf8(raw):
        return "".join(map(_decode_line, raw.splitlines(keepends=True))), "mixed utf-8 and cp1252"
    best = from_bytes(raw[:SNIFFED_BYTES]).best()
    guessed = best.encoding if best else "cp1252"
    return raw.decode(guessed, errors="replace"), guessed


def _walk(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in IGNORED_FOLDERS:
            continue
        if not entry.is_dir():
            yield entry
        elif not entry.is_symlink():
            yield from _walk(entry)


def _document(path: Path, raw: bytes, decoded: str, encoding: str) -> Document | SkippedFile:
    kind = KINDS.get(path.suffix.lower(), "code")
    text = decoded.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    if kind == "html":
        text = html_to_markdown(text)
    if not text.strip():
        return SkippedFile(path, "no text in it")
    title = None if kind == "code" else _TITLE.search(text)
    return Document(
        path=path,
        title=next(filter(None, title.groups()), path.name)[:200] if title else path.name,
        kind=kind,
        encoding=encoding,
        sha256=hashlib.sha256(raw).hexdigest(),
        size_bytes=len(raw),
        text=text,
    )


def _why_not_text(raw: bytes) -> str:
    for signature, reason in _SIGNATURES:
        if raw.startswith(signature):
            return reason
    if any(raw.startswith(mark) for mark, _ in _MARKS) or _unmarked_utf16(raw):
        return ""
    return "binary, not text" if b"\0" in raw[:SNIFFED_BYTES] else ""


def _looks_binary(text: str) -> bool:
    sample = text[:SNIFFED_BYTES]
    return bool(sample) and len(_CONTROL.findall(sample)) > len(sample) * 0.02


def _unmarked_utf16(raw: bytes) -> str | None:
    sample = raw[:SNIFFED_BYTES]
    if len(sample) < 8 or len(raw) % 2:
        return None
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = len(sample) / 2
    if odd > half * 0.7 and even < half * 0.02:
        return "utf-16-le"
    return "utf-16-be" if even > half * 0.7 and odd < half * 0.02 else None


def _mostly_utf8(raw: bytes) -> bool:
    """Some multi-byte UTF-8 is really there, and more lines are UTF-8 than are not."""
    lines = [line for line in raw.splitlines() if not line.isascii()]
    good = sum(_is_utf8(line) for line in lines)
    return good > 0 and good >= len(lines) - good


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decode_line(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace")
