"""The wire v1: what each command means, and how each event, letter, answer and refusal is written."""

import json
import re
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core import events as core
from parlour.core.commands import (
    Command,
    Edit,
    Find,
    Hello,
    History,
    ModSlow,
    Ping,
    Program,
    React,
    Report,
    Search,
    Send,
    Typing,
    Wish,
)
from parlour.core.events import Position, Reported, Sender
from parlour.errors import BINARY, REPLACED, RESTART, Refusal
from parlour.wire import V1, Wire
from parlour.wire.forms import COMMANDS, UNNUMBERED
from tests.wire.commands import ALL, FEWEST, MORE, NEVER_EMPTY, OPS, Field, any_commands, whole
from tests.wire.schemas import check

WIRE: Final = V1()

ADA: Final = Sender("p-ada", "ada")
BO: Final = Sender("p-bo", "bo", "user")
CY: Final = Sender("p-cy", None, plain=True)

MOD: Final = Sender("p-mo", "mo", "moderator")
ADMIN: Final = Sender("p-al", "al", "admin")

MOD_SHOWN: Final = '{"id":"p-mo","name":"mo","role":"moderator"}'
ADMIN_SHOWN: Final = '{"id":"p-al","name":"al","role":"admin"}'
ADA_SHOWN: Final = '{"id":"p-ada","name":"ada","role":"guest"}'
BO_SHOWN: Final = '{"id":"p-bo","name":"bo","role":"user"}'
CY_SHOWN: Final = '{"id":"p-cy","name":null,"role":"guest","plain":true}'


def decode(frame: dict[str, Any] | str) -> tuple[Any, int | None]:
    return WIRE.decode(frame if isinstance(frame, str) else json.dumps(frame))


def refused(frame: dict[str, Any] | str) -> tuple[str, str | None, int | None]:
    """Code, field and `re` of the refusal that a frame gets."""
    said, number = decode(frame)
    assert isinstance(said, Refusal), said
    assert said.field is None or f'"{said.field}"' in said.message
    return said.code, said.field, number


# Commands


@pytest.mark.parametrize("op", COMMANDS)
def test_the_fewest_fields_are_enough(op: str) -> None:
    """Each command, without what may be left out, and with its number."""
    frame = {"id": 7, "op": op, **FEWEST[op]}
    check(frame, f"command.{op}")
    assert decode(frame) == (fewest(op), 7)


def fewest(op: str) -> Command:
    """The command with its fewest fields."""
    if op == "report":
        return Report("b1", "spam", (Reported("m1", 0, 0, "", None, ""),))
    return COMMANDS[op](**FEWEST[op])


@pytest.mark.parametrize("op", COMMANDS)
def test_all_fields_are_read(op: str) -> None:
    """No field of a dataclass is forgotten."""
    check(whole(op), f"command.{op}")
    said, number = decode(whole(op))
    assert (type(said), number) == (COMMANDS[op], 7)
    for name, value in {**FEWEST[op], **MORE.get(op, {})}.items():
        if not isinstance(value, list | dict):
            assert getattr(said, name) == value


def test_objects_within_a_command() -> None:
    """They are the core's values, too."""
    said, _ = decode(whole("hello"))
    assert said == Hello(
        token="t",
        session="s",
        resume=(Position("public", "e1", 7),),
        name="ada",
        langs=("en", "de"),
        terms="2026",
        age=18,
        match=Wish(("go",), ("en",), "never", "k1"),
        client=Program("page", "1.0"),
    )
    said, _ = decode(whole("report"))
    assert said == Report("b1", "spam", (Reported("m1", 7, 5, "p1", "hi", "s1"),), "s0", "twice", True)


def test_a_message_is_reported_as_it_came() -> None:
    """With the sender as an object, and whatever else it had; a gap has a stamp, and no text."""
    came = json.loads(WIRE.encode(core.Message("b1", "e1", 7, "m1", 5, ADA, "", None, "k1", "s1")) or "")
    frame = {**whole("report"), "messages": [came, {"mid": "m2", "stamp": "s2"}, {"mid": "m3", "text": None}]}
    check(frame, "command.report")
    said, _ = decode(frame)
    assert said.messages == (
        Reported("m1", 7, 5, "p-ada", "", "s1"),
        Reported("m2", 0, 0, "", None, "s2"),
        Reported("m3", 0, 0, "", None, ""),
    )


