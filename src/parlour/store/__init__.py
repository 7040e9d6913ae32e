"""The store: what survives. The history of public rooms, and what moderators did; a booth never comes here."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar

from parlour.core.events import Numbered, Position, Remembered, value
from parlour.core.records import AuditEntry, Found, Record, Report, Retention, Rules, StoredRoom
from parlour.errors import ParlourError

CONFIRM_SECONDS: Final = 5.0
"""How long the one who said something waits for the store, and anybody for an answer of it."""

QUEUE_LIMIT: Final = 10_000
QUEUE_BYTES: Final = 16 * 1024 * 1024
"""Events, and bytes of memory in their texts, that wait to be stored."""


class StoreError(ParlourError):
    """The store can't do what was asked. The text holds nothing that people said, and no name."""


class SchemaError(StoreError):
    """The database was made by another version of Parlour. The text says what to do."""


class Unavailable(StoreError):  # noqa: N818 - named for the state, as Disconnected
    """The database is locked, full or away. The same call may succeed later."""


class Kept(Enum):
    """What became of an event that was handed to `Store.keep`."""

    STORED = "it survives: the transaction that holds it was committed, within `CONFIRM_SECONDS`"
    WAITING = "it was not committed in that time; it stays in the queue, and another word follows"
    LATE = "it survives, though not in time; follows WAITING"
    CONFLICT = (
        "it survives, but without its key: the person said something else under it here, longer ago than keys are known"
    )
    REFUSED = "it will never be stored: another event has its place, or the database can't hold it"

    @property
    def survives(self) -> bool:
        return self in {Kept.STORED, Kept.LATE, Kept.CONFLICT}


Confirmed: TypeAlias = Callable[[Kept], object]
"""Takes what became of an event; called once, or, if first with WAITING, twice."""


@value
class Stats:
    """How the store is: what waits to be stored, when something was last committed (UTC milliseconds), and what is
    wrong with the database, None if nothing."""

    queued: int
    queued_bytes: int
    committed_ms: int | None
    trouble: str | None


R = TypeVar("R", bound=Record)


