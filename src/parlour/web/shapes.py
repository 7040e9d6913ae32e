"""What the operators' HTTP API is sent, and what it answers: the shapes of `web.admin`, with their bounds."""

from typing import Annotated, Any, Final, Literal

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from parlour.core.commands import ID_LIMIT, REASON_LIMIT, SECONDS_LIMIT
from parlour.core.moderation import TEXT_LIMIT, Kind
from parlour.core.tickets import TICKET_LIMIT
from parlour.desk import SLOW_LIMIT_MS, TITLE_LIMIT
from parlour.operators import NAME_LIMIT, PASSWORD_LEAST, PASSWORD_MOST, OperatorRole, Scope

NUMBER_LIMIT: Final = 1 << 53
"""What every reader of JSON can tell from its neighbours."""

_WORDS_LIMIT: Final = 10_000
_ID: Final = "^[!-~]+$"


def _whole(words: object) -> object:
    """A text without halves of characters, which JSON can't hold; old ones may have them."""
    return words.encode("utf-8", "replace").decode() if isinstance(words, str) else words


Words = Annotated[str, BeforeValidator(_whole)]
Id = Annotated[str, Field(min_length=1, max_length=ID_LIMIT, pattern=_ID, examples=["4f1c9a7be02d6318"])]
PathId = Annotated[str, Path(min_length=1, max_length=ID_LIMIT, pattern=_ID, description="As the list gives it.")]
RoomName = Annotated[str, Path(min_length=1, max_length=ID_LIMIT, pattern=_ID, description="The room's name.")]
Reason = Annotated[
    str, Field(max_length=REASON_LIMIT, description="One line; the person is told.", examples=["insults"])
]
Seconds = Annotated[
    float | None,
    Field(
        gt=0, le=SECONDS_LIMIT, allow_inf_nan=False, description="How long it holds; for good if null.", examples=[3600]
    ),
]
Ms = Annotated[int, Field(description="UTC milliseconds.", examples=[1_700_000_000_000])]
Number = Annotated[int, Path(ge=1, le=NUMBER_LIMIT, description="The number of the entry.")]
AtMost = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
Password = Annotated[
    SecretStr, Field(min_length=PASSWORD_LEAST, max_length=PASSWORD_MOST, description="Any characters.")
]


class _Asked(BaseModel):
    """What is sent: nothing but these fields, of these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class _Told(BaseModel):
    """What is answered, made of a record."""

    model_config = ConfigDict(from_attributes=True)


class ErrorDetails(_Told):
    """What went wrong; `field` names what to change."""

    code: str = Field(description="One of the codes of docs/protocol.md.", examples=["bad_field"])
    message: str = Field(examples=['"reason" is longer than allowed'])
    field: str | None = Field(default=None, examples=["reason"])


class ErrorAnswer(_Told):
    """Every answer that is not a success."""

    error: ErrorDetails


class First(_Asked):
    """The first admin, by the one-time link."""

    ticket: str = Field(max_length=TICKET_LIMIT, description="What follows `#first=` in the link.")
    name: str = Field(min_length=1, max_length=NAME_LIMIT, examples=["ada"])
    password: Password


class SignIn(_Asked):
    """Who knows an operator's password."""

    name: str = Field(max_length=NAME_LIMIT, examples=["ada"])
    password: SecretStr = Field(max_length=PASSWORD_MOST)


class Me(_Told):
    """Who you are here."""

    id: str = Field(description="As the audit log has it.", examples=["operator:4f1c9a7be02d6318"])
    name: Words = Field(examples=["ada"])
    role: str = Field(examples=["admin"])
    csrf: str | None = Field(description="For the header X-CSRF; null where there is no session.")


class RoomCount(_Told):
    """How many are in a room."""

    name: Words = Field(examples=["public"])
    people: int = Field(examples=[3])


class Live(_Told):
    """How many are here, and what they did since the server started."""

    people: int = Field(description="Connections that are open.")
    rooms: list[RoomCount]
    booths: int = Field(description="Booths in which two talk.")
    waiting: int = Field(description="Who waits for a stranger.")
    messages: int = Field(description="Messages that were said.")
    deliveries: int = Field(description="Times that one of them was delivered.")


