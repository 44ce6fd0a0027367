"""`llama_cpp.Llama` as the peer of a benchmark, kept away from code that crashes as our engine is."""

from __future__ import annotations

from typing import Any

from interns.runtime.llama_cpp.library import may_repack
from interns.runtime.llama_cpp.native import api, llama_cpp


def llama(**options: Any) -> Any:
    """Return a `Llama` that repacks weights only where the engine does, in a library loaded as its.

    Args:
        options: As for `Llama`, which has no option of its own for this.
    """
    plain = api.llama_model_default_params

    def params() -> Any:
        made = plain()
        made.use_extra_bufts = may_repack()
        return made

    api.llama_model_default_params = params
    try:
        return llama_cpp.Llama(**options)
    finally:
        api.llama_model_default_params = plain
