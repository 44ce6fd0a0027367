"""A base's settings between Hugging Face's ``config.json`` and the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gguf import GGUFWriter

from interns.errors import BrokenFile, Incompatible
from interns.gguf.families import Family, family_of_arch, family_of_config
from interns.gguf.reader import GgufFile
from interns.gguf.rope import rope_of_config, rope_of_gguf, write_rope

# llama.cpp scales attention by the width of a head, except in the largest model of each family.
_LARGEST = {"gemma2": 46, "gemma3": 62}
_PATTERN = {"gemma2": 2, "gemma3": 6}  # one layer in so many sees everything
_REQUIRED = (
    *("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads"),
    *("num_hidden_layers", "rms_norm_eps", "vocab_size"),
)


def check_config(config: Mapping[str, Any]) -> Family:
    """The family of a config that llama.cpp can compute.

    Raises:
        BrokenFile: A number is missing.
        Incompatible: The family or one of its settings is not supported.
    """
    family = family_of_config(config)
    missing = [key for key in _REQUIRED if not isinstance(config.get(key), int | float)]
    if missing:
        raise BrokenFile(f"config.json of the base lacks {missing[0]}.", "Fetch the base anew.")
    rope_of_config(config)
    act = config.get("hidden_activation") or config.get("hidden_act") or "silu"
    wanted = {"gelu_pytorch_tanh", "gelu"} if family.gemma else {"silu"}
    refused = {
        f"it is activated by {act}": act not in wanted,
        "its heads turn in part only": float(config.get("partial_rotary_factor") or 1.0) != 1.0,
        "its attention looks both ways": bool(config.get("use_bidirectional_attention")),
        "its attention is scaled unusually": family.gemma and _odd_scale(config, family),
    }
    for reason, found in refused.items():
        if found:
            raise Incompatible(
                f"The base cannot be served by llama.cpp: {reason}.", "Choose another base."
            )
    return family


def head_dim_of(config: Mapping[str, Any]) -> int:
    """Width of one head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def kv_heads_of(config: Mapping[str, Any]) -> int:
    """Heads of keys and values."""
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def write_settings(writer: GGUFWriter, config: Mapping[str, Any]) -> None:
    """Write what llama.cpp needs to know of a checked config."""
    family, head_dim = family_of_config(config), head_dim_of(config)
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_context_length(_context(config, family))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(int(config["num_attention_heads"]))
    writer.add_head_count_kv(kv_heads_of(config))
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    write_rope(writer, rope_of_config(config))
    if family.gemma:
        _write_gemma(writer, config, family)


def hf_config(file: GgufFile) -> dict[str, Any]:
    """The Hugging Face config of a base GGUF, as ``config.json`` holds it."""
    arch = file.text("general.architecture")
    family = family_of_arch(arch)

    def setting(key: str, default: float | None = None) -> float:
        return file.number(f"{arch}.{key}", default)

    heads, width = int(setting("attention.head_count")), int(setting("embedding_length"))
    head_dim = int(setting("attention.key_length", width // heads))
    eos = int(file.number("tokenizer.ggml.eos_token_id"))
    rope = rope_of_gguf(file, head_dim)
    config = {
        "architectures": [family.transformers_class],
        "model_type": family.model_type,
        "attention_bias": False,
        "bos_token_id": int(file.number("tokenizer.ggml.bos_token_id", eos)),
        "eos_token_id": eos,
        "pad_token_id": int(file.number("tokenizer.ggml.padding_token_id", eos)),
        "dtype": "float32",
        "head_dim": head_dim,
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": int(setting("feed_forward_length")),
        "max_position_embeddings": int(setting("context_length")),
        "num_attention_heads": heads,
        "num_hidden_layers": int(setting("block_count")),
        "num_key_value_heads": int(setting("attention.head_count_kv", heads)),
        "rms_norm_eps": round(setting("attention.layer_norm_rms_epsilon"), 12),
        "rope_parameters": rope,
        "rope_theta": rope["rope_theta"],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
    }
    if family.gemma:
        config |= _gemma_config(file, family, config, rope)
    if arch in {"llama", "phi3"}:
        config["sliding_window"] = None
    return config


def _context(config: Mapping[str, Any], family: Family) -> int:
    """Longest context in which llama.cpp computes what torch does.

    It has no sliding window for the families that use one throughout, so theirs ends there.
    """
    longest = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    used = not family.gemma and config.get("use_sliding_window", True) and window
    return min(longest, int(window)) if used and window else longest


def _layer_types(config: Mapping[str, Any], family: Family) -> list[bool]:
    """Whether each layer looks through the sliding window."""
    count = int(config["num_hidden_layers"])
    given = config.get("layer_types")
    if given:
        return [kind == "sliding_attention" for kind in given]
    pattern = int(config.get("sliding_window_pattern") or _PATTERN[family.arch])
    return [bool((layer + 1) % pattern) for layer in range(count)]


def _write_gemma(writer: GGUFWriter, config: Mapping[str, Any], family: Family) -> None:
    for key, add in (
        ("attn_logit_softcapping", writer.add_attn_logit_softcapping),
        ("final_logit_softcapping", writer.add_final_logit_softcapping),
    ):
        if config.get(key):
            add(float(config[key]))
    writer.add_sliding_window(int(config["sliding_window"]))
    sliding = _layer_types(config, family)
    usual = {"num_hidden_layers": len(sliding)}
    if sliding != _layer_types(usual, family):
        writer.add_sliding_window_pattern(sliding)


def _gemma_config(
    file: GgufFile, family: Family, config: Mapping[str, Any], rope: Mapping[str, Any]
) -> dict[str, Any]:
    arch, layers = family.arch, int(config["num_hidden_layers"])
    given = file.metadata.get(f"{arch}.attention.sliding_window_pattern")
    if isinstance(given, list):
        sliding = [bool(value) for value in given]
    else:
        pattern = given if isinstance(given, int) else _PATTERN[arch]
        usual = {"num_hidden_layers": layers, "sliding_window_pattern": pattern}
        sliding = _layer_types(usual, family)
    found: dict[str, Any] = {
        "hidden_activation": "gelu_pytorch_tanh",
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "layer_types": ["sliding_attention" if one else "full_attention" for one in sliding],
        "query_pre_attn_scalar": _attention_scalar(config, family),
        "sliding_window": int(file.number(f"{arch}.attention.sliding_window", 4096)),
    }
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if f"{arch}.{key}" in file.metadata:
            found[key] = file.number(f"{arch}.{key}")
    if arch == "gemma3":
        full = {key: value for key, value in rope.items() if key != "local_theta"}
        local = {"rope_type": "default", "rope_theta": rope["local_theta"]}
        found["rope_parameters"] = {"full_attention": full, "sliding_attention": local}
    return found


def _attention_scalar(config: Mapping[str, Any], family: Family) -> int:
    """What llama.cpp divides attention by, squared."""
    if int(config["num_hidden_layers"]) == _LARGEST[family.arch]:
        return int(config["hidden_size"]) // int(config["num_attention_heads"])
    return head_dim_of(config)


def _odd_scale(config: Mapping[str, Any], family: Family) -> bool:
    scalar = config.get("query_pre_attn_scalar", head_dim_of(config))
    return bool(scalar != _attention_scalar(config, family))
