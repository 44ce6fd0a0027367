"""Options and arguments that several commands share, and how texts and files are read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from interns.errors import InvalidInput
from tui.model.mention import mention

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object or array on stdout.")]
Knowledge = Annotated[str, typer.Option("--knowledge", help="Documents to quote from.")]
Plain = Annotated[bool, typer.Option("--plain", help="Line by line; no screens.")]
Words = Annotated[list[str] | None, typer.Argument(help="[@NAME] and the text; - reads stdin.")]


def read_text(source: str) -> str:
    """Return the content of a file, or of stdin when `source` is ``-``.

    Raises:
        InvalidInput: The file cannot be read as UTF-8 text.
    """
    if source == "-":
        return sys.stdin.read()
    try:
        return Path(source).expanduser().read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no file {source}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{source} is not UTF-8 text.", "Save it as UTF-8.") from error
    except OSError as error:
        raise InvalidInput(
            f"{source} cannot be read: {error.strerror}.", "Check the path."
        ) from error


def split_words(words: Sequence[str] | None, file: str = "") -> tuple[str | None, str]:
    """Return the intern a person named with ``@``, or None, and the text.

    Args:
        words: The arguments, the name one of its own or in quotes with the text, as chats take it;
            ``-`` as the text reads stdin.
        file: A file whose text follows.

    Raises:
        InvalidInput: There is no text, or what follows ``@`` cannot be a name.
    """
    name, text = mention(" ".join(words or ()))
    if name is None and text.startswith("@"):
        raise InvalidInput(
            f"{text.split()[0]!r} names no intern.",
            'Write `interns ask @NAME "…"`; see `interns list`.',
        )
    parts = [sys.stdin.read() if text == "-" else text]
    if file:
        parts.append(read_text(file))
    text = "\n\n".join(part.strip() for part in parts if part.strip())
    if not text:
        raise InvalidInput("There is no text.", "Give it in quotes, or - to read stdin.")
    return name, text
