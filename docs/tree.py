"""The README's annotated tree, made from the first line of every module's docstring.

``python docs/tree.py --write`` puts it between the markers; `docs/check.py` compares.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START, END = "<!-- tree -->\n", "<!-- /tree -->"
PACKAGES = ("interns", "orchestrator", "training", "retrieval", "tui")
OTHERS = (
    ("tests/", "real parts only; one folder per package"),
    ("benchmarks/", "speed and quality, as ratios against named peers"),
    ("examples/", "the demo, its data and their generators"),
    ("docs/", "guides, architecture, decisions, benchmarks, lab log"),
)
WIDTH = 36


def tree() -> str:
    """Return the tree as a Markdown code block."""
    lines: list[str] = []
    for package in PACKAGES:
        folder = ROOT / package
        lines.append(_line(f"{package}/", _summary(folder / "__init__.py")))
        lines += _folder(folder, 1)
    lines += [_line(name, text) for name, text in OTHERS]
    return "```\n" + "\n".join(lines) + "\n```\n"


def in_readme() -> str:
    """Return what stands between the markers today."""
    text = README.read_text(encoding="utf-8")
    return text.partition(START)[2].partition(END)[0]


def _folder(folder: Path, depth: int) -> list[str]:
    lines = []
    for path in sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name)):
        indent = "  " * depth
        if path.is_dir() and any(path.rglob("*.py")) and path.name != "__pycache__":
            init = path / "__init__.py"
            lines.append(_line(f"{indent}{path.name}/", _summary(init) if init.exists() else ""))
            lines += _folder(path, depth + 1)
        elif path.suffix == ".py" and not path.name.startswith("__"):
            lines.append(_line(f"{indent}{path.name}", _summary(path)))
    return lines


def _summary(module: Path) -> str:
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")


def _line(name: str, text: str) -> str:
    return f"{name.ljust(WIDTH)} {text}".rstrip()


def main() -> None:
    """Write the tree into the README, or print it."""
    if "--write" not in sys.argv:
        print(tree())
        return
    before, _, rest = README.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    README.write_text(before + START + tree() + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
