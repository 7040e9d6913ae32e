"""The operators' HTTP API, and the page that uses it.

`NEEDS` says what each route asks of who calls it; one dependency, `_admit`, holds everybody to it. What a handler does
is done by the desk and by the operators, in the hub's loop, which may be another one than that of the request.
"""

import json
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parlour.core.evidence import Evidence
from parlour.core.filter import FilterRules, Limit
from parlour.core.penalties import ACTIONS, Action, may
from parlour.core.records import AuditEntry, Report
from parlour.desk import Actor, Conflict, Desk, NotAllowed, NotFound, Wrong
from parlour.errors import ParlourError
from parlour.logs import log_failure
from parlour.operators import SESSION_SECONDS, Asker, NotSignedIn, Operators, SignedIn, TooMany
from parlour.settings import Settings
from parlour.store import StoreError, Unavailable
from parlour.web.door import Door
from parlour.web.shapes import (
    NUMBER_LIMIT,
    AtMost,
    Ban,
    Bans,
    Checked,
    Decision,
    Entries,
    Entry,
    ErrorAnswer,
    First,
    Kick,
    Kicked,
    Live,
    MadeToken,
    Me,
    Mute,
    Mutes,
    NewBan,
    NewMessage,
    NewMute,
    NewOperator,
    NewRoom,
    NewToken,
    Number,
    Often,
    Operator,
    OperatorChange,
    OperatorList,
    PathId,
    Proof,
    Proved,
    Reports,
    ReportShort,
    ReportWhole,
    Room,
    RoomChange,
    RoomName,
    Rooms,
    Rules,
    Said,
    SignIn,
    Token,
    Tokens,
)

BODY_LIMIT: Final = 64 * 1024
"""Bytes in a request's body."""

COOKIE: Final = "__Host-parlour"

_STATIC: Final = Path(__file__).parent / "static"

_T = TypeVar("_T")


class Office(Protocol):
    """What the handlers work with, all of it in the hub's loop."""

    @property
    def desk(self) -> Desk: ...

    @property
    def operators(self) -> Operators | None:
        """None where nothing is kept: then there is no API."""
        ...

    def live(self) -> Mapping[str, object]:
        """The fields of `Live`."""
        ...


class OnHub(Protocol):
    """Does the work in the hub's loop, once the store is open; makes the hub if there is none."""

    async def __call__(self, work: Callable[[Office], Awaitable[_T]], /) -> _T: ...


# Who may do what


class Needs(NamedTuple):
    """What a route asks for: of an operator, and of the command line, a role that may do the `action`; of a token, one
    of the `scopes`, or `admin`."""

    action: Action
    scopes: frozenset[str]


def _needs(action: Action, scopes: str) -> Needs:
    return Needs(action, frozenset(scopes.split()))


NEEDS: Final[Mapping[str, Needs | None]] = {
    "POST /api/first": None,
    "POST /api/sign-in": None,
    "POST /api/sign-out": _needs("mod.reports", ""),
    "GET /api/me": _needs("mod.reports", "read send kick moderate rooms"),
    "GET /api/live": _needs("mod.reports", "read"),
    "GET /api/rooms": _needs("mod.reports", "read rooms"),
    "POST /api/rooms": _needs("mod.lock", "rooms"),
    "PATCH /api/rooms/{name}": _needs("mod.lock", "rooms"),
    "POST /api/rooms/{name}/messages": _needs("mod.reports", "send"),
    "DELETE /api/rooms/{name}/messages/{mid}": _needs("mod.delete", "moderate"),
    "GET /api/reports": _needs("mod.reports", "moderate"),
    "GET /api/reports/{ref}": _needs("mod.reports", "moderate"),
    "POST /api/reports/{ref}/decision": _needs("mod.reports", "moderate"),
    "GET /api/bans": _needs("mod.ban", "moderate"),
    "POST /api/bans": _needs("mod.ban", "moderate"),
    "DELETE /api/bans/{id}": _needs("mod.unban", "moderate"),
    "GET /api/mutes": _needs("mod.mute", "moderate"),
    "POST /api/mutes": _needs("mod.mute", "moderate"),
    "DELETE /api/mutes/{id}": _needs("mod.mute", "moderate"),
    "POST /api/kicks": _needs("mod.kick", "kick moderate"),
    "GET /api/filter": _needs("mod.held", "moderate"),
    "PUT /api/filter": _needs("admin.rules", ""),
    "GET /api/audit": _needs("admin.audit", ""),
    "GET /api/audit/check": _needs("admin.audit", ""),
    "POST /api/audit/{n}/undo": _needs("mod.unban", "moderate"),
    "GET /api/operators": _needs("admin.roles", ""),
    "POST /api/operators": _needs("admin.roles", ""),
    "PATCH /api/operators/{id}": _needs("admin.roles", ""),
    "GET /api/tokens": _needs("admin.roles", ""),
    "POST /api/tokens": _needs("admin.roles", ""),
    "DELETE /api/tokens/{id}": _needs("admin.roles", ""),
}
"""By method and path; None lets everybody in."""


