"""Frames that no honest client sends on the plain wire: the exact answer to each, and that the connection lives."""

import json
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.core.commands import Line
from parlour.core.connection import Pace
from parlour.core.events import Place, Publish, Refuse, Seat
from parlour.core.house import House
from parlour.core.keys import Keyring
from parlour.core.names import NameRules
from parlour.core.plain import PlainConnection
from parlour.errors import ERROR_CODES, Refusal
from parlour.wire import Plain
from parlour.wire.strict import DEPTH_LIMIT
from tests.core.names import any_names
from tests.wire.frames import JSON, depth, no_constant, tamed, texts

PLAIN: Final = Plain()

SHAPE: Final = ("bad_frame", 'send a JSON object: {"username": "...", "message": "..."}')
DEEP: Final = ("bad_frame", "nested deeper than 8 levels; send a flat object")
BAD_USERNAME: Final = ("bad_field", '"username" must be a string')
BAD_MESSAGE: Final = ("bad_field", '"message" must be a string')
NO_USERNAME: Final = ("bad_field", f'"username" is missing; {SHAPE[1]}')
NO_MESSAGE: Final = ("bad_field", f'"message" is missing; {SHAPE[1]}')
NUL: Final = ("bad_field", '"message" must not contain the character NUL')
CONTROL: Final = ("bad_name", "the name contains control characters; leave them out")
EMPTY: Final = ("bad_name", "the name is empty; give at least one character")
LONG: Final = ("too_large", '"message" is longer than 10000 characters; shorten it')

DIGITS: Final = "9" * 5_000


def with_message(value: str) -> str:
    return f'{{"username": "ada", "message": {value}}}'


def with_username(value: str) -> str:
    return f'{{"username": {value}, "message": "hi"}}'


def with_more(value: str) -> str:
    return f'{{"username": "ada", "message": "hi", "more": {value}}}'


FINE: Final = with_message('"hi"')

