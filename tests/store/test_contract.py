"""What `parlour.store.Store` promises, on each database."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_type_hints

import pytest
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import create_async_engine

from parlour.core.events import Numbered, Position, Remembered
from parlour.core.records import (
    KEYS,
    ApiToken,
    Ban,
    Block,
    Consent,
    Found,
    Mute,
    Operator,
    Record,
    Report,
    Retention,
    Setting,
    StoredRoom,
)
from parlour.store import Kept, Store, StoreError, tables
from parlour.store.sql import SqlStore
from tests.store.world import ADA, BO, CY, DAY, NOW, Clock, Listener, deleted, edited, opened, reacted, said

pytestmark = pytest.mark.anyio


def texts(found: Found) -> list[str]:
    return [remembered.message.text for remembered in found.messages]


async def page(store: Store, **asked: int) -> Found:
    return await store.page("public", **{"limit": 100, "characters": 50_000, **asked})


async def reopened(address: str, clock: Clock) -> tuple[SqlStore, list[StoredRoom]]:
    store = opened(address, clock)
    return store, list(await store.open())


# What is said


async def test_what_was_confirmed_is_there_after_a_restart(
    store: SqlStore, listener: Listener, address: str, clock: Clock
) -> None:
    """Text, sender, key, reply and time come back as they were, and rooms know their highest offset."""
    first = said(1, "ünïcödé \U0001f375\n  and a line", key="k1", by=CY)
    second = said(2, "", reply_to="public-1", by=BO)
    await listener.keep_all(first, second, reacted(3, 1), said(1, room="tea"))
    await store.close()

    again, rooms = await reopened(address, clock)
    assert [(room.name, room.title, room.off) for room in rooms] == [("public", "Public", 3), ("tea", "Tea", 1)]
    found = await page(again)
    assert found == Found([Remembered(first, None, {"🍵": ["p-bo"]}), Remembered(second, None, {})], False)
    await again.close()


async def test_done_is_never_called_before_keep_returns(store: SqlStore, listener: Listener, clock: Clock) -> None:
    assert listener.keep(said(1)) == [True]
    assert listener.told == []
    await clock.until(lambda: bool(listener.told))


async def test_confirmations_come_in_order(store: SqlStore, listener: Listener) -> None:
    for start in range(1, 200, 20):
        await listener.keep_all(*(said(off) for off in range(start, start + 20)))
    assert listener.told == [(off, Kept.STORED) for off in range(1, 201)]


async def test_the_same_event_twice_is_stored_once(store: SqlStore, listener: Listener, clock: Clock) -> None:
    """At once or later, and its companions in the transaction are stored all the same."""
    await listener.keep_all(said(1, "one"), said(1, "one"))
    await listener.keep_all(said(2, "two"), said(1, "one"), said(3, "three"))
    assert texts(await page(store)) == ["one", "two", "three"]
    assert texts(await store.search("one")) == ["one"]


async def test_a_place_is_taken_once(store: SqlStore, listener: Listener, clock: Clock) -> None:
    """Another event at a stored offset is refused, as if two processes wrote one room; the others are stored."""
    await listener.keep_all(said(1, "first"))
    usurper = replace(said(1, "second"), mid="other")
    assert listener.keep(usurper, said(2, "two")) == [True, True]
    await clock.until(lambda: len(listener.told) == 3)
    assert listener.told[1:] == [(1, Kept.REFUSED), (2, Kept.STORED)]
    assert texts(await page(store)) == ["first", "two"]
    assert listener.keep(said(3, "queued"), replace(said(3), mid="other")) == [True, False]
    await clock.until(lambda: len(listener.told) == 4)


async def test_a_key_is_taken_once(store: SqlStore, listener: Listener, clock: Clock) -> None:
    """A later message under it is a conflict: it stays in the room's order, without the key. A key is the person's own,
    in each room."""
    await listener.keep_all(said(1, "first", key="k"), said(2, key="k", by=BO), said(1, key="k", room="tea"))
    assert listener.keep(said(3, "again", key="k"), said(4, "other")) == [True, True]
    await clock.until(lambda: len(listener.told) == 5)
    assert listener.told[3:] == [(3, Kept.CONFLICT), (4, Kept.STORED)]
    assert [remembered.message.key for remembered in (await page(store)).messages] == ["k", "k", None, None]


@pytest.mark.parametrize("text", ["lone \ud800", "nul \0"])
async def test_what_the_database_cannot_hold_blocks_nobody(
    store: SqlStore, listener: Listener, clock: Clock, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite holds a NUL, PostgreSQL does not; no wire lets either in. Nothing of it is logged."""
    assert listener.keep(said(1, "one"), said(2, text), said(3, "three")) == [True] * 3
    await clock.until(lambda: len(listener.told) == 3)
    assert listener.told[0] == (1, Kept.STORED)
    assert listener.told[2] == (3, Kept.STORED)
    assert texts(await page(store))[-1] == "three"
    assert "lone" not in caplog.text
    assert "nul" not in caplog.text


