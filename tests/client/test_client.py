"""The async client: which URL means what, talking, coming back, and every way in which a connection fails or ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from parlour import client as module
from parlour.client import Address, Client, Event, Found, Here, Published, Sender
from parlour.errors import Close, ConnectError, Disconnected, Refused, SettingsError
from tests.client.v1_server import V1Server

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("deadline")]


def connect(server: V1Server, name: str = "ada", **more: Any) -> AbstractAsyncContextManager[Client]:
    """A client that comes back at once."""
    return Client.connect(server.url, **{"name": name, "random": lambda: 0.0, **more})


async def until(client: Client, kind: str) -> Event:
    """The next event of this kind."""
    async for event in client:
        if event.kind == kind:
            return event
    raise AssertionError(f"it ended without {kind}")


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
        ("http://a.example/chat", False, "ws://a.example/chat", "http://a.example"),
        ("http://a.example/sub/chat/", True, "ws://a.example/sub/chat/private", "http://a.example/sub"),
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


async def test_the_lobby_is_beside_the_room() -> None:
    assert Address.of("http://a.example/sub?token=1", private=True).lobby == "ws://a.example/sub/chat?token=1"


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


def where(client: Client) -> tuple[str | None, Sender | None, bool]:
    """The room where it talks, the other one in the booth, and whether it looks for another."""
    return client.room, client.peer, client.searching


# Talking


async def test_two_clients_hear_each_other(server: V1Server) -> None:
    """Each message comes to everyone, its own sender included, and is acknowledged."""
    async with connect(server) as ada, connect(server, "bo") as bo:
        said = await ada.send("tea? ☕")
        assert said == Published("public", said.epoch, 1, said.mid, 1)
        for client in (ada, bo):
            event = await until(client, "message")
            assert (event.text, event.room, event.own) == ("tea? ☕", "public", client is ada)
            assert event.sender is not None
            assert event.sender.name == "ada"
        await bo.send("", reply_to=said.mid, key="k1")
        assert (await until(ada, "message")).fields["key"] == "k1"
    assert server.heard[-1]["reply_to"] == said.mid
    assert server.said == ["tea? ☕", ""]
    await server.wait_people(0)


async def test_the_handshake_asks_for_v1_alone(server: V1Server) -> None:
    """No deflate, no Origin."""
    async with Client.connect(f"{server.url}/sub", name="ada", private=True) as client:
        assert client.address.private
    assert server.paths == ["/sub/chat/private"]
    assert set(server.headers[0]).isdisjoint({"origin", "sec-websocket-extensions"})
    assert server.headers[0]["sec-websocket-protocol"] == "parlour.v1.json"


async def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: V1Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "socks_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    async with connect(server) as ada:
        assert (await ada.send("here")).off == 1


async def test_the_first_event_tells_who_one_is(server: V1Server) -> None:
    async with Client.connect(server.url) as client:
        event = await anext(client)
        assert (event.kind, event.fields["again"], event.local) == ("client.connected", False, True)
        assert (client.name, client.person.name, client.room) == ("Quiet Otter", "Quiet Otter", "public")
        assert client.connected
        assert not client.searching
        assert client.limits["text"] == 10_000
        session = client.session
    async with Client.connect(server.url, session=session) as again:
        assert again.person.id == client.person.id


async def test_all_commands_have_their_words(server: V1Server) -> None:
    async with connect(server) as ada, connect(server, "bo") as bo:
        here = await ada.who()
        assert (here.room, here.count) == ("public", 2)
        assert [member.name for member in here.members] == ["ada", "bo"]
        assert await ada.rename("eva") == "eva" == ada.name
        await ada.send("tea?")
        page = await bo.history(limit=5)
        assert [event.text for event in page.messages] == ["tea?"]
        assert (page.room, page.more) == ("public", False)
        assert isinstance(await bo.join("public"), Here)
        await ada.block(bo.person.id)
        said = await bo.send("tea!")
        await bo.edit(said.mid, "tea?!")
        await bo.react(said.mid, "\u2615")
        await bo.react(said.mid, "\u2615", on=False)
        await bo.delete(said.mid, room="public")
        ada.tell("typing", room="public")
        await ada.request("presence", room="public")
        with pytest.raises(Refused) as caught:
            await ada.request("fly")
        assert caught.value.refusal.code == "unknown_op"
    names = ("history", "block", "edit", "react", "delete", "typing")
    heard = [command for command in server.heard if command["op"] in names]
    assert [{name: value for name, value in command.items() if name != "id"} for command in heard] == [
        {"op": "history", "room": "public", "limit": 5},
        {"op": "block", "person": bo.person.id},
        {"op": "edit", "room": "public", "mid": said.mid, "text": "tea?!"},
        {"op": "react", "room": "public", "mid": said.mid, "emoji": "\u2615", "on": True},
        {"op": "react", "room": "public", "mid": said.mid, "emoji": "\u2615", "on": False},
        {"op": "delete", "room": "public", "mid": said.mid},
        {"op": "typing", "room": "public"},
    ]


async def test_what_was_said_is_found(server: V1Server) -> None:
    async with connect(server) as ada:
        for text in ("tea one", "go", "tea two", "tea three"):
            await ada.send(text)
        found = await ada.search("tea", limit=2)
        assert isinstance(found, Found)
        assert ([message.text for message in found.messages], found.more) == (["tea three", "tea two"], True)
        assert (found.messages[0].room, found.messages[0].sender) == ("public", ada.person)


async def test_who_this_is_and_what_they_accept_is_told_at_hello(server: V1Server) -> None:
    """Each time, for nobody knows what the server remembers."""
    async with connect(server, token="jwt", terms="2026", age=30) as ada:
        server.drop()
        await until(ada, "client.lost")
        await until(ada, "client.connected")
    hellos = [command for command in server.heard if command["op"] == "hello"]
    assert [(hello["token"], hello["terms"], hello["age"]) for hello in hellos] == [("jwt", "2026", 30)] * 2


async def test_what_is_required_can_be_accepted_later(server: V1Server) -> None:
    server.required = {"version": "2026", "asks_age": True}
    async with connect(server, private=True) as ada:
        required = ada.required
        assert required == {"version": "2026", "asks_age": True}
        assert where(ada) == (None, None, False)
        await ada.accept("2026", age=30)
        assert ada.required is None
        await ada.find()
        assert where(ada) == (None, None, True)
    (terms,) = [command for command in server.heard if command["op"] == "terms"]
    assert (terms["version"], terms["age"]) == ("2026", 30)


async def test_a_message_that_is_shown_but_not_confirmed_was_said(server: V1Server) -> None:
    async with connect(server) as ada:
        assert (await ada.send("!unconfirmed")).kept == "relayed"
        server.rooms["public"].members.clear()  # nothing comes back to ada: it was not said, as far as she knows
        with pytest.raises(Refused, match="not_member"):
            await ada.send("!unconfirmed")


async def test_a_public_message_is_reported_by_its_mid(server: V1Server) -> None:
    async with connect(server) as ada:
        assert await ada.report("public", "spam", "m1", "m2", note="twice") == "r1"
    (report,) = [command for command in server.heard if command["op"] == "report"]
    assert {name: value for name, value in report.items() if name not in ("id", "op")} == {
        "room": "public",
        "reason": "spam",
        "messages": [{"mid": "m1"}, {"mid": "m2"}],
        "note": "twice",
        "block": False,
    }


async def test_a_refusal_is_raised_where_it_belongs(server: V1Server) -> None:
    async with connect(server) as ada:
        sending = [asyncio.create_task(ada.send(text)) for text in ("a", "!refuse", "b")]
        with pytest.raises(Refused, match="too_large") as caught:
            await sending[1]
        assert caught.value.refusal.code == "too_large"
        assert [(await sending[0]).off, (await sending[2]).off] == [1, 2]


async def test_too_fast_is_no_refusal(server: V1Server) -> None:
    """The client waits and says it again."""
    async with connect(server) as ada:
        assert (await ada.send("!limit")).off == 1
    assert server.said == ["!limit"]


@pytest.mark.parametrize(("text", "words"), [("x" * 200_000, "larger than"), ("\ud800", "surrogates")])
async def test_what_cannot_be_said_is_refused_here(server: V1Server, text: str, words: str) -> None:
    """The server would close the connection; this way it lives."""
    async with connect(server) as ada:
        with pytest.raises(ValueError, match=words):
            await ada.send(text)
        assert (await ada.send("fine")).off == 1


async def test_a_name_that_is_not_to_be_had(server: V1Server) -> None:
    server.refusals = [{"code": "bad_name"}] * 2
    with pytest.raises(Refused, match="bad_name"):
        async with connect(server):
            pass
    async with connect(server, insist=False) as client:
        assert client.name == "Quiet Otter"


# Booths


async def test_two_strangers_meet_part_and_meet_again(server: V1Server) -> None:
    async with connect(server, private=True) as ada:
        assert where(ada) == (None, None, True)
        with pytest.raises(Refused, match="you are in no room"):
            await ada.send("hello?")
        async with connect(server, "bo", private=True) as bo:
            found = await until(ada, "match.found")
            assert where(ada) == (found.room, found.sender, False)
            assert (ada.booth, found.sender) == (ada.room, bo.person)
            await ada.send("psst")
            assert (await until(bo, "message")).text == "psst"
            await bo.next()
            assert bo.searching
            assert (await until(ada, "match.ended")).fields["by"] == "peer"
            assert where(ada) == (None, None, False)
            await ada.find()
            assert (await until(bo, "match.found")).sender == ada.person
            await bo.leave()
            await until(ada, "match.ended")
            await ada.find()
            await ada.cancel()
            assert where(ada) == (None, None, False)


async def test_a_booth_is_reported_after_it_ended(server: V1Server) -> None:
    """With what was said there, and the proof of it."""
    async with connect(server, private=True) as ada:
        async with connect(server, "bo", private=True) as bo:
            booth = (await until(ada, "match.found")).room
            first = await bo.send("psst")
            second = await ada.send("go away")
            person = bo.person.id
        await until(ada, "match.ended")
        assert await ada.report(booth, "rude", block=True) == "r1"
        assert await ada.report(booth, "rude", second.mid) == "r1"
    whole, one = [command for command in server.heard if command["op"] == "report"]
    psst = {"mid": first.mid, "off": 1, "ts": 1, "from": person, "text": "psst", "stamp": "stamp 1"}
    away = {"mid": second.mid, "off": 2, "ts": 1, "from": ada.person.id, "text": "go away", "stamp": "stamp 2"}
    assert (whole["messages"], "prev" in whole, whole["block"]) == ([psst, away], False, True)
    assert (one["messages"], one["prev"]) == ([away], "stamp 1")


async def test_who_goes_leaves_the_booth(server: V1Server) -> None:
    """The other one need not wait for a return."""
    async with connect(server, private=True) as ada:
        async with connect(server, "bo", private=True):
            await until(ada, "match.found")
        assert (await until(ada, "match.ended")).fields["by"] == "peer"


async def test_a_booth_outlives_a_lost_connection(server: V1Server) -> None:
    """It comes back through a door that looks for nobody, and talks with the same one."""
    async with connect(server, private=True) as ada, connect(server, "bo", private=True) as bo:
        booth = (await until(ada, "match.found")).room
        await until(bo, "match.found")
        next(iter(server.persons)).transport.abort()
        await until(bo, "match.back")
        await bo.send("still there?")
        assert (await until(ada, "message")).room == booth
        assert ada.peer == bo.person
    assert server.paths == ["/chat/private", "/chat/private", "/chat"]


async def test_a_search_outlives_a_lost_connection(server: V1Server) -> None:
    wish = {"interests": ["tea"]}
    async with connect(server, private=True, match=wish) as ada:
        server.drop()
        await until(ada, "client.lost")
        await until(ada, "client.connected")
        assert ada.searching
    assert server.paths == ["/chat/private", "/chat/private"]
    assert [command["match"] for command in server.heard if command["op"] == "hello"] == [wish, wish]


async def test_who_looks_for_nobody_is_not_led_to_a_stranger(server: V1Server) -> None:
    """Not even by a lost connection."""
    async with connect(server, private=True) as ada:
        await ada.cancel()
        server.drop()
        await until(ada, "client.lost")
        await until(ada, "client.connected")
        assert where(ada) == (None, None, False)


async def test_a_booth_that_is_gone_has_ended(server: V1Server) -> None:
    async with connect(server, private=True) as ada, connect(server, "bo", private=True) as bo:
        await until(ada, "match.found")
        await until(bo, "match.found")
        server.forget()
        server.drop()
        ended = await until(ada, "match.ended")
        assert (ended.local, ended.fields["by"]) == (True, "lost")
        assert where(ada) == (None, None, False)


# Coming back


@pytest.mark.parametrize("code", [4000, 1001, 1011])
async def test_it_comes_back_and_has_missed_nothing(server: V1Server, code: int) -> None:
    async with connect(server) as ada:
        await ada.send("before")
        server.gate.clear()
        for connection in list(server.persons):
            await connection.close(code, "as asked")
        lost = await until(ada, "client.lost")
        assert (lost.fields["code"], lost.fields["reason"], lost.fields["after_ms"]) == (code, "as asked", 0)
        assert not ada.connected
        server.say("one")
        server.say("two")
        server.gate.set()
        assert (await until(ada, "client.connected")).fields["again"]
        assert [(await until(ada, "message")).text for _ in range(2)] == ["one", "two"]
        back = await until(ada, "client.back")
        assert (back.fields["caught_up"], back.fields["missed"]) == (2, False)
        assert ada.connected


async def test_what_has_no_answer_is_said_again(server: V1Server) -> None:
    """With the key that it had, so that the server says it once."""
    async with connect(server) as ada:
        saying = [asyncio.create_task(ada.send(text)) for text in ("!never 1", "!never 2", "three")]
        await saying[2]
        server.drop()
        await server.wait_said(5)
        for task in saying[:2]:
            task.cancel()
    first, again = ([command for command in server.heard if command["op"] == "send"][at : at + 2] for at in (0, 3))
    assert first == again


async def test_a_message_that_was_heard_is_not_said_again(server: V1Server) -> None:
    """Its own event is as good as a reply: the server that comes back may know nothing of it."""
    async with connect(server) as ada:
        saying = asyncio.create_task(ada.send("!silent"))
        await until(ada, "message")
        server.forget()
        server.drop()
        assert (await saying).off == 1
        assert (await until(ada, "client.back")).fields["missed"]
    assert server.said == ["!silent"]


async def test_what_is_said_while_away_waits(server: V1Server) -> None:
    async with connect(server) as ada:
        server.gate.clear()
        server.drop()
        await until(ada, "client.lost")
        saying = asyncio.create_task(ada.send("later"))
        server.gate.set()
        assert (await saying).off == 1


async def test_what_cannot_be_repeated_fails(server: V1Server) -> None:
    async with connect(server, private=True) as ada:
        server.deaf = {"match.next"}
        nexting = asyncio.create_task(ada.next())
        await server.wait_heard("match.next")
        server.drop()
        with pytest.raises(Disconnected):
            await nexting


async def test_a_gap_is_admitted(server: V1Server) -> None:
    async with connect(server) as ada:
        await ada.send("before")
        server.forget()
        server.drop()
        gap = await until(ada, "gap")
        assert (gap.local, gap.room, gap.fields["off"]) == (True, "public", 0)
        assert (await until(ada, "client.back")).fields["missed"]
        server.say("after")
        assert (await until(ada, "message")).text == "after"


async def test_a_dead_line_is_left(deadline: None) -> None:
    """A server that says nothing, not even its sign of life."""
    async with V1Server.open(ping_ms=10) as server, connect(server, grace=0.01) as ada:
        assert (await until(ada, "client.lost")).fields["reason"] == "the server stopped answering"
        assert (await until(ada, "client.connected")).fields["again"]


async def test_a_sign_of_life_is_answered(server: V1Server) -> None:
    async with connect(server):
        server.tell(ev="ping")
        await server.wait_heard("pong")
    assert {"op": "pong"} in server.heard


async def test_the_servers_wish_to_reconnect_is_obeyed(server: V1Server) -> None:
    async with connect(server) as ada:
        server.tell(ev="reconnect", after_ms=0, jitter_ms=1)
        assert (await until(ada, "client.lost")).fields["code"] == 1001
        assert (await until(ada, "client.connected")).fields["again"]


@pytest.mark.parametrize("code", [4506, 4507, 4508, 4512, 4504, 1002])
async def test_some_ends_are_for_good(server: V1Server, code: int) -> None:
    async with connect(server) as ada:
        saying = asyncio.create_task(ada.send(f"!close {code}"))
        with pytest.raises(Disconnected) as caught:
            await until(ada, "never")
        assert caught.value.close == Close(code, "as asked")
        raised = [caught.value]
        for command in (saying, ada.send("still there?"), until(ada, "never")):
            with pytest.raises(Disconnected) as again:
                await command
            raised.append(again.value)
        assert len(set(map(id, raised))) == 4, "two tasks raise one object"
        assert not ada.connected


async def test_a_bye_decides(server: V1Server) -> None:
    """Also where no code comes."""
    async with connect(server) as ada:
        server.tell(ev="bye", code=4507, reason="banned", reconnect=False)
        assert (await until(ada, "bye")).fields["code"] == 4507
        server.drop()
        with pytest.raises(Disconnected, match="4507: banned"):
            await until(ada, "never")


@pytest.mark.parametrize("text", ["hello", "[1]", '{"ev": "message"}', "x" * (module.RECEIVE_LIMIT + 1)])
async def test_what_is_not_understood_is_not_tried_again(server: V1Server, text: str) -> None:
    async with connect(server) as ada:
        server.tell_raw(text)
        with pytest.raises(Disconnected, match="not understood") as caught:
            await until(ada, "never")
        assert not caught.value.close.reconnect


async def test_it_gives_up_at_last(server: V1Server) -> None:
    async with connect(server, attempts=3) as ada:
        server.refusals = [{"code": "unavailable", "retry": True}] * 3
        server.drop()
        with pytest.raises(ConnectError, match="unavailable it is"):
            await until(ada, "never")


async def test_a_server_that_does_not_want_one_back_is_obeyed(server: V1Server) -> None:
    async with connect(server) as ada:
        server.refusals = [{"code": "banned"}]
        server.drop()
        with pytest.raises(Refused, match="banned"):
            await until(ada, "never")


async def test_retry_after_is_heard() -> None:
    """The wait grows by what the server asked for; anything else than seconds is not for us."""

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with raw_server(busy) as port:
        with pytest.raises(ConnectError, match="not ready") as caught:
            async with Client.connect(f"127.0.0.1:{port}"):
                pass
    assert module._retry_after(caught.value) == 7


# Events that nobody fetches


async def test_iteration_ends_with_the_context(server: V1Server) -> None:
    """One's own goodbye is no error."""
    async with connect(server) as ada:
        await ada.close()
        assert [event.kind async for event in ada] == ["client.connected"]
        with pytest.raises(Disconnected):
            await ada.send("too late")
        await ada.close()


