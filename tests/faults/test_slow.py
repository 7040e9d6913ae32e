"""Faults 7, 8 and 9: clients that stop reading, stop running, or whose network swallows everything."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import pytest

from tests.raw import DEADLINE, Client, connect, heard, said
from tests.servers import ROOT, SOURCE, canary, crowd, fill, people, serving, until_people

pytestmark = pytest.mark.anyio

HEALTHY = 50
LINES = 5_000  # 10 MB: loopback's kernel takes up to 4 MB of it for one who does not read
TEXT = "x" * 2000
WINDOW = 40  # lines on the way to each member: 80 KB, and nobody is cut off for less than 256 KiB
PING = ("--ping", "1", "--ping-timeout", "1")
TOLD_WITHIN = 1 + 1 + 2.0
"""Seconds: ping, timeout, and two more (design.md, Pairing)."""

SLACK = 10.0
"""Seconds that a busy machine may add. Without the pings it would take for ever."""


async def flood(members: list[Client], windows: int) -> None:
    """The first member says windows of lines; each member gets every one of them before the next window begins."""
    speaker, window = members[0], said("ada", TEXT) * WINDOW
    expected = heard("ada", TEXT) * WINDOW
    for _ in range(windows):
        speaker.write(window)
        async with asyncio.timeout(DEADLINE):
            for member in members:
                assert await member.reader.readexactly(len(expected)) == expected


@pytest.mark.parametrize("is_strict", [False, pytest.param(True, marks=pytest.mark.stress)], ids=["quick", "strict"])
@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_7_one_stuck_reader_disturbs_nobody(transport: str, is_strict: bool) -> None:
    """Fifty healthy members get everything; the one who never reads is cut off, and hardly costs memory.

    The control run comes first, in the same process: what it needed at its peak is there to be used again.
    """
    with serving("--transport", transport, "--ping", "600", "--ping-timeout", "600") as server:
        async with crowd(server.url, HEALTHY) as members, canary(server.url) as record:
            await flood(members, LINES // WINDOW)
            before = server.memory()
            async with connect(server.url, receive_buffer=2048) as stuck:
                stuck.stop_reading()
                await flood(members, LINES // WINDOW)
                await until_people(server.url, HEALTHY + 2)
            assert server.memory() - before <= 10 * 1024 * 1024
            assert "Traceback" not in server.log
        if is_strict:  # `make stress` has the machine to itself
            assert record.p99 < 0.250


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_7_a_stuck_reader_in_a_quiet_room_is_cut_off(transport: str) -> None:
    """Fewer than 256 KiB wait for it, but it takes no byte for five seconds."""
    with serving("--transport", transport, "--ping", "600", "--ping-timeout", "600") as server:
        async with canary(server.url), connect(server.url) as ada, connect(server.url, receive_buffer=2048) as stuck:
            stuck.stop_reading()
            await fill(stuck, ada)
            assert await people(server.url) == 2 + 2
            await until_people(server.url, 2 + 1)


CHILD = """
import asyncio, sys
from tests.raw import connect

async def main():
    async with connect(sys.argv[1], "/chat/private") as client:
        await client.say("bo", "ready")
        while True:
            print(await client.line(), flush=True)

asyncio.run(main())
"""


@contextmanager
def child(url: str) -> Iterator[subprocess.Popen[str]]:
    """A client in a process of its own, in a booth. It prints what it hears."""
    env = {"PYTHONPATH": f"{SOURCE}:{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", CHILD, url], env=env, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("is_talking", [False, True], ids=["silent", "talking"])
@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_8_a_ghost_frees_its_seat(transport: str, is_talking: bool) -> None:
    """Its process is stopped, its kernel goes on acknowledging; the partner may talk on, or not. Soon the next to come
    sits there."""
    with serving("--transport", transport, *PING) as server:
        async with canary(server.url), connect(server.url, "/chat/private") as ada:
            with child(server.url) as ghost:
                assert await ada.line() == "bo> ready"
                await ada.say("ada", "hi")
                assert await ada.line() == "ada> hi"
                assert ghost.stdout is not None
                assert [ghost.stdout.readline(), ghost.stdout.readline()] == ["bo> ready\n", "ada> hi\n"]
                ghost.send_signal(signal.SIGSTOP)
                if is_talking:
                    for _ in range(60):
                        await ada.say("ada", TEXT)
                        assert await ada.line() == f"ada> {TEXT}"
                reading = asyncio.create_task(ada.line())  # answers pings meanwhile
                await until_people(server.url, 2 + 1, within=TOLD_WITHIN + SLACK)
                async with connect(server.url, "/chat/private") as cy:
                    await cy.say("cy", "hi")
                    assert await cy.line() == await reading == "cy> hi"


@asynccontextmanager
async def swallowing_proxy(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Its address, and what to set to let it swallow everything from then on, both ways, and hold both sides open."""
    swallows = asyncio.Event()
    port = urlsplit(url).port
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while data := await reader.read(65536):
            if not swallows.is_set():
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", swallows
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_9_half_open_connections_are_noticed(transport: str) -> None:
    """No byte comes through any more, in either direction, and neither side is told."""
    with serving("--transport", transport, *PING) as server:
        async with (
            canary(server.url),
            swallowing_proxy(server.url) as (proxy, swallows),
            connect(server.url, "/chat/private") as ada,
            connect(proxy, "/chat/private") as bo,
        ):
            await bo.say("bo", "hi")
            assert await ada.line() == await bo.line() == "bo> hi"
            swallows.set()
            reading = asyncio.create_task(ada.line())
            await until_people(server.url, 2 + 1, within=TOLD_WITHIN + SLACK)
            async with connect(server.url, "/chat/private") as cy:
                await cy.say("cy", "hi")
                assert await cy.line() == await reading == "cy> hi"
