"""`parlour chat` and the client against `parlour serve`: two processes, as people run them."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import parlour
from parlour.client import Client, Event
from parlour.errors import ConnectError, Disconnected, Refused

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]

SOURCE = Path(next(iter(parlour.__path__))).parent


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Process]:
    """`parlour` with these arguments, ended at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "parlour", *arguments),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "LOGNAME": "ada"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate(b"")


@asynccontextmanager
async def serving(folder: Path, *flags: str, port: int = 0) -> AsyncIterator[tuple[str, Process]]:
    """The real server; its URL is the first thing that it prints."""
    async with running("serve", "--port", str(port), "--data", str(folder), *flags) as process:
        assert process.stdout is not None
        first = (await process.stdout.readline()).decode()
        url = re.search(r"http://127\.0\.0\.1:\d+", first)
        assert url is not None, first
        yield url[0], process


@pytest.fixture
async def url(deadline: None, tmp_path: Path) -> AsyncIterator[str]:
    async with serving(tmp_path) as (address, _):
        yield address


async def chat(url: str, *flags: str, said: str) -> tuple[int | None, str, str]:
    """One piped conversation: its exit code, output and words."""
    async with running("chat", url, *flags) as process:
        out, err = await process.communicate(said.encode())
        return process.returncode, out.decode(), err.decode()


def connect(url: str, name: str, **more: Any) -> Any:
    """A client that comes back soon."""
    return Client.connect(url, **{"name": name, "random": lambda: 0.1, **more})


async def until(client: Client, kind: str) -> Event:
    """The next event of this kind."""
    async for event in client:
        if event.kind == kind:
            return event
    raise AssertionError(f"it ended without {kind}")


async def test_a_piped_line_comes_back(url: str) -> None:
    assert await chat(url, "-q", said="hi\n") == (0, "ada> hi\n", "")


async def test_what_is_said_arrives_as_it_is(url: str) -> None:
    """But for control characters: the server makes most of them spaces, and what is left is shown, not obeyed. JSON
    keeps it; the name is trimmed."""
    said = "a\rb\x0bc\u2028d\x85e\x1bf\tg\r\n☕\n/quit\n"
    shown = "bo> a␍b c\ufffdd e f\tg\nbo> ☕\nbo> /quit\n"
    assert await chat(url, "-q", "--name", " bo ", said=said) == (0, shown, "")
    status, out, err = await chat(url, "-q", "--json", said=said)
    assert (status, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    texts = [event["text"] for event in events if event["ev"] == "message"]
    assert texts == ["a\rb c\u2028d e f\tg", "☕", "/quit"]


async def test_two_people_in_the_public_room(url: str) -> None:
    async with connect(url, "bo") as bo:
        assert (await chat(url, said="tea?\n"))[0] == 0
        event = await until(bo, "message")
        assert event.sender is not None
        assert (event.sender.name, event.text, event.own) == ("ada", "tea?", False)
        left = await until(bo, "member.left")
        assert left.sender == event.sender
        assert [one.text for one in (await bo.history()).messages] == ["tea?"]
        assert [member.name for member in (await bo.who()).members] == ["bo"]


async def test_two_strangers_in_a_booth(url: str) -> None:
    """They hear each other, and the public room hears neither."""
    async with connect(url, "cy") as cy, connect(url, "bo", private=True) as bo:
        code, out, err = await chat(url, "--private", said="psst\n")
        assert (code, out) == (0, "ada> psst\n")
        assert "you are talking with a stranger; say hi\n" in err
        assert (await until(bo, "message")).text == "psst"
        assert (await until(bo, "match.ended")).fields["by"] == "peer"
        await cy.send("alone here?")
        assert (await until(cy, "message")).text == "alone here?"


async def test_a_plain_client_has_its_mark(url: str) -> None:
    from tests.raw import connect as plain

    async with running("chat", url, "-q") as process, plain(url) as bo:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hi\n")
        assert await process.stdout.readline() == b"ada> hi\n"
        await bo.say("bo", "ho")
        assert await process.stdout.readline() == b"~bo> ho\n"


@pytest.mark.parametrize("name", ["a> b", "\u202e"])
async def test_a_name_that_is_refused_is_the_end(url: str, name: str) -> None:
    status, out, err = await chat(url, "-q", "--name", name, said="hi\n")
    assert (status, out) == (1, "")
    assert err.startswith("refused (bad_name): ")


@pytest.mark.parametrize(("said", "code"), [("x" * 10_001 + "\n", "too_large"), ("\0\n", "bad_field")])
async def test_a_refusal_is_shown_and_fails(url: str, said: str, code: str) -> None:
    status, out, err = await chat(url, "-q", said=said)
    assert (status, out) == (1, "")
    assert err.startswith(f"refused ({code}: ")


async def test_a_refusal_among_other_lines(url: str) -> None:
    lines = ["a", "x" * 10_001, "b"]
    status, out, err = await chat(url, "-q", said="\n".join(lines))
    assert (status, out) == (1, "ada> a\nada> b\n")
    assert err.endswith(f": {'x' * 80}...\n")


async def test_lines_over_the_rate_all_come_back(deadline: None, tmp_path: Path) -> None:
    """The client keeps to the server's rate, in order; more bytes than a server would hold, too."""
    lines = [f"line {number} {'x' * 2000}" for number in range(120)]
    async with serving(tmp_path, "--rate", "400", "--burst", "1") as (url, _):
        status, out, err = await chat(url, "-q", said="\n".join(lines))
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"ada> {text}" for text in lines]


