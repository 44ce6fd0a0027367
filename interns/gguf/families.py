"""What differs between model families: names of weights and the rotary layout of q and k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from interns.errors import Incompatible, InvalidInput

Names = Mapping[str, str]

MODULES: Names = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
FUSED_MODULES: Names = {
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS: Names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
SANDWICH_NORMS: Names = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
QK_NORMS: Names = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
TOP: Names = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_QKV_BIAS: Names = {f"self_attn.{x}_proj.bias": f"attn_{x}.bias" for x in "qkv"}
# Where q, k and v (or gate and up) are one weight, a recipe's names mean that weight.
_FUSED_IN = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}


@dataclass(frozen=True)
class Family:
    """One architecture as llama.cpp names it.

    Attributes:
        arch: Value of ``general.architecture``.
        model_type: Value of ``model_type`` in the Hugging Face config.
        transformers_class: Class that loads the dequantized copy.
        modules: The linear weights of a layer, Hugging Face name to GGUF name.
        norms: Its norms.
        extra: Its other weights, with suffix.
        permutes_qk: Whether q and k rows are stored interleaved for llama.cpp's rotary layout.
        gemma: Whether norms are stored as their difference to 1, the output matrix is always the
            embedding, and layers alternate between a sliding window and everything.
    """

    arch: str
    model_type: str
    transformers_class: str
    modules: Names = field(default_factory=lambda: MODULES)
    norms: Names = field(default_factory=lambda: NORMS)
    extra: Names = field(default_factory=dict)
    permutes_qk: bool = False
    gemma: bool = False

    def layer_names(self) -> dict[str, str]:
        """Every weight a layer may have, Hugging Face leaf to GGUF leaf, with suffix."""
        named = (*self.modules.items(), *self.norms.items())
        return {f"{hf}.weight": f"{gguf}.weight" for hf, gguf in named} | dict(self.extra)

    def trainable(self) -> tuple[str, ...]:
        """Names of the linear layers a LoRA may change, as PEFT knows them."""
        return tuple(name.split(".")[1] for name in self.modules)

    def targets(self, wanted: Sequence[str]) -> list[str]:
        """The family's own names for the layers that a recipe wants trained.

        Raises:
            InvalidInput: A layer cannot be trained and served; says why.
        """
        own = self.trainable()
        found = [name if name in own else _FUSED_IN.get(name, name) for name in wanted]
        for name in found:
            if name not in own:
                why = (
                    "llama.cpp takes no adapter on a matrix that the base shares or reads by row"
                    if name in {"lm_head", "embed_tokens"}
                    else f"a base of family {self.model_type} has no such linear layer"
                )
                raise InvalidInput(
                    f"{name!r} cannot be trained: {why}.",
                    f"Leave 'targets' out of the recipe, or choose from: {', '.join(own)}.",
                )
        return list(dict.fromkeys(found))


FAMILIES: tuple[Family, ...] = (
    Family("llama", "llama", "LlamaForCausalLM", permutes_qk=True),
    Family("llama", "mistral", "MistralForCausalLM", permutes_qk=True),
    Family("qwen2", "qwen2", "Qwen2ForCausalLM", extra=_QKV_BIAS),
    Family("qwen3", "qwen3", "Qwen3ForCausalLM", norms={**NORMS, **QK_NORMS}),
    Family("gemma2", "gemma2", "Gemma2ForCausalLM", norms=SANDWICH_NORMS, gemma=True),
    Family(
        "gemma3",
        "gemma3_text",
        "Gemma3ForCausalLM",
        norms={**SANDWICH_NORMS, **QK_NORMS},
        gemma=True,
    ),
    Family("phi3", "phi3", "Phi3ForCausalLM", modules=FUSED_MODULES),
)


def family_of_config(config: Mapping[str, Any]) -> Family:
    """The family of a Hugging Face config.

    Raises:
        Incompatible: The family is not supported.
    """
    kind = str(config.get("model_type", ""))
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


def gguf_name(family: Family, hf_name: str) -> str | None:
    """The GGUF name of a Hugging Face weight, or None where there is none."""
    if hf_name in TOP:
        return TOP[hf_name]
    head, _, rest = hf_name.partition("model.layers.")
    number, _, leaf = rest.partition(".")
    known = family.layer_names().get(leaf)
    return f"blk.{number}.{known}" if known and not head and number.isdigit() else None


def hf_name(family: Family, name: str) -> str | None:
    """The Hugging Face name of a GGUF weight, or None where there is none."""
    for theirs, ours in TOP.items():
        if ours == name:
            return theirs
    head, _, rest = name.partition("blk.")
    number, _, leaf = rest.partition(".")
    leaves = {ours: theirs for theirs, ours in family.layer_names().items()}
    known = leaves.get(leaf)
    return f"model.layers.{number}.{known}" if known and not head and number.isdigit() else None


def heads_of(name: str, heads: int, kv_heads: int) -> int:
    """Number of heads behind the rows of ``attn_q…`` or ``attn_k…``; 0 for other weights."""
    part = name.split(".")[-2]
    return {"attn_q": heads, "attn_k": kv_heads}.get(part, 0)


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
