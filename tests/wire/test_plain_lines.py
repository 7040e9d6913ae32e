"""The lines of the plain wire: one frame is one line, and its sender can be read back from it."""

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.events import Message, Sender
from parlour.wire import Plain
from tests.core.names import fine_names

PLAIN: Final = Plain()

BREAK: Final = re.compile("[\n\v\f\r\x85\u2028\u2029]")
"""What ends a line by UAX #14: the classes BK, CR, LF and NL."""

TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("> !\n\r\t\x0b\x0c\x1c\x1d\x1e\x7f\x85\u2028\u2029\u202e"))
)


def line(name: str, text: str) -> str:
    payload = PLAIN.encode(Message("public", "e1", 1, "m1", 0, Sender("p-ada", name, plain=True), text))
    assert payload is not None
    return payload


def shown(text: str) -> str:
    """The text as a line must show it, character by character."""
    controls = {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"} - {"\t"}
    return "".join(" " if character in controls else character for character in text.replace("\r\n", "\n"))


@given(name=fine_names, text=TEXTS)
def test_one_frame_is_one_line_that_tells_its_sender(name: str, text: str) -> None:
    """For every name that is allowed and any message: one line by Python's rules and by Unicode's, no notice, and what
    stands before the first `> ` is the name."""
    said = line(name, text)
    assert said.splitlines() == [said]
    assert not BREAK.search(said)
    assert said.partition("> ") == (name, "> ", shown(text))
    assert not said.startswith("! ")
    assert said.encode().decode() == said


EXAMPLES: Final = {
    "nothing": ("", ""),
    "a line of another": ("hi\nadmin> really", "hi admin> really"),
    "carriage return": ("a\rb", "a b"),
    "carriage return and line feed": ("a\r\nb", "a b"),
    "the other way round": ("a\n\rb", "a  b"),
    "next line": ("a\x85b", "a b"),
    "line separator": ("a\u2028b", "a b"),
    "paragraph separator": ("a\u2029b", "a b"),
    "vertical tab and form feed": ("a\vb\fc", "a b c"),
    "separators of files": ("a\x1cb\x1dc\x1ed", "a b c d"),
    "escape": ("\x1b[2Ja", " [2Ja"),
    "tab": ("a\tb", "a\tb"),
    "spaces": ("  a  ", "  a  "),
    "a notice": ("! left", "! left"),
    "an arrow": ("> a", "> a"),
    "bidi, which ends with the line": ("\u202egnp", "\u202egnp"),
    "emoji": ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
}


@pytest.mark.parametrize(("text", "expected"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_how_a_message_is_shown(text: str, expected: str) -> None:
    """Breaks and control characters become spaces; the rest is left alone."""
    assert line("ada", text) == f"ada> {expected}"