class _Call:
    """A request that was let in."""

    def __init__(self, on_hub: OnHub, door: Door, asker: Asker | None) -> None:
        self._on_hub = on_hub
        self._asker = asker
        self.door = door

    @property
    def asker(self) -> Asker:
        if self._asker is None:
            raise NotSignedIn("NEEDS lets everybody in here")
        return self._asker

    @property
    def by(self) -> Actor:
        return self.asker.actor

    async def office(self, work: Callable[[Office], Awaitable[_T]]) -> _T:
        return await self._on_hub(work)

    async def desk(self, work: Callable[[Desk], Awaitable[_T]]) -> _T:
        return await self._on_hub(lambda office: work(office.desk))

    async def operators(self, work: Callable[[Operators], Awaitable[_T]]) -> _T:
        return await self._on_hub(lambda office: work(_kept(office)))


def _kept(office: Office) -> Operators:
    if office.operators is None:
        raise Unavailable("this server keeps nothing, so nobody can look after it; give it a data folder with --data")
    return office.operators


_cookie = APIKeyCookie(
    name=COOKIE,
    scheme_name="session",
    auto_error=False,
    description="Made by `sign-in`. What changes something also needs the header `X-CSRF`, with the `csrf` of `me`.",
)
_bearer = HTTPBearer(
    scheme_name="token",
    auto_error=False,
    description="An API token, `ptk_...`. Its scopes say what it may ask for; `admin` is all of them.",
)


async def _admit(
    request: Request,
    ticket: Annotated[str | None, Depends(_cookie)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> _Call:
    """Let in who may call this route; raises `NotSignedIn` and `NotAllowed`. A request with a bearer is no browser's
    own doing, so that its cookie does not count."""
    on_hub, door = request.app.state.on_hub, request.app.state.door
    needs = NEEDS[_route_key(request.method, request.scope["route"].path_format)]

    async def asker(office: Office) -> Asker | None:
        operators = _kept(office)
        if needs is None:
            return None
        if "authorization" in request.headers:
            return await operators.bearer("" if bearer is None else bearer.credentials)
        return await operators.session(ticket or "")

    found: Asker | None = await on_hub(asker)
    if found is not None and needs is not None:
        _check(found, needs, request)
    return _Call(on_hub, door, found)


def _check(asker: Asker, needs: Needs, request: Request) -> None:
    if asker.csrf is not None and request.method not in {"GET", "HEAD"}:
        given = request.headers.get("x-csrf", "")
        if not secrets.compare_digest(given.encode(), asker.csrf.encode()):
            raise NotAllowed('send the header X-CSRF, with the "csrf" that "me" gives')
    if asker.scopes is None:
        if not may(asker.actor.role, needs.action):
            raise NotAllowed("your role may not do this")
    elif needs.scopes.isdisjoint(asker.scopes) and "admin" not in asker.scopes:
        wanted = " or ".join(sorted({*needs.scopes, "admin"}))
        raise NotAllowed(f"the token needs the scope {wanted}")


Call = Annotated[_Call, Depends(_admit)]


def _route_key(method: str, path: str) -> str:
    return f"{method} {path}"


# The routes

_FAILURES: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorAnswer, "description": "Refused; the words say why, and what to change."},
    400: {"model": ErrorAnswer, "description": "A field is missing, or not allowed as it is."},
    401: {"model": ErrorAnswer, "description": "Nobody is signed in, or the token is no good."},
    403: {"model": ErrorAnswer, "description": "Who asks may not do this, or asks from another site."},
    503: {"model": ErrorAnswer, "description": "The database can't be used now, or nothing is kept here."},
}

