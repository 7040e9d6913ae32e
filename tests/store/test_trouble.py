"""A database that is locked, full, stopped or away (faults 20 and 17)."""

import asyncio
import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from parlour.core.records import Setting
from parlour.store import CONFIRM_SECONDS, Kept, StoreError, Unavailable
from parlour.store.sql import SqlStore
from tests.store import postgres
from tests.store.test_files import rights
from tests.store.world import Clock, Listener, opened, said

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sqlite(file: Path, clock: Clock) -> AsyncIterator[SqlStore]:
    store = opened(f"sqlite:///{file}", clock)
    await store.open()
    await store.make_room("public", "Public")
    yield store
    await store.close()


async def test_locked(sqlite: SqlStore, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Another process holds the lock for ten seconds: nothing is said to be stored, who waits hears of it within five,
    reading goes on, and afterwards all is stored. Two lines are logged, however many messages wait."""
    listener = Listener(sqlite, clock)
    await listener.keep_all(said(1))
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        listener.keep(*(said(off) for off in range(2, 52)))
        await clock.until(lambda: len(listener.told) == 51, advancing=0.1)
        assert clock.now <= 2 * CONFIRM_SECONDS
        assert listener.told[1:] == [(off, Kept.WAITING) for off in range(2, 52)]
        stats = sqlite.stats()
        assert (stats.queued, stats.trouble) == (50, "the database can't be used now: it is locked by another process")
        assert await sqlite.ready() == stats.trouble
        assert len((await sqlite.page("public", limit=10, characters=100)).messages) == 1
        writing = asyncio.create_task(sqlite.put(Setting("words", "[]")))
        await clock.until(writing.done, advancing=0.1)
        assert isinstance(writing.exception(), Unavailable)
        clock.advance(10)
        other.execute("COMMIT")
    listener.keep(said(52))
    await clock.until(lambda: len(listener.told) == 102, advancing=0.1)
    assert listener.told[51:] == [*((off, Kept.LATE) for off in range(2, 52)), (52, Kept.STORED)]
    assert await sqlite.ready() is None
    messages = [record.getMessage() for record in caplog.records if record.name == "parlour"]
    assert len(messages) == 2, messages
    assert messages[0].startswith("messages can't be stored now: the database can't be used now: it is locked")
    assert messages[1] == "messages are stored again"


async def test_full(sqlite: SqlStore, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The disk is full: as above; what was confirmed before stays readable, and the queue keeps its limit."""
    listener = Listener(sqlite, clock)
    await listener.keep_all(said(1))

    async def limit(pages: int) -> None:
        connection = sqlite._database._connection  # a limit is the connection's own
        assert connection is not None
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        await connection.rollback()

    await limit(1)
    kept = listener.keep(*(said(off, "x" * 10_000) for off in range(2, 2002)))
    assert 1500 < sum(kept) < 2000
    await clock.until(lambda: len(listener.told) == 1 + sum(kept), advancing=0.1)
    assert {told for _, told in listener.told[1:]} == {Kept.WAITING}
    assert "disk is full" in (await sqlite.ready() or "")
    assert listener.keep(said(3000, "x" * 10_000)) == [False]
    await limit(1_000_000)
    await clock.until(lambda: sqlite.stats().queued == 0, advancing=0.1)
    assert {told for _, told in listener.told[-sum(kept) :]} == {Kept.LATE}
    found = await sqlite.page("public", limit=3000, characters=10**9)
    assert len(found.messages) == 1 + sum(kept)
    assert caplog.text.count("can't be stored") == 1


async def test_closed_while_locked(sqlite: SqlStore, file: Path, clock: Clock) -> None:
    """It ends after five seconds, says how much was lost, and whoever waits for it is told to wait."""
    listener = Listener(sqlite, clock)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        listener.keep(said(1), said(2))
        closing_ = asyncio.create_task(sqlite.close())
        await clock.until(closing_.done, advancing=0.1)
        assert closing_.result() == 2
    assert listener.told == [(1, Kept.WAITING), (2, Kept.WAITING)]


async def test_opened_while_locked(file: Path, clock: Clock) -> None:
    store = opened(f"sqlite:///{file}", clock)
    await store.open()
    await store.close()
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(store.open())
        await clock.until(opening.done, advancing=0.1)
        assert isinstance(opening.exception(), Unavailable)
    await store.open()
    await store.close()


@pytest.mark.parametrize("content", [b"no database " * 500, None], ids=["other file", "folder"])
async def test_a_file_that_is_no_database(tmp_path: Path, clock: Clock, content: bytes | None) -> None:
    file = tmp_path / "parlour.db"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    opening = asyncio.create_task(opened(f"sqlite:///{file}", clock).open())
    await clock.until(opening.done, advancing=0.1)
    assert isinstance(opening.exception(), StoreError)


async def test_nothing_is_touched_before_open(file: Path, clock: Clock) -> None:
    store = opened(f"sqlite:///{file}", clock)
    assert store.stats().queued == 0
    with pytest.raises(FileNotFoundError):
        rights(file.parent)
    await store.open()
    assert set(rights(file.parent).values()) == {0o600}
    await store.close()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://host/db", "mysql is no database for this"),
        ("sqlite://", "give sqlite:////path/of/file"),
        ("sqlite:///:memory:", "give sqlite:////path/of/file"),
        ("nonsense", "not the address of a database"),
    ],
)
def test_addresses(address: str, words: str, clock: Clock) -> None:
    with pytest.raises(StoreError, match=words):
        opened(address, clock)


