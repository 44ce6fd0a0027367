"""Put what was made beside what is shipped: a finished version of an intern, or another base.

A version: exemplars come from ``examples/NAME/exemplars.json`` where there is one, sample answers of
the exam are left out, so that no texts are kept that are not ours, and the folder is sealed again.
The adapter is not touched. A base: the folder that ``python -m training.pretrain export`` wrote
becomes the starter; the shipped interns must then be made again on it.

Run: ``python examples/ship.py FOLDER``
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from interns.bases import STARTER
from interns.gguf.base_file import check_base
from interns.gguf.writing import whole_file
from interns.manifest import read_version_folder, seal_folder

EXAMPLES = Path(__file__).resolve().parent
BASE = "base.gguf"
BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "ATTRIBUTION.md",
    "curve.jsonl",
    "curve.svg",
)


def ship(folder: Path) -> Path:
    """Copy a version or a base to what is shipped and return where it lies."""
    return ship_base(folder) if (folder / BASE).is_file() else ship_version(folder)


def ship_base(folder: Path, starter: Path = STARTER) -> Path:
    """Make a base the starter."""
    check_base(folder / BASE)
    for name in (*BESIDE, BASE, "CARD.md"):
        # Beside and renamed: who has the old file mapped keeps it.
        with whole_file(starter / ("starter.gguf" if name == BASE else name)) as partial:
            shutil.copyfile(folder / name, partial)
    return starter


def ship_version(folder: Path) -> Path:
    """Put a version folder beside the shipped interns."""
    name = read_version_folder(folder).profile.name
    target = STARTER / "interns" / name
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(folder, target)
    exemplars = EXAMPLES / name / "exemplars.json"
    if exemplars.exists():
        shutil.copyfile(exemplars, target / "exemplars.json")
    exam = json.loads((target / "exam.json").read_text("utf-8"))
    exam.get("details", {}).pop("samples", None)
    (target / "exam.json").write_text(json.dumps(exam, indent=1) + "\n", encoding="utf-8")
    seal_folder(target)
    read_version_folder(target)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: ship.py FOLDER")
    print(ship(Path(sys.argv[1])))