_routes = APIRouter(prefix="/api", dependencies=[Depends(_admit)], responses=_FAILURES)


@_routes.post("/first", status_code=201, tags=["session"])
async def first(call: Call, body: First, response: Response) -> Me:
    """Make the first admin by the one-time link, and sign in."""
    password = body.password.get_secret_value()
    return _welcome(response, await call.operators(lambda all: all.first(body.ticket, body.name, password)))


@_routes.post("/sign-in", tags=["session"], responses={429: {"model": ErrorAnswer, "description": "Wait a while."}})
async def sign_in(call: Call, body: SignIn, request: Request, response: Response) -> Me:
    """Sign in with name and password; the cookie is good for 12 hours."""
    peer = call.door.peer(request.client.host if request.client is not None else None, request.headers)
    password = body.password.get_secret_value()
    return _welcome(response, await call.operators(lambda all: all.sign_in(body.name, password, peer.address)))


@_routes.post("/sign-out", status_code=204, tags=["session"])
async def sign_out(call: Call, request: Request, response: Response) -> None:
    """End the session."""

    async def end(operators: Operators) -> None:
        operators.sign_out(request.cookies.get(COOKIE, ""))

    await call.operators(end)
    _set_cookie(response, "", 0)


@_routes.get("/me", tags=["session"])
async def me(call: Call) -> Me:
    """Who asks, and what to send in the header X-CSRF."""
    return _me(call.asker)


@_routes.get("/live", tags=["rooms"])
async def live(call: Call) -> Live:
    """How many are here, and what they do."""

    async def count(office: Office) -> Mapping[str, object]:
        return office.live()

    return Live.model_validate(await call.office(count))


@_routes.get("/rooms", tags=["rooms"])
async def rooms(call: Call) -> Rooms:
    """List the public rooms."""
    return Rooms(rooms=[Room.model_validate(room) for room in await call.desk(lambda desk: desk.rooms())])


@_routes.post("/rooms", status_code=201, tags=["rooms"])
async def make_room(call: Call, body: NewRoom) -> Room:
    """Open a public room."""
    made = await call.desk(lambda desk: desk.make_room(call.by, name=body.name, title=body.title))
    return Room.model_validate(made)


@_routes.patch("/rooms/{name}", tags=["rooms"])
async def change_room(call: Call, name: RoomName, body: RoomChange) -> Room:
    """Change a room's title, lock it, make it slow, or close it for good."""
    changes = body.model_dump()
    return Room.model_validate(await call.desk(lambda desk: desk.change_room(call.by, name, **changes)))


@_routes.post("/rooms/{name}/messages", status_code=201, tags=["rooms"])
async def send(call: Call, name: RoomName, body: NewMessage) -> Said:
    """Say something in a public room."""
    return Said(mid=await call.desk(lambda desk: desk.send(call.by, room=name, text=body.text, name=body.name)))


@_routes.delete("/rooms/{name}/messages/{mid}", status_code=204, tags=["rooms"])
async def delete_message(call: Call, name: RoomName, mid: PathId) -> None:
    """Delete a message of a public room."""
    await call.desk(lambda desk: desk.remove(call.by, room=name, mid=mid))