async def test_texts_are_in_no_log(
    sqlite: SqlStore, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at the lowest level, whatever fails."""
    for name in ("", "sqlalchemy", "parlour", "alembic"):
        caplog.set_level(logging.DEBUG, name)
    listener = Listener(sqlite, clock)
    await listener.keep_all(said(1, "canary-text", key="canary-key"))
    listener.keep(said(2, "canary-text", key="canary-key"), said(1, "canary-other", key="canary-key"))
    await sqlite.search("canary-text")
    await clock.until(lambda: len(listener.told) == 3)
    with pytest.raises(StoreError) as raised:
        await sqlite.put(Setting("canary-setting", None))  # type: ignore[arg-type]
    assert "canary" not in caplog.text
    assert "canary" not in str(raised.value)


# PostgreSQL


@pytest.fixture
async def remote(postgres_url: str, clock: Clock) -> AsyncIterator[SqlStore]:
    store = opened(postgres_url, clock)
    await store.migrate()
    await store.open()
    await store.make_room("public", "Public")
    yield store
    await store.close()


async def test_connections_lost(remote: SqlStore, postgres_url: str, clock: Clock) -> None:
    """The server closes all of them: what is said meanwhile is stored, on new ones, and reading works."""
    listener = Listener(remote, clock)
    await listener.keep_all(said(1))
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    listener.keep(said(2))
    await clock.until(lambda: len(listener.told) == 2, advancing=0.01)
    assert listener.told[1][1].survives
    assert len((await remote.page("public", limit=10, characters=100)).messages) == 2


async def test_table_locked(remote: SqlStore, postgres_url: str, clock: Clock) -> None:
    listener = Listener(remote, clock)
    with psycopg.connect(postgres_url) as other:
        other.execute("LOCK TABLE events")
        listener.keep(said(1))
        await clock.until(lambda: bool(listener.told), advancing=0.1)
        assert listener.told == [(1, Kept.WAITING)]
        reading = asyncio.create_task(remote.find("public-1"))
        await clock.until(reading.done, advancing=0.1)
        assert isinstance(reading.exception(), Unavailable)
    await clock.until(lambda: len(listener.told) == 2, advancing=0.1)
    assert listener.told[1] == (1, Kept.LATE)


async def test_server_stopped(
    remote: SqlStore, postgres_server: postgres.Server, postgres_url: str, clock: Clock
) -> None:
    """Its processes answer no more, though the connections stand: nothing hangs, and it recovers."""
    if postgres_server.process is None:
        pytest.skip("the server is not ours to stop")
    listener = Listener(remote, clock)
    await listener.keep_all(said(1))
    with psycopg.connect(postgres_url) as other:
        found = other.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
    pids = [pid for (pid,) in found if _is_there(pid)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        listener.keep(said(2))
        calls = [
            asyncio.create_task(remote.put(Setting("words", "[]"))),
            *(asyncio.create_task(remote.rules()) for _ in range(len(pids))),
        ]
        await clock.until(lambda: all(call.done() for call in calls), advancing=0.1)
        assert isinstance(calls[0].exception(), Unavailable)
        assert {type(call.exception()) for call in calls} <= {Unavailable, type(None)}  # some got a new connection
        assert listener.told[1:] == [(2, Kept.WAITING)]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    await clock.until(lambda: len(listener.told) == 3, advancing=0.1)
    assert listener.told[2] == (2, Kept.LATE)
    await remote.put(Setting("words", "[]"))


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_away(clock: Clock, tmp_path: Path) -> None:
    store = opened(f"postgresql://nobody@/nowhere?host={tmp_path}", clock)
    opening = asyncio.create_task(store.open())
    await clock.until(opening.done, advancing=0.1)
    assert isinstance(opening.exception(), Unavailable)


# kill -9

_CHILD = """
import asyncio, sys, time
from pathlib import Path
from parlour.core.events import Message, Sender
from parlour.store.sql import SqlStore

async def main(file, rate):
    store = SqlStore(Path(file), utc_ms=lambda: time.time_ns() // 1_000_000)
    await store.open()
    room = await store.make_room("public", "Public")
    off, epoch = room.off, f"e{room.off}"
    while True:
        for _ in range(5):
            off += 1
            mid = f"{epoch}-{off}"
            event = Message("public", epoch, off, mid, 0, Sender("p", "ada"), f"text {off}", None, mid)
            line = f"{mid} {off}\\n"
            store.keep(event, lambda kept, line=line: kept.survives and (sys.stdout.write(line), sys.stdout.flush()))
        await asyncio.sleep(5 / rate)

asyncio.run(main(sys.argv[1], 500))
"""


def killed_often(file: Path, kills: int) -> None:
    """Confirmed is a subset of stored; no offset, mid or key is there twice; nothing is missing between."""
    confirmed = dict[str, int]()
    for number in range(kills):
        with subprocess.Popen([sys.executable, "-c", _CHILD, str(file)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            wanted = 5 + 7 * (number % 20)  # so that it dies at all stages
            lines = [child.stdout.readline() for _ in range(wanted)]
            child.kill()
            lines += child.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                mid, off = line.split()
                assert mid not in confirmed
                confirmed[mid] = int(off)
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT mid, id % (1 << 40) FROM events ORDER BY id").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.execute("INSERT INTO search(search, rank) VALUES ('integrity-check', 1)")
    stored = dict(rows)
    assert confirmed.items() <= stored.items()
    assert len(stored) == len(rows)
    assert [off for _, off in rows] == list(range(1, len(rows) + 1))


def test_killed(file: Path) -> None:
    killed_often(file, 5)


@pytest.mark.stress
def test_killed_two_hundred_times(file: Path) -> None:
    killed_often(file, 200)
