"""The examples in docs/embed.md run as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs/embed.md").read_text(), re.DOTALL)


def app_of(*examples: str) -> FastAPI:
    world: dict[str, Any] = {}
    for example in examples:
        exec(example, world)
    app = world["app"]
    assert isinstance(app, FastAPI)
    return app


@pytest.mark.parametrize("examples", [EXAMPLES[:1], EXAMPLES[:2]], ids=["mount", "router"])
def test_an_app_gets_a_chat_in_five_lines(examples: list[str]) -> None:
    """Mounted or included, the sockets are below the prefix."""
    client = TestClient(app_of(*examples))
    with client.websocket_connect("/talk/chat/public") as ada:
        ada.send_json({"username": "ada", "message": "hi"})
        assert ada.receive_text() == "ada> hi"


def test_the_mounted_page_is_there() -> None:
    """The page and its files are below the prefix, and the title is the app's."""
    client = TestClient(app_of(EXAMPLES[0]))
    assert "<title>" in client.get("/talk/", headers={"accept": "text/html"}).text
    assert client.get("/talk/about.json").json()["title"] == "Our talk"


def test_a_signed_cookie_says_who_speaks() -> None:
    """Ada is Ada, whatever name she sends; she needs an Origin, for a cookie speaks for her."""
    client = TestClient(app_of(EXAMPLES[2]), base_url="http://testserver")
    client.post("/sign-in/17")
    with client.websocket_connect("/talk/chat/public", headers={"origin": "http://testserver"}) as ada:
        ada.send_json({"username": "Bo", "message": "I am Bo"})
        assert ada.receive_text() == "Ada> I am Bo"


@pytest.mark.parametrize(
    ("cookie", "origin"),
    [
        pytest.param(None, "http://testserver", id="no cookie"),
        pytest.param("17.forged", "http://testserver", id="forged cookie"),
        pytest.param("signed", "http://evil.example", id="foreign page"),
        pytest.param("signed", None, id="no origin"),
    ],
)
def test_nobody_comes_in_without_proof(cookie: str | None, origin: str | None) -> None:
    """A missing or forged cookie, a foreign page and a request that hides its page are refused alike."""
    client = TestClient(app_of(EXAMPLES[2]), base_url="http://testserver")
    if cookie == "signed":
        client.post("/sign-in/17")
    elif cookie is not None:
        client.cookies.set("user", cookie)
    headers = {} if origin is None else {"origin": origin}
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/talk/chat/public", headers=headers):
        pass


def test_the_kit_needs_no_waiting() -> None:
    """The example of the test kit runs, and takes no time of ours."""
    exec(EXAMPLES[3], {})
