"""What a client can say, as values.

`Line` is all that the plain wire knows. The others are the commands of clients that have a session; their fields are
the fields on the wire, with the same names, and `AtMost` is the limit that holds for each.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeAlias

from parlour.core.events import Position, value
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
"""Messages in one answer to `History`."""


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
    """The first command. `session` is the token of the last hello's answer; `resume` tells the last event that was seen
    of each room."""

    token: Token | None = None
    session: Token | None = None
    resume: Annotated[tuple[Position, ...], AtMost(RESUME_LIMIT)] = ()
    name: Name | None = None
    langs: Annotated[tuple[Tag, ...], AtMost(LANGS_LIMIT)] = ()
    terms: Tag | None = None
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
    | Ping
    | Pong
)
"""What clients with a session say."""
