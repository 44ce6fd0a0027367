"""Tools, passed as a schema: the answer is held to a call of one of them.

The engine cannot let a model choose freely between talking and calling. So with tools given the
answer is one call, and the turn after a tool's result is answered in text: a loop that calls until
it is told something ends. ``tool_choice`` decides otherwise: ``none`` always talks; ``required``
and a named function always call.

The bare base is told the tools in a system text. An intern is not: it answers well in the prompt it
was trained on, charter, role and the person's text, and a list of tools would be none of these. It
chooses by their names and arguments alone. Who wants one that chooses well trains it on calls.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from interns.completion import JsonSchema
from interns.errors import InvalidInput
from orchestrator.api.openai.bodies import ChatBody

Json = dict[str, Any]


def offered(body: ChatBody) -> list[Json]:
    """Return the functions that may be called; none when the answer is to be a text.

    Raises:
        InvalidInput: A tool is malformed, or the chosen one is not among them.
    """
    if not body.tools or body.tool_choice == "none":
        return []
    functions = [_function(tool) for tool in body.tools]
    match body.tool_choice:
        case None | "auto":
            return [] if _follows_result(body) else functions
        case "required":
            return functions
        case {"type": "function", "function": {"name": str(name)}}:
            chosen = [function for function in functions if function["name"] == name]
            if chosen:
                return chosen
            known = ", ".join(function["name"] for function in functions)
            raise InvalidInput(
                f"tool_choice names {name!r}, which is no tool of this request.", f"Name {known}."
            )
    raise InvalidInput("tool_choice is malformed.", "Use none, auto, required or a function.")


def _follows_result(body: ChatBody) -> bool:
    return bool(body.messages) and body.messages[-1].get("role") in ("tool", "function")


def call_schema(functions: list[Json]) -> JsonSchema:
    """Return what an answer that calls one of them is held to."""
    return JsonSchema({"anyOf": [_call(function) for function in functions]})


def instruction(functions: list[Json]) -> str:
    """Return the line that tells the bare base what it may call."""
    told = json.dumps(functions, ensure_ascii=False)
    return f'Tools: {told}\nAnswer with one call: {{"name": …, "arguments": {{…}}}}'


def read_call(text: str) -> list[Json] | None:
    """Return an answer as tool calls; None when it was cut off."""
    try:
        call = json.loads(text)
    except ValueError:
        return None
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return [
        {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": call["name"], "arguments": arguments},
        }
    ]


def written(calls: object) -> str:
    """Return calls of an earlier turn as they were written, one a line: what `read_call` undoes.

    Raises:
        InvalidInput: They are malformed.
    """
    match calls:
        case [*each]:
            return "\n".join(_written(call) for call in each)
    raise _malformed_call()


def _written(call: object) -> str:
    match call:
        case {"function": {"name": str(name), "arguments": str(arguments)}}:
            # Arguments are JSON within a text; what is none was made elsewhere and stays a text.
            with contextlib.suppress(ValueError, RecursionError):
                arguments = json.loads(arguments)
            return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    raise _malformed_call()


def _malformed_call() -> InvalidInput:
    return InvalidInput(
        "tool_calls of a message are malformed.",
        'Send [{"type": "function", "function": {"name": "…", "arguments": "{…}"}}].',
    )


def _function(tool: Mapping[str, Any]) -> Json:
    match tool:
        case {"type": "function", "function": {"name": str(name), **more}} if name:
            parameters = more.get("parameters") or {"type": "object", "properties": {}}
            return {
                "name": name,
                "description": str(more.get("description") or ""),
                "parameters": parameters,
            }
    raise InvalidInput(
        "A tool is malformed.", 'Send {"type": "function", "function": {"name": …}}.'
    )


def _call(function: Json) -> Json:
    properties = {"name": {"const": function["name"]}, "arguments": function["parameters"]}
    return {"type": "object", "properties": properties}
