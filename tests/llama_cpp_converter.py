"""Runs llama.cpp's own converters, from the source distribution of llama-cpp-python, on a folder.

    python llama_cpp_converter.py SOURCE SCRIPT ARGUMENTS…

Vocabularies are left out: the converter knows tokenizers by a list of hashes, in which those made
for a test are not.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    source, script, *arguments = sys.argv[1:]
    sys.path[:0] = [source, str(Path(source) / "gguf-py")]
    from conversion.base import TextModel  # theirs

    def without_vocabulary(kind: type) -> None:
        kind.set_vocab = lambda _self: None
        for narrower in kind.__subclasses__():
            without_vocabulary(narrower)

    import conversion

    for name in ("llama", "qwen", "gemma", "phi", "mistral"):
        __import__(f"{conversion.__name__}.{name}")
    without_vocabulary(TextModel)
    sys.argv = [script, *arguments]
    runpy.run_path(str(Path(source) / script), run_name="__main__")


if __name__ == "__main__":
    main()
