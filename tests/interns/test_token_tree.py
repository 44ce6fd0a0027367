"""Which tokens begin others, and that a grammar asked by their tree allows what it allows one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interns.completion import Choices, Grammar, JsonSchema
from interns.runtime.llama_cpp.constraints import gbnf_of
from interns.runtime.llama_cpp.grammar import GrammarMask
from interns.runtime.llama_cpp.token_tree import TokenTree

SOURCE = "Order 5512 goes to Zürich (Anna Berg), “not” to 北京 🙂."
COPIED = {"type": "object", "properties": {"v": {"type": "string", "x-copy": True}}}
CONSTRAINTS = (
    Choices(("yes", "no", "not yet", "Zürich", "北京")),
    JsonSchema(COPIED, SOURCE),
    JsonSchema({
        "type": "object",
        "properties": {"v": {"type": "string"}, "n": {"type": "number"}},
    }),
    Grammar('root ::= ("é" | [🙂-🙏] | "中文" | " the")+'),
    Grammar('root ::= [^a-y]+ "end"'),
)


@settings(deadline=None)
@given(pieces=st.lists(st.binary(max_size=5), max_size=40), data=st.data())
def test_only_tokens_whose_beginning_fits_are_asked_about(pieces, data):
    start = data.draw(st.binary(max_size=3))

    def fits(ids):
        asked.extend(ids.tolist())
        return np.array([i for i in ids if start.startswith(pieces[i])], dtype=np.int64)

    asked: list[int] = []
    taken = TokenTree(pieces).select(fits)
    assert taken.tolist() == [i for i, piece in enumerate(pieces) if start.startswith(piece)]
    assert len(asked) == len(set(asked))
    for token in asked:
        longest = max((p for p in pieces if p and p != pieces[token] and pieces[token].startswith(p)),
                      key=len, default=b"")  # fmt: skip
        assert start.startswith(longest)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=lambda each: type(each).__name__)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_grammar_allows_by_the_tree_what_it_allows_one_by_one(engine, constraint, seed):
    words, draw = engine._words, np.random.default_rng(seed)
    mask = GrammarMask(words, gbnf_of(constraint))
    try:
        for _ in range(24):
            likely = draw.normal(size=words.vocab_size).astype(np.float32)
            allowed = np.flatnonzero(np.isfinite(mask.apply(likely)))
            assert allowed.tolist() == mask._fitting(np.arange(words.vocab_size)).tolist()
            going_on = [token for token in allowed.tolist() if token not in words.stop_tokens]
            if not going_on:
                break
            mask.accept(int(draw.choice(going_on)))
    finally:
        mask.close()