async def test_a_goodbye_while_away(server: V1Server) -> None:
    async with connect(server) as ada:
        server.gate.clear()
        server.drop()
        await until(ada, "client.lost")
    await server.wait_people(0)


async def test_a_program_that_only_speaks_takes_no_endless_memory(
    server: V1Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest events go, and it can learn so."""
    monkeypatch.setattr(module, "BACKLOG", 3 * module.EVENT_OVERHEAD + 100)
    async with connect(server) as ada:
        for number in range(10):
            await ada.send(str(number))
        dropped = await anext(ada)
        assert (dropped.kind, dropped.fields["count"]) == ("client.dropped", 8)
        assert [(await anext(ada)).text for _ in range(3)] == ["7", "8", "9"]


async def test_a_caller_that_gives_up_is_forgotten(server: V1Server) -> None:
    async with connect(server) as ada:
        saying = asyncio.create_task(ada.send("!never"))
        await server.wait_said(1)
        saying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saying
        server.drop()
        await until(ada, "client.back")
        await ada.send("done")
    assert [command["text"] for command in server.heard if command["op"] == "send"] == ["!never", "done"]


# What is no chat, or not for us


async def test_an_older_server_is_named(deadline: None) -> None:
    """One that knows the plain wire alone, and one that says that it does not know this one."""
    async with V1Server.open(subprotocol=False) as server:
        with pytest.raises(ConnectError, match="older than this client"):
            async with connect(server):
                pass
    async with V1Server.open() as server:
        server.refuse_version = True
        with pytest.raises(ConnectError, match="older than this client"):
            async with connect(server):
                pass


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
async def test_a_refused_handshake_is_explained(server: V1Server, status: int, words: str) -> None:
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
