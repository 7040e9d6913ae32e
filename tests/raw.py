"""A WebSocket client on a plain socket, for what a well-behaved library would not do.

It sends the bytes that it is told to, reads only when asked, answers no ping unless it reads, and can be as deaf or as
slow as a test needs. Whatever it waits for comes within `DEADLINE`, or `TimeoutError` is raised.
"""

import asyncio
import base64
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEADLINE: Final = 30.0
"""Seconds: far more than anything here needs on a busy machine."""

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_Headers = Mapping[str, str] | Sequence[tuple[str, str]]


class Frame(NamedTuple):
    """One frame as it came. `first` is its first byte: FIN, reserved bits and opcode."""

    first: int
    data: bytes

    @property
    def opcode(self) -> int:
        return self.first & 0x0F


class Response(NamedTuple):
    """An HTTP answer. Header names are in lower case; of several headers of one name the last is kept."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class DeniedError(Exception):
    """The WebSocket was refused before the upgrade."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(f"{response.status}: {response.text}")


class ClosedError(Exception):
    """The connection is over. `code` is None where no close frame came (or one without a code)."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code} {reason}")


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame as a client sends it."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    size = len(data)
    bit = 0x80 if masked else 0
    if size < 126:
        header = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        header = struct.pack("!BBH", first, bit | 126, size)
    else:
        header = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return header + data
    mask = os.urandom(4)
    key = int.from_bytes((mask * (size // 4 + 1))[:size])
    return header + mask + (int.from_bytes(data) ^ key).to_bytes(size)


def line(name: str, message: str) -> bytes:
    """What a plain client sends to say something: the payload of one text frame."""
    return json.dumps({"username": name, "message": message}).encode()


def said(name: str, message: str) -> bytes:
    """The same as one whole frame."""
    return frame(TEXT, line(name, message))


def heard(name: str, message: str) -> bytes:
    """The frame that a server sends to everyone for it."""
    return frame(TEXT, f"{name}> {message}".encode(), masked=False)


class Client:
    """One connection, from the request on. Make it with `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.response = Response(0, {}, b"")  # the server's answer to the upgrade; `connect` sets it
        self._pieces = b""

    # Sending

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, or let them wait for it: whoever floods does not wait for the other side."""
        self.writer.write(data)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def say(self, name: str, message: str) -> None:
        await self.send(said(name, message))

    # Receiving

    def stop_reading(self) -> None:
        """From now on the kernel's buffer, and then the server's, holds what is sent to this client."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def read_again(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    async def frame(self) -> Frame:
        """The next frame, whatever it is; raises `ClosedError` where the connection ends instead."""
        async with asyncio.timeout(DEADLINE):
            try:
                first, size = await self.reader.readexactly(2)
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                return Frame(first, await self.reader.readexactly(size))
            except (asyncio.IncompleteReadError, OSError):
                raise ClosedError(None) from None

    async def line(self) -> str:
        """The next text. Pings are answered meanwhile; raises `ClosedError` when the server closes, after answering."""
        while True:
            frame_ = await self.frame()
            match frame_.opcode:
                case 0x1 if frame_.first & 0x80:
                    return frame_.data.decode()
                case 0x1 | 0x0:
                    self._pieces += frame_.data
                    if frame_.first & 0x80:
                        whole, self._pieces = self._pieces, b""
                        return whole.decode()
                case 0x9:
                    self.writer.write(frame(PONG, frame_.data))
                case 0x8:
                    self.writer.write(frame(CLOSE, frame_.data[:2]))
                    data = frame_.data
                    raise ClosedError(int.from_bytes(data[:2]) if data else None, data[2:].decode())

    async def lines(self, count: int) -> list[str]:
        return [await self.line() for _ in range(count)]

    async def closed(self) -> tuple[int | None, str]:
        """Code and reason of the server's close frame; whatever else comes before it is dropped."""
        try:
            while True:
                await self.line()
        except ClosedError as end:
            return end.code, end.reason

    async def ended(self) -> None:
        """Until the server has ended the TCP connection."""
        async with asyncio.timeout(DEADLINE):
            with suppress(OSError):
                while await self.reader.read(65536):
                    pass

    # The end

    def cut(self) -> None:
        """Drop the connection as a crash would."""
        self.writer.transport.abort()

    async def leave(self) -> None:
        """Close as a browser does, and wait for the answer and the end."""
        self.writer.write(frame(CLOSE, struct.pack("!H", 1000)))
        await self.closed()
        await self.ended()


@asynccontextmanager
async def opened(
    url: str,
    *,
    source: str | None = None,
    receive_buffer: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A TCP connection to the server, not a byte sent. `source` is the address that it comes from; `receive_buffer` the
    size of its SO_RCVBUF in bytes."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 0
    connection = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    connection.setblocking(False)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    async with asyncio.timeout(DEADLINE):
        try:
            if source is not None:
                connection.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(connection, (host, port))
            reader, writer = await asyncio.open_connection(
                sock=connection, ssl=tls, server_hostname=None if tls is None else "localhost"
            )
        except BaseException:
            connection.close()
            raise
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.cut()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(DEADLINE):
                await writer.wait_closed()


def request(url: str, path: str, headers: _Headers = (), *, upgrade: bool = True) -> bytes:
    """A GET request; with `upgrade` for a WebSocket. A header given here stands in place of a usual one."""
    parts = urlsplit(url)
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    usual = [("Host", parts.netloc)]
    if upgrade:
        key = base64.b64encode(os.urandom(16)).decode()
        usual += [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
        ]
    else:
        usual.append(("Connection", "close"))
    lines = [f"GET {parts.path}{path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in [*(one for one in usual if one[0].lower() not in names), *given]]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


async def read_response(client: Client) -> Response:
    """Status line, headers, and a body if a length is given or the connection ends behind it."""
    async with asyncio.timeout(DEADLINE):
        try:
            head = await client.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, OSError):
            raise ClosedError(None) from None
        status_line, *header_lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in header_lines)}
        status = int(status_line.split()[1])
        if status == 101:
            body = b""
        elif "content-length" in headers:
            body = await client.reader.readexactly(int(headers["content-length"]))
        else:
            body = await client.reader.read()
        return Response(status, headers, body)


@asynccontextmanager
async def connect(
    url: str,
    path: str = "/chat/public",
    headers: _Headers = (),
    *,
    source: str | None = None,
    receive_buffer: int | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A WebSocket, opened; cut at the end. Raises `DeniedError` where the server answers otherwise."""
    async with opened(url, source=source, receive_buffer=receive_buffer, tls=tls) as client:
        await client.send(request(url, path, headers))
        client.response = await read_response(client)
        if client.response.status != 101:
            raise DeniedError(client.response)
        yield client


async def get(url: str, path: str, headers: _Headers = (), *, tls: ssl.SSLContext | None = None) -> Response:
    """One HTTP GET on a connection of its own."""
    async with opened(url, tls=tls) as client:
        await client.send(request(url, path, headers, upgrade=False))
        return await read_response(client)
