"""What the core works with, as values.

- People: `Person`, `Guest` (the host app's word), `Sender`, `Member`.
- Events: what happened in a room, told to its members. Those with an `off` have a place in the room's order.
- Letters: what is told to one client alone.
- Answers: what an engine, or the core, replies to a command.
- Effects: what the hub must carry out for a connection.

What a client says stands in `commands`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, TypeVar, dataclass_transform

from parlour.core.moderation import Verdict
from parlour.errors import Close, Refusal

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True)
def value(cls: type[_T]) -> type[_T]:
    """A slotted dataclass that the type checker holds frozen.

    A dataclass frozen at run time takes five times as long to make (0.67 against 0.14 microseconds for seven fields),
    and several of these are made for each message.
    """
    return dataclass(slots=True)(cls)


# People

Role: TypeAlias = Literal["guest", "user", "moderator", "admin"]
"""In their order: each may do what those before it may (`penalties.ACTIONS`)."""


class Person(NamedTuple):
    """A user of the host app. `id` is never shown to others; `name` is what they read, in place of `username`; `role`
    says what the user may do beside chatting."""

    id: str
    name: str
    role: Role = "user"


class Guest(NamedTuple):
    """Somebody whom the host app lets in without saying who it is: `Guest()`."""


@value
class Sender:
    """Somebody as a room sees them: the person's id, or in a booth the id that it goes by there; the name, None until
    a plain client has said its first line; and whether that name is unproved (`plain`)."""

    id: str
    name: str | None
    role: Role = "guest"
    plain: bool = False


@value
class Member:
    """A connection that has, or wants, a seat. `sender.id` is the person's lasting id, in booths too."""

    connection: str
    sender: Sender

    @property
    def person(self) -> str:
        return self.sender.id


@value
class Position:
    """A place in a room's order: the event after `off`, in the numbering called `epoch`."""

    room: str
    epoch: str
    off: int


class Reported(NamedTuple):
    """A message, or an edit of one, as a client that reports it was shown it: `off` its place, `ts` UTC milliseconds,
    `sender` the id by which somebody went in the room.

    In a booth it bears a `stamp`. Without a `text` it is a gap there: the reporter keeps back one or more messages, and
    of them tells only the last one's stamp; the other fields don't count. Reactions and deletions bear no stamp, and
    are never missed.
    """

    mid: str
    off: int
    ts: int
    sender: str
    text: str | None
    stamp: str


@value
class Place:
    """Where an address leads: to a public room, to a booth, or, with neither, nowhere yet."""

    room: str | None = None
    booth: bool = False


# Events with a place in the room's order


@value
class Message:
    """One thing said in a room. `off` counts the room's events from 1 within its `epoch`; `ts` is UTC milliseconds.

    `key` is the sender's own. `stamp` proves a message of a booth. A message that was deleted has no text any more.
    """

    room: str
    epoch: str
    off: int
    mid: str
    ts: int
    sender: Sender
    text: str
    reply_to: str | None = None
    key: str | None = None
    stamp: str | None = None
    deleted: bool = False


@value
class Edited:
    """The message `mid` says something else now."""

    room: str
    epoch: str
    off: int
    mid: str
    ts: int
    sender: Sender
    text: str
    stamp: str | None = None


@value
class Deleted:
    """The message `mid` was taken back."""

    room: str
    epoch: str
    off: int
    mid: str
    ts: int
    sender: Sender


@value
class Reacted:
    """Somebody put an emoji to the message `mid`, or took it away."""

    room: str
    epoch: str
    off: int
    mid: str
    ts: int
    sender: Sender
    emoji: str
    on: bool


Numbered: TypeAlias = Message | Edited | Deleted | Reacted


# Events without one: nobody misses them


@value
class MemberJoined:
    """Somebody took a seat; now there are `count`. Told to those who were there before."""

    room: str
    member: Sender
    count: int
    in_booth: bool = False


