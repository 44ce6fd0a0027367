"""Constraints: whatever the model would like to write, the answer has the asked form."""

from __future__ import annotations

import json
import math

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interns.completion import Choices, CompletionRequest, Grammar, JsonSchema, Message, Sampling
from interns.errors import InvalidInput
from interns.runtime.llama_cpp.constraints import gbnf_of
from interns.runtime.llama_cpp.copying import is_copied, numbers_of, words_of
from interns.runtime.llama_cpp.grammar import GrammarMask
from tests.making import SAME, log_softmax

SOURCE = (
    'Hi, this is Anna Berg (from "Oslo"). I ordered 12 lamps, 3.50 each, on May 3; René\'s order.'
)
WILD = Sampling(max_tokens=400, temperature=8.0, top_k=0, top_p=1.0)
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "x-copy": True},
        "count": {"type": "integer", "x-copy": True},
        "price": {"type": ["number", "null"], "x-copy": True},
        "kind": {"enum": ["order", "refund", 3, None]},
        "note": {"type": ["string", "null"], "maxLength": 12},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 3},
        "where": {"$ref": "#/$defs/place"},
        "sure": {"type": "boolean"},
        "days": {"type": "integer", "minimum": 0},
        "either": {"anyOf": [{"const": 'a"b'}, {"type": "number"}]},
        'odd "key" \\ é': {"type": "object", "properties": {}},
    },
    "required": ["name", "kind"],
    "$defs": {
        "place": {"type": "object", "properties": {"city": {"type": "string", "x-copy": True}}}
    },
}
TREE = {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/a"}}}}
MUTUAL = {"x": {"$ref": "#/$defs/y"}, "y": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]}}


def _ask(constraint, sampling=WILD, text="Hello") -> CompletionRequest:
    return CompletionRequest((Message("user", text),), None, sampling, constraint)


@pytest.mark.parametrize("seed", range(6))
def test_answer_fits_the_schema_when_sampling_wildly(engine, seed):
    sampling = Sampling(max_tokens=400, temperature=8.0, top_k=0, top_p=1.0, seed=seed)
    answer = engine.complete(_ask(JsonSchema(SCHEMA, SOURCE), sampling))
    assert answer.finish_reason == "stop"
    value = json.loads(answer.text)
    jsonschema.validate(value, SCHEMA)
    assert list(value) == list(SCHEMA["properties"])
    assert is_copied(value["name"], SOURCE)
    assert is_copied(value["where"]["city"], SOURCE)
    assert value["count"] in (12, 3)
    assert value["price"] in (12, 3.5, 3, None)
    numbers_keep_their_form = json.dumps(value["tags"], ensure_ascii=False)
    assert numbers_keep_their_form in answer.text


def test_json_is_written_as_trained_when_held_to_a_schema(engine):
    schema = {
        "type": "object",
        "properties": {"a": {"const": "é"}, "b": {"const": [1, {"c": None}]}},
    }
    answer = engine.complete(_ask(JsonSchema(schema)))
    assert answer.text == json.dumps({"a": "é", "b": [1, {"c": None}]}, ensure_ascii=False)


def _accepts(engine, gbnf: str, text: str) -> bool:
    mask = GrammarMask(engine._words, gbnf)
    try:
        for token in [*engine.tokenize(text, special=False), 2]:
            allowed = mask.apply(np.zeros(8192, np.float32))
            if not math.isfinite(allowed[token]):
                return False
            mask.accept(token)
        return True
    finally:
        mask.close()


@settings(max_examples=40, deadline=None)
@given(text=st.text(max_size=60), data=st.data())
def test_every_run_of_words_can_be_copied_when_asked(engine, text, data):
    words = text.encode("utf-8", "ignore").decode().split()
    start = data.draw(st.integers(0, max(0, len(words) - 1)))
    end = data.draw(st.integers(start, len(words)))
    run = " ".join(words[start:end])
    schema = {"type": "object", "properties": {"v": {"type": "string", "x-copy": True}}}
    gbnf = gbnf_of(JsonSchema(schema, " ".join(words)))
    assert is_copied(run, " ".join(words))
    assert _accepts(engine, gbnf, json.dumps({"v": run}, ensure_ascii=False))


