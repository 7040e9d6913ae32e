"""What was said in public rooms, for whoever has no WebSocket: the search, and one message by its id.

The answers are those of the same commands on v1.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from parlour.core.commands import ID_LIMIT, PAGE_LIMIT, SEARCH_LIMIT
from parlour.core.events import Answer, Guest, Person, Search
from parlour.core.moderation import Budgets
from parlour.engine import Answered, Engine
from parlour.errors import Refusal
from parlour.web.door import Denial, Door
from parlour.wire import V1

ASKS_RATE: Final = 2.0
ASKS_BURST: Final = 20
"""Requests a second from one address, and at once: each looks through the whole history."""

_STATUS: Final = {"bad_field": 400, "not_found": 404, "rate_limited": 429, "unavailable": 503}

Identify = Callable[[HTTPConnection], Awaitable[Person | Guest | Denial]]
Ask = Callable[[Callable[[Engine, Answered], None]], Awaitable[Answer | Refusal]]
"""Asks the engine something, in its own loop."""


def history_routes(ask: Ask, *, door: Door, identify: Identify) -> list[BaseRoute]:
    """`identify` says who asks: where the host app lets only its users chat, nobody else may read."""
    wire = V1()
    budgets = Budgets(ASKS_RATE, ASKS_BURST)

    async def search(request: Request) -> Response:
        query = request.query_params
        request.scope["query_string"] = b""  # the server logs it when it answers
        text, room, limit = query.get("text", ""), query.get("room"), _number(query.get("limit", "50"))
        if not text.strip() or len(text) > SEARCH_LIMIT:
            return _told(Refusal("bad_field", f'"text" must have 1 to {SEARCH_LIMIT} characters', field="text"))
        if room is not None and len(room) > ID_LIMIT:
            return _told(Refusal("not_found", "there is no such room", field="room"))
        if limit is None or not 1 <= limit <= PAGE_LIMIT:
            return _told(Refusal("bad_field", f'"limit" must be a number from 1 to {PAGE_LIMIT}', field="limit"))
        return await answer(request, lambda engine, done: engine.search(Search(text, room, limit), done))

    async def message(request: Request) -> Response:
        mid = request.path_params["mid"]
        if len(mid) > ID_LIMIT:
            return _told(Refusal("not_found", "there is no such message", field="mid"))
        return await answer(request, lambda engine, done: engine.message(mid, done))

    async def answer(request: Request, question: Callable[[Engine, Answered], None]) -> Response:
        peer = door.peer(request.client.host if request.client is not None else None, request.headers)
        if not peer.is_local and not budgets.take(peer.address, time.monotonic()):
            return _told(Refusal("rate_limited", "too many requests from your address; wait a few seconds", retry=True))
        who = await identify(request)
        if isinstance(who, Denial):
            return _told(Refusal("unauthorized", who.words), who.status)
        found = await ask(question)
        if isinstance(found, Refusal):
            return _told(found)
        return Response(wire.reply(found, None), media_type="application/json", headers=_HEADERS)

    return [Route("/search", search), Route("/messages/{mid}", message)]


_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def _told(refusal: Refusal, status: int | None = None) -> Response:
    error = {"code": refusal.code, "message": refusal.message, "field": refusal.field}
    body = {"error": {name: value for name, value in error.items() if value is not None}}
    return JSONResponse(body, status or _STATUS[refusal.code], headers=_HEADERS)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
