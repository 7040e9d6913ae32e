"""The only place that builds things: `Parlour`, which goes into any FastAPI or Starlette app, and our own app around
it."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from math import inf
from pathlib import Path
from threading import Lock, Thread, current_thread, main_thread
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, FastAPI
from filelock import FileLock, Timeout
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Router
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from parlour.core.events import Answer, Message, Sender
from parlour.core.filter import FilterRules, Limit
from parlour.core.gate import Gate
from parlour.core.house import House
from parlour.core.keys import Keyring
from parlour.core.names import NameRules
from parlour.core.policy import Policy
from parlour.core.records import Report, Retention
from parlour.desk import Actor, Classifier, Desk, Hooks
from parlour.engine import Answered, Engine
from parlour.engine.memory import MemoryEngine
from parlour.errors import Refusal
from parlour.hub import Hub
from parlour.identity import Issuer
from parlour.keyfile import loaded_keyring
from parlour.logs import log_failure
from parlour.notify import notify
from parlour.operators import Operators
from parlour.settings import Settings
from parlour.store import CONFIRM_SECONDS, Stats, StoreError, Unavailable
from parlour.store.sql import SqlStore
from parlour.tally import Tally
from parlour.web.history import history_routes
from parlour.web.routes import Authenticate, Check, Endpoints, Upgrade, page_routes

if TYPE_CHECKING:
    from parlour.web.admin import Office, OnHub

logger = logging.getLogger("parlour")


DATABASE: Final = "parlour.db"
"""The database's file in the data folder."""

HOST: Final = Actor("host", "admin")

_RULES: Final = FilterRules(openings=Limit(5, 600.0, "refuse"))
"""Until an operator sets others: who begins five booths in ten minutes with the same words is a spammer."""

_OPEN_ATTEMPTS: Final = 5
_FORGET_SECONDS: Final = 6 * 3600.0

_T = TypeVar("_T")