@_routes.get("/reports", tags=["reports"])
async def reports(
    call: Call,
    state: Annotated[Literal["open", "decided"] | None, Query(description="Only those.")] = None,
    limit: AtMost = 100,
) -> Reports:
    """List the reports."""
    found = await call.desk(lambda desk: desk.reports(state, limit))
    return Reports(reports=[ReportShort.model_validate(report) for report in found])


@_routes.get("/reports/{ref}", tags=["reports"])
async def report(call: Call, ref: PathId) -> ReportWhole:
    """A report with its evidence, and what that proves."""
    return _whole_report(*await call.desk(lambda desk: desk.report(ref)))


@_routes.post("/reports/{ref}/decision", tags=["reports"])
async def decide(call: Call, ref: PathId, body: Decision) -> ReportShort:
    """Decide an open report, and do it."""
    decided = await call.desk(
        lambda desk: desk.decide(call.by, ref, decision=body.decision, reason=body.reason, seconds=body.seconds)
    )
    return ReportShort.model_validate(decided)


@_routes.get("/bans", tags=["people"])
async def bans(call: Call) -> Bans:
    """List the bans that hold."""
    return Bans(bans=[Ban.model_validate(ban) for ban in await call.desk(lambda desk: desk.bans())])


@_routes.post("/bans", status_code=201, tags=["people"])
async def ban(call: Call, body: NewBan) -> Bans:
    """Ban a person with their addresses, or an address."""
    person, address = body.person, body.address
    if (person is None) is (address is None):
        raise Wrong('give either "person" or "address"', "person")

    async def work(desk: Desk) -> Sequence[object]:
        if person is not None:
            return await desk.ban(call.by, person=person, reason=body.reason, seconds=body.seconds)
        return [await desk.ban_address(call.by, address=address or "", reason=body.reason, seconds=body.seconds)]

    return Bans(bans=[Ban.model_validate(made) for made in await call.desk(work)])


@_routes.delete("/bans/{id}", status_code=204, tags=["people"])
async def unban(call: Call, id: PathId) -> None:
    """Lift a ban, with those of the addresses that were banned with it."""
    await call.desk(lambda desk: desk.unban(call.by, id=id))


@_routes.get("/mutes", tags=["people"])
async def mutes(call: Call) -> Mutes:
    """List the mutes that hold."""
    return Mutes(mutes=[Mute.model_validate(mute) for mute in await call.desk(lambda desk: desk.mutes())])


@_routes.post("/mutes", status_code=201, tags=["people"])
async def mute(call: Call, body: NewMute) -> Mute:
    """Let a person read but not speak."""
    made = await call.desk(
        lambda desk: desk.mute(call.by, person=body.person, room=body.room, reason=body.reason, seconds=body.seconds)
    )
    return Mute.model_validate(made)


@_routes.delete("/mutes/{id}", status_code=204, tags=["people"])
async def unmute(call: Call, id: PathId) -> None:
    """Lift a mute."""
    await call.desk(lambda desk: desk.unmute(call.by, id=id))


@_routes.post("/kicks", tags=["people"])
async def kick(call: Call, body: Kick) -> Kicked:
    """End a person's connections."""
    return Kicked(count=await call.desk(lambda desk: desk.kick(call.by, person=body.person, reason=body.reason)))


@_routes.get("/filter", tags=["filter"])
async def filter_rules(call: Call) -> Rules:
    """The filter's rules."""
    return _told_rules(await call.desk(lambda desk: desk.filter_rules()))


@_routes.put("/filter", tags=["filter"])
async def set_filter_rules(call: Call, body: Rules) -> Rules:
    """Set all of the filter's rules."""
    rules = _asked_rules(body)
    await call.desk(lambda desk: desk.set_filter_rules(call.by, rules))
    return _told_rules(rules)


