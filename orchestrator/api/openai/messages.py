"""A message as the dialect writes it: parts, calls and their results read as one plain turn."""

from __future__ import annotations

from typing import Any

from interns.errors import InvalidInput
from orchestrator.api.openai import tools

Json = dict[str, Any]


def read_turn(message: Json) -> dict[str, str]:
    """Return a message as role and text.

    Raises:
        InvalidInput: It holds something else than text, or its role is unknown.
    """
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        content = "".join(_text(part) for part in content)
    if role == "assistant" and message.get("tool_calls"):
        calls = tools.written(message["tool_calls"])
        content = f"{content}\n{calls}" if content else calls
    if not isinstance(content, str):
        raise InvalidInput("A message has no text.", 'Send {"role": "user", "content": "…"}.')
    match role:
        case "system" | "developer":
            return {"role": "system", "content": content}
        case "user" | "tool" | "function":
            return {"role": "user", "content": content}
        case "assistant":
            return {"role": "assistant", "content": content}
    raise InvalidInput(f"A message has the unknown role {role!r}.", "Use system, user, assistant.")


def _text(part: object) -> str:
    match part:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)} if kind != "text":
            raise InvalidInput(
                f"A part of a message is of type {kind!r}; only text can be read, no images, "
                "sounds or files.",
                _PART,
            )
    raise InvalidInput("A part of a message is malformed.", _PART)


_PART = 'Send parts such as {"type": "text", "text": "…"}.'
