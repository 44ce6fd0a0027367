"""Streamed text: whole characters, and never a bit of a stop text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interns.runtime.llama_cpp.text_writer import TextWriter


def _write(data: bytes, sizes: list[int], stops: tuple[str, ...]) -> tuple[list[str], TextWriter]:
    writer = TextWriter(stops)
    pieces, at = [], 0
    for size in [*sizes, len(data)]:
        if at < len(data) and not writer.stopped:
            pieces.append(writer.write(data[at : at + size]))
            at += size
    pieces.append(writer.finish())
    return pieces, writer


@given(st.text(max_size=40), st.lists(st.integers(1, 5)))
def test_pieces_add_up_when_bytes_come_in_any_size(text, sizes):
    clean = text.encode("utf-8", "ignore").decode()
    pieces, writer = _write(clean.encode(), sizes, ())
    assert "".join(pieces) == writer.text == clean
    assert "\ufffd" in clean or all("\ufffd" not in piece for piece in pieces)


@given(
    st.text(alphabet="ab\n", max_size=30),
    st.lists(st.integers(1, 4)),
    st.lists(st.text(alphabet="ab\n", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_text_ends_before_the_first_stop_text_when_there_is_one(text, sizes, stops):
    pieces, writer = _write(text.encode(), sizes, tuple(stops))
    given_out = "".join(pieces)
    assert text.startswith(given_out)
    assert not any(stop in given_out for stop in stops)
    if not writer.stopped:
        assert given_out == text
    else:
        assert any(text[len(given_out) :].startswith(stop) for stop in stops)


def test_broken_bytes_become_a_sign_when_the_answer_ends_inside_a_character():
    writer = TextWriter()
    assert writer.write("é".encode()[:1]) == ""
    assert writer.finish() == "\ufffd"


def test_a_possible_stop_text_is_given_out_when_it_does_not_come():
    writer = TextWriter(("END",))
    assert writer.write(b"the E") == "the "
    assert writer.write(b"Nd") == "ENd"
    assert writer.write(b" EN") == " "
    assert writer.finish() == "EN"
