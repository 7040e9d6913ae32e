"""Who may call which route of the operators' API: every route, with everybody."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from fastapi import FastAPI

from parlour.core.tickets import sign
from parlour.operators import CLI
from parlour.web.admin import NEEDS
from tests.web.office import KEYRING, URL, World, bearer, running

pytestmark = pytest.mark.anyio

# Who is let in beside admins, the command line and tokens with the scope `admin`: these are let in everywhere.
MODERATOR, READ, SEND, KICK, MODERATE, ROOMS = "moderator", "read", "send", "kick", "moderate", "rooms"
ANY = (READ, SEND, KICK, MODERATE, ROOMS)

ROUTES: Final[dict[str, tuple[str, ...] | None]] = {
    "POST /api/first": None,  # everybody
    "POST /api/sign-in": None,
    "GET /api/me": (MODERATOR, *ANY),
    "GET /api/live": (MODERATOR, READ),
    "GET /api/rooms": (MODERATOR, READ, ROOMS),
    "POST /api/rooms": (MODERATOR, ROOMS),
    "PATCH /api/rooms/{name}": (MODERATOR, ROOMS),
    "POST /api/rooms/{name}/messages": (MODERATOR, SEND),
    "DELETE /api/rooms/{name}/messages/{mid}": (MODERATOR, MODERATE),
    "GET /api/reports": (MODERATOR, MODERATE),
    "GET /api/reports/{ref}": (MODERATOR, MODERATE),
    "POST /api/reports/{ref}/decision": (MODERATOR, MODERATE),
    "GET /api/bans": (MODERATOR, MODERATE),
    "POST /api/bans": (MODERATOR, MODERATE),
    "DELETE /api/bans/{id}": (MODERATOR, MODERATE),
    "GET /api/mutes": (MODERATOR, MODERATE),
    "POST /api/mutes": (MODERATOR, MODERATE),
    "DELETE /api/mutes/{id}": (MODERATOR, MODERATE),
    "POST /api/kicks": (MODERATOR, KICK, MODERATE),
    "GET /api/filter": (MODERATOR, MODERATE),
    "PUT /api/filter": (),
    "GET /api/audit": (),
    "GET /api/audit/check": (),
    "POST /api/audit/{n}/undo": (MODERATOR, MODERATE),
    "GET /api/operators": (),
    "POST /api/operators": (),
    "PATCH /api/operators/{id}": (),
    "GET /api/tokens": (),
    "POST /api/tokens": (),
    "DELETE /api/tokens/{id}": (),
    "POST /api/sign-out": (MODERATOR,),  # the last one here: it ends sessions
}

OPEN: Final = {"GET /", "GET /admin.js", "GET /admin.css", "GET /api/openapi.json"}
"""What holds nothing of anybody."""


def listed(app: FastAPI) -> set[str]:
    """Every route that the app has, found by walking it."""
    found = set[str]()

    def walk(routes: Any) -> None:
        for route in routes:
            inner: Any = getattr(route, "original_router", None)  # of FastAPI's included routers
            if getattr(route, "methods", None):
                found.update(f"{method} {route.path}" for method in route.methods if method != "HEAD")
            else:
                assert inner is not None, f"a route of a kind that this test does not know: {route!r}"
                walk(inner.routes)

    walk(app.routes)
    return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


def addressed(route: str) -> tuple[str, str]:
    """The method, and an address at which nothing is."""
    method, _, path = route.partition(" ")
    for part, value in {"{name}": "nowhere", "{mid}": "none", "{ref}": "none", "{id}": "none", "{n}": "999"}.items():
        path = path.replace(part, value)
    return method, path.removeprefix("/api")


async def ask(client: httpx2.AsyncClient, route: str) -> httpx2.Response:
    """Ask for something that does nothing where it is let in: there is no such thing, or the body has no fields."""
    method, path = addressed(route)
    body: dict[str, object] | None = {} if method in {"POST", "PUT", "PATCH"} and not route.endswith("undo") else None
    if route == "PUT /api/filter":
        body = {"words": {"x": "none such"}}
    return await client.request(method, path, json=body)


def is_let_in(answer: httpx2.Response) -> bool:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}
    return answer.status_code not in {401, 403}


async def callers(world: World) -> dict[str, httpx2.AsyncClient]:
    """Everybody, by what they are."""
    known = {
        "admin": await world.signed_in("ada", "admin"),
        "moderator": await world.signed_in("bo", "moderator"),
        "cli": world.cli(),
    }
    for scope in (*ANY, "admin"):
        known[f"token {scope}"] = world.client(bearer(await world.token(scope)))
    return known


async def test_every_route_is_listed_here_and_says_what_it_needs(world: World) -> None:
    """A route that nobody thought about fails."""
    assert listed(world.app) == ROUTES.keys() | OPEN
    assert NEEDS.keys() == ROUTES.keys()


async def test_every_route_lets_in_whom_it_should_and_nobody_else(world: World) -> None:
    known = await callers(world)
    for route, allowed in ROUTES.items():
        for who, client in known.items():
            kind, _, scope = who.partition(" ")
            wanted = allowed is None or who in {"admin", "cli", "token admin"} or (scope or kind) in allowed
            answer = await ask(client, route)
            assert is_let_in(answer) is wanted, f"{route} by {who}: {answer.status_code} {answer.text}"


STRANGERS: Final[dict[str, dict[str, str]]] = {
    "nobody": {},
    "a cookie of nobody's": {"Cookie": "__Host-parlour=x.y.z"},
    "a token of nobody's": bearer("ptk_" + 64 * "0"),
    "an empty token": {"Authorization": "Bearer"},
    "another scheme": {"Authorization": "Basic YWRhOmFkYQ=="},
    "a ticket for something else": bearer(sign(KEYRING, "first", "cli", 2_000_000_000_000)),
    "an old ticket": bearer(sign(KEYRING, "cli", "cli", 1_600_000_000_000)),
}


@pytest.mark.parametrize("who", STRANGERS)
async def test_who_proves_nothing_is_let_in_nowhere(world: World, who: str) -> None:
    client = world.client(STRANGERS[who])
    for route, allowed in ROUTES.items():
        if allowed is not None:
            answer = await ask(client, route)
            assert answer.status_code == 401, f"{route}: {answer.text}"
            assert answer.headers["www-authenticate"] == "Bearer"


FOREIGN: Final[list[dict[str, str]]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "https://testserver.evil.example"},
    {"Origin": "http://testserver"},
    {"Origin": "https://testserver:444"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": URL, "Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://friend.example"},  # may chat from there, and no more
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_another_site_may_ask_for_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    """Not even to read, and not with a token; only the page itself may be linked to."""
    async with running(tmp_path, origin=["https://friend.example"]) as world:
        known = await callers(world)
        for who in ("admin", "cli"):
            client = known[who]
            for name in ("Origin", "Sec-Fetch-Site"):
                client.headers.pop(name, None)
            client.headers.update(headers)
            for route in (*ROUTES, *(OPEN - {"GET /"})):
                method, path = addressed(route)
                answer = await client.request(method, path if "/api" in route else f"{URL}{path}")
                assert answer.status_code == 403, f"{route} by {who}: {answer.status_code}"
                assert answer.json()["error"]["code"] == "forbidden"
                assert "access-control-allow-origin" not in answer.headers
            assert (await client.get(f"{URL}/")).status_code == 200


async def test_what_changes_something_needs_the_header_of_this_session(world: World) -> None:
    """A cookie alone is sent by a browser whoever asks it to."""
    client, other = await world.signed_in("ada"), await world.signed_in("ada")
    for csrf in (None, "", "x", other.headers["X-CSRF"]):
        client.headers.pop("X-CSRF", None)
        if csrf is not None:
            client.headers["X-CSRF"] = csrf
        for route, allowed in ROUTES.items():
            if allowed is not None:
                answer = await ask(client, route)
                assert (answer.status_code != 403) is route.startswith("GET"), f"{route}: {answer.text}"


async def test_a_preflight_is_not_answered(world: World) -> None:
    """So no page of another origin can send JSON here."""
    headers = {"Origin": URL, "Access-Control-Request-Method": "POST"}
    answer = await world.client(headers).options("/bans")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_without_a_store_there_is_no_api(tmp_path: Path) -> None:
    async with running(tmp_path, keeps=False) as world:
        for route in ROUTES:
            answer = await ask(world.client(), route)
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "unavailable"
            assert "--data" in answer.json()["error"]["message"]


async def test_a_token_that_is_revoked_or_over_lets_nobody_in(world: World) -> None:
    _, secret = await world.operators.make_token(CLI, name="bot", scopes=["read"], seconds=60)
    revoked, other = await world.operators.make_token(CLI, name="bot", scopes=["read"], seconds=None)
    client, second = world.client(bearer(secret)), world.client(bearer(other))
    assert (await client.get("/live")).status_code == (await second.get("/live")).status_code == 200
    await world.operators.revoke_token(CLI, revoked.id)
    assert (await second.get("/live")).status_code == 401
    world.clock.seconds += 59
    assert (await client.get("/live")).status_code == 200
    world.clock.seconds += 1
    assert (await client.get("/live")).status_code == 401
