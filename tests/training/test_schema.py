"""Schemas of `extract` interns: inferred so that the engine's grammar can write every answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interns.errors import InvalidInput
from training.example import Example
from training.schema import check_objects, infer_schema, read_schema

EXAMPLES = [
    Example(
        f"Order {i} of {name}, to Leeds.",
        json.dumps({"name": name, "order": i, "kind": "ab"[i % 2], "note": f"n{i}"}),
        i,
    )
    for i, name in enumerate(["Ann Lee", "Bo", "Cy", "Di"] * 5)
]


def test_fields_are_copied_enumerated_or_free() -> None:
    fields = infer_schema(EXAMPLES)["properties"]
    assert fields["name"] == {"type": "string", "x-copy": True}
    assert fields["order"] == {"type": "integer"}
    assert fields["kind"] == {"type": "string", "enum": ["a", "b"]}
    assert fields["note"] == {"type": "string"}


def test_answers_hold_every_field_in_the_order_of_the_schema() -> None:
    schema = infer_schema(EXAMPLES)
    partial = Example("Order 3", '{"kind": "a", "name": "Bo", "order": 3}', 1)
    [checked] = check_objects([partial], schema, "a.csv")
    assert checked.answer == '{"name": "Bo", "order": 3, "kind": "a", "note": ""}'


def test_answer_that_does_not_fit_is_refused_with_its_row() -> None:
    schema = infer_schema(EXAMPLES)
    wrong = Example("x", '{"name": "Bo", "order": "three", "kind": "a"}', 17)
    with pytest.raises(InvalidInput, match="row 17"):
        check_objects([wrong], schema, "a.csv")


def test_answer_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidInput, match="row 4 is not JSON"):
        infer_schema([Example("x", "{broken", 4)])


@pytest.mark.parametrize("content", ["{", "[]", '{"type": "objekt"}', '{"type": "object"}'])
def test_broken_schema_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "schema.json"
    path.write_text(content)
    with pytest.raises(InvalidInput):
        read_schema(path)
