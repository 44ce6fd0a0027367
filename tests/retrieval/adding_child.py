"""Adds a folder to an index and says before each file which one it is; killed by a test."""

from __future__ import annotations

import sys
from pathlib import Path

from interns.database import open_database
from retrieval.embedder import Embedder
from retrieval.index import KnowledgeIndex


def _say(number: int, _files: int, _path: str) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    home, folder = map(Path, sys.argv[1:])
    index = KnowledgeIndex(open_database(home / "office.db"), home / "vectors", Embedder())
    index.add(folder, "docs", progress=_say)