@pytest.mark.parametrize(
    ("sender", "code", "field"),
    [
        ({}, "bad_field", "messages.from.id"),
        ({"name": "ada"}, "bad_field", "messages.from.id"),
        ({"id": 7}, "bad_field", "messages.from.id"),
        ({"id": None}, "bad_field", "messages.from.id"),
        ({"id": "x" * 201}, "too_large", "messages.from.id"),
        ("x" * 201, "too_large", "messages.from"),
        (7, "bad_field", "messages.from"),
    ],
)
def test_whose_message_is_no_one(sender: object, code: str, field: str) -> None:
    frame = {**whole("report"), "messages": [{"mid": "m1", "from": sender}]}
    assert refused(frame) == (code, field, 7)
    with pytest.raises(AssertionError):
        check(frame, "command.report")


@given(said=any_commands, number=st.integers(-(2**53), 2**53), escaped=st.booleans())
def test_every_command_comes_back(said: Command, number: int, escaped: bool) -> None:
    """Written as JSON, in either spelling of what is not ASCII, it is the same value; and the schema knows it."""
    frame = {"id": number, "op": OPS[type(said)], **fields_as_sent(said)}
    assert decode(json.dumps(frame, ensure_ascii=escaped)) == (said, number)
    check(json.loads(json.dumps(frame)), f"command.{OPS[type(said)]}")


def fields_as_sent(value: Any) -> dict[str, Any]:
    return {name: as_sent(getattr(value, name)) for name in value.__dataclass_fields__}


def as_sent(value: Any) -> Any:
    if isinstance(value, Reported):
        fields = value._asdict()
        return {"from": {"id": fields.pop("sender")}, **fields}
    if isinstance(value, tuple):
        return [as_sent(item) for item in value]
    return fields_as_sent(value) if hasattr(value, "__dataclass_fields__") else value


OPTIONAL: Final = [field for field in ALL if field.optional]


@pytest.mark.parametrize("field", OPTIONAL, ids=lambda field: f"{field.op} {field.path}")
def test_null_counts_as_left_out(field: Field) -> None:
    """Also where what a field that is left out means is not null."""
    frame = field.within(None)
    check(frame, f"command.{field.op}")
    name, _, nested = field.path.partition(".")
    without = json.loads(json.dumps(frame))
    inside = without[name] if nested else without
    del (inside[0] if isinstance(inside, list) else inside)[nested or name]
    assert decode(frame) == decode(without) == (decode(frame)[0], 7)
    assert not isinstance(decode(frame)[0], Refusal)


def test_what_a_field_that_is_left_out_means() -> None:
    assert decode({"id": 1, "op": "react", "room": "r", "mid": "m", "emoji": "e", "on": None})[0] == React(
        "r", "m", "e"
    )
    assert decode({"id": 1, "op": "history", "room": "r", "limit": None})[0] == History("r", limit=50)
    assert decode({"id": 1, "op": "match.find", "langs": None, "relax": None})[0] == Find((), (), "auto", None)
    assert decode({"id": 1, "op": "hello", "resume": None, "client": {"name": None}})[0] == Hello(client=Program())


def test_unknown_fields_are_ignored() -> None:
    """So that a newer client may say more."""
    frame = {"id": 1, "op": "ping", "more": {"a": [1, 2.5, None, True]}, "match": {"x": 1}}
    assert decode(frame) == (Ping(), 1)
    assert decode({"id": 1, "op": "hello", "match": {"age": 7}})[0] == Hello(match=Wish())


