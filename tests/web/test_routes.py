"""What stands at which address: the page, health, the sockets, and all of it below a sub-path."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

import parlour.web
from parlour import Settings
from parlour.app import create_app
from tests.servers import alarm

PUBLIC, PRIVATE = "/chat/public", "/chat/private"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
STATIC = Path(next(iter(parlour.web.__path__))) / "static"


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """TestClient waits for ever."""
    with alarm():
        yield


def client_of(**settings: Any) -> TestClient:
    return TestClient(create_app(Settings(**settings)))


def say(socket: WebSocketTestSession, message: str) -> None:
    socket.send_json({"username": "ada", "message": message})


# The page


def test_a_browser_gets_the_page_under_a_strict_policy() -> None:
    """Nothing inline, nothing from elsewhere, in no frame, and no HTML made from text."""
    answer = client_of().get("/", headers=HTML)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["vary"] == "Accept"


def test_the_page_asks_for_nothing_that_is_not_there() -> None:
    """Every file that it names is served, by addresses that work below any path."""
    client = client_of()
    page = client.get("/", headers=HTML).text
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", page)
    files = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert len(files) >= 3
    for file in files:
        assert not file.startswith(("/", "http")), file
        answer = client.get(f"/{file}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["/static/../door.py", "/static/%2e%2e/door.py", "/static/..%2fdoor.py", "/static/", "/x"]
)
def test_nothing_else_is_served(path: str) -> None:
    assert client_of().get(path).status_code in (404, 405)


@pytest.mark.parametrize("path", ["/", "/about.json", "/healthz", "/readyz", "/static/chat.js"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_everything_is_read_only(path: str, method: str) -> None:
    assert client_of().request(method, path).status_code == 405


def test_no_api_is_documented_where_none_is() -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client_of().get(path).status_code == 404


@pytest.mark.parametrize("accept", ["*/*", "", "application/json"])
def test_curl_is_told_how_to_join(accept: str) -> None:
    """How many are here, and the commands, with the address that it asked for."""
    client = client_of(title="Tea room")
    text = client.get("/", headers={"accept": accept}).text
    assert text.startswith("Tea room\nNobody is here yet.\n")
    assert "In a terminal:  parlour chat http://testserver\n" in text
    assert "With a stranger: parlour chat http://testserver --private\n" in text
    with client.websocket_connect(PUBLIC):
        assert "One is here." in client.get("/", headers={"accept": accept}).text
        with client.websocket_connect(PRIVATE):
            assert "2 are here." in client.get("/", headers={"accept": accept}).text


def test_the_public_url_is_what_people_are_told() -> None:
    text = client_of(url="https://chat.example/talk").get("/", headers={"host": "10.0.0.5:8000"}).text
    assert "In a browser:   https://chat.example/talk/\n" in text
    assert "10.0.0.5" not in text


def test_about() -> None:
    client = client_of(title='Tea "room" </script>')
    assert client.get("/about.json").json() == {
        "title": 'Tea "room" </script>',
        "booths": True,
        "people": 0,
        "login": False,
    }
    with client.websocket_connect(PUBLIC):
        answer = client.get("/about.json")
        assert answer.json()["people"] == 1
        assert answer.headers["cache-control"] == "no-store"


# Health


def test_healthy_and_ready() -> None:
    """From the beginning, and with people."""
    with client_of() as client:
        for _ in range(2):
            assert client.get("/healthz").text == "ok\n"
            answer = client.get("/readyz")
            assert (answer.status_code, answer.json()) == (
                200,
                {"ready": True, "parts": {"hub": {"ok": True, "words": "ready"}}},
            )
            with client.websocket_connect(PUBLIC):
                pass


def test_while_it_drains_it_is_healthy_but_not_ready() -> None:
    """A load balancer sends nobody any more; those who are here are told to come back, newcomers to wait."""
    app = create_app(Settings())
    with TestClient(app) as client, client.websocket_connect(PUBLIC) as ada:
        assert client.portal is not None
        client.portal.call(app.state.parlour.hub.drain)
        with pytest.raises(WebSocketDisconnect) as closed:
            ada.receive_text()
        assert closed.value.code == 4000
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "parts": {"hub": {"ok": False, "words": "the server stops"}}}
        assert client.get("/healthz").status_code == 200


def test_each_part_tells_what_it_waits_for() -> None:
    """One that is not ready is enough; it is asked anew each time."""
    app = create_app(Settings())
    client = TestClient(app)
    problems = ["the disk is full", None]
    app.state.parlour._parts["store"] = lambda: problems[0]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["parts"]["store"] == {"ok": False, "words": "the disk is full"}
    assert answer.json()["parts"]["hub"]["ok"]
    problems.pop(0)
    assert client.get("/readyz").status_code == 200


def test_a_request_that_fails_is_told_the_id_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(Settings())

    def breaks() -> str | None:
        raise ValueError("canary" + "-7b1f")

    app.state.parlour._parts["store"] = breaks
    answer = TestClient(app, raise_server_exceptions=False).get("/readyz")
    assert answer.status_code == 500
    (record,) = [record for record in caplog.records if record.name == "parlour"]
    assert answer.text == f"the server failed here (id {record.__dict__['incident']})\n"
    assert "canary-7b1f" not in record.getMessage() + answer.text


# Sockets


def test_without_booths() -> None:
    """The address is not there, and the page knows."""
    client = client_of(booths=False)
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(PRIVATE):
        pass
    assert denied.value.status_code == 404
    assert client.get("/about.json").json()["booths"] is False
    assert "--private" not in client.get("/").text
    with client.websocket_connect(PUBLIC) as ada:
        say(ada, "hi")
        assert ada.receive_text() == "ada> hi"


@pytest.mark.parametrize("path", ["/chat", "/chat/", "/chat/rooms/x", "/chat/public/", "/", "/healthz"])
def test_no_other_address_is_a_socket(path: str) -> None:
    with pytest.raises(WebSocketDisconnect), client_of().websocket_connect(path):
        pass


@pytest.mark.parametrize("path", [PUBLIC, PRIVATE])
@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        (["parlour.v1"], "parlour.v1"),
        (["parlour.v9"], "parlour.v9"),
        (["chat", "parlour.v9", "parlour.v10"], "parlour.v9"),
    ],
)
def test_an_unknown_version_is_told_so(path: str, offered: list[str], selected: str) -> None:
    """Accepted with the subprotocol first, for a browser shows a script no other way: then 4501."""
    with client_of().websocket_connect(path, subprotocols=offered) as ada:
        assert str(ada.accepted_subprotocol) == selected
        with pytest.raises(WebSocketDisconnect) as closed:
            ada.receive_text()
        assert (closed.value.code, closed.value.reason) == (4501, "unknown protocol version")


@pytest.mark.parametrize("offered", [[], ["chat"], ["mqtt", "soap"], ["notparlour.v1"], ["parlour"]])
def test_foreign_subprotocols_get_plain(offered: list[str]) -> None:
    """And none is selected."""
    with client_of().websocket_connect(PUBLIC, subprotocols=offered) as ada:
        assert ada.accepted_subprotocol is None
        say(ada, "hi")
        assert ada.receive_text() == "ada> hi"


V1 = "parlour.v1.json"


def command(socket: WebSocketTestSession, op: str, **fields: Any) -> dict[str, Any]:
    """Send a command, and give its reply."""
    socket.send_json({"id": 1, "op": op, **fields})
    while True:
        came: dict[str, Any] = socket.receive_json()
        if came.get("re") == 1:
            return came


@pytest.mark.parametrize("path", [PUBLIC, PRIVATE, "/chat"])
@pytest.mark.parametrize("offered", [[V1], ["chat", V1], ["parlour.v9", V1], [V1, "parlour.v9"]])
def test_v1_is_chosen_wherever_it_stands(path: str, offered: list[str]) -> None:
    """And the address says where hello leads to: the public room, a stranger, or nowhere yet."""
    with client_of().websocket_connect(path, subprotocols=offered) as ada:
        assert f"{ada.accepted_subprotocol}" == V1
        welcome = command(ada, "hello")
        assert [place["room"] for place in welcome["rooms"]] == (["public"] if path == PUBLIC else [])
        if path == PRIVATE:
            assert ada.receive_json()["ev"] == "match.waiting"


@pytest.mark.parametrize("offered", [[], ["chat"], ["notparlour.v1.json"]])
def test_the_address_without_a_room_has_no_plain_wire(offered: list[str]) -> None:
    """400, and the words say what to offer."""
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client_of().websocket_connect("/chat", subprotocols=offered),
    ):
        pass
    assert denied.value.status_code == 400
    assert V1 in denied.value.text


@pytest.mark.parametrize("path", [PUBLIC, PRIVATE, "/chat"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil.example"])
def test_v1_does_not_let_a_foreign_page_in(path: str, origin: str) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client_of().websocket_connect(path, subprotocols=[V1], headers={"origin": origin}),
    ):
        pass
    assert denied.value.status_code == 403


def test_without_booths_nobody_looks_for_a_stranger() -> None:
    """Neither by the address nor by a command."""
    client = client_of(booths=False)
    with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(PRIVATE, subprotocols=[V1]):
        pass
    assert denied.value.status_code == 404
    with client.websocket_connect("/chat", subprotocols=[V1]) as ada:
        assert command(ada, "hello", match={"interests": ["tea"]})["rooms"] == []
        for op in ("match.find", "match.next"):
            assert command(ada, op)["error"]["code"] == "not_found"


def test_an_address_can_not_be_everybodys_stranger_by_another_way() -> None:
    """Those who look for strangers from `/chat` count among those in booths, and no more than once each; one that is
    gone makes room."""
    client = client_of(url="https://chat.example")  # behind a proxy nobody is local
    with ExitStack() as stack:

        def come(path: str) -> WebSocketTestSession:
            session = stack.enter_context(client.websocket_connect(path, subprotocols=[V1]))
            assert command(session, "hello", match=wish())["ok"]
            return session

        def wish() -> dict[str, Any]:
            """One that nobody else has."""
            return {"interests": [f"{next(numbers)}"], "relax": "never"}

        numbers = count()
        half = [come(PRIVATE) for _ in range(5)]
        others = [come("/chat") for _ in range(6)]
        answers: list[dict[str, Any]] = []
        for _ in range(2):
            answers = [command(one, "match.find", **wish()) for one in others]
            assert [one["ok"] for one in answers] == [True] * 5 + [False]
        assert (answers[-1]["error"]["code"], answers[-1]["error"]["retry"]) == ("rate_limited", True)
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(PRIVATE):
            pass
        assert denied.value.status_code == 429
        assert command(come(PUBLIC), "ping")["ok"]
        half[0].close()
        while not command(others[-1], "match.find", **wish())["ok"]:  # the server learns of it
            pass


# Below a sub-path


@pytest.mark.parametrize("prefix", ["/talk", "/a/b/c", "/chat", "/über", "/with%20blank"])
@pytest.mark.parametrize("strips", [True, False], ids=["proxy strips", "proxy leaves it on"])
def test_below_a_sub_path(prefix: str, strips: bool) -> None:
    """`--url` alone names it, whether the proxy in front takes the path off or not."""
    client = client_of(url=f"https://chat.example{prefix}")
    below = "" if strips else prefix
    origin = {"origin": "https://chat.example"}
    for path in (PUBLIC, PRIVATE):
        with client.websocket_connect(f"{below}{path}", headers=origin) as ada:
            say(ada, "hi")
            assert ada.receive_text() == "ada> hi"
    assert "<title>" in client.get(f"{below}/", headers=HTML).text
    assert client.get(f"{below}/healthz").text == "ok\n"
    assert json.loads(client.get(f"{below}/about.json").text)["title"] == "Parlour"
    for file in STATIC.iterdir():
        assert client.get(f"{below}/static/{file.name}").status_code == 200


@pytest.mark.parametrize("path", ["/talker/healthz", "/talkhealthz", "/TALK/healthz", "/talk/talk/healthz"])
def test_what_only_begins_like_the_sub_path(path: str) -> None:
    assert client_of(url="https://chat.example/talk").get(path).status_code == 404