async def test_a_server_that_stops_and_comes_back(deadline: None, tmp_path: Path) -> None:
    """A line that is piped meanwhile is said then, by the same person; what was missed can't be known."""
    async with serving(tmp_path) as (url, server), running("chat", url, "--json") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"before\n")
        before = json.loads(await process.stdout.readline())
        server.terminate()
        await server.wait()
        words = (await process.stderr.readuntil(b"disconnected with 4000")).decode()
        assert words.startswith("connected to")
        process.stdin.write(b"after\n")
        process.stdin.close()
        async with serving(tmp_path, port=int(url.rpartition(":")[2])):
            words = (await process.stderr.read()).decode()
            out = (await process.stdout.read()).decode().splitlines()
            assert await process.wait() == 0
    messages = [event for event in map(json.loads, out) if event["ev"] == "message"]
    assert [event["text"] for event in messages] == ["after"]
    assert messages[0]["from"]["id"] == before["from"]["id"]
    assert "back: nothing missed\n" in words


async def test_a_server_that_is_killed_in_mid_sentence(deadline: None, tmp_path: Path) -> None:
    """Nothing that was seen is said again, and nothing is lost."""
    async with serving(tmp_path) as (url, server), connect(url, "ada") as ada:
        saying = [asyncio.create_task(ada.send(f"line {number}")) for number in range(500)]
        await saying[0]
        server.send_signal(signal.SIGKILL)
        await server.wait()
        async with serving(tmp_path, port=int(url.rpartition(":")[2])) as (_, _):
            await asyncio.gather(*saying)
            await ada.send("done")
            said = []
            async for event in ada:
                if event.kind == "message":
                    said.append(event.text)
                if event.text == "done":
                    break
    assert said == [*(f"line {number}" for number in range(500)), "done"]


async def test_a_booth_outlives_a_lost_connection(url: str) -> None:
    async with connect(url, "ada", private=True) as ada, connect(url, "bo", private=True) as bo:
        booth = (await until(ada, "match.found")).room
        await until(bo, "match.found")
        await bo.send("one")
        await until(ada, "message")
        assert ada._connection is not None
        ada._connection.transport.abort()
        await until(bo, "match.away")
        await bo.send("two")
        await until(bo, "match.back")
        assert (await until(ada, "message")).text == "two"
        back = await until(ada, "client.back")
        assert (back.fields["caught_up"], back.fields["missed"]) == (1, False)
        await ada.send("three")
        await until(bo, "message")
        assert (ada.booth, bo.booth) == (booth, booth)
        await ada.next()
        assert (await until(bo, "match.ended")).fields["by"] == "peer"
        assert (ada.searching, bo.searching) == (True, False)


async def test_who_was_blocked_is_not_met_again(url: str) -> None:
    async with connect(url, "ada", private=True) as ada, connect(url, "bo", private=True) as bo:
        await until(ada, "match.found")
        await until(bo, "match.found")
        peer = ada.peer
        assert peer is not None
        await ada.block(peer.id, room=ada.booth)
        await until(bo, "match.ended")
        await ada.next()
        await bo.next()
        await until(bo, "match.waiting")
        assert ada.searching
        async with connect(url, "cy", private=True) as cy:
            assert (await until(cy, "match.found")).sender is not None


async def test_names_of_members_are_not_for_others(url: str) -> None:
    async with connect(url, "ada") as ada:
        with pytest.raises(Refused, match="bad_name"):
            async with connect(url, "ada"):
                pass
        status, out, err = await chat(url, said="hi\n")
        assert status == 0
        assert not out.startswith("ada>")
        assert "ada is not allowed here, or taken" in err
        assert (await until(ada, "message")).text == "hi"


async def test_too_many_connections_are_explained(deadline: None, tmp_path: Path) -> None:
    async with serving(tmp_path, "--per-address", "1") as (url, _), connect(url, "bo"):
        status, _, err = await chat(url, said="hi\n")
        assert status == 3
        assert "429" in err


async def test_what_is_not_served_is_explained(deadline: None, tmp_path: Path) -> None:
    """No booths here, and no chat at that path."""
    async with serving(tmp_path, "--booths", "off") as (url, _):
        for wrong in (connect(url, "ada", private=True), connect(f"{url}/sub", "ada")):
            with pytest.raises((ConnectError, Disconnected)):
                async with wrong:
                    pass
