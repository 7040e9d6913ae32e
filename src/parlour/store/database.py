"""How the store reaches its database: connections, transactions, how long they may take, and the schema.

All writing goes through one connection, one transaction after the other; reading has connections of its own, which on
SQLite see the last commit and disturb nobody.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite
from sqlalchemy import Connection, event, exc
from sqlalchemy import text as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool, Pool

from parlour.engine import Scheduler
from parlour.store import CONFIRM_SECONDS, SchemaError, StoreError, Unavailable

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds between two tries: each is twice as long as the one before."""

_BUSY_SECONDS: Final = 0.1  # that SQLite itself waits for a lock; it can't be told to stop
_READERS: Final = 4

_T = TypeVar("_T")

_POSTGRES: Final = {
    "connect_timeout": int(CONFIRM_SECONDS),
    "options": f"-c statement_timeout={CONFIRM_SECONDS}s -c lock_timeout=2s -c idle_in_transaction_session_timeout=60s",
    "tcp_user_timeout": int(1000 * CONFIRM_SECONDS),
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}

_TROUBLES: Final = {
    "SQLITE_BUSY": "it is locked by another process",
    "SQLITE_LOCKED": "it is locked by another process",
    "SQLITE_FULL": "the disk is full",
    "SQLITE_IOERR": "the disk failed",
    "SQLITE_READONLY": "it can only be read",
    "SQLITE_CANTOPEN": "the file can't be opened",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is not a database",
}


