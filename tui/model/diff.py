"""What changed between a draft and its edited text, word by word."""

from __future__ import annotations

import difflib
import re
from typing import Literal

Change = tuple[Literal["same", "added", "removed"], str]
_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


def word_diff(before: str, after: str) -> list[Change]:
    """Return runs of kept, removed and added text; joined without the removed ones they are `after`."""
    old, new = _PIECES.findall(before), _PIECES.findall(after)
    changes: list[Change] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        if tag == "equal":
            changes.append(("same", "".join(old[old_start:old_end])))
            continue
        if old_end > old_start:
            changes.append(("removed", "".join(old[old_start:old_end])))
        if new_end > new_start:
            changes.append(("added", "".join(new[new_start:new_end])))
    return changes


def marked(before: str, after: str) -> str:
    """Return the change as text without colour: ``[-removed-]{+added+}``."""
    marks = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "".join(marks[kind].format(text) for kind, text in word_diff(before, after))


def summary(before: str, after: str) -> str:
    """Return how much changed, such as ``2 words added, 1 removed``."""
    counts = {"added": 0, "removed": 0}
    for kind, text in word_diff(before, after):
        if kind != "same":
            counts[kind] += len(text.split())
    if not any(counts.values()):
        return "nothing changed" if before == after else "only spaces changed"
    return f"{counts['added']} words added, {counts['removed']} removed"
