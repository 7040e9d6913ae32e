"""The only place that builds things: `Parlour`, which goes into any FastAPI or Starlette app, and our own app around
it."""

import asyncio
import logging
import os
import random
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import uvicorn
from fastapi import APIRouter, FastAPI
from filelock import FileLock, Timeout
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from parlour.core.names import NameRules
from parlour.core.session import House
from parlour.engine.memory import MemoryEngine
from parlour.errors import SettingsError
from parlour.hub import CLOSE_LIMIT, Hub
from parlour.keyfile import check_secrets, loaded_keyring
from parlour.logs import log_failure, set_up
from parlour.settings import Settings, variable_name
from parlour.tally import Tally
from parlour.web.routes import Authenticate, Check, Endpoints, Upgrade, page_routes
from parlour.wire.contract import FRAME_LIMIT

if TYPE_CHECKING:
    from parlour.web.metrics import MoreMetrics

logger = logging.getLogger("parlour")

_STOP_LIMIT: Final = 8
"""Seconds after which a stopping server cuts what is still open."""


class Parlour:
    """The chat, to be put into an app.

    Use one of the two: `app.include_router(chat.router, prefix="/talk")` for the WebSocket endpoints alone, or
    `app.mount("/talk", chat)` for the page as well. Neither needs the app's lifespan or its middleware.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        authenticate: Authenticate | None = None,
        takeover: bool = True,
    ) -> None:
        """`authenticate(connection)` says who opens a connection: a `Person`, a `Guest()`, or None to refuse it.

        `takeover=False` leaves connections to the ASGI server, so that middleware and `yield` dependencies live as long
        as they do; it costs most of the speed.
        """
        self.settings = settings or Settings()
        self._hub: Hub | None = None
        self._hub_loop: asyncio.AbstractEventLoop | None = None
        self._server: object | None = None  # from which connections are taken over
        self._served_on: asyncio.AbstractEventLoop | None = None  # the loop of a lifespan that is on
        self._has_login = authenticate is not None
        self._deciding = Lock()
        self._folder_lock: FileLock | None = None
        self._tally = Tally()
        self._parts: dict[str, Check] = {"hub": self._hub_problem}
        self._more_metrics: list[MoreMetrics] = []
        endpoints = Endpoints(
            self.settings,
            self._tally,
            home=self,
            found=_finder(),
            takeover=takeover and self.settings.transport == "auto",
            authenticate=authenticate,
        )
        self._door = endpoints.door
        self.public_chat = endpoints.public_chat
        self.private_chat = endpoints.private_chat
        self.chat = endpoints.chat
        self.router = APIRouter(lifespan=self.lifespan)
        self._add_chat_to(self.router)
        self._site = Router(self._page_routes(), lifespan=self.lifespan)
        self._site.add_websocket_route("/chat/public", self.public_chat)
        self._site.add_websocket_route("/chat/private", self.private_chat)
        self._site.add_websocket_route("/chat", self.chat)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The chat and its page as an ASGI app, to be mounted."""
        await self._site(scope, receive, send)

    @property
    def hub(self) -> Hub | None:
        """The live connections; None until the first one came."""
        return self._hub

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Not needed, but where it runs, all connections are known to be on one loop, and are told when it stops."""
        self._served_on = asyncio.get_running_loop()
        try:
            yield
        finally:
            self._say_good_night()
            self._served_on = None

    def _install(self, app: FastAPI) -> None:
        """Make `app` this chat's own: the endpoints, the page, health and metrics at its root."""
        self._add_chat_to(app.router)
        app.router.routes.extend(self._page_routes())

    def _page_routes(self) -> list[BaseRoute]:
        pages = page_routes(self.settings, lambda: self._hub, has_login=self._has_login, parts=self._parts)
        if not self.settings.metrics:
            return pages
        from parlour.web.metrics import metrics_route  # a library that others need not wait for

        route = metrics_route(
            self.settings, self._tally, hub=lambda: self._hub, peer=self._door.peer, more=self._more_metrics
        )
        return [route, *pages]

    def _hub_problem(self) -> str | None:
        return "the server stops" if self._hub is not None and self._hub.draining else None

    def _add_chat_to(self, router: APIRouter) -> None:
        router.add_api_websocket_route("/chat/public", self.public_chat, name="public_chat")
        router.add_api_websocket_route("/chat/private", self.private_chat, name="private_chat")
        router.add_api_websocket_route("/chat", self.chat, name="chat")

    def is_stopping(self, server: object | None) -> bool:
        """See `Home.is_stopping`."""
        return self._hub is not None and self._hub.draining and server is self._server

    def hub_for(self, server: object | None) -> tuple[Hub, asyncio.AbstractEventLoop]:
        """See `Home.hub_for`. The first connection decides on the loop: its own, if that will outlive it.

        That is so where the connection can be taken over from a server, or where a lifespan runs on the same loop. Else
        the hub gets a loop and a thread of its own: Starlette's TestClient runs each socket in a loop that ends with
        it.
        """
        with self._deciding:
            if self._hub is None or self._hub_loop is None or self._hub_loop.is_closed() or self._has_stopped(server):
                running = asyncio.get_running_loop()
                self._hub_loop = running if server is not None or running is self._served_on else _own_loop()
                self._server = server
                self._hub = self._new_hub(self._hub_loop)
            return self._hub, self._hub_loop

    def _has_stopped(self, server: object | None) -> bool:
        """Whether the hub was drained for a server that stopped, and `server` is another one."""
        return self._hub is not None and self._hub.draining and server is not self._server

    def _say_good_night(self) -> None:
        if self._hub is not None and self._hub_loop is asyncio.get_running_loop():
            self._hub.drain()
            self._hub = self._hub_loop = None

    def _new_hub(self, loop: asyncio.AbstractEventLoop) -> Hub:
        self._claim_folder()
        ids = random.Random(secrets.randbits(128))  # noqa: S311 - ids need to be distinct, not secret

        def new_id() -> str:
            return f"{ids.getrandbits(64):016x}"

        keyring = loaded_keyring(self.settings.data)

        def engine(hub: Hub) -> MemoryEngine:
            # The system's randomness decides who meets whom: nobody can foresee it.
            return MemoryEngine(
                hub, scheduler=loop, keyring=keyring, choose=secrets.randbelow, new_id=new_id, utc_ms=_utc_ms
            )

        house = House(
            NameRules(self.settings.reserved_names),
            keyring,
            new_id,
            _utc_ms,
            has_booths=self.settings.booths,
            welcome=self.settings.welcome,
        )
        hub = Hub(loop, engine, house, self._tally)
        if self.settings.metrics:
            from parlour.web.metrics import watch_lag

            loop.call_soon_threadsafe(watch_lag, loop, self._tally, lambda: hub.draining)
        return hub

    def _claim_folder(self) -> None:
        """Two processes with rooms in memory are two public rooms: worth a loud word, as `uvicorn --workers 2` does
        it."""
        folder = self.settings.data
        if folder is None or self._folder_lock is not None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock", thread_local=False)
            lock.acquire(blocking=False)
            self._folder_lock = lock
        except Timeout:
            logger.warning(
                "another Parlour runs on the data folder %s: each process has a public room and booths of its own, "
                "and their people do not meet. Run one process, or give this one its own folder with --data",
                folder,
            )
        except OSError as error:
            logger.warning("the data folder %s can't be used (%s); nothing is kept there", folder, error.strerror)


