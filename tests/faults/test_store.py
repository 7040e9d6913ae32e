"""What must survive, and what must not be kept, tried on the running server. The numbers are those of the faults."""

import asyncio
import random
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.raw import ClosedError, get
from tests.servers import SOURCE, Server, serving
from tests.speaker import Speaker, between, silent, speaking

pytestmark = pytest.mark.anyio

SOON = """
from parlour import store
store.CONFIRM_SECONDS = 1.0
"""
"""Ahead of what imports it: who waits for the store is told sooner."""

AT_ONCE = 20
"""Messages that one speaker sends before it waits for their acks."""


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.stress)])
async def test_what_was_acked_survives_kill_9(tmp_path: Path, kills: int) -> None:
    """Fault 17: acked is a subset of stored; no offset or key twice."""
    dice = random.Random(17)
    keys = (f"key {number}" for number in count())
    said: dict[str, str] = {}  # text by key
    acks: dict[str, dict[str, Any]] = {}
    for _ in range(kills):
        with serving("--data", str(tmp_path)) as server:
            async with AsyncExitStack() as stack:
                speakers = [await stack.enter_async_context(speaking(server.url)) for _ in range(5)]
                enough = len(acks) + dice.randint(100, 400)
                talking = [asyncio.create_task(talk(speaker, keys, said, acks)) for speaker in speakers]
                while len(acks) < enough:
                    await asyncio.wait(talking, timeout=0.01)  # nothing tells how many there are
                    assert not any(task.done() for task in talking)
                server.signal(signal.SIGKILL)
                await asyncio.gather(*talking)
    with serving("--data", str(tmp_path)) as server:
        async with speaking(server.url) as reader:
            stored = [message async for message in told(reader, "public")]
    assert [message["off"] for message in stored] == sorted({message["off"] for message in stored})
    by_key = {message["key"]: message for message in stored}
    assert len(by_key) == len(stored)
    assert len(acks) >= 100 * kills
    for key, ack in acks.items():
        assert ack["kept"] == "stored"
        message = by_key[key]
        assert [message[field] for field in ("mid", "off", "ts", "text")] == [
            *(ack[field] for field in ("mid", "off", "ts")),
            said[key],
        ]


async def talk(speaker: Speaker, keys: Iterator[str], said: dict[str, str], acks: dict[str, dict[str, Any]]) -> None:
    """Say one thing after the other until the line is cut, and note each ack."""
    with suppress(ClosedError, ConnectionError):
        while True:
            sent: dict[int, str] = {}
            for _ in range(AT_ONCE):
                key = next(keys)
                said[key] = f"text of {key}"
                sent[speaker.write("send", room="public", key=key, text=said[key])] = key
            while sent:
                came = await speaker.next()
                speaker.events.clear()
                if "re" in came:
                    assert came["ok"], came
                    acks[sent.pop(came["re"])] = came


async def told(reader: Speaker, room: str) -> AsyncIterator[dict[str, Any]]:
    """All messages of the room, oldest first."""
    pages: list[list[dict[str, Any]]] = []
    before: dict[str, int] = {}
    while True:
        page = await reader.ask("history", room=room, limit=100, **before)
        pages.append(page["messages"])
        if not page["more"]:
            break
        before = {"before": page["messages"][0]["off"]}
    for messages in reversed(pages):
        for message in messages:
            yield message


async def test_a_repeat_is_the_same_message_when_the_ack_was_lost_in_a_crash(tmp_path: Path) -> None:
    """Fault 18."""
    with serving("--data", str(tmp_path)) as server:
        async with speaking(server.url, name="ada") as ada:
            before = await ada.ask("send", room="public", key="k", text="once")
            session = ada.session
        server.signal(signal.SIGKILL)
        server.exited()
    with serving("--data", str(tmp_path)) as server:
        async with speaking(server.url, session=session) as ada:
            again = await ada.ask("send", room="public", key="k", text="once")
            other = await ada.ask("send", room="public", key="k", text="something else")
            history = await ada.ask("history", room="public")
    assert [again[field] for field in ("mid", "epoch", "off", "dup")] == [before["mid"], before["epoch"], 1, True]
    assert other["error"]["code"] == "conflict"
    assert [message["text"] for message in history["messages"]] == ["once"]


