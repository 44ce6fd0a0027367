"""Tiny random bases of every family, written as real safetensors by transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from interns.bases import starter
from interns.gguf.sentencepiece_model import merges_of_scores

# As the starter, but 2 million parameters (training/recipes/pretrain/tiny.toml): for tests of which
# the base is not the point.
TINY = Path(__file__).parent / "tiny"
BYTE_ROWS = 8192  # the starter's tokenizer
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "initializer_range": 0.2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA = {"query_pre_attn_scalar": 16, "sliding_window": 24, "tie_word_embeddings": True}
BOTH_ROPES = {
    "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
# Name: model type, tokenizer, what differs from SMALL.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "bytes", {}),
    "llama-3.2": ("llama", "bytes", {"tie_word_embeddings": True, "rope_parameters": LLAMA3}),
    "llama-2": ("llama", "prefixed", {"num_key_value_heads": 4}),
    "mistral": ("mistral", "plain", {}),
    "qwen2": ("qwen2", "bytes", {}),
    "qwen3": ("qwen3", "bytes", {"tie_word_embeddings": True, "head_dim": 32}),
    "gemma2": ("gemma2", "plain", GEMMA),
    "gemma3": (
        "gemma3_text",
        "plain",
        GEMMA
        | {"layer_types": ["sliding_attention", "full_attention"], "rope_parameters": BOTH_ROPES},
    ),
    "phi3": ("phi3", "phi3", {"head_dim": None}),
}


def write_tiny_base(folder: Path, kind: str, *, seed: int = 0, **changes: Any) -> Path:
    """Write a random base of one of `KINDS` as a Hugging Face folder.

    Args:
        folder: Where to.
        kind: A key of `KINDS`.
        seed: Of its weights.
        changes: Settings of its config that differ.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, tokenizer, differs = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    special = write_tiny_tokenizer(folder, tokenizer)
    data = json.loads((folder / "tokenizer.json").read_text())
    rows = max(*data["model"]["vocab"].values(), *(item["id"] for item in data["added_tokens"]))
    settings = SMALL | {"vocab_size": -(-(rows + 5) // 32) * 32, **special} | differs | changes
    torch.manual_seed(seed)
    settings = {key: value for key, value in settings.items() if value is not None}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings))
    with torch.no_grad():  # norms start as ones (or zeros), which would hide what is done to them
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.add_(torch.randn_like(weight) * 0.2)
    model.float().save_pretrained(folder)
    return folder


def write_tiny_tokenizer(folder: Path, kind: str) -> dict[str, int]:
    """Write a tokenizer (``bytes``, ``prefixed``, ``plain`` or ``phi3``); return its special ids."""
    if kind == "bytes":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(starter().tokenizer / name, folder / name)
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        return {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 3}
    data = sentencepiece_json(prefix=kind != "plain")
    if kind == "phi3":  # its markers swallow the blanks after them
        ends = {"content": "<|endoftext|>", "rstrip": False}
        turn = data["added_tokens"].pop()
        data["added_tokens"].append(turn | {"rstrip": True})
        data["added_tokens"].append(turn | {"id": turn["id"] + 1} | ends)
        data["added_tokens"][2]["rstrip"] = True
    (folder / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "chat_template": TEMPLATE, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}


def sentencepiece_json(*, prefix: bool) -> dict[str, Any]:
    """A tokenizer of Llama 2's kind, learned from the project's own words."""
    words = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text().split()
    pieces: dict[str, int] = {}
    for word in words:
        marked = f"▁{word}"
        for size in range(2, 9):
            for start in range(len(marked) - size + 1):
                piece = marked[start : start + size]
                pieces[piece] = pieces.get(piece, 0) + size
    letters = sorted({letter for word in words for letter in word} | {"▁"})
    ranked = sorted(pieces, key=lambda piece: (-pieces[piece], piece))[:900]
    scores = {"▁▁": 1.0, **{piece: -float(i) for i, piece in enumerate(ranked)}}
    scores |= {letter: -1e5 - i for i, letter in enumerate(letters)}
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *scores]
    names = [*dict.fromkeys(names)]
    control = [
        {"id": i, "content": names[i], "normalized": False, "special": True} for i in range(3)
    ]
    control.append({"id": len(names), "content": "<turn>", "normalized": False, "special": True})
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    return {
        "version": "1.0",
        "added_tokens": [item | flags for item in control],
        "normalizer": {"type": "Sequence", "normalizers": [prepend, replace]}
        if prefix
        else replace,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {name: i for i, name in enumerate(names)},
            "merges": merges_of_scores(scores),
        },
    }
