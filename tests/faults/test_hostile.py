"""Faults 10 to 14, 33 and 43: clients that send too little, too much, or too often. A healthy pair talks beside each.

Deadlines that no setting reaches are shortened in the server's process; `make stress` waits for the real ones.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from parlour.core.connection import PIECES_LIMIT
from parlour.hub import FRAGMENTS_LIMIT
from parlour.wire.contract import FRAME_LIMIT
from tests.raw import (
    CONT,
    PING,
    PONG,
    TEXT,
    Client,
    ClosedError,
    DeniedError,
    connect,
    frame,
    get,
    line,
    opened,
    request,
    said,
)
from tests.servers import Server, canary, people, serving, until, until_people, uvicorn

pytestmark = pytest.mark.anyio

QUICK = """
from parlour.core import connection
from parlour.transport.http import HttpProtocol
HttpProtocol.REQUEST_LIMIT = connection.PIECES_LIMIT = connection.STALL_LIMIT = 1.0
"""
TRANSPORTS = pytest.mark.parametrize("transport", ["auto", "asgi"])


# 10: silence


async def nothing(client: Client) -> None:
    """A TCP connection, and not a byte."""


async def half_a_line(client: Client) -> None:
    client.write(b"GET /chat/pub")


async def half_a_header(client: Client) -> None:
    client.write(b"GET /chat/public HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso")


async def half_a_body(client: Client) -> None:
    client.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf")


async def byte_by_byte(client: Client) -> None:
    """Ever another header: the next bytes come soon, the end never."""
    client.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    while True:
        client.write(b"X-More: and more\r\n")
        await asyncio.sleep(0.05)  # that is its rate


async def endless_header(client: Client) -> None:
    client.write(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 200_000)


async def idle_after_a_request(client: Client) -> None:
    client.write(request("http://localhost", "/healthz", {"Connection": "keep-alive"}, upgrade=False))


SILENT = [nothing, half_a_line, half_a_header, half_a_body, byte_by_byte, endless_header, idle_after_a_request]


@pytest.mark.parametrize("before", [QUICK, pytest.param("", marks=pytest.mark.stress)], ids=["quick", "real"])
async def test_10_who_does_not_finish_a_request_is_cut_off(before: str) -> None:
    """Under `parlour serve`. All at once, beside a pair that talks, and a page that is still served."""

    async def be(silent: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        async with opened(server.url) as client:
            being = asyncio.create_task(silent(client))
            await client.ended()
            being.cancel()

    with serving(before=before) as server:
        async with canary(server.url):
            await asyncio.gather(*map(be, SILENT))
            assert (await get(server.url, "/healthz")).status == 200
        assert "Traceback" not in server.log


# 11: messages that never end


@asynccontextmanager
async def disturbed(*flags: str, before: str = QUICK) -> AsyncIterator[Server]:
    """A server with a pair that talks, and must not notice what happens in the block."""
    with serving(*flags, before=before) as server:
        async with canary(server.url):
            yield server
        assert "Traceback" not in server.log


async def test_11_empty_fragments_are_counted() -> None:
    async with disturbed() as server, connect(server.url) as client:
        client.write(frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 10_000)
        assert await client.closed() == (1009, "too many fragments")
    assert FRAGMENTS_LIMIT == 64


UNFINISHED = [
    frame(TEXT, line("ada", "hi"))[:1],
    frame(TEXT, line("ada", "hi"))[:-1],
    frame(TEXT, b"x" * 100_000)[:50_000],
    frame(TEXT, b"{", fin=False),
    frame(TEXT, b"{", fin=False) + frame(PING) * 3,
    frame(PING, b"not whole")[:-1],
]


@pytest.mark.parametrize("before", [QUICK, pytest.param("", marks=pytest.mark.stress)], ids=["quick", "real"])
async def test_11_a_message_must_end(before: str) -> None:
    """Within ten seconds of its first byte; other frames in between do not prolong it."""

    async def begin(beginning: bytes) -> tuple[int | None, str]:
        async with connect(server.url) as client:
            await client.send(beginning)
            return await client.closed()

    async with disturbed(before=before) as server:
        ends = await asyncio.gather(*map(begin, UNFINISHED))
        assert ends == [(1008, "message not finished in time")] * len(UNFINISHED)
    assert PIECES_LIMIT == 10


async def test_11_dripping_is_no_ending() -> None:
    """A byte now and then keeps nobody."""
    async with disturbed() as server, connect(server.url) as client:
        closing = asyncio.create_task(client.closed())
        for at in range(1000):
            client.write(frame(TEXT, b"x" * 1000)[at : at + 1])
            done, _ = await asyncio.wait([closing], timeout=0.05)  # that is its rate
            if done:
                break
        assert await closing == (1008, "message not finished in time")


# 12: too big


@TRANSPORTS
async def test_12_a_mebibyte_is_refused_and_nothing_inflates(transport: str) -> None:
    """1009 by the header alone; deflate is not negotiated, so that a compressed frame is an error."""
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits, permessage-deflate"}
    bomb = zlib.compress(b"x" * 15_000_000, wbits=-15)
    async with disturbed("--transport", transport) as server:
        async with connect(server.url, headers=offer) as client:
            assert "sec-websocket-extensions" not in client.response.headers
            client.write(frame(TEXT, bomb, reserved=4))
            assert (await client.closed())[0] == 1002
        async with connect(server.url) as client:
            client.write(frame(TEXT, b"x" * 1024 * 1024))
            assert (await client.closed())[0] == 1009


@pytest.mark.parametrize("transport", ["auto", "asgi"])
async def test_12_plain_uvicorn_negotiates_no_deflate_either(transport: str) -> None:
    """Its own default would."""
    with uvicorn(settings={"transport": transport}) as server:
        async with connect(server.url, headers={"Sec-WebSocket-Extensions": "permessage-deflate"}) as client:
            assert "sec-websocket-extensions" not in client.response.headers
            client.write(frame(TEXT, b"x" * (FRAME_LIMIT + 1)))
            assert (await client.closed())[0] == 1009


# 13 and 43: too fast


@TRANSPORTS
async def test_43_lines_over_the_rate_come_later(transport: str) -> None:
    """300 lines at once: each arrives, in order, and the client's own pings are answered meanwhile."""
    async with (
        disturbed("--transport", transport, "--rate", "200", "--burst", "30") as server,
        connect(server.url) as ada,
        connect(server.url) as bo,
    ):
        await ada.send(b"".join(said("ada", str(number)) for number in range(300)) + frame(PING, b"alive?"))
        got = [await ada.frame() for _ in range(301)]
        pong = (0x80 | PONG, b"alive?")
        assert pong in got[:-1]
        lines = [f"ada> {number}" for number in range(300)]
        assert [one.data.decode() for one in got if one != pong] == lines
        assert await bo.lines(300) == lines