async def test_who_comes_back_after_a_restart_misses_nothing(tmp_path: Path) -> None:
    """Fault 19: what was said, edited and taken back while somebody was away comes to them in order."""
    with serving("--data", str(tmp_path)) as server:
        async with speaking(server.url, name="ada") as ada:
            async with speaking(server.url, name="bo") as bo:
                await ada.ask("send", room="public", key="0", text="seen by both")
                await bo.event("message")
                place = bo.resume
            sent = [await ada.ask("send", room="public", key=f"{n}", text=f"line {n}") for n in (1, 2, 3)]
            await ada.ask("edit", room="public", mid=sent[0]["mid"], text="line one")
            await ada.ask("delete", room="public", mid=sent[1]["mid"])
            await ada.ask("react", room="public", mid=sent[2]["mid"], emoji="🎉")
    with serving("--data", str(tmp_path)) as server:
        async with speaking(server.url, "/chat", **place) as bo:
            assert bo.positions["public"][1] == 1  # the next event in its room must be the second
            came = [await bo.next() for _ in range(6)]
            fresh = await bo.ask("history", room="public")
    kinds = [event["ev"].removeprefix("message") for event in came]
    assert kinds == ["", "", "", ".edited", ".deleted", ".reaction"]
    assert came[0]["text"] == "line one"
    assert (came[1].get("text"), came[1].get("deleted")) == ("", True)
    assert [message["text"] for message in fresh["messages"]] == ["seen by both", "line one", "", "line 3"]