async def test_no_room_no_booth(store: SqlStore, listener: Listener) -> None:
    """What is said in a room that nobody made here is not stored, so a booth can't be."""
    assert listener.keep(said(1, room="booth-7")) == [False]
    assert await store.find("booth-7-1") is None
    assert await store.page("booth-7", limit=10, characters=1000) == Found([], False)
    assert store.stats().queued == 0


async def test_a_closed_store_keeps_nothing(store: SqlStore, listener: Listener) -> None:
    assert listener.keep(said(1)) == [True]
    assert await store.close() == 0
    assert listener.told == [(1, Kept.STORED)]  # it was written on the way
    assert listener.keep(said(2)) == [False]
    assert await store.close() == 0
    assert await store.ready() == "the store is not open"


async def test_keys_of_the_last_ten_minutes(store: SqlStore, listener: Listener, address: str, clock: Clock) -> None:
    """A restart knows them, to tell a repeated message from another; where the text was changed it knows no text."""
    old = said(1, key="old", ts=-600_001)
    await listener.keep_all(old, said(2, "hi", key="k1", reply_to="m"), said(3, key="k2"), said(4), edited(5, 3, "new"))
    await store.close()
    again, rooms = await reopened(address, clock)
    keys = rooms[0].keys
    assert [(key.person, key.key, key.epoch, key.off, key.mid, key.ts) for key in keys] == [
        ("p-ada", "k1", "a", 2, "public-2", NOW + 2),
        ("p-ada", "k2", "a", 3, "public-3", NOW + 3),
    ]
    assert [key.said for key in keys] == [hash(("hi", "m")), None]
    assert rooms[1].keys == ()
    await again.close()


# Messages as they are now


async def test_edits(store: SqlStore, listener: Listener) -> None:
    """The last text counts, in one transaction or several, and is the one that is found; the earlier is gone."""
    await listener.keep_all(said(1, "coffee"), edited(2, 1, "cocoa"), edited(3, 1, "green tea"))
    assert await store.find("public-1") == Remembered(said(1, "green tea"), NOW + 3, {})
    await listener.keep_all(edited(4, 1, "black tea"))
    assert [texts(await store.search(word)) for word in ("coffee", "cocoa", "green", "black")] == [
        *([], [], []),
        ["black tea"],
    ]


async def test_deletions(store: SqlStore, listener: Listener) -> None:
    """The message keeps its place and its sender; text, reactions and what search knew are gone. To edit it or react to
    it afterwards changes nothing."""
    await listener.keep_all(said(1, "secret"), edited(2, 1, "more secret"), reacted(3, 1), said(4, "stays"))
    await listener.keep_all(deleted(5, 1), edited(6, 1, "secret"), reacted(7, 1))
    gone = replace(said(1, ""), deleted=True)
    assert (await page(store)).messages == [Remembered(gone, None, {}), Remembered(said(4, "stays"), None, {})]
    assert texts(await store.search("secret")) == []
    missed = await store.missed(Position("public", "a", 0), 7)
    assert missed == [
        gone,
        edited(2, 1, ""),
        reacted(3, 1),
        said(4, "stays"),
        deleted(5, 1),
        edited(6, 1, ""),
        reacted(7, 1),
    ]