@pytest.mark.parametrize("op", COMMANDS)
def test_who_needs_a_number(op: str) -> None:
    """All but those that nobody waits for the answer to."""
    for frame in ({"op": op, **FEWEST[op]}, {"id": None, "op": op, **FEWEST[op]}):
        if op in UNNUMBERED:
            assert decode(frame) == (fewest(op), None)
        else:
            assert refused(frame) == ("bad_field", "id", None)


def test_which_commands_need_none() -> None:
    assert {"typing", "read", "pong"} == UNNUMBERED


@pytest.mark.parametrize("number", [0, -1, 2**53, -(2**53)])
def test_numbers_that_are_fine(number: int) -> None:
    assert decode({"id": number, "op": "ping"}) == (Ping(), number)


@pytest.mark.parametrize(
    "number", ["7.0", "7.5", "1e2", "true", '"7"', "[]", "{}", f"{2**53 + 1}", f"-{2**53 + 1}", "9" * 5_000, "1e999"]
)
@pytest.mark.parametrize("op", ["ping", "typing", "nothing"])
def test_numbers_that_are_not(op: str, number: str) -> None:
    """What is no integer, or too large for some readers of JSON, can't be answered under that number."""
    assert refused(f'{{"id": {number}, "op": "{op}", "room": "r"}}') == ("bad_field", "id", None)


def test_an_unknown_command_keeps_its_number() -> None:
    assert refused({"id": 7, "op": "dance"}) == ("unknown_op", "op", 7)
    assert refused({"op": "dance"}) == ("unknown_op", "op", None)
    assert refused({"id": 7, "op": "Send"}) == ("unknown_op", "op", 7)
    assert refused({"id": 7, "op": ""}) == ("unknown_op", "op", 7)


@pytest.mark.parametrize("frame", ['{"id": 7}', '{"id": 7, "op": null}', '{"id": 7, "op": 3}', '{"op": [], "id": 7}'])
def test_a_command_without_a_name_keeps_its_number(frame: str) -> None:
    assert refused(frame) == ("bad_field", "op", 7)


def test_a_repeated_key() -> None:
    """The last one wins, be it the name of the command."""
    assert decode('{"id": 1, "op": "send", "op": "ping", "id": 2}') == (Ping(), 2)
    assert decode('{"id": 1, "op": "typing", "room": "a", "on": false, "room": "b", "on": null}') == (Typing("b"), 1)


# Limits


LIMITED: Final = [field for field in ALL if field.most is not None]


def at_limit(field: Field, over: int) -> Any:
    assert field.most is not None
    if field.base is int:
        return field.most + over
    return "é" * (field.most + over) if field.base is str else ["x"] * (field.most + over)


@pytest.mark.parametrize("field", LIMITED, ids=lambda field: f"{field.op} {field.path}")
def test_every_limit(field: Field) -> None:
    """As much as it says is taken, and one more is refused, under the command's number."""
    fine, much = at_limit(field, 0), at_limit(field, 1)
    if field.path in ("resume", "messages"):
        (item,) = whole(field.op)[field.path]
        fine, much = [item] * len(fine), [item] * len(much)
    check(field.within(fine), f"command.{field.op}")
    assert not isinstance(decode(field.within(fine))[0], Refusal)
    code = "bad_field" if field.base is int else "too_large"
    assert refused(field.within(much)) == (code, field.path, 7)
    with pytest.raises(AssertionError):
        check(field.within(much), f"command.{field.op}")


TAGS: Final = [field for field in ALL if field.path.rpartition(".")[2] in ("interests", "langs")]


@pytest.mark.parametrize("field", TAGS, ids=lambda field: f"{field.op} {field.path}")
def test_limits_of_items(field: Field) -> None:
    """A list has one limit, and each of its items another."""
    assert not isinstance(decode(field.within(["x" * 64]))[0], Refusal)
    assert refused(field.within(["x", "x" * 65])) == ("too_large", field.path, 7)