@pytest.mark.parametrize(
    ("value", "copied"),
    [
        ("", True),
        ("Anna", True),
        ("Anna Berg", True),
        ("(from", True),
        ("Oslo", True),
        ('"Oslo").', True),
        ("René", True),
        ("René's order", True),
        ("Anna Oslo", False),
        ("Ann", False),
        ("Berg Anna", False),
        ("12 lamps, 3.50", True),
        ("12 lamps 3.50", False),
        ("order Anna", False),
    ],
)
def test_only_runs_of_source_words_are_allowed_when_copying(engine, value, copied):
    schema = {"type": "object", "properties": {"v": {"type": "string", "x-copy": True}}}
    gbnf = gbnf_of(JsonSchema(schema, SOURCE))
    assert is_copied(value, SOURCE) is copied
    assert _accepts(engine, gbnf, json.dumps({"v": value}, ensure_ascii=False)) is copied


def test_nothing_can_be_copied_when_the_source_is_empty(engine):
    schema = {"type": "object", "properties": {"v": {"type": "string", "x-copy": True}}}
    assert engine.complete(_ask(JsonSchema(schema, "  \n "))).text == '{"v": ""}'


def test_words_and_numbers_are_found_when_written_with_punctuation():
    assert [word.core for word in words_of("(Anna's) — 'tis!")] == ["Anna", "—", "tis"]
    assert numbers_of("12, 12 and 3.5; 007 a1 1.2.3 -4", whole=False) == ["12", "3.5", "-4"]
    assert numbers_of("12 or 3.5", whole=True) == ["12"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "object", "properties": {"a": {"type": "strange"}}},
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}},
        {"type": "object", "properties": {"a": {"enum": []}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 7}}},
        {"type": "object", "properties": {"a": {"type": "array", "minItems": 3, "maxItems": 1}}},
        {"type": "object", "properties": {}, "required": ["a"]},
        {"type": "object", "properties": {"a": 3}},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": TREE},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": MUTUAL},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 10**9}}},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": "many"}}},
        {"type": "object", "properties": {"a": {"type": "array", "maxItems": 10**6}}},
        {"type": "object", "properties": {"a": {"anyOf": 3}}},
        {"type": "object", "properties": {"a": {"anyOf": []}}},
        {"type": "object", "properties": {"a": {"type": 3}}},
        {"type": "object", "properties": [1]},
        {"type": "object", "additionalProperties": {"type": "string"}},
        {"$ref": "#/$defs/x", "$defs": MUTUAL},
        {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}},
        {"$ref": "#"},
        {"$ref": "https://example.org/schema.json"},
        {"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}},
        {"$ref": "#/$defs/x", "$defs": {"x": 3}},
        {"type": "object", "properties": {str(i): {"enum": ["x" * 99] * 99} for i in range(200)}},
    ],
)
def test_schema_is_refused_when_it_cannot_be_held(engine, schema):
    with pytest.raises(InvalidInput):
        engine.complete(_ask(JsonSchema(schema)))


@pytest.mark.parametrize("levels", [40, 5000])
def test_schema_is_refused_when_it_is_too_deep(engine, levels):
    schema = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    with pytest.raises(InvalidInput, match="levels deep"):
        engine.complete(_ask(JsonSchema(schema)))


