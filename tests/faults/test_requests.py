"""Requests that uvicorn alone would keep for ever, or answer without end."""

import pytest

from tests.raw import PING, frame, get, opened, read_response, request
from tests.servers import canary, serving, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([("X-Long", "a" * 9000)], id="a long header"),
        pytest.param([(f"X-{number}", "y") for number in range(300)], id="many headers"),
        pytest.param([("Content-Length", "5")], id="a body"),
    ],
)
async def test_an_upgrade_that_the_library_refuses_is_cut(headers: list[tuple[str, str]]) -> None:
    """httptools takes such a request and the websockets library does not: uvicorn would neither answer nor close it."""
    with serving() as server:
        async with canary(server.url), opened(server.url) as ada:
            await ada.send(request(server.url, "/chat/public", headers))
            await ada.ended()
    assert "Traceback" not in server.log


async def test_requests_in_a_row_are_not_piled_up() -> None:
    """Who sends requests and reads no answers is cut off, and that is no error of the server's."""
    with serving() as server:
        async with canary(server.url), opened(server.url) as ada:
            await ada.send(request(server.url, "/static/chat.js", upgrade=False) * 100)
            await ada.ended()
        assert (await get(server.url, "/healthz")).status == 200
    assert "Traceback" not in server.log


async def test_pings_without_reading_do_not_pile_up_on_plain_asgi() -> None:
    """uvicorn answers pings by itself; who takes none of the answers is cut off, though its booth is quiet."""
    with serving("--transport", "asgi", "--ping", "3600", "--ping-timeout", "3600") as server:
        async with opened(server.url, receive_buffer=2048) as ada:
            await ada.send(request(server.url, "/chat/private"))
            assert (await read_response(ada)).status == 101
            flood = frame(PING, b"x" * 125) * 100

            async def is_cut() -> bool:
                try:
                    await ada.send(flood)
                except OSError:
                    return True
                return False

            await until(is_cut, "the connection cut", within=60)
