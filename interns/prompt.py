"""How a task becomes a prompt: one template, used to train and to serve.

Knows nothing of tokens: it returns messages and text. `ChatTemplate` renders the base's own Jinja
template in a sandbox, because a template is a program that came with a file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from interns.charter import Charter
from interns.completion import Message
from interns.errors import BrokenFile
from interns.intern import Profile
from interns.skill import Skill

NOT_IN_SOURCES = "not in the sources"
_OTHER = "Fetch the base anew, or choose another one."


class ChatTemplate:
    """A base's chat template.

    Args:
        source: Jinja source, as in ``tokenizer.chat_template`` of a GGUF.
        bos_token: Text of the token a prompt starts with, may be empty.
        eos_token: Text of the token that ends an answer.
    """

    def __init__(self, source: str, bos_token: str, eos_token: str) -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token

    @property
    def sha256(self) -> str:
        """Hash of the template's source; adapters are bound to it."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @cached_property
    def _template(self) -> Template:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            extensions=["jinja2.ext.loopcontrols"],
        )
        environment.globals["raise_exception"] = _refuse
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise BrokenFile(
                f"The base's chat template cannot be read: {error}.", _OTHER
            ) from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """Return the prompt text, control tokens included.

        Control tokens written by a person inside a message are made harmless, so that nobody can
        end their own turn and speak as the system. Where a template refuses system messages, as
        Gemma's does, what they say begins the first turn.
        """
        turns = [Message(m.role, _harmless(m.content)) for m in messages]
        try:
            return self._rendered(turns, add_generation_prompt=add_generation_prompt)
        except TemplateError as error:
            if len(turns) < 2 or turns[0].role != "system":
                raise BrokenFile(f"The base's chat template failed: {error}.", _OTHER) from error
        told = Message(turns[1].role, f"{turns[0].content}\n\n{turns[1].content}")
        try:
            return self._rendered([told, *turns[2:]], add_generation_prompt=add_generation_prompt)
        except TemplateError as error:
            raise BrokenFile(f"The base's chat template failed: {error}.", _OTHER) from error

    def _rendered(self, turns: Sequence[Message], *, add_generation_prompt: bool) -> str:
        return self._template.render(
            messages=[{"role": turn.role, "content": turn.content} for turn in turns],
            add_generation_prompt=add_generation_prompt,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
        )


# How control tokens of the supported families begin: <|…|>, <s>, <start_of_turn>, [INST] …
_CONTROL = re.compile(
    r"<(?=\|)"
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn|think|tool_call)>)"
    r"|\[(?=/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\])"
)


def _harmless(text: str) -> str:
    return _CONTROL.sub(lambda found: f"{found[0]} ", text).replace("\x00", "")


def _refuse(why: str) -> None:
    raise TemplateError(why)


def task_messages(
    profile: Profile, text: str, *, charter: Charter, passages: Sequence[str] = ()
) -> tuple[Message, ...]:
    """Return the messages of one task, the same in training and in serving.

    Args:
        profile: Whose task it is.
        text: What the person wrote; for `answer` the question.
        charter: The mission in force.
        passages: For `answer`: the passages to judge, best first.
    """
    return (
        Message("system", charter.system_prompt(profile)),
        Message("user", _task(profile, text, passages)),
    )


def baseline_messages(
    profile: Profile, text: str, *, charter: Charter, passages: Sequence[str] = ()
) -> tuple[Message, ...]:
    """Return the best plain prompt for a base without adapter: what an exam compares against."""
    system = f"{charter.system_prompt(profile)}\n{_instruction(profile)}".strip()
    return (Message("system", system), Message("user", _task(profile, text, passages)))


def _task(profile: Profile, text: str, passages: Sequence[str]) -> str:
    if profile.skill is not Skill.ANSWER or not passages:
        return text.strip()
    found = "\n".join(passage.strip() for passage in passages)
    return f"Question: {text.strip()}\nPassage: {found}"


def _instruction(profile: Profile) -> str:
    match profile.skill:
        case Skill.CLASSIFY:
            return f"Answer with one of these labels and nothing else: {', '.join(profile.labels)}."
        case Skill.EXTRACT:
            schema = json.dumps(profile.schema or {}, separators=(",", ":"))
            return f"Answer with one JSON object of this schema and nothing else: {schema}"
        case Skill.ANSWER:
            return "Does the passage answer the question? Answer yes or no."
        case Skill.WRITE:
            return "Answer in one or two sentences."
