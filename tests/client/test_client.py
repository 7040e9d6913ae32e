"""The async client: which URL means what, talking, and every way in which a connection fails or ends."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from parlour.client import FRAME_LIMIT, Address, Client, frame, line
from parlour.errors import Close, ConnectError, Disconnected, SettingsError
from tests.client.plain_server import PlainServer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


@pytest.mark.parametrize(
    ("url", "private", "expected", "shown"),
    [
        ("http://127.0.0.1:8000", False, "ws://127.0.0.1:8000/chat/public", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000", True, "ws://127.0.0.1:8000/chat/private", "http://127.0.0.1:8000"),
        ("https://a.example/", False, "wss://a.example/chat/public", "https://a.example"),
        ("HTTPS://a.example", False, "wss://a.example/chat/public", "https://a.example"),
        ("https://a.example/sub/path/", True, "wss://a.example/sub/path/chat/private", "https://a.example/sub/path"),
        ("ws://a.example", False, "ws://a.example/chat/public", "http://a.example"),
        ("wss://a.example:444", False, "wss://a.example:444/chat/public", "https://a.example:444"),
        ("localhost:9000", False, "ws://localhost:9000/chat/public", "http://localhost:9000"),
        ("[::1]:9000", False, "ws://[::1]:9000/chat/public", "http://[::1]:9000"),
        ("a.example", False, "ws://a.example/chat/public", "http://a.example"),
        (" a.example/sub ", False, "ws://a.example/sub/chat/public", "http://a.example/sub"),
        ("http://a.example/chat/public", False, "ws://a.example/chat/public", "http://a.example"),
        ("http://a.example/chat/private", False, "ws://a.example/chat/private", "http://a.example"),
        ("http://a.example/chat/private", True, "ws://a.example/chat/private", "http://a.example"),
        ("ws://a.example/sub/chat/public/", False, "ws://a.example/sub/chat/public", "http://a.example/sub"),
        ("ws://a.example/chat/rooms/tea", False, "ws://a.example/chat/rooms/tea", "http://a.example"),
        ("http://a.example/?token=1", False, "ws://a.example/chat/public?token=1", "http://a.example"),
        ("http://ada:secret@a.example", False, "ws://ada:secret@a.example/chat/public", "http://a.example"),
        ("http://a.example/#top", False, "ws://a.example/chat/public", "http://a.example"),
    ],
)
async def test_a_url_leads_to_a_chat(url: str, private: bool, expected: str, shown: str) -> None:
    """What people paste is understood; credentials and query are not shown."""
    address = Address.of(url, private=private)
    assert (address.url, address.shown) == (expected, shown)
    assert address.private is expected.endswith("/chat/private")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "x://",
        "a b",
        "ftp://a.example",
        "http://a.example:port",
        "http://a.example:70000",
        "http://[::1",
        "http://ada@a.example",
        "http://a.example/\x1b[2J",
    ],
)
async def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    """The words name the URL and the fix."""
    with pytest.raises(SettingsError, match=r"^URL .+; "):
        Address.of(url)


async def test_a_booth_and_a_public_path_contradict_each_other() -> None:
    with pytest.raises(SettingsError, match="--private"):
        Address.of("http://a.example/chat/public", private=True)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1", True),
        ("127.8.9.1:80", True),
        ("http://[::1]:8000", True),
        ("localhost", True),
        ("chat.localhost", True),
        ("a.example", False),
        ("http://10.0.0.1", False),
    ],
)
async def test_loopback_is_known_by_its_name(url: str, loopback: bool) -> None:
    assert Address.of(url).loopback is loopback


async def test_two_clients_hear_each_other(server: PlainServer) -> None:
    """Each line comes to everyone, its own sender included, and the frame is the protocol's JSON."""
    async with Client.connect(server.url, name="ada") as ada, Client.connect(server.url, name="bo") as bo:
        await server.wait_members(2)
        heard_by_ada, heard_by_bo = aiter(ada), aiter(bo)
        await ada.say("tea? ☕")
        assert [await anext(heard_by_ada), await anext(heard_by_bo)] == ["ada> tea? ☕"] * 2
        await bo.say("")
        assert [await anext(heard_by_ada), await anext(heard_by_bo)] == ["bo> "] * 2
    assert server.said == [{"username": "ada", "message": "tea? ☕"}, {"username": "bo", "message": ""}]
    await server.wait_members(0)


async def test_the_handshake_asks_for_nothing_special(server: PlainServer) -> None:
    """No deflate, no subprotocol, no Origin: that is the plain wire."""
    async with Client.connect(f"{server.url}/sub", name="ada", private=True) as client:
        assert client.address.private
    assert server.paths == ["/sub/chat/private"]
    names = set(server.headers[0])
    assert names.isdisjoint({"origin", "sec-websocket-extensions", "sec-websocket-protocol"})


