"""What a client can say, as values.

`Line` is all that the plain wire knows. The others are the commands of clients that have a session; their fields are
the fields on the wire, with the same names, and `AtMost` is the limit that holds for each.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from parlour.core.events import Position, Reported, value
from parlour.core.moderation import TEXT_LIMIT

KEY_LIMIT: Final = 64
ID_LIMIT: Final = 200
TOKEN_LIMIT: Final = 4096
EMOJI_LIMIT: Final = 32
TAG_LIMIT: Final = 64
NAME_FIELD_LIMIT: Final = 256
"""Characters of a name before it is looked at more closely; `names` has the real limit."""

INTERESTS_LIMIT: Final = 10
LANGS_LIMIT: Final = 5
RESUME_LIMIT: Final = 20
PAGE_LIMIT: Final = 100
"""Messages in one answer to `History` or `Search`."""

REPORTED_LIMIT: Final = 100
"""Messages in one report: twice as many as a booth remembers for those who come back."""

OLDEST: Final = 150
SEARCH_LIMIT: Final = 200
NOTE_LIMIT: Final = 1000
REASON_LIMIT: Final = 200
SECONDS_LIMIT: Final = 10 * 366 * 86_400
"""How long a ban or a mute lasts at most that is not for good."""


@dataclass(frozen=True, slots=True)
class AtMost:
    """How long a field may be: characters of a text, items of a list; or how large a number may be."""

    size: int


Key: TypeAlias = Annotated[str, AtMost(KEY_LIMIT)]
Id: TypeAlias = Annotated[str, AtMost(ID_LIMIT)]
Tag: TypeAlias = Annotated[str, AtMost(TAG_LIMIT)]
Text: TypeAlias = Annotated[str, AtMost(TEXT_LIMIT)]
Name: TypeAlias = Annotated[str, AtMost(NAME_FIELD_LIMIT)]
Token: TypeAlias = Annotated[str, AtMost(TOKEN_LIMIT)]
Age: TypeAlias = Annotated[int, AtMost(OLDEST)]


@value
class Line:
    """The plain wire: say `text` under `name`. Each line may bring another name."""

    text: str
    name: str


@value
class Wish:
    """Whom to meet. `relax: never` waits for one who shares an interest and a language, for ever if need be."""

    interests: Annotated[tuple[Tag, ...], AtMost(INTERESTS_LIMIT)] = ()
    langs: Annotated[tuple[Tag, ...], AtMost(LANGS_LIMIT)] = ()
    relax: Literal["auto", "never"] = "auto"
    key: Key | None = None


@value
class Program:
    """Which program speaks. Kept for later: it is not looked at yet."""

    name: Tag = ""
    version: Tag = ""


@value
class Hello:
    """The first command. `token` is the host app's word on who this is; `session` is the token of the last hello's
    answer; `resume` tells the last event that was seen of each room; `terms` is the version of the terms that the
    person accepts, and `age` is in years."""

    token: Token | None = None
    session: Token | None = None
    resume: Annotated[tuple[Position, ...], AtMost(RESUME_LIMIT)] = ()
    name: Name | None = None
    langs: Annotated[tuple[Tag, ...], AtMost(LANGS_LIMIT)] = ()
    terms: Tag | None = None
    age: Age | None = None
    match: Wish | None = None
    client: Program | None = None


@value
class Join:
    """Take a seat in a public room."""

    room: Id


@value
class Leave:
    """Give up the seat in a room. Leaving a booth ends it, without a search for another."""

    room: Id


@value
class Send:
    """Say `text`. The same `key` again within ten minutes is the same message, and has the same answer."""

    room: Id
    key: Key
    text: Text
    reply_to: Id | None = None


@value
class Edit:
    """Say something else in place of an own message, within 15 minutes."""

    room: Id
    mid: Id
    text: Text


@value
class Delete:
    """Take back an own message, within 15 minutes."""

    room: Id
    mid: Id


@value
class React:
    """Put an emoji to a message, or take it away."""

    room: Id
    mid: Id
    emoji: Annotated[str, AtMost(EMOJI_LIMIT)]
    on: bool = True


@value
class History:
    """Messages of a room as they are now, oldest first: the newest `limit` before an offset, or the oldest after one.
    With neither, the newest."""

    room: Id
    before: int | None = None
    after: int | None = None
    limit: Annotated[int, AtMost(PAGE_LIMIT)] = 50


@value
class Typing:
    """The person is writing, for the next five seconds, or stopped."""

    room: Id
    on: bool = True


@value
class Read:
    """The person has read a booth's messages up to `off`."""

    room: Id
    off: int


