"""Frames that no honest client sends on v1: the exact answer to each, and that nothing is raised."""

import json
from typing import Any, Final, Literal, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parlour.core.commands import Command, Ping, Send
from parlour.errors import Refusal
from parlour.wire import V1
from parlour.wire.forms import COMMANDS
from parlour.wire.strict import DEPTH_LIMIT
from tests.wire.commands import ALL, FEWEST, OPS, WHOSE, Field, whole
from tests.wire.frames import JSON, depth, no_constant, tamed, texts

WIRE: Final = V1()

SHAPE: Final = ("bad_frame", None, None)
"""Code, field and `re` of what can't be read at all."""

DIGITS: Final = "9" * 5_000
FINE: Final = '{"id": 7, "op": "ping"}'


def send(text: str) -> str:
    return f'{{"id": 7, "op": "send", "room": "public", "key": "k1", "text": {text}}}'


def said(text: str) -> Send:
    return Send("public", "k1", text)


def more(value: str) -> str:
    return f'{{"id": 7, "op": "ping", "more": {value}}}'


FRAMES: Final[dict[str, tuple[str, Command | tuple[str, str | None, int | None]]]] = {
    "NaN": (send("NaN"), SHAPE),
    "Infinity": (send("Infinity"), SHAPE),
    "minus Infinity": (send("-Infinity"), SHAPE),
    "NaN as a number": ('{"id": NaN, "op": "ping"}', SHAPE),
    "NaN in an unknown field": (more("NaN"), SHAPE),
    "lone surrogate, escaped": (send(r'"\ud800"'), SHAPE),
    "lone low surrogate, escaped": (send(r'"\udc00"'), SHAPE),
    "surrogates the wrong way round": (send(r'"\udc00\ud800"'), SHAPE),
    "lone surrogate in an unknown field": (more(r'"\ud800"'), SHAPE),
    "lone surrogate in a key": (r'{"id": 7, "op": "ping", "\ud800": 1}', SHAPE),
    "lone surrogate as it is": (send('"\ud800"'), SHAPE),
    "lone surrogate as it is, as a command": ('{"id": 7, "op": "\ud800"}', SHAPE),
    "a pair of surrogates": (send(r'"\ud83e\udd8a"'), said("\U0001f98a")),
    "arrays 100,000 deep": ("[" * 100_000, SHAPE),
    "objects 100,000 deep": ('{"a":' * 100_000, SHAPE),
    "an unknown field 100,000 deep": (more("[" * 100_000 + "]" * 100_000), SHAPE),
    "a text 100,000 deep": (send("[" * 100_000 + "]" * 100_000), SHAPE),
    "an unknown field at the ninth level": (more("[" * 8 + "]" * 8), SHAPE),
    "an unknown field at the eighth level": (more("[" * 7 + "]" * 7), Ping()),
    "brackets in a text": (send(f'"{"[{" * 1_000}"'), said("[{" * 1_000)),
    "quotes and brackets in a text": (send(r'"\"[[[[[[[[[[\\"'), said('"[[[[[[[[[[\\')),
    "5,000 digits as a text": (send(DIGITS), ("bad_field", "text", 7)),
    "5,000 digits below zero": (send(f"-{DIGITS}"), ("bad_field", "text", 7)),
    "5,000 digits and a half": (send(f"{DIGITS}.5"), ("bad_field", "text", 7)),
    "5,000 digits as an exponent": (send(f"1e{DIGITS}"), ("bad_field", "text", 7)),
    "5,000 digits as a number": (f'{{"id": {DIGITS}, "op": "ping"}}', ("bad_field", "id", None)),
    "5,000 digits as a command": (f'{{"id": 7, "op": {DIGITS}}}', ("bad_field", "op", 7)),
    "5,000 digits as both": (f'{{"op": {DIGITS}, "id": {DIGITS}}}', ("bad_field", "op", None)),
    "5,000 digits in an unknown field": (more(DIGITS), Ping()),
    "5,000 digits within an unknown field": (more(f'[{{"a": -{DIGITS}}}]'), Ping()),
    "5,000 digits as an offset": (
        f'{{"id": 7, "op": "read", "room": "b1", "off": {DIGITS}}}',
        ("bad_field", "off", 7),
    ),
    "NUL in a text, escaped": (send(r'"a\u0000b"'), ("bad_field", None, 7)),
    "NUL in an unknown field, escaped": (more(r'"\u0000"'), ("bad_field", None, 7)),
    "NUL in a key, escaped": (r'{"id": 7, "op": "ping", "\u0000": 1}', ("bad_field", None, 7)),
    "NUL in a command, escaped": (r'{"id": 7, "op": "ping\u0000"}', ("unknown_op", "op", 7)),
    "NUL behind an escaped backslash": (send(r'"\\\u0000"'), ("bad_field", None, 7)),
    "a backslash before u0000": (send(r'"\\u0000"'), said(r"\u0000")),
    "two backslashes before u0000": (send(r'"\\\\u0000"'), said(r"\\u0000")),
    "NUL in a text, as it is": (send('"a\x00b"'), SHAPE),
    "NUL before": ("\x00" + FINE, SHAPE),
    "NUL after": (FINE + "\x00", SHAPE),
    "byte order mark": ("\ufeff" + FINE, SHAPE),
    "byte order mark in a text": (send('"\ufeffhi"'), said("\ufeffhi")),
    "trailing text": (FINE + " bo", SHAPE),
    "two objects": (FINE * 2, SHAPE),
    "two lines": (FINE + "\n" + FINE, SHAPE),
    "spaces around": (f" \r\n\t{FINE}\n", Ping()),
    "no-break space before": (f"\u00a0{FINE}", SHAPE),
    "cut off": (FINE[:-1], SHAPE),
    "comma before the end": ('{"id": 7, "op": "ping",}', SHAPE),
    "single quotes": ("{'id': 7, 'op': 'ping'}", SHAPE),
    "a comment": ('{"id": 7, /* hi */ "op": "ping"}', SHAPE),
    "a key that is no string": ('{"id": 7, "op": "ping", 7: 7}', SHAPE),
    "a key without quotes": ('{id: 7, "op": "ping"}', SHAPE),
    "line break in a text, as it is": (send('"a\nb"'), SHAPE),
    "line break in a text, escaped": (send(r'"a\nb"'), said("a\nb")),
    "unknown escape": (send(r'"\x41"'), SHAPE),
    "number with a zero before": ('{"id": 07, "op": "ping"}', SHAPE),
    "number with a plus": ('{"id": +7, "op": "ping"}', SHAPE),
    "minus zero": (more("-0"), Ping()),
    "empty": ("", SHAPE),
    "spaces": ("  ", SHAPE),
    "null": ("null", SHAPE),
    "true": ("true", SHAPE),
    "a number": ("7", SHAPE),
    "a string": ('"ping"', SHAPE),
    "an array": ('[7, "ping"]', SHAPE),
    "a command in an array": (f"[{FINE}]", SHAPE),
    "an empty object": ("{}", ("bad_field", "op", None)),
    "a plain line": ('{"username": "ada", "message": "hi"}', ("bad_field", "op", None)),
    "keys with capitals": ('{"Id": 7, "Op": "ping"}', ("bad_field", "op", None)),
    "escaped key": (r'{"id": 7, "\u006fp": "ping"}', Ping()),
    "repeated number": ('{"id": 9, "op": "ping", "id": 7}', Ping()),
    "repeated command": ('{"id": 7, "op": "leave", "op": "ping"}', Ping()),
    "repeated text": (send('"a", "text": "b"'), said("b")),
    "repeated text, the last one wrong": (send('"a", "text": 7'), ("bad_field", "text", 7)),
    "repeated text, the last one null": (send('"a", "text": null'), ("bad_field", "text", 7)),
}
"""By name: what a client sends, and what it means, or code, field and `re` of the refusal."""