async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: PlainServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "socks_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with Client.connect(server.url, name="ada") as ada:
        await ada.say("here")
        assert await anext(aiter(ada)) == "ada> here"


async def test_iteration_ends_with_the_context(server: PlainServer) -> None:
    """One's own goodbye is no error."""
    async with Client.connect(server.url, name="ada") as ada:
        heard = aiter(ada)
        await ada.close()
        assert [text async for text in heard] == []
        with pytest.raises(Disconnected):
            await ada.say("too late")


@pytest.mark.parametrize(("code", "reconnect"), [(4000, True), (4506, False), (1001, True), (1011, True)])
async def test_the_servers_goodbye_is_told(server: PlainServer, code: int, reconnect: bool) -> None:
    async with Client.connect(server.url, name="ada") as ada:
        await ada.say(f"/close {code}")
        with pytest.raises(Disconnected) as caught:
            await anext(aiter(ada))
        assert caught.value.close == Close(code, "as asked")
        assert caught.value.close.reconnect is reconnect
        with pytest.raises(Disconnected):
            await ada.say("still there?")


async def test_a_connection_that_just_breaks_is_told(server: PlainServer) -> None:
    async with Client.connect(server.url, name="ada") as ada:
        await server.wait_members(1)
        for member in server.members:
            member.transport.abort()
        with pytest.raises(Disconnected, match="lost") as caught:
            await anext(aiter(ada))
        assert caught.value.close.reconnect


async def test_what_is_not_understood_is_not_tried_again(server: PlainServer) -> None:
    """A frame over the limit ends the connection, and coming back would not help."""
    async with Client.connect(server.url, name="ada") as ada:
        await server.wait_members(1)
        server.tell("x" * (FRAME_LIMIT + 1))
        with pytest.raises(Disconnected) as caught:
            await anext(aiter(ada))
        assert caught.value.close.code == 1009
        assert not caught.value.close.reconnect


@pytest.mark.parametrize(("message", "words"), [("x" * FRAME_LIMIT, "larger than"), ("\ud800", "surrogates")])
async def test_what_cannot_be_said_is_refused_here(server: PlainServer, message: str, words: str) -> None:
    """The server would close the connection; this way it lives."""
    async with Client.connect(server.url, name="ada") as ada:
        with pytest.raises(ValueError, match=words):
            await ada.say(message)
        await ada.say("fine")
        assert await anext(aiter(ada)) == "ada> fine"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "origin"),
        (429, "too many connections from your address"),
        (401, "who you are"),
        (404, "no such chat"),
        (503, "not ready"),
        (200, "not a Parlour server"),
        (301, "https://elsewhere.example"),
    ],
)
async def test_a_refused_handshake_is_explained(server: PlainServer, status: int, words: str) -> None:
    with pytest.raises(ConnectError, match=words):
        async with Client.connect(f"{server.url}/chat/rooms/x?/status/{status}", name="ada"):
            pass


async def test_nobody_listening_is_explained() -> None:
    async with raw_server(hang_up) as port:
        pass
    with pytest.raises(ConnectError, match="refused") as caught:
        async with Client.connect(f"127.0.0.1:{port}", name="ada"):
            pass
    assert caught.value.url == f"http://127.0.0.1:{port}"
    with pytest.raises(ConnectError, match="refused"):
        async with Client.connect(f"localhost:{port}", name="ada"):
            pass


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[int]:
    """A TCP server that is not a chat."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
    await reader.read()
    writer.close()


async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("handler", "scheme", "words"),
    [
        (hang_up, "http", "not a Parlour server"),
        (greet, "http", "not a Parlour server"),
        (greet, "https", "TLS"),
        (keep_silent, "http", "no answer within 0.1 s"),
    ],
)
async def test_what_is_no_chat_is_explained(handler: Handler, scheme: str, words: str) -> None:
    async with raw_server(handler) as port:
        with pytest.raises(ConnectError, match=words):
            async with Client.connect(
                f"{scheme}://127.0.0.1:{port}", name="ada", open_timeout=0.1 if "answer" in words else 10
            ):
                pass


async def test_a_name_without_a_host_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(ConnectError, match="no host of this name"):
        async with Client.connect("nowhere.invalid", name="ada"):
            pass


async def test_a_frame_is_the_protocols_json() -> None:
    assert json.loads(frame("ada", 'say "hi"')) == {"username": "ada", "message": 'say "hi"'}


@pytest.mark.parametrize(
    ("name", "message", "expected"),
    [
        ("ada", "hi", "ada> hi"),
        (" ada ", "a\tb", "ada> a\tb"),
        ("ada", "a\r\nb\x1bc\u2028d", "ada> a b c d"),
    ],
)
async def test_the_line_that_comes_back_is_known(name: str, message: str, expected: str) -> None:
    assert line(name, message) == expected
