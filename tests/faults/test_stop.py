"""Fault 29: the server is told to stop while a thousand clients are there, ten of them stuck."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress

import pytest

from parlour.errors import RESTART
from tests.raw import Client, connect, opened, read_response, request
from tests.servers import Server, crowd, fill, pour, serving, until, uvicorn

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_29_newcomers_are_told_to_wait(number: signal.Signals) -> None:
    """While it drains: connections that are open say so, and no new one is accepted."""
    with serving("--transport", "asgi") as server:
        async with stuck_booths(server.url, 1), opened(server.url) as ada, opened(server.url) as bo:
            for one in (ada, bo):
                await one.send(request(server.url, "/readyz", {"Connection": "keep-alive"}, upgrade=False))
                assert (await read_response(one)).status == 200
            server.signal(number)
            await until_refused(server.url)
            await ada.send(request(server.url, "/readyz", upgrade=False))
            assert (await read_response(ada)).status == 503
            await bo.send(request(server.url, "/chat/public"))
            answer = await read_response(bo)
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            await asyncio.to_thread(server.exited, STOPS_WITHIN)
        assert "Traceback" not in server.log


async def until_refused(url: str) -> None:
    """Until the server accepts no connection any more."""

    async def is_refused() -> bool:
        try:
            async with opened(url):
                return False
        except OSError:
            return True

    await until(is_refused, "no new connections")


async def test_29_a_second_signal_does_not_wait() -> None:
    """Ctrl-C twice."""
    with serving() as server:
        async with stuck_booths(server.url, 1):
            server.signal(signal.SIGINT)
            await until_refused(server.url)
            server.signal(signal.SIGINT)
            await asyncio.to_thread(server.exited, STOPS_WITHIN)


def test_two_workers_are_warned_that_the_room_is_split() -> None:
    """`uvicorn --workers 2`: each process has rooms of its own, and says so."""
    with uvicorn("--workers", "2") as server:
        asyncio.run(come_to_both(server))
        assert "another Parlour runs on the data folder" in server.log


async def come_to_both(server: Server) -> None:
    """The kernel chooses a worker for each connection."""

    async def has_warned() -> bool:
        with suppress(OSError):  # uvicorn tells the address before its workers listen
            async with connect(server.url) as ada:
                await ada.say("ada", "hi")
                await ada.line()
        return "another Parlour runs" in server.log

    await until(has_warned, "the warning")