def test_words_of_limits() -> None:
    """They say what to do."""
    words = {
        "text": decode({**whole("send"), "text": "x" * 10_001})[0].message,
        "limit": decode({**whole("history"), "limit": 101})[0].message,
        "interests": decode({**whole("match.find"), "interests": ["x"] * 11})[0].message,
        "room": decode({**whole("join"), "room": ""})[0].message,
        "key": decode({"id": 1, "op": "send", "room": "r", "text": "t"})[0].message,
        "relax": decode({**whole("match.find"), "relax": "x"})[0].message,
        "langs": decode({**whole("match.find"), "langs": [1]})[0].message,
        "resume": decode({"id": 1, "op": "hello", "resume": [{"room": "r", "epoch": "e"}]})[0].message,
    }
    assert words == {
        "text": '"text" is longer than 10000 characters; shorten it',
        "limit": '"limit" must be an integer from 1 to 100',
        "interests": '"interests" has more than 10 items; leave some out',
        "room": '"room" must not be empty',
        "key": '"key" is missing; it must be a string',
        "relax": '"relax" must be "auto" or "never"',
        "langs": '"langs" must be a list, each item a string',
        "resume": '"resume.off" is missing; it must be an integer from 0 to 9007199254740992',
    }


def test_a_text_is_counted_in_characters() -> None:
    """Not in bytes, nor in the units of UTF-16."""
    assert decode({**whole("send"), "text": "\U0001f98a" * 10_000})[0] == Send(
        "public", "k1", "\U0001f98a" * 10_000, "m0"
    )


NAMED: Final = [
    field for field in ALL if field.path.rpartition(".")[2] in NEVER_EMPTY and field.path != "messages.text"
]


@pytest.mark.parametrize("field", NAMED, ids=lambda field: f"{field.op} {field.path}")
def test_what_is_never_empty(field: Field) -> None:
    assert refused(field.within("")) == ("bad_field", field.path, 7)
    with pytest.raises(AssertionError):
        check(field.within(""), f"command.{field.op}")


@pytest.mark.parametrize("op", ["send", "edit", "search"])
@pytest.mark.parametrize("text", [" ", "\n\t \u3000", "\u2028" * 200, "\x01", " \x1b\x7f\x85\n"])
def test_a_text_shows_something(op: str, text: str) -> None:
    assert refused({**whole(op), "text": text}) == ("bad_field", "text", 7)
    with pytest.raises(AssertionError):
        check({**whole(op), "text": text}, f"command.{op}")
    assert decode({**whole(op), "text": text[:100] + "."})[1] == 7


def test_control_characters_are_spaces() -> None:
    """But for tabs and line breaks; whatever is reported stays as it was."""
    text, tamed = "\x1b[2Ja\x07\tb\r\n\x0bc\x7f\x85\u2028", " [2Ja \tb\r\n c  \u2028"
    assert decode({**whole("send"), "text": text})[0] == Send("public", "k1", tamed, "m0")
    assert decode({**whole("edit"), "text": text})[0] == Edit("public", "m1", tamed)
    assert decode({**whole("search"), "text": text})[0] == Search(tamed, "public", 100)
    assert decode({**whole("report"), "messages": [{"mid": "m1", "text": text}]})[0].messages[0].text == text


def test_no_text_takes_more_than_four_bytes_a_character() -> None:
    """So a page of history has a size that is known."""
    for code in {*range(1, 0x3000), 0xFFFF, 0x1F98A, 0x10FFFF} - {*range(0xD800, 0xE000)}:
        said, _ = decode({**whole("send"), "text": "." + chr(code)})
        told = WIRE.encode(core.Message("public", "e1", 1, "m1", 0, ADA, said.text)) or ""
        assert len(told.encode()) <= len((WIRE.encode(MESSAGE_OF_NOTHING) or "").encode()) + 1 + 4


@pytest.mark.parametrize("field", [f for f in ALL if f.base is int and f.most], ids=lambda f: f"{f.op} {f.path}")
def test_the_least_of_a_number(field: Field) -> None:
    """Only what may be none at all may be 0."""
    assert not isinstance(decode(field.within(field.least))[0], Refusal)
    assert refused(field.within(field.least - 1)) == ("bad_field", field.path, 7)
    with pytest.raises(AssertionError):
        check(field.within(field.least - 1), f"command.{field.op}")


