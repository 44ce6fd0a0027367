"""From a request's fields to how an answer is picked and what it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interns.completion import Choices, Constraint, Grammar, JsonSchema
from interns.errors import InvalidInput
from orchestrator.api.openai.bodies import ChatBody, CompletionBody, Sampled

_ANY_JSON = r"""root ::= object
object ::= "{" (pair (", " pair)*)? "}"
pair ::= string ": " value
array ::= "[" (value (", " value)*)? "]"
value ::= object | array | string | number | "true" | "false" | "null"
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" ["\\bfnrt])* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,6})?
"""


def sampling_of(body: ChatBody | CompletionBody) -> dict[str, Any]:
    """Return the fields of `Sampling` that the request sets.

    Raises:
        InvalidInput: It asks for something the engine does not do.
    """
    _refuse_unknown(body)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    given: dict[str, Any] = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "repeat_penalty": body.repetition_penalty,
        "seed": body.seed,
        "stop": tuple(text for text in stop if text) or None,
        "max_tokens": body.max_tokens,
        "logprobs": body.logprobs,
        "logit_bias": _biases(body.logit_bias or {}) or None,
    }
    if isinstance(body, ChatBody):
        given["logprobs"] = (body.top_logprobs or 0) if body.logprobs else None
        given["max_tokens"] = body.max_completion_tokens or body.max_tokens
    return {name: value for name, value in given.items() if value is not None}


def constraint_of(body: Sampled) -> Constraint | None:
    """Return what the answer is held to, or None.

    Raises:
        InvalidInput: The format is unknown or malformed.
    """
    if body.grammar is not None:
        return Grammar(body.grammar)
    if body.structured_outputs is not None:
        return _structured(body.structured_outputs)
    match body.response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return Grammar(_ANY_JSON)
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema}}:
            return JsonSchema(schema)
    raise InvalidInput(
        "response_format is malformed.",
        'Send {"type": "json_schema", "json_schema": {"name": …, "schema": {…}}}.',
    )


def _structured(wanted: Mapping[str, Any]) -> Constraint:
    match wanted:
        case {"choice": [*labels]}:
            return Choices(tuple(str(label) for label in labels))
        case {"json": Mapping() as schema}:
            return JsonSchema(schema)
        case {"grammar": str(gbnf)}:
            return Grammar(gbnf)
    raise InvalidInput(
        "structured_outputs takes choice, json or grammar.", 'Send {"choice": ["yes", "no"]}.'
    )


def _refuse_unknown(body: ChatBody | CompletionBody) -> None:
    if (body.n or 1) != 1:
        raise InvalidInput("n must be 1.", "Send several requests; they are computed together.")
    if body.frequency_penalty or body.presence_penalty:
        raise InvalidInput(
            "frequency_penalty and presence_penalty are not supported.", "Use repetition_penalty."
        )
    if isinstance(body, CompletionBody) and (body.suffix or (body.best_of or 1) != 1):
        raise InvalidInput("suffix and best_of are not supported.", "Leave them out.")


def _biases(given: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    try:
        return tuple((int(token), bias) for token, bias in given.items())
    except ValueError as error:
        raise InvalidInput("logit_bias takes token ids as keys.", "Use numbers.") from error
