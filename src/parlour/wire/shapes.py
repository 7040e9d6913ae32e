"""How what the server says looks on v1: one struct for each JSON object of docs/protocol.md.

Optional fields are left out where they have their default; in `Person`, `name` is not optional but may be null.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec


class Shape(msgspec.Struct, omit_defaults=True, rename={"sender": "from"}, gc=False):
    """Any JSON object of this wire."""


class Person(Shape):
    """Somebody as a room sees them. `name` is null until a plain client has said its first line."""

    id: str
    name: str | None
    role: Literal["guest", "user", "moderator", "admin"]
    plain: bool = False


# Events


class Event(Shape, tag_field="ev"):
    """What happened."""


class Message(Event, tag="message"):
    """Something was said."""

    room: str
    off: int
    mid: str
    ts: int
    sender: Person
    text: str
    reply_to: str | None = None
    key: str | None = None
    stamp: str | None = None
    deleted: bool = False


class MessageEdited(Event, tag="message.edited"):
    """A message says something else now."""

    room: str
    off: int
    mid: str
    ts: int
    sender: Person
    text: str
    stamp: str | None = None


class MessageDeleted(Event, tag="message.deleted"):
    """A message was taken back."""

    room: str
    off: int
    mid: str
    ts: int
    sender: Person


class MessageReaction(Event, tag="message.reaction"):
    """An emoji was put to a message, or taken away."""

    room: str
    off: int
    mid: str
    ts: int
    sender: Person
    emoji: str
    on: bool


class MemberJoined(Event, tag="member.joined"):
    """Somebody came; now there are `count`."""

    room: str
    member: Person
    count: int


class MemberLeft(Event, tag="member.left"):
    """Somebody left, or lost the connection; `count` remain."""

    room: str
    member: Person
    count: int
    reason: Literal["left", "lost"]


class MemberRenamed(Event, tag="member.renamed"):
    """Somebody goes by another name now."""

    room: str
    member: Person


class Presence(Event, tag="presence"):
    """How many are in a large room."""

    room: str
    count: int


class Typing(Event, tag="typing"):
    """Somebody is writing, or stopped."""

    room: str
    sender: Person
    on: bool


class Read(Event, tag="read"):
    """Somebody has read a booth up to `off`."""

    room: str
    sender: Person
    off: int


class RoomChanged(Event, tag="room.changed"):
    """How a public room is now. One that is `archived` takes nobody any more, and your seat there is gone."""

    room: str
    title: str
    locked: bool
    slow_ms: int
    archived: bool = False


class Gap(Event, tag="gap"):
    """Events were lost; the room goes on after `off` in `epoch`."""

    room: str
    epoch: str
    off: int


class MatchWaiting(Event, tag="match.waiting"):
    """The search goes on; `relaxed` lists what is no longer asked for."""

    ticket: str
    since: int
    relaxed: Sequence[str]


class MatchFound(Event, tag="match.found"):
    """You sit in a booth with `peer`; `common` are the interests that you share."""

    room: str
    epoch: str
    off: int
    peer: Person
    common: Sequence[str]


class MatchAway(Event, tag="match.away"):
    """The other one lost the connection; the seat is kept so long."""

    room: str
    grace_ms: int


class MatchBack(Event, tag="match.back"):
    """The other one is there again."""

    room: str


class MatchEnded(Event, tag="match.ended"):
    """The booth `room` is over; without one, the search."""

    by: Literal["peer", "lost", "you"]
    room: str | None = None


class Notice(Event, tag="notice"):
    """Show it to the person."""

    level: Literal["info", "warning"]
    code: str
    text: str


class Moderated(Event, tag="moderated"):
    """A moderator did this to you: in one `room`, or everywhere; `until` a time, or for good."""

    action: Literal["muted", "unmuted", "kicked", "banned"]
    reason: str
    until: int | None = None
    room: str | None = None


class Reconnect(Event, tag="reconnect"):
    """Connect anew after `after_ms`, and up to `jitter_ms` more, chosen at random."""

    after_ms: int
    jitter_ms: int


class Ping(Event, tag="ping"):
    """Answer with `pong`."""


class Bye(Event, tag="bye"):
    """The connection is about to be closed with `code`."""

    code: int
    reason: str
    reconnect: bool
    after_ms: int | None = None


# Replies

Yes: TypeAlias = Annotated[bool, msgspec.Meta(extra_json_schema={"const": True})]
No: TypeAlias = Annotated[bool, msgspec.Meta(extra_json_schema={"const": False})]


class Reply(Shape):
    """It is done. `re` is the `id` of the command, and null where that had none."""

    re: int | None
    ok: Yes


class Limits(Shape):
    """Characters of a message, bytes of a frame, messages of a page; commands a second and at once."""

    text: int
    frame: int
    page: int
    burst: int
    rate: float | None = None


class Seat(Shape):
    """Where a client sits. If `recovered`, every event after `off`, through `upto`, follows."""

    room: str
    epoch: str
    off: int
    upto: int
    recovered: bool
    count: int
    members: Sequence[Person] | None = None
    peer: Person | None = None


class Gone(Shape):
    """The booth is over, or there is no such room any more."""

    room: str
    gone: Yes


Place: TypeAlias = Annotated[
    Any, msgspec.Meta(extra_json_schema={"anyOf": [{"$ref": "#/$defs/Seat"}, {"$ref": "#/$defs/Gone"}]})
]
"""`Seat | Gone`, which msgspec has no word for without a tag."""


class Required(Shape):
    """Before you meet strangers, accept the terms of this `version`, to be read at `url`; and say how old you are if it
    `asks_age`."""

    version: str
    asks_age: bool
    url: str | None = None


class Welcome(Reply):
    """Who you are, and where you sit."""

    session: str
    person: Person
    limits: Limits
    ping_ms: int
    rooms: Sequence[Place]
    required: Required | None = None


class Joined(Reply):
    """You hear the events after `off`."""

    room: str
    epoch: str
    off: int
    count: int
    members: Sequence[Person] | None = None


class Sent(Reply):
    """Where the message stands."""

    mid: str
    epoch: str
    off: int
    ts: int
    kept: Literal["relayed", "stored"]
    dup: bool = False


class Changed(Reply):
    """Where the change stands."""

    epoch: str
    off: int


class Remembered(Shape):
    """A message as it is now; `reactions` are the people's ids by emoji."""

    room: str
    off: int
    mid: str
    ts: int
    sender: Person
    text: str
    reply_to: str | None = None
    key: str | None = None
    stamp: str | None = None
    deleted: bool = False
    edited: int | None = None
    reactions: Mapping[str, Sequence[str]] | None = None


