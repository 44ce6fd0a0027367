"""The office's clock: UTC as text that sorts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def now_text(later: timedelta = timedelta()) -> str:
    """UTC now, or `later`, as ISO-8601 with microseconds: text order is time order."""
    return (datetime.now(UTC) + later).isoformat(timespec="microseconds")
