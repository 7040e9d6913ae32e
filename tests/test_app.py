"""Parlour in an app: who may come in, where the hub lives, and what it does to files."""

import asyncio
import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from parlour import Guest, Parlour, Person, Settings
from parlour.app import create_app

TOKEN = "to" + "ken-17"
PUBLIC, PRIVATE = "/chat/public", "/chat/private"


def client_of(chat: Parlour) -> TestClient:
    app = FastAPI()
    app.mount("/", chat)
    return TestClient(app)


def say(socket: Any, text: str, name: str = "guest") -> None:
    socket.send_json({"username": name, "message": text})


async def ada_later(connection: HTTPConnection) -> Person:
    await asyncio.sleep(0)
    return Person("17", "Ada")


class Hook:
    async def __call__(self, connection: HTTPConnection) -> Person:
        return Person("17", "Ada")


def ada_of(name: str, connection: HTTPConnection) -> Person:
    return Person("17", name)


@pytest.mark.parametrize(
    ("authenticate", "line"),
    [
        pytest.param(lambda connection: Person("17", "Ada"), "Ada> hi", id="a person's name counts"),
        pytest.param(lambda connection: Guest(), "guest> hi", id="a guest names itself"),
        pytest.param(ada_later, "Ada> hi", id="a coroutine function"),
        pytest.param(Hook(), "Ada> hi", id="an object that is called"),
        pytest.param(partial(ada_of, "Ada> \n! x"), "Ada x> hi", id="a name that no chat can have is mended"),
    ],
)
def test_who_is_let_in(authenticate: Callable[[HTTPConnection], Any], line: str) -> None:
    with client_of(Parlour(authenticate=authenticate)).websocket_connect(PUBLIC) as socket:
        say(socket, "hi")
        heard = socket.receive_text()
    assert heard.endswith("> hi")
    assert heard.split()[0] == line.split()[0]


def refuse(connection: HTTPConnection) -> None:
    raise HTTPException(401, "who are you?")


def break_down(connection: HTTPConnection) -> None:
    raise ValueError(TOKEN)


