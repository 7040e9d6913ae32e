"""A client of v1 on a raw connection, and a network between it and the server that can be broken."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from math import inf
from typing import Any, Final
from urllib.parse import urlsplit

from tests.raw import DEADLINE, TEXT, Client, ClosedError, connect, frame

PROTOCOL: Final = (("Sec-WebSocket-Protocol", "parlour.v1.json"),)

PATIENCE: Final = 2 * DEADLINE
"""Seconds within which whatever is waited for must come: thousands of clients may wait for theirs at once."""


class Speaker:
    """A v1 client. It answers pings, keeps what it was not asked for, and knows where it stands in each room."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.session = ""  # the token of the last hello
        self.person: dict[str, Any] = {}
        self.positions: dict[str, tuple[str, int]] = {}  # by room: epoch, and the offset of the last event
        self.events: list[dict[str, Any]] = []  # that came and were not taken yet
        self.answers_pings = True
        self._ids = count(1)

    def write(self, op: str, **fields: Any) -> int:
        """Send a command without waiting for anything; its id."""
        number = next(self._ids)
        self.client.write(command(op, number, **fields))
        return number

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a command, and wait for its reply."""
        return await self.reply(self.write(op, **fields))

    async def reply(self, number: int | None) -> dict[str, Any]:
        """The reply that bears this number; events before it are kept."""
        async with asyncio.timeout(PATIENCE):  # pings go on coming
            while True:
                came = await self.next()
                if "re" in came and came["re"] == number:
                    return came

    async def hello(self, **fields: Any) -> dict[str, Any]:
        """Say hello, and remember what a client remembers."""
        reply = await self.ask("hello", **fields)
        assert reply["ok"], reply
        self.session, self.person = reply["session"], reply["person"]
        for place in reply["rooms"]:
            if not place.get("gone"):
                self.positions[place["room"]] = place["epoch"], place["off"]
        return reply

    async def event(self, kind: str) -> dict[str, Any]:
        """The next event of this kind; others before it are dropped."""
        async with asyncio.timeout(PATIENCE):
            while True:
                while self.events:
                    came = self.events.pop(0)
                    if came["ev"] == kind:
                        return came
                await self.next()

    async def next(self) -> dict[str, Any]:
        """The next thing that comes, a ping apart."""
        while True:
            came: dict[str, Any] = json.loads(await self.client.line())
            if came.get("ev") == "ping":
                if self.answers_pings:
                    self.client.write(frame(TEXT, b'{"op":"pong"}'))
                continue
            if "ev" in came:
                self.events.append(came)
                self._follow(came)
            return came

    async def closed(self) -> int | None:
        """The code with which the server ends the connection; None if the line is cut. What comes before is kept."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await self.next()
            except ClosedError as end:
                return end.code

    @property
    def resume(self) -> dict[str, Any]:
        """The fields of a hello that comes back."""
        places = [{"room": room, "epoch": epoch, "off": off} for room, (epoch, off) in self.positions.items()]
        return {"session": self.session, "resume": places}

    def _follow(self, event: Mapping[str, Any]) -> None:
        room = event.get("room", "")
        if event["ev"] == "match.found":
            self.positions[room] = event["epoch"], event["off"]
        elif event["ev"].startswith("message") and room in self.positions:
            epoch, off = self.positions[room]
            assert event["off"] == off + 1, f"{room}: {event['off']} after {off}"
            self.positions[room] = epoch, event["off"]


def command(op: str, number: int | None = 1, **fields: Any) -> bytes:
    """A command as one frame."""
    return frame(TEXT, json.dumps({"id": number, "op": op, **fields}).encode())


@asynccontextmanager
async def speaking(
    url: str, path: str = "/chat/public", *, source: str | None = None, receive_buffer: int | None = None, **hello: Any
) -> AsyncIterator[Speaker]:
    """A v1 client that has said hello with these fields; the connection is cut at the end."""
    async with silent(url, path, source=source, receive_buffer=receive_buffer) as speaker:
        await speaker.hello(**hello)
        yield speaker


@asynccontextmanager
async def silent(
    url: str,
    path: str = "/chat/public",
    *,
    source: str | None = None,
    receive_buffer: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Speaker]:
    """A v1 client that has not said hello."""
    async with connect(url, path, PROTOCOL, source=source, receive_buffer=receive_buffer, tls=tls) as client:
        assert client.response.headers["sec-websocket-protocol"] == PROTOCOL[0][1]
        yield Speaker(client)


class Network:
    """A TCP proxy in front of a server. Make it with `between`."""

    def __init__(self) -> None:
        self.url = ""
        self.swallows = False  # what is sent vanishes, both ways, and nobody is told
        self.cuts_after = inf  # bytes from the server to one client after which its line is cut
        self._lines: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut all lines at once."""
        for writer in self._lines:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._lines |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, far_writer, inf))
                group.create_task(self._pass(far_reader, writer, self.cuts_after))
        finally:
            self._lines -= both
            for end in both:
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: float) -> None:
        passed = 0
        with suppress(OSError):
            while data := await reader.read(65_536):
                if self.swallows:
                    continue
                data = data[: int(min(most - passed, len(data)))]
                passed += len(data)
                writer.write(data)
                await writer.drain()
                if passed >= most:
                    break
        if not self.swallows:
            writer.close()


@asynccontextmanager
async def between(url: str) -> AsyncIterator[Network]:
    """A network before the server at `url`."""
    parts = urlsplit(url)
    network = Network()
    serve = asyncio.create_task  # each line is a task of the server's own

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = serve(network._serve(reader, writer, parts.hostname or "", parts.port or 0))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    network.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield network
    finally:
        server.close()
        network.cut()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