@TRANSPORTS
async def test_43_more_lines_than_are_held_come_too(transport: str) -> None:
    """Beyond 64 KiB the client is not read for a while; nothing is lost."""
    async with (
        disturbed("--transport", transport, "--rate", "200", "--burst", "30", before="") as server,
        connect(server.url) as ada,
    ):
        text = "x" * 1_000
        ada.write(b"".join(said("ada", f"{number} {text}") for number in range(300)))
        assert await ada.lines(300) == [f"ada> {number} {text}" for number in range(300)]


@TRANSPORTS
async def test_13_a_flood_is_held_then_not_read_then_closed(transport: str) -> None:
    """5,000 lines at once, at two a second. What was said within the rate was heard."""
    async with (
        disturbed("--transport", transport, "--rate", "2", "--burst", "30") as server,
        connect(server.url) as bo,
        connect(server.url) as ada,
    ):
        pressing = asyncio.create_task(press(ada, said("ada", "x" * 100) * 100))
        heard, end = 0, None
        while end is None:
            try:
                heard += await ada.line() == f"ada> {'x' * 100}"
            except ClosedError as closed:
                end = closed.code, closed.reason
        pressing.cancel()
        assert end == (4013, "too many messages")
        assert heard >= 30
        await bo.say("bo", "quiet now")
        assert await bo.lines(heard + 1) == [*[f"ada> {'x' * 100}"] * heard, "bo> quiet now"]