@value
class MemberLeft:
    """Somebody left, or lost the connection; `count` remain, and are told."""

    room: str
    member: Sender
    count: int
    reason: Literal["left", "lost"] = "left"
    in_booth: bool = False


@value
class MemberRenamed:
    """Somebody goes by another name now."""

    room: str
    member: Sender


@value
class Counted:
    """How many are in a room that is too large to tell who comes and goes."""

    room: str
    count: int


@value
class TypingShown:
    """Somebody is writing, or stopped."""

    room: str
    sender: Sender
    on: bool


@value
class ReadShown:
    """Somebody has read a booth up to `off`."""

    room: str
    sender: Sender
    off: int


@value
class RoomChanged:
    """An operator changed the room: its `title`, whether it is `locked`, or how long each one waits between two
    messages there (`slow_ms`, 0 for not at all). An `archived` room takes nobody any more."""

    room: str
    title: str
    locked: bool = False
    slow_ms: int = 0
    archived: bool = False


@value
class Gap:
    """Events were lost between the engine and this process: the room goes on after `off` in `epoch`."""

    room: str
    epoch: str
    off: int


Event: TypeAlias = (
    Numbered | MemberJoined | MemberLeft | MemberRenamed | Counted | TypingShown | ReadShown | RoomChanged | Gap
)


# Letters


@value
class MatchWaiting:
    """The search `ticket` goes on since `since` (UTC milliseconds); `relaxed` names what is no longer asked for."""

    ticket: str
    since: int
    relaxed: tuple[str, ...] = ()


@value
class MatchFound:
    """Both sit in the booth `room` now, and hear each other from the event after `off` on."""

    room: str
    epoch: str
    off: int
    peer: Sender
    common: tuple[str, ...] = ()


@value
class MatchAway:
    """The other one lost the connection; the seat is kept for `grace_ms`."""

    room: str
    grace_ms: int


@value
class MatchBack:
    """The other one is there again."""

    room: str


@value
class MatchEnded:
    """The booth is over: the other one left (`peer`), was away too long (`lost`), or this person ended it with another
    command or connection (`you`). Without a room it is the search that ended."""

    room: str | None
    by: Literal["peer", "lost", "you"]


@value
class Notice:
    """Something that a person should read."""

    level: Literal["info", "warning"]
    code: str
    text: str


@value
class Moderated:
    """A moderator did something about this person: `until_ms` (UTC milliseconds) is when it ends, None for never. A
    mute may be for one `room` only."""

    action: Literal["muted", "unmuted", "kicked", "banned"]
    reason: str
    until_ms: int | None = None
    room: str | None = None


@value
class Reconnect:
    """The server wishes the client to connect anew, after `after_ms` and up to `jitter_ms` more, chosen at random."""

    after_ms: int
    jitter_ms: int


@value
class Asked:
    """The server asks for a sign of life."""


@value
class Bye:
    """The connection is about to be closed."""

    close: Close
    after_ms: int | None = None


Letter: TypeAlias = (
    MatchWaiting | MatchFound | MatchAway | MatchBack | MatchEnded | Notice | Moderated | Reconnect | Asked | Bye
)


# Answers


@value
class Seat:
    """A place in `room`, from the event after `off` on: first those that were `missed`, then live ones.

    `count` is the number of members, oneself included; `members` are all of them, or empty where there are too many.
    Where one who told its last position `recovered`, that is `off`, and nothing after it is left out. In a booth `peer`
    is the other one.
    """

    room: str
    epoch: str
    off: int
    count: int
    members: Sequence[Sender] = ()
    recovered: bool = False
    missed: Sequence[Numbered] = ()
    peer: Sender | None = None


@value
class Published:
    """Where a message got its place; `dup` says that it had it before."""

    room: str
    epoch: str
    off: int
    mid: str
    ts: int
    dup: bool = False
    kept: Literal["relayed", "stored"] = "relayed"


@value
class Changed:
    """Where an edit, a deletion or a reaction got its place."""

    epoch: str
    off: int