@_routes.get("/audit", tags=["audit"])
async def audit(
    call: Call,
    before: Annotated[int | None, Query(ge=1, le=NUMBER_LIMIT, description="Those before this number.")] = None,
    limit: AtMost = 100,
) -> Entries:
    """List what operators and moderators did."""
    found = await call.desk(lambda desk: desk.audited(before=before, limit=limit))
    return Entries(entries=[_told_entry(entry) for entry in found])


@_routes.get("/audit/check", tags=["audit"])
async def check_audit(call: Call) -> Checked:
    """See that the audit log is as it was written."""
    broken = await call.desk(lambda desk: desk.broken_audit())
    return Checked(ok=broken is None, broken=broken)


@_routes.post("/audit/{n}/undo", status_code=204, tags=["audit"])
async def undo(call: Call, n: Number) -> None:
    """Take back what an entry did: a ban, a mute, or what was changed of a room."""
    await call.desk(lambda desk: desk.undo(call.by, n))


@_routes.get("/operators", tags=["operators"])
async def operators(call: Call) -> OperatorList:
    """List the operators."""
    found = await call.operators(lambda all: all.operators())
    return OperatorList(operators=[Operator.model_validate(operator) for operator in found])


@_routes.post("/operators", status_code=201, tags=["operators"])
async def make_operator(call: Call, body: NewOperator) -> Operator:
    """Let somebody sign in."""
    password = body.password.get_secret_value()
    made = await call.operators(
        lambda all: all.make_operator(call.by, name=body.name, password=password, role=body.role)
    )
    return Operator.model_validate(made)


@_routes.patch("/operators/{id}", tags=["operators"])
async def change_operator(call: Call, id: PathId, body: OperatorChange) -> Operator:
    """Change an operator's role or password, or whether they may sign in."""
    password = None if body.password is None else body.password.get_secret_value()
    changed = await call.operators(
        lambda all: all.change_operator(call.by, id, role=body.role, disabled=body.disabled, password=password)
    )
    return Operator.model_validate(changed)


@_routes.get("/tokens", tags=["operators"])
async def tokens(call: Call) -> Tokens:
    """List the API tokens."""
    return Tokens(tokens=[_told_token(token) for token in await call.operators(lambda all: all.tokens())])


@_routes.post("/tokens", status_code=201, tags=["operators"])
async def make_token(call: Call, body: NewToken) -> MadeToken:
    """Make a token for a program; it is shown this once."""
    made, secret = await call.operators(
        lambda all: all.make_token(call.by, name=body.name, scopes=body.scopes, seconds=body.seconds)
    )
    return MadeToken(**_told_token(made).model_dump(), token=secret)


@_routes.delete("/tokens/{id}", status_code=204, tags=["operators"])
async def revoke_token(call: Call, id: PathId) -> None:
    """Make a token worthless."""
    await call.operators(lambda all: all.revoke_token(call.by, id))


# From records to answers


def _me(asker: Asker) -> Me:
    return Me(id=asker.actor.id, name=asker.name, role=asker.actor.role, csrf=asker.csrf)


def _welcome(response: Response, signed_in: SignedIn) -> Me:
    _set_cookie(response, signed_in.ticket, SESSION_SECONDS)
    return _me(signed_in.asker)


