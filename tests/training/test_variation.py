"""Copied values in other words: text and answer change alike, and nothing else does."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from typing import Any

from interns.runtime.llama_cpp.copying import is_copied
from training.example import Example
from training.schema import canonical
from training.variation import vary_values

COPY = {"type": "string", "x-copy": True}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": COPY,
        "order": COPY,
        "city": COPY,
        "wish": {"type": "string", "enum": ["swap", "refund"]},
    },
}


def example(text: str, row: int = 1, **values: str) -> Example:
    whole = {name: values.get(name, "") for name in SCHEMA["properties"]}
    return Example(text, canonical(whole), row)


TEXT = "{name} here, order {order}: please swap my lamp. Yours, {name}, {city}"
ROWS = [
    example(
        TEXT.format(name=name, order=order, city=city),
        i,
        name=name,
        order=order,
        city=city,
        wish="swap",
    )
    for i, (name, order, city) in enumerate(
        [
            ("Anna Berg", "RH2234", "Leeds"),
            ("Bo Ek", "#69602", "San Marino"),
            ("Ida", "98-01", "Turin"),
        ]
        * 20
    )
]


def varied(rows: list[Example], share: float = 1.0, seed: int = 1) -> list[Example]:
    return vary_values(rows, SCHEMA, share, random.Random(seed))


def test_text_and_answer_change_alike_and_nothing_else_does() -> None:
    changed = 0
    for old, new in zip(ROWS, varied(ROWS), strict=True):
        before, after = json.loads(old.answer), json.loads(new.answer)
        assert new.text == TEXT.format(**after)
        for name in ("order", "city", "name"):
            assert is_copied(after[name], new.text)
            changed += before[name] != after[name]
        assert (after["wish"], new.row) == ("swap", old.row)
        assert list(after) == list(before)
    assert changed > 2 * len(ROWS)  # of three values each; single words stay now and then


def test_values_keep_their_form() -> None:
    for old, new in zip(ROWS, varied(ROWS), strict=True):
        before, after = json.loads(old.answer), json.loads(new.answer)
        assert re.sub(r"\d", "0", re.sub("[A-Z]", "A", after["order"])) == re.sub(
            r"\d", "0", re.sub("[A-Z]", "A", before["order"])
        )
        assert after["name"].istitle()
        assert len(after["city"].split()) == len(before["city"].split())


def test_values_differ_from_row_to_row_and_from_seed_to_seed() -> None:
    names = {json.loads(row.answer)["name"] for row in varied(ROWS)}
    assert len(names) > 40  # three before
    assert varied(ROWS) == varied(ROWS)
    assert varied(ROWS, seed=2) != varied(ROWS)


def test_every_process_makes_up_the_same_values() -> None:
    program = (
        "from tests.training.test_variation import ROWS, varied;"
        "print([row.text for row in varied(ROWS)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in "1234"
    }
    assert said == {f"{[row.text for row in varied(ROWS)]}\n"}


def test_a_share_of_the_examples_is_varied() -> None:
    kept = sum(old == new for old, new in zip(ROWS, varied(ROWS, 0.5), strict=True))
    assert 15 < kept < 45
    assert varied(ROWS, 0.0) == ROWS


def test_a_value_within_another_one_is_part_of_that_one() -> None:
    row = example("Indian food near the Raja Indian House", name="Indian", city="Raja Indian House")
    for seed in range(20):
        [new, *_] = varied([row, *ROWS], seed=seed)
        after = json.loads(new.answer)
        assert new.text == f"{after['name']} food near the {after['city']}"


def test_an_example_whose_value_is_not_in_its_text_stays_as_it_is() -> None:
    row = example("Please swap it, says the lady from Leeds", name="Anna Berg", city="Leeds")
    assert varied([row]) == [row]


def test_an_example_whose_other_fields_stand_within_a_value_stays_as_it_is() -> None:
    schema = {"properties": {"address": COPY, "house": {"type": "integer", "x-copy": True}}}
    inside = Example("To 12 Mill Lane", canonical({"address": "12 Mill Lane", "house": 12}), 1)
    beside = Example("To Mill Lane 12", canonical({"address": "Mill Lane", "house": 12}), 2)
    for seed in range(20):
        first, second = vary_values([inside, beside], schema, 1.0, random.Random(seed))
        assert first == inside or "12" in first.text
        assert json.loads(second.answer)["house"] == 12
        assert second.text == f"To {json.loads(second.answer)['address']} 12"


def test_fields_that_may_be_null_or_anything_are_no_obstacle() -> None:
    nullable = {"type": ["string", "null"], "x-copy": True}
    schema = {"properties": {"name": nullable, "city": nullable, "note": True}}
    row = Example("Anna Berg", canonical({"name": "Anna Berg", "city": None, "note": 1}), 1)
    said = set()
    for seed in range(10):
        [new] = vary_values([row], schema, 1.0, random.Random(seed))
        answer = json.loads(new.answer)
        assert (answer["name"], answer["city"], answer["note"]) == (new.text, None, 1)
        said.add(new.text)
    assert len(said) > 1


def test_without_values_to_copy_everything_stays_as_it_is() -> None:
    blank = example("Please swap it", wish="swap")
    free = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert varied([blank]) == [blank]
    for schema in (free, None):
        assert vary_values(ROWS, schema, 1.0, random.Random(1)) == ROWS


def test_numbers_and_signs_alone_can_be_varied() -> None:
    row = example("№ 17, 3.6.2023", order="17", city="3.6.2023")
    [new] = varied([row])
    assert re.fullmatch(r"№ \d\d, \d\.\d\.\d{4}", new.text)
    assert new != row
