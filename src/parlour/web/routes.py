"""The chat's WebSocket endpoints, the page with its few files, and health."""

import asyncio
import inspect
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, TypeGuard, cast

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from parlour.core.events import Guest, Person, Place
from parlour.core.penalties import ROLES, address_prefix
from parlour.errors import VERSION
from parlour.hub import Hub, Link
from parlour.logs import log_failure
from parlour.settings import Settings
from parlour.tally import Tally
from parlour.transport.asgi import AsgiConnection, Below
from parlour.web.door import Denial, Door, Visit, offered_subprotocols
from parlour.wire import SUBPROTOCOL, V1, Plain, Wire, chosen

logger = logging.getLogger("parlour")

PUBLIC: Final = Place(room="public")
BOOTH: Final = Place(booth=True)
NOWHERE: Final = Place()

_STATIC: Final = Path(__file__).parent / "static"
_HINT_SECONDS: Final = 60.0
_AUTHENTICATE_SECONDS: Final = 5.0

_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
    "Vary": "Accept",
}
_TEXT_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Vary": "Accept"}


Identity = Person | Guest | None
Authenticate = Callable[[HTTPConnection], Identity | Awaitable[Identity]]
"""The host app's word on who opens a connection: a `Person`, a `Guest`, or None for one who may not come in."""


Check: TypeAlias = Callable[[], str | None]
"""Whether a part of the server is ready: None, or what keeps it from that. It must not wait."""


class Upgrade(Below, Protocol):
    """A WebSocket request on a server that lets its connection be taken over."""

    @property
    def server(self) -> object:
        """Stands for the running server: another one has another object."""
        ...

    @property
    def host(self) -> str | None:
        """The transport's peer."""
        ...

    def hide_query(self) -> None:
        """Keep the request's query out of the server's log."""
        ...

    def denied(self) -> None:
        """The request was answered without an upgrade, and that is no mistake."""
        ...

    def decline_deflate(self) -> None:
        """Before accepting: agree on no extension."""
        ...

    def hold(self) -> None:
        """Read nothing more until the request is answered."""
        ...

    def take(self, connect: Callable[[Any], Link], on_shutdown: Callable[[], object]) -> None:
        """Right after accepting: serve it without the server, with the link that `connect` makes for a socket."""
        ...


class Home(Protocol):
    """Where the hub is."""

    def is_stopping(self, server: object | None) -> bool:
        """Whether that server, or the only one there is, is about to stop."""
        ...

    def hub_for(self, server: object | None) -> tuple[Hub, asyncio.AbstractEventLoop]:
        """The hub and its event loop, for a connection on the running loop. `server` is given where the connection can
        be taken over from it."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the hub's rooms are there."""
        ...

    async def opened(self) -> None:
        """Return once they are."""
        ...


