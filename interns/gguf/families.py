"""What differs between model families: names of weights and the rotary layout of q and k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from interns.errors import Incompatible

MODULES: Mapping[str, str] = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS: Mapping[str, str] = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
TOP: Mapping[str, str] = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


@dataclass(frozen=True)
class Family:
    """One architecture as llama.cpp names it.

    Attributes:
        arch: Value of ``general.architecture``.
        model_type: Value of ``model_type`` in the Hugging Face config.
        transformers_class: Class that loads the dequantized copy.
        permutes_qk: Whether q and k rows are stored interleaved for llama.cpp's rotary layout.
        extra: Further per-layer weights of the family, Hugging Face leaf to GGUF leaf.
    """

    arch: str
    model_type: str
    transformers_class: str
    permutes_qk: bool
    extra: Mapping[str, str] = field(default_factory=dict)

    def layer_names(self) -> dict[str, str]:
        """Every weight a layer may have, Hugging Face leaf to GGUF leaf, with suffix."""
        names = {
            f"{hf}.weight": f"{gguf}.weight" for hf, gguf in (*MODULES.items(), *NORMS.items())
        }
        return names | dict(self.extra)


_QK_NORM = {
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
}
_QKV_BIAS = {f"self_attn.{x}_proj.bias": f"attn_{x}.bias" for x in "qkv"}
FAMILIES: tuple[Family, ...] = (
    Family("llama", "llama", "LlamaForCausalLM", permutes_qk=True),
    Family("llama", "mistral", "MistralForCausalLM", permutes_qk=True),
    Family("qwen2", "qwen2", "Qwen2ForCausalLM", permutes_qk=False, extra=_QKV_BIAS),
    Family("qwen3", "qwen3", "Qwen3ForCausalLM", permutes_qk=False, extra=_QK_NORM),
)


def family_of_config(config: Mapping[str, Any]) -> Family:
    """The family of a Hugging Face config.

    Raises:
        Incompatible: The family is not supported, or uses a rotary scaling that is not.
    """
    kind = str(config.get("model_type", ""))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise Incompatible(
            f"The base scales its rotary positions ({rope.get('rope_type')}), which is not supported.",
            "Choose a base without rope scaling, or a ready-made GGUF of it.",
        )
    for family in FAMILIES:
        if family.model_type == kind:
            return family
    known = ", ".join(f.model_type for f in FAMILIES)
    raise Incompatible(f"Models of type {kind!r} are not supported.", f"Use one of: {known}.")


def family_of_arch(arch: str) -> Family:
    """The family of a GGUF architecture.

    Raises:
        Incompatible: The family is not supported.
    """
    for family in FAMILIES:
        if family.arch == arch:
            return family
    known = ", ".join(sorted({f.arch for f in FAMILIES}))
    raise Incompatible(f"GGUF models of type {arch!r} are not supported.", f"Use one of: {known}.")


def permute(rows: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Reorder output rows of q or k from the Hugging Face to the llama.cpp rotary layout.

    Args:
        rows: Shape (out, …) with out a multiple of ``2 * heads``.
        heads: Number of heads that make up the rows.
    """
    rest = rows.shape[1:]
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rest)
    return split.swapaxes(1, 2).reshape(rows.shape)


def unpermute(rows: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """The inverse of `permute`."""
    rest = rows.shape[1:]
    split = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rest)
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))
