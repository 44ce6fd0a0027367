"""Write ``messages.jsonl``: order messages and the facts in them as JSON.

Deterministic: the same seed writes the same bytes. ``exam.jsonl`` beside it is written by hand
and has no part in this. Every text field is copied from its message; an absent one is blank.

Run: ``python examples/facts/make_messages.py``
"""

from __future__ import annotations

import calendar
import json
import random
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROWS = 2400
FIELDS = ("name", "order_number", "product", "city", "date")
MONTHS = tuple(calendar.month_name)[1:]

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"<(\w+)>")


def order_number(rng: random.Random) -> str:
    """Return an order number in one of the shapes that shops use."""
    digits = str(rng.randint(10000, 99999))
    return rng.choice((
        digits,
        digits,
        digits,
        str(rng.randint(1000, 9999)),
        str(rng.randint(100000, 999999)),
        f"#{digits}",
        f"{rng.choice('ABKNRST')}-{digits}",
        f"{rng.choice('ABKNRST')}{rng.choice('CEHLXZ')}{rng.randint(100, 9999)}",
        f"{rng.randint(2019, 2027)}-{rng.randint(100, 9999)}",
    ))


def date(rng: random.Random) -> str:
    """Return a date as people write it."""
    day, month = rng.randint(1, 28), rng.choice(MONTHS)
    ending = "th" if 4 <= day <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    number = MONTHS.index(month) + 1
    return rng.choice((
        f"{day} {month}",
        f"{day} {month}",
        f"{month} {day}",
        f"{month} {day}{ending}",
        f"the {day}{ending} of {month}",
        f"{day} {month[:3]}",
        f"{day}/{number}",
        f"{day}.{number}.{rng.randint(2025, 2028)}",
        f"2026-{number:02}-{day:02}",
        rng.choice(("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")),
        f"next {rng.choice(('Monday', 'Tuesday', 'Thursday', 'Friday'))}",
        "tomorrow",
    ))


def product(words: Mapping[str, list[str]], rng: random.Random) -> str:
    """Return a product, such as *walnut desk lamp*."""
    noun = rng.choice(words["nouns"])
    if rng.random() < 0.65:
        return f"{rng.choice(words['kinds'])} {noun}"
    return noun


def name(words: Mapping[str, list[str]], rng: random.Random) -> str:
    """Return a person's name in one of the usual forms."""
    first, last = rng.choice(words["first"]), rng.choice(words["last"])
    return rng.choice((f"{first} {last}",) * 5 + (first, f"Mrs {last}", f"Mr {last}"))


def choose(pattern: str, rng: random.Random) -> str:
    """Settle every choice of a pattern; its slots stay open."""
    while match := _CHOICE.search(pattern):
        chosen = rng.choice(match[1].split("|"))
        pattern = pattern[: match.start()] + chosen + pattern[match.end() :]
    return pattern


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Put the facts into a pattern without choices."""
    text = _SLOT.sub(lambda match: values[match[1]], pattern)
    text = re.sub(r"\s+([,.;:?!])", r"\1", re.sub(r"\s+", " ", text).strip())
    return text[:1].upper() + text[1:]


def make_row(phrases: Mapping[str, Any], rng: random.Random) -> dict[str, str]:
    """Return one message and its facts."""
    words = phrases["words"]
    values = {
        "name": name(words, rng),
        "order_number": order_number(rng),
        "product": product(words, rng),
        "city": rng.choice(words["cities"]),
        "date": date(rng),
    }
    request = rng.choice(list(phrases["requests"]))
    parts = [choose(rng.choice(phrases["requests"][request]), rng)]
    for field, mentions in phrases["mentions"].items():
        if f"<{field}>" not in parts[0] and rng.random() < 0.5:
            parts.insert(rng.randrange(len(parts) + 1), choose(rng.choice(mentions), rng))
    if rng.random() < 0.25:
        parts.append(rng.choice(phrases["closings"]))
    roll = rng.random()
    if roll < 0.3:
        parts.insert(0, rng.choice(phrases["openings"]))
    elif roll < 0.6:
        parts.append(rng.choice(phrases["signatures"]))
    elif roll < 0.75:
        parts.insert(0, rng.choice(phrases["greetings"]))
    used = set(_SLOT.findall(" ".join(parts)))
    text = " ".join(fill(part, values) for part in parts)
    if rng.random() < 0.1:
        text = text.lower()
        values = {field: value.lower() for field, value in values.items()}
    facts = {field: values[field] if field in used else "" for field in FIELDS}
    return {"text": text, "facts": json.dumps(facts | {"request": request}, ensure_ascii=False)}


def make_rows(seed: int = 23) -> list[dict[str, str]]:
    """Return the rows, all texts different."""
    rng = random.Random(seed)
    phrases = tomllib.loads((HERE / "phrases.toml").read_text("utf-8"))
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < ROWS:
        row = make_row(phrases, rng)
        rows.setdefault(row["text"], row)
    return list(rows.values())


def main() -> None:
    """Write the file beside this script."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in make_rows())
    (HERE / "messages.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
