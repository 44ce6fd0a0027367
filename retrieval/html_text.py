"""HTML becomes plain text that keeps its headings, lists and table rows in Markdown's form."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_DROPPED = {"script", "style", "template", "noscript", "svg", "head", "iframe", "object"}
_BLOCKS = {
    *("address", "article", "aside", "blockquote", "body", "dd", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "header", "hr", "html", "main", "nav", "ol", "p"),
    *("section", "table", "tbody", "thead", "ul"),
}
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_SPACE = re.compile(r"[ \t\r\n\f]+")


def html_to_markdown(source: str) -> str:
    """Return the readable text of a page; malformed markup is read as far as it goes."""
    reader = _Reader()
    reader.feed(source)
    reader.close()
    lines = [line.strip(" \t") if not fenced else line for line, fenced in reader.lines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._pieces: list[str] = []
        self._dropped = 0
        self._preformatted = 0

    def lines(self) -> list[tuple[str, bool]]:
        fenced, found = False, []
        for line in "".join(self._pieces).split("\n"):
            mark = line.strip() == "```"
            fenced = fenced != mark
            found.append((line, fenced and not mark))
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _DROPPED:
            self._dropped += 1
        elif tag in _HEADINGS:
            self._pieces.append(f"\n\n{_HEADINGS[tag]} ")
        elif tag == "pre":
            self._preformatted += 1
            self._pieces.append("\n\n```\n")
        else:
            self._pieces.append(_opening(tag))

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED:
            self._dropped = max(0, self._dropped - 1)
        elif tag == "pre" and self._preformatted:
            self._preformatted -= 1
            self._pieces.append("\n```\n\n")
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._pieces.append("\n\n")
        elif tag in {"td", "th"}:
            self._pieces.append(" |")

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            self._pieces.append(data if self._preformatted else _SPACE.sub(" ", data))


def _opening(tag: str) -> str:
    match tag:
        case "li":
            return "\n- "
        case "tr":
            return "\n|"
        case "td" | "th":
            return " "
        case "br":
            return "\n"
        case _:
            return "\n\n" if tag in _BLOCKS else ""
