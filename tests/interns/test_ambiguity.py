"""Grammars that llama.cpp would follow for ever, or not survive, are refused before it sees them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interns.bases import starter
from interns.completion import Choices, Grammar, JsonSchema
from interns.errors import InvalidInput
from interns.runtime.llama_cpp.constraints import gbnf_of
from interns.runtime.llama_cpp.grammar import GrammarMask
from interns.runtime.llama_cpp.library import Model

JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [1-9] [0-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}  # as llama.cpp's own example
"""
ALIKE = {
    f"d{n}": {
        "anyOf": [
            {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}} for _ in "1234"
        ]
    }
    for n in range(8)
} | {"d8": {"const": 1}}


@pytest.mark.parametrize(
    ("gbnf", "why"),
    [
        ('root ::= (("a"? "b"?){300}){300}', "ways"),
        ('root ::= ("a"? "b"?){300}', "ways"),
        ('root ::= x{300}\nx ::= y y\ny ::= "a"?', "ways"),
        ('root ::= ((("a" | "a" | "a"){40}){40}){40}', "ways"),
        ('root ::= s\ns ::= "a" s "x" | "a" s "y" | "a"', "ways"),
        (
            "root ::= r0\n" + "\n".join(f"r{n} ::= r{n + 1} | r{n + 1}" for n in range(40)),
            "rule r40",
        ),
        (
            "root ::= r0\n"
            + "\n".join(f"r{n} ::= r{n + 1} | r{n + 1}" for n in range(40))
            + '\nr40 ::= "a"',
            "ways",
        ),
        ('root ::= b root "z" | "x"\nb ::= c c\nc ::= "y"?', "begin with itself"),
        ("root ::= " + '"' + "x" * 40_000 + '"{1999}', "written out"),
        ('root ::= "a"{5,2}', "at least 5 and at most 2"),
        ('root ::= "a"{0,5000}', "more than 2000 times"),
        ('root ::= "a" "b', "cannot be read at"),
        ('root ::= ("a"', "cannot be read at"),
        ("root ::= *", "cannot be read at"),
        ('root ::= "a\0"', "cannot be read at"),
        ('root ::= there\nother ::= "a"', "no rule there"),
    ],
)
def test_grammar_is_refused_with_a_reason_when_it_would_take_for_ever(gbnf, why):
    with pytest.raises(InvalidInput, match=why) as caught:
        gbnf_of(Grammar(gbnf))
    assert caught.value.fix


def test_schema_and_labels_are_refused_when_they_leave_too_many_ways_open():
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": ALIKE}
    with pytest.raises(InvalidInput, match="ways"):
        gbnf_of(JsonSchema(schema))
    with pytest.raises(InvalidInput, match="20000 labels"):
        gbnf_of(Choices(tuple(map(str, range(20_000)))))


@pytest.mark.parametrize(
    "gbnf",
    [
        JSON,
        'root ::= ("a"?)*',
        'root ::= ([a-z]+ " "?)+ "."',
        'root ::= ("[" [^\\]\\-a-c]{0,1900} "]"){1,3} | .+ # "(',
        "root ::= " + " | ".join(f'"w{n}"' for n in range(5000)),
        "root ::= "
        + " ".join(f"r{n}" for n in range(50))
        + '\nr49 ::= "\\u00e9\\x41"'.join(f'\nr{n} ::= [^"]* "\\"" "x"?' for n in range(49)),
    ],
)
def test_grammar_is_taken_when_it_is_plain(gbnf):
    assert gbnf_of(Grammar(gbnf)) == gbnf


@pytest.fixture(scope="module")
def words():
    model = Model(starter().gguf, words_only=True)
    yield model
    model.close()


def _bodies(rules: list[str]) -> st.SearchStrategy[str]:
    leaves = st.sampled_from(['"a"', '"ab"', "[a-z]", "[^z]", ".", *rules])
    times = st.sampled_from(["", "", "?", "*", "+", "{9}", "{300}", "{2,30}", "{0,900}", "{3,}"])

    def wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        items = st.builds("{}{}".format, inner, times)
        rows = st.lists(items, min_size=1, max_size=3).map(" ".join)
        return st.lists(rows, min_size=1, max_size=3).map(lambda each: f"({' | '.join(each)})")

    return st.recursive(leaves, wider, max_leaves=8)


@settings(max_examples=150, deadline=None)
@given(root=_bodies(["x", "y"]), x=_bodies(["y"]), y=_bodies(["root"]))
def test_what_is_not_refused_is_built_and_followed(words, root, x, y):
    """That it comes to an end is what is tested."""
    gbnf = f"root ::= {root}\nx ::= {x}\ny ::= {y}"
    try:
        mask = GrammarMask(words, gbnf_of(Grammar(gbnf)))
    except InvalidInput:
        return
    for _ in range(3):
        (allowed,) = np.nonzero(np.isfinite(mask.apply(np.zeros(words.vocab_size, np.float32))))
        left = [int(token) for token in allowed if token not in words.stop_tokens]
        if not left:
            break
        mask.accept(max(left, key=lambda token: len(words.piece(token))))
    mask.close()
