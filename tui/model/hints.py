"""The hint line: as many hints as fit, the last one always help."""

from __future__ import annotations

from collections.abc import Sequence

HELP = "? help"
GAP = "  "


def hint_line(hints: Sequence[str], width: int, *, in_field: bool = False) -> str:
    """Return at most five hints and ``? help`` at the right end, never cut.

    Args:
        hints: Most important first.
        width: Cells of the line.
        in_field: Keys go into a field; help is one escape away.
    """
    last = f"esc {HELP}" if in_field else HELP
    shown = ""
    for hint in hints[:5]:
        longer = f"{shown}{GAP}{hint}" if shown else hint
        if len(longer) + len(GAP) + len(last) > width:
            break
        shown = longer
    return shown + last.rjust(width - len(shown))