class Endpoints:
    """The chat endpoints: from the request to a link of the hub."""

    def __init__(
        self,
        settings: Settings,
        tally: Tally,
        *,
        home: Home,
        found: Callable[[WebSocket], Upgrade | None],
        takeover: bool,
        authenticate: Authenticate | None,
    ) -> None:
        """`found` finds the server behind a request, where its connections can be taken over; `takeover` allows it."""
        self._tally = tally
        self._home = home
        self._found = found
        self._takeover = takeover
        self._authenticate = authenticate
        self._has_booths = settings.booths
        self._hops = settings.trusted_hops
        self.door = Door(settings, has_login=authenticate is not None)
        self._plain: Wire = Plain(notices=settings.notices)
        self._v1: Wire = V1()
        self._hinted: dict[str, float] = {}  # when the operator was last told, by hint

    async def public_chat(self, websocket: WebSocket) -> None:
        """The public room: every member hears every line."""
        await self._open(websocket, PUBLIC)

    async def private_chat(self, websocket: WebSocket) -> None:
        """A booth with one other client, chosen by the pairing rules."""
        if self._has_booths:
            await self._open(websocket, BOOTH)
        else:
            await self._deny(websocket, self._upgrade_of(websocket), Denial(404, "there are no booths here"))

    async def chat(self, websocket: WebSocket) -> None:
        """No room yet: the client names those that it wants."""
        await self._open_for_v1(websocket, NOWHERE)

    async def room_chat(self, websocket: WebSocket) -> None:
        """The public room of this name."""
        await self._open_for_v1(websocket, Place(room=websocket.path_params["name"]))

    async def _open_for_v1(self, websocket: WebSocket, place: Place) -> None:
        if chosen(_offered(websocket), self._plain, self._v1)[0] is not self._plain:
            await self._open(websocket, place)
        else:
            words = f"offer the subprotocol {SUBPROTOCOL} here; lines of text are for /chat/public and /chat/private"
            await self._deny(websocket, self._upgrade_of(websocket), Denial(400, words))

    async def _open(self, websocket: WebSocket, place: Place) -> None:
        upgrade = self._upgrade_of(websocket)
        server = upgrade.server if upgrade is not None and self._takeover else None
        visit = self._let_in(websocket, upgrade, server, place)
        if isinstance(visit, Denial):
            self._hint(visit.hint)
            await self._deny(websocket, upgrade, visit)
            return
        if upgrade is not None and self._authenticate is not None:
            upgrade.hold()
        try:
            identity = await self.identify(websocket)
            if isinstance(identity, Denial):
                visit.end()
                await self._deny(websocket, upgrade, identity)
                return
            wire, subprotocol = chosen(_offered(websocket), self._plain, self._v1)
            if wire is None:
                visit.end()
                self._tally.closes[VERSION.code] += 1
                await websocket.accept(subprotocol)
                await websocket.close(VERSION.code, VERSION.reason)
                return
            hub, hub_loop = self._home.hub_for(server)
            if not self._home.is_open:  # one who came first must not be heard before the next one is seated
                if upgrade is not None:
                    upgrade.hold()
                await self._home.opened()
            pace = self.door.pace(visit.peer)
            connect = partial(
                hub.connect,
                wire=wire,
                place=place,
                pace=pace,
                person=identity if isinstance(identity, Person) else None,
                address=None if visit.peer.is_local else address_prefix(visit.peer.address),
                is_shared=not self._hops and "x-forwarded-for" in websocket.headers,
                may_meet=visit.meet,
                gone=visit.end,
            )
            if upgrade is not None:
                upgrade.decline_deflate()
            if upgrade is not None and self._takeover and asyncio.get_running_loop() is hub_loop:
                await websocket.accept(subprotocol)
                upgrade.take(connect, hub.drain)
            else:
                connection = AsgiConnection(websocket, hub_loop, upgrade)
                await connection.run(connect, subprotocol)
        except BaseException:
            visit.end()
            raise

    def _upgrade_of(self, websocket: WebSocket) -> Upgrade | None:
        upgrade = self._found(websocket)
        if upgrade is not None:
            upgrade.hide_query()
        return upgrade

    def _let_in(
        self, websocket: WebSocket, upgrade: Upgrade | None, server: object | None, place: Place
    ) -> Visit | Denial:
        if self._home.is_stopping(server):
            return Denial(503, "the server restarts; try again in a few seconds")
        denial = self.door.check_origin(websocket.scope["scheme"], websocket.headers)
        if denial is not None:
            return denial
        if not self._hops and "x-forwarded-for" in websocket.headers:
            self._hint(
                "requests come through a proxy, and all its clients share the limits of one address; "
                "tell how many proxies to trust with --trusted-hops 1"
            )
        host = websocket.client.host if websocket.client is not None else None
        peer = self.door.peer(host if upgrade is None else upgrade.host, websocket.headers)
        return self.door.enter(peer, time.monotonic(), to_booth=place.booth)

    async def identify(self, connection: HTTPConnection) -> Person | Guest | Denial:
        """What the host app's hook says. Whatever is not a proper identity is refused: a hook with a mistake in it must
        not let everyone in."""
        if self._authenticate is None:
            return Guest()
        try:
            async with asyncio.timeout(_AUTHENTICATE_SECONDS):
                identity = await _called(self._authenticate, connection)
        except HTTPException as error:
            return Denial(error.status_code, error.detail)
        except TimeoutError:
            logger.error("authenticate took longer than %s seconds", _AUTHENTICATE_SECONDS)
            return Denial(503, "who you are could not be checked in time; try again later")
        except Exception as error:  # the host app's own; its values may be secrets
            incident = secrets.token_hex(8)
            log_failure("authenticate", incident, error)
            return Denial(500, f"who you are could not be checked; try again later (id {incident})")
        if identity is None:
            return Denial(403, "sign in first")
        if isinstance(identity, Guest) or _is_proper(identity):
            return identity
        logger.error(
            "authenticate gave a %s; give a Person with a non-empty text as id, a text as name and a known role, "
            "Guest(), or None",
            type(identity).__name__,
        )
        return Denial(500, "who you are could not be checked; try again later")

    async def _deny(self, websocket: WebSocket, upgrade: Upgrade | None, denial: Denial) -> None:
        """Answer before the upgrade (RFC 6455 4.2.2, 5). A server without that extension of ASGI says 403 in any
        case."""
        self._tally.denials[denial.status] += 1
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            headers = {"Retry-After": "5"} if denial.status in (429, 503) else {}
            await websocket.send_denial_response(PlainTextResponse(denial.words + "\n", denial.status, headers))
            if upgrade is not None:
                upgrade.denied()
        else:
            await websocket.close()

    def _hint(self, words: str | None) -> None:
        """Tell the operator what to do, once a minute at most: it is others who cause it."""
        now = time.monotonic()
        if words is not None and now - self._hinted.get(words, -_HINT_SECONDS) >= _HINT_SECONDS:
            self._hinted[words] = now
            logger.warning(words)