def test_slow_mode_can_be_turned_off() -> None:
    assert decode({**whole("mod.slow"), "seconds": 0})[0] == ModSlow("public", 0)


OFFSETS: Final = [field for field in ALL if field.base is int and field.most is None]


@pytest.mark.parametrize("field", OFFSETS, ids=lambda field: f"{field.op} {field.path}")
def test_offsets(field: Field) -> None:
    """From 0 on, as far as every reader of JSON can follow."""
    for off in (0, 2**53):
        assert not isinstance(decode(field.within(off))[0], Refusal)
    for off in (-1, 2**53 + 1, 10**30):
        assert refused(field.within(off)) == ("bad_field", field.path, 7)


def test_one_page_has_one_direction() -> None:
    both = {"id": 7, "op": "history", "room": "public", "before": 9, "after": 1}
    assert refused(both) == ("bad_field", "after", 7)
    with pytest.raises(AssertionError):
        check(both, "command.history")
    assert decode({**both, "before": None})[0] == History("public", after=1)
    assert refused({"id": 7, "op": "history", "room": "public", "limit": 0}) == ("bad_field", "limit", 7)


# Events

MESSAGE_OF_NOTHING: Final = core.Message("public", "e1", 1, "m1", 0, ADA, "")
MESSAGE: Final = core.Message("public", "e1", 15, "m1", 1_764_000_000_000, ADA, "hello")
HEAD: Final = '"room":"public","off":15,"mid":"m1","ts":1764000000000,"from":' + ADA_SHOWN

EVENTS: Final[list[tuple[core.Event, str | None]]] = [
    (MESSAGE, f'{{"ev":"message",{HEAD},"text":"hello"}}'),
    (
        core.Message("b1", "e1", 1, "m1", 0, CY, 'é\n"\u2028\U0001f98a', "m0", "k1", "stamp", True),
        f'{{"ev":"message","room":"b1","off":1,"mid":"m1","ts":0,"from":{CY_SHOWN},"text":"é\\n\\"\u2028\U0001f98a",'
        '"reply_to":"m0","key":"k1","stamp":"stamp","deleted":true}',
    ),
    (
        core.Edited("public", "e1", 15, "m1", 1_764_000_000_000, ADA, "hi"),
        f'{{"ev":"message.edited",{HEAD},"text":"hi"}}',
    ),
    (
        core.Edited("public", "e1", 15, "m1", 1_764_000_000_000, ADA, "hi", "stamp"),
        f'{{"ev":"message.edited",{HEAD},"text":"hi","stamp":"stamp"}}',
    ),
    (core.Deleted("public", "e1", 15, "m1", 1_764_000_000_000, ADA), f'{{"ev":"message.deleted",{HEAD}}}'),
    (
        core.Reacted("public", "e1", 15, "m1", 1_764_000_000_000, ADA, "\U0001f98a", False),
        f'{{"ev":"message.reaction",{HEAD},"emoji":"\U0001f98a","on":false}}',
    ),
    (
        core.MemberJoined("public", BO, 2),
        f'{{"ev":"member.joined","room":"public","member":{BO_SHOWN},"count":2}}',
    ),
    (core.MemberJoined("b1", BO, 2, in_booth=True), None),
    (
        core.MemberLeft("public", CY, 1, "lost"),
        f'{{"ev":"member.left","room":"public","member":{CY_SHOWN},"count":1,"reason":"lost"}}',
    ),
    (
        core.MemberLeft("public", ADA, 0),
        f'{{"ev":"member.left","room":"public","member":{ADA_SHOWN},"count":0,"reason":"left"}}',
    ),
    (core.MemberLeft("b1", BO, 1, in_booth=True), None),
    (core.MemberRenamed("public", BO), f'{{"ev":"member.renamed","room":"public","member":{BO_SHOWN}}}'),
    (core.Counted("public", 51), '{"ev":"presence","room":"public","count":51}'),
    (core.TypingShown("public", ADA, True), f'{{"ev":"typing","room":"public","from":{ADA_SHOWN},"on":true}}'),
    (core.ReadShown("b1", ADA, 3), f'{{"ev":"read","room":"b1","from":{ADA_SHOWN},"off":3}}'),
    (
        core.RoomChanged("tea", 'Tea "room"'),
        '{"ev":"room.changed","room":"tea","title":"Tea \\"room\\"","locked":false,"slow_ms":0}',
    ),
    (
        core.RoomChanged("tea", "", True, 5_000, True),
        '{"ev":"room.changed","room":"tea","title":"","locked":true,"slow_ms":5000,"archived":true}',
    ),
    (core.Gap("public", "e2", 0), '{"ev":"gap","room":"public","epoch":"e2","off":0}'),
]

