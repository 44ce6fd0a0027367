"""What the OpenAI dialect takes; a field that is not named here is ignored, as its clients expect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Bias = dict[str, Annotated[float, Field(ge=-100, le=100)]]


class Sampled(BaseModel):
    """How an answer is to be picked; what is not given is the intern's own.

    Attributes:
        top_k: Not OpenAI's, but llama.cpp's and vLLM's; so are `min_p` and `repetition_penalty`.
        deadline_s: Ours: seconds after which the answer ends with what there is.
        grammar: llama.cpp's: GBNF text that the answer is held to.
        structured_outputs: vLLM's: ``choice``, ``json`` or ``grammar``.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    model: str = "auto"
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    n: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str | None] | None = None
    logit_bias: Bias | None = None
    max_tokens: int | None = None
    deadline_s: float | None = None
    response_format: dict[str, Any] | None = None
    grammar: str | None = None
    structured_outputs: dict[str, Any] | None = None


class ChatBody(Sampled):
    """``/v1/chat/completions``."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None


class CompletionBody(Sampled):
    """``/v1/completions``."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(default=None, ge=0, le=20)
    echo: bool = False
    best_of: int | None = None
    suffix: str | None = None


class EmbeddingBody(BaseModel):
    """``/v1/embeddings``."""

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
