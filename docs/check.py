"""Checks that documents agree with the tree: links, ADR numbers, README, cards, the version.

Run by `make check`; prints every problem and ends with status 1 if there is one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from cards import problems as outdated_cards
from tree import in_readme, tree

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def main() -> int:
    problems = [*broken_links(), *duplicate_decisions(), *outdated_tree(), *outdated_cards()]
    problems += version_unknown()
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def documents() -> list[Path]:
    return [p for p in tracked() if p.suffix == ".md"]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def broken_links() -> list[str]:
    return [
        f"{document.relative_to(ROOT)}: link to {target}, which does not exist"
        for document in documents()
        for target in LINK.findall(document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]


def duplicate_decisions() -> list[str]:
    numbers = [p.name[:4] for p in (ROOT / "docs" / "decisions").glob("*.md")]
    return [f"docs/decisions: number {n} twice" for n in set(numbers) if numbers.count(n) > 1]


def outdated_tree() -> list[str]:
    if tree() == in_readme():
        return []
    return ["README.md: the tree is not today's; run `python docs/tree.py --write`"]


def version_unknown() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    known = f"## {project['version']}" in changelog or "## Unreleased" in changelog
    return [] if known else [f"CHANGELOG.md: nothing about version {project['version']}"]


if __name__ == "__main__":
    sys.exit(main())
