"""What JSON allows and the wires do not, and that to find it takes one reading."""

import json
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire import strict
from tests.wire.frames import JSON, depth


@given(JSON)
def test_the_depth_is_that_of_the_value(value: object) -> None:
    """Brackets within strings don't count, whatever is escaped there."""
    assert strict.depth(json.dumps(value)) == depth(value)
    assert strict.is_too_deep(json.dumps(value)) == (depth(value) > strict.DEPTH_LIMIT)


@pytest.mark.parametrize("opening", ["[", "{", '{"a":', '[{"a":', " [", '"["['])
def test_too_deep_however_it_is_spelled(opening: str) -> None:
    assert strict.is_too_deep(opening * 100_000)
    assert not strict.is_too_deep(opening)


HOSTILE: Final = {
    "quotes, all but one escaped": '"\\' * 65_536,
    "quotes": '"' * 131_072,
    "backslashes": '"' + "\\" * 131_071,
    "a backslash at the end": '"' + "a" * 131_070 + "\\",
    "letters in a string without an end": '"' + "a" * 131_071,
    "escapes without a string": "\\" * 131_072,
    "letters and escaped quotes": '"a\\' * 43_690,
    "brackets": "[{" * 65_536,
    "escaped backslashes before u0000": "\\\\u0000" * 18_724,
    "backslashes, and u0000 at the end": "\\" * 131_066 + "u0000",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_strings_are_read_once(text: str) -> None:
    """A quote that begins no string would be tried to the end of the text and given up, and so would the next one:
    65,536 of them block everybody for half a minute. So each belongs to a string, if only to one without an end."""
    assert strict._STRUCTURE.sub("", text).count('"') == 0
    assert strict.is_too_deep("[" * 9 + text)
    assert not strict.holds_nul(text)


@given(st.text(st.sampled_from('"\\[{}]a\n')))
def test_no_quote_is_tried_in_vain(text: str) -> None:
    """Whatever stands around it."""
    assert strict._STRUCTURE.sub("", text).count('"') == 0


@given(st.text(st.one_of(st.sampled_from('\x00\\u0"'), st.characters())))
def test_nul_is_found_where_it_is(text: str) -> None:
    """An escaped backslash before `u0000` is not the escape, however many there are."""
    assert strict.holds_nul(json.dumps({"text": text})) == ("\x00" in text)