class Page(Reply):
    """Messages, oldest first."""

    room: str
    epoch: str
    messages: Sequence[Remembered]
    more: bool


class Matches(Reply):
    """Messages that hold the words, the newest first."""

    messages: Sequence[Remembered]
    more: bool


class Here(Reply):
    """Who is there."""

    room: str
    count: int
    members: Sequence[Person] | None = None


class Named(Reply):
    """The name as accepted."""

    name: str


class Room(Shape):
    """A public room, and how many are there."""

    room: str
    count: int
    title: str = ""
    locked: bool = False
    slow_ms: int = 0


class RoomList(Reply):
    """The public rooms."""

    rooms: Sequence[Room]


class Ticket(Reply):
    """The search that began, or goes on."""

    ticket: str


class Clock(Reply):
    """The server's time."""

    ts: int


class Filed(Reply):
    """The number of the report."""

    ref: str


class Acted(Reply):
    """It is done, under this id."""

    id: str | None = None


class Error(Shape):
    """Why a command was not carried out. `field` names what to change; `retry` says whether the same command may
    succeed later."""

    code: str
    message: str
    retry: bool
    retry_after_ms: int | None = None
    field: str | None = None


class Refused(Shape):
    """It was not done. `re` is null where the command could not be read, or had no `id`."""

    re: int | None
    ok: No
    error: Error


EVENTS: Final[tuple[type[Event], ...]] = (
    *(Message, MessageEdited, MessageDeleted, MessageReaction),
    *(MemberJoined, MemberLeft, MemberRenamed, Presence, Typing, Read, RoomChanged, Gap),
    *(MatchWaiting, MatchFound, MatchAway, MatchBack, MatchEnded),
    *(Notice, Moderated, Reconnect, Ping, Bye),
)

REPLIES: Final[dict[str, type[Reply]]] = {
    "hello": Welcome,
    "join": Joined,
    "send": Sent,
    "edit": Changed,
    "delete": Changed,
    "react": Changed,
    "history": Page,
    "presence": Here,
    "name": Named,
    "rooms": RoomList,
    "match.find": Ticket,
    "match.next": Ticket,
    "search": Matches,
    "report": Filed,
    "mod.delete": Changed,
    "mod.mute": Acted,
    "mod.ban": Acted,
    "ping": Clock,
}
"""What comes back, by `op`; a plain `Reply` for the others."""
