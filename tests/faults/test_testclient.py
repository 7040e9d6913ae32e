"""Fault 42: Starlette's TestClient on `server.app`, as whoever used the first server would write it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from tests.servers import SOURCE, alarm

PUBLIC, PRIVATE = "/chat/public", "/chat/private"


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """TestClient waits for ever."""
    with alarm():
        yield


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[FastAPI]:
    """`server.app`, imported anew: each test gets rooms of its own."""
    monkeypatch.syspath_prepend(SOURCE)
    sys.modules.pop("server", None)
    import server

    yield server.app
    del sys.modules["server"]


@pytest.fixture(params=[True, False], ids=["with", "without with"])
def client(request: pytest.FixtureRequest, app: FastAPI) -> Iterator[TestClient]:
    """With `with` the lifespan runs and all sockets share a loop; without, each has a loop and a thread of its own."""
    if request.param:
        with TestClient(app) as inside:
            yield inside
    else:
        yield TestClient(app)


def say(session: WebSocketTestSession, name: str, message: str) -> None:
    session.send_json({"username": name, "message": message})


def test_one_hears_itself(client: TestClient) -> None:
    with client.websocket_connect(PUBLIC) as ada:
        say(ada, "ada", "hi")
        assert ada.receive_text() == "ada> hi"


def test_all_hear_all_in_order(client: TestClient) -> None:
    """Three sockets; each line comes to everybody, the sender included."""
    with (
        client.websocket_connect(PUBLIC) as ada,
        client.websocket_connect(PUBLIC) as bo,
        client.websocket_connect(PUBLIC) as cy,
    ):
        for number in range(20):
            for name, session in (("ada", ada), ("bo", bo), ("cy", cy)):
                say(session, name, str(number))
                assert [one.receive_text() for one in (ada, bo, cy)] == [f"{name}> {number}"] * 3


@pytest.mark.parametrize("path", [PUBLIC, PRIVATE])
def test_the_first_may_leave(client: TestClient, path: str) -> None:
    """The first socket decided where the hub lives; those that came later must not notice that it is gone."""
    with ExitStack() as ada_stays:
        ada = ada_stays.enter_context(client.websocket_connect(path))
        with client.websocket_connect(path) as bo:
            say(ada, "ada", "hi")
            assert ada.receive_text() == bo.receive_text() == "ada> hi"
            ada_stays.close()
            say(bo, "bo", "she is gone")
            assert bo.receive_text() == "bo> she is gone"
            with client.websocket_connect(path) as cy:
                say(cy, "cy", "but I came")
                assert bo.receive_text() == cy.receive_text() == "cy> but I came"


def test_strangers_meet_in_pairs(client: TestClient) -> None:
    """The first two share a booth, the third waits in another, and the fourth joins it."""
    with (
        client.websocket_connect(PRIVATE) as ada,
        client.websocket_connect(PRIVATE) as bo,
        client.websocket_connect(PRIVATE) as cy,
    ):
        say(ada, "ada", "one")
        assert ada.receive_text() == bo.receive_text() == "ada> one"
        say(cy, "cy", "alone")
        assert cy.receive_text() == "cy> alone"
        with client.websocket_connect(PRIVATE) as di:
            say(di, "di", "no more")
            assert cy.receive_text() == di.receive_text() == "di> no more"
        say(bo, "bo", "two")
        assert ada.receive_text() == bo.receive_text() == "bo> two"


def test_who_was_left_meets_the_next(client: TestClient) -> None:
    """The one who stays keeps the booth, and the next to come finds it."""
    with client.websocket_connect(PRIVATE) as ada:
        with client.websocket_connect(PRIVATE) as bo:
            say(bo, "bo", "hi")
            assert ada.receive_text() == bo.receive_text() == "bo> hi"
        with client.websocket_connect(PRIVATE) as cy:
            say(cy, "cy", "hi")
            assert ada.receive_text() == cy.receive_text() == "cy> hi"


def test_rooms_do_not_hear_each_other(client: TestClient) -> None:
    with client.websocket_connect(PUBLIC) as ada, client.websocket_connect(PRIVATE) as bo:
        say(ada, "ada", "public")
        say(bo, "bo", "private")
        assert ada.receive_text() == "ada> public"
        assert bo.receive_text() == "bo> private"
        say(ada, "ada", "end")
        assert ada.receive_text() == "ada> end"


def test_bytes_are_taken_like_text(client: TestClient) -> None:
    with client.websocket_connect(PUBLIC) as ada:
        ada.send_bytes(b'{"username": "ada", "message": "bytes"}')
        assert ada.receive_text() == "ada> bytes"


def test_nonsense_is_answered_to_its_sender_alone(client: TestClient) -> None:
    with client.websocket_connect(PUBLIC) as ada, client.websocket_connect(PUBLIC) as bo:
        ada.send_text("nonsense")
        assert ada.receive_text().startswith("! bad_frame: ")
        say(ada, "ada", "hi")
        assert ada.receive_text() == bo.receive_text() == "ada> hi"


def test_the_server_closes_one_who_sends_nonsense_only(client: TestClient) -> None:
    with client.websocket_connect(PUBLIC) as ada:
        for _ in range(10):
            ada.send_text("nonsense")
        assert all(ada.receive_text().startswith("! bad_frame: ") for _ in range(10))
        with pytest.raises(WebSocketDisconnect) as closed:
            ada.receive_text()
        assert closed.value.code == 4510


def test_the_endpoints_are_coroutines_of_the_module(app: FastAPI) -> None:
    """The names that the first server had, and both endpoints registered on the app itself."""
    import inspect

    import server

    assert inspect.iscoroutinefunction(server.public_chat)
    assert inspect.iscoroutinefunction(server.private_chat)
    paths = {getattr(route, "path", None): getattr(route, "endpoint", None) for route in app.routes}
    assert paths[PUBLIC] == server.public_chat
    assert paths[PRIVATE] == server.private_chat


WATCHED = """
import os, sys

def watch(event, args):
    if event == "open" and isinstance(args[0], str):
        mode, flags = args[1] or "", args[2] or 0
        if set(mode) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            sys.exit(f"opened {args[0]} to write")
    if event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "socket.bind"}:
        sys.exit(f"{event} {args}")

sys.addaudithook(watch)
import server
print(server.app.title)
"""


def test_importing_touches_no_file(tmp_path: Path) -> None:
    """Nothing is written, made or locked before the first connection comes: a read-only folder will do."""
    tmp_path.chmod(0o555)
    env = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "PARLOUR_DATA": str(tmp_path / "d")}
    done = subprocess.run([sys.executable, "-c", WATCHED], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("Parlour\n", "", 0)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chat goes on without it."""
    from parlour import Settings
    from parlour.app import create_app

    blocked = tmp_path / "file"
    blocked.touch()
    with TestClient(create_app(Settings(data=blocked / "data"))) as client, client.websocket_connect(PUBLIC) as ada:
        say(ada, "ada", "hi")
        assert ada.receive_text() == "ada> hi"
    assert "nothing is kept there" in caplog.text