async def test_deleted_in_the_transaction_that_stores_it(store: SqlStore, listener: Listener) -> None:
    await listener.keep_all(said(1, "secret"), reacted(2, 1), deleted(3, 1))
    assert await store.find("public-1") == Remembered(replace(said(1, ""), deleted=True), None, {})
    assert texts(await store.search("secret")) == []


async def test_reactions(store: SqlStore, listener: Listener) -> None:
    """People stand in the order in which they reacted; to react twice is to react once."""
    await listener.keep_all(said(1), reacted(2, 1, by=BO), reacted(3, 1, by=CY), reacted(4, 1, "🎲", by=ADA))
    await listener.keep_all(reacted(5, 1, by=BO, on=False), reacted(6, 1, by=BO), reacted(7, 1, by=CY))
    await listener.keep_all(reacted(8, 1, "🎲", by=ADA, on=False), reacted(9, 99))
    assert await store.find("public-1") == Remembered(said(1), None, {"🍵": ["p-cy", "p-bo"]})


# Reading


async def test_pages(store: SqlStore, listener: Listener) -> None:
    """The last ones, before and after an offset, oldest first, with a word whether there are more."""
    await listener.keep_all(*(said(off, str(off)) for off in range(1, 8)), said(1, room="tea"))
    for asked, expected, more in (
        ({}, "1234567", False),
        ({"limit": 3}, "567", True),
        ({"limit": 3, "before": 5}, "234", True),
        ({"limit": 3, "before": 4}, "123", False),
        ({"limit": 3, "after": 2}, "345", True),
        ({"limit": 3, "after": 4}, "567", False),
        ({"before": 1}, "", False),
        ({"after": 7}, "", False),
        ({"after": -5}, "1234567", False),
        ({"before": 10**30}, "1234567", False),
        ({"after": 10**30}, "", False),
    ):
        assert isinstance(asked, dict)
        found = await page(store, **asked)
        assert ("".join(texts(found)), found.more) == (expected, more), asked


async def test_pages_are_bounded_by_characters(store: SqlStore, listener: Listener) -> None:
    await listener.keep_all(*(said(off, str(off) * 10) for off in range(1, 6)))
    found = await page(store, characters=25)
    assert (texts(found), found.more) == (["4" * 10, "5" * 10], True)
    found = await page(store, characters=5, after=1)
    assert (texts(found), found.more) == (["2" * 10], True)


async def test_missed_is_whole_or_nothing(store: SqlStore, listener: Listener) -> None:
    events: list[Numbered] = [said(1), said(2), edited(3, 1, "new"), reacted(4, 2), said(5)]
    await listener.keep_all(*events)
    assert await store.missed(Position("public", "a", 1), 5) == [said(2), *events[2:]]
    assert await store.missed(Position("public", "a", 5), 5) == []
    assert await store.missed(Position("public", "a", 1), 6) is None
    assert await store.missed(Position("public", "a", 1), 5, limit=3) is None
    assert await store.missed(Position("public", "a", 6), 5) is None
    assert await store.missed(Position("public", "a", -1), 5) is None
    await listener.keep_all(said(7))
    assert await store.missed(Position("public", "a", 5), 7) is None
    assert await store.missed(Position("nowhere", "a", 0), 1) is None


async def test_missed_knows_numberings(store: SqlStore, listener: Listener) -> None:
    """48, 49, 50 were shown in epoch a, 48 was stored, the server died; epoch b went on with 49."""
    await listener.keep_all(*(said(off) for off in range(46, 49)), *(said(off, epoch="b") for off in range(49, 52)))

    async def offsets(epoch: str, off: int) -> list[int] | None:
        missed = await store.missed(Position("public", epoch, off), 51)
        return None if missed is None else [event.off for event in missed]

    assert await offsets("a", 47) == [48, 49, 50, 51]
    assert await offsets("a", 48) == [49, 50, 51]
    assert await offsets("b", 48) == [49, 50, 51]  # who came before anything was said in b
    assert await offsets("a", 50) is None
    assert await offsets("a", 49) is None
    assert await offsets("b", 50) == [51]
    assert await offsets("c", 48) is None


