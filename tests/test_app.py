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
