"""A GBNF grammar at work: which tokens may come next."""

from __future__ import annotations

import codecs
import ctypes
from typing import Any

import numpy as np

from interns.errors import InvalidInput
from interns.runtime.llama_cpp.library import Model
from interns.runtime.llama_cpp.logprobs import Logits
from interns.runtime.llama_cpp.native import api
from interns.runtime.llama_cpp.token_tree import Ids

_ENTRY = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_LIKELY = 256
_NEGLIGIBLE = 1e-5


class GrammarMask:
    """Holds one answer to a grammar. Make it anew for each answer; used by one thread at a time.

    llama.cpp counts what begins like a character as one, whatever follows; here only the bytes that
    complete it may follow, so that an answer is as long as the grammar means, and is text.

    Args:
        model: Whose tokens.
        gbnf: Grammar text with a rule ``root``.

    Raises:
        InvalidInput: The grammar cannot be read.
    """

    def __init__(self, model: Model, gbnf: str) -> None:
        self._stop_tokens = model.stop_tokens
        self._fragments = model.fragments
        self._parts = np.fromiter(self._fragments, dtype=np.int32)
        self._piece = model.piece
        self._tree = model.tree
        self._begun = b""
        with model.words() as vocab:
            self._sampler: Any = api.llama_sampler_init_grammar(
                vocab, gbnf.encode("utf-8", "replace"), b"root"
            )
        if not self._sampler:
            raise InvalidInput(
                "The grammar cannot be read by llama.cpp.", "Check its rules, and that one is root."
            )

    def apply(self, logits: Logits) -> Logits:
        """Copy with forbidden tokens at minus infinity.

        The likely ones are checked first; when all others together weigh less than 1e-5 of those
        allowed, they are left out.
        """
        allowed = np.full_like(logits, -np.inf)
        if len(logits) > 2 * _LIKELY:
            likely = np.argpartition(logits, -_LIKELY)[-_LIKELY:]
            fitting = self._fitting(likely)
            weights = np.exp(logits - logits[likely].max())
            mass = float(weights[fitting].sum())
            if mass > 0 and float(weights.sum() - weights[likely].sum()) < _NEGLIGIBLE * mass:
                allowed[fitting] = logits[fitting]
                return allowed
        fitting = self._tree.select(self._fitting)
        allowed[fitting] = logits[fitting]
        return allowed

    def _fitting(self, ids: Ids) -> Ids:
        """Those of the tokens that may come next."""
        entries = np.zeros(len(ids), dtype=_ENTRY)
        entries["id"] = ids
        pointer = entries.ctypes.data_as(ctypes.POINTER(api.llama_token_data))
        array = api.llama_token_data_array(data=pointer, size=len(ids), selected=-1, sorted=False)
        api.llama_sampler_apply(self._sampler, ctypes.byref(array))
        left: Ids = ids[np.isfinite(entries["logit"])]
        parts = np.isin(left, self._parts)
        if not self._begun and not parts.any():
            return left
        fits = np.full(len(left), not self._begun)
        rests = (_rest(self._begun + self._fragments[token]) for token in left[parts].tolist())
        fits[parts] = [rest is not None for rest in rests]
        fitting: Ids = left[fits]
        return fitting

    def accept(self, token: int) -> None:
        """Move on by one allowed token."""
        if token not in self._stop_tokens:
            self._begun = _rest(self._begun + self._piece(token)) or b""
            api.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        """Free the grammar; safe to call twice."""
        if self._sampler:
            api.llama_sampler_free(self._sampler)
            self._sampler = None


def _rest(data: bytes) -> bytes | None:
    """The bytes of a character that `data` ends within; None if it can never become UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(data)
    except UnicodeDecodeError:
        return None
    return decoder.getstate()[0]