async def test_recent(store: SqlStore, listener: Listener) -> None:
    """The newest events up to the highest offset: what comes before a gap is not among them, nor what is too much."""
    assert await store.recent("public", limit=10, characters=100) == []
    assert await store.recent("nowhere", limit=10, characters=100) == []
    gone = replace(said(5, ""), deleted=True)
    last: list[Numbered] = [said(4, "four!"), gone, edited(6, 4, "four!"), reacted(7, 4), deleted(8, 5)]
    await listener.keep_all(said(1), said(2), said(4, "four"), said(5, "secret"), edited(6, 4, "four!"), *last[3:])
    await listener.keep_all(said(9, room="tea"))
    assert await store.recent("public", limit=10, characters=100) == last
    assert await store.recent("public", limit=3, characters=100) == last[2:]
    assert await store.recent("public", limit=10, characters=9) == last[1:]
    assert await store.recent("public", limit=10, characters=10) == last


async def test_recent_after_the_newest_were_forgotten(store: SqlStore, listener: Listener, clock: Clock) -> None:
    """The room's offset stays, and nothing leads up to it."""
    await listener.keep_all(said(1, ts=DAY), said(2))
    clock.utc += DAY + 3
    await store.forget(Retention(messages=1))
    assert (await store.rooms())[0].off == 2
    assert await store.recent("public", limit=10, characters=100) == []


async def test_search_leaves_archived_rooms_out(store: SqlStore, listener: Listener) -> None:
    """But for one that is asked for."""
    await listener.keep_all(said(1, "green"), said(1, "green tea", room="tea"))
    await store.change_room("tea", archived=True)
    assert texts(await store.search("green")) == ["green"]
    assert texts(await store.search("green", room="tea")) == ["green tea"]


async def test_search(store: SqlStore, listener: Listener) -> None:
    """Every word, in any order and case, the newest first, in one room or in all; no syntax."""
    await listener.keep_all(
        said(1, "Green tea, please"),
        said(2, "tea is green and NOT coffee"),
        said(3, 'a "quoted" word'),
        said(1, "green green tea", room="tea", ts=10),
    )
    assert texts(await store.search("green TEA")) == [
        "green green tea",
        "tea is green and NOT coffee",
        "Green tea, please",
    ]
    assert texts(await store.search("please", room="public")) == ["Green tea, please"]
    assert texts(await store.search("green", room="tea")) == ["green green tea"]
    assert texts(await store.search("green", room="nowhere")) == []
    assert texts(await store.search("green", before_ms=NOW + 2)) == ["Green tea, please"]
    found = await store.search("green", limit=1)
    assert (texts(found), found.more) == (["green green tea"], True)
    assert texts(await store.search('"quoted" OR')) == []
    assert texts(await store.search('"quoted"')) == ['a "quoted" word']
    for odd in ("", "  ", '"', "*", "NOT", "text:green", "(", "\0", "' OR 1=1 --"):
        await store.search(odd)


# Rooms


async def test_rooms(store: SqlStore, address: str, clock: Clock) -> None:
    """To make a room twice is to make it once; what is changed stays changed."""
    await store.make_room("public", "Another title")
    await store.change_room("tea", title="Tea & cake", locked=True, slow_ms=5000)
    await store.change_room("public", archived=True)
    await store.change_room("public")
    expected = [StoredRoom("public", "Public", archived=True), StoredRoom("tea", "Tea & cake", True, 5000)]
    assert await store.rooms() == expected
    with pytest.raises(StoreError, match="no such room"):
        await store.change_room("nowhere", locked=True)
    await store.close()
    again, rooms = await reopened(address, clock)
    assert rooms == expected
    await again.close()