LETTERS: Final[list[tuple[core.Letter, str]]] = [
    (core.MatchWaiting("t1", 5), '{"ev":"match.waiting","ticket":"t1","since":5,"relaxed":[]}'),
    (
        core.MatchWaiting("t1", 5, ("interests", "langs")),
        '{"ev":"match.waiting","ticket":"t1","since":5,"relaxed":["interests","langs"]}',
    ),
    (
        core.MatchFound("b1", "e1", 0, BO),
        f'{{"ev":"match.found","room":"b1","epoch":"e1","off":0,"peer":{BO_SHOWN},"common":[]}}',
    ),
    (
        core.MatchFound("b1", "e1", 4, CY, ("go",)),
        f'{{"ev":"match.found","room":"b1","epoch":"e1","off":4,"peer":{CY_SHOWN},"common":["go"]}}',
    ),
    (core.MatchAway("b1", 60_000), '{"ev":"match.away","room":"b1","grace_ms":60000}'),
    (core.MatchBack("b1"), '{"ev":"match.back","room":"b1"}'),
    (core.MatchEnded("b1", "peer"), '{"ev":"match.ended","by":"peer","room":"b1"}'),
    (core.MatchEnded(None, "you"), '{"ev":"match.ended","by":"you"}'),
    (
        core.Notice("info", "welcome", "Hello ä"),
        '{"ev":"notice","level":"info","code":"welcome","text":"Hello ä"}',
    ),
    (core.Moderated("kicked", ""), '{"ev":"moderated","action":"kicked","reason":""}'),
    (
        core.Moderated("muted", "spam", 1_764_000_000_000, "public"),
        '{"ev":"moderated","action":"muted","reason":"spam","until":1764000000000,"room":"public"}',
    ),
    (core.Reconnect(1_000, 5_000), '{"ev":"reconnect","after_ms":1000,"jitter_ms":5000}'),
    (core.Asked(), '{"ev":"ping"}'),
    (
        core.Bye(RESTART, 2_000),
        '{"ev":"bye","code":4000,"reason":"the server restarts","reconnect":true,"after_ms":2000}',
    ),
    (
        core.Bye(REPLACED),
        '{"ev":"bye","code":4504,"reason":"replaced by a newer connection","reconnect":false}',
    ),
]


@pytest.mark.parametrize(("event", "expected"), EVENTS)
def test_how_an_event_is_written(event: core.Event, expected: str | None) -> None:
    """Byte for byte, for every member gets the same."""
    payload = WIRE.encode(event)
    assert payload == expected
    if payload is not None:
        check(json.loads(payload), f"event.{json.loads(payload)['ev']}")


@pytest.mark.parametrize(("letter", "expected"), LETTERS)
def test_how_a_letter_is_written(letter: core.Letter, expected: str) -> None:
    assert WIRE.tell(letter) == expected
    check(json.loads(expected), f"event.{json.loads(expected)['ev']}")


# Answers

