"""The store on a SQL database: SQLite in a file, or PostgreSQL.

What is common to both is said in SQLAlchemy's Core or in plain SQL; where they differ, `Database.is_sqlite` decides.
"""

import asyncio
import base64
import errno
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import ScalarSelect, Select, bindparam, delete, exc, func, insert, or_, select, update
from sqlalchemy import text as sql
from sqlalchemy.ext.asyncio import AsyncConnection

from parlour.core.events import Deleted, Edited, Message, Numbered, Position, Reacted, Remembered
from parlour.core.records import (
    KEYS,
    AuditEntry,
    Ban,
    Block,
    Found,
    KnownKey,
    Mute,
    Report,
    Retention,
    Rules,
    StoredRoom,
    chained,
    first_broken,
)
from parlour.engine import Scheduler
from parlour.store import CONFIRM_SECONDS, Confirmed, Kept, R, Stats, StoreError, Unavailable
from parlour.store.database import FIRST_PAUSE, LONGEST_PAUSE, Database, revision_of, translated
from parlour.store.queue import Queue
from parlour.store.tables import (
    MESSAGE,
    NEWER,
    RECORDS,
    SPAN,
    as_event,
    as_record,
    as_remembered,
    audit,
    event_row,
    events,
    kind_of,
    metadata,
    reactions,
    record_row,
    rooms,
)

logger = logging.getLogger("parlour")

KEYS_MS: Final = 600_000
"""How long a room knows the keys of what was said: `core.room.KEYS_SECONDS`."""

_DAY_MS: Final = 86_400_000
_AT_ONCE: Final = 500  # rows that one transaction of `forget`, or one step of a long read, handles
_BUSY: Final = 16
_GATHER: Final = 0.05
"""Where so many events were written at once, others come: seconds for which they gather, for a transaction costs as
much as twenty of them."""

_WORDS: Final = 16  # of a search that count

_OF_MESSAGE: Final = "mid = :mid AND kind = 'message' AND NOT deleted"
_UNINDEX: Final = sql(
    f"INSERT INTO search(search, rowid, text) SELECT 'delete', id, text FROM events WHERE {_OF_MESSAGE}"  # noqa: S608
)
_INDEX_AGAIN: Final = sql(f"INSERT INTO search(rowid, text) SELECT id, text FROM events WHERE {_OF_MESSAGE}")  # noqa: S608
_EDIT: Final = sql(f"UPDATE events SET text = :text, edited = :ts WHERE {_OF_MESSAGE}")  # noqa: S608
_CLEAR: Final = sql(f"DELETE FROM reactions WHERE message IN (SELECT id FROM events WHERE {_OF_MESSAGE})")  # noqa: S608
_EMPTY: Final = sql(f"UPDATE events SET text = '', edited = NULL, deleted = TRUE WHERE {_OF_MESSAGE}")  # noqa: S608
_REACT: Final = sql(
    "INSERT INTO reactions(message, emoji, person, off)"  # noqa: S608
    f" SELECT id, :emoji, :person, :off FROM events WHERE {_OF_MESSAGE} ON CONFLICT DO NOTHING"
)
_UNREACT: Final = sql(
    "DELETE FROM reactions WHERE emoji = :emoji AND person = :person"  # noqa: S608
    f" AND message IN (SELECT id FROM events WHERE {_OF_MESSAGE})"
)
_UNINDEX_ALL: Final = sql(
    "INSERT INTO search(search, rowid, text)"
    " SELECT 'delete', id, text FROM events WHERE id IN :ids AND kind = 'message' AND NOT deleted"
).bindparams(bindparam("ids", expanding=True))
_INDEX: Final = "INSERT INTO search(rowid, text) VALUES (?, ?)"
_INDEX_ALL: Final = sql(
    "INSERT INTO search(rowid, text) SELECT id, text FROM events WHERE kind = 'message' AND NOT deleted"
)
_MAKE_ROOM: Final = sql(
    "INSERT INTO rooms(id, name, title, locked, slow_ms, archived, off)"
    " SELECT coalesce(max(id), 0) + 1, :name, :title, FALSE, 0, FALSE, 0 FROM rooms WHERE TRUE"
    " ON CONFLICT (name) DO NOTHING"
)

