"""What was said so far, and how much of it an intern is shown."""

from __future__ import annotations

from dataclasses import dataclass, field

REMEMBERED = 2


@dataclass(frozen=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str
    intern: str


@dataclass
class Conversation:
    """Exchanges of one chat.

    An intern that is named sees its own last exchanges. A message that is routed stands alone:
    what others were asked is no part of it.
    """

    exchanges: list[Exchange] = field(default_factory=list)

    def messages(self, text: str, intern: str | None) -> list[dict[str, str]]:
        """Return the turns to send for `text`.

        Args:
            text: What the person says now.
            intern: Who is named, None when it is routed.
        """
        own = [one for one in self.exchanges if intern is not None and one.intern == intern]
        turns: list[dict[str, str]] = []
        for one in own[-REMEMBERED:]:
            turns.append({"role": "user", "content": one.question})
            turns.append({"role": "assistant", "content": one.answer})
        return [*turns, {"role": "user", "content": text}]

    def add(self, question: str, answer: str, intern: str | None) -> None:
        """Remember an exchange; one without an answer is forgotten."""
        if answer and intern:
            self.exchanges.append(Exchange(question, answer, intern))
