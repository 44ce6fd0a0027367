"""Is the base that serves the base that trains? Token ids and logits, llama.cpp against torch."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import psutil

from interns.base_model import BaseModelRef
from interns.bases import torch_folder
from interns.completion import Message
from interns.errors import Unavailable
from interns.gguf.reader import read_gguf
from interns.paths import Paths
from interns.runtime.llama_cpp.engine import LlamaEngine
from training.agreement import Places, bounds_of, compare, computed_with, join
from training.encoding import Encoder
from training.reference import TorchIntern

TEXTS = 10_000
CHATS = 500
PROMPTS = 12
PIECES = (
    *("The", "quick", "brown", "fox", "13", "lazy", "dogs", ",", ".", "Don't", "!", "e.g.", "3.14"),
    *("99%", "$20", "(see", "below)", "--", "...", "UPPER", "camelCase", "don’t", "“quoted”", "½"),
    *("naïve", "Zürich", "señor", "Ελλάδα", "Привет", "日本語", "中文字符", "한국어", "العربية"),
    *("👍", "👩‍💻", "🇫🇷", "🎉🎉", "\u200b", "\u00a0", "\t", "\n", "\n\n", "  ", "    ", "\r\n"),
    *("def f(x):", "return x**2", "{'a': [1, 2]}", "<b>", "</b>", "a_b", "C++", "#!/bin/sh", "\\n"),
    *("<|im_start|>", "<|im_end|>", "http://a.test/?q=1&r=2", "mail@a.test", "0x1F", "1,000,000"),
)
QUESTIONS = (
    "Where is my parcel?",
    "Write one sentence about rain.",
    "What does an index do in a database?",
    "My card was charged twice, please help me get the money back.",
)


def verify_base(
    base: BaseModelRef, paths: Paths, computing: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Compare tokenizers on 10,000 texts and 500 chats, and next-token logits on a few prompts.

    Args:
        base: The base.
        paths: Of the data directory that keeps its copy for torch.
        computing: `EngineSettings.computing` of the office that will serve it; without, the
            engine's defaults.

    Returns:
        ``base``, ``sha256``, ``texts``, ``token_ids_equal``, ``chats``, ``chat_ids_equal``,
        ``first_difference``, ``positions``, ``top1_agreement`` everywhere, ``top1_decided`` where
        torch is clear by ``margin`` nats, the share of such places ``decided``, ``mean_kl`` and
        ``max_kl`` in nats, ``passed``, and what `computed_with` tells.

    Raises:
        Unavailable: There is not enough memory for the base in 32 bits.
    """
    _require_memory(base)
    folder = torch_folder(base, paths)
    encoder, torch_base = Encoder(folder), TorchIntern(folder, None)
    engine = LlamaEngine(base, context_tokens=1024, slots=1, **computing or {})
    try:
        texts = _texts()
        equal = [encoder.text_ids(text) == engine.tokenize(text) for text in texts]
        chats = _chats(texts)
        same_chats = [
            encoder.prompt_ids(chat) == engine.tokenize(engine.template.render(chat))
            for chat in chats
        ]
        places = _places(encoder, torch_base, engine)
        computed = computed_with(engine)
    finally:
        engine.close()
    bounds = bounds_of(base.gguf)
    mean_kl = float(places.kl.mean())
    top1, decided = places.clear(bounds.margin)
    return {
        "base": base.name,
        "sha256": base.sha256,
        "texts": len(texts),
        "token_ids_equal": sum(equal),
        "chats": len(chats),
        "chat_ids_equal": sum(same_chats),
        "first_difference": _first_difference(texts, equal, chats, same_chats),
        "positions": len(places.same),
        "top1_agreement": places.everywhere,
        "top1_decided": top1,
        "decided": decided,
        "margin": bounds.margin,
        "mean_kl": mean_kl,
        "max_kl": float(places.kl.max()),
        "passed": all(equal)
        and all(same_chats)
        and top1 >= bounds.top1
        and mean_kl <= bounds.mean_kl,
        **computed,
    }


def _require_memory(base: BaseModelRef) -> None:
    """Refuse before the machine starts to swap: torch takes 4 bytes per number, and some more."""
    tensors = read_gguf(base.gguf).tensors.values()
    needed = base.gguf.stat().st_size + 4.4 * sum(math.prod(one.shape) for one in tensors)
    free = psutil.virtual_memory().available
    if free < needed:
        raise Unavailable(
            f"Checking {base.name} against torch takes about {needed / 1e9:.1f} GB of memory; "
            f"{free / 1e9:.1f} GB are free.",
            "Close other programs, or choose a smaller base: it is also what training needs.",
        )


def _texts() -> Sequence[str]:
    choose = random.Random(0)
    return [
        choose.choice(("", " ")).join(choose.choices(PIECES, k=choose.randint(1, 12)))
        for _ in range(TEXTS)
    ]


def _chats(texts: Sequence[str]) -> list[tuple[Message, ...]]:
    """Conversations of one or two questions, with a system message in every other one."""
    chats = []
    for n in range(CHATS):
        system, first, reply, second = texts[4 * n : 4 * n + 4]
        turns = [Message("system", system)] if n % 2 else []
        turns.append(Message("user", first))
        if n % 3:
            turns += [Message("assistant", reply), Message("user", second)]
        chats.append(tuple(turns))
    return chats


def _first_difference(
    texts: Sequence[str],
    equal: Sequence[bool],
    chats: Sequence[tuple[Message, ...]],
    same_chats: Sequence[bool],
) -> str:
    if not all(equal):
        return texts[equal.index(False)]
    if not all(same_chats):
        return repr(chats[same_chats.index(False)])
    return ""


def _places(encoder: Encoder, torch_base: TorchIntern, engine: LlamaEngine) -> Places:
    parts = []
    for number in range(PROMPTS):
        question = QUESTIONS[number % len(QUESTIONS)]
        messages = [Message("system", f"You are number {number}."), Message("user", question)]
        ids = encoder.prompt_ids(messages)
        parts.append(compare(torch_base.logits(ids), engine.logits(ids)))
    return join(parts)