def _offered(websocket: WebSocket) -> Sequence[str]:
    """The subprotocols that the client offers. The wsproto library takes their header away; what it read, uvicorn
    tells."""
    return offered_subprotocols(websocket.headers) or websocket.scope.get("subprotocols", ())


async def _called(authenticate: Authenticate, connection: HTTPConnection) -> Identity:
    """A plain function runs in a thread, as FastAPI does it: it may ask a database."""
    if inspect.iscoroutinefunction(authenticate):
        return await cast(Callable[[HTTPConnection], Awaitable[Identity]], authenticate)(connection)
    ask = cast(Callable[[HTTPConnection], Any], authenticate)
    answer: Any = await run_in_threadpool(ask, connection)
    if inspect.isawaitable(answer):  # an object whose `__call__` is a coroutine function, or a partial
        answer = await answer
    return cast(Identity, answer)


def _is_proper(identity: object) -> TypeGuard[Person]:
    if not isinstance(identity, Person):
        return False
    fields: tuple[object, object, object] = identity  # what the annotations promise is the host app's to keep
    return all(isinstance(field, str) for field in fields) and bool(identity.id) and identity.role in ROLES


def page_routes(
    settings: Settings, hub: Callable[[], Hub | None], *, has_login: bool, parts: Mapping[str, Check]
) -> list[BaseRoute]:
    """The page, what it needs, and health. `hub` gives the hub once there is one; `has_login` says that the host app
    gives people their names; `parts` are what must be ready, by name, and may grow."""

    async def page(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return FileResponse(_STATIC / "index.html", headers=_PAGE_HEADERS)
        return PlainTextResponse(_welcome(settings, str(request.base_url), hub()), headers=_TEXT_HEADERS)

    async def about(request: Request) -> Response:
        live = hub()
        people = 0 if live is None else len(live)
        about = {"title": settings.title, "booths": settings.booths, "people": people, "login": has_login}
        return JSONResponse(about, headers={"Cache-Control": "no-store"})

    async def alive(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        problems = {name: check() for name, check in parts.items()}
        told = {name: {"ok": words is None, "words": words or "ready"} for name, words in problems.items()}
        is_ready = all(words is None for words in problems.values())
        answer = {"ready": is_ready, "parts": told}
        return JSONResponse(answer, 200 if is_ready else 503, headers={"Cache-Control": "no-store"})

    return [
        Route("/", page),
        Route("/about.json", about),
        Route("/healthz", alive),
        Route("/readyz", ready),
        Mount("/static", _Static(directory=_STATIC)),
    ]


class _Static(StaticFiles):
    """The page's files, asked for anew each time: a new version of the server is a new page at once."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _welcome(settings: Settings, base_url: str, hub: Hub | None) -> str:
    """What `curl` shows: how many are here, and how to join."""
    people = 0 if hub is None else len(hub)
    here = {0: "Nobody is here yet.", 1: "One is here."}.get(people, f"{people} are here.")
    address = settings.url or base_url.rstrip("/")
    lines = [settings.title, here, "", f"In a browser:   {address}/", f"In a terminal:  parlour chat {address}"]
    if settings.booths:
        lines.append(f"With a stranger: parlour chat {address} --private")
    return "\n".join(lines) + "\n"
