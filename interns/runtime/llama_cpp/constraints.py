"""Constraints as GBNF grammars: label sets, JSON schemas, words copied from a source.

JSON is written exactly as ``json.dumps(value, ensure_ascii=False)`` writes it, every property in
the order of the schema, so that what an intern was trained on is also what the grammar allows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from interns.completion import Choices, Constraint, Grammar, JsonSchema
from interns.errors import InvalidInput
from interns.runtime.llama_cpp.ambiguity import MOST_OPEN, check_ways
from interns.runtime.llama_cpp.copying import copy_rules, numbers_of
from interns.runtime.llama_cpp.gbnf import MOST_REPEATS, read_gbnf

DEFAULT_MAX_LENGTH = 200
DEFAULT_MAX_ITEMS = 16
MOST_DEPTH = 32
MOST_CHARACTERS = 1 << 20
_IGNORED = {
    "$schema", "$id", "$defs", "$comment", "definitions", "title", "description", "default",
    "examples", "additionalProperties", "required", "x-copy", "uniqueItems",
}  # fmt: skip
_BY_TYPE: Mapping[str, set[str]] = {
    "object": {"properties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength"},
    "integer": {"minimum"},
    "number": {"minimum"},
    "boolean": set(),
    "null": set(),
}
_CHAR = r'char ::= [^"\\\x7F\x00-\x1F] | "\\" ["\\bfnrt]'
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[()]', re.DOTALL)
_DIGITS = r'("0" | [1-9] [0-9]{0,14})'


def gbnf_of(constraint: Constraint) -> str:
    """The grammar that holds an answer to a constraint; its start rule is ``root``.

    Raises:
        InvalidInput: No labels, equal or empty labels, or a schema that cannot be held.
    """
    match constraint:
        case Choices(labels):
            check_labels(labels)
            if len(labels) > MOST_OPEN:
                raise InvalidInput(
                    f"An answer cannot be held to {len(labels)} labels; {MOST_OPEN} are the most.",
                    "Give fewer labels.",
                )
            return f"root ::= {' | '.join(literal(label) for label in labels)}\n"
        case JsonSchema(schema, source):
            _check_cost(_of_schema(schema, ""))  # what is copied is a list of words, nothing nested
            return _short_enough(_of_schema(schema, source))
        case Grammar(gbnf):
            if not gbnf.strip():
                raise InvalidInput("The grammar is empty.", "Give it a rule named root.")
            gbnf = gbnf.encode("utf-8", "replace").decode("utf-8")
            _check_cost(gbnf)
            return gbnf


def _of_schema(schema: Mapping[str, Any], source: str) -> str:
    try:
        return _SchemaGrammar(schema, source).text()
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"The schema is malformed: {error}.", "Check it.") from error


@lru_cache(maxsize=64)  # an intern's schema or grammar is the same for each of its answers
def _check_cost(gbnf: str) -> None:
    """Refuse what llama.cpp would not survive, or not be done with."""
    _short_enough(gbnf)
    depth = deepest = 0
    for mark in _NESTING.findall(gbnf):
        depth += {"(": 1, ")": -1}.get(mark, 0)
        deepest = max(deepest, depth)
    if deepest > 4 * MOST_DEPTH:
        raise InvalidInput(f"The grammar nests {deepest} levels deep.", "Use rules instead.")
    check_ways(read_gbnf(gbnf))


def _short_enough(gbnf: str) -> str:
    if len(gbnf) > MOST_CHARACTERS:
        raise InvalidInput(
            f"The grammar has {len(gbnf)} characters; {MOST_CHARACTERS} are the most.",
            "Give a smaller schema, or a shorter text to copy from.",
        )
    return gbnf


def check_labels(labels: Sequence[str]) -> None:
    """Refuse a label set that cannot be chosen from.

    Raises:
        InvalidInput: It is empty, or holds an empty label or one label twice.
    """
    if not labels:
        raise InvalidInput("There are no labels to choose from.", "Give at least one label.")
    if not all(label.strip() for label in labels) or len(set(labels)) != len(labels):
        raise InvalidInput("A label is empty or appears twice.", "Give each label once.")


def check_scoring(labels: Sequence[str], temperature: float, tail: float) -> None:
    """Refuse what label scores cannot be asked for.

    Raises:
        InvalidInput: As `check_labels`, or a temperature or tail out of range.
    """
    check_labels(labels)
    if not 0 < temperature < float("inf"):
        raise InvalidInput(f"A temperature of {temperature} is not above 0.", "Use 1.0.")
    if not 0 <= tail < 1:
        raise InvalidInput(f"A tail of {tail} is not in [0, 1).", "Use 0 to read all labels.")


def literal(text: str) -> str:
    """A GBNF string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    for character, code in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        escaped = escaped.replace(character, code)
    return f'"{escaped}"'