class Room(_Told):
    """A public room."""

    name: Words = Field(examples=["tea"])
    title: Words = Field(examples=["Tea time"])
    locked: bool = Field(description="Only moderators speak.")
    slow_ms: int = Field(description="Milliseconds between two messages of one person; 0 for no limit.")
    archived: bool = Field(description="Closed for good.")


class Rooms(_Told):
    """All public rooms, archived ones too."""

    rooms: list[Room]


class NewRoom(_Asked):
    """A public room to be opened."""

    name: str = Field(max_length=32, description="Small letters, digits and hyphens.", examples=["tea"])
    title: str = Field(max_length=TITLE_LIMIT, examples=["Tea time"])


class RoomChange(_Asked):
    """What is given is changed."""

    title: str | None = Field(default=None, max_length=TITLE_LIMIT, examples=["Tea time"])
    locked: bool | None = None
    slow_ms: int | None = Field(default=None, ge=0, le=SLOW_LIMIT_MS, examples=[5000])
    archived: bool | None = None


class NewMessage(_Asked):
    """Something to be said."""

    text: str = Field(max_length=TEXT_LIMIT, examples=["Tea is ready."])
    name: str = Field(max_length=256, description="Who says it.", examples=["kettle"])


class Said(_Told):
    """It was said."""

    mid: str = Field(description="The message's id.", examples=["4f1c9a7be02d6318"])


class ReportShort(_Told):
    """A report. `reporter` is empty where a rule of the filter found it; `reason` then names the rules."""

    ref: str = Field(examples=["Jc0bD3kPz1QhXnYw"])
    room: Words = Field(examples=["public"])
    reporter: Words
    accused: Words | None
    reason: Words = Field(examples=["harassment"])
    note: Words = Field(description="What the reporter added; it proves nothing.")
    created_ms: Ms
    state: Literal["open", "decided"]
    decision: str | None = Field(examples=["ban"])
    decided_ms: Ms | None
    decided_by: str | None


class Proved(_Told):
    """A message, and what the server knows of it: it `relayed` it as it is here; or it is `forged`; or the reporter
    kept it back (`withheld`); or a rule `held` it, and it was not said yet."""

    word: Literal["relayed", "forged", "withheld", "held"]
    by: Literal["reporter", "accused"] | None
    mid: Words
    ts: Ms
    text: Words | None = Field(description="Null if it was kept back.", examples=["go away"])


class Proof(_Told):
    """What the report proves. `whole`: the server relayed every message, and nothing is missing between them;
    `from_start`: nor before them."""

    whole: bool
    from_start: bool
    held: bool = Field(description="A rule holds the message; the decision `pass` says it.")
    sender: Words | None = Field(description="The name under which it is said then.")
    reasons: list[Words] = Field(description="Which rules found it; none where a person reported.")
    received_ms: Ms
    messages: list[Proved]


class ReportWhole(ReportShort):
    """A report with its evidence; null if that is not as the server wrote it."""

    evidence: Proof | None


class Reports(_Told):
    """The newest first."""

    reports: list[ReportShort]


class Decision(_Asked):
    """What becomes of it. `reason` and `seconds` are for the accused, of a warning, a mute or a ban."""

    decision: Literal["dismiss", "warn", "mute", "ban", "pass"] = Field(
        description="`pass` says a message that is held."
    )
    reason: Reason = ""
    seconds: Seconds = None


class Ban(_Told):
    """Who may not connect. `subject` is a person's id, or the keyed hash of an address, or empty once that was
    forgotten."""

    id: str
    kind: Literal["person", "address"]
    subject: Words
    reason: Words
    since_ms: Ms
    until_ms: Ms | None
    by: str


class Bans(_Told):
    """The newest first; one that was just made, with those of the person's addresses."""

    bans: list[Ban]


class NewBan(_Asked):
    """Of a person, whose addresses are banned too, or of an address alone."""

    person: Id | None = None
    address: str | None = Field(default=None, max_length=64, examples=["192.0.2.7"])
    reason: Reason
    seconds: Seconds = None


