"""The tokenizer: byte-level BPE, digits one by one, with tokens kept free for the engine.

Its pre-tokenizer is the one that llama.cpp calls ``smollm``: every digit alone, then GPT-2's
pattern. The tests compare 10,000 texts with llama.cpp.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from interns.errors import BrokenFile, Incompatible, InvalidInput
from interns.gguf.writing import whole_file
from training.pretraining.chat import BOS, END, PAD, TURN
from training.pretraining.folder import make_folder

RESERVED = 256  # control tokens that a base made later may give a meaning
# As the file states each of them: found wherever it stands, exactly as it is.
_ADDED = {
    "single_word": False,
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "special": True,
}
CONTROL = (BOS, TURN, END, PAD, *(f"<|reserved_{i}|>" for i in range(RESERVED)))


def train_tokenizer(texts: Iterable[str], vocabulary: int, out: Path) -> Tokenizer:
    """Learn the merges from texts and write ``tokenizer.json``.

    Args:
        texts: A sample of what the base will read.
        vocabulary: Number of tokens, control tokens and 256 bytes included.
        out: The file to write, whole or absent.

    Raises:
        InvalidInput: The texts are too few for so many tokens, or `out` cannot be a file.
        NoSpace: The disk is full.
    """
    if out.is_dir():
        raise InvalidInput(f"{out} is a folder.", f"Name a file: {out / 'tokenizer.json'}")
    make_folder(out.parent)
    tokenizer = _blank()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in CONTROL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocabulary:
        raise InvalidInput(
            f"The texts give only {tokenizer.get_vocab_size()} tokens, not {vocabulary}.",
            "Give more texts, or ask for fewer tokens.",
        )
    with whole_file(out) as partial:
        tokenizer.save(str(partial), pretty=False)
    return tokenizer


def load_tokenizer(path: Path, vocabulary: int) -> Tokenizer:
    """Read a tokenizer and check that a base can be made with it.

    Raises:
        BrokenFile: It is missing or no tokenizer.
        Incompatible: It lacks control tokens or bytes, has others or another size, or makes ids in
            a way that llama.cpp could not repeat.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise BrokenFile(
            f"{path.name} is missing or no tokenizer: {error}.",
            "Make one with `python -m training.pretrain tokenizer`.",
        ) from error
    _check(tokenizer, path.name, vocabulary)
    return tokenizer


def control_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a control token.

    Raises:
        Incompatible: The tokenizer lacks it.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise Incompatible(f"The tokenizer lacks {token}.", "Use the committed tokenizer.")
    return int(found)


def tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """Hash of everything that decides ids, 64 hex digits."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def _check(tokenizer: Tokenizer, name: str, vocabulary: int) -> None:
    fix = "Use the committed tokenizer, or make one with `python -m training.pretrain tokenizer`."
    if tokenizer.get_vocab_size() != vocabulary:
        raise Incompatible(
            f"{name} has {tokenizer.get_vocab_size()} tokens, the recipe {vocabulary}.", fix
        )
    missing = [token for token in CONTROL if tokenizer.token_to_id(token) is None]
    if missing:
        raise Incompatible(f"{name} lacks the control token {missing[0]}.", fix)
    other = _differences(_plain(tokenizer))
    if other:
        raise Incompatible(
            f"{name} makes ids in a way that llama.cpp cannot repeat; it must be byte-level BPE after "
            f"single digits and nothing else, but these parts are not: {', '.join(other)}.",
            fix,
        )


def _differences(found: dict[str, Any]) -> list[str]:
    """Where a tokenizer differs from what `train_tokenizer` makes, apart from what it learned."""
    wanted = _plain(_blank())
    model, added = found.pop("model"), found.pop("added_tokens")
    plain = wanted.pop("model")
    other = [part for part in found if found[part] != wanted.get(part)]
    options = (set(model) | set(plain)) - {"vocab", "merges"}
    other += sorted(f"model.{name}" for name in options if model.get(name) != plain.get(name))
    if added != [_ADDED | {"id": number, "content": t} for number, t in enumerate(CONTROL)]:
        other.append(f"added_tokens (the {len(CONTROL)} control tokens from id 0 on, no others)")
    if not set(pre_tokenizers.ByteLevel.alphabet()) <= set(model["vocab"]):
        other.append("vocab (a byte is missing)")
    if sorted(model["vocab"].values()) != list(range(len(model["vocab"]))):
        other.append("vocab (ids with gaps)")
    return other


def _blank() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _plain(tokenizer: Tokenizer) -> dict[str, Any]:
    return dict(json.loads(tokenizer.to_str()))
