"""The vocabulary of a base: used by many threads at once, freed when the last one is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from interns.bases import starter
from interns.errors import Unavailable
from interns.runtime.llama_cpp.library import Model


def test_words_are_used_by_others_while_one_works_long():
    model = Model(starter().gguf, words_only=True)
    with ThreadPoolExecutor(1) as pool, model.words():
        assert pool.submit(model.tokenize, "Hello", special=False).result(timeout=60)
    model.close()


def test_words_are_freed_when_the_last_user_is_done_and_none_is_let_in_before():
    model = Model(starter().gguf, words_only=True)
    ids = model.tokenize("Hello", special=False)
    with ThreadPoolExecutor(1) as pool:
        with model.words():
            closing = pool.submit(model.close)
            with pytest.raises(Unavailable):
                while True:
                    assert model.tokenize("Hello", special=False) == ids
            assert not closing.done()
        closing.result(timeout=60)
    model.close()