def create_app(settings: Settings | None = None) -> FastAPI:
    """Our own app: the chat, its page and health. `settings` are read from the environment and parlour.toml if None.

    Raises `SettingsError`. `app.state.parlour` is the `Parlour` inside.
    """
    settings = settings or Settings.load()
    logging.getLogger("uvicorn.error").addFilter(_tells_nothing)
    parlour = Parlour(settings)
    app = FastAPI(title=settings.title, lifespan=parlour.lifespan, openapi_url=None)
    app.add_exception_handler(Exception, _say_failed)
    parlour._install(app)
    app.state.parlour = parlour
    if settings.url is not None:
        app.add_middleware(_Prefix, url=settings.url)
    return app


async def _say_failed(request: Request, error: Exception) -> Response:
    """A request met a fault of ours: tell the id that stands in the log."""
    incident = secrets.token_hex(8)
    log_failure("a request", incident, error)
    return PlainTextResponse(f"the server failed here (id {incident})\n", 500)


def _tells_nothing(record: logging.LogRecord) -> bool:
    """At level DEBUG the websockets library logs each header and frame, in lines of this form, under uvicorn's name."""
    return record.levelno > logging.DEBUG or not str(record.msg).startswith(("< ", "> "))


def _finder() -> Callable[[WebSocket], Upgrade | None]:
    """What finds uvicorn behind a request; without uvicorn nothing is ever found."""
    try:
        from parlour.transport.uvicorn import found
    except ImportError:
        return lambda websocket: None
    return found