ANSWERS: Final[list[tuple[str, core.Answer, str]]] = [
    (
        "hello",
        core.Welcome("token", ADA, core.Limits(10.0, 30), 20_000, []),
        f'"session":"token","person":{ADA_SHOWN},"limits":{{"text":10000,"frame":131072,"page":100,"burst":30,"rate":10.0}},'
        '"ping_ms":20000,"rooms":[]',
    ),
    (
        "hello",
        core.Welcome(
            "token",
            BO,
            core.Limits(None, 1),
            20_000,
            [
                core.Seat("public", "e1", 7, 2, (ADA, BO), True, (MESSAGE,)),
                core.Seat("old", "e2", 9, 2),
                core.Seat("b1", "e3", 4, 2, recovered=True, peer=ADA),
                core.Gone("b2"),
            ],
        ),
        f'"session":"token","person":{BO_SHOWN},"limits":{{"text":10000,"frame":131072,"page":100,"burst":1}},'
        '"ping_ms":20000,"rooms":['
        '{"room":"public","epoch":"e1","off":7,"upto":15,"recovered":true,"count":2,'
        f'"members":[{ADA_SHOWN},{BO_SHOWN}]}},'
        '{"room":"old","epoch":"e2","off":9,"upto":9,"recovered":false,"count":2},'
        f'{{"room":"b1","epoch":"e3","off":4,"upto":4,"recovered":true,"count":2,"peer":{ADA_SHOWN}}},'
        '{"room":"b2","gone":true}]',
    ),
    (
        "hello",
        core.Welcome("t", MOD, core.Limits(None, 1), 1, [], core.Required("2026", "https://a.example/terms", True)),
        f'"session":"t","person":{MOD_SHOWN},"limits":{{"text":10000,"frame":131072,"page":100,"burst":1}},'
        '"ping_ms":1,"rooms":[],"required":{"version":"2026","asks_age":true,"url":"https://a.example/terms"}',
    ),
    (
        "hello",
        core.Welcome("t", ADMIN, core.Limits(None, 1), 1, [], core.Required("2026", None, False)),
        f'"session":"t","person":{ADMIN_SHOWN},"limits":{{"text":10000,"frame":131072,"page":100,"burst":1}},'
        '"ping_ms":1,"rooms":[],"required":{"version":"2026","asks_age":false}',
    ),
    (
        "join",
        core.Seat("public", "e1", 9, 2, (ADA, CY)),
        f'"room":"public","epoch":"e1","off":9,"count":2,"members":[{ADA_SHOWN},{CY_SHOWN}]',
    ),
    ("join", core.Seat("public", "e1", 9, 200), '"room":"public","epoch":"e1","off":9,"count":200'),
    ("leave", core.Done(), ""),
    (
        "send",
        core.Published("public", "e1", 15, "m1", 5),
        '"mid":"m1","epoch":"e1","off":15,"ts":5,"kept":"relayed"',
    ),
    (
        "send",
        core.Published("public", "e1", 15, "m1", 5, True, "stored"),
        '"mid":"m1","epoch":"e1","off":15,"ts":5,"kept":"stored","dup":true',
    ),
    ("edit", core.Changed("e1", 16), '"epoch":"e1","off":16'),
    ("delete", core.Changed("e1", 16), '"epoch":"e1","off":16'),
    ("react", core.Changed("e1", 16), '"epoch":"e1","off":16'),
    (
        "history",
        core.Page(
            "public",
            "e1",
            [
                core.Remembered(MESSAGE, None, {}),
                core.Remembered(
                    core.Message("public", "e1", 16, "m2", 6, BO, "", "m1", deleted=True), 7, {"\U0001f98a": ["p-ada"]}
                ),
            ],
            True,
        ),
        f'"room":"public","epoch":"e1","messages":[{{{HEAD},"text":"hello"}},'
        f'{{"room":"public","off":16,"mid":"m2","ts":6,"from":{BO_SHOWN},"text":"","reply_to":"m1","deleted":true,'
        '"edited":7,"reactions":{"\U0001f98a":["p-ada"]}}],"more":true',
    ),
    ("presence", core.Here("public", 1, (ADA,)), f'"room":"public","count":1,"members":[{ADA_SHOWN}]'),
    ("presence", core.Here("public", 200, ()), '"room":"public","count":200'),
    ("name", core.Named("ada"), '"name":"ada"'),
    ("rooms", core.RoomList([core.RoomShown("public", 2)]), '"rooms":[{"room":"public","count":2}]'),
    (
        "rooms",
        core.RoomList([core.RoomShown("tea", 0, "Tea", True, 5_000)]),
        '"rooms":[{"room":"tea","count":0,"title":"Tea","locked":true,"slow_ms":5000}]',
    ),
    ("search", core.Matches([], False), '"messages":[],"more":false'),
    (
        "search",
        core.Matches([core.Remembered(MESSAGE, 7, {})], True),
        f'"messages":[{{{HEAD},"text":"hello","edited":7}}],"more":true',
    ),
    ("terms", core.Done(), ""),
    ("report", core.Filed("r1"), '"ref":"r1"'),
    ("mod.delete", core.Changed("e1", 16), '"epoch":"e1","off":16'),
    ("mod.kick", core.Acted(), ""),
    ("mod.mute", core.Acted("u1"), '"id":"u1"'),
    ("mod.unmute", core.Acted(), ""),
    ("mod.ban", core.Acted("n1"), '"id":"n1"'),
    ("mod.unban", core.Acted(), ""),
    ("mod.lock", core.Acted(), ""),
    ("mod.slow", core.Acted(), ""),
    ("match.find", core.Ticket("t1"), '"ticket":"t1"'),
    ("match.cancel", core.Done(), ""),
    ("match.next", core.Ticket("t1"), '"ticket":"t1"'),
    ("block", core.Done(), ""),
    ("unblock", core.Done(), ""),
    ("ping", core.Clock(5), '"ts":5'),
    ("typing", core.Done(), ""),
    ("read", core.Done(), ""),
    ("pong", core.Done(), ""),
]