_COLUMNS: Final = tuple(column.name for column in events.columns)
_KIND, _TEXT, _KEY, _IS_DELETED = map(_COLUMNS.index, ("kind", "text", "key", "deleted"))


class SqlStore:
    """See `Store`.

    `database` is the path of a SQLite file, or a URL: `sqlite:////path/of/file`, `postgresql://user@host/name`.
    `utc_ms` gives the time of day in milliseconds; `scheduler` the clock for what must not take long: if None is given,
    that of the loop in which the store is opened. Raises `StoreError` for a database that it can't use.
    """

    def __init__(self, database: str | Path, *, utc_ms: Callable[[], int], scheduler: Scheduler | None = None) -> None:
        self._database = Database(database, scheduler)
        self._utc_ms = utc_ms
        self._rooms: dict[str, int] = {}  # ids of rooms by name
        self._committed_ms: int | None = None
        self._trouble: str | None = None  # why the queue can't be written
        # While it is open:
        self._queue: Queue | None = None
        self._task: asyncio.Task[None] | None = None  # that writes it
        # By position, not by name: a dict for each message and its way through the compiler cost 5 microseconds.
        marks = ["?" if self._database.is_sqlite else "%s"] * len(_COLUMNS)
        self._insert = f"INSERT INTO events({', '.join(_COLUMNS)}) VALUES ({', '.join(marks)})"  # noqa: S608

    # What is said in public rooms

    def keep(self, event: Numbered, done: Confirmed) -> bool:
        if self._queue is None or event.room not in self._rooms:
            return False
        return self._queue.add(event, done)

    async def page(
        self, room: str, *, before: int | None = None, after: int | None = None, limit: int, characters: int
    ) -> Found:
        async def work(connection: AsyncConnection) -> Found:
            first, last = await self._span(connection, room)
            asked = select(events).where(events.c.kind == MESSAGE).limit(limit + 1)
            if after is not None:
                asked = asked.where(events.c.id.between(first + _off(after) + 1, last)).order_by(events.c.id)
            else:
                end = last if before is None else first + _off(before) - 1
                asked = asked.where(events.c.id.between(first, end)).order_by(events.c.id.desc())
            found = await _remembered(connection, asked, room)
            fitting = _fitting(found, limit, characters)
            return Found(fitting if after is not None else fitting[::-1], len(fitting) < len(found))

        return await self._database.read(work)

    async def recent(self, room: str, *, limit: int, characters: int) -> Sequence[Numbered]:
        async def work(connection: AsyncConnection) -> Sequence[Numbered]:
            first, last = await self._span(connection, room)
            highest = next((known.off for known in await self._found_rooms(connection) if known.name == room), 0)
            asked = _as_now().where(events.c.id.between(first, last)).order_by(events.c.id.desc()).limit(limit)
            found: list[Numbered] = []
            left = characters
            for row in await connection.execute(asked):
                event = as_event(room, row)
                left -= len(event.text) if isinstance(event, Message | Edited) else 0
                if event.off != highest - len(found) or left < 0:
                    break
                found.append(event)
            return found[::-1]

        return await self._database.read(work)

    async def missed(self, since: Position, upto: int, *, limit: int = 1000) -> Sequence[Numbered] | None:
        if since.off < 0 or not 0 <= upto - since.off <= limit:
            return None

        async def work(connection: AsyncConnection) -> Sequence[Numbered] | None:
            first, _ = await self._span(connection, since.room)
            there = await connection.execute(
                _as_now().where(events.c.id.between(first + since.off, first + upto)).order_by(events.c.id)
            )
            found = [as_event(since.room, row) for row in there]
            last_seen = found.pop(0) if found and found[0].off == since.off else None
            if len(found) != upto - since.off:
                return None
            # One who saw nothing saw nothing else. Otherwise the numbering in which it saw the last one must be this
            # one: the event itself is in it, or, if that came before a restart, the next one is.
            near = [event.epoch for event in (last_seen, *found[:1]) if event is not None]
            return found if since.off == 0 or since.epoch in near else None

        return await self._database.read(work)

    async def find(self, mid: str) -> Remembered | None:
        async def work(connection: AsyncConnection) -> Remembered | None:
            asked = select(events).where(events.c.mid == mid, events.c.kind == MESSAGE)
            return next(iter(await _remembered(connection, asked)), None)

        return await self._database.read(work)

    async def search(
        self, text: str, *, room: str | None = None, before_ms: int | None = None, limit: int = 50
    ) -> Found:
        words = text.replace("\0", " ").split()[:_WORDS]
        if not words:
            return Found((), False)

        async def work(connection: AsyncConnection) -> Found:
            opened = select(rooms.c.name).where(~rooms.c.archived)
            names = [room] if room is not None else (await connection.execute(opened)).scalars().all()
            found = []
            for name in names:  # each in the order of its ids: no room's matches must all be sorted
                asked = self._matching(words).where(events.c.id.between(*await self._span(connection, name)))
                if before_ms is not None:
                    asked = asked.where(events.c.ts < before_ms)
                found += await _remembered(connection, asked.order_by(events.c.id.desc()).limit(limit + 1), name)
            found.sort(key=lambda remembered: remembered.message.ts, reverse=True)
            return Found(found[:limit], len(found) > limit)

        return await self._database.read(work)

    def _matching(self, words: Sequence[str]) -> Select[Any]:
        if self._database.is_sqlite:
            quoted = " ".join('"' + word.replace('"', '""') + '"' for word in words)
            matches = sql("search MATCH :words").bindparams(words=quoted)
            return select(events).join(sql("search"), sql("search.rowid = events.id")).where(matches)
        matches = sql("events.search @@ plainto_tsquery('simple', :words)").bindparams(words=" ".join(words))
        return select(events).where(matches)

    # Rooms

    async def rooms(self) -> Sequence[StoredRoom]:
        return await self._database.read(self._found_rooms)

    async def make_room(self, name: str, title: str) -> StoredRoom:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_MAKE_ROOM, {"name": name, "title": title})

        await self._database.write(work, lock="rooms")
        return next(room for room in await self.rooms() if room.name == name)

    async def change_room(
        self,
        name: str,
        *,
        title: str | None = None,
        locked: bool | None = None,
        slow_ms: int | None = None,
        archived: bool | None = None,
    ) -> None:
        given = {"title": title, "locked": locked, "slow_ms": slow_ms, "archived": archived}
        changes = {field: value for field, value in given.items() if value is not None}

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(update(rooms).where(rooms.c.name == name).values(**changes))).rowcount

        if changes and not await self._database.write(work):
            raise StoreError("there is no such room")

    async def _found_rooms(self, connection: AsyncConnection) -> list[StoredRoom]:
        greater = func.max if self._database.is_sqlite else func.greatest
        off = greater(rooms.c.off, func.coalesce(_highest(), 0))
        there = (await connection.execute(select(rooms, off.label("now")).order_by(rooms.c.id))).all()
        self._rooms.update((row.name, row.id) for row in there)
        return [StoredRoom(row.name, row.title, row.locked, row.slow_ms, row.archived, row.now) for row in there]

    async def _known_keys(self, connection: AsyncConnection) -> dict[str, list[KnownKey]]:
        asked = select(events).where(
            events.c.ts >= self._utc_ms() - KEYS_MS, events.c.kind == MESSAGE, events.c.key.is_not(None)
        )
        names = {id: name for name, id in self._rooms.items()}
        known: dict[str, list[KnownKey]] = {}
        for row in await connection.execute(asked.order_by(events.c.id)):
            is_changed = row.deleted or row.edited is not None
            said = None if is_changed else hash((row.text, row.reply_to))
            key = KnownKey(row.person, row.key, row.epoch, row.id % SPAN, row.mid, row.ts, said)
            known.setdefault(names[row.room], []).append(key)
        return known

    async def _span(self, connection: AsyncConnection, room: str) -> tuple[int, int]:
        """The ids that events of the room can have; the first one is that of offset 0, which none has."""
        id = self._rooms.get(room)
        if id is None:  # another process may have made it
            id = (await connection.execute(select(rooms.c.id).where(rooms.c.name == room))).scalar()
        return (0, -1) if id is None else (id * SPAN, (id + 1) * SPAN - 1)

    # Records

    async def put(self, *records: R) -> None:
        async def work(connection: AsyncConnection) -> None:
            for record in records:
                table = RECORDS[type(record)]
                row = record_row(record)
                key = [table.c[field] == row[field] for field in KEYS[type(record)]]
                await connection.execute(delete(table).where(*key))
                await connection.execute(insert(table), row)

        await self._database.write(work)

    async def get(self, kind: type[R], *key: str) -> R | None:
        found = await self.select(kind, limit=1, **dict(zip(KEYS[kind], key, strict=True)))
        return found[0] if found else None

    async def select(self, kind: type[R], *, limit: int = 1000, **equal: str | int | bool | None) -> Sequence[R]:
        table = RECORDS[kind]
        asked = select(table).filter_by(**equal).order_by(table.c[NEWER[kind]].desc(), *table.primary_key).limit(limit)

        async def work(connection: AsyncConnection) -> list[R]:
            return [as_record(kind, row) for row in await connection.execute(asked)]

        return await self._database.read(work)

    async def remove(self, kind: type[R], *key: str) -> bool:
        table = RECORDS[kind]
        asked = delete(table).filter_by(**dict(zip(KEYS[kind], key, strict=True)))

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(asked)).rowcount > 0

        return await self._database.write(work)

    async def rules(self) -> Rules:
        now = self._utc_ms()

        async def work(connection: AsyncConnection) -> Rules:
            bans, mutes, blocks = RECORDS[Ban], RECORDS[Mute], RECORDS[Block]
            holds = [or_(table.c.until_ms.is_(None), table.c.until_ms > now) for table in (bans, mutes)]
            return Rules(
                [
                    as_record(Ban, row)
                    for row in await connection.execute(
                        select(bans).where(holds[0], bans.c.subject != "").order_by(bans.c.since_ms)
                    )
                ],
                [
                    as_record(Mute, row)
                    for row in await connection.execute(select(mutes).where(holds[1]).order_by(mutes.c.since_ms))
                ],
                [as_record(Block, row) for row in await connection.execute(select(blocks).order_by(blocks.c.since_ms))],
            )

        return await self._database.read(work)

    async def decide(self, ref: str, *, decision: str, by: str) -> Report | None:
        reports = RECORDS[Report]
        now = self._utc_ms()

        async def work(connection: AsyncConnection) -> Report | None:
            decided = await connection.execute(
                update(reports)
                .where(reports.c.ref == ref, reports.c.state == "open")
                .values(state="decided", decision=decision, decided_ms=now, decided_by=by)
            )
            if not decided.rowcount:
                return None
            return as_record(Report, (await connection.execute(select(reports).where(reports.c.ref == ref))).one())

        return await self._database.write(work)

    async def audit(self, *, actor: str, action: str, subject: str = "", details: str = "{}") -> AuditEntry:
        now = self._utc_ms()

        async def work(connection: AsyncConnection) -> AuditEntry:
            last = (await connection.execute(select(audit).order_by(audit.c.n.desc()).limit(1))).first()
            entry = chained(
                None if last is None else AuditEntry(*last),
                ts=now,
                actor=actor,
                action=action,
                subject=subject,
                details=details,
            )
            await connection.execute(insert(audit), {column.name: getattr(entry, column.name) for column in audit.c})
            return entry

        return await self._database.write(work, lock="audit")

    async def audited(self, *, before: int | None = None, limit: int = 100) -> Sequence[AuditEntry]:
        asked = select(audit).order_by(audit.c.n.desc()).limit(limit)
        if before is not None:
            asked = asked.where(audit.c.n < before)

        async def work(connection: AsyncConnection) -> list[AuditEntry]:
            return [AuditEntry(*row) for row in await connection.execute(asked)]

        return await self._database.read(work)

    async def broken_audit(self) -> int | None:
        previous: AuditEntry | None = None
        while True:
            asked = select(audit).where(audit.c.n > (previous.n if previous else 0)).order_by(audit.c.n).limit(_AT_ONCE)

            async def work(connection: AsyncConnection, asked: Select[Any] = asked) -> list[AuditEntry]:
                return [AuditEntry(*row) for row in await connection.execute(asked)]

            entries = await self._database.read(work)
            broken = first_broken(entries, previous)
            if broken is not None or not entries:
                return broken
            previous = entries[-1]

    # The whole

    async def open(self) -> Sequence[StoredRoom]:
        if self._queue is not None:
            raise StoreError("the store is open already")
        self._database.connect()
        try:
            await self._database.migrate(may_migrate=self._database.is_sqlite)

            async def work(connection: AsyncConnection) -> list[StoredRoom]:
                found = await self._found_rooms(connection)
                keys = await self._known_keys(connection)
                return [replace(room, keys=keys.get(room.name, ())) for room in found]

            found = await self._database.read(work)
        except BaseException:
            await self._database.disconnect()
            raise
        self._queue = Queue(self._database.scheduler)
        self._task = asyncio.create_task(self._serve(self._queue))
        return found

    async def migrate(self) -> None:
        """Bring the database to this version's schema, in one transaction. The store must not be open."""
        self._database.connect()
        try:
            await self._database.migrate(may_migrate=True)
        finally:
            await self._database.disconnect()

    async def close(self) -> int:
        queue, task = self._queue, self._task
        if queue is None or task is None:
            return 0
        self._queue = None
        with suppress(Unavailable):
            await self._database.in_time(queue.wait_empty())
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        lost = queue.give_up()
        await self._database.disconnect()
        self._rooms.clear()
        return lost

    async def forget(self, retention: Retention) -> int:
        now = self._utc_ms()
        forgotten = 0
        if retention.messages is not None:
            while True:
                step = partial(self._forget_events, now - retention.messages * _DAY_MS)
                done = await self._database.write(step)
                forgotten += done
                if done < _AT_ONCE:
                    break
        await self._database.write(partial(self._forget_records, retention, now))
        if self._database.is_sqlite:
            await self._erase()
        return forgotten

    async def backup(self, file: Path) -> None:
        if not self._database.is_sqlite:
            raise StoreError("PostgreSQL makes its own backups: use pg_dump")
        draft = file.with_name(f"{file.name}.part")
        await asyncio.to_thread(_create_private, draft, file)
        try:
            async with self._database.snapshot() as connection:
                await connection.rollback()  # VACUUM takes a view of its own
                await connection.exec_driver_sql("PRAGMA query_only = OFF")  # it writes, if elsewhere
                await connection.exec_driver_sql("VACUUM INTO ?", (str(draft),))
            await asyncio.to_thread(_publish, draft, file)
        finally:
            await asyncio.to_thread(draft.unlink, missing_ok=True)

    async def export(self) -> AsyncGenerator[str, None]:
        async with self._database.snapshot() as connection:
            yield json.dumps({"parlour": "export", "schema": await connection.run_sync(revision_of)})
            for table in metadata.sorted_tables:
                rows = await connection.stream(select(table).order_by(*table.primary_key))
                async for row in rows.yield_per(_AT_ONCE):
                    yield json.dumps({"table": table.name, "row": dict(row._mapping)}, default=_as_base64)

    async def import_(self, lines: AsyncIterable[str]) -> int:
        async def work(connection: AsyncConnection) -> int:
            for table in metadata.sorted_tables:
                if (await connection.execute(select(func.count()).select_from(table))).scalar():
                    raise StoreError("the store is not empty: import into a new one")
            total = 0
            async for name, rows in _parsed(lines, await connection.run_sync(revision_of)):
                await connection.execute(insert(metadata.tables[name]), rows)
                total += len(rows)
            if self._database.is_sqlite:
                await connection.execute(_INDEX_ALL)
            return total

        with translated():
            imported = await self._database.transact(work, "rooms")
        await self.rooms()  # which are this store's from now on
        return imported

    async def ready(self) -> str | None:
        if self._queue is None:
            return "the store is not open"
        if self._trouble is not None:
            return self._trouble

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(sql("SELECT 1"))

        try:
            await self._database.read(work)
        except StoreError as error:
            return str(error)
        return None

    def stats(self) -> Stats:
        queue = self._queue
        if queue is None:
            return Stats(0, 0, self._committed_ms, "the store is not open")
        return Stats(len(queue), queue.bytes, self._committed_ms, self._trouble)

    # Writing

    async def _serve(self, queue: Queue) -> None:
        """Write what is queued, as long as the store is open."""
        while True:
            await queue.wait_filled()
            pause = FIRST_PAUSE
            while len(queue):
                waiting = queue.all()
                try:
                    with translated():
                        others = await self._store(waiting)
                except Exception as error:  # whatever it is: those who come later must not wait for a restart
                    self._note(str(error) if isinstance(error, StoreError) else type(error).__name__, len(queue))
                    await self._database.pause(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
                else:
                    self._note(None, len(queue))
                    self._committed_ms = self._utc_ms()
                    queue.settle(waiting, others)
                    if len(waiting) >= _BUSY:
                        await asyncio.sleep(_GATHER)  # the database's pace, which no clock of a test knows

    def _note(self, trouble: str | None, waiting: int) -> None:
        """Log when trouble begins and when it is over, and nothing between."""
        if trouble is not None and self._trouble is None:
            logger.error("messages can't be stored now: %s; %d wait, and the chat goes on", trouble, waiting)
        elif trouble is None and self._trouble is not None:
            logger.warning("messages are stored again")
        self._trouble = trouble

    async def _store(self, waiting: Sequence[Numbered]) -> dict[int, Kept]:
        """Commit these events; what did not become of them as usual, by index."""
        try:
            await self._database.transact(partial(self._insert_events, waiting))
        except (exc.IntegrityError, exc.DataError, UnicodeError):
            # One of them is there already, or can't be: find out which.
            return await self._database.transact(partial(self._insert_each, waiting), "")
        return {}

    async def _insert_each(self, waiting: Sequence[Numbered], connection: AsyncConnection) -> dict[int, Kept]:
        others: dict[int, Kept] = {}
        for index, event in enumerate(waiting):
            kept = await self._insert_one(event, connection)
            if kept is not Kept.STORED:
                others[index] = kept
        return others

    async def _insert_one(self, event: Numbered, connection: AsyncConnection) -> Kept:
        id = self._rooms[event.room] * SPAN + event.off
        asked = select(events.c.epoch, events.c.kind, events.c.mid).where(events.c.id == id)
        there = (await connection.execute(asked)).first()
        if there is not None:
            return Kept.STORED if tuple(there) == (event.epoch, kind_of(event), event.mid) else Kept.REFUSED
        for kept in (Kept.STORED, Kept.CONFLICT):
            try:
                async with connection.begin_nested():
                    await self._insert_events([event], connection, with_keys=kept is Kept.STORED)
            except (exc.IntegrityError, exc.DataError, UnicodeError):
                continue
            return kept
        logger.error("the database refused an event of a public room; it will not be stored")
        return Kept.REFUSED

    async def _insert_events(
        self, waiting: Sequence[Numbered], connection: AsyncConnection, *, with_keys: bool = True
    ) -> None:
        rows = [event_row(self._rooms[event.room], event) for event in waiting]
        if not with_keys:
            rows = [(*row[:_KEY], None, *row[_KEY + 1 :]) for row in rows]
        await self._database.execute_many(connection, self._insert, rows)
        if self._database.is_sqlite:
            texts = [(row[0], row[_TEXT]) for row in rows if row[_KIND] == "message" and not row[_IS_DELETED]]
            if texts:
                await self._database.execute_many(connection, _INDEX, texts)
        changes = [event for event in waiting if not isinstance(event, Message)]
        if changes:
            await self._apply(changes, connection)

    async def _apply(self, changes: Sequence[Numbered], connection: AsyncConnection) -> None:
        """Make of the messages what these events say: of several that concern the same thing, the last counts."""
        reacted: dict[tuple[str, str, str], Reacted] = {}
        unreacted: dict[tuple[str, str, str], dict[str, str]] = {}
        edited: dict[str, Edited] = {}
        deleted: dict[str, Deleted] = {}
        for event in changes:
            match event:
                case Reacted():
                    what = event.mid, event.emoji, event.sender.id
                    reacted[what] = event
                    if not event.on:
                        unreacted[what] = {"mid": event.mid, "emoji": event.emoji, "person": event.sender.id}
                case Edited():
                    edited[event.mid] = event
                case Deleted():
                    deleted[event.mid] = event
        whose = [{"mid": mid} for mid in {**edited, **deleted}]
        said = [{"mid": mid, "text": event.text, "ts": event.ts} for mid, event in edited.items()]
        gone = [{"mid": mid} for mid in deleted]
        felt = [
            {"mid": event.mid, "emoji": event.emoji, "person": event.sender.id, "off": event.off}
            for event in reacted.values()
            if event.on
        ]
        for statement, rows in (
            (_UNREACT, list(unreacted.values())),
            (_REACT, felt),
            (_UNINDEX, whose if self._database.is_sqlite else []),
            (_EDIT, said),
            (_CLEAR, gone),
            (_EMPTY, gone),
            (_INDEX_AGAIN, [{"mid": mid} for mid in edited] if self._database.is_sqlite else []),
        ):
            if rows:
                await connection.execute(statement, rows)

    async def _forget_events(self, before_ms: int, connection: AsyncConnection) -> int:
        asked = select(events.c.id).where(events.c.ts < before_ms).order_by(events.c.ts).limit(_AT_ONCE)
        ids = (await connection.execute(asked)).scalars().all()
        if ids:
            await connection.execute(update(rooms).values(off=_highest()).where(_highest() > rooms.c.off))
            if self._database.is_sqlite:
                await connection.execute(_UNINDEX_ALL, {"ids": ids})
            await connection.execute(delete(events).where(events.c.id.in_(ids)))
        return len(ids)

    async def _forget_records(self, retention: Retention, now: int, connection: AsyncConnection) -> None:
        reports, bans = RECORDS[Report], RECORDS[Ban]
        if retention.reports is not None:
            await connection.execute(
                delete(reports).where(
                    reports.c.state == "decided", reports.c.decided_ms < now - retention.reports * _DAY_MS
                )
            )
        if retention.addresses is not None:
            await connection.execute(
                update(bans)
                .where(bans.c.kind == "address", bans.c.since_ms < now - retention.addresses * _DAY_MS)
                .values(subject="")
            )

    async def _erase(self) -> None:
        """Take what was deleted out of the files of SQLite: the words from the search index, which otherwise only marks
        them, and all of it from the log of writes. (`secure_delete` has overwritten it in the database itself.)"""
        pages = -_AT_ONCE  # negative: begin anew with the whole index
        while await self._database.write(partial(_merge_index, pages)):
            pages = _AT_ONCE
        pause = FIRST_PAUSE
        due = self._database.scheduler.time() + CONFIRM_SECONDS
        while not await self._database.checkpoint():  # somebody reads what is in the log
            if self._database.scheduler.time() + pause >= due:
                logger.warning(
                    "the database's -wal file holds what was deleted until the next clean-up: it is being read"
                )
                break
            await self._database.pause(pause)


# Parts of statements, and what is done with rows


def _highest() -> ScalarSelect[int]:
    """The highest offset that is there of a room, NULL if none is."""
    ids = events.c.id.between(rooms.c.id * SPAN, (rooms.c.id + 1) * SPAN - 1)
    return select(func.max(events.c.id) - rooms.c.id * SPAN).where(ids).scalar_subquery()


def _as_now() -> Select[Any]:
    """Events, each with the text that its message has now."""
    changed = events.alias()
    now = select(changed.c.text).where(changed.c.mid == events.c.mid, changed.c.kind == MESSAGE)
    return select(events, now.scalar_subquery().label("now"))


async def _remembered(connection: AsyncConnection, asked: Select[Any], room: str | None = None) -> list[Remembered]:
    """Messages as they are now; their room is looked up if it is not given."""
    rows = (await connection.execute(asked)).all()
    names: dict[int, str] = {}
    if rows and room is None:
        ids = await connection.execute(select(rooms.c.id, rooms.c.name))
        names = {row.id: row.name for row in ids}
    reacted: dict[int, dict[str, list[str]]] = {}
    if rows:
        felt = select(reactions).where(reactions.c.message.in_([row.id for row in rows])).order_by(reactions.c.off)
        for message, emoji, person, _ in await connection.execute(felt):
            reacted.setdefault(message, {}).setdefault(emoji, []).append(person)
    return [as_remembered(room or names[row.room], row, reacted.get(row.id, {})) for row in rows]


def _off(off: int) -> int:
    """A number as an offset that a room can have: clients ask with any."""
    return max(0, min(off, SPAN - 1))


def _fitting(found: Sequence[Remembered], limit: int, characters: int) -> Sequence[Remembered]:
    """The first of these messages, at least one: at most `limit`, and not more text than `characters`."""
    for number, remembered in enumerate(found):
        characters -= len(remembered.message.text)
        if number == limit or (number and characters < 0):
            return found[:number]
    return found


async def _merge_index(pages: int, connection: AsyncConnection) -> bool:
    """Merge about so many pages of SQLite's search index, which drops what is marked as deleted. Is there more to do?

    https://sqlite.org/fts5.html#the_merge_command
    """
    changes = sql("SELECT total_changes()")
    before = (await connection.execute(changes)).scalar_one()
    await connection.execute(sql("INSERT INTO search(search, rank) VALUES ('merge', :pages)"), {"pages": pages})
    return bool((await connection.execute(changes)).scalar_one() - before >= 2)


# Copies


def _create_private(draft: Path, file: Path) -> None:
    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if file.exists():
            draft.unlink()
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
    except OSError as error:
        raise StoreError(f"no backup can be written: {error.filename}: {error.strerror}") from None


def _publish(draft: Path, file: Path) -> None:
    """Give the finished file its name, once it is on the disk: SQLite does not wait for that."""
    try:
        descriptor = os.open(draft, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(draft, file)  # fails if it is there meanwhile
    except OSError as error:
        raise StoreError(f"no backup can be written: {file}: {error.strerror}") from None


def _as_base64(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)


async def _parsed(lines: AsyncIterable[str], revision: str | None) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """Some rows of one table at a time, in the order of the lines. Raises `StoreError` for any but `export`'s."""
    name, rows, number = "", list[dict[str, Any]](), 0
    async for line in lines:
        number += 1
        try:
            fields = json.loads(line)
            if number == 1:
                if (fields["parlour"], fields["schema"]) != ("export", revision):
                    raise StoreError(
                        "the export is of another version of Parlour: import it with that one, then update"
                    )
                continue
            table, row = metadata.tables[fields["table"]], fields["row"]
            if row.keys() != set(table.columns.keys()):
                raise KeyError
            if "evidence" in row:
                row["evidence"] = base64.b64decode(row["evidence"], validate=True)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StoreError(f"line {number} is not of an export of Parlour") from None
        if rows and (table.name != name or len(rows) >= _AT_ONCE):
            yield name, rows
            rows = []
        name = table.name
        rows.append(row)
    if rows:
        yield name, rows
