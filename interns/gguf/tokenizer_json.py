"""The Hugging Face side of a base's tokenizer, brought to exactly what llama.cpp does.

Training reads ``tokenizer.json``, serving the tokens inside the GGUF file. Where the two programs
differ by design, the file for training is changed, so that an intern sees the same ids in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gguf.constants import TokenType

from interns.errors import BrokenFile, Incompatible, InternsError
from interns.gguf.reader import GgufFile
from interns.gguf.sentencepiece_model import SPACE, merges_of_scores, tokenizer_of_sentencepiece
from interns.gguf.writing import whole_file

Json = dict[str, Any]

PREFIXED, PLAIN = "prefixed", "plain"  # whether a text starts with a space of its own
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS: Mapping[str, str] = {
    "llama-bpe": _WORDS + r"\p{N}{1,3}" + _REST,
    "qwen2": _WORDS + r"\p{N}" + _REST,
}
# In a model whose name says Phi-3, llama.cpp lets special tokens swallow the blanks after them,
# except these; in all others none does.
_PHI3 = re.compile(r"phi-?3", re.IGNORECASE)
_PHI3_KEEPS = frozenset({"<unk>", "<s>", "<|endoftext|>"})
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_PREPEND = {"type": "Prepend", "prepend": SPACE}


def read_tokenizer(folder: Path) -> Json:
    """Read a folder's ``tokenizer.json``, or ``tokenizer.model``, as llama.cpp will understand it.

    Normalisation to NFC is left out, because llama.cpp has none. A SentencePiece tokenizer that
    puts a space before the first word only puts none, because every prompt starts with a token.

    Raises:
        BrokenFile: It is missing or damaged.
        Incompatible: llama.cpp cannot represent it.
    """
    path = folder / "tokenizer.json"
    try:
        if path.exists() or not (folder / "tokenizer.model").exists():
            data: Json = json.loads(path.read_text(encoding="utf-8"))
        else:
            data = tokenizer_of_sentencepiece(folder)
        model = data["model"]
        vocab = model["vocab"]
    except InternsError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenFile(
            f"{folder.name} has no readable tokenizer.json.", "Add the tokenizer of the base."
        ) from error
    if model.get("type", "BPE") != "BPE" or not isinstance(vocab, dict):
        raise refuse(f"it is of kind {model.get('type')}, not BPE")
    if model.get("dropout") or model.get("continuing_subword_prefix"):
        raise refuse("it marks or drops parts of words")
    _settle_added(data)
    data["post_processor"] = None  # adds tokens around a text; the chat template does that here
    if is_byte_level(data):
        if _kinds(data.get("normalizer")) not in ([], ["NFC"]):
            raise refuse("it rewrites texts before it splits them")
        data["normalizer"] = None
        return data
    data["normalizer"] = _normalizer(_space_prefix(data))
    data["pre_tokenizer"] = None
    return data


def name_for(data: Mapping[str, Any], name: str) -> str:
    """A ``general.name`` under which llama.cpp treats the special tokens as the tokenizer does."""
    swallows = any(item.get("rstrip") for item in data.get("added_tokens") or ())
    if swallows:
        return name if _PHI3.search(name) else f"{name} (phi-3 tokens)"
    return _PHI3.sub("phi 3", name)


def is_byte_level(data: Mapping[str, Any]) -> bool:
    """Whether its tokens are pieces of bytes, as GPT-2's, and not of characters."""
    return any(step.get("type") == "ByteLevel" for step in steps(data.get("pre_tokenizer")))


def has_space_prefix(data: Mapping[str, Any]) -> bool:
    """Whether a text of its own starts with a space, in a tokenizer that `read_tokenizer` gave."""
    return "Prepend" in _kinds(data.get("normalizer"))


def steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The steps of a normaliser or pre-tokenizer, one or several."""
    part = part or {}
    for key in ("normalizers", "pretokenizers"):
        if key in part:
            return list(part[key])
    return [part] if part else []


def refuse(why: str) -> Incompatible:
    """The error for a tokenizer that llama.cpp cannot represent."""
    return Incompatible(
        f"llama.cpp cannot represent the tokenizer of this base: {why}.",
        "Choose another base, or a ready-made GGUF of this one.",
    )


def write_tokenizer(data: Mapping[str, Any], special: Mapping[str, str], out: Path) -> None:
    """Write ``tokenizer.json`` and a ``tokenizer_config.json`` that adds nothing to it.

    Args:
        data: The tokenizer.
        special: ``bos_token``, ``eos_token`` and ``pad_token`` as far as there are such.
        out: Folder to write them to.
    """
    settings = {
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(1e30),
        "tokenizer_class": "TokenizersBackend",
        **special,
    }
    for name, value in (("tokenizer.json", data), ("tokenizer_config.json", settings)):
        with whole_file(out / name) as partial:
            partial.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def special_tokens(folder: Path) -> dict[str, str]:
    """Texts of ``bos_token``, ``eos_token`` and ``pad_token`` of a Hugging Face folder.

    Raises:
        BrokenFile: ``tokenizer_config.json`` is missing or damaged.
    """
    try:
        given = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        found = {key: given.get(key) for key in ("bos_token", "eos_token", "pad_token")}
    except (OSError, ValueError, AttributeError) as error:
        raise BrokenFile(
            "tokenizer_config.json of the base is missing or damaged.", "Add it."
        ) from error
    texts = {key: v.get("content") if isinstance(v, dict) else v for key, v in found.items()}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def tokenizer_of_gguf(file: GgufFile) -> Json:
    """The tokenizer of a base GGUF as ``tokenizer.json`` holds it.

    Raises:
        BrokenFile: Its tokens are damaged.
        Incompatible: It is of a kind that is not known.
    """
    tokens, kinds = _tokens(file)
    special = [i for i, kind in enumerate(kinds) if kind == TokenType.CONTROL]
    added = special + [i for i, kind in enumerate(kinds) if kind == TokenType.USER_DEFINED]
    byte_level = file.text("tokenizer.ggml.model") == "gpt2"
    if not byte_level and file.text("tokenizer.ggml.model") != "llama":
        raise refuse(f"it is of kind {file.text('tokenizer.ggml.model')}")
    prefix = PREFIXED if file.metadata.get("tokenizer.ggml.add_space_prefix", True) else PLAIN
    pre = file.text("tokenizer.ggml.pre", "default")
    vocab = {text: i for i, text in enumerate(tokens) if kinds[i] != TokenType.UNUSED}
    swallows = bool(_PHI3.search(file.text("general.name")))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": tokens[i],
                "single_word": False,
                "lstrip": False,
                "rstrip": swallows and tokens[i] not in _PHI3_KEEPS,
                "normalized": False,
                "special": kinds[i] == TokenType.CONTROL,
            }
            for i in sorted(added)
        ],
        "normalizer": None if byte_level else _normalizer(prefix),
        "pre_tokenizer": _splitter(pre) if byte_level else None,
        "post_processor": None,
        "decoder": _BYTE_LEVEL | {"use_regex": True} if byte_level else _spm_decoder(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None if byte_level else _text_of(tokens, kinds, TokenType.UNKNOWN),
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": not byte_level,
            "byte_fallback": not byte_level,
            "ignore_merges": pre == "llama-bpe",
            "vocab": vocab,
            "merges": _merges(file) if byte_level else merges_of_scores(_scored(file, vocab)),
        },
    }


def _settle_added(data: Json) -> None:
    """Let added tokens be found as llama.cpp finds them."""
    added = data.get("added_tokens") or []
    texts = {item["content"] for item in added}
    swallows = any(item.get("rstrip") for item in added) and {*_PHI3_KEEPS, "</s>"} <= texts
    for item in added:
        item["single_word"] = item["lstrip"] = False
        item["rstrip"] = swallows and item["content"] not in _PHI3_KEEPS
        item["normalized"] = bool(item.get("normalized")) and not item.get("special")


def _scored(file: GgufFile, vocab: Mapping[str, int]) -> dict[str, float]:
    scores = file.metadata.get("tokenizer.ggml.scores")
    kinds = _tokens(file)[1]
    if not isinstance(scores, list) or len(scores) != len(kinds):
        raise BrokenFile(f"{file.path.name} has no token scores.", "Fetch the base anew.")
    normal = {text: i for text, i in vocab.items() if kinds[i] == TokenType.NORMAL}
    return {text: float(scores[i]) for text, i in normal.items()}


def _tokens(file: GgufFile) -> tuple[list[str], list[int]]:
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise BrokenFile(f"{file.path.name} has no tokens.", "Fetch the base anew.")
    kinds = file.metadata.get("tokenizer.ggml.token_type")
    kinds = kinds if isinstance(kinds, list) else [int(TokenType.NORMAL)] * len(tokens)
    if len(kinds) != len(tokens):
        raise BrokenFile(f"{file.path.name}: tokens and types differ in number.", "Fetch it anew.")
    return tokens, kinds


def _merges(file: GgufFile) -> list[list[str]]:
    merges = file.metadata.get("tokenizer.ggml.merges")
    if not isinstance(merges, list) or not merges:
        raise BrokenFile(f"{file.path.name} has no merges.", "Fetch the base anew.")
    return [str(merge).split(" ", 1) for merge in merges]


def _text_of(tokens: Sequence[str], kinds: Sequence[int], kind: TokenType) -> str | None:
    return next((text for text, one in zip(tokens, kinds, strict=True) if one == kind), None)


def _splitter(pre: str) -> Json:
    if pre in SPLITS:
        split = {
            "type": "Split",
            "pattern": {"Regex": SPLITS[pre]},
            "behavior": "Isolated",
            "invert": False,
        }
        return {"type": "Sequence", "pretokenizers": [split, _BYTE_LEVEL | {"use_regex": False}]}
    level = _BYTE_LEVEL | {"use_regex": True}
    if pre == "smollm":
        digits = {"type": "Digits", "individual_digits": True}
        return {"type": "Sequence", "pretokenizers": [digits, level]}
    if pre in {"gpt-2", "default"}:
        return level
    raise refuse(f"its way to split texts ({pre}) is not known here")


def _spm_decoder() -> Json:
    return {
        "type": "Sequence",
        "decoders": [
            {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ],
    }


def _normalizer(prefix: str) -> Json:
    parts = [_PREPEND, _REPLACE] if prefix == PREFIXED else [_REPLACE]
    return {"type": "Sequence", "normalizers": parts}


def _space_prefix(data: Mapping[str, Any]) -> str:
    """Whether texts start with a space; refuses what is no plain SentencePiece tokenizer."""
    normal, pre = steps(data.get("normalizer")), steps(data.get("pre_tokenizer"))
    kinds = [step.get("type") for step in (*normal, *pre)]
    replaces = any(step.get("content") == SPACE for step in normal)
    if kinds == ["Metaspace"] and not pre[0].get("split", True):
        return PREFIXED if pre[0].get("prepend_scheme") == "always" else PLAIN
    if kinds[:2] == ["Prepend", "Replace"] and len(kinds) == 2 and replaces:
        return PREFIXED
    harmless = kinds in (["Replace"], ["Replace", "Split"]) and replaces
    if harmless and all(_splits_spaces(step) for step in pre):
        return PLAIN
    told = ", ".join(map(str, kinds)) or "nothing"
    raise refuse(f"the way it prepares texts is not known here ({told})")


def _splits_spaces(step: Mapping[str, Any]) -> bool:
    """Gemma's splitter looks for spaces, of which none are left."""
    return (step.get("pattern") or {}).get("String") == " "


def _kinds(part: Mapping[str, Any] | None) -> list[str]:
    return [str(step.get("type")) for step in steps(part)]
