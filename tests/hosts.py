"""Apps of embedders, for server processes of tests: `uvicorn tests.hosts:mounted`."""

import asyncio
import os
from pathlib import Path
from typing import Any, cast

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parlour import Guest, Parlour, Person, Settings

_data = Path(os.environ["PARLOUR_DATA"])


def _is_of_store(task: asyncio.Task[Any]) -> bool:
    """It runs as long as the server, or looks something up there."""
    file = getattr(getattr(task.get_coro(), "cr_code", None), "co_filename", "")
    return "/parlour/store/" in file or file.endswith("/parlour/app.py")


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/tasks")
    async def tasks() -> int:
        """How many tasks run, but for those of the store: a connection that was taken over needs none."""
        return sum(not _is_of_store(task) for task in asyncio.all_tasks())

    return app


def _mounted(chat: Parlour) -> FastAPI:
    app = _app()
    app.mount("/talk", chat)
    return app


def _routed(chat: Parlour) -> FastAPI:
    app = _app()
    app.include_router(chat.router, prefix="/talk")
    return app


class _Tracing:
    """Middleware that sees every message, as tracing does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def traced() -> Message:
            return await receive()

        await self._app(scope, traced, send)


class _Slow:
    """Middleware that lets the client speak before it was accepted: it waits for `wait` messages in uvicorn's queue, or
    for a part of one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            protocol = cast(Any, receive).__self__
            count = 1 + int(scope["query_string"].removeprefix(b"wait="))  # the first says that the client is there
            while protocol.queue.qsize() < count and not protocol.conn.reader.buffer:  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.001)
        await self._app(scope, receive, send)


def _by_query(connection: HTTPConnection) -> Person | Guest | None:
    """`?user=7` is a person, `?user=` somebody to refuse, `?user=fail` a bug of the host app's; else a guest."""
    user = connection.query_params.get("user")
    if user == "fail":
        raise LookupError(f"no such user: {connection.query_params['secret']}")
    if user is None:
        return Guest()
    return Person(user, f"User {user}") if user else None


_settings = Settings(data=_data, ping=3600)

mounted = _mounted(Parlour(_settings))
routed = _routed(Parlour(_settings))
left_alone = _mounted(Parlour(_settings, takeover=False))
traced = _mounted(Parlour(_settings))
traced.add_middleware(_Tracing)
identified = _mounted(Parlour(_settings, authenticate=_by_query))
slow_to_accept = _mounted(Parlour(_settings))
slow_to_accept.add_middleware(_Slow)
slow_to_accept_left_alone = _mounted(Parlour(_settings, takeover=False))
slow_to_accept_left_alone.add_middleware(_Slow)
