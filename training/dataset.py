"""Examples in three splits, as plain values and as files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.example import Example

SPLITS = ("train", "validation", "exam")


@dataclass(frozen=True)
class Splits:
    """What an intern learns from, is watched on, and is examined on.

    No group of `Example.group` occurs in two splits.

    Attributes:
        train: Learned from.
        validation: Watched while training, and used to calibrate.
        exam: Looked at once, at the end.
        labels: The label set of `classify`, sorted; else empty.
        schema: The JSON schema of `extract`, else None.
        report: Counts and what was left out, for people and for ``dataset.json``.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    exam: tuple[Example, ...]
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of every text, answer and split, 64 hex digits; order does not count."""
        lines = sorted(
            json.dumps([name, e.text, e.answer, *e.passages], ensure_ascii=False)
            for name in SPLITS
            for e in getattr(self, name)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def counts(self) -> dict[str, int]:
        """Rows in each split."""
        return {name: len(getattr(self, name)) for name in SPLITS}

    def save(self, folder: Path) -> None:
        """Write one JSONL file per split and ``splits.json``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in SPLITS:
            rows: Iterable[Example] = getattr(self, name)
            lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
        rest = {"labels": list(self.labels), "schema": self.schema, "report": self.report}
        (folder / "splits.json").write_text(json.dumps(rest, ensure_ascii=False), encoding="utf-8")


def load_splits(folder: Path) -> Splits:
    """Read what `Splits.save` wrote."""
    rest = json.loads((folder / "splits.json").read_text("utf-8"))
    return Splits(
        **{name: _rows(folder / f"{name}.jsonl") for name in SPLITS},
        labels=tuple(rest["labels"]),
        schema=rest["schema"],
        report=rest["report"],
    )


def label_counts(rows: Iterable[Example]) -> dict[str, int]:
    """How often each answer occurs, most frequent first."""
    return dict(Counter(row.answer for row in rows).most_common())


def _rows(path: Path) -> tuple[Example, ...]:
    # Not splitlines(): texts may hold other line separators of Unicode.
    lines = [line for line in path.read_text("utf-8").split("\n") if line]
    return tuple(
        Example(v["text"], v["answer"], v["row"], tuple(v["passages"]))
        for v in map(json.loads, lines)
    )