async def test_13_a_flood_of_pings() -> None:
    """The same for ping frames, and for pongs that nobody asked for."""

    async def flood(data: bytes) -> int | None:
        async with connect(server.url) as client:
            pressing = asyncio.create_task(press(client, data))
            code, _ = await client.closed()
            pressing.cancel()
            return code

    async with disturbed() as server:
        codes = await asyncio.gather(flood(frame(PING) * 1000), flood(frame(PONG, b"x" * 125) * 1000))
        assert set(codes) == {4013}


async def press(client: Client, data: bytes) -> None:
    """Send it again and again, as fast as the server takes it."""
    while not client.writer.transport.is_closing():
        try:
            await client.send(data)
        except (OSError, TimeoutError):
            return


# 14 and 33: too many


async def test_14_one_address_does_not_keep_others_out() -> None:
    """500 connections at once from one address: what it may hold comes in, the rest is told before the upgrade; another
    address joins meanwhile, and who leaves makes room."""
    async with disturbed("--per-address", "20") as server, AsyncExitStack() as stack:
        outcomes: list[tuple[int, str | None]] = []

        async def come() -> None:
            try:
                await stack.enter_async_context(connect(server.url, source="127.0.0.2"))
                outcomes.append((101, None))
            except DeniedError as denied:
                outcomes.append((denied.response.status, denied.response.headers["retry-after"]))

        coming = [asyncio.create_task(come()) for _ in range(500)]
        async with connect(server.url, source="127.0.0.3") as ada:
            await ada.say("ada", "hi")
            assert await ada.line() == "ada> hi"
        await asyncio.gather(*coming)
        assert Counter(outcomes) == {(101, None): 20, (429, "5"): 480}
        await stack.aclose()
        await until_people(server.url, 2)

        async def comes_back() -> bool:
            try:
                async with connect(server.url, source="127.0.0.2"):
                    return True
            except DeniedError:
                return False

        await until(comes_back, "the address may come again")


@pytest.mark.parametrize("command", ["parlour serve", "uvicorn"])
async def test_33_forwarded_addresses_count_as_told(command: str) -> None:
    """Behind one trusted proxy the limit holds for who stands behind it, and no header that the client itself wrote
    changes that; uvicorn, which believes such headers from loopback, neither."""

    async def comes(*forwarded: str, stack: AsyncExitStack) -> bool:
        lines = [("X-Forwarded-For", value) for value in forwarded]
        try:
            await stack.enter_async_context(connect(server.url, headers=lines))
        except DeniedError as denied:
            return denied.response.status != 429
        return True

    flags = {"trusted_hops": "1", "per_address": "2"}
    manager = (
        serving(*(part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)))
        if command == "parlour serve"
        else uvicorn(settings=flags)
    )
    with manager as server:
        async with AsyncExitStack() as stack:
            assert await comes("9.9.9.9", stack=stack)
            assert await comes("1.2.3.4, 9.9.9.9", stack=stack)
            assert not await comes("5.6.7.8, 9.9.9.9", stack=stack)
            assert not await comes("5.6.7.8", "9.9.9.9", stack=stack)
            assert await comes("9.9.9.9, 5.6.7.8", stack=stack)
            assert await comes("2001:db8::1", stack=stack)
            assert await comes("[2001:db8::2]:80", stack=stack)
            assert not await comes("2001:db8:0:0:ffff::1", stack=stack)
            assert await comes("2001:db8:0:1::1", stack=stack)
            assert await people(server.url) == 6


async def test_33_an_untrusted_proxy_is_one_address_and_a_hint() -> None:
    """All who come through it share one limit, and the operator is told what to set. Nobody is taken for local."""
    with serving() as server:
        async with AsyncExitStack() as stack:
            for number in range(100):
                headers = {"X-Forwarded-For": f"9.9.9.{number}"}
                await stack.enter_async_context(connect(server.url, headers=headers))
            with pytest.raises(DeniedError) as denied:
                await stack.enter_async_context(connect(server.url, headers={"X-Forwarded-For": "1.1.1.1"}))
            assert denied.value.response.status == 429
            await stack.enter_async_context(connect(server.url))
            assert server.log.count("--trusted-hops") == 1
