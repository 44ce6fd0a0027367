"""From token bytes to text that can be shown: whole characters, stop texts held back."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextWriter:
    """Turns bytes into text piece by piece.

    A character is given out only when all its bytes are there, and text that may be the beginning
    of a stop text only when it turned out not to be.

    Args:
        stops: Texts that end the answer and are not part of it.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._parts: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        """Everything given out so far."""
        return "".join(self._parts)

    def write(self, data: bytes) -> str:
        """Take the bytes of a token; returns the text that is now certain."""
        if not self._stops:  # nothing is ever held back
            self._parts.append(text := self._decoder.decode(data))
            return text
        self._held += self._decoder.decode(data)
        ends = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return self._give(min(ends), rest="")
        return self._give(len(self._held) - self._doubtful())

    def finish(self) -> str:
        """The answer ended without a stop text: returns what was held back."""
        if self.stopped:
            return ""
        self._held += self._decoder.decode(b"", final=True)
        return self._give(len(self._held))

    def _give(self, count: int, rest: str | None = None) -> str:
        certain = self._held[:count]
        self._held = self._held[count:] if rest is None else rest
        self._parts.append(certain)
        return certain

    def _doubtful(self) -> int:
        """Length of the longest tail that a stop text may begin with."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:size]):
                    longest = size
                    break
        return longest
