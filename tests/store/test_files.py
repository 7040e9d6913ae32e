"""What is, and is no longer, in the files of SQLite (fault 38); backups."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from parlour.core.records import Ban, Report, Retention
from parlour.store import StoreError
from parlour.store.sql import SqlStore
from tests.store.world import DAY, NOW, Clock, Listener, deleted, edited, opened, said

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sqlite(file: Path, clock: Clock) -> AsyncIterator[SqlStore]:
    store = opened(f"sqlite:///{file}", clock)
    await store.open()
    await store.make_room("public", "Public")
    yield store
    await store.close()


def rights(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def in_files(file: Path, canary: str) -> list[str]:
    """The files of the database that hold the bytes."""
    return [path.name for path in sorted(file.parent.iterdir()) if canary.encode() in path.read_bytes()]


def canaries(number: int) -> list[str]:
    """Words that search keeps whole, and in which none is the beginning of another."""
    return [f"{number * 7919 + index:05d}zqx{index:04d}canary" for index in range(number)]


async def test_retention(sqlite: SqlStore, file: Path, clock: Clock) -> None:
    """A thousand canaries, among what stays; also reports and addresses."""
    words = canaries(1000)
    listener = Listener(sqlite, clock)
    for start in range(0, 1000, 100):
        await listener.keep_all(
            *(
                said(off, f"hello {words[off - 1]} {'x' * (off * 7 % 5000)} {words[off - 1]}")
                for off in range(start + 1, start + 101)
            )
        )
        await listener.keep_all(said(1001 + start, f"stays {start}", ts=20 * DAY))
    await sqlite.put(Ban("b", "address", "canaryaddress", "", NOW, None, "op"))
    await sqlite.put(Report("r", "public", "a", None, "", "canarynote", NOW, b"canaryseal", "decided", "", NOW, "op"))
    clock.utc = NOW + 91 * DAY
    assert in_files(file, words[0])
    assert in_files(file, "canaryseal")
    assert await sqlite.forget(Retention(messages=80)) == 1000
    left = {word for word in [*words, "canaryaddress", "canarynote", "canaryseal"] if in_files(file, word)}
    assert left == set()
    assert not [word for word in words[:50] if (await sqlite.search(word)).messages]
    assert len((await sqlite.search("stays")).messages) == 10


async def test_deleted_and_changed_texts(sqlite: SqlStore, file: Path, clock: Clock) -> None:
    """They are gone with the next clean-up, however young."""
    words = canaries(300)
    listener = Listener(sqlite, clock)
    for index, word in enumerate(words):
        off = 3 * index + 1
        await listener.keep_all(said(off, f"{word} {'y' * (index * 31)}"), said(off + 1, "stays"))
    for index in range(300):
        off = 3 * index + 1
        if index % 2:
            await listener.keep_all(deleted(off + 2, off))
        else:
            await listener.keep_all(edited(off + 2, off, "harmless"))
    assert not [word for word in words if (await sqlite.search(word)).messages]
    assert await sqlite.forget(Retention()) == 0
    assert {word for word in words if in_files(file, word)} == set()
    assert len((await sqlite.search("harmless", limit=200)).messages) == 150


async def test_while_somebody_reads(
    sqlite: SqlStore, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A long read holds the log of writes: that is said, and the next clean-up does it."""
    listener = Listener(sqlite, clock)
    await listener.keep_all(said(1, "canary"))
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM events").fetchall()
        await listener.keep_all(deleted(2, 1))
        task = asyncio.create_task(sqlite.forget(Retention()))
        await clock.until(task.done, advancing=0.5)
        assert "it is being read" in caplog.text
        await listener.keep_all(said(3))
    await sqlite.forget(Retention())
    assert in_files(file, "canary") == []


async def test_backup(sqlite: SqlStore, file: Path, clock: Clock, tmp_path: Path) -> None:
    """While messages are written: a database that works by itself, as it was at one moment, for its owner alone."""
    listener = Listener(sqlite, clock)
    await listener.keep_all(*(said(off, f"text {off}") for off in range(1, 1001)))
    copy = tmp_path / "copy.db"
    task = asyncio.create_task(sqlite.backup(copy))
    off = 1000
    while not task.done():
        off += 1
        await listener.keep_all(said(off, f"text {off}"))
    await task
    assert rights(tmp_path) == {"copy.db": 0o600, "data": 0o700}
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = opened(f"sqlite:///{copy}", clock)
    (room,) = await store.open()
    assert 1000 <= room.off <= off
    assert len((await store.search("text", limit=5000)).messages) == room.off
    await Listener(store, clock).keep_all(said(room.off + 1, "goes on"))
    await store.close()


async def test_a_backup_overwrites_nothing(sqlite: SqlStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    with pytest.raises(StoreError, match="File exists"):
        await sqlite.backup(copy)
    assert copy.read_text() == "precious"
    with pytest.raises(StoreError, match="No such file"):
        await sqlite.backup(tmp_path / "nowhere" / "copy.db")


async def test_postgres_has_its_own(postgres_url: str, clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="pg_dump"):
        await opened(postgres_url, clock).backup(tmp_path / "copy.db")