@pytest.mark.parametrize(
    ("authenticate", "status", "logged"),
    [
        pytest.param(lambda connection: None, 403, "", id="None"),
        pytest.param(lambda connection: False, 500, "bool", id="False lets nobody in"),
        pytest.param(lambda connection: True, 500, "bool", id="True neither"),
        pytest.param(lambda connection: {"id": "17"}, 500, "dict", id="a dict"),
        pytest.param(lambda connection: Person("", "Ada"), 500, "Person", id="an empty id"),
        pytest.param(lambda connection: Person(17, "Ada"), 500, "Person", id="a number for an id"),  # type: ignore[arg-type]
        pytest.param(lambda connection: Person("17", None), 500, "Person", id="no name"),  # type: ignore[arg-type]
        pytest.param(refuse, 401, "", id="an HTTPException is the answer"),
        pytest.param(break_down, 500, "ValueError", id="a hook that breaks"),
    ],
)
def test_who_is_refused(
    authenticate: Callable[[HTTPConnection], Any], status: int, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A hook with a mistake in it lets nobody in; the log tells the mistake and no value."""
    client = client_of(Parlour(authenticate=authenticate))
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(PUBLIC):
        pass
    assert denied.value.status_code == status
    assert logged in caplog.text
    assert TOKEN not in caplog.text + denied.value.text


def test_a_person_sits_in_one_booth() -> None:
    """Who comes again takes the new seat; the old connection is told (4504), and does not come back."""
    client = client_of(Parlour(authenticate=lambda connection: Person("17", "Ada")))
    with client.websocket_connect(PRIVATE) as old, client.websocket_connect(PRIVATE) as new:
        with pytest.raises(WebSocketDisconnect) as closed:
            old.receive_text()
        assert closed.value.code == 4504
        say(new, "alone?")
        assert new.receive_text() == "Ada> alone?"


def test_a_hook_that_runs_in_a_thread_does_not_hold_the_loop() -> None:
    """A plain function may ask a database: it gets a thread, as in FastAPI."""
    threads: list[threading.Thread] = []

    def who(connection: HTTPConnection) -> Guest:
        threads.append(threading.current_thread())
        assert not is_on_a_loop()
        return Guest()

    with client_of(Parlour(authenticate=who)).websocket_connect(PUBLIC):
        pass
    assert threads


def is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# Clients with a session


def v1(client: TestClient, path: str = PUBLIC, **headers: str) -> Any:
    return client.websocket_connect(path, subprotocols=["parlour.v1.json"], headers=headers)


def ask(socket: Any, op: str, **fields: Any) -> dict[str, Any]:
    """Send a command, and give its reply."""
    socket.send_json({"id": 1, "op": op, **fields})
    while True:
        came: dict[str, Any] = socket.receive_json()
        if came.get("re") == 1:
            return came


def user_of(connection: HTTPConnection) -> Person | Guest:
    user = connection.headers.get("x-user")
    return Guest() if user is None else Person(f"id-{user}", user)


def test_a_user_of_the_host_app_speaks_v1() -> None:
    """Under the name that the app knows, and an id that is not the app's; both are the same on another connection."""
    client = client_of(Parlour(authenticate=user_of))
    with v1(client, **{"x-user": "Ada"}) as ada, v1(client, **{"x-user": "Ada"}) as phone, v1(client) as bo:
        person = ask(ada, "hello", name="Somebody")["person"]
        assert (person["name"], person["role"]) == ("Ada", "user")
        assert "id-Ada" not in person["id"]
        assert ask(phone, "hello")["person"] == person
        assert ask(ada, "name", name="Somebody")["error"]["code"] == "forbidden"
        assert ask(bo, "hello", name="Bo")["person"]["role"] == "guest"
        assert ask(bo, "name", name="Аda")["error"]["code"] == "bad_name"
        assert ask(phone, "send", room="public", key="k", text="hi")["ok"]
        heard = next(came for came in iter(bo.receive_json, None) if came.get("ev") == "message")
        assert heard["from"] == person


def test_a_users_token_is_of_no_use_to_others() -> None:
    """A page kept it, and somebody else signed in, or nobody: neither becomes that user."""
    client = client_of(Parlour(authenticate=user_of))
    with v1(client, **{"x-user": "Ada"}) as ada:
        welcome = ask(ada, "hello")
    with v1(client, **{"x-user": "Bo"}) as bo:
        other = ask(bo, "hello", session=welcome["session"])
        assert other["person"]["name"] == "Bo"
        assert other["person"]["id"] != welcome["person"]["id"]
    with v1(client) as guest:
        assert not ask(guest, "hello", session=welcome["session"])["ok"]
        assert ask(guest, "hello")["person"]["role"] == "guest"
    with v1(client, **{"x-user": "Ada"}) as ada:
        assert ask(ada, "hello", session=welcome["session"])["person"] == welcome["person"]


def test_a_user_has_one_seat_in_booths_on_either_wire() -> None:
    """A plain client is closed (4504), a v1 client told: `match.ended`, by `you`."""
    client = client_of(Parlour(authenticate=user_of))
    with client.websocket_connect(PRIVATE, headers={"x-user": "Ada"}) as old, v1(client, **{"x-user": "Ada"}) as new:
        ask(new, "hello")
        assert ask(new, "match.find")["ok"]
        with pytest.raises(WebSocketDisconnect) as closed:
            old.receive_text()
        assert closed.value.code == 4504
        with client.websocket_connect(PRIVATE, headers={"x-user": "Ada"}) as newest:
            ended = next(came for came in iter(new.receive_json, None) if came.get("ev") == "match.ended")
            assert ended["by"] == "you"
            say(newest, "alone?")
            assert newest.receive_text() == "Ada> alone?"


def test_settings_reach_those_with_a_session() -> None:
    """The welcome, reserved names, rate and heartbeat."""
    settings = Settings(welcome="Be kind.", reserved_names=("Staff",), rate=5, burst=7, ping=13)
    with v1(client_of(Parlour(settings))) as ada:
        assert ask(ada, "hello", name="stаff")["error"]["code"] == "bad_name"
        reply = ask(ada, "hello", name="Ada")
        assert (reply["limits"]["rate"], reply["limits"]["burst"], reply["ping_ms"]) == (5, 7, 13_000)
        notice = ada.receive_json()
        assert (notice["ev"], notice["text"]) == ("notice", "Be kind.")


# Where the hub lives


def test_without_a_lifespan_the_hub_outlives_the_first_connection() -> None:
    """TestClient runs each socket in a loop of its own; the room goes on when the first one is gone."""
    chat = Parlour()
    client = client_of(chat)
    with client.websocket_connect(PUBLIC) as bo:
        with client.websocket_connect(PUBLIC) as ada:
            say(ada, "hi", "ada")
            assert (ada.receive_text(), bo.receive_text()) == ("ada> hi", "ada> hi")
        with client.websocket_connect(PUBLIC) as cy:
            say(cy, "still here", "cy")
            assert bo.receive_text() == "cy> still here"


def test_all_chats_without_a_lifespan_share_a_thread() -> None:
    def threads() -> int:
        return sum(thread.name == "parlour" for thread in threading.enumerate())

    for _ in range(3):
        with client_of(Parlour()).websocket_connect(PUBLIC):
            assert threads() == 1


def test_with_a_lifespan_the_hub_is_told_when_it_ends_and_begins_anew() -> None:
    app = create_app(Settings())
    for _ in range(2):
        with TestClient(app) as client:
            with client.websocket_connect(PUBLIC) as ada:
                say(ada, "hi", "ada")
                assert ada.receive_text() == "ada> hi"
            assert app.state.parlour.hub is not None
        assert app.state.parlour.hub is None


def test_a_refused_connection_decides_nothing() -> None:
    """A foreign page must not choose the hub's loop."""
    chat = Parlour()
    client = client_of(chat)
    with (
        pytest.raises(WebSocketDenialResponse),
        client.websocket_connect(PUBLIC, headers={"origin": "http://evil.example"}),
    ):
        pass
    assert chat.hub is None


# The data folder


def test_a_second_chat_on_the_same_folder_is_warned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two processes with rooms in memory are two public rooms; here two chats in one process stand for them."""
    settings = Settings(data=tmp_path / "data")
    first, second = Parlour(settings), Parlour(settings)
    with client_of(first).websocket_connect(PUBLIC):
        assert not caplog.records
        with client_of(second).websocket_connect(PUBLIC):
            pass
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "--data" in caplog.text


def test_a_session_is_good_for_whoever_has_the_folder(tmp_path: Path) -> None:
    """The next server on the same data folder knows the guest again; one on another folder does not."""
    settings = Settings(data=tmp_path / "data")
    with v1(client_of(Parlour(settings))) as ada:
        welcome = ask(ada, "hello", name="Ada")
    with v1(client_of(Parlour(settings))) as again:
        reply = ask(again, "hello", session=welcome["session"], name="Ada")
        assert reply["person"] == welcome["person"]
        assert reply["rooms"][0]["recovered"] is False
        assert reply["rooms"][0]["epoch"] != welcome["rooms"][0]["epoch"]
    with v1(client_of(Parlour(Settings(data=tmp_path / "other")))) as stranger:
        assert ask(stranger, "hello", session=welcome["session"])["error"]["code"] == "expired"
        assert ask(stranger, "hello")["person"]["id"] != welcome["person"]["id"]


def test_a_folder_that_can_not_be_used_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with client_of(Parlour(Settings(data=tmp_path / "file" / "data"))).websocket_connect(PUBLIC) as ada:
        say(ada, "hi", "ada")
        assert ada.receive_text() == "ada> hi"
    assert "can't be used" in caplog.text


def test_making_an_app_touches_no_file(tmp_path: Path) -> None:
    create_app(Settings(data=tmp_path / "data"))
    assert not list(tmp_path.iterdir())


def test_a_lone_surrogate_is_answered_like_any_nonsense() -> None:
    """Only a test can send one: on a real socket it is no UTF-8."""
    with client_of(Parlour()).websocket_connect(PUBLIC) as ada:
        ada.send_text('{"username": "ada", "message": "\ud800"}')
        assert ada.receive_text().startswith("! bad_frame: ")
        say(ada, "still here", "ada")
        assert ada.receive_text() == "ada> still here"