@value
class Remembered:
    """A message as it is now.

    Its text was changed at `edited` (UTC milliseconds); `reactions` are the people behind each emoji. It has no text if
    `message.deleted`.
    """

    message: Message
    edited: int | None
    reactions: Mapping[str, Sequence[str]]


@value
class Page:
    """Messages of a room, oldest first. `more` says whether there are others on the side that was asked for."""

    room: str
    epoch: str
    messages: Sequence[Remembered]
    more: bool


@value
class Matches:
    """Messages that were searched for, the newest first; `more` says whether there are others."""

    messages: Sequence[Remembered]
    more: bool


@value
class Here:
    """Who is in a room; `members` is empty where there are too many."""

    room: str
    count: int
    members: Sequence[Sender]


@value
class RoomShown:
    """A public room, and how many are in it."""

    room: str
    count: int
    title: str = ""
    locked: bool = False
    slow_ms: int = 0


@value
class RoomList:
    """The public rooms."""

    rooms: Sequence[RoomShown]


@value
class Named:
    """The name as accepted."""

    name: str


@value
class Ticket:
    """A search began, or goes on."""

    ticket: str


@value
class Clock:
    """The time of day, in UTC milliseconds."""

    ts: int


@value
class Done:
    """It is done."""


@value
class Proved:
    """Who the bearer of a token is, by the word of who issued it."""

    person: Person


@value
class Whom:
    """The lasting id of somebody who was known by another one."""

    person: str


@value
class Filed:
    """A report waits for the moderators under this number."""

    ref: str


@value
class Acted:
    """A moderator's act is done; a ban or a mute can be taken back by its `id`."""

    id: str | None = None


@value
class Claimed:
    """The session is this connection's now. `booth` is where a seat is kept that it lost, if there is one."""

    booth: str | None


@value
class Gone:
    """A room that a client wanted to resume is over, and will not come back."""

    room: str


@value
class Required:
    """What must be accepted before this person meets strangers: the terms of this `version`, to be read at `url`; and
    whether they must say how old they are."""

    version: str
    url: str | None
    asks_age: bool


@value
class Limits:
    """Commands a second, None for one without limit, and at once."""

    rate: float | None
    burst: int


@value
class Welcome:
    """The answer to a hello: the token that resumes this session, and where the connection sits."""

    session: str
    person: Sender
    limits: Limits
    ping_ms: int
    rooms: Sequence[Seat | Gone]
    required: Required | None = None


Answer: TypeAlias = (
    Seat
    | Published
    | Changed
    | Page
    | Matches
    | Here
    | RoomList
    | Named
    | Ticket
    | Clock
    | Done
    | Proved
    | Whom
    | Filed
    | Acted
    | Claimed
    | Gone
    | Welcome
)


# Effects


@value
class Claim:
    """Make the session this connection's: an older connection of it ends."""

    session: str
    member: Member
    re: int | None = None


@value
class Enter:
    """Take a seat in the room of this name; in a booth, the seat that was kept.

    `since` is the last event seen; `listed` says that the answer should tell who is there.
    """

    room: str
    member: Member
    since: Position | None = None
    listed: bool = True
    re: int | None = None


@value
class Wanted:
    """Whom a client with a session wants to meet. `leaving` is the booth that it leaves for this. `band` is an age
    band, and never relaxed: two bands, or one and none, never meet."""

    interests: frozenset[str] = frozenset()
    langs: frozenset[str] = frozenset()
    relaxes: bool = True
    key: str | None = None
    leaving: str | None = None
    band: str | None = None


@value
class Find:
    """Take a seat in a booth, by the pairing rules. A plain client has no wish."""

    member: Member
    wish: Wanted | None = None
    re: int | None = None


@value
class Cancel:
    """End the search."""

    member: Member
    re: int | None = None


@value
class Take:
    """Hear the room from this seat on; what was missed first. Never before the answer that tells of it."""

    seat: Seat