@pytest.mark.parametrize(("frame", "expected"), FRAMES.values(), ids=FRAMES.keys())
def test_what_becomes_of_a_frame(frame: str, expected: Command | tuple[str, str | None, int | None]) -> None:
    """A command, or a refusal under its number, if that could be read."""
    said, number = WIRE.decode(frame)
    if isinstance(said, Refusal):
        assert (said.code, said.field, number) == expected
        assert json.loads(WIRE.refuse(said, number))["re"] == number
    else:
        assert (said, number) == (expected, 7)


# Wrong types

WRONG: Final = {
    str: ["7", "7.5", "true", "false", "[]", '["canary"]', "{}", '{"canary": 1}', DIGITS, "1e999"],
    int: ['"7"', "7.5", "7.0", "true", "[]", "{}", DIGITS, f"-{DIGITS}", "1e999", "-1", "98765432109876543210"],
    bool: ["1", "0", '"true"', "[]", "{}", DIGITS],
    tuple: ['"canary"', "7", "true", "{}", "[7]", "[null]", "[[]]", f"[{DIGITS}]"],
    Literal: ['"canary"', '"Auto"', '""', "7", "true", "[]", '"x\' - at `$.canary`"'],
    WHOSE: ["7", "7.5", "true", "[]", '["canary"]', DIGITS, "1e999"],
    object: ['"canary"', "7", "true", "[]", DIGITS],
}
"""By type of a field: JSON that it can't be."""


def wrongs(field: Field) -> list[str]:
    kind = get_origin(field.base) or field.base
    return WRONG.get(kind, WRONG[object]) + ([] if field.optional else ["null"])


CASES: Final = [(field, wrong) for field in ALL for wrong in wrongs(field)]


@pytest.mark.parametrize(
    ("field", "wrong"), CASES, ids=[f"{field.op} {field.path} {wrong[:20]}" for field, wrong in CASES]
)
def test_a_wrong_type_is_named(field: Field, wrong: str) -> None:
    """The field, and what it must be; not what it was."""
    frame = json.dumps(field.within("@")).replace('"@"', wrong)
    said, number = WIRE.decode(frame)
    assert isinstance(said, Refusal)
    assert (said.code, said.field, number) == ("bad_field", field.path, 7)
    assert said.message.startswith(f'"{field.path}" must be ')
    for sent in ("canary", "999", "Auto"):
        assert sent not in said.message


