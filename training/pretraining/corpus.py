"""Documents: read from ``NAME.jsonl.xz``, cleaned, without duplicates, split by document."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from interns.completion import Message
from interns.errors import BrokenFile, InvalidInput
from training.pretraining.chat import Chat, make_chat

SUFFIX = ".jsonl.xz"
_HELD_OUT = 5  # of a thousand documents
_SHORTEST = 200  # characters of a text worth reading
_LETTERS = 0.55  # least share of letters and spaces
_MANUALS = frozenset({
    "aws_connect_admin_guide",
    "aws_ec2_user_guide",
    "aws_quicksight_user_guide",
    "aws_rds_user_guide",
    "aws_s3_user_guide",
    "govuk_developer_docs",
    "ms_office_support",
    "ms_powershell_concepts",
    "ms_sharepoint_onedrive",
    "owasp_cheatsheets",
    "owasp_wstg",
    "python_peps",
    "us_presidential_addresses",
    "world_factbook",
})
_NOVELS = frozenset({"novels_1885_1930"})
# What bases and interns are examined on, inside sources that may otherwise be read.
_EXAM_TEMPLATES = ("rotten_tomatoes",)  # the sentences of sentence_polarity
_FORMS = (
    "A line holds {id, title, text}, {id, title, messages} or {prompt, completion}; of messages the "
    "first may be of role system, then user and assistant speak in turn. Mend the line, or take the "
    "file out of the folder."
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffd]")
_TRAILING = re.compile(r"[ \t]+\n")
_BLANKS = re.compile(r"\n{3,}")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Document:
    """One text or one chat.

    Attributes:
        text: Of a text, else empty.
        chat: Of a chat, else empty.
    """

    text: str = ""
    chat: Chat = ()

    @property
    def key(self) -> bytes:
        """Eight bytes that are equal for documents which differ in case and spaces only."""
        whole = self.text or "\n".join(f"{m.role} {m.content}" for m in self.chat)
        plain = _SPACES.sub(" ", whole).strip().casefold()
        return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=8).digest()

    @property
    def held_out(self) -> bool:
        """Whether it is kept for the held-out loss; depends on the content alone."""
        return int.from_bytes(self.key, "big") % 1000 < _HELD_OUT


def sources(folder: Path) -> list[Path]:
    """The corpus files of a folder, in order.

    Raises:
        InvalidInput: There are none.
    """
    found = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    if not found:
        raise InvalidInput(
            f"{folder} holds no corpus: no file ends in {SUFFIX}.", "Give the folder of the corpus."
        )
    return found


def group_of(path: Path) -> str:
    """Which group of the mixture a corpus file belongs to."""
    name = path.name.removesuffix(SUFFIX)
    if name in _NOVELS:
        return "novels"
    if name in _MANUALS:
        return "manuals"
    row = next(iter(read_rows(path)), {})
    if "messages" in row:
        return "dialogues"
    return "instructions" if "prompt" in row else "prose"


def note_of(path: Path) -> str:
    """The text of ``NAME.SOURCE.md`` or ``SOURCE.md`` beside a file, or nothing."""
    for note in (f"{path.name.removesuffix(SUFFIX)}.SOURCE.md", "SOURCE.md"):
        if path.with_name(note).is_file():
            return path.with_name(note).read_text("utf-8")
    return ""


def licence_of(path: Path) -> str:
    """The licence that the note beside a file states, or nothing."""
    found = re.search(r"^- Licence as stated there: (.*)$", note_of(path), re.MULTILINE)
    return found.group(1) if found else ""


def read_documents(path: Path) -> Iterator[Document]:
    """The cleaned documents of a corpus file that may be learned from.

    Raises:
        BrokenFile: The file is truncated or holds something else; says where.
    """
    for number, row in enumerate(read_rows(path), start=1):
        try:
            document = None if _is_examined(row) else _document(row)
        except (KeyError, TypeError, ValueError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise BrokenFile(f"{path.name}, line {number}: no document ({why}).", _FORMS) from error
        if document is not None:
            yield document


def read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of a corpus file as they are.

    Raises:
        BrokenFile: It is truncated or no corpus file; says where.
    """
    number = 0
    fix = "Fetch the file anew, or take it out of the folder."
    try:
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                yield _row(line, f"{path.name}, line {number}")
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise BrokenFile(
            f"{path.name} is truncated or no corpus file (after line {number}): {error}.", fix
        ) from error
    if number == 0:
        raise BrokenFile(f"{path.name} is empty: there is no line in it.", fix)


def without_duplicates(documents: Iterable[Document], seen: set[bytes]) -> Iterator[Document]:
    """The documents whose key is not in `seen`; adds theirs."""
    for document in documents:
        key = document.key
        if key not in seen:
            seen.add(key)
            yield document


def clean(text: str) -> str:
    """One kind of line end, no control characters, no trailing spaces, no long gaps."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("<|", "< |")
    text = _TRAILING.sub("\n", _CONTROLS.sub("", text))
    return _BLANKS.sub("\n\n", text).strip()


def _row(line: str, place: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BrokenFile(f"{place}: no JSON ({error}).", _FORMS) from error
    if not isinstance(row, dict):
        raise BrokenFile(f"{place}: no JSON object.", _FORMS)
    return row


def _is_examined(row: Mapping[str, Any]) -> bool:
    split, template = row.get("split", "train"), row.get("template", "")
    if not isinstance(split, str) or not isinstance(template, str):
        raise TypeError("split or template is no text; leave it out if there is none")
    return split.casefold() != "train" or template.startswith(_EXAM_TEMPLATES)


def _document(row: Mapping[str, Any]) -> Document | None:
    if "messages" in row:
        turns = _turns(row["messages"])
        good = len(turns) > 1 and any(turn.role == "assistant" for turn in turns)
        return Document(chat=turns) if good else None
    if "prompt" in row:
        prompt, completion = _text(row["prompt"]), _text(row["completion"])
        good = bool(prompt and completion)
        return Document(chat=make_chat(prompt, completion)) if good else None
    text, title = _text(row["text"]), _text(str(row.get("title") or ""))
    if len(text) < _SHORTEST or _share_of_letters(text) < _LETTERS:
        return None
    headed = text if not title or text.startswith(title) else f"{title}\n\n{text}"
    return Document(text=headed)


def _turns(messages: object) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise TypeError("messages is no list of objects")
    turns = tuple(Message(m["role"], _text(m["content"])) for m in messages)
    roles = [turn.role for turn in turns]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    # A role stands in the rendered chat as it is, so that any other could bring a control token in.
    for role in spoken:
        if role not in ("user", "assistant"):
            raise ValueError(f"a message has the role {role!r}")
    if any(one == next_ for one, next_ in pairwise(spoken)):
        raise ValueError("one role speaks twice in a row")
    return turns


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} stands where a text must")
    value.encode()  # raises a ValueError for half of a surrogate pair, which is no character
    return clean(value)


def _share_of_letters(text: str) -> float:
    sample = text[:4000]
    return sum(sign.isalpha() or sign == " " for sign in sample) / len(sample)