@value
class Publish:
    """Say `text` to everyone in `room`."""

    room: str
    member: Member
    text: str
    reply_to: str | None = None
    key: str | None = None
    re: int | None = None


@value
class Weigh:
    """Before `publish` is carried out, more is to be done about it: note that a rule flagged it, keep it for a
    moderator, or ask a classifier. `opening` says that it is the first that the person says in a booth."""

    publish: Publish
    verdict: Verdict
    opening: bool


@value
class Verify:
    """Ask who the bearer of this token of another issuer is."""

    token: str
    re: int | None = None


@value
class Search:
    """Look for messages of public rooms that hold every word of `text`; of one `room`, or of all."""

    text: str
    room: str | None
    limit: int
    re: int | None = None


@value
class Accuse:
    """Take to the moderators what was said in `room`. `prev` is the stamp before the first of the `messages`; `note` is
    for who reads it; `block` says that the two must never meet again."""

    member: Member
    room: str
    reason: str
    messages: Sequence[Reported]
    prev: str = ""
    note: str = ""
    block: bool = False
    re: int | None = None


@value
class Act:
    """Do what a moderator says; whether the role may do that at all was looked at.

    `person` is a lasting id, whom it is done to; without a `room` it is everywhere. `seconds` are how long it lasts,
    None for good; for `slow` they are between two messages. `on` is False to open a room that was locked.
    """

    member: Member
    action: Literal["kick", "mute", "unmute", "ban", "unban", "lock", "slow"]
    person: str | None = None
    room: str | None = None
    reason: str = ""
    seconds: float | None = None
    on: bool = True
    re: int | None = None


@value
class Accept:
    """Keep that the person accepted this version of the terms, and is of this age band."""

    person: str
    version: str
    band: str | None


@value
class Amend:
    """Change a message: give it another `text`, put an `emoji` to it or take it away, or, with neither, delete it."""

    room: str
    member: Member
    mid: str
    text: str | None = None
    emoji: str | None = None
    on: bool = True
    re: int | None = None


@value
class Show:
    """Tell the room, in passing, that somebody writes (`on`) or has read up to `off`."""

    room: str
    member: Member
    on: bool | None = None
    off: int | None = None


@value
class Fetch:
    """Read a page of a room's messages."""

    room: str
    before: int | None
    after: int | None
    limit: int
    re: int | None = None


@value
class Look:
    """Ask who is in a room; in None, which rooms there are."""

    room: str | None
    re: int | None = None


@value
class CallMe:
    """Go by another name in all rooms."""

    member: Member
    rooms: Sequence[str]
    re: int | None = None


@value
class Avoid:
    """Never seat the two together again (`on`), or allow it. `other` is the id that somebody goes by in `room`."""

    member: Member
    other: str
    room: str | None
    on: bool
    re: int | None = None


@value
class Drop:
    """Hear the room no more: the seat there is gone already, or goes with another effect."""

    room: str


@value
class Leave:
    """Give up the seat in `room`. One that was `lost`, not left, may be kept for a while."""

    room: str
    lost: bool = False


@value
class Release:
    """The session has no connection any more."""

    session: str


@value
class Reply:
    """Answer a command."""

    answer: Answer
    re: int | None


@value
class Refuse:
    """Tell the client, and nobody else, that a command was not carried out."""

    refusal: Refusal
    re: int | None = None


@value
class Tell:
    """Tell this client something."""

    letter: Letter


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


Effect: TypeAlias = (
    Claim
    | Enter
    | Find
    | Cancel
    | Take
    | Publish
    | Weigh
    | Verify
    | Search
    | Accuse
    | Act
    | Accept
    | Amend
    | Show
    | Fetch
    | Look
    | CallMe
    | Avoid
    | Drop
    | Leave
    | Release
    | Reply
    | Refuse
    | Tell
    | Ping
    | PauseReading
    | ResumeReading
    | End
)