FRAMES: Final = {
    "NaN": (with_message("NaN"), SHAPE),
    "Infinity": (with_message("Infinity"), SHAPE),
    "minus Infinity": (with_message("-Infinity"), SHAPE),
    "NaN as a name": (with_username("NaN"), SHAPE),
    "NaN in an unknown field": (with_more("NaN"), SHAPE),
    "a number that is no float": (with_message("1e400"), BAD_MESSAGE),
    "lone surrogate, escaped": (with_message(r'"\ud800"'), SHAPE),
    "lone low surrogate, escaped": (with_message(r'"\udc00"'), SHAPE),
    "surrogates the wrong way round": (with_message(r'"\udc00\ud800"'), SHAPE),
    "lone surrogate as a name": (with_username(r'"\ud800"'), SHAPE),
    "lone surrogate in an unknown field": (with_more(r'"\ud800"'), SHAPE),
    "lone surrogate as it is": (with_message('"\ud800"'), SHAPE),
    "a pair of surrogates": (with_message(r'"\ud83e\udd8a"'), ("ada", "\U0001f98a")),
    "arrays 100,000 deep": ("[" * 100_000, DEEP),
    "objects 100,000 deep": ('{"a":' * 100_000, DEEP),
    "an unknown field 100,000 deep": (with_more("[" * 100_000 + "]" * 100_000), DEEP),
    "a message 100,000 deep": (with_message("[" * 100_000 + "]" * 100_000), DEEP),
    "an unknown field at the ninth level": (with_more("[" * 8 + "]" * 8), DEEP),
    "an unknown field at the eighth level": (with_more("[" * 7 + "]" * 7), ("ada", "hi")),
    "many brackets, none deep": (with_more("[" + "[]," * 100 + "{}]"), ("ada", "hi")),
    "brackets in a text": (with_message(f'"{"[{" * 1_000}"'), ("ada", "[{" * 1_000)),
    "quotes and brackets in a text": (with_message(r'"\"[[[[[[[[[[\\"'), ("ada", '"[[[[[[[[[[\\')),
    "brackets closed before they are opened": ("]" * 100 + "[" * 100, SHAPE),
    "5,000 digits as a message": (with_message(DIGITS), BAD_MESSAGE),
    "5,000 digits below zero": (with_message(f"-{DIGITS}"), BAD_MESSAGE),
    "5,000 digits and a half": (with_message(f"{DIGITS}.5"), BAD_MESSAGE),
    "5,000 digits as an exponent": (with_message(f"1e{DIGITS}"), BAD_MESSAGE),
    "5,000 digits as a name": (with_username(DIGITS), BAD_USERNAME),
    "5,000 digits in an unknown field": (with_more(DIGITS), ("ada", "hi")),
    "NUL in a message, escaped": (with_message(r'"a\u0000b"'), NUL),
    "NUL in a name, escaped": (with_username(r'"a\u0000b"'), CONTROL),
    "NUL in an unknown field, escaped": (with_more(r'"\u0000"'), ("ada", "hi")),
    "NUL in a message, as it is": (with_message('"a\x00b"'), SHAPE),
    "NUL before": ("\x00" + FINE, SHAPE),
    "NUL after": (FINE + "\x00", SHAPE),
    "byte order mark": ("\ufeff" + FINE, SHAPE),
    "trailing text": (FINE + " bo", SHAPE),
    "two objects": (FINE * 2, SHAPE),
    "spaces around": (f" \r\n\t{FINE}\n", ("ada", "hi")),
    "no-break space before": (f"\u00a0{FINE}", SHAPE),
    "cut off": (FINE[:-1], SHAPE),
    "comma before the end": ('{"username": "ada", "message": "hi",}', SHAPE),
    "single quotes": ("{'username': 'ada', 'message': 'hi'}", SHAPE),
    "a comment": (with_message('/* hi */ "hi"'), SHAPE),
    "line break in a text, as it is": (with_message('"a\nb"'), SHAPE),
    "unknown escape": (with_message(r'"\x41"'), SHAPE),
    "empty": ("", SHAPE),
    "spaces": ("  ", SHAPE),
    "null": ("null", SHAPE),
    "true": ("true", SHAPE),
    "a number": ("7", SHAPE),
    "a string": ('"hi"', SHAPE),
    "an array": ('["ada", "hi"]', SHAPE),
    "an empty array": ("[]", SHAPE),
    "an empty object": ("{}", NO_USERNAME),
    "no name": ('{"message": "hi"}', NO_USERNAME),
    "no message": ('{"username": "ada"}', NO_MESSAGE),
    "fields with capitals": ('{"Username": "ada", "Message": "hi"}', NO_USERNAME),
    "repeated key": ('{"username": "ada", "message": "a", "message": "b"}', ("ada", "b")),
    "repeated name": ('{"username": "ada", "message": "hi", "username": "bo"}', ("bo", "hi")),
    "repeated key, the last one wrong": ('{"username": "ada", "message": "a", "message": null}', BAD_MESSAGE),
    "escaped key": (r'{"user\u006eame": "ada", "message": "hi"}', ("ada", "hi")),
    "true as a message": (with_message("true"), BAD_MESSAGE),
    "false as a name": (with_username("false"), BAD_USERNAME),
    "null as a message": (with_message("null"), BAD_MESSAGE),
    "null as a name": (with_username("null"), BAD_USERNAME),
    "array as a message": (with_message('["hi"]'), BAD_MESSAGE),
    "object as a message": (with_message("{}"), BAD_MESSAGE),
    "array as a name": (with_username("[]"), BAD_USERNAME),
    "number as a message": (with_message("7"), ("ada", "7")),
    "number below zero": (with_message("-7"), ("ada", "-7")),
    "fraction as a message": (with_message("2.50"), ("ada", "2.5")),
    "exponent as a message": (with_message("1e3"), ("ada", "1000.0")),
    "number as a name": (with_username("7"), ("7", "hi")),
    "number beyond 64 bits": (with_message("98765432109876543210"), ("ada", "98765432109876543210")),
    "number with a zero before": (with_message("07"), SHAPE),
    "unknown fields": (with_more('{"message": null, "x": [1, 2.5, true, null]}'), ("ada", "hi")),
    "empty message": (with_message('""'), ("ada", "")),
    "empty name": (with_username('""'), EMPTY),
    "spaces as a name": (with_username('"  "'), EMPTY),
    "spaces around a name": (with_username('" bo "'), ("bo", "hi")),
    "control characters": (with_message(r'"\u001b[2J\u0007a\tb\nc\u009b"'), ("ada", " [2J a\tb\nc ")),
    "10,000 characters": (with_message(f'"{"x" * 10_000}"'), ("ada", "x" * 10_000)),
    "10,001 characters": (with_message(f'"{"x" * 10_001}"'), LONG),
}
"""By name: what a client sends, and what becomes of it: name and text of a line, or code and words of a refusal."""


HOUSE = House(NameRules(()), Keyring({"k1": bytes(32)}, "k1"), lambda: "id", lambda: 0)


def answer(frame: str) -> tuple[str, str]:
    """What becomes of a frame at a connection, which lives."""
    pace = Pace(rate=None, burst=1, ping=20.0, ping_timeout=10.0)
    connection = PlainConnection("c-ada", pace, HOUSE, Place("public"), person="p-ada")
    connection.opened(0.0)
    connection.answered(Seat("public", "e1", 0, 1), None, 0.0)
    said, re = PLAIN.decode(frame)
    (effect,) = connection.handle(said, re, len(frame), 0.0)
    assert not connection.ended
    if isinstance(effect, Publish):
        assert effect.member.sender.name is not None
        return effect.member.sender.name, effect.text
    assert isinstance(effect, Refuse)
    code, words = effect.refusal.code, effect.refusal.message
    assert code in ERROR_CODES
    assert PLAIN.refuse(effect.refusal, None) == f"! {code}: {words}"
    return code, words


