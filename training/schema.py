"""JSON schemas of `extract` interns: read, inferred from answers, and held to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from interns.errors import InvalidInput
from interns.runtime.llama_cpp.copying import is_copied
from training.example import Example

MAX_ENUM = 12


def read_schema(path: Path) -> dict[str, Any]:
    """Read a JSON schema of type object.

    Raises:
        InvalidInput: Missing, not JSON, no schema, or not of type object.
    """
    try:
        schema = json.loads(path.read_text("utf-8"))
        Draft202012Validator.check_schema(schema)
    except FileNotFoundError as e:
        raise InvalidInput(f"There is no schema {str(path)!r}.", "Check the path.") from e
    except (ValueError, SchemaError) as e:
        first = str(e).splitlines()[0]
        raise InvalidInput(f"{path.name} is no JSON schema: {first}.", "Mend it.") from e
    if not isinstance(schema, dict) or not schema.get("properties"):
        raise InvalidInput(
            f"{path.name} describes no object.",
            'Give a schema with "type": "object" and "properties".',
        )
    return {"type": "object", **schema}


def infer_schema(examples: Sequence[Example]) -> dict[str, Any]:
    """Describe the objects that the examples answer with.

    A text field whose every value is a run of words of its text is marked ``x-copy``; one with few
    different values becomes an enumeration; a field that may be absent is still always written,
    blank.
    """
    objects = [(example.text, _object(example)) for example in examples]
    names: dict[str, None] = {}
    for _, value in objects:
        names.update(dict.fromkeys(value))
    properties = {
        name: _property([(text, value.get(name)) for text, value in objects]) for name in names
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def check_objects(
    examples: Sequence[Example], schema: Mapping[str, Any], file_name: str
) -> list[Example]:
    """Return the examples with their answers in the one form that is taught and served.

    Every field of the schema is written, in its order; absent ones are blank or null.

    Raises:
        InvalidInput: An answer is no JSON object or does not fit the schema; names rows.
    """
    validator = Draft202012Validator(schema)
    kept, wrong = [], []
    for example in examples:
        value = _ordered(_object(example), schema)
        problem = next(iter(validator.iter_errors(value)), None)
        if problem is None:
            kept.append(replace(example, answer=canonical(value)))
        else:
            wrong.append(f"row {example.row}: {problem.message}")
    if wrong:
        raise InvalidInput(
            f"{len(wrong)} answers of {file_name} do not fit the schema: {'; '.join(wrong[:3])}.",
            "Mend these rows or the schema.",
        )
    return kept


def canonical(value: Mapping[str, Any]) -> str:
    """Write an object as interns are taught to, and as the engine's grammar holds them to."""
    return json.dumps(value, ensure_ascii=False)


def _ordered(value: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    properties: Mapping[str, Any] = schema["properties"]
    ordered = {}
    for name, kind in properties.items():
        if value.get(name) is not None:
            ordered[name] = value[name]
        else:
            ordered[name] = _blank(kind)
    ordered.update({name: item for name, item in value.items() if name not in properties})
    return ordered


def _blank(kind: Mapping[str, Any]) -> Any:
    if "enum" in kind:
        return "" if "" in kind["enum"] else None
    return "" if kind.get("type") == "string" else None


def _property(cells: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = [value for _, value in cells if value is not None]
    for kind, name in ((bool, "boolean"), (int, "integer"), ((int, float), "number")):
        if values and all(isinstance(v, kind) and (kind is bool or v is not True) for v in values):
            if len(values) < len(cells):
                return {"type": [name, "null"]}
            return {"type": name}
    if any(not isinstance(value, str) for value in values):
        return {}
    copied = all(is_copied(value, text) for text, value in cells if value)
    if copied:
        return {"type": "string", "x-copy": True}
    distinct = sorted({value or "" for _, value in cells})
    if len(distinct) <= min(MAX_ENUM, len(cells) // 5):
        return {"type": "string", "enum": distinct}
    return {"type": "string"}


def _object(example: Example) -> dict[str, Any]:
    try:
        value = json.loads(example.answer)
    except ValueError as e:
        raise InvalidInput(
            f"The answer of row {example.row} is not JSON: {e}.",
            "An `extract` intern learns from JSON objects; or choose --skill write.",
        ) from e
    if not isinstance(value, dict):
        raise InvalidInput(
            f"The answer of row {example.row} is no JSON object.", 'Write it as {"field": value}.'
        )
    return value