@pytest.mark.parametrize("field", [field for field in ALL if not field.optional], ids=lambda f: f"{f.op} {f.path}")
def test_a_missing_field_is_named(field: Field) -> None:
    frame: Any = field.within("@")
    name, _, nested = field.path.partition(".")
    if nested:
        del frame[name][0][nested]  # of a list, for all of the others may be left out
    else:
        del frame[name]
    said, number = WIRE.decode(json.dumps(frame))
    assert isinstance(said, Refusal)
    assert (said.code, said.field, number) == ("bad_field", field.path, 7)
    assert said.message.startswith(f'"{field.path}" is missing; it must be ')


@pytest.mark.parametrize("field", [f for f in ALL if get_origin(f.base) is tuple], ids=lambda f: f"{f.op} {f.path}")
def test_the_second_item_counts_as_well(field: Field) -> None:
    fine = whole(field.op)
    for step in field.path.split("."):
        fine = fine[step]
    said, number = WIRE.decode(json.dumps(field.within([*list(fine)[:1], 7])))
    assert isinstance(said, Refusal)
    assert (said.code, said.field, number) == ("bad_field", field.path, 7)


@pytest.mark.parametrize(
    "frame",
    [
        "canary",
        '{"canary": 1}',
        '{"id": "canary", "op": "canary"}',
        '{"id": 7, "op": "canary"}',
        '{"id": 7, "op": "ping"} canary',
        '{"id": 7, "op": ["canary"]}',
        send('"canary\\u0000"'),
        send('["canary"]'),
        send('"' + "canary" * 2_000 + '"'),
        '{"id": 7, "op": "match.find", "relax": "canary"}',
        '{"id": 7, "op": "match.find", "relax": "x\' - at `$.canary`"}',
        '{"id": 7, "op": "match.find", "relax": "Object missing required field `canary`"}',
    ],
)
def test_a_refusal_holds_nothing_that_was_sent(frame: str) -> None:
    said, number = WIRE.decode(frame)
    assert isinstance(said, Refusal)
    assert "canary" not in WIRE.refuse(said, number)


# Any input


@st.composite
def sloppy(draw: st.DrawFn) -> dict[str, Any]:
    """A command whose fields may be anything."""
    op = draw(st.sampled_from(sorted(COMMANDS)))
    frame: dict[str, Any] = {"id": draw(st.one_of(st.just(7), JSON)), "op": draw(st.one_of(st.just(op), JSON))}
    for name, value in {**whole(op), "more": None}.items():
        if name not in frame:
            frame[name] = draw(st.one_of(st.just(value), JSON))
    return frame


TEXTS: Final = texts(sloppy())


def check_text(text: str) -> None:
    """Nothing is raised, and what is read is what the standard library reads as well."""
    said, number = WIRE.decode(text)
    if isinstance(said, Refusal):
        assert said.code in ("bad_frame", "bad_field", "unknown_op", "too_large")
        told = json.loads(WIRE.refuse(said, number))
        assert (told["re"], told["error"]["code"]) == (number, said.code)
        assert said.code != "bad_frame" or number is None
        return
    read = json.loads(text, parse_constant=no_constant, parse_int=lambda digits: int(digits[:20]))
    assert COMMANDS[read["op"]] is type(said)
    assert read.get("id") == number
    for name in FEWEST[OPS[type(said)]]:
        if name == "messages":
            assert [message.mid for message in getattr(said, name)] == [message["mid"] for message in read[name]]
        elif name == "text":
            assert getattr(said, name) == tamed(read[name])
        else:
            assert getattr(said, name) == read[name]
    assert "\x00" not in repr(read)
    repr(said).encode()


@given(TEXTS)
def test_any_text_is_a_command_or_a_refusal(text: str) -> None:
    """Whatever it is, nothing is raised."""
    check_text(text)


@pytest.mark.stress
@settings(max_examples=20_000)
@given(TEXTS)
def test_any_text_at_length(text: str) -> None:
    """The same, 20,000 times."""
    check_text(text)


@given(unknown=JSON, escaped=st.booleans())
def test_any_unknown_field_that_is_json(unknown: object, escaped: bool) -> None:
    """It is ignored, unless it is too deep or holds NUL."""
    try:
        text = json.dumps({"id": 7, "op": "ping", "more": unknown}, ensure_ascii=escaped, allow_nan=False)
    except ValueError:  # infinite, or not a number
        return
    said, number = WIRE.decode(text)
    if depth(unknown) >= DEPTH_LIMIT:
        assert isinstance(said, Refusal)
    elif "\\u0000" in json.dumps(unknown).replace("\\\\", ""):
        assert isinstance(said, Refusal)
        assert number == 7
    else:
        assert (said, number) == (Ping(), 7)
