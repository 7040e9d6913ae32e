"""The tables as this version knows them, and how rows become values. `migrations` makes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Table,
    Text,
    literal_column,
)

from parlour.core.events import Deleted, Edited, Message, Numbered, Reacted, Remembered, Sender
from parlour.core.records import ApiToken, Ban, Block, Consent, Mute, Operator, Record, Report, Setting

SPAN: Final = 1 << 40
"""How many events a room can hold. An event's id is `room * SPAN + off`: so a room's events lie side by side in their
order, no offset can be there twice, and SQLite's search index, which knows a text by one number, needs no other."""

MESSAGE: Final[ColumnElement[str]] = literal_column("'message'")
"""Spelled out, so that a database sees that it may use the index which holds messages only."""

metadata: Final = MetaData()

rooms: Final = Table(
    "rooms",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("locked", Boolean, nullable=False),
    Column("slow_ms", Integer, nullable=False),
    Column("archived", Boolean, nullable=False),
    # The highest offset when events were deleted last; a higher one is told by the events themselves.
    Column("off", BigInteger, nullable=False),
)

events: Final = Table(
    "events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("room", BigInteger, ForeignKey("rooms.id"), nullable=False),
    Column("epoch", Text, nullable=False),
    Column("kind", Text, nullable=False),  # message, edited, deleted, reacted
    Column("mid", Text, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("person", Text, nullable=False),
    Column("name", Text),
    Column("role", Text, nullable=False),
    Column("plain", Boolean, nullable=False),
    # Of messages. A text is in one place only: an edit replaces it, a deletion empties it.
    Column("text", Text),
    Column("reply_to", Text),
    Column("key", Text),
    Column("edited", BigInteger),  # when the text was changed
    Column("deleted", Boolean, nullable=False),
    # Of reactions.
    Column("emoji", Text),
    Column("is_on", Boolean),
)

_IS_MESSAGE = events.c.kind == MESSAGE
_HAS_KEY = events.c.key.is_not(None)

Index("events_mid", events.c.mid, unique=True, sqlite_where=_IS_MESSAGE, postgresql_where=_IS_MESSAGE)
Index(
    "events_key",
    events.c.person,
    events.c.room,
    events.c.key,
    unique=True,
    sqlite_where=_HAS_KEY,
    postgresql_where=_HAS_KEY,
)
Index("events_ts", events.c.ts)

reactions: Final = Table(
    "reactions",
    metadata,
    Column("message", BigInteger, ForeignKey("events.id", ondelete="CASCADE"), primary_key=True),
    Column("emoji", Text, primary_key=True),
    Column("person", Text, primary_key=True),
    Column("off", BigInteger, nullable=False),  # of the event: gives the order of those who reacted
)

audit: Final = Table(
    "audit",
    metadata,
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

# A record's columns are its fields, in their order.

_bans = Table(
    "bans",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("by", Text, nullable=False),
)

_mutes = Table(
    "mutes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("room", Text),
    Column("reason", Text, nullable=False),
    Column("since_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("by", Text, nullable=False),
)

_blocks = Table(
    "blocks",
    metadata,
    Column("person", Text, primary_key=True),
    Column("other", Text, primary_key=True),
    Column("since_ms", BigInteger, nullable=False),
)

_reports = Table(
    "reports",
    metadata,
    Column("ref", Text, primary_key=True),
    Column("room", Text, nullable=False),
    Column("reporter", Text, nullable=False),
    Column("accused", Text),
    Column("reason", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("decision", Text),
    Column("decided_ms", BigInteger),
    Column("decided_by", Text),
)

_operators = Table(
    "operators",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("disabled", Boolean, nullable=False),
)

_api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("last_used_ms", BigInteger),
)

_consents = Table(
    "consents",
    metadata,
    Column("person", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("ts", BigInteger, nullable=False),
    Column("band", Text),
)

_settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("json", Text, nullable=False),
)

RECORDS: Final[Mapping[type[object], Table]] = {
    Ban: _bans,
    Mute: _mutes,
    Block: _blocks,
    Report: _reports,
    Operator: _operators,
    ApiToken: _api_tokens,
    Consent: _consents,
    Setting: _settings,
}

NEWER: Final[Mapping[type[object], str]] = {
    Ban: "since_ms",
    Mute: "since_ms",
    Block: "since_ms",
    Report: "created_ms",
    Operator: "created_ms",
    ApiToken: "created_ms",
    Consent: "ts",
    Setting: "key",
}
"""The column that tells which of two records is the newer one."""

_R = TypeVar("_R")


def as_record(kind: type[_R], row: Row[Any]) -> _R:
    fields = dict(row._mapping)
    if "scopes" in fields:
        fields["scopes"] = tuple(fields["scopes"])  # JSON has lists only
    return kind(**fields)


def record_row(record: Record) -> dict[str, object]:
    return {column.name: getattr(record, column.name) for column in RECORDS[type(record)].columns}


# Events


def event_row(room: int, event: Numbered) -> Sequence[object]:
    """In the order of the columns; a plain tuple, for one is made for each message."""
    sender = event.sender
    who = (event.mid, event.ts, sender.id, sender.name, sender.role, sender.plain)
    head = (room * SPAN + event.off, room, event.epoch)
    match event:
        case Message():
            said = (event.text, event.reply_to, event.key, None, event.deleted)
            return (*head, "message", *who, *said, None, None)
        case Reacted():
            return (*head, "reacted", *who, None, None, None, None, False, event.emoji, event.on)
        case _:
            return (*head, kind_of(event), *who, None, None, None, None, False, None, None)


def kind_of(event: Numbered) -> str:
    """As the column `kind` has it."""
    return type(event).__name__.lower()


def as_event(room: str, row: Row[Any]) -> Numbered:
    """`row` holds the events' columns and `now`, the text that the message of an edit has."""
    sender = Sender(row.person, row.name, row.role, row.plain)
    where = (room, row.epoch, row.id % SPAN, row.mid, row.ts, sender)
    match row.kind:
        case "message":
            return Message(*where, row.text, row.reply_to, row.key, None, row.deleted)
        case "edited":
            return Edited(*where, row.now or "")
        case "deleted":
            return Deleted(*where)
        case _:
            return Reacted(*where, row.emoji, row.is_on)


def as_remembered(room: str, row: Row[Any], reacted: Mapping[str, Sequence[str]]) -> Remembered:
    sender = Sender(row.person, row.name, row.role, row.plain)
    off = row.id % SPAN
    message = Message(room, row.epoch, off, row.mid, row.ts, sender, row.text, row.reply_to, row.key, None, row.deleted)
    return Remembered(message, row.edited, reacted)
