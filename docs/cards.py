"""The hand-written end of a base's card: scores, biases, and what a run cannot know of itself.

A card is written by ``python -m training.pretrain export``; nobody edits it. What is added by hand
lies in ``NOTES.md`` beside it, and ``python docs/cards.py --write`` puts it at the card's end. Its
first line names the weights it tells about, so that it never stands under others; `docs/check.py`
compares.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASES = (ROOT / "interns" / "starter", ROOT / "tests" / "tiny")
MARK = "<!-- from NOTES.md, by docs/cards.py -->\n"


def problems(bases: Iterable[Path] = BASES) -> list[str]:
    """What is wrong with the cards of these folders, one line each."""
    found = []
    for folder in bases:
        place, weights = f"{folder.parent.name}/{folder.name}", sha256(folder)[:12]
        if (folder / "NOTES.md").read_text("utf-8").partition("\n")[0] != f"<!-- {weights} -->":
            found.append(f"{place}/NOTES.md: not of {weights}; measure anew and name it at the top")
        elif (folder / "CARD.md").read_text("utf-8") != card(folder):
            found.append(f"{place}/CARD.md: NOTES.md is not its end; run `docs/cards.py --write`")
    return found


def card(folder: Path) -> str:
    """The card with today's notes."""
    made = (folder / "CARD.md").read_text("utf-8").partition(MARK)[0]
    notes = (folder / "NOTES.md").read_text("utf-8").partition("\n")[2]
    return f"{made.rstrip()}\n\n{MARK}{notes}"


def sha256(folder: Path) -> str:
    """Of the weights."""
    (file,) = folder.glob("*.gguf")
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        for base in BASES:
            (base / "CARD.md").write_text(card(base), encoding="utf-8")
    print("\n".join(problems()) or "The cards end with today's notes.")