def test_every_command_has_an_answer_here() -> None:
    assert {op for op, _, _ in ANSWERS} == set(COMMANDS)


@pytest.mark.parametrize(("op", "answer", "expected"), ANSWERS)
def test_how_an_answer_is_written(op: str, answer: core.Answer, expected: str) -> None:
    payload = WIRE.reply(answer, 7)
    assert payload == '{"re":7,"ok":true' + (f",{expected}" if expected else "") + "}"
    check(json.loads(payload), f"reply.{op}")


def test_answers_between_the_core_and_an_engine_are_not_told() -> None:
    wire: Wire = WIRE
    person = core.Person("ada@example.com", "Ada", "admin")
    for answer in (core.Claimed("b1"), core.Gone("b1"), core.Proved(person), core.Whom("p-ada")):
        assert wire.reply(answer, 7) is None


REFUSALS: Final = [
    (Refusal("not_found", "no such room"), 7, '"code":"not_found","message":"no such room","retry":false'),
    (
        Refusal("rate_limited", "too fast", retry=True, retry_after_ms=250),
        None,
        '"code":"rate_limited","message":"too fast","retry":true,"retry_after_ms":250',
    ),
    (Refusal("bad_field", "wrong", "text"), 0, '"code":"bad_field","message":"wrong","retry":false,"field":"text"'),
]


@pytest.mark.parametrize(("refusal", "number", "expected"), REFUSALS)
def test_how_a_refusal_is_written(refusal: Refusal, number: int | None, expected: str) -> None:
    payload = WIRE.refuse(refusal, number)
    assert payload == f'{{"re":{json.dumps(number)},"ok":false,"error":{{{expected}}}}}'
    check(json.loads(payload), "refused")


def test_a_binary_frame_is_the_end() -> None:
    assert WIRE.has_sessions
    assert WIRE.text_of(b"{}") == WIRE.text_of(b"\xff") == BINARY
    assert (BINARY.code, BINARY.reconnect) == (4500, False)


def test_what_is_said_is_not_escaped() -> None:
    """So a message in Greek takes as many bytes as its UTF-8."""
    payload = WIRE.encode(core.Message("public", "e1", 1, "m1", 0, ADA, "καλημέρα"))
    assert payload is not None
    assert re.search(r"\\u", payload) is None
    assert "καλημέρα" in payload