class Store(Protocol):
    """What survives `kill -9` and a power cut. One contract suite holds every implementation to this:

    - What was confirmed is there after any stop: in the database, on the disk. So is what a method did that returned;
      one that raised did nothing, unless the connection to the database was lost at that moment.
    - An offset is stored once in its room, for ever, and a key once for its person and room. The same event kept twice
      is stored once, and confirmed both times.
    - Events are stored and confirmed in the order in which they were kept: where one is, all that were kept before it
      are too, but those that were REFUSED.
    - A database that is locked, full or away is tried until it is there again, without a restart; that is logged once.
      It delays nobody but those who wait for a confirmation: `keep` never waits, and what else writes or reads little
      raises `Unavailable` after `CONFIRM_SECONDS`.
    - Nothing that people said and no name is in a log line or in the text of an exception.
    - All methods are called in the event loop in which the store was opened. Nothing is touched before `open`; what was
      closed can be opened again, in another loop too.

    Methods raise `StoreError` or its children, and nothing else of the database's.
    """

    # What is said in public rooms

    def keep(self, event: Numbered, done: Confirmed) -> bool:
        """Queue the event, and call `done` with what became of it, never before this returns.

        All that is queued in a turn of the loop, and while the last transaction runs, is written in one transaction.
        A deletion takes the message's text out of the database in the transaction that stores it, an edit the text that
        was there before.

        False if the event will not be stored and `done` not called: the queue is full, its room is not one of this
        store (so a booth can't be stored by mistake), or the store is not open. Live chat goes on without it.
        """
        ...

    async def page(
        self, room: str, *, before: int | None = None, after: int | None = None, limit: int, characters: int
    ) -> Found:
        """At most `limit` messages of the room, oldest first, as they are now: with the last text, reactions, and those
        that were deleted without text. They come after the offset `after`; or else are the last before the offset
        `before`, or of all. `characters` bounds their texts together, but one message always fits."""
        ...

    async def recent(self, room: str, *, limit: int, characters: int) -> Sequence[Numbered]:
        """The newest events of the room, oldest first and without a gap up to its highest offset: at most `limit`, with
        texts of at most `characters` together, as they are now."""
        ...

    async def missed(self, since: Position, upto: int, *, limit: int = 1000) -> Sequence[Numbered] | None:
        """Every event of the room after `since` and up to the offset `upto`, or None if one is not there, there are
        more than `limit`, or `since` is in a numbering that did not lead to them.

        Example: 48, 49, 50 were shown in epoch a, 48 was stored, the server died; epoch b went on with 49. Who saw
        (a, 48) gets 49 and 50 of b; who saw (a, 50) gets None. Texts are as they are now: a message that was changed
        comes with the last text, and so do its edits.
        """
        ...

    async def find(self, mid: str) -> Remembered | None:
        """The message as it is now."""
        ...

    async def search(
        self, text: str, *, room: str | None = None, before_ms: int | None = None, limit: int = 50
    ) -> Found:
        """Messages that hold every word of `text`, the newest first, of one room or of all that are not archived; said
        before `before_ms`. Case and, on SQLite, accents make no difference."""
        ...

    # Rooms

    async def rooms(self) -> Sequence[StoredRoom]:
        """All public rooms, archived ones too, in the order in which they were made."""
        ...

    async def make_room(self, name: str, title: str) -> StoredRoom:
        """Make a public room, or find the one of this name as it is."""
        ...

    async def change_room(
        self,
        name: str,
        *,
        title: str | None = None,
        locked: bool | None = None,
        slow_ms: int | None = None,
        archived: bool | None = None,
    ) -> None:
        """Change what is given. The name stays. Raises `StoreError` if there is no such room."""
        ...

    # Records

    async def put(self, *records: R) -> None:
        """Store the records, all or none; one with the same key is replaced."""
        ...

    async def get(self, kind: type[R], *key: str) -> R | None:
        """The record with this key (`records.KEYS`)."""
        ...

    async def select(self, kind: type[R], *, limit: int = 1000, **equal: str | int | bool | None) -> Sequence[R]:
        """Records whose fields equal what is given, the newest first."""
        ...

    async def remove(self, kind: type[R], *key: str) -> bool:
        """Remove the record with this key, if there is one."""
        ...

    async def rules(self) -> Rules:
        """The bans and mutes that are not over, and all blocks."""
        ...

    async def decide(self, ref: str, *, decision: str, by: str) -> Report | None:
        """Decide a report that is open, now; None if there is none, so that of two who decide at once one is told."""
        ...

    async def audit(self, *, actor: str, action: str, subject: str = "", details: str = "{}") -> AuditEntry:
        """Append to the audit log, now. There is one chain, however many processes append."""
        ...

    async def audited(self, *, before: int | None = None, limit: int = 100) -> Sequence[AuditEntry]:
        """The last entries of the audit log, or the last before number `before`; the newest first."""
        ...

    async def broken_audit(self) -> int | None:
        """The number of the first entry of the audit log that is not as it was written, None if all are."""
        ...

    # The whole

    async def open(self) -> Sequence[StoredRoom]:
        """Take up the database, and give its rooms.

        A SQLite file is made where there is none, and brought to this version's schema in one transaction, also if
        several processes do so at once. On PostgreSQL that is the operator's to say: raises `SchemaError`, naming
        `parlour admin migrate`; also for a database of a newer version. Raises `Unavailable`.
        """
        ...

    async def close(self) -> int:
        """Write what is queued, for at most `CONFIRM_SECONDS`, and let the database go. Gives the number of events that
        were lost; who waits for one of them is told WAITING."""
        ...

    async def forget(self, retention: Retention) -> int:
        """Delete what is older than it may be, and give the number of events that were deleted.

        On SQLite neither they, nor what was deleted or changed since the last call, can be read from the files
        afterwards; on PostgreSQL their space is used again after a vacuum.
        """
        ...

    async def backup(self, file: Path) -> None:
        """Write a copy of the database into a new file, readable by the owner alone, while the server runs. Raises
        `StoreError` if the file exists, and on PostgreSQL, where `pg_dump` does this."""
        ...

    def export(self) -> AsyncGenerator[str, None]:
        """All that is stored, at one moment, as lines of JSON: first one that tells the schema, then `{"table", "row"}`
        for each row. Close it (`contextlib.aclosing`) if it is not read to its end."""
        ...

    async def import_(self, lines: AsyncIterable[str]) -> int:
        """Store what `export` gave, all or nothing, and give the number of rows. Raises `StoreError` if the store is
        not empty, or the lines are not of this schema."""
        ...

    async def ready(self) -> str | None:
        """Why the database can't be used now, None if it can."""
        ...

    def stats(self) -> Stats:
        """How the store is, at no cost."""
        ...