async def test_who_saw_what_was_never_stored_is_told_so(tmp_path: Path) -> None:
    """Fault 19: 2 was shown and not stored; the new numbering gives that place to another message."""
    with serving("--data", str(tmp_path), before=SOON) as server:
        async with speaking(server.url, name="ada") as ada, speaking(server.url, name="bo") as bo:
            await ada.ask("send", room="public", key="1", text="stored")
            with locked(tmp_path):
                lost = await ada.ask("send", room="public", key="2", text="shown")
                assert (lost["error"]["code"], lost["error"]["retry"]) == ("unavailable", True)
                while bo.positions["public"][1] < 2:
                    await bo.next()
                server.signal(signal.SIGKILL)
                server.exited()
            place = bo.resume
    with serving("--data", str(tmp_path)) as server:
        async with speaking(server.url, name="cy") as cy:
            assert (await cy.ask("send", room="public", key="3", text="another"))["off"] == 2
            async with silent(server.url, "/chat") as bo:
                reply = await bo.hello(**place)
    assert (reply["rooms"][0]["recovered"], reply["rooms"][0]["off"]) == (False, 2)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another process holds the database's lock for writing."""
    with closing(sqlite3.connect(folder / "parlour.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            database.execute("ROLLBACK")


async def test_a_locked_database_stops_nobody(tmp_path: Path) -> None:
    """Fault 20: no `stored` ack, an error that can be retried, live chat goes on, and recovers without a restart."""
    with serving("--data", str(tmp_path), before=SOON) as server:
        async with speaking(server.url, name="ada") as ada, speaking(server.url, name="bo") as bo:
            await ada.ask("send", room="public", key="1", text="before")
            with locked(tmp_path):
                number = ada.write("send", room="public", key="2", text="meanwhile")
                while (await bo.event("message"))["text"] != "meanwhile":
                    pass
                refused = await ada.reply(number)
                assert (refused["error"]["code"], refused["error"]["retry"]) == ("unavailable", True)
                ready = await get(server.url, "/readyz")
                assert ready.status == 503
            again = await ada.ask("send", room="public", key="2", text="meanwhile")
            while not again["ok"]:  # it is tried again from time to time
                assert again["error"]["code"] == "unavailable"
                again = await ada.ask("send", room="public", key="2", text="meanwhile")
            assert (again["ok"], again["off"], again["kept"], again["dup"]) == (True, 2, "stored", True)
            assert (await ada.ask("send", room="public", key="3", text="after"))["kept"] == "stored"
            assert (await get(server.url, "/readyz")).status == 200
            bo.events.clear()
            history = await bo.ask("history", room="public")
    assert [message["text"] for message in history["messages"]] == ["before", "meanwhile", "after"]


async def test_everyone_is_back_after_all_lines_were_cut(tmp_path: Path) -> None:
    """Fault 16: each comes back to the event after the last one that it saw."""
    with serving("--data", str(tmp_path)) as server:
        async with between(server.url) as network, AsyncExitStack() as stack:
            crowd = [await stack.enter_async_context(speaking(network.url)) for _ in range(50)]
            speaker = await stack.enter_async_context(speaking(server.url, name="ada"))
            for one in crowd:
                one.events.clear()
            network.cut()
            for number in range(10):
                await speaker.ask("send", room="public", key=str(number), text=f"line {number}")
            for one in crowd:
                back = await stack.enter_async_context(speaking(network.url, "/chat", **one.resume))
                back.positions["public"] = one.positions["public"]
                while back.positions["public"][1] < 10:
                    await back.next()


CANARIES = 1000


async def test_booths_leave_no_trace_but_what_is_reported(tmp_path: Path) -> None:
    """Fault 37: 1,000 lines said in a booth are in no file, log or metric. Fault 41: after a report, exactly those
    that were reported are, and the report tells whether somebody touched it."""
    with serving("--data", str(tmp_path), "--metrics", "on", "-v") as server:
        async with speaking(server.url, "/chat/private") as ada, speaking(server.url, "/chat/private") as bo:
            booth = (await ada.event("match.found"))["room"]
            await bo.event("match.found")
            heard = []
            for number in range(CANARIES):
                await ada.ask("send", room=booth, key=str(number), text=f"canary-{number:04}.")
                heard.append(await bo.event("message"))
            assert traces(tmp_path, server, (await get(server.url, "/metrics")).text) == set()
            await ada.ask("leave", room=booth)
            await bo.event("match.ended")
            reported = heard[500:503]
            filed = await bo.ask(
                "report",
                room=booth,
                reason="spam",
                messages=[reportable(message) for message in reported],
                prev=heard[499]["stamp"],
            )
            assert filed["ok"], filed
            forged = [reportable(message) for message in heard[700:703]]
            forged[1]["text"] = "canary-9999."
            second = await bo.ask("report", room=booth, reason="forged", messages=forged, prev=heard[699]["stamp"])
            assert second["ok"], second
            found = traces(tmp_path, server, (await get(server.url, "/metrics")).text)
            assert found == {"0500", "0501", "0502", "0700", "9999", "0702"}
        assert admin(tmp_path, "reports", "verify", filed["ref"]) == (0, 3 * ["relayed"])
        assert admin(tmp_path, "reports", "verify", second["ref"]) == (0, ["relayed", "forged", "relayed"])
    with closing(sqlite3.connect(tmp_path / "parlour.db")) as database:
        (evidence,) = database.execute("SELECT evidence FROM reports WHERE ref = ?", [filed["ref"]]).fetchone()
        changed = evidence.replace(b"canary-0501", b"canary-0511")
        assert changed != evidence
        database.execute("UPDATE reports SET evidence = ? WHERE ref = ?", [changed, filed["ref"]])
        database.commit()
    assert admin(tmp_path, "reports", "verify", filed["ref"])[0] == 1


def reportable(message: dict[str, Any]) -> dict[str, Any]:
    return {**{field: message[field] for field in ("mid", "off", "ts", "text", "stamp")}, "from": message["from"]["id"]}


def traces(folder: Path, server: Server, metrics: str) -> set[str]:
    """Numbers of the canaries that are anywhere in the data folder, the log or the metrics."""
    places = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
    places += [server.log.encode(), metrics.encode()]
    return {found.decode() for place in places for found in re.findall(rb"canary-(\d{4})\.", place)}


def admin(folder: Path, *command: str) -> tuple[int, list[str]]:
    """Run `parlour admin`: its exit code, and the words that it has about messages."""
    ran = subprocess.run(
        [sys.executable, "-m", "parlour", "admin", *command, "--data", str(folder)],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.returncode, re.findall(r"^ +(relayed|forged|withheld)", ran.stdout, re.MULTILINE)