# Records

RECORDS: list[tuple[Record, Record]] = [
    (
        Ban("b1", "person", "p-bo", "spam", NOW, None, "op"),
        Ban("b2", "address", "hash", "flood", NOW + 1, NOW + 2, "op"),
    ),
    (Mute("m1", "p-bo", "public", "shouting", NOW, NOW + 5, "op"), Mute("m2", "p-bo", None, "", NOW + 1, None, "op")),
    (Block("p-ada", "p-bo", NOW), Block("p-ada", "p-cy", NOW + 1)),
    (
        Report("r1", "booth-1", "p-ada", "p-bo", "threat", "note", NOW, b"\x00\xffsealed"),
        Report("r2", "public", "p-bo", None, "spam", "", NOW + 1, b"", "decided", "none", NOW + 2, "op"),
    ),
    (Operator("o1", "ada", "$argon2id$", "admin", NOW), Operator("o2", "bo", "$argon2id$", "moderator", NOW + 1, True)),
    (
        ApiToken("t1", "bot", "hash1", ("read", "send"), NOW),
        ApiToken("t2", "bot", "hash2", (), NOW + 1, NOW + 2, NOW + 3),
    ),
    (Consent("p-ada", "1", NOW), Consent("p-ada", "2", NOW + 1, "18+")),
    (Setting("words", '["a"]'), Setting("words2", "{}")),
]


@pytest.mark.parametrize(("older", "newer"), RECORDS, ids=lambda record: type(record).__name__)
async def test_records(store: SqlStore, older: Record, newer: Record) -> None:
    """Put, replaced, found by key and by field, removed; the newest first."""
    kind = type(older)
    keys = [tuple(getattr(record, field) for field in KEYS[kind]) for record in (older, newer)]
    await store.put(older, newer)
    assert await store.select(kind) == [newer, older]
    assert await store.get(kind, *keys[0]) == older
    assert await store.select(kind, limit=1) == [newer]
    assert await store.select(kind, **dict(zip(KEYS[kind], keys[0], strict=True))) == [older]
    await store.put(older)
    assert len(await store.select(kind)) == 2
    assert await store.remove(kind, *keys[0])
    assert not await store.remove(kind, *keys[0])
    assert await store.get(kind, *keys[0]) is None
    assert await store.select(kind) == [newer]


async def test_put_replaces(store: SqlStore) -> None:
    await store.put(Setting("words", "[1]"))
    await store.put(Setting("words", "[2]"))
    assert await store.select(Setting) == [Setting("words", "[2]")]


async def test_put_is_all_or_nothing(store: SqlStore) -> None:
    """Names of operators are unique; the error tells neither."""
    await store.put(Operator("o1", "ada", "x", "admin", NOW))
    with pytest.raises(StoreError) as raised:
        await store.put(Operator("o2", "bo", "x", "admin", NOW), Operator("o3", "ada", "x", "admin", NOW))
    assert "ada" not in str(raised.value)
    assert [operator.id for operator in await store.select(Operator)] == ["o1"]


async def test_rules_are_what_holds_now(store: SqlStore, clock: Clock) -> None:
    ban, over = Ban("b1", "person", "p-bo", "", NOW, NOW + 10, "op"), Ban("b2", "person", "p-cy", "", NOW, NOW, "op")
    mute, block = Mute("m1", "p-cy", None, "", NOW, None, "op"), Block("p-ada", "p-bo", NOW)
    await store.put(ban, over)
    await store.put(mute)
    await store.put(block)
    rules = await store.rules()
    assert (rules.bans, rules.mutes, rules.blocks) == ([ban], [mute], [block])
    clock.utc += 10
    assert (await store.rules()).bans == []