class Mute(_Told):
    """Who may read but not speak: in one room, or, where that is null, anywhere."""

    id: str
    person: Words
    room: Words | None
    reason: Words
    since_ms: Ms
    until_ms: Ms | None
    by: str


class Mutes(_Told):
    """The newest first."""

    mutes: list[Mute]


class NewMute(_Asked):
    """Of a person."""

    person: Id
    room: Id | None = Field(default=None, description="In this room alone.", examples=["public"])
    reason: Reason
    seconds: Seconds = None


class Kick(_Asked):
    """Whose connections are to end."""

    person: Id
    reason: Reason


class Kicked(_Told):
    """How many connections were ended."""

    count: int


class Often(_Asked):
    """From so many `times` within `seconds` on, it is of this `kind`."""

    times: int = Field(ge=2, le=10_000)
    seconds: float = Field(gt=0, le=604_800, allow_inf_nan=False)
    kind: Kind = "flag"


class Rules(_Asked):
    """What the filter looks for. `pass` says it, `flag` says it and tells the moderators, `hold` keeps it for them."""

    words: dict[Annotated[str, Field(min_length=1, max_length=200)], Kind] = Field(
        default_factory=dict,
        max_length=_WORDS_LIMIT,
        description="By word or phrase; `*` at an end lets the word go on there.",
        examples=[{"free money*": "hold"}],
    )
    links: Kind = Field(default="pass", description="A link to another host than `hosts`.")
    opening_links: Kind = Field(default="pass", description="The same, first thing in a booth.")
    hosts: list[Annotated[str, Field(min_length=1, max_length=253)]] = Field(
        default_factory=list, max_length=1000, examples=[["example.org"]]
    )
    repeats: Often | None = Field(default=None, description="The same person says the same.")
    flood: Often | None = Field(default=None, description="The same person says anything, in one room.")
    openings: Often | None = Field(default=None, description="The same person begins booths with the same words.")
    shouting: Kind = Field(default="pass", description="Capitals only.")
    mentions: Kind = Field(default="pass", description="Many names behind `@`.")


class Entry(_Told):
    """Something that was done. `hash` binds it to all that was done before."""

    n: int
    ts: Ms
    actor: str = Field(examples=["operator:4f1c9a7be02d6318"])
    action: str = Field(examples=["ban"])
    subject: Words
    details: dict[str, Any]
    prev_hash: str
    hash: str


class Entries(_Told):
    """The newest first."""

    entries: list[Entry]


class Checked(_Told):
    """Whether the audit log is as it was written."""

    ok: bool
    broken: int | None = Field(description="The number of the first entry that is not.")


class Operator(_Told):
    """Who may sign in."""

    id: str
    name: Words = Field(examples=["ada"])
    role: str = Field(examples=["moderator"])
    disabled: bool
    created_ms: Ms


class OperatorList(_Told):
    """The newest first."""

    operators: list[Operator]


class NewOperator(_Asked):
    """Who is to sign in."""

    name: str = Field(max_length=NAME_LIMIT, description="Letters, digits and any of . _ @ + -", examples=["bo"])
    password: Password
    role: OperatorRole


class OperatorChange(_Asked):
    """What is given is changed. Another password, or `disabled`, ends the operator's sessions."""

    role: OperatorRole | None = None
    disabled: bool | None = None
    password: Password | None = None


class Token(_Told):
    """A program's way in."""

    id: str
    name: Words = Field(examples=["backup"])
    scopes: list[str] = Field(examples=[["read"]])
    created_ms: Ms
    until_ms: Ms | None
    last_used_ms: Ms | None


class Tokens(_Told):
    """The newest first."""

    tokens: list[Token]


class NewToken(_Asked):
    """A token for a program."""

    name: str = Field(max_length=NAME_LIMIT, description="For whom it is.", examples=["backup"])
    scopes: list[Scope] = Field(min_length=1, max_length=6, examples=[["read"]])
    seconds: Seconds = None


class MadeToken(Token):
    """The token itself is shown this once."""

    token: str = Field(examples=["ptk_..."])