class _Running:
    """What serves, in one loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keyring: Keyring,
        hub: Hub,
        engine: MemoryEngine,
        desk: Desk,
        store: SqlStore | None,
        operators: Operators | None,
    ) -> None:
        self.loop = loop
        self.keyring = keyring
        self.hub = hub
        self.engine = engine
        self.desk = desk
        self.operators = operators
        self.store = store
        self.is_stopping = asyncio.Event()
        self.ready = asyncio.Event()  # the store is open, or is known not to be usable
        self.trouble: str | None = None  # why it is not
        self.opening: asyncio.Task[None] | None = None

    def live(self) -> Mapping[str, object]:
        """How many are here, for operators."""
        hub, tally = self.hub, self.hub.tally
        booths, waiting = hub.engine.counts()
        rooms = [{"name": name, "people": hub.members(name)} for name in self.engine.public]
        return {
            "people": len(hub),
            "rooms": rooms,
            "booths": booths,
            "waiting": waiting,
            "messages": tally.messages,
            "deliveries": tally.deliveries,
        }

    def begin(self, retention: Retention) -> None:
        """Open the store, and forget from time to time what is too old. Called in the loop."""
        self.opening = self.loop.create_task(self._keep_open(retention))

    async def _keep_open(self, retention: Retention) -> None:
        try:
            await self._open()
        except Exception as error:
            self.trouble = str(error) if isinstance(error, StoreError) else "it failed; the log says how"
            if not isinstance(error, StoreError):
                log_failure("opening the database", secrets.token_hex(8), error)
            logger.error("the database can't be used: %s. Until the next start nothing is kept", self.trouble)
            self.engine.go_without_store()
            self.desk.go_without_store()
            self.operators = None
            return
        finally:
            self.ready.set()
        while True:
            try:
                await self.desk.forget(retention)
            except StoreError as error:
                logger.warning("what is too old could not be deleted now: %s", error)
            except Exception as error:
                log_failure("deleting what is too old", secrets.token_hex(8), error)
            with suppress(TimeoutError):
                async with asyncio.timeout(_FORGET_SECONDS):
                    await self.is_stopping.wait()
                    return

    async def _open(self) -> None:
        for attempt in range(1, _OPEN_ATTEMPTS + 1):
            try:
                await self.engine.open()  # what it has done already it does not do again
                await self.desk.open()
                return
            except Unavailable:  # it waited for it
                if attempt == _OPEN_ATTEMPTS:
                    raise


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
        classify: Classifier | None = None,
        classify_fails: Literal["pass", "hold"] = "pass",
        on_message: Callable[[Message], object] | None = None,
        on_join: Callable[[Sender, str], object] | None = None,
        on_report: Callable[[Report], object] | None = None,
    ) -> None:
        """`authenticate(connection)` says who opens a connection: a `Person`, a `Guest()`, or None to refuse it.

        `takeover=False` leaves connections to the ASGI server, so that middleware and `yield` dependencies live as long
        as they do; it costs most of the speed.

        `classify(question)` gives an `Opinion` on each text before it is said, within two seconds; where it fails, the
        text passes, or is held for a moderator if `classify_fails` says "hold". The `on_...` hooks are told what
        happened in public rooms; they delay nobody. Raises `SettingsError`.
        """
        self.settings = settings or Settings()
        self._running: _Running | None = None
        self._server: object | None = None  # from which connections are taken over
        self._served_on: asyncio.AbstractEventLoop | None = None  # the loop of a lifespan that is on
        self._has_login = authenticate is not None
        self._deciding = Lock()
        self._folder_lock: FileLock | None = None
        self._tally = Tally()
        self._classify, self._classify_fails = classify, classify_fails
        self._hooks = Hooks(on_message, on_join, on_report)
        self._gate = _gate(self.settings)
        self._issuer = Issuer.of(self.settings)
        self._parts: dict[str, Check] = {"hub": self._hub_problem}
        if self.settings.data is not None or self.settings.database is not None:
            self._parts["store"] = self._store_problem
        endpoints = Endpoints(
            self.settings,
            self._tally,
            home=self,
            found=_finder(),
            takeover=takeover and self.settings.transport == "auto",
            authenticate=authenticate,
        )
        self._door = endpoints.door
        self._identify = endpoints.identify
        self.public_chat = endpoints.public_chat
        self.private_chat = endpoints.private_chat
        self.chat = endpoints.chat
        self.room_chat = endpoints.room_chat
        self.router = APIRouter(lifespan=self.lifespan)
        self._add_chat_to(self.router)
        self._site = Router(self._page_routes(), lifespan=self.lifespan)
        self._site.add_websocket_route("/chat/public", self.public_chat)
        self._site.add_websocket_route("/chat/private", self.private_chat)
        self._site.add_websocket_route("/chat", self.chat)
        self._site.add_websocket_route("/chat/rooms/{name}", self.room_chat)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The chat and its page as an ASGI app, to be mounted."""
        await self._site(scope, receive, send)

    @property
    def hub(self) -> Hub | None:
        """The live connections; None until there is need of them."""
        return None if self._running is None else self._running.hub

    async def send(self, room: str, text: str, *, name: str) -> str:
        """Say something in a public room, as the host app, under a name; gives the message's id.

        Raises `parlour.desk.NotFound` for a room that there is not, `ValueError` for a text or name that can't be said.
        """
        return await self._at_office(lambda office: office.desk.send(HOST, room=room, text=text, name=name))

    async def kick(self, user: str, *, reason: str = "") -> int:
        """End the connections of a user of the host app, given by its own id, and say how many there were."""

        async def kick(running: _Running) -> int:
            await running.ready.wait()
            return await running.desk.kick(HOST, person=running.keyring.person_id(user), reason=reason)

        return await self.on_hub(kick)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Not needed, but where it runs, all connections are known to be on one loop, are told when it stops, and what
        was said is stored before."""
        self._served_on = asyncio.get_running_loop()
        running = self._run(None)
        if running.loop is self._served_on:
            await running.ready.wait()  # nobody comes before the rooms are there
        try:
            yield
        finally:
            await self.stop()
            self._served_on = None
            if self._running is not None and self._running.loop is asyncio.get_running_loop():
                self._running = None

    async def stop(self) -> int:
        """Close all connections, then write what waits to be stored; gives the number of messages that could not be.
        Does nothing where the chat does not live on the running loop."""
        running = self._running
        if running is None or running.loop is not asyncio.get_running_loop():
            return 0
        running.hub.drain()
        await running.desk.close()
        running.is_stopping.set()
        if running.opening is not None:
            await asyncio.wait([running.opening], timeout=CONFIRM_SECONDS)
            running.opening.cancel()
        await running.engine.close()
        return 0 if running.store is None else await running.store.close()

    async def on_hub(self, work: Callable[["_Running"], Awaitable[_T]]) -> _T:
        """Do the work in the loop of the hub, which is made if there is none."""
        running = self._running  # one that stops is still the one
        if running is None or running.loop.is_closed():
            # A server's loop is the main thread's; Starlette's TestClient runs its own in others.
            running = self._run(None, is_lasting=current_thread() is main_thread())
        if running.loop is asyncio.get_running_loop():
            return await work(running)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_awaited(work, running), running.loop))

    async def first_link(self) -> str | None:
        """A ticket by which somebody becomes the first operator, once; None if there is one, or nothing is kept."""

        async def make(office: "Office") -> str | None:
            operators = office.operators
            return None if operators is None or await operators.has_any() else await operators.first_link()

        return await self._at_office(make)

    async def _at_office(self, work: "Callable[[Office], Awaitable[_T]]", /) -> _T:
        """Do the work in the loop of the hub, once the store is open."""

        async def at(running: _Running) -> _T:
            await running.ready.wait()
            return await work(running)

        return await self.on_hub(at)

    async def _ask(self, question: Callable[[Engine, Answered], None]) -> Answer | Refusal:
        async def ask(running: _Running) -> Answer | Refusal:
            future: asyncio.Future[Answer | Refusal] = running.loop.create_future()

            def done(answer: Answer | Refusal, re: int | None) -> None:
                if not future.done():  # who asked may have gone
                    future.set_result(answer)

            question(running.hub.engine, done)
            return await future

        return await self.on_hub(ask)

    def _install(self, app: FastAPI) -> None:
        """Make `app` this chat's own: the endpoints, the page, health and metrics at its root."""
        self._add_chat_to(app.router)
        app.router.routes.extend(self._page_routes())

    def _page_routes(self) -> list[BaseRoute]:
        pages = page_routes(self.settings, lambda: self.hub, has_login=self._has_login, parts=self._parts)
        pages += history_routes(self._ask, door=self._door, identify=self._identify)
        pages.append(Mount("/admin", _Admin(self.settings, self._at_office)))
        if not self.settings.metrics:
            return pages
        from parlour.web.metrics import metrics_route, store_metrics  # a library that others need not wait for

        route = metrics_route(
            self.settings, self._tally, hub=lambda: self.hub, peer=self._door.peer, more=[store_metrics(self._stats)]
        )
        return [route, *pages]

    def _hub_problem(self) -> str | None:
        return "the server stops" if self.hub is not None and self.hub.draining else None

    def _store_problem(self) -> str | None:
        running = self._running
        if running is None or running.store is None:
            return None
        if not running.ready.is_set():
            return "the database is being opened"
        return running.trouble or running.store.stats().trouble

    def _stats(self) -> Stats | None:
        return None if self._running is None or self._running.store is None else self._running.store.stats()

    def _add_chat_to(self, router: APIRouter) -> None:
        router.add_api_websocket_route("/chat/public", self.public_chat, name="public_chat")
        router.add_api_websocket_route("/chat/private", self.private_chat, name="private_chat")
        router.add_api_websocket_route("/chat", self.chat, name="chat")
        router.add_api_websocket_route("/chat/rooms/{name}", self.room_chat, name="room_chat")

    def is_stopping(self, server: object | None) -> bool:
        """See `Home.is_stopping`."""
        return self.hub is not None and self.hub.draining and server is self._server

    def hub_for(self, server: object | None) -> tuple[Hub, asyncio.AbstractEventLoop]:
        """See `Home.hub_for`. The first connection decides on the loop: its own, if that will outlive it.

        That is so where the connection can be taken over from a server, or where a lifespan runs on the same loop. Else
        the hub gets a loop and a thread of its own: Starlette's TestClient runs each socket in a loop that ends with
        it.
        """
        running = self._run(server)
        return running.hub, running.loop

    @property
    def is_open(self) -> bool:
        """See `Home.is_open`."""
        return self._running is not None and self._running.ready.is_set()

    async def opened(self) -> None:
        """See `Home.opened`."""

        async def wait(running: _Running) -> None:
            await running.ready.wait()

        await self.on_hub(wait)

    def _run(self, server: object | None, *, is_lasting: bool = False) -> "_Running":
        with self._deciding:
            if self._running is None or self._running.loop.is_closed() or self._has_stopped(server):
                here = asyncio.get_running_loop()
                is_lasting = is_lasting or server is not None or here is self._served_on
                self._server = server
                self._running = self._started(here if is_lasting else _own_loop())
            elif self._server is None:
                self._server = server
            return self._running

    def _has_stopped(self, server: object | None) -> bool:
        """Whether the hub was drained for a server that stopped, and `server` is another one."""
        return self.hub is not None and self.hub.draining and server is not self._server

    def _started(self, loop: asyncio.AbstractEventLoop) -> "_Running":
        settings = self.settings
        self._claim_folder()
        ids = random.Random(secrets.randbits(128))  # noqa: S311 - ids need to be distinct, not secret

        def new_id() -> str:
            return f"{ids.getrandbits(64):016x}"

        keyring = loaded_keyring(settings.data)
        store = self._new_store()
        policy = Policy(gate=self._gate, rules=_RULES, classifies=self._classify is not None)

        def engine(hub: Hub) -> MemoryEngine:
            # The system's randomness decides who meets whom: nobody can foresee it.
            return MemoryEngine(
                hub,
                scheduler=loop,
                keyring=keyring,
                choose=secrets.randbelow,
                new_id=new_id,
                utc_ms=_utc_ms,
                store=store,
            )

        def desk(hub: Hub) -> Desk:
            return Desk(
                store=store,
                engine=hub.engine,
                policy=policy,
                floor=hub,
                keyring=keyring,
                scheduler=loop,
                utc_ms=_utc_ms,
                new_id=new_id,
                rules=_RULES,
                verifier=None if self._issuer is None else self._issuer.verify,
                classify=self._classify,
                fail_mode=self._classify_fails,
                hooks=self._hooks,
                notify=None if settings.notify is None else partial(_notify, settings),
            )

        house = House(
            NameRules(settings.reserved_names),
            keyring,
            new_id,
            _utc_ms,
            has_booths=settings.booths,
            welcome=settings.welcome,
            policy=policy,
            has_tokens=self._issuer is not None,
        )
        hub = Hub(loop, engine, house, self._tally, desk)
        operators = None if store is None else Operators(store, keyring, utc_ms=_utc_ms)
        running = _Running(loop, keyring, hub, cast(MemoryEngine, hub.engine), cast(Desk, hub.desk), store, operators)
        if settings.metrics:
            from parlour.web.metrics import watch_lag

            loop.call_soon_threadsafe(watch_lag, loop, self._tally, lambda: hub.draining)
        if store is None:
            running.ready.set()
        else:
            loop.call_soon_threadsafe(running.begin, self._retention())
        return running

    def _new_store(self) -> SqlStore | None:
        """None where nothing can be kept, or where another process keeps it."""
        settings = self.settings
        if settings.database is None and self._folder_lock is None:
            return None
        if settings.data is not None and self._folder_lock is None and settings.database is not None:
            logger.warning("this process does not use the database: another one writes it")
            return None
        return new_store(settings)

    def _retention(self) -> Retention:
        settings = self.settings
        days = (settings.keep_messages_days, settings.keep_reports_days, settings.keep_addresses_days)
        return Retention(*(None if kept == inf else int(kept) for kept in days))

    def _claim_folder(self) -> None:
        """Two processes with rooms in memory are two public rooms: worth a loud word, as `uvicorn --workers 2` does
        it."""
        folder = self.settings.data
        if folder is None or self._folder_lock is not None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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


