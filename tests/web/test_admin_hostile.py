"""Whatever is sent to the operators' API is answered with what is wrong with it, never with a failure of the server."""

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.types import Message

from parlour import Settings
from parlour.app import Parlour
from parlour.core.tickets import sign
from parlour.store import Unavailable
from parlour.web.admin import BODY_LIMIT, NEEDS, Office, admin_app
from tests.servers import alarm
from tests.web.office import KEYRING, URL, Clock, Rooms, World, bearer, operators_of, running

T = TypeVar("T")

EXAMPLES = 25  # of each route and mode
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


# What a machine thinks of


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """The API in a loop for each request, and the hub in another, as Starlette's TestClient has it."""
    chat = Parlour(Settings(data=tmp_path_factory.mktemp("data")))
    clock = Clock()
    offices: list[Rooms] = []

    async def on_hub(work: Callable[[Office], Awaitable[T]], /) -> T:
        async def at(part: Any) -> T:
            await part.ready.wait()
            if not offices:
                offices.append(Rooms(part.desk, operators_of(part.store, clock)))
            return await work(offices[0])

        return await chat.on_hub(at)

    return admin_app(chat.settings, on_hub=on_hub)


@pytest.fixture
def deadline() -> Iterator[None]:
    with alarm():
        yield


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fitting", "unfit"])
@pytest.mark.parametrize("route", NEEDS)
def test_every_answer_is_as_the_openapi_document_says(
    served: FastAPI, route: str, mode: GenerationMode, deadline: None
) -> None:
    """By an admin, with bodies and parameters that fit the document, and such that do not."""
    method, _, path = route.partition(" ")
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", served)
    operation = schema[path][method.lower()]
    headers = bearer(sign(KEYRING, "cli", "cli", Clock().utc_ms() + 60_000))

    # Where nothing can be unfit, as for a route without parameters, there is no such example.
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters or operation.query):
        return

    @settings(
        max_examples=EXAMPLES,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.cookies, case.headers = {}, {}
        response = case.call(headers=headers)
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=CHECKS)

    ask()


# What a person thinks of


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


BODIES: dict[str, tuple[bytes, int]] = {
    "half a character": (b'{"person": "\\ud800", "reason": ""}', 400),
    "half a character as a field": (b'{"\\ud800": 1}', 400),
    "a NUL": (b'{"person": "p\\u0000", "reason": ""}', 400),
    "a NUL in the reason": (b'{"person": "p", "reason": "\\u0000"}', 400),
    "not a number": (b'{"person": "p", "reason": "", "seconds": NaN}', 400),
    "infinity": (b'{"person": "p", "reason": "", "seconds": 1e999}', 400),
    "a number of 400 digits": (b'{"person": "p", "reason": "", "seconds": ' + b"9" * 400 + b"}", 400),
    "a number of 5000 digits": (b'{"person": "p", "reason": "", "seconds": ' + b"9" * 5000 + b"}", 400),
    "a truth for a number": (b'{"person": "p", "reason": "", "seconds": true}', 400),
    "a number for a text": (b'{"person": 1, "reason": ""}', 400),
    "a field that is not known": (b'{"person": "p", "reason": "", "secret": 1}', 400),
    "nothing": (b"", 400),
    "no object": (b"[]", 400),
    "null": (b"null", 400),
    "no JSON": (b'{"person": ', 400),
    "deep": (b"[" * 30_000, 400),
    "not UTF-8": (b'{"person": "\xff"}', 400),
    "UTF-16": ('{"person": "p\ud83d\ude00"}'.encode("utf-16", "surrogatepass"), 400),
    "a long reason": (json.dumps({"person": "p", "reason": 201 * "x"}).encode(), 400),
    "too long": (b'{"person": "' + b"x" * BODY_LIMIT + b'"}', 413),
}


@pytest.mark.anyio
@pytest.mark.parametrize("case", BODIES)
async def test_a_body_that_is_not_right_is_refused_and_not_repeated(world: World, case: str) -> None:
    body, status = BODIES[case]
    answer = await world.cli().post("/mutes", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error.keys() <= {"code", "message", "field"}
    assert "secret" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"reason": ""}, "person", "is missing"),
        ({"person": "p"}, "reason", "is missing"),
        ({"person": "p", "reason": 201 * "x"}, "reason", "at most 200"),
        ({"person": "p", "reason": "", "seconds": -1}, "seconds", "greater than 0"),
    ],
)
async def test_what_is_wrong_names_the_field(world: World, body: dict[str, object], field: str, words: str) -> None:
    error = (await world.cli().post("/mutes", json=body)).json()["error"]
    assert error["field"] == field
    assert field in error["message"]
    assert words in error["message"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]
)
async def test_a_body_must_say_that_it_is_json(world: World, kind: str | None) -> None:
    """What a form of another site could send is never read."""
    headers = {} if kind is None else {"Content-Type": kind}
    body = b'{"person": "p", "reason": ""}'
    answer = await world.cli().post("/kicks", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "bad_frame")
    assert (await world.cli().post("/kicks", json=json.loads(body))).status_code == 200


