"""Fault 32: a foreign page gets 403 before the upgrade, on every route and below every prefix. `tests/web/test_door.py`
has the whole table."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from tests.raw import DeniedError, connect
from tests.servers import Server, running, serving, uvicorn
from tests.speaker import PROTOCOL, Speaker

pytestmark = pytest.mark.anyio

SERVERS: dict[str, tuple[Callable[[], AbstractContextManager[Server]], str]] = {
    "parlour serve": (serving, ""),
    "uvicorn": (uvicorn, ""),
    "plain ASGI": (partial(serving, "--transport", "asgi"), ""),
    "below a path": (partial(serving, "--url", "https://chat.example/talk"), "/talk"),
    "mounted": (partial(running, "-m", "uvicorn", "--port", "0", "tests.hosts:mounted"), "/talk"),
    "router": (partial(running, "-m", "uvicorn", "--port", "0", "tests.hosts:routed"), "/talk"),
    "behind middleware": (partial(running, "-m", "uvicorn", "--port", "0", "tests.hosts:traced"), "/talk"),
    "hypercorn": (partial(running, "-m", "hypercorn", "-b", "127.0.0.1:0", "tests.hosts:mounted"), "/talk"),
}

FOREIGN = [
    "http://evil.example",
    "https://evil.example",
    "null",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://localhost@evil.example",
    "file://",
]


@pytest.mark.parametrize("name", SERVERS)
async def test_32_a_foreign_page_does_not_get_in(name: str) -> None:
    start, prefix = SERVERS[name]
    with start() as server:
        for path in (f"{prefix}/chat/public", f"{prefix}/chat/private"):
            for origin in FOREIGN:
                for extra in ({}, {"Sec-WebSocket-Protocol": "parlour.v1.json"}, {"Host": "evil.test"}):
                    with pytest.raises(DeniedError) as denied:
                        async with connect(server.url, path, {"Origin": origin, **extra}):
                            pass
                    assert denied.value.response.status == 403
            for origin in ("http://localhost", "http://127.0.0.1:9999", "https://[::1]:1", server.url):
                async with connect(server.url, path, {"Origin": origin}) as ada:
                    await ada.say("ada", "hi")
                    assert await ada.line() == "ada> hi"
            async with connect(server.url, path) as ada:
                await ada.say("ada", "hi")
                assert await ada.line() == "ada> hi"


@pytest.mark.parametrize("name", SERVERS)
async def test_32_nor_to_the_address_without_a_room(name: str) -> None:
    """`/chat`, where v1 clients name their rooms, is no way around."""
    start, prefix = SERVERS[name]
    with start() as server:
        for origin in FOREIGN:
            for extra in ([], [("Host", "evil.test")]):
                with pytest.raises(DeniedError) as denied:
                    async with connect(server.url, f"{prefix}/chat", [*PROTOCOL, ("Origin", origin), *extra]):
                        pass
                assert denied.value.response.status == 403
        for headers in ((), (("Origin", "http://localhost:3000"),), (("Origin", server.url),)):
            async with connect(server.url, f"{prefix}/chat", [*PROTOCOL, *headers]) as client:
                ada = Speaker(client)
                await ada.hello()
                assert (await ada.ask("join", room="public"))["ok"]


async def test_32_a_cookie_must_come_with_an_origin() -> None:
    """Where the host proves who somebody is: a browser sends both; whoever sends neither is no browser."""
    path = "/talk/chat/public"
    with running("-m", "uvicorn", "--port", "0", "tests.hosts:identified") as server:
        with pytest.raises(DeniedError) as denied:
            async with connect(server.url, path, {"Cookie": "session=1"}):
                pass
        assert denied.value.response.status == 403
        async with connect(server.url, path, {"Cookie": "session=1", "Origin": server.url}):
            pass
        async with connect(server.url, path):
            pass


async def test_32_the_operator_is_told_once() -> None:
    """With the flags that fix it, however often a page tries."""
    with serving() as server:
        for _ in range(5):
            with pytest.raises(DeniedError) as denied:
                async with connect(server.url, headers={"Origin": "https://chat.example"}):
                    pass
            assert "--origin" not in denied.value.response.text
        assert server.log.count("--origin") == 1
    with serving("--origin", "https://chat.example") as server:
        async with connect(server.url, headers={"Origin": "https://chat.example"}):
            pass