def test_definition_may_be_used_twice_when_it_does_not_recurse(engine):
    place = {"$ref": "#/$defs/p"}
    schema = {
        "type": "object",
        "properties": {"a": place, "b": {"type": "array", "items": place, "maxItems": 1}},
        "$defs": {"p": {"const": 1}},
    }
    assert json.loads(engine.complete(_ask(JsonSchema(schema))).text)["a"] == 1


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/one"},
        {"$ref": "#/$defs/again"},
        {"anyOf": [{"$ref": "#/$defs/one"}]},
        {"$ref": "#/$defs/either"},
    ],
)
def test_whole_schema_may_be_a_reference_to_an_object(engine, schema):
    one = {"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": False}
    again = {"$ref": "#/$defs/one"}
    schema = schema | {"$defs": {"one": one, "again": again, "either": {"anyOf": [again]}}}
    assert json.loads(engine.complete(_ask(JsonSchema(schema))).text) == {"a": 1}


@pytest.mark.parametrize("labels", [(), ("a", "a"), ("a", ""), (" ",)])
def test_labels_are_refused_when_they_cannot_be_chosen(engine, labels):
    with pytest.raises(InvalidInput):
        engine.complete(_ask(Choices(labels)))
    with pytest.raises(InvalidInput):
        engine.score_choices((Message("user", "Hello"),), labels)


@pytest.mark.parametrize(
    "gbnf",
    [
        "",
        "root ::= missing",
        'start ::= "a"',
        "root ::= (",
        "root ::= root",
        'root ::= a\na ::= b | "x"\nb ::= a "y"',
        "root ::= " + "(" * 100_000 + '"a"' + ")" * 100_000,
        'root ::= "a"{0,1000000}',
        "root ::= \ud800",
    ],
)
def test_grammar_is_refused_when_it_cannot_be_read(engine, gbnf):
    with pytest.raises(InvalidInput):
        engine.complete(_ask(Grammar(gbnf)))


def test_own_grammar_is_held_when_given(engine):
    answer = engine.complete(_ask(Grammar('root ::= "[" [0-9] "] " ("yes" | "no")')))
    assert answer.text[0] == "["
    assert answer.text[3:] in (" yes", " no")


def test_scores_are_exact_when_compared_with_single_answers(engine, adapters):
    messages = (Message("user", "Where is my card?"),)
    labels = ("card", "card lost", "card lost abroad", "refund", "a", "Zürich")
    scores = engine.score_choices(messages, labels, adapter=adapters[0])
    prompt = engine.tokenize(engine.template.render(messages))
    for label, found in zip(labels, scores.logprobs, strict=True):
        tail = [*engine.tokenize(label, special=False), 2]
        rows = log_softmax(engine.logits(prompt + tail, adapter=adapters[0]))
        places = range(len(prompt) - 1, len(prompt) + len(tail) - 1)
        expected = sum(rows[at, token] for at, token in zip(places, tail, strict=True))
        assert found == pytest.approx(float(expected), abs=SAME)
    assert sum(scores.probabilities) == pytest.approx(1)
    assert scores.best == labels[int(np.argmax(scores.logprobs))]


def test_probabilities_flatten_when_the_temperature_rises(engine):
    messages = (Message("user", "Classify the sentiment as positive or negative: I love it."),)
    sharp, flat = (
        engine.score_choices(messages, ("positive", "negative"), temperature=t).probabilities
        for t in (1.0, 5.0)
    )
    assert sharp[0] > flat[0] > 0.5
    with pytest.raises(InvalidInput):
        engine.score_choices(messages, ("a", "b"), temperature=0)


def test_many_labels_are_scored_when_they_need_several_batches(engine):
    labels = [f"label number {i} of many {i * 7}" for i in range(220)]
    messages = (Message("user", "Which?"),)
    together = engine.score_choices(messages, labels)
    few = engine.score_choices(messages, labels[100:110])
    np.testing.assert_allclose(together.logprobs[100:110], few.logprobs, atol=SAME)


def test_text_stays_whole_when_characters_span_tokens(engine):
    text = "naïve 中文 😀 ok"
    answer = engine.stream(_ask(Choices((text,))))
    pieces = [piece.text for piece in answer]
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)