@pytest.mark.anyio
async def test_a_body_without_a_length_is_read_to_the_limit_and_no_further(world: World) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 10 * BODY_LIMIT:
            sent += 1024
            yield b"x" * 1024

    answer = await world.cli().post("/kicks", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert sent <= BODY_LIMIT + 2048


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    [
        "/reports/%00",
        "/reports/%ff",
        "/reports/%ed%a0%80",
        f"/reports/{'x' * 1000}",
        "/reports?limit=0",
        "/reports?limit=1e3",
        f"/reports?limit={'9' * 5000}",
        "/reports?state=closed",
        "/reports?state=%00",
        "/audit?before=0",
        f"/audit?before={2**63}",
        "/audit?limit=",
        "/none",
        "/%2e%2e/admin.html",
        "/reports/",
    ],
)
async def test_an_address_at_which_nothing_is_says_so(world: World, path: str) -> None:
    answer = await world.cli().get(path, follow_redirects=True)
    assert answer.status_code in {400, 404}, answer.text
    assert answer.json()["error"]["code"] in {"bad_field", "not_found", "too_large"}


@pytest.mark.anyio
@pytest.mark.parametrize("n", ["0", "-1", "x", str(2**63), "9" * 5000])
async def test_no_number_is_too_large_for_an_answer(world: World, n: str) -> None:
    assert (await world.cli().post(f"/audit/{n}/undo")).status_code == 400


@pytest.mark.anyio
async def test_a_method_that_there_is_not_is_refused_as_everything_is(world: World) -> None:
    answer = await world.cli().put("/bans", json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "unknown_op")
    assert answer.headers["allow"]


async def raw(world: World, headers: list[tuple[bytes, bytes]], method: str = "GET", path: str = "/api/me") -> int:
    """The status for headers that no well-behaved client sends."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"\xff=\xff",
        "headers": [(b"host", b"testserver"), *headers],
        "client": None,
        "server": ("testserver", 443),
    }
    await world.app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"Bearer ptk_\xff")],
        [(b"authorization", b"\x00")],
        [(b"cookie", b"__Host-parlour=\xff.\xff")],
        [(b"cookie", b"__Host-parlour=" + b"x" * 60_000)],
        [(b"cookie", b";;==\x00")],
    ],
)
async def test_headers_that_are_no_text_let_nobody_in(world: World, headers: list[tuple[bytes, bytes]]) -> None:
    assert await raw(world, headers) == 401


@pytest.mark.anyio
async def test_a_header_x_csrf_that_is_no_text_is_a_wrong_one(world: World) -> None:
    client = await world.signed_in("ada")
    cookie = f"__Host-parlour={client.cookies['__Host-parlour']}".encode()
    headers = [(b"cookie", cookie), (b"x-csrf", b"\xff\xfe")]
    assert await raw(world, headers, "POST", "/api/sign-out") == 403


@pytest.mark.anyio
@pytest.mark.parametrize(
    "origin", [b"\xff", b"https://testserver:99999999", b"https://[::1", b"", b"https://testserver/"]
)
async def test_an_origin_that_is_none_is_foreign(world: World, origin: bytes) -> None:
    assert await raw(world, [(b"origin", origin)]) == 403
    assert await raw(world, [(b"origin", URL.encode()), (b"origin", URL.encode())]) == 403


# What fails


@pytest.mark.anyio
async def test_a_database_that_is_away_is_told_and_may_come_back(world: World) -> None:
    class Away:
        async def rooms(self) -> None:
            raise Unavailable("the database can't be used now: it is locked")

    office, here = world.office, world.office.desk
    office.desk = Away()  # type: ignore[assignment]
    answer = await world.cli().get("/rooms")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    office.desk = here
    assert (await world.cli().get("/rooms")).status_code == 200


@pytest.mark.anyio
async def test_a_fault_of_ours_is_told_by_an_id_that_stands_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """And neither the answer nor the log holds what was sent, or what the error says."""

    class Broken:
        async def make_room(self, by: object, *, name: str, title: str) -> None:
            raise RuntimeError(f"{name} {title}")

    world.office.desk = Broken()  # type: ignore[assignment]
    with caplog.at_level(logging.DEBUG, logger="parlour"):
        answer = await world.cli().post("/rooms", json={"name": "canary1", "title": "canary2"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    (record,) = [record for record in caplog.records if record.name == "parlour"]
    assert record.incident in answer.json()["error"]["message"]  # type: ignore[attr-defined]
    assert "canary" not in answer.text + record.getMessage()


@pytest.mark.anyio
async def test_nothing_that_is_sent_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = world.cli()
        await client.post("/rooms/public/messages", json={"text": "canary", "name": "canary"})
        await client.post("/operators", json={"name": "canary", "password": "canary canary", "role": "admin"})
        await client.post("/sign-in", json={"name": "canary", "password": "canary"})
        await client.post("/mutes", json={"person": "canary", "reason": "canary", "x": "canary"})
    assert "canary" not in caplog.text
