"""What every wire promises. A new wire adds its row to `SPEECHES`, and its own tests beside these."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.commands import Command, Line, Send
from parlour.core.events import Event, MemberJoined, MemberLeft, Message, Sender
from parlour.errors import BINARY, ERROR_CODES, Close, Refusal
from parlour.wire import V1, Plain, Wire
from tests.core.names import fine_names


@dataclass(frozen=True)
class Speech:
    """A wire, and how its clients speak: `write` a line under a name (where lines have one), `said` what that means,
    `read` name and text of a frame."""

    wire: Wire
    write: Callable[[str, str], str]
    said: Callable[[str, str], Command | Line]
    read: Callable[[str], tuple[str, str]]


def write_plain(name: str, text: str) -> str:
    return json.dumps({"username": name, "message": text})


def read_plain(payload: str) -> tuple[str, str]:
    name, _, text = payload.partition("> ")
    return name, text


def said_plain(name: str, text: str) -> Line:
    return Line(text, name)


def write_v1(name: str, text: str) -> str:
    return json.dumps({"id": 7, "op": "send", "room": "public", "key": "k1", "text": text})


def read_v1(payload: str) -> tuple[str, str]:
    event = json.loads(payload)
    return event["from"]["name"], event["text"]


def said_v1(name: str, text: str) -> Send:
    return Send("public", "k1", text)


SPEECHES = {
    "plain": Speech(Plain(), write_plain, said_plain, read_plain),
    "plain with notices": Speech(Plain(notices=True), write_plain, said_plain, read_plain),
    "v1": Speech(V1(), write_v1, said_v1, read_v1),
}

ADA = Sender("p-ada", None, plain=True)


@pytest.fixture(params=list(SPEECHES.values()), ids=list(SPEECHES), scope="module")
def speech(request: pytest.FixtureRequest) -> Speech:
    assert isinstance(request.param, Speech)
    return request.param


def message(name: str, text: str) -> Message:
    return Message("public", "e1", 1, "m1", 1_700_000_000_000, Sender("p-ada", name, plain=True), text)


EVENTS = st.one_of(
    st.builds(message, fine_names, st.text()),
    st.builds(MemberJoined, st.just("public"), st.just(ADA), st.integers(min_value=1, max_value=10_000)),
    st.builds(MemberLeft, st.just("public"), st.just(ADA), st.integers(min_value=0, max_value=10_000)),
)


@given(text=st.text())
def test_any_text_is_a_command_or_a_refusal(speech: Speech, text: str) -> None:
    """Nothing that a client sends raises; a refusal has a known code."""
    said, re = speech.wire.decode(text)
    assert not isinstance(said, Refusal) or said.code in ERROR_CODES
    assert re is None or speech.wire.has_sessions


@given(data=st.binary())
def test_any_bytes_are_text_or_a_refusal_or_the_end(speech: Speech, data: bytes) -> None:
    """A binary frame raises nothing either."""
    text = speech.wire.text_of(data)
    if isinstance(text, str):
        assert text.encode() == data
    else:
        assert isinstance(text, Close) or text.code in ERROR_CODES


@given(event=EVENTS)
def test_an_event_is_one_text_and_always_the_same(speech: Speech, event: Event) -> None:
    """Every member gets the same bytes, so there must be such bytes."""
    payload = speech.wire.encode(event)
    assert payload == speech.wire.encode(event)
    if payload is not None:
        payload.encode()


@given(code=st.sampled_from(sorted(ERROR_CODES)))
def test_a_refusal_can_be_told(speech: Speech, code: str) -> None:
    """Its code and its words reach the client."""
    payload = speech.wire.refuse(Refusal(code, "the words", field="message"), None)
    assert code in payload
    assert "the words" in payload


@given(
    name=fine_names,
    text=st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))).filter(lambda text: bool(text.strip())),
)
def test_what_is_said_arrives(speech: Speech, name: str, text: str) -> None:
    """From one client's frame to another's, as text or as a binary frame, nothing is changed."""
    frame = speech.write(name, text)
    said, _ = speech.wire.decode(frame)
    assert said == speech.said(name, text)
    assert speech.wire.text_of(frame.encode()) in (frame, BINARY)
    payload = speech.wire.encode(message(name, text))
    assert payload is not None
    assert speech.read(payload) == (name, text)