@pytest.mark.parametrize(("frame", "expected"), FRAMES.values(), ids=FRAMES.keys())
def test_what_becomes_of_a_frame(frame: str, expected: tuple[str, str]) -> None:
    """A line, or a refusal that says what to send instead; in every case the connection lives."""
    assert answer(frame) == expected


@pytest.mark.parametrize("frame", [frame for frame, _ in FRAMES.values()], ids=FRAMES.keys())
def test_a_binary_frame_is_taken_like_text(frame: str) -> None:
    """The same bytes give the same answer; those that are no UTF-8 are refused."""
    text = PLAIN.text_of(frame.encode(errors="surrogatepass"))
    assert text == (Refusal(*SHAPE) if "\ud800" in frame else frame)


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b'{"username": "ada", "message": "\xe9"}', b"\x00\xff" * 1_000],
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    """Invalid UTF-8 in a binary frame is a wrong line, not the end."""
    assert PLAIN.text_of(data) == Refusal(*SHAPE)


@pytest.mark.parametrize(
    "frame",
    [
        '{"canary": 1}',
        '{"username": "ada", "message": ["canary"]}',
        '{"username": {"canary": "canary"}, "message": "canary"}',
        '{"username": "ada", "message": "hi"} canary',
        '{"username": "canary", "message": "canary\\u0000"}',
        "canary",
    ],
)
def test_a_refusal_holds_nothing_that_was_sent(frame: str) -> None:
    """Neither a value nor the name of a field: what was said is shown as somebody's line, or nowhere."""
    said, _ = PLAIN.decode(frame)
    assert isinstance(said, Refusal)
    assert "canary" not in PLAIN.refuse(said, None)


@given(name=any_names, text=st.text(max_size=50))
def test_a_name_is_refused_or_taken_as_it_was_sent(name: str, text: str) -> None:
    """But for spaces around it."""
    code_or_name, words_or_text = answer(json.dumps({"username": name, "message": text}))
    if code_or_name not in ("bad_frame", "bad_field", "bad_name"):
        assert (code_or_name, words_or_text) == (name.strip(), tamed(text))


# Any input

LINES = st.fixed_dictionaries({"username": JSON, "message": JSON}, optional={"more": JSON})
TEXTS = texts(LINES)
BYTES = st.one_of(st.binary(), TEXTS.map(lambda text: text.encode(errors="surrogatepass")))


def check_text(text: str) -> None:
    """Nothing is raised, and a line is what the standard library reads as well."""
    said, _ = PLAIN.decode(text)
    if isinstance(said, Refusal):
        assert said.code in ("bad_frame", "bad_field")
        assert PLAIN.refuse(said, None).splitlines() == [f"! {said.code}: {said.message}"]
        return
    read = json.loads(text, parse_constant=no_constant)
    assert (str(read["username"]), tamed(str(read["message"]))) == (said.name, said.text)
    assert "\x00" not in said.text
    said.text.encode()


def check_bytes(data: bytes) -> None:
    text = PLAIN.text_of(data)
    if isinstance(text, str):
        check_text(text)
    else:
        assert text == Refusal(*SHAPE)


@given(TEXTS)
def test_any_text_is_a_line_or_a_refusal(text: str) -> None:
    """Whatever it is, nothing is raised."""
    check_text(text)


@given(BYTES)
def test_any_bytes_are_a_line_or_a_refusal(data: bytes) -> None:
    """Whatever they are, nothing is raised."""
    check_bytes(data)


@pytest.mark.stress
@settings(max_examples=20_000)
@given(TEXTS)
def test_any_text_at_length(text: str) -> None:
    """The same, 20,000 times."""
    check_text(text)


@pytest.mark.stress
@settings(max_examples=20_000)
@given(BYTES)
def test_any_bytes_at_length(data: bytes) -> None:
    """The same, 20,000 times."""
    check_bytes(data)


FIELDS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(name=FIELDS, message=FIELDS, more=JSON, escaped=st.booleans())
def test_every_proper_line_is_taken(name: str | float, message: str | float, more: object, escaped: bool) -> None:
    """With any unknown field that is JSON and not too deep, and in either spelling of what is not ASCII."""
    try:
        text = json.dumps({"username": name, "message": message, "more": more}, ensure_ascii=escaped, allow_nan=False)
    except ValueError:  # infinite, or not a number
        return
    expected = Refusal(*DEEP) if depth(more) >= DEPTH_LIMIT else Line(tamed(str(message)), str(name))
    assert PLAIN.decode(text) == (expected, None)