def _json_literal(value: Any) -> str:
    return literal(json.dumps(value, ensure_ascii=False))


class _SchemaGrammar:
    def __init__(self, schema: Mapping[str, Any], source: str) -> None:
        self._schema = schema
        self._source = source
        self._rules: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._open: list[str] = []
        self._depth = 0

    def text(self) -> str:
        whole = self._resolved(self._schema)
        for each in whole.get("anyOf") or [whole]:
            if _types(self._resolved(each), "the schema") != ["object"]:
                raise InvalidInput(
                    "The schema is not of type object.", 'Give {"type": "object", …}.'
                )
        root = self._value(self._schema, "the schema")
        lines = [f"root ::= {root}", _CHAR]
        lines += [f"{name} ::= {body}" for name, body in self._rules.items()]
        return "\n".join(lines) + "\n"

    def _rule(self, body: str) -> str:
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name

    def _value(self, schema: Mapping[str, Any], where: str) -> str:
        if not isinstance(schema, Mapping):
            raise InvalidInput(f"{where} is no JSON schema.", "Give an object.")
        if self._depth >= MOST_DEPTH:
            raise InvalidInput(
                f"The schema nests more than {MOST_DEPTH} levels deep.", "Make it flatter."
            )
        self._depth += 1
        try:
            return self._written(schema, where)
        finally:
            self._depth -= 1

    def _written(self, schema: Mapping[str, Any], where: str) -> str:
        if "$ref" in schema:
            return self._reference(str(schema["$ref"]), where)
        if "const" in schema:
            return _json_literal(schema["const"])
        if "enum" in schema:
            if not schema["enum"]:
                raise InvalidInput(f"{where} allows no value.", "Give its enum a value.")
            return f"({' | '.join(_json_literal(value) for value in schema['enum'])})"
        for key in ("anyOf", "oneOf"):
            if key in schema:
                if not schema[key]:
                    raise InvalidInput(f"{where} allows no value.", f"Give its {key} a schema.")
                return f"({' | '.join(self._value(each, where) for each in schema[key])})"
        kinds = _types(schema, where)
        _refuse_unknown(schema, kinds, where)
        bodies = [self._typed(kind, schema, where, nullable="null" in kinds) for kind in kinds]
        return bodies[0] if len(bodies) == 1 else f"({' | '.join(bodies)})"

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema that a reference leads to, or the schema itself."""
        passed: list[str] = []
        while "$ref" in schema:
            passed.append(str(schema["$ref"]))
            schema = self._target(passed[-1], "the schema", passed[:-1])
        return schema

    def _target(self, reference: str, where: str, within: Sequence[str]) -> Any:
        if reference in within or reference == "#":
            raise InvalidInput(
                f"{where} refers to {reference}, in which it stands: such a value has no end.",
                "Write the levels out that are needed.",
            )
        target: Any = self._schema
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) else None
        if not reference.startswith("#/") or target is None:
            raise InvalidInput(
                f"{where} refers to {reference}, which is not there.",
                "Define it under $defs and refer to #/$defs/NAME.",
            )
        return target

    def _reference(self, reference: str, where: str) -> str:
        target = self._target(reference, where, self._open)
        if reference not in self._references:
            name = f"d{len(self._references)}"
            self._references[reference] = name
            self._open.append(reference)
            self._rules[name] = self._value(target, reference)
            self._open.pop()
        return self._references[reference]

    def _typed(self, kind: str, schema: Mapping[str, Any], where: str, *, nullable: bool) -> str:
        match kind:
            case "object":
                return self._object(schema, where)
            case "array":
                return self._array(schema, where)
            case "string":
                return self._string(schema, where)
            case "integer" | "number":
                return self._number(kind, schema, where, nullable=nullable)
            case "boolean":
                return '("true" | "false")'
            case _:
                return '"null"'

    def _object(self, schema: Mapping[str, Any], where: str) -> str:
        properties = schema.get("properties") or {}
        missing = [name for name in schema.get("required", ()) if name not in properties]
        if missing:
            raise InvalidInput(
                f"{where} requires {missing[0]!r} but does not describe it.",
                f"Add {missing[0]!r} to its properties.",
            )
        if not properties and isinstance(schema.get("additionalProperties"), Mapping):
            raise InvalidInput(
                f"{where} leaves the names of its properties open (additionalProperties), which "
                "cannot be held while writing.",
                "Name each one under properties, or use an array of names and values.",
            )
        if not properties:
            return literal("{}")
        parts: list[str] = []
        for name, each in properties.items():
            start = "{" if not parts else ", "
            key = f"{start}{json.dumps(name, ensure_ascii=False)}: "
            parts.append(f"{literal(key)} {self._value(each, f'{where}.{name}')}")
        return f"{' '.join(parts)} {literal('}')}"

    def _array(self, schema: Mapping[str, Any], where: str) -> str:
        item = self._rule(self._value(schema.get("items") or {"type": "string"}, f"{where}[]"))
        least, most = _bounds(schema, "Items", DEFAULT_MAX_ITEMS, where)
        if most == 0:
            return literal("[]")
        more = f'(", " {item}){{{max(least - 1, 0)},{most - 1}}}' if most > 1 else ""
        filled = f"{item} {more}".strip()
        return f'"[" {filled} "]"' if least else f'"[" ({filled})? "]"'

    def _string(self, schema: Mapping[str, Any], where: str) -> str:
        if schema.get("x-copy"):
            if "copy" not in self._rules:
                self._rules.update(copy_rules(self._source, literal))
            return "copy"
        least, most = _bounds(schema, "Length", DEFAULT_MAX_LENGTH, where)
        return self._rule(f'"\\"" char{{{least},{most}}} "\\""')

    def _number(self, kind: str, schema: Mapping[str, Any], where: str, *, nullable: bool) -> str:
        if schema.get("x-copy"):
            found = numbers_of(self._source, whole=kind == "integer")
            options = found or ([] if nullable else ["0"])
            return f"({' | '.join(literal(each) for each in options)})" if options else '"null"'
        minimum = schema.get("minimum")
        if minimum not in (None, 0, 1):
            raise InvalidInput(f"{where}: a minimum of {minimum} cannot be held.", "Use 0 or 1.")
        sign = '"-"? ' if minimum is None else ""
        digits = "[1-9] [0-9]{0,14}" if minimum == 1 else _DIGITS
        fraction = ' ("." [0-9]{1,6})?' if kind == "number" else ""
        return self._rule(f"{sign}{digits}{fraction}")


def _bounds(schema: Mapping[str, Any], of: str, default: int, where: str) -> tuple[int, int]:
    least = int(schema.get(f"min{of}", 0))
    most = int(schema.get(f"max{of}", max(least, default)))
    if not 0 <= least <= most <= MOST_REPEATS:
        raise InvalidInput(
            f"{where} has impossible min{of} and max{of}: {least} and {most}.",
            f"Use 0 to {MOST_REPEATS}.",
        )
    return least, most


def _types(schema: Mapping[str, Any], where: str) -> list[str]:
    kinds = schema.get("type") or ("object" if "properties" in schema else "string")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    unknown = [kind for kind in kinds if kind not in _BY_TYPE]
    if unknown or not kinds:
        raise InvalidInput(
            f"{where} has the unknown type {unknown[0] if unknown else kinds}.",
            f"Use one of {', '.join(_BY_TYPE)}.",
        )
    return kinds


def _refuse_unknown(schema: Mapping[str, Any], kinds: Sequence[str], where: str) -> None:
    allowed = {"type"} | _IGNORED
    for kind in kinds:
        allowed |= _BY_TYPE[kind]
    unknown = sorted(key for key in schema if key not in allowed)
    if unknown:
        raise InvalidInput(
            f"{where} uses {unknown[0]!r}, which cannot be held while writing.",
            "Remove it from the schema and check it afterwards.",
        )