def _utc_ms() -> int:
    return time.time_ns() // 1_000_000


@cache
def _own_loop() -> asyncio.AbstractEventLoop:
    """One for the process: it never ends."""
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="parlour", daemon=True).start()
    return loop


class _Prefix:
    """Takes off the sub-path of the public URL, where the proxy in front left it on.

    Below `/chat` both kinds of proxy are in use: `/chat/public` was stripped, and `/chat/chat/public` was not.
    """

    _STRIPPED = ("/chat/public", "/chat/private", "/chat")

    def __init__(self, app: ASGIApp, url: str) -> None:
        self._app = app
        self._prefix = unquote(urlsplit(url).path).rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._prefix and scope["type"] != "lifespan" and self._is_below(scope):
            scope["root_path"] = self._prefix
        await self._app(scope, receive, send)

    def _is_below(self, scope: Scope) -> bool:
        path: str = scope["path"]
        is_endpoint = scope["type"] == "websocket" and path in self._STRIPPED
        return not is_endpoint and f"{path}/".startswith(f"{self._prefix}/")


# Our own server


def serve(settings: Settings) -> int:
    """Run the server until it is told to stop, and give the exit code. Raises `SettingsError` and nothing else."""
    set_up(settings.log_format)
    check_secrets(settings.data)  # or else the first client would find it out
    if settings.reload:
        return _serve_reloading(settings)
    try:
        _Server(settings).run()
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:  # uvicorn's word for an address in use, which it has logged
        return 1 if error.code else 0
    return 0


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    from parlour.transport.http import HttpProtocol

    return {
        "host": settings.host,
        "port": settings.port,
        "http": HttpProtocol,
        "ws_ping_interval": settings.ping,
        "ws_ping_timeout": settings.ping_timeout,
        "ws_max_size": FRAME_LIMIT,
        "ws_per_message_deflate": False,
        "proxy_headers": False,  # it would believe what anyone behind a proxy on loopback says; the door counts hops
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "timeout_graceful_shutdown": _STOP_LIMIT,
    }


class _Server(uvicorn.Server):
    """uvicorn, which says where it is once it is there, and says good night to the chat before it stops."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        app = create_app(settings)
        self._parlour: Parlour = app.state.parlour
        super().__init__(uvicorn.Config(app, **_uvicorn_options(settings)))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            print(_address(self._settings, port), flush=True)
            if logger.isEnabledFor(logging.INFO):
                print("Stop with Ctrl-C.", file=sys.stderr)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        hub = self._parlour.hub
        if hub is not None:
            people, messages = len(hub), hub.tally.messages
            hub.drain()
            await self._let_endpoints_end()
            logger.info("good night: %s connections, %s messages since the start", people, messages)
        await super().shutdown(sockets)

    async def _let_endpoints_end(self) -> None:
        """Connections on plain ASGI get their close frame from tasks, which uvicorn would overtake with its own
        (1012)."""
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=CLOSE_LIMIT)


def _address(settings: Settings, port: int) -> str:
    if settings.url is not None:
        return settings.url
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - not a bind
    return f"http://[{host}]:{port}" if ":" in host and "[" not in host else f"http://{host}:{port}"


def _serve_reloading(settings: Settings) -> int:
    """The reloader starts processes of its own, which read the settings from the environment."""
    if settings.port == 0:
        raise SettingsError("--port: 0 can't be told from one start to the next; give --reload a port")
    os.environ.update({variable_name(name): settings.spelled(name) for name in settings.model_fields_set})
    print(_address(settings, settings.port), flush=True)
    folder = str(Path(__file__).parent)
    options = _uvicorn_options(settings)
    uvicorn.run("parlour.app:reloaded_app", factory=True, reload=True, reload_dirs=[folder], **options)
    return 0


def reloaded_app() -> FastAPI:
    """Our own app in a process that the reloader started."""
    settings = Settings.load()
    set_up(settings.log_format)
    return create_app(settings)
