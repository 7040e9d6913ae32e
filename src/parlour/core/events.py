"""What goes in and out of the core, as values.

- Commands: what a client said, decoded by a wire (`Send`).
- Events: what happened in a room, to be told to its members (`Message`, `MemberJoined`, `MemberLeft`).
- Effects: what the hub must carry out for a connection (`Enter`, `Find`, `Publish`, `Refuse`, `Ping`, ...).
"""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar, dataclass_transform

from parlour.errors import Close, Refusal

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value(cls: type[_T]) -> type[_T]:
    """A slotted dataclass that the type checker holds frozen.

    A dataclass frozen at run time takes five times as long to make (0.67 against 0.14 microseconds for seven fields),
    and several of these are made for each message.
    """
    return dataclass(slots=True)(cls)


class Person(NamedTuple):
    """A user of the host app. `id` is never shown in a booth; `name` is what others read, in place of `username`."""

    id: str
    name: str


class Guest(NamedTuple):
    """Somebody whom the host app lets in without saying who it is: `Guest()`."""


@value
class Sender:
    """Who said something: the person's id, the name they went by, and whether that name is unproved (`plain`)."""

    person: str
    name: str
    plain: bool


@value
class Member:
    """A connection in a room. `name` is None until a plain client has said its first line."""

    connection: str
    person: str
    name: str | None
    plain: bool


# Commands


@value
class Send:
    """Say `text`. On the plain wire each line brings its own `name`."""

    text: str
    name: str | None = None


Command: TypeAlias = Send


# Events


@value
class Message:
    """One thing said in a room. `off` counts the room's events from 1 within its `epoch`; `ts` is UTC milliseconds."""

    room: str
    epoch: str
    off: int
    mid: str
    ts: int
    sender: Sender
    text: str


@value
class MemberJoined:
    """Somebody took a seat; now there are `count`. Told to those who were there before."""

    room: str
    member: Member
    count: int


@value
class MemberLeft:
    """Somebody left; `count` remain, and are told."""

    room: str
    member: Member
    count: int


Event: TypeAlias = Message | MemberJoined | MemberLeft


# Answers of an engine


@value
class Seat:
    """A place in `room`, from the event after `off` on. `count` is the number of members, oneself included."""

    room: str
    epoch: str
    off: int
    count: int


@value
class Published:
    """Where a message got its place."""

    room: str
    epoch: str
    off: int
    mid: str
    ts: int


# Effects


@value
class Enter:
    """Take a seat in the room of this name."""

    room: str


@value
class Find:
    """Take a seat in a booth, by the pairing rules."""


@value
class Publish:
    """Say `text` to everyone in `room`."""

    room: str
    sender: Sender
    text: str


@value
class Leave:
    """Give up the seat in `room`."""

    room: str


@value
class Refuse:
    """Tell the client, and nobody else, that a command was not carried out."""

    refusal: Refusal


@value
class Ping:
    """Ask the peer for a sign of life."""


@value
class PauseReading:
    """Take no more from the peer until `ResumeReading`."""


@value
class ResumeReading:
    """Take from the peer again. Always the last of the effects it comes with."""


@value
class End:
    """End the connection: close it with a code, or, where the peer no longer reads, `abort` it."""

    close: Close
    abort: bool = False


Effect: TypeAlias = Enter | Find | Publish | Leave | Refuse | Ping | PauseReading | ResumeReading | End
