"""Pieces that several answers of the dialect share: usage, finish reasons, probabilities."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from interns.completion import TokenScore
from interns.errors import Unavailable

Json = dict[str, Any]

# The dialect knows no deadline; to its clients the answer was cut off.
_REASONS = {"deadline": "length"}


def stamp(prefix: str, kind: str, model: str) -> Json:
    """Return the fields every answer begins with."""
    created = int(time.time())
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": created,
        "model": model,
    }


def usage(prompt: int, cached: int, written: int) -> Json:
    """Return how many tokens were read, found in the cache and written."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def finish_reason(ours: str) -> str:
    """Return OpenAI's word for why an answer ended.

    Raises:
        Unavailable: It was cut short, which only a stopping office does to a client that listens.
    """
    if ours == "cancelled":
        raise cut_short()
    return _REASONS.get(ours, ours)


def cut_short() -> Unavailable:
    """Return what is told instead of an answer that was given up."""
    return Unavailable("The office is stopping.", "Send the request again in a moment.")


def chat_logprobs(scores: Iterable[TokenScore]) -> Json:
    """Return log-probabilities as chat answers carry them."""
    content = [
        _entry(score) | {"top_logprobs": [_entry(each) for each in score.alternatives]}
        for score in scores
    ]
    return {"content": content, "refusal": None}


def label_logprobs(probabilities: Mapping[str, float], chosen: str, count: int) -> Json:
    """Return the calibrated probabilities of labels: the label stands where a token would."""

    def score(label: str) -> TokenScore:
        return TokenScore(-1, label.encode(), math.log(max(probabilities[label], 1e-300)))

    ranked = sorted(probabilities, key=lambda label: -probabilities[label])[:count]
    best = score(chosen)
    others = tuple(score(label) for label in ranked)
    return chat_logprobs([TokenScore(best.token, best.data, best.logprob, others)])


def token_text(score: TokenScore) -> str:
    """Return a token as text; for part of a character its bytes, as OpenAI writes them."""
    try:
        return score.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in score.data)


def _entry(score: TokenScore) -> Json:
    return {"token": token_text(score), "logprob": score.logprob, "bytes": list(score.data)}
