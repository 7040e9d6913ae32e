"""Fault 29: the server is told to stop while a thousand clients are there, ten of them stuck."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager

import pytest

from parlour.errors import RESTART
from tests.raw import Client
from tests.servers import Server, crowd, fill, pour, serving, uvicorn

pytestmark = pytest.mark.anyio

STOPS_WITHIN = 10.0
"""Seconds that the operator waits at most."""


@contextmanager
def plain_uvicorn(transport: str) -> Iterator[Server]:
    with uvicorn("--ws-ping-interval", "600", settings={"transport": transport, "ping": "600"}) as server:
        yield server


def our_own(transport: str) -> AbstractContextManager[Server]:
    return serving("--transport", transport, "--ping", "600")


@asynccontextmanager
async def stuck_booths(url: str, count: int) -> AsyncIterator[list[Client]]:
    """In each booth sits one who reads nothing, and so much was said to it that its kernel takes no more. The answer
    holds the others, who do read."""
    async with crowd(url, 2 * count, "/chat/private", receive_buffer=2048) as clients:
        pairs = list(zip(clients[::2], clients[1::2], strict=True))
        for deaf, _ in pairs:
            deaf.stop_reading()
        if pairs:
            lines = await fill(*pairs[0])
            await asyncio.gather(*(pour(speaker, lines) for _, speaker in pairs[1:]))
        yield [speaker for _, speaker in pairs]


@pytest.mark.parametrize("stuck", [0, 10])
@pytest.mark.parametrize("transport", ["auto", "asgi"])
@pytest.mark.parametrize("server_of", [our_own, plain_uvicorn])
async def test_29_everyone_is_told_and_it_stops(
    server_of: Callable[[str], AbstractContextManager[Server]], transport: str, stuck: int
) -> None:
    """All who read get close 4000 (1012 from uvicorn itself where connections were left to it), and the process is gone
    soon, though some read nothing."""
    with server_of(transport) as server:
        async with (
            crowd(server.url, 490) as public,
            crowd(server.url, 490, "/chat/private") as private,
            stuck_booths(server.url, stuck) as others,
        ):
            await public[0].say("ada", "hi")
            assert {await one.line() for one in public} == {"ada> hi"}
            server.signal()
            ends = await asyncio.gather(*(one.closed() for one in (*public, *private, *others)))
            await asyncio.to_thread(server.exited, STOPS_WITHIN)
        expected = (1012, "") if server_of is plain_uvicorn and transport == "asgi" else (RESTART.code, RESTART.reason)
        assert set(ends) == {expected}
        assert "Traceback" not in server.log