def _set_cookie(response: Response, ticket: str, seconds: int) -> None:
    response.set_cookie(COOKIE, ticket, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict")


def _whole_report(report: Report, evidence: Evidence | None) -> ReportWhole:
    short = ReportShort.model_validate(report).model_dump()
    if evidence is None or not _agree(report, evidence):
        return ReportWhole(**short, evidence=None)
    finding = evidence.finding
    proof = Proof(
        whole=finding.is_whole,
        from_start=finding.from_start,
        held=evidence.sender is not None,
        sender=None if evidence.sender is None else evidence.sender.name,
        reasons=[] if report.reporter else [reason for reason in evidence.reason.split(", ") if reason],
        received_ms=evidence.received,
        messages=[
            Proved(
                word=proof.word,
                by=proof.by,
                mid=proof.message.mid,
                ts=proof.message.ts,
                text=proof.message.text,
            )
            for proof in finding.proofs
        ],
    )
    return ReportWhole(**short, evidence=proof)


def _agree(report: Report, evidence: Evidence) -> bool:
    """Whether what stands beside the seal says the same as what is sealed."""
    finding = evidence.finding
    sealed = (finding.booth, finding.reporter, finding.accused, evidence.reason, evidence.note)
    return (report.room, report.reporter, report.accused, report.reason, report.note) == sealed


def _told_entry(entry: AuditEntry) -> Entry:
    fields = {name: getattr(entry, name) for name in Entry.model_fields}
    return Entry(**{**fields, "details": json.loads(entry.details)})


def _told_token(token: Any) -> Token:
    return Token(
        **{name: getattr(token, name) for name in Token.model_fields if name != "scopes"}, scopes=list(token.scopes)
    )


_LIMITS: Final = ("repeats", "flood", "openings")


def _told_rules(rules: FilterRules) -> Rules:
    fields: dict[str, Any] = {name: getattr(rules, name) for name in Rules.model_fields}
    for name in _LIMITS:
        limit: Limit | None = fields[name]
        fields[name] = None if limit is None else Often(**limit._asdict())
    return Rules(**{**fields, "words": dict(rules.words), "hosts": sorted(rules.hosts)})


def _asked_rules(asked: Rules) -> FilterRules:
    fields: dict[str, Any] = {name: getattr(asked, name) for name in Rules.model_fields}
    for name in _LIMITS:
        often: Often | None = fields[name]
        fields[name] = None if often is None else Limit(often.times, often.seconds, often.kind)
    try:
        return FilterRules(**{**fields, "hosts": frozenset(asked.hosts)})
    except ValueError as error:
        raise Wrong(str(error), "words") from None


# When it does not work


def _failed(status: int, code: str, message: str, field: str | None = None) -> JSONResponse:
    error = {"code": code, "message": message} | ({} if field is None else {"field": field})
    return JSONResponse({"error": error}, status)


async def _say_refused(request: Request, error: Exception) -> Response:
    """What the desk and the operators raise."""
    words = str(error)
    match error:
        case NotSignedIn():
            response = _failed(401, "unauthorized", words)
            response.headers["WWW-Authenticate"] = "Bearer"
        case TooMany():
            response = _failed(429, "rate_limited", words)
            response.headers["Retry-After"] = str(math.ceil(error.retry_after))
        case NotAllowed():
            response = _failed(403, "forbidden", words)
        case NotFound():
            response = _failed(404, "not_found", words)
        case Conflict():
            response = _failed(409, "conflict", words, error.field)
        case Wrong():
            response = _failed(400, "bad_field", words, error.field)
        case StoreError():
            response = _failed(503, "unavailable", words)
        case _:
            raise error
    return response


_LONG: Final = {"string_too_long", "too_long"}


async def _say_invalid(request: Request, error: Any) -> Response:
    """What was sent does not fit the shape (`RequestValidationError`). The words hold nothing of it."""
    first = error.errors()[0]
    kind, where = first["type"], first["loc"]
    if kind == "json_invalid":
        return _failed(400, "bad_frame", "the body is not JSON")
    if kind == "extra_forbidden":
        return _failed(400, "bad_field", "a field is not known here; leave it out")
    field = where[1] if len(where) > 1 and isinstance(where[1], str) else None
    if field is None:
        return _failed(400, "bad_field", "the body must be a JSON object, of Unicode text")
    words = "is missing" if kind == "missing" else f"is not right: {first['msg']}"
    return _failed(400, "too_large" if kind in _LONG else "bad_field", f'"{field}" {words}', field)


_STATUS: Final = {404: ("not_found", "there is nothing here"), 405: ("unknown_op", "this can't be done here")}


async def _say_http(request: Request, error: Any) -> Response:
    """What Starlette and FastAPI refuse (`HTTPException`)."""
    code, words = _STATUS.get(error.status_code, ("bad_frame", "the body can't be read as JSON"))
    response = _failed(error.status_code, code, words)
    response.headers.update(error.headers or {})
    return response


# In front of all of it

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
}


