"""The plain wire: the field that a refusal names, and the notices."""

import json
from typing import Any

import pytest

from parlour.core.events import (
    Done,
    MatchBack,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Message,
    Moderated,
    RoomChanged,
    Sender,
)
from parlour.errors import Refusal
from parlour.wire import Plain, Wire
from parlour.wire.strict import DEPTH_LIMIT

PLAIN = Plain()
ADA = Sender("person", None, plain=True)


def line(**fields: Any) -> str:
    return json.dumps({"username": "ada", "message": "hi", **fields})


def nested(depth: int) -> str:
    """A line with an unknown field so deep that the whole has this depth."""
    return '{"username": "ada", "message": "hi", "more": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize(
    ("text", "code", "field"),
    [
        pytest.param("", "bad_frame", None, id="nothing"),
        pytest.param("{", "bad_frame", None, id="half an object"),
        pytest.param("hello", "bad_frame", None, id="no JSON"),
        pytest.param("[]", "bad_frame", None, id="an array"),
        pytest.param('"hi"', "bad_frame", None, id="a string"),
        pytest.param("null", "bad_frame", None, id="null"),
        pytest.param(line() + " and more", "bad_frame", None, id="text behind it"),
        pytest.param("\ufeff" + line(), "bad_frame", None, id="a byte order mark"),
        pytest.param('{"username": "ada", "message": NaN}', "bad_frame", None, id="NaN"),
        pytest.param('{"username": "ada", "message": "x", "z": -Infinity}', "bad_frame", None, id="Infinity"),
        pytest.param('{"username": "ada", "message": "\\ud800"}', "bad_frame", None, id="a lone surrogate, escaped"),
        pytest.param(line(message="x").replace("x", "\ud800"), "bad_frame", None, id="a lone surrogate, as it is"),
        pytest.param('{"username": "ada", "message": "\x00"}', "bad_frame", None, id="NUL as it is"),
        pytest.param(line(message="a\x00b"), "bad_field", "message", id="NUL, escaped"),
        pytest.param(nested(DEPTH_LIMIT + 1), "bad_frame", None, id="one level too deep"),
        pytest.param(nested(100_000), "bad_frame", None, id="100,000 levels"),
        pytest.param('{"a":' * 100_000, "bad_frame", None, id="100,000 levels that never close"),
        pytest.param('{"username": "ada"}', "bad_field", "message", id="no message"),
        pytest.param('{"message": "hi"}', "bad_field", "username", id="no username"),
        pytest.param(line(message=None), "bad_field", "message", id="null for a message"),
        pytest.param(line(message=True), "bad_field", "message", id="true for a message"),
        pytest.param(line(message=["hi"]), "bad_field", "message", id="a list for a message"),
        pytest.param(line(username={}), "bad_field", "username", id="an object for a name"),
        pytest.param(
            '{"username": "ada", "message": ' + "9" * 5000 + "}", "bad_field", "message", id="a number of 5,000 digits"
        ),
        pytest.param(
            '{"username": ' + "9" * 5000 + ', "message": "hi"}', "bad_field", "username", id="a name of 5,000 digits"
        ),
    ],
)
def test_what_is_refused(text: str, code: str, field: str | None) -> None:
    """Each gets a refusal that names the field, and none of what was sent."""
    refusal, re = PLAIN.decode(text)
    assert re is None
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == (code, field)
    assert field is None or f'"{field}"' in refusal.message
    assert len(PLAIN.refuse(refusal, re).splitlines()) == 1


def test_nobody_is_told_who_came_unless_the_operator_wants_it() -> None:
    joined, left = MemberJoined("public", ADA, 50), MemberLeft("public", ADA, 50)
    assert (PLAIN.encode(joined), PLAIN.encode(left)) == (None, None)
    telling = Plain(notices=True)
    told = [telling.encode(joined), telling.encode(left)]
    assert all(text is not None and text.startswith("! ") for text in told)
    assert telling.encode(MemberJoined("public", ADA, 51)) is None


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (RoomChanged("public", "Tea\nadmin> hi"), "! room: open"),
        (RoomChanged("public", "", slow_ms=1_500), "! room: slow, one message each 1.5 seconds"),
        (RoomChanged("public", "", locked=True, slow_ms=1_500), "! room: locked, only moderators speak"),
        (RoomChanged("public", "", locked=True, archived=True), "! room: closed"),
    ],
)
def test_how_a_room_is_now(changed: RoomChanged, line: str) -> None:
    """With notices. Its title, which can be any words, is not in them."""
    assert Plain(notices=True).encode(changed) == line
    assert PLAIN.encode(changed) is None


def test_what_this_wire_has_no_words_for() -> None:
    """Clients without a session are told what is said, and no more."""
    assert not PLAIN.has_sessions
    assert PLAIN.encode(MemberRenamed("public", ADA)) is None
    wire: Wire = PLAIN
    assert (wire.tell(MatchBack("b1")), wire.reply(Done(), None)) == (None, None)
    assert wire.tell(Moderated("muted", "spam")) is None


def test_a_message_of_several_lines_is_one_line_here() -> None:
    """Members on v1 may send line breaks."""
    said = Message("public", "e1", 1, "m1", 0, Sender("p-bo", "bo"), "one\r\ntwo\nthree")
    assert PLAIN.encode(said) == "bo> one two three"