async def test_a_report_is_decided_once(store: SqlStore, clock: Clock) -> None:
    report = Report("r1", "public", "p-ada", "p-bo", "spam", "", NOW, b"x")
    await store.put(report)
    first, second = await asyncio.gather(
        store.decide("r1", decision="ban", by="op1"), store.decide("r1", decision="nothing", by="op2")
    )
    assert sorted([first is None, second is None]) == [False, True]
    decided = first or second
    assert decided is not None
    assert (decided.state, decided.decided_ms) == ("decided", NOW)
    assert await store.select(Report, state="open") == []
    assert await store.select(Report, state="decided") == [decided]
    assert await store.decide("nothing", decision="ban", by="op1") is None


# The audit log


async def test_audit_is_one_chain(store: SqlStore, address: str, clock: Clock) -> None:
    """However many append at once, in this process and in another."""
    other, _ = await reopened(address, clock)
    await asyncio.gather(
        *(
            each.audit(actor=f"op{number}", action="ban", subject="p-bo")
            for number in range(10)
            for each in (store, other)
        )
    )
    entries = await store.audited()
    assert [entry.n for entry in entries] == list(range(20, 0, -1))
    assert await store.audited(before=3) == entries[-2:]
    assert await store.broken_audit() is None
    await other.close()


@pytest.mark.parametrize("change", ["actor = 'nobody'", "ts = ts + 1", "details = '{ }'", "n = 99"])
async def test_a_changed_byte_is_detected(store: SqlStore, change: str) -> None:
    for number in range(5):
        await store.audit(actor="op", action="ban", subject=f"p-{number}")
    engine = create_async_engine(store._database._url)  # as somebody with a database tool
    async with engine.begin() as connection:
        await connection.exec_driver_sql(f"UPDATE audit SET {change} WHERE n = 3")
    await engine.dispose()
    assert await store.broken_audit() == 3


async def test_a_missing_entry_is_detected(store: SqlStore) -> None:
    for number in range(3):
        await store.audit(actor="op", action="ban", subject=f"p-{number}")
    engine = create_async_engine(store._database._url)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("DELETE FROM audit WHERE n = 1")
    await engine.dispose()
    assert await store.broken_audit() == 1


# Retention


async def test_forget(store: SqlStore, listener: Listener, address: str, clock: Clock) -> None:
    """What is older goes, with its reactions and from search; what is younger stays, and so does the room's offset."""
    await listener.keep_all(said(1, "old"), reacted(2, 1), said(3, "young", ts=2 * DAY))
    await listener.keep_all(said(1, "old too", room="tea"))
    await store.put(
        Report("r1", "public", "p-ada", None, "", "", NOW, b"", "decided", "none", NOW, "op"),
        Report("r2", "public", "p-ada", None, "", "", NOW, b""),
    )
    address_ban = Ban("b1", "address", "hash", "", NOW, None, "op")
    await store.put(address_ban, Ban("b2", "person", "p-bo", "", NOW, None, "op"))
    clock.utc = NOW + 31 * DAY
    assert await store.forget(Retention()) == 3
    assert texts(await page(store)) == ["young"]
    assert texts(await store.search("old")) == []
    assert await store.missed(Position("public", "a", 0), 3) is None
    assert await store.get(Ban, "b1") == replace(address_ban, subject="")
    assert [ban.id for ban in (await store.rules()).bans] == ["b2"]
    assert len(await store.select(Report)) == 2
    clock.utc = NOW + 91 * DAY
    assert await store.forget(Retention(messages=None)) == 0
    assert [report.ref for report in await store.select(Report)] == ["r2"]
    assert texts(await page(store)) == ["young"]
    await store.close()
    again, rooms = await reopened(address, clock)
    assert [room.off for room in rooms] == [3, 1]
    await again.close()


async def test_forget_in_steps(store: SqlStore, listener: Listener, clock: Clock) -> None:
    """More than one transaction takes, while messages are kept."""
    await listener.keep_all(*(said(off) for off in range(1, 1102)))
    clock.utc = NOW + 31 * DAY
    task = asyncio.create_task(store.forget(Retention()))
    await listener.keep_all(said(1102, "young", ts=31 * DAY))
    assert await task == 1101
    assert texts(await page(store)) == ["young"]


# Copies


