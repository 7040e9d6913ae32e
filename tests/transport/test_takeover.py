"""Which connections are taken over from uvicorn, and what happens in the moment when they are."""

import asyncio
from contextlib import AbstractContextManager

import pytest
from starlette.websockets import WebSocket

from parlour.transport.uvicorn import found
from tests.raw import CLOSE, PING, PONG, TEXT, connect, frame, get, line, opened, read_response, request, said
from tests.servers import Server, people, running, until

pytestmark = pytest.mark.anyio

PUBLIC = "/talk/chat/public"


def hosting(app: str, *flags: str) -> AbstractContextManager[Server]:
    return running("-m", "uvicorn", "--port", "0", *flags, f"tests.hosts:{app}")


async def tasks(server: Server) -> int:
    return int((await get(server.url, "/tasks")).text)


@pytest.mark.parametrize(
    ("app", "flags", "is_taken"),
    [
        ("mounted", (), True),
        ("routed", (), True),
        ("mounted", ("--http", "h11"), True),
        ("identified", (), True),
        ("left_alone", (), False),
        ("traced", (), False),
        ("mounted", ("--ws", "websockets"), False),
        ("mounted", ("--ws", "wsproto"), False),
    ],
)
async def test_a_connection_taken_over_needs_no_task(app: str, flags: tuple[str, ...], is_taken: bool) -> None:
    """By default; with `takeover=False`, behind middleware that wraps `receive`, and on uvicorn's other WebSocket
    classes plain ASGI serves, and nobody notices."""
    with hosting(app, *flags) as server:
        idle = await tasks(server)
        async with connect(server.url, PUBLIC) as ada, connect(server.url, PUBLIC) as bo:
            await ada.say("ada", "hi")
            assert await ada.line() == await bo.line() == "ada> hi"
            assert (await tasks(server) == idle) is is_taken
        assert "Traceback" not in server.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("app", ["slow_to_accept", "slow_to_accept_left_alone"])
async def test_what_is_said_before_the_answer(app: str, loop: str) -> None:
    """RFC 6455 forbids it, but impatient clients live: whole frames count, a close frame too; half a frame ends it (it
    can't be taken over), and so does half a message."""
    early = [said("ada", str(number)) for number in range(3)]
    with hosting(app, "--loop", loop) as server:
        is_taken = app == "slow_to_accept"

        async with opened(server.url) as ada:
            await ada.send(request(server.url, f"{PUBLIC}?wait=3"))
            await until_asked(server)
            await ada.send(b"".join(early))
            assert (await read_response(ada)).status == 101
            await ada.send(said("ada", "3") + frame(PING, b"p"))
            assert await ada.lines(4) == [f"ada> {number}" for number in range(4)]

        async with opened(server.url) as bo:
            await bo.send(request(server.url, f"{PUBLIC}?wait=1"))
            await until_asked(server)
            await bo.send(early[0] + early[1][:-3])
            assert (await read_response(bo)).status == 101
            await bo.send(early[1][-3:])
            if is_taken:
                assert await bo.closed() == (1002, "data before the handshake was over")
            else:
                assert await bo.lines(2) == ["ada> 0", "ada> 1"]

        async with opened(server.url) as cy:
            await cy.send(request(server.url, f"{PUBLIC}?wait=2"))
            await until_asked(server)
            await cy.send(early[0] + frame(CLOSE, b"\x03\xe8"))
            await cy.ended()

        assert "Traceback" not in server.log
        await until_nobody(server)


async def until_asked(server: Server) -> None:
    """Until the endpoint runs: a request that comes later was answered."""
    await tasks(server)


async def until_nobody(server: Server) -> None:
    async def is_empty() -> bool:
        return await people(server.url, "/talk") == 0

    await until(is_empty, "everyone gone")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("app", ["slow_to_accept", "slow_to_accept_left_alone"])
@pytest.mark.parametrize("end", ["reset", "fin"])
async def test_a_client_that_leaves_before_the_answer(app: str, loop: str, end: str) -> None:
    """It takes no seat, and leaves no trace in the log."""
    with hosting(app, "--loop", loop) as server:
        for _ in range(20):
            async with opened(server.url) as ada:
                await ada.send(request(server.url, f"{PUBLIC}?wait=1"))
                await until_asked(server)
                if end == "fin":
                    ada.writer.write_eof()
                    await ada.ended()
        await until_nobody(server)
        assert "Traceback" not in server.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("app", ["mounted", "left_alone"])
async def test_clients_that_come_and_go_at_once(app: str, loop: str) -> None:
    """A request and the end of the connection behind it, however they fall together: nobody stays in the room."""

    async def come_and_go(number: int) -> None:
        async with opened(server.url) as ada:
            ada.write(request(server.url, PUBLIC))
            match number % 4:
                case 0:
                    ada.writer.write_eof()
                    await ada.ended()
                case 1:
                    ada.write(said("ada", "hi"))
                case 2:
                    ada.write(frame(CLOSE))

    with hosting(app, "--loop", loop) as server:
        for _ in range(10):
            await asyncio.gather(*map(come_and_go, range(40)))
        await until_nobody(server)
        assert "Traceback" not in server.log
        async with connect(server.url, PUBLIC) as bo:
            await bo.say("bo", "hi")
            assert (await bo.line()) == "bo> hi"


async def test_the_servers_pings_are_its_own() -> None:
    """A connection taken over is pinged by the hub alone, with an empty payload; no second heartbeat of uvicorn's
    remains."""
    script = "from parlour import Parlour, Settings; from fastapi import FastAPI; import uvicorn; app = FastAPI();"
    script += " app.mount('/talk', Parlour(Settings(ping=0.2, ping_timeout=10)));"
    script += " uvicorn.run(app, port=0, ws_ping_interval=0.2, ws_ping_timeout=0.5)"
    with running("-c", script) as server:
        async with connect(server.url, PUBLIC) as ada:
            for _ in range(10):
                assert await ada.frame() == (0x80 | PING, b"")
            await ada.send(frame(PONG))
            await ada.send(frame(TEXT, line("ada", "hi")))
            while (got := await ada.frame()).opcode != TEXT:
                assert got == (0x80 | PING, b"")
            assert got.data == b"ada> hi"


async def test_nothing_is_found_where_uvicorn_is_not_as_expected() -> None:
    """Another server, a wrapper, a class of uvicorn's that is not the one we know."""

    async def receive() -> dict[str, object]:
        return {}

    async def send(message: object) -> None: ...

    class Protocol:
        async def receive(self) -> dict[str, object]:
            return {}

    for unknown in (receive, Protocol().receive):
        assert found(WebSocket({"type": "websocket"}, unknown, send)) is None
