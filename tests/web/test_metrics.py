"""`/metrics`: who may read it, and what it tells."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient, WebSocketDenialResponse

from parlour import Parlour, Settings
from parlour.app import create_app
from parlour.errors import CLOSE_CODES, ERROR_CODES, SettingsError
from parlour.tally import Tally
from parlour.testing import Kit
from parlour.web.metrics import watch_lag
from tests.raw import ClosedError, DeniedError, connect, get
from tests.servers import serving, uvicorn

TOKEN = "0123456789abcdef"
CANARY = "canary-7b1f"


def token_file(folder: Path, text: str = TOKEN) -> Path:
    file = folder / "token"
    file.write_text(text + "\n")
    return file


def client_of(peer: str | None = "127.0.0.1", host: str = "127.0.0.1:8000", **settings: Any) -> TestClient:
    """One who asks from this address, by this name."""
    app = create_app(Settings(**{"metrics": True, **settings}))
    address = ("", 0) if peer is None else (peer, 50_000)
    return TestClient(app, base_url=f"http://{host}", client=address)


def status(client: TestClient, headers: Mapping[str, str] | None = None) -> int:
    answer: httpx2.Response = client.get("/metrics", headers=dict(headers or {}))
    assert ("parlour_connections" in answer.text) == (answer.status_code == 200)
    return int(answer.status_code)


# Who may read it


def test_it_is_off_by_default() -> None:
    assert status(client_of(metrics=False)) == 404
    assert status(client_of(metrics=False), {"Authorization": f"Bearer {TOKEN}"}) == 404


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000"])
def test_programs_on_this_machine_may(peer: str, host: str) -> None:
    assert status(client_of(peer, host)) == 200


@pytest.mark.parametrize("peer", ["9.9.9.9", "10.0.0.1", "172.17.0.1", "192.168.1.7", "fd00::1", "fe80::1", "", None])
def test_nobody_else_may(peer: str | None) -> None:
    """Not from a private network either: Docker's proxy brings strangers from an address of one. A Unix socket has no
    address, and a proxy at its other end."""
    assert status(client_of(peer)) == 403


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via"],
)
@pytest.mark.parametrize("value", ["127.0.0.1", "", "x"])
def test_what_a_proxy_brings_is_from_elsewhere(header: str, value: str) -> None:
    assert status(client_of(), {header: value}) == 403


@pytest.mark.parametrize("host", ["chat.example.com", "evil.example", "localhost.evil.example", "parlour:8000"])
def test_a_name_that_is_not_this_machines_is_from_elsewhere(host: str) -> None:
    """A proxy that passes the name on; or a page whose name was made to lead here."""
    assert status(client_of(host=host)) == 403


@pytest.mark.parametrize(
    "settings", [{"url": "https://chat.example.com"}, {"trusted_hops": 1}, {"origin": ("https://chat.example.com",)}]
)
def test_a_proxy_that_tells_nothing_does_not_publish_it(settings: dict[str, Any], tmp_path: Path) -> None:
    """One on this machine that adds no header and calls the server by a local name looks like a program here. A page's
    chats come through it only with one of these settings; then the token alone counts."""
    assert status(client_of(**settings)) == 403
    client = client_of(metrics_token_file=token_file(tmp_path), **settings)
    assert status(client) == 401
    assert status(client, {"Authorization": f"Bearer {TOKEN}"}) == 200


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN} ", 200),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        ("Bearer", 401),
        ("", 401),
        ("Bearer \xff", 401),
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "9.9.9.9"])
def test_with_a_token_it_alone_counts(tmp_path: Path, peer: str, authorization: str, expected: int) -> None:
    """From anywhere, by any name, through any proxy; and not without it, from here neither."""
    client = client_of(peer, "chat.example.com", metrics_token_file=token_file(tmp_path))
    headers = {b"X-Forwarded-For": b"1.2.3.4", b"Authorization": authorization.encode("latin-1")}
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == expected
    assert ("www-authenticate" in answer.headers) == (expected == 401)


@pytest.mark.parametrize("text", ["", "   ", "short", "with some blanks in it", "0123456789abcdé"])
def test_a_file_without_a_token_stops_the_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="--metrics-token-file") as refused:
        client_of(metrics_token_file=token_file(tmp_path, text))
    assert not text.strip() or text not in str(refused.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--metrics-token-file: .*No such file"):
        client_of(metrics_token_file=tmp_path / "token")


def test_without_metrics_the_file_is_not_read(tmp_path: Path) -> None:
    client_of(metrics=False, metrics_token_file=tmp_path / "token")


@pytest.mark.anyio
@pytest.mark.parametrize("command", ["parlour serve", "uvicorn"])
async def test_on_a_real_server(command: str) -> None:
    """From loopback, but not as one whom X-Forwarded-For puts there, which uvicorn believes."""
    with serving("--metrics", "on") if command == "parlour serve" else uvicorn(settings={"metrics": "on"}) as server:
        answer = await get(server.url, "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert answer.headers["cache-control"] == "no-store"
        assert "process_open_fds" in answer.text
        assert (await get(server.url, "/metrics", {"X-Forwarded-For": "127.0.0.1"})).status == 403
        assert (await get(server.url, "/metrics", {"Host": "chat.example.com"})).status == 403


def test_it_is_mounted_with_the_page() -> None:
    client = TestClient(Parlour(Settings(metrics=True)), base_url="http://localhost", client=("127.0.0.1", 1))
    assert status(client) == 200


# What it tells


def numbers(text: str) -> dict[str, float]:
    """Samples by their name with labels: `parlour_closes_total{code="4000"}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_before_anyone_came_all_is_zero() -> None:
    told = numbers(client_of().get("/metrics").text)
    ours = {name: value for name, value in told.items() if name.startswith("parlour_")}
    assert ours['parlour_connections{wire="plain"}'] == 0
    assert ours['parlour_resumes_total{recovered="no"}'] == 0
    assert set(ours.values()) == {0}


def test_it_tells_what_happened() -> None:
    client = client_of()
    with client.websocket_connect("/chat/public") as ada, client.websocket_connect("/chat/private"):
        ada.send_json({"username": "ada", "message": "hi"})
        assert ada.receive_text() == "ada> hi"
        ada.send_text("nonsense")
        assert ada.receive_text().startswith("! bad_frame")
        with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/chat"):
            pass
        told = numbers(client.get("/metrics").text)
    expected = {
        'parlour_connections{wire="plain"}': 2,
        'parlour_connections{wire="v1"}': 0,
        'parlour_connections_opened_total{wire="plain"}': 2,
        "parlour_rooms": 2,
        'parlour_members{room="public"}': 1,
        "parlour_booths": 1,
        "parlour_booths_waiting": 1,
        "parlour_messages_total": 1,
        "parlour_deliveries_total": 1,
        "parlour_fan_out_seconds_count": 1,
        'parlour_fan_out_seconds_bucket{le="+Inf"}': 1,
        "parlour_backlog_bytes": 0,
        'parlour_refusals_total{code="bad_frame"}': 1,
        'parlour_denials_total{status="400"}': 1,
    }
    assert {name: told.get(name) for name in expected} == expected


def test_two_chats_in_one_process_count_for_themselves() -> None:
    one, other = client_of(), client_of()
    with one.websocket_connect("/chat/public"):
        assert numbers(one.get("/metrics").text)['parlour_connections{wire="plain"}'] == 1
        assert numbers(other.get("/metrics").text)['parlour_connections{wire="plain"}'] == 0


@pytest.mark.anyio
async def test_31_no_label_tells_what_people_send() -> None:
    """Labels are wires, public rooms, codes and statuses, whatever people call themselves and ask for."""
    with serving("--metrics", "on") as server:
        for path in ("/chat/public", "/chat/private", f"/chat/{CANARY}", "/chat"):
            for extra in ({}, {"Origin": f"http://{CANARY}.example"}, {"Sec-WebSocket-Protocol": f"parlour.{CANARY}"}):
                with suppress(DeniedError, ClosedError):
                    async with connect(server.url, f"{path}?{CANARY}", extra) as ada:
                        await ada.say(CANARY, CANARY)
                        await ada.say(f"{CANARY}> x", CANARY)
                        await ada.lines(2)
                        await ada.leave()
        text = (await get(server.url, "/metrics")).text
    assert CANARY not in text
    allowed = {
        "wire": {"plain", "v1"},
        "room": {"public"},
        "code": {*map(str, CLOSE_CODES), *ERROR_CODES, "1007"},
        "status": {"400", "403", "404", "429", "500", "503"},
        "recovered": {"yes", "no"},
    }
    families = [family for family in text_string_to_metric_families(text) if family.name.startswith("parlour_")]
    labels = [(key, value) for family in families for sample in family.samples for key, value in sample.labels.items()]
    assert {key for key, _ in labels} == {*allowed, "le"}
    assert all(value in allowed[key] for key, value in labels if key != "le")


def test_what_waits_to_be_stored(tmp_path: Path) -> None:
    """Where something is kept."""
    app = create_app(Settings(metrics=True, data=tmp_path))
    with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
        told = numbers(client.get("/metrics").text)
    assert (told["parlour_store_queue"], told["parlour_store_queue_bytes"]) == (0, 0)


def test_open_metrics_for_who_asks() -> None:
    answer = client_of().get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_the_lag_of_the_loop() -> None:
    """Looked at once a second, until the server stops; then nothing is planned any more."""
    kit, tally, is_over = Kit(), Tally(), [False]
    watch_lag(kit.hub.scheduler, tally, lambda: is_over[0])
    kit.advance(10)
    assert (tally.lag.counts[0], tally.lag.sum) == (10, 0)
    is_over[0] = True
    kit.advance(1)
    assert kit.next_due == float("inf")


def test_a_loop_that_was_held_up_shows() -> None:
    class Late:
        """A clock that stands still until a test moves it."""

        def __init__(self) -> None:
            self.now = 0.0
            self.due: list[tuple[float, Callable[[], object]]] = []

        def time(self) -> float:
            return self.now

        def call_soon(self, callback: Callable[[], object], /) -> None:
            raise NotImplementedError

        def call_at(self, when: float, callback: Callable[[], object], /) -> Any:
            self.due.append((when, callback))

    clock, tally = Late(), Tally()
    watch_lag(clock, tally, lambda: False)
    when, look = clock.due.pop()
    clock.now = when + 1.0
    look()
    assert (tally.lag.counts, tally.lag.sum) == ([0, 0, 0, 0, 1, 0], 1.0)