async def lines_of(lines: list[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line


async def exported(store: SqlStore) -> list[str]:
    async with aclosing(store.export()) as lines:
        return [line async for line in lines]


async def test_export_and_import(
    store: SqlStore, listener: Listener, tmp_path: Path, postgres_url: str, clock: Clock
) -> None:
    """All of it comes back in a new store, on either database; search and uniqueness too."""
    await listener.keep_all(
        said(1, "grün", key="k"), edited(2, 1, "green"), reacted(3, 1), said(4, "gone"), deleted(5, 4)
    )
    for pair in RECORDS:
        for record in pair:
            await store.put(record)
    await store.audit(actor="op", action="ban")
    lines = await exported(store)
    for address in (f"sqlite:///{tmp_path / 'copy.db'}", postgres_url):
        copy = opened(address, clock)
        if address == store._database._url.render_as_string(hide_password=False).replace("+psycopg", ""):
            continue
        await copy.migrate()
        await copy.open()
        with pytest.raises(StoreError, match="line 3 "):
            await copy.import_(lines_of([*lines[:2], "nonsense"]))
        assert await copy.import_(lines_of(lines)) == len(lines) - 1
        assert await exported(copy) == lines
        assert texts(await copy.search("green")) == ["green"]
        other = Listener(copy, clock)
        other.keep(said(6, key="k"))
        await clock.until(partial(bool, other.told))
        assert other.told == [(6, Kept.CONFLICT)]
        await copy.make_room("new", "New")
        with pytest.raises(StoreError, match="not empty"):
            await copy.import_(lines_of(lines))
        await copy.close()


async def test_import_of_another_schema(store: SqlStore) -> None:
    with pytest.raises(StoreError, match="not empty"):
        await store.import_(lines_of([]))


async def test_lines_of_an_export_are_json(store: SqlStore, listener: Listener) -> None:
    await listener.keep_all(said(1, "hi"))
    head, *rows = map(json.loads, await exported(store))
    assert head == {"parlour": "export", "schema": "0001"}
    assert {row["table"] for row in rows} == {"rooms", "events"}


# The whole


async def test_ready_and_stats(store: SqlStore, listener: Listener, clock: Clock) -> None:
    assert await store.ready() is None
    assert store.stats().committed_ms is None
    listener.keep(said(1, "x" * 1000))
    assert (store.stats().queued, store.stats().queued_bytes > 1000) == (1, True)
    await clock.until(lambda: bool(listener.told))
    stats = store.stats()
    assert (stats.queued, stats.queued_bytes, stats.committed_ms, stats.trouble) == (0, 0, NOW, None)


async def test_open_twice(store: SqlStore) -> None:
    with pytest.raises(StoreError, match="open already"):
        await store.open()


async def test_a_store_can_be_opened_again(store: SqlStore, listener: Listener) -> None:
    await listener.keep_all(said(1))
    await store.close()
    assert [room.off for room in await store.open()] == [1, 0]
    await listener.keep_all(said(2))


async def test_columns_are_fields(store: SqlStore) -> None:
    """So that a row becomes a record by its names."""
    for kind, table in tables.RECORDS.items():
        assert list(get_type_hints(kind)) == list(table.columns.keys())
        assert tables.NEWER[kind] in table.columns


async def test_the_schema_is_what_the_migrations_make(store: SqlStore) -> None:
    """Tables, columns, whether they may be empty, and indexes."""
    engine = create_async_engine(store._database._url)
    async with engine.connect() as connection:
        inspector = await connection.run_sync(inspect)
        for table in tables.metadata.tables.values():

            def look(_: object, name: str = table.name) -> tuple[dict[str, bool], set[str | None]]:
                columns = {column["name"]: column["nullable"] for column in inspector.get_columns(name)}
                return columns, {index["name"] for index in inspector.get_indexes(name)}

            columns, indexes = await connection.run_sync(look)
            columns.pop("search", None)
            assert columns == {column.name: bool(column.nullable) for column in table.columns}
            assert indexes >= {index.name for index in table.indexes}
    await engine.dispose()