@value
class Presence:
    """Ask who is in a room."""

    room: Id


@value
class Rename:
    """Take another name, in all rooms."""

    name: Name


@value
class Rooms:
    """Ask for the public rooms."""


@value
class Find(Wish):
    """Look for a stranger."""


@value
class Cancel:
    """Look no more."""


@value
class Next(Wish):
    """Leave the booth, if there is one, and look for another stranger: one act."""


@value
class Block:
    """Never meet this person again. In a booth, `person` is the id that it goes by there, and `room` the booth."""

    person: Id
    room: Id | None = None


@value
class Unblock:
    """Take a block back."""

    person: Id
    room: Id | None = None


@value
class Search:
    """Look for messages of public rooms that hold every word of `text`, the newest first; of one room, or of all."""

    text: Annotated[str, AtMost(SEARCH_LIMIT)]
    room: Id | None = None
    limit: Annotated[int, AtMost(PAGE_LIMIT)] = 50


@value
class Terms:
    """Accept the terms of this `version` later than with hello; `age` is in years."""

    version: Tag
    age: Age | None = None


@value
class Report:
    """Tell the moderators what was said in a room, also in a booth that ended up to ten minutes ago; and `block` who
    said it. `prev` is the stamp before the first message."""

    room: Id
    reason: Annotated[str, AtMost(REASON_LIMIT)]
    messages: Annotated[tuple[Reported, ...], AtMost(REPORTED_LIMIT)]
    prev: Id = ""
    note: Annotated[str, AtMost(NOTE_LIMIT)] = ""
    block: bool = False


# For moderators. `person` is an id as public rooms show it.


@value
class ModDelete:
    """Take a message out of a room, whoever said it."""

    room: Id
    mid: Id


@value
class ModKick:
    """End a person's connections. They may come back."""

    person: Id
    reason: Annotated[str, AtMost(REASON_LIMIT)] = ""


@value
class ModMute:
    """Let a person read but not speak, in one room or everywhere; for so many `seconds`, or for good."""

    person: Id
    room: Id | None = None
    seconds: Annotated[int, AtMost(SECONDS_LIMIT)] | None = None
    reason: Annotated[str, AtMost(REASON_LIMIT)] = ""


@value
class ModUnmute:
    """Take a mute back."""

    person: Id
    room: Id | None = None


@value
class ModBan:
    """End a person's connections, and let neither the person nor their address come back."""

    person: Id
    seconds: Annotated[int, AtMost(SECONDS_LIMIT)] | None = None
    reason: Annotated[str, AtMost(REASON_LIMIT)] = ""


@value
class ModUnban:
    """Take a ban back."""

    person: Id


@value
class ModLock:
    """Let only moderators speak in a room, or everyone again."""

    room: Id
    on: bool = True


@value
class ModSlow:
    """Let each one speak in a room only once in so many `seconds`; 0 for as often as they like."""

    room: Id
    seconds: Annotated[int, AtMost(86_400)] = 0


@value
class Ping:
    """Ask for a sign of life."""


@value
class Pong:
    """The answer to the server's `ping`."""


Command: TypeAlias = (
    Hello
    | Join
    | Leave
    | Send
    | Edit
    | Delete
    | React
    | History
    | Typing
    | Read
    | Presence
    | Rename
    | Rooms
    | Find
    | Cancel
    | Next
    | Block
    | Unblock
    | Search
    | Terms
    | Report
    | ModDelete
    | ModKick
    | ModMute
    | ModUnmute
    | ModBan
    | ModUnban
    | ModLock
    | ModSlow
    | Ping
    | Pong
)
"""What clients with a session say."""
