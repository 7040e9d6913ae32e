"""What every wire promises. A new wire adds its row to `SPEECHES`, and its own tests beside these."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.core.events import Event, Member, MemberJoined, MemberLeft, Message, Send, Sender
from parlour.errors import ERROR_CODES, Close, Refusal
from parlour.wire import Plain, Wire
from tests.core.names import fine_names


@dataclass(frozen=True)
class Speech:
    """A wire, and how its clients speak: `write` a line under a name, `read` name and text of a frame."""

    wire: Wire
    write: Callable[[str, str], str]
    read: Callable[[str], tuple[str, str]]


def write_plain(name: str, text: str) -> str:
    return json.dumps({"username": name, "message": text})


def read_plain(payload: str) -> tuple[str, str]:
    name, _, text = payload.partition("> ")
    return name, text


SPEECHES = {
    "plain": Speech(Plain(), write_plain, read_plain),
    "plain with notices": Speech(Plain(notices=True), write_plain, read_plain),
}

ADA = Member("c-ada", "p-ada", None, plain=True)


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
    said = speech.wire.decode(text)
    assert isinstance(said, Send) or said.code in ERROR_CODES


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
    payload = speech.wire.refuse(Refusal(code, "the words", field="message"))
    assert code in payload
    assert "the words" in payload


@given(name=fine_names, text=st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"))))
def test_what_is_said_arrives(speech: Speech, name: str, text: str) -> None:
    """From one client's frame to another's, as text or as a binary frame, nothing is changed."""
    frame = speech.write(name, text)
    said = speech.wire.decode(frame)
    assert said == Send(text, name)
    assert speech.wire.text_of(frame.encode()) in (frame, Close(4500))
    payload = speech.wire.encode(message(name, text))
    assert payload is not None
    assert speech.read(payload) == (name, text)
