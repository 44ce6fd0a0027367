"""Chats as token ids, rendered as the base's own chat template renders them when it serves."""

from __future__ import annotations

from collections.abc import Sequence

from interns.completion import Message

BOS, TURN, END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"

# The template that goes into the base; `segments` renders the same text.
TEMPLATE = """\
{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}
{{ m['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

Chat = tuple[Message, ...]
LEARNED = ("assistant",)  # who is learned from


def segments(chat: Sequence[Message], roles: Sequence[str] = LEARNED) -> list[tuple[str, bool]]:
    """A chat as texts and whether each is learned.

    What one of `roles` says is tokenized apart from the prompt before it, as it is when an engine
    generates it; with its end it is all that is learned.
    """
    parts: list[tuple[str, bool]] = []
    prompt = BOS
    for message in chat:
        content = harmless(message.content)
        prompt += f"{TURN}{message.role}\n"
        if message.role in roles:
            parts += [(prompt, False), (content + END, True)]
            prompt = "\n"
        else:
            prompt += f"{content}{END}\n"
    return parts


def harmless(text: str) -> str:
    """Break control tokens inside a text, as `interns.prompt.ChatTemplate` does."""
    return text.replace("<|", "< |").replace("\x00", "")


def make_chat(*turns: str, system: str = "") -> Chat:
    """A chat of turns, user and assistant in turn, after a system message if there is one."""
    first = (Message("system", system),) if system else ()
    spoken = tuple(
        Message("assistant" if number % 2 else "user", text.strip())
        for number, text in enumerate(turns)
    )
    return first + spoken
