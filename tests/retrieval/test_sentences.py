"""Sentences with offsets."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.sentences import split_sentences, units


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Roe paid $3.14. Fine.", ["Dr. Roe paid $3.14.", "Fine."]),
        ("See e.g. the U.S. Army list. Next.", ["See e.g. the U.S. Army list.", "Next."]),
        ("Ask J. Doe about it. Now.", ["Ask J. Doe about it.", "Now."]),
        ("We met at 5 p.m. It rained.", ["We met at 5 p.m.", "It rained."]),
        ("Bring salt, pepper etc. and wait.", ["Bring salt, pepper etc. and wait."]),
        ('"Really?" she asked. He left.', ['"Really?" she asked.', "He left."]),
        ("Wait... what? Yes.", ["Wait... what?", "Yes."]),
        ("A line\nthat wraps. End.", ["A line\nthat wraps.", "End."]),
        ("First paragraph\n\nsecond paragraph", ["First paragraph", "second paragraph"]),
        ("日本語です。次の文。", ["日本語です。", "次の文。"]),
        ("", []),
        (" \n\t\n", []),
    ],
)
def test_sentences_are_found_when_text_is_prose(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_markers_are_left_out_when_text_is_markdown() -> None:
    text = "# Title\n\nIntro.\n- one. two\n2. Two.\n> quoted\n\n| a | b |\n|---|---|\n\n---\n"

    assert sentences(text) == ["Intro.", "one. two", "Two.", "quoted", "| a | b |"]


def test_code_lines_stay_whole_when_fenced() -> None:
    text = "Run:\n```sh\n# not a heading. Really\nmake demo\n```\nDone."

    assert sentences(text) == ["Run:", "# not a heading. Really", "make demo", "Done."]


def test_headings_have_levels_when_underlined() -> None:
    text = "Top\n===\n\nPart\n----\n\nText.\n"

    found = [(text[unit.start : unit.end], unit.level) for unit in units(text)]

    assert found == [("Top", 1), ("Part", 2), ("Text.", 0)]


@given(st.text(alphabet=st.sampled_from("aB1. !?\n#-*>|`~=\"'…。é\r\t")))
def test_units_are_trimmed_ordered_and_complete_when_text_is_anything(text: str) -> None:
    found = units(text)

    assert all(text[unit.start : unit.end].strip() == text[unit.start : unit.end] for unit in found)
    assert all(unit.start < unit.end for unit in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    kept = "".join(text[unit.start : unit.end] for unit in found)
    assert sum(map(str.isalpha, text)) - sum(map(str.isalpha, kept)) <= fence_letters(text)


def fence_letters(text: str) -> int:
    """Letters after an opening fence name its language and belong to no unit."""
    lines = [line for line in text.split("\n") if line.lstrip().startswith(("```", "~~~"))]
    return sum(sum(map(str.isalpha, line)) for line in lines)
