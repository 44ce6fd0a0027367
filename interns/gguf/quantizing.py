"""Smaller files by llama.cpp itself: K-quants, which NumPy cannot make."""

from __future__ import annotations

import os
from pathlib import Path

from interns.errors import BrokenFile, InvalidInput
from interns.gguf.writing import whole_file

K_QUANTS = ("Q4_K_M",)


def quantize_gguf(source: Path, out: Path, file_type: str, *, threads: int = 0) -> None:
    """Quantize an F16 or F32 base.

    Args:
        source: A base GGUF.
        out: The file to write; whole or absent.
        file_type: One of `K_QUANTS`.
        threads: CPU threads; 0 leaves it to llama.cpp.

    Raises:
        InvalidInput: The file type is unknown.
        BrokenFile: llama.cpp refuses the file.
        NoSpace: The disk is full.
    """
    if file_type not in K_QUANTS:
        raise InvalidInput(f"Unknown file type {file_type!r}.", f"Use one of: {K_QUANTS}.")
    import llama_cpp.llama_cpp as api

    params = api.llama_model_quantize_default_params()
    params.ftype = api.LLAMA_FTYPE_MOSTLY_Q4_K_M
    params.nthread = threads
    with whole_file(out) as partial:
        code = api.llama_model_quantize(os.fsencode(source), os.fsencode(partial), params)
        if code != 0:
            raise BrokenFile(
                f"llama.cpp cannot quantize {source.name} to {file_type}.",
                "Use --type Q8_0, or free some space if the disk is full.",
            )