class Database:
    """A database, and one connection that writes to it.

    What runs in a transaction is handed in as `work`. It may be run again, so it does nothing but use its connection.
    `transact` raises what the database raises; all else raises `StoreError` or its children.
    """

    def __init__(self, address: str | Path, scheduler: Scheduler | None) -> None:
        self._url = _checked_url(address)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._given_scheduler = scheduler
        # Between `connect` and `disconnect`:
        self.scheduler: Scheduler
        self._writers: AsyncEngine
        self._readers: AsyncEngine
        self._lock: asyncio.Lock  # of who writes
        self._connection: AsyncConnection | None = None  # that one writes through
        self._abandoned: set[asyncio.Task[Any]] = set()  # that nobody waits for any more

    def connect(self) -> None:
        """Make ready; a SQLite file is made if there is none."""
        self.scheduler = self._given_scheduler or asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        if self.is_sqlite:
            _create_file(Path(self._url.database or ""))
        self._writers = self._engine(writes=True)
        self._readers = self._engine()

    async def disconnect(self) -> None:
        """Let go of all connections."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=LONGEST_PAUSE)
        if self._connection is not None:
            with suppress(exc.SQLAlchemyError):
                await self._connection.close()
            self._connection = None
        await self._writers.dispose()
        await self._readers.dispose()

    def _engine(self, *, writes: bool = False, pool: type[Pool] = AsyncAdaptedQueuePool) -> AsyncEngine:
        """What people said is in parameters and rows. So SQLAlchemy must not put the ones into the texts of exceptions,
        nor log the others."""
        logging.getLogger("sqlalchemy.engine.Engine.parlour").setLevel(logging.WARNING)
        size = {} if pool is NullPool else {"pool_size": 1 if writes else _READERS, "max_overflow": 0}
        limits = {} if pool is NullPool else {"pool_timeout": CONFIRM_SECONDS, "pool_pre_ping": not self.is_sqlite}
        options: dict[str, Any] = {
            "hide_parameters": True,
            "logging_name": "parlour",
            "poolclass": pool,
            **size,
            **limits,
        }
        if not self.is_sqlite:
            isolation = "READ COMMITTED" if writes else "REPEATABLE READ"
            return create_async_engine(self._url, isolation_level=isolation, connect_args=_POSTGRES, **options)
        logging.getLogger("aiosqlite").setLevel(logging.WARNING)  # below, it logs parameters
        # With IMMEDIATE, sqlite3 begins a transaction by itself before the first INSERT, which spares three trips to
        # the connection's thread, some 100 microseconds. Who reads begins for itself.
        arguments = {"timeout": _BUSY_SECONDS, "isolation_level": "IMMEDIATE" if writes else None}
        engine = create_async_engine(self._url, connect_args=arguments, **options)
        event.listen(engine.sync_engine, "connect", partial(_prepare, writes))
        return engine

    def _check_schema(self, may_migrate: bool, connection: Connection) -> None:
        """Bring the schema to this version, or see that it is. Imported late: only who opens a database needs it."""
        from alembic import command
        from alembic.migration import MigrationContext
        from alembic.script import ScriptDirectory

        config = _alembic(connection)
        scripts = ScriptDirectory.from_config(config)
        known = [script.revision for script in scripts.walk_revisions()]  # the newest first
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision == known[0]:
            return
        if revision is not None and revision not in known:
            raise SchemaError("the database was made by a newer version of Parlour: install that one")
        if not may_migrate:
            state = "empty" if revision is None else "of an older version of Parlour"
            raise SchemaError(f"the database is {state}: make a backup and run `parlour admin migrate`")
        if not self.is_sqlite:
            connection.execute(sql("SET LOCAL statement_timeout = 0"))
        command.upgrade(config, "head")

    async def migrate(self, *, may_migrate: bool) -> None:
        """See that the schema is this version's. It takes what it takes: to migrate is not cut short."""

        async def work(connection: AsyncConnection) -> None:
            await connection.run_sync(partial(self._check_schema, may_migrate))

        await self._tried(work, "")

    async def pause(self, seconds: float) -> None:
        """Wait, by the scheduler's clock."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.scheduler.call_at(self.scheduler.time() + seconds, partial(_wake, woken))
        try:
            await woken
        finally:
            timer.cancel()

    async def in_time(self, work: Coroutine[Any, Any, _T]) -> _T:
        """What `work` gives; raises `Unavailable` after `CONFIRM_SECONDS`, also if `work` can't be cancelled, as when a
        server takes what it is sent and never answers."""
        task = asyncio.create_task(work)
        late = asyncio.create_task(self.pause(CONFIRM_SECONDS))
        try:
            await asyncio.wait({task, late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            late.cancel()
            if not task.done():
                task.cancel()
                self._abandoned.add(task)
                task.add_done_callback(self._bury)
        if not task.done():
            raise Unavailable("the database does not answer")
        return task.result()

    # Transactions

    async def write(self, work: Callable[[AsyncConnection], Awaitable[_T]], lock: str = "") -> _T:
        """What `work` does, in one transaction, or `Unavailable` after `CONFIRM_SECONDS`."""
        return await self.in_time(self._tried(work, lock))

    async def _tried(self, work: Callable[[AsyncConnection], Awaitable[_T]], lock: str) -> _T:
        """As `transact`, again and again while the database can't be used, but not longer than `CONFIRM_SECONDS`."""
        due = self.scheduler.time() + CONFIRM_SECONDS
        pause = FIRST_PAUSE
        while True:
            try:
                with translated():
                    return await self.transact(work, lock)
            except Unavailable:
                if self.scheduler.time() + pause >= due:
                    raise
            await self.pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[_T]], lock: str | None = None) -> _T:
        """What `work` does, in one transaction on the connection that writes.

        It begins with the first INSERT; with a `lock` at once, so that nobody else writes between what `work` reads and
        what it writes: on SQLite at all, on PostgreSQL to the table of that name.
        """
        async with self._lock:
            if self._connection is None:
                self._connection = await self._writers.connect()
            connection = self._connection
            try:
                await connection.begin()
                if lock is not None and self.is_sqlite:
                    await connection.exec_driver_sql("BEGIN IMMEDIATE")
                elif lock:
                    await connection.exec_driver_sql(f"LOCK TABLE {lock} IN SHARE ROW EXCLUSIVE MODE")
                result = await work(connection)
                await connection.commit()
            except BaseException:
                await self._reset(connection)
                raise
            return result

    async def execute_many(self, connection: AsyncConnection, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Execute the driver's own statement for each row.

        On SQLite straight through the driver: SQLAlchemy's way takes five trips to the connection's thread instead of
        two, 13 microseconds a message in batches of 32.
        """
        driver = (await connection.get_raw_connection()).driver_connection
        if not isinstance(driver, aiosqlite.Connection):
            await connection.exec_driver_sql(statement, [tuple(row) for row in rows])
            return
        try:
            await driver.executemany(statement, rows)
        except sqlite3.Error as error:
            raise exc.DBAPIError.instance(statement, None, error, sqlite3.Error, hide_parameters=True) from None

    async def _reset(self, connection: AsyncConnection) -> None:
        try:
            await connection.rollback()
        except Exception:  # it is of no use any more; the next transaction gets another one
            self._connection = None
            with suppress(Exception):
                await connection.invalidate()
                await connection.close()

    async def checkpoint(self) -> bool:
        """Take all that was committed over into SQLite's file, and empty the log of writes; False if somebody reads
        there."""
        with translated():
            async with self._lock:
                if self._connection is None:
                    self._connection = await self._writers.connect()
                try:
                    is_busy, *_ = (await self._connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")).one()
                finally:
                    await self._reset(self._connection)
                return not is_busy

    async def read(self, work: Callable[[AsyncConnection], Awaitable[_T]]) -> _T:
        """What `work` finds, as things are at one moment."""

        async def once() -> _T:
            with translated():
                async with self._readers.connect() as connection:
                    if self.is_sqlite:
                        await connection.exec_driver_sql("BEGIN")
                    return await work(connection)

        return await self.in_time(once())

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads things as they are at one moment, for as long as it takes; none of those that `read`
        waits for."""
        engine = self._engine(pool=NullPool)
        try:
            with translated():
                async with engine.connect() as connection:
                    if self.is_sqlite:
                        await connection.exec_driver_sql("BEGIN")
                    yield connection
        finally:
            await engine.dispose()

    def _bury(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # nobody else asks for it


# Setting up


def _checked_url(database: str | Path) -> URL:
    if isinstance(database, Path):
        return URL.create("sqlite+aiosqlite", database=str(database))
    try:
        url = make_url(database)
    except exc.ArgumentError:
        raise StoreError("not the address of a database; give sqlite:////path/of/file or postgresql://...") from None
    if url.drivername in {"sqlite", "sqlite+aiosqlite"} and url.database not in {None, "", ":memory:"}:
        return url.set(drivername="sqlite+aiosqlite")
    if url.drivername not in {"postgresql", "postgresql+psycopg", "postgres"}:
        raise StoreError(f"{url.drivername} is no database for this; give sqlite:////path/of/file or postgresql://...")
    if find_spec("psycopg") is None:
        raise StoreError("PostgreSQL needs a driver: pip install 'parlour[postgres]'")
    return url.set(drivername="postgresql+psycopg")


def _prepare(writes: bool, connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",  # readers and the writer don't wait for each other
        "synchronous = FULL",  # what was committed survives a power cut
        "foreign_keys = ON",
        "secure_delete = ON",  # what is deleted is overwritten
        "trusted_schema = OFF",
        f"query_only = {'OFF' if writes else 'ON'}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _create_file(file: Path) -> None:
    """A database for the owner alone; SQLite gives the files beside it the same rights."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"{file}: the database can't be opened: {error.strerror}") from None


def _alembic(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "parlour.store:migrations")
    return config


def revision_of(connection: Connection) -> str | None:
    """The version of the schema."""
    from alembic.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)


# Errors


@contextmanager
def translated() -> Iterator[None]:
    """Raises `StoreError` for what the database raises: with the kind of the failure, and none of the words, which may
    hold what was to be stored."""
    try:
        yield
    except (exc.IntegrityError, exc.DataError, exc.ProgrammingError, exc.NotSupportedError) as error:
        raise StoreError(f"the database refused this ({_code(error)})") from None
    except exc.DBAPIError as error:
        code = _code(error)
        known = next((words for prefix, words in _TROUBLES.items() if code.startswith(prefix)), None)
        raise Unavailable("the database can't be used now: " + (known or f"it failed with {code}")) from None
    except (exc.SQLAlchemyError, OSError) as error:
        raise Unavailable(f"the database can't be used now: {type(error).__name__}") from None
    except UnicodeError:
        raise StoreError("the database refused this: it is not Unicode") from None


def _code(error: exc.DBAPIError) -> str:
    """How the driver calls the failure: SQLITE_BUSY, 53100, OperationalError."""
    cause: object = error.orig
    return getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None) or type(cause).__name__