class _TooLarge(Exception):  # noqa: N818 - it never leaves this module
    pass


class _Guard:
    """Refuses what comes from another site, what is too long and what is no JSON, before anything looks at it; puts the
    headers on every answer; and turns a fault of ours into an answer."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def dressed(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            headers = Headers(scope=scope)
            refused = self._refused(scope, headers)
            if refused is None and scope["method"] in {"POST", "PUT", "PATCH"}:
                body = await _read(receive, headers)
                refused = _no_json(body, headers)
                receive = _again(body, receive)
            await (self._app if refused is None else refused)(scope, receive, dressed)
        except _TooLarge:
            await _failed(413, "too_large", f"the body is longer than {BODY_LIMIT} bytes")(scope, receive, dressed)
        except Exception as error:
            incident = secrets.token_hex(8)
            log_failure("a request of the operators' API", incident, error)
            if has_begun:
                raise
            await _failed(500, "internal", f"the server failed here (id {incident})")(scope, receive, dressed)

    def _refused(self, scope: Scope, headers: Headers) -> Response | None:
        """A link from elsewhere may lead to the page, which holds nothing; all else is asked for by the page itself."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path in {"", "/"} and scope["method"] in {"GET", "HEAD"}:
            return None
        denial = self._door.check_origin(scope["scheme"], headers)
        if denial is not None or headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return _failed(403, "forbidden", "a page of another site may not ask here")
        return None


async def _read(receive: Receive, headers: Headers) -> bytes:
    """The body. Raises `_TooLarge`."""
    told = headers.get("content-length", "")
    if told.isdecimal() and (len(told) > 9 or int(told) > BODY_LIMIT):
        raise _TooLarge
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY_LIMIT:
            raise _TooLarge
        if not message.get("more_body", False):
            return bytes(body)


def _no_json(body: bytes, headers: Headers) -> Response | None:
    """A form can be sent from anywhere without asking; JSON can't."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        return _failed(415, "bad_frame", "send JSON, as Content-Type: application/json")
    return None


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read, and then whatever comes."""
    is_given = False

    async def given() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return given


class _Api(FastAPI):
    """Its document says of each route what `NEEDS` does."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        for key, needs in NEEDS.items():
            method, _, path = key.partition(" ")
            operation = document["paths"][path][method.lower()]
            if needs is None:
                operation["security"] = []
            elif "Needs" not in operation["description"]:
                scopes = ", ".join(sorted({*needs.scopes, "admin"}))
                role = ACTIONS[needs.action]
                operation["description"] += f"\n\nNeeds the role {role}, or a token with one of the scopes: {scopes}."
        return document


def admin_app(settings: Settings, *, on_hub: OnHub) -> FastAPI:
    """The API below `/api`, and the page, to be mounted at `/admin`."""
    # A page that may chat from elsewhere may not do this.
    door = Door(settings.model_copy(update={"origin": ()}), has_login=False)
    app = _Api(
        title="Parlour: the operators' API",
        version="1",
        description="Reports, bans, rooms, the filter, the audit log, operators and tokens.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            ParlourError: _say_refused,
            RequestValidationError: _say_invalid,
            HTTPException: _say_http,
        },
    )
    app.state.on_hub = on_hub
    app.state.door = door
    app.add_middleware(_Guard, door=door)
    app.include_router(_routes)
    for path, file in {"/": "admin.html", "/admin.js": "admin.js", "/admin.css": "admin.css"}.items():
        app.add_route(path, _static(_STATIC / file), include_in_schema=False)
    return app


def _static(file: Path) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return FileResponse(file)

    return answer
