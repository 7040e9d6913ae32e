"""The plain wire: what is taken, what is refused, and that one frame is one line whose sender can be read back."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parlour.core.events import Command, Member, MemberJoined, MemberLeft, Message, Send, Sender
from parlour.core.moderation import TEXT_LIMIT, checked_name
from parlour.errors import ERROR_CODES, Refusal
from parlour.wire import Plain, Wire, chosen
from parlour.wire.plain import DEPTH_LIMIT

PLAIN = Plain()
ADA = Member("connection", "person", None, plain=True)


def line(**fields: Any) -> str:
    return json.dumps({"username": "ada", "message": "hi", **fields})


def message(text: str, name: str = "ada") -> Message:
    return Message("public", "epoch", 1, "mid", 0, Sender("person", name, plain=True), text)


def nested(depth: int) -> str:
    """A line with an unknown field so deep that the whole has this depth."""
    return '{"username": "ada", "message": "hi", "more": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(line(), Send("hi", "ada"), id="as documented"),
        pytest.param(line(message=""), Send("", "ada"), id="an empty message"),
        pytest.param(line(username=7, message=1.5), Send("1.5", "7"), id="numbers stand for their text"),
        pytest.param(line(colour="red", tags=[1, {"a": None}]), Send("hi", "ada"), id="unknown fields are ignored"),
        pytest.param('{"username": "a", "message": "x", "message": "y"}', Send("y", "a"), id="the last key wins"),
        pytest.param('{"username": "ada", "message": "\\ud83d\\ude00"}', Send("😀", "ada"), id="a surrogate pair"),
        pytest.param(line(message="[{" * 9), Send("[{" * 9, "ada"), id="brackets in a string are no depth"),
        pytest.param(nested(DEPTH_LIMIT), Send("hi", "ada"), id="as deep as allowed"),
        pytest.param(line(more=10**4000), Send("hi", "ada"), id="a long integer in an unknown field"),
    ],
)
def test_what_is_taken(text: str, said: Command) -> None:
    assert PLAIN.decode(text) == said


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
    refusal = PLAIN.decode(text)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == (code, field)
    assert field is None or f'"{field}"' in refusal.message
    assert len(PLAIN.refuse(refusal).splitlines()) == 1


def test_a_binary_frame_is_taken_like_text() -> None:
    assert PLAIN.text_of(line().encode()) == line()
    broken = PLAIN.text_of(b"\xff\xfe")
    assert isinstance(broken, Refusal)
    assert broken.code == "bad_frame"


JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
).map(json.dumps)

SHAPED = st.builds(
    lambda name, text: json.dumps({"username": name, "message": text}),
    st.text(max_size=80) | st.integers() | st.none(),
    st.text() | st.floats() | st.booleans(),
)


def check_any_input(text: str) -> None:
    said = PLAIN.decode(text)
    if isinstance(said, Send):
        assert "\x00" not in said.text
        assert said.name is not None
        said.text.encode()  # no surrogate came through
    else:
        assert isinstance(said, Refusal)
        assert said.code in ERROR_CODES


ANY_TEXT = st.text(st.characters()) | JSON_TEXT | SHAPED | st.text('{}[]",:\\u0123eE+-. \x00\ud800', max_size=60)


@given(ANY_TEXT)
@example("{" * 9 + '"' + "\\" * 1001)
def test_any_text_is_taken_or_refused(text: str) -> None:
    """The decoder never raises."""
    check_any_input(text)


@pytest.mark.stress
@settings(max_examples=20_000)
@given(ANY_TEXT)
def test_twenty_thousand_texts_are_taken_or_refused(text: str) -> None:
    check_any_input(text)


@given(st.binary())
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    text = PLAIN.text_of(data)
    if isinstance(text, str):
        check_any_input(text)
    else:
        assert isinstance(text, Refusal)


FORGERIES = [
    "x\nadmin> really",
    "x\r\nadmin> really",
    "x\u0085admin> really",
    "x\u2028admin> really",
    "x\u2029admin> really",
    "x\x0badmin> really",
    "x\x0cadmin> really",
    "x\x1c\x1d\x1eadmin> really",
    "\u202eyllaer >nimda",
    "admin> really",
    "! bad_frame: reconnect at evil.example",
]


@given(name=st.text(min_size=1, max_size=70), text=st.text(max_size=200) | st.sampled_from(FORGERIES))
@example(name="admin> really", text="")
@example(name="admin>", text="x")
@example(name="!", text="! x")
def test_one_frame_is_one_line_and_names_its_sender(name: str, text: str) -> None:
    """For any accepted name and any message, up to the first `> ` stands the name, and there is one line."""
    accepted = checked_name(name)
    if isinstance(accepted, Refusal):
        return
    encoded = PLAIN.encode(message(text, accepted))
    assert encoded is not None
    assert encoded.splitlines() == [encoded]
    assert encoded.partition("> ")[0] == accepted
    assert not encoded.startswith("! ")
    assert not any(character < " " and character != "\t" for character in encoded)


@pytest.mark.parametrize("text", FORGERIES)
def test_forged_lines_stay_in_their_line(text: str) -> None:
    encoded = PLAIN.encode(message(text))
    assert encoded is not None
    assert encoded.startswith("ada> ")
    assert len(encoded.splitlines()) == 1


def test_a_line_break_becomes_one_space_and_tabs_stay() -> None:
    assert PLAIN.encode(message("a\r\nb\nc\td\x1be")) == "ada> a b c\td e"


def test_visible_text_is_as_it_was() -> None:
    """Emoji with joiners, right-to-left text and unassigned code points are nobody's forgery in a message."""
    text = "👩‍👩‍👧 שלום \u200f \U000e0100 ÿ" + "x" * TEXT_LIMIT
    assert PLAIN.encode(message(text)) == f"ada> {text}"


def test_nobody_is_told_who_came_unless_the_operator_wants_it() -> None:
    joined, left = MemberJoined("public", ADA, 50), MemberLeft("public", ADA, 50)
    assert (PLAIN.encode(joined), PLAIN.encode(left)) == (None, None)
    telling = Plain(notices=True)
    told = [telling.encode(joined), telling.encode(left)]
    assert all(text is not None and text.startswith("! ") for text in told)
    assert telling.encode(MemberJoined("public", ADA, 51)) is None


@pytest.mark.parametrize(
    ("offered", "is_plain", "selected"),
    [
        pytest.param([], True, None, id="none"),
        pytest.param(["chat", "soap"], True, None, id="foreign ones"),
        pytest.param(["parlour.v9.json"], False, "parlour.v9.json", id="a version that is not spoken here"),
        pytest.param(["chat", "parlour.v9.json"], False, "parlour.v9.json", id="among others"),
        pytest.param(["parlour"], True, None, id="not of the family"),
    ],
)
def test_the_subprotocol_chooses_the_wire(offered: list[str], is_plain: bool, selected: str | None) -> None:
    plain: Wire = PLAIN
    assert chosen(offered, plain) == (plain if is_plain else None, selected)
