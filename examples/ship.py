"""Put a finished version folder beside the shipped interns, without texts that are not ours.

Exemplars come from ``examples/NAME/exemplars.json`` where there is one, sample answers of the exam
are left out, and the folder is sealed again. The adapter is not touched.

Run: ``python examples/ship.py VERSION_FOLDER``
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from interns.bases import STARTER
from interns.manifest import read_version_folder, seal_folder

EXAMPLES = Path(__file__).resolve().parent


def ship(folder: Path) -> Path:
    """Copy `folder` to the shipped interns and return where it lies."""
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
        sys.exit("Usage: ship.py VERSION_FOLDER")
    print(ship(Path(sys.argv[1])))