async def _awaited(work: Callable[[_Running], Awaitable[_T]], running: _Running) -> _T:
    return await work(running)


async def _notify(settings: Settings, ref: str) -> None:
    if settings.notify is not None:
        await notify(settings.notify, f"{settings.url or ''}/admin")


def new_store(settings: Settings) -> SqlStore:
    """The store that the settings name: a database, or a file in the data folder. Raises `StoreError`."""
    given = settings.database
    database = (settings.data or Path()) / DATABASE if given is None else given if "://" in given else Path(given)
    return SqlStore(database, utc_ms=_utc_ms)


def _gate(settings: Settings) -> Gate | None:
    return None if settings.terms is None else Gate(settings.terms, settings.terms_url, settings.age_bands)


@cache
def _own_loop() -> asyncio.AbstractEventLoop:
    """One for the process: it never ends."""
    loop = asyncio.new_event_loop()
    Thread(target=loop.run_forever, name="parlour", daemon=True).start()
    return loop


class _Admin:
    """The operators' API, made when the first one comes: nobody else need wait for its forms."""

    def __init__(self, settings: Settings, on_hub: "OnHub") -> None:
        self._settings = settings
        self._on_hub = on_hub
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            from parlour.web.admin import admin_app

            self._app = admin_app(self._settings, on_hub=self._on_hub)
        await self._app(scope, receive, send)


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
        is_endpoint = scope["type"] == "websocket" and (path in self._STRIPPED or path.startswith("/chat/rooms/"))
        return not is_endpoint and f"{path}/".startswith(f"{self._prefix}/")
