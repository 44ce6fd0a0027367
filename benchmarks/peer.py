"""`llama_cpp.Llama` as the peer of a benchmark, kept away from code that crashes as our engine is."""

from __future__ import annotations

from typing import Any

from llama_cpp import Llama, llama_cpp

from interns.runtime.llama_cpp.library import may_repack


def llama(**options: Any) -> Llama:
    """Return a `Llama` that repacks weights only where the engine does.

    Args:
        options: As for `Llama`, which has no option of its own for this.
    """
    plain = llama_cpp.llama_model_default_params

    def params() -> Any:
        made = plain()
        made.use_extra_bufts = may_repack()
        return made

    llama_cpp.llama_model_default_params = params
    try:
        return Llama(**options)
    finally:
        llama_cpp.llama_model_default_params = plain
