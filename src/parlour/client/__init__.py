"""An async client of v1, for programs and for the terminal chat. To join the public room, speak and listen:

    async with Client.connect("https://chat.example.com", name="ann") as client:
        await client.send("hello")
        async for event in client:
            if event.kind == "message":
                print(event.sender.name, event.text)

It comes back by itself when the connection is lost, takes its seats again, catches up, and says again what had no
answer. `session` has the rules for that, without I/O; `Client` brings the network to them. Foreign exceptions end here:
what can't be reached is a `ConnectError`, what was lost for good is `Disconnected`, what the server said no to is
`Refused`.
"""

import asyncio
import errno
import ipaddress
import os
import re
import secrets
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import inf
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)
from websockets.typing import Subprotocol

from parlour.client.session import (
    GRACE,
    NOT_UNDERSTOOD,
    SILENT,
    Answer,
    Event,
    NonsenseError,
    Outcome,
    Session,
    sender_of,
)
from parlour.core.events import Here, Published, Sender
from parlour.errors import VERSION, Close, ConnectError, Disconnected, Refusal, Refused, SettingsError

__all__ = ["DEFAULT_URL", "Address", "Client", "Event", "Found", "Here", "Page", "Published", "Sender"]

DEFAULT_URL: Final = "http://127.0.0.1:8000"

SUBPROTOCOL: Final = Subprotocol("parlour.v1.json")

OPEN_TIMEOUT: Final = 10.0
"""Seconds for the connection, and again for the answer to hello."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for the server's half of the closing handshake: a person waits for it after Ctrl-C."""

ATTEMPTS: Final = 20
"""Tries to connect again before giving up: about four minutes."""

RECEIVE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of one frame from the server: a page of history holds a hundred messages."""

BACKLOG: Final = 4 * 1024 * 1024
"""Characters of events that wait to be fetched. Beyond that the oldest are thrown away: a program that only speaks
needs no memory for what it never hears."""

EVENT_OVERHEAD: Final = 500
"""Characters counted for each of them beside its text."""

_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_WHOLE_PATH: Final = re.compile(r"(?P<prefix>.*)/chat(?:/(?P<room>public|private|rooms/[^/]+))?/?")
_TOO_OLD: Final = "this server speaks no v1; it is older than this client"
_CHANCE: Final = secrets.SystemRandom()
_LEFT: Final = Close(1000, "this client has left")
_NOWHERE: Final = Refusal("not_member", "you are in no room; join one, or look for a stranger", field="room")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a chat is.

    `url` is the WebSocket's, `private` says whether it leads to a booth, `lobby` is where a client of the same server
    enters that looks for nobody, and `shown` is for people: without the credentials and the query that `url` may hold.
    """

    url: str
    private: bool
    lobby: str
    shown: str

    @classmethod
    def of(cls, url: str, *, private: bool = False) -> "Address":
        """The chat that a person means by `url`: `http(s)://host[:port][/prefix]`, the same with `ws(s)`, or no scheme.

        The public room, or a booth if `private`; a URL that holds a whole `/chat` or `/chat/...` path is taken as it
        is. Raises `SettingsError` if it is no such URL.
        """
        parts = _split(url)
        scheme = _SCHEMES[parts.scheme]
        host = parts.netloc.rpartition("@")[2]
        whole = _WHOLE_PATH.fullmatch(parts.path)
        if whole is None:
            prefix, room = parts.path.rstrip("/"), "private" if private else "public"
        else:
            prefix, room = str(whole["prefix"]), whole["room"] or ("private" if private else "")
            if private and room != "private":
                raise SettingsError(f"URL {url!r}: it names another room than a booth; leave out --private or the path")
        query = f"?{parts.query}" if parts.query else ""
        lobby = f"{scheme}://{parts.netloc}{prefix}/chat"
        return cls(
            url=f"{lobby}/{room}{query}" if room else f"{lobby}{query}",
            private=room == "private",
            lobby=f"{lobby}{query}",
            shown=f"{scheme.replace('ws', 'http')}://{host}{prefix}",
        )

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine, as far as the name tells."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Page:
    """Messages of a room as they are now, oldest first; `more` says whether there are others on the side asked for.

    Their fields are those of a `message`, and `edited?`, `deleted?` and `reactions?`.
    """

    room: str
    epoch: str
    messages: Sequence[Event]
    more: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Messages that were searched for, the newest first, with the fields of those of a `Page`; `more` says whether
    there are others."""

    messages: Sequence[Event]
    more: bool


class Client:
    """A person on the server, over any number of connections; made by `Client.connect`. Iterating over it gives what
    happens: see `Event`.

    Each command waits for its answer, also through a lost connection. It raises `Refused` if the server says no,
    `Disconnected` if nobody can know what became of it, and `ValueError` if it can't be sent as it is: too large, or no
    Unicode. A room that is left out is the booth, or where there is none the room entered first.
    """

    def __init__(
        self, address: Address, session: Session, *, attempts: int, open_timeout: float, new_key: Callable[[], str]
    ) -> None:
        self.address = address
        self._session = session
        self._attempts = attempts
        self._open_timeout = open_timeout
        self._new_key = new_key
        self._connection: ClientConnection | None = None  # while it stands
        self._keeping: asyncio.Task[None] | None = None  # reads, and comes back
        self._answers: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._work = asyncio.Event()  # there may be something to send
        self._events: deque[Event] = deque()
        self._size = 0  # characters of `_events`
        self._dropped = 0
        self._news = asyncio.Event()  # there is an event, or no more will come
        self._over: Exception | None = None  # why it is over for good
        self._left = False  # it is over because this side wanted it

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str = DEFAULT_URL,
        *,
        name: str | None = None,
        insist: bool = True,
        private: bool = False,
        match: Mapping[str, Any] | None = None,
        session: str | None = None,
        token: str | None = None,
        terms: str | None = None,
        age: int | None = None,
        program: Mapping[str, str] | None = None,
        attempts: int = ATTEMPTS,
        open_timeout: float = OPEN_TIMEOUT,
        grace: float = GRACE,
        random: Callable[[], float] = _CHANCE.random,
        new_key: Callable[[], str] = lambda: secrets.token_urlsafe(16),
    ) -> AsyncIterator["Client"]:
        """Connect for as long as the context lasts, and leave at its end; a booth ends for both then.

        See `Address.of` for `url`. Without a `name` the server gives one; with `insist=False` also if it does not take
        `name`. `match` says whom to look for on a `private` address: the fields of `match.find`. `session` is the
        `Client.session` of an earlier client, to be the same person. `token` says who this is to a server that knows
        its issuer. `terms` is the version of the terms that the person accepts, and `age` is in years, where the server
        asks for that. `program` has the `name` and `version` of yours.
        After `attempts` to come back it gives up; the waits between them are random, by `random` (0 to 1).
        `open_timeout` is in seconds, and so is `grace`: how much later than announced the server's sign of life may
        come. The environment's proxy is used, but never to reach this machine itself.

        Raises `SettingsError` for a URL that can't be one, `ConnectError` if there is no chat to be had there, and
        `Refused` or `Disconnected` if the server does not want this client.
        """
        state = Session(
            name=name,
            insist=insist,
            token=session,
            passport=token,
            terms=terms,
            age=age,
            match=match,
            program=program or {"name": "parlour"},
            random=random,
            grace=grace,
        )
        address = Address.of(url, private=private)
        client = cls(address, state, attempts=attempts, open_timeout=open_timeout, new_key=new_key)
        connection = await client._open(address.url)
        client._keeping = asyncio.create_task(client._keep(connection))
        try:
            yield client
        finally:
            await client.close()

    # Who and where

    @property
    def name(self) -> str:
        """What others call this client."""
        return self._session.name or ""

    @property
    def person(self) -> Sender:
        """Who this client is, but not in booths."""
        return self._session.person

    @property
    def session(self) -> str:
        """The secret that makes another client the same person. It changes with each connection."""
        return self._session.token or ""

    @property
    def connected(self) -> bool:
        """Whether the server is there at the moment."""
        return self._session.welcomed and self._over is None

    @property
    def searching(self) -> bool:
        """Whether a search for a stranger goes on."""
        return self._session.searching

    @property
    def room(self) -> str | None:
        """Where this client talks if it names no room; None while it sits nowhere."""
        return self._session.room

    @property
    def booth(self) -> str | None:
        """The booth where it sits."""
        return None if self._session.booth is None else self._session.booth.room

    @property
    def peer(self) -> Sender | None:
        """The other one in the booth."""
        return None if self._session.booth is None else self._session.booth.peer

    @property
    def limits(self) -> Mapping[str, float]:
        """What the server said that it takes: docs/protocol.md, "Hello"."""
        return self._session.limits

    @property
    def required(self) -> Mapping[str, Any] | None:
        """What must be accepted before one meets strangers: `version` of the terms, `asks_age`, `url?`; None if nothing
        must."""
        return self._session.required

    # Commands

    async def send(
        self, text: str, *, room: str | None = None, reply_to: str | None = None, key: str | None = None
    ) -> Published:
        """Say `text`. After a lost connection it is said again under the same `key`, by which the server knows it.
        `kept` is `relayed` if it was shown but is not, or not yet, stored; the same `key` asks again."""
        room = self._room(room)
        reply = await self.request("send", room=room, key=key or self._new_key(), text=text, reply_to=reply_to)
        kept: Literal["relayed", "stored"] = "stored" if reply.get("kept") == "stored" else "relayed"
        return Published(
            room=room,
            epoch=str(reply.get("epoch")),
            off=int(reply.get("off", 0)),
            mid=str(reply.get("mid")),
            ts=int(reply.get("ts", 0)),
            dup=reply.get("dup") is True,
            kept=kept,
        )

    async def edit(self, mid: str, text: str, *, room: str | None = None) -> None:
        """Say something else in place of a message of one's own."""
        await self.request("edit", room=self._room(room), mid=mid, text=text)

    async def delete(self, mid: str, *, room: str | None = None) -> None:
        """Take back a message of one's own."""
        await self.request("delete", room=self._room(room), mid=mid)

    async def react(self, mid: str, emoji: str, *, on: bool = True, room: str | None = None) -> None:
        """Put an emoji to a message, or take it away."""
        await self.request("react", room=self._room(room), mid=mid, emoji=emoji, on=on)

    async def join(self, room: str) -> Here:
        """Take a seat in a public room."""
        return _here(room, await self.request("join", room=room))

    async def leave(self, room: str | None = None) -> None:
        """Give up a seat. A booth ends for both."""
        await self.request("leave", room=self._room(room))

    async def find(self, **wish: Any) -> None:
        """Look for a stranger: `match.found` tells when there is one. `wish` are the fields of `match.find`."""
        await self.request("match.find", **wish)

    async def next(self, **wish: Any) -> None:
        """Leave the booth, if there is one, and look for another stranger. `wish` are the fields of `match.next`."""
        await self.request("match.next", **wish)

    async def cancel(self) -> None:
        """Look no more."""
        await self.request("match.cancel")

    async def block(self, person: str, *, room: str | None = None) -> None:
        """Never meet this person in a booth again. `person` is the id from the room where it was met; for a booth,
        `room` names it."""
        await self.request("block", person=person, room=room)

    async def unblock(self, person: str, *, room: str | None = None) -> None:
        """Take a block back."""
        await self.request("unblock", person=person, room=room)

    async def report(self, room: str, reason: str, *mids: str, note: str = "", block: bool = False) -> str:
        """Tell the moderators what somebody said in a room, and with `block` never meet them again. Gives the report's
        number.

        In a booth, also after it ended, `mids` are the messages to show them; without any, all that this client still
        knows: the last 100 of each of the last 3 booths. The server finds by their stamps that it relayed them. In a
        public room they must be named, and be of one person. `reason` has at most 200 characters, `note` 1,000.
        """
        messages, prev = self._session.evidence(room, mids)
        fields = {"prev": prev or None, "note": note or None, "block": block}
        reply = await self.request("report", room=room, reason=reason, messages=messages, **fields)
        return str(reply.get("ref"))

    async def accept(self, version: str, *, age: int | None = None) -> None:
        """Accept the terms of this version, and say how old one is: see `required`."""
        await self.request("terms", version=version, age=age)

    async def search(self, text: str, *, room: str | None = None, limit: int | None = None) -> Found:
        """The newest messages of a public room, or of all, that hold every word of `text`."""
        reply = await self.request("search", text=text, room=room, limit=limit)
        return Found(_messages(reply), reply.get("more") is True)

    async def who(self, room: str | None = None) -> Here:
        """Who is in a room. `members` is empty where there are too many."""
        room = self._room(room)
        return _here(room, await self.request("presence", room=room))

    async def rename(self, name: str) -> str:
        """Go by another name. Gives it as accepted."""
        return str((await self.request("name", name=name)).get("name"))

    async def history(
        self, room: str | None = None, *, before: int | None = None, after: int | None = None, limit: int | None = None
    ) -> Page:
        """The newest `limit` messages before an offset, or the oldest after one."""
        room = self._room(room)
        reply = await self.request("history", room=room, before=before, after=after, limit=limit)
        return Page(room, str(reply.get("epoch")), _messages(reply), reply.get("more") is True)

    async def request(self, op: str, /, **fields: Any) -> Mapping[str, Any]:
        """Any command with a reply. Gives the reply; fields that are None are left out."""
        if self._over is not None:
            raise _anew(self._over)
        number = self._session.ask(op, fields)
        self._work.set()
        answer: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            return await answer
        finally:
            del self._answers[number]
            self._session.drop(number)

    def tell(self, op: str, /, **fields: Any) -> None:
        """A command without a reply, `typing` or `read`; it is lost if there is no connection at the moment."""
        self._session.tell(op, fields)
        self._work.set()

    # Events

    def __aiter__(self) -> "Client":
        return self

    async def __anext__(self) -> Event:
        """The next event. Ends after `close`.

        Raises `Disconnected` if the server ended it for good, `Refused` if it does not take this client back,
        `ConnectError` if it could not be reached any more.
        """
        while True:
            if self._dropped:
                count, self._dropped = self._dropped, 0
                return Event("client.dropped", {"ev": "client.dropped", "count": count}, local=True)
            if self._events:
                event = self._events.popleft()
                self._size -= _size(event)
                return event
            if self._left:
                raise StopAsyncIteration
            if self._over is not None:
                raise _anew(self._over)
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        """Leave the booth, stop looking for one, and say goodbye. Closing twice equals closing once."""
        if self._left:
            return
        self._left = True
        booth, connection = self._session.booth, self._connection
        self._end(Disconnected(_LEFT))
        try:
            if connection is not None:
                with suppress(ConnectionClosed, TimeoutError):
                    async with asyncio.timeout(CLOSE_TIMEOUT):
                        if booth is not None:
                            await connection.send(self._session.farewell(booth.room))
                await connection.close()
        finally:
            if self._keeping is not None:
                self._keeping.cancel()
                await asyncio.gather(self._keeping, return_exceptions=True)

    # The connections

    async def _keep(self, connection: ClientConnection) -> None:
        """Talk, and connect again, until it is over for good."""
        try:
            while True:
                close = await self._talk(connection)
                if self._left:
                    return
                connection = await self._return(close)
        except Exception as error:  # whatever it is, whoever waits must learn of it
            self._end(error)

    async def _talk(self, connection: ClientConnection) -> Close:
        """Until the connection is over. Gives why."""
        loop = asyncio.get_running_loop()
        writing = asyncio.create_task(self._write(connection))
        try:
            async with asyncio.timeout_at(self._session.deadline) as limit:
                while True:
                    self._take(self._session.receive(await _text(connection), loop.time()))
                    limit.reschedule(self._session.deadline)
        except ConnectionClosed as error:
            return _close_of(error)
        except NonsenseError:
            await connection.close(NOT_UNDERSTOOD.code)
            return NOT_UNDERSTOOD
        except TimeoutError:
            close = self._session.verdict(loop.time())
            if close == SILENT:
                connection.transport.abort()
            else:
                await connection.close(close.code)
            return close
        finally:
            self._connection = None
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, connection: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionClosed):  # the reader meets it too
            while True:
                self._work.clear()
                for frame in self._session.outgoing(loop.time()):
                    await connection.send(frame)
                wake_at = self._session.wake_at
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(None if wake_at == inf else wake_at):
                        await self._work.wait()

    async def _return(self, close: Close) -> ClientConnection:
        """Wait and connect again, as often as it takes. Raises what ended it."""
        close, again, at_least, outcomes = self._session.lost(close, asyncio.get_running_loop().time())
        self._take(outcomes)
        if not again:
            raise Disconnected(close)
        kind, fields = "client.lost", {"code": close.code, "reason": close.reason}
        for _ in range(self._attempts):
            wait = self._session.backoff.next(at_least)
            self._tell_local(kind, **fields, after_ms=round(1000 * wait))
            await asyncio.sleep(wait)
            try:
                return await self._open(self._way_back)
            except ConnectError as error:
                kind, fields = "client.retry", {"reason": error.reason}
                at_least = _retry_after(error)
            except Disconnected as error:
                if not error.close.reconnect:
                    raise
                kind, fields, at_least = "client.retry", {"reason": str(error)}, 0.0
            except Refused as error:
                if not error.refusal.retry:
                    raise
                kind, fields = "client.retry", {"reason": error.refusal.message}
                at_least = (error.refusal.retry_after_ms or 0) / 1000
        raise ConnectError(self.address.shown, str(fields["reason"]))

    @property
    def _way_back(self) -> str:
        """Who looks for nobody must not come back through a door that looks for a stranger."""
        return self.address.lobby if self.address.private and not self._session.searching else self.address.url

    async def _open(self, url: str) -> ClientConnection:
        """A connection whose hello was answered. Raises `ConnectError`, `Refused`, `Disconnected`."""
        try:
            connection = await open_socket(
                url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                proxy=None if self.address.loopback else True,
                user_agent_header="parlour",
                open_timeout=self._open_timeout,
                ping_interval=None,  # the server sends a sign of life of its own
                close_timeout=CLOSE_TIMEOUT,
                max_size=RECEIVE_LIMIT,
            )
        except (OSError, InvalidHandshake, InvalidProxy, InvalidURI, ImportError, UnicodeError) as error:
            raise ConnectError(self.address.shown, _reason(error, self._open_timeout)) from error
        try:
            if connection.subprotocol != SUBPROTOCOL:
                raise ConnectError(self.address.shown, _TOO_OLD)
            async with asyncio.timeout(self._open_timeout):
                await self._say_hello(connection, seeks=self.address.private and url == self.address.url)
        except ConnectionClosed as error:
            close = _close_of(error)
            if close.code == VERSION.code:
                raise ConnectError(self.address.shown, _TOO_OLD) from error
            raise Disconnected(close) from error
        except BaseException as error:
            await connection.close()
            if isinstance(error, NonsenseError):
                raise ConnectError(self.address.shown, "what answers there is not a Parlour server") from error
            if isinstance(error, TimeoutError):
                raise ConnectError(self.address.shown, f"no answer within {self._open_timeout:g} s") from error
            raise
        self._connection = connection
        return connection

    async def _say_hello(self, connection: ClientConnection, *, seeks: bool) -> None:
        loop = asyncio.get_running_loop()
        await connection.send(self._session.hello(loop.time(), seeks=seeks))
        while not self._session.welcomed:
            outcomes = self._session.receive(await _text(connection), loop.time())
            if self._session.refusal is not None:
                raise Refused(self._session.refusal)
            if not self._session.welcomed:
                for frame in self._session.outgoing(loop.time()):
                    await connection.send(frame)
            self._take(outcomes)

    # What comes of it

    def _take(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                self._answer(outcome)
            else:
                self._happened(outcome)
        self._work.set()  # a reply makes room for the next command

    def _answer(self, answer: Answer) -> None:
        future = self._answers.get(answer.id)
        if future is None or future.done():
            return
        if answer.refusal is not None:
            future.set_exception(Refused(answer.refusal))
        elif answer.lost is not None:
            future.set_exception(Disconnected(answer.lost))
        else:
            future.set_result(answer.fields)

    def _happened(self, event: Event) -> None:
        self._events.append(event)
        self._size += _size(event)
        while self._size > BACKLOG:
            self._size -= _size(self._events.popleft())
            self._dropped += 1
        self._news.set()

    def _tell_local(self, kind: str, **fields: Any) -> None:
        self._happened(Event(kind, {"ev": kind, **fields}, local=True))

    def _end(self, error: Exception) -> None:
        if self._over is not None:
            return
        self._over = error
        self._news.set()  # first: why it is over should be known before what that means for each command
        for future in self._answers.values():
            if not future.done():
                future.set_exception(_anew(error))

    def _room(self, room: str | None) -> str:
        room = room or self.room
        if room is None:
            raise Refused(_NOWHERE)
        return room


async def _text(connection: ClientConnection) -> str:
    data = await connection.recv()
    if not isinstance(data, str):
        raise NonsenseError
    return data


def _anew(error: Exception) -> Exception:
    """The same for another task: what is raised in two has the frames of both."""
    anew: Exception
    match error:
        case ConnectError(url=url, reason=reason):
            anew = ConnectError(url, reason)
        case Disconnected(close=close):
            anew = Disconnected(close)
        case Refused(refusal=refusal):
            anew = Refused(refusal)
        case _:
            return error
    anew.__cause__ = error.__cause__
    return anew


def _size(event: Event) -> int:
    return EVENT_OVERHEAD + len(event.text)


def _here(room: str, reply: Mapping[str, Any]) -> Here:
    members = tuple(filter(None, map(sender_of, _items(reply, "members"))))
    return Here(room, int(reply.get("count", 0)), members)


def _messages(reply: Mapping[str, Any]) -> Sequence[Event]:
    return [Event("message", fields) for fields in _items(reply, "messages") if isinstance(fields, dict)]


def _items(reply: Mapping[str, Any], name: str) -> Sequence[Any]:
    items = reply.get(name)
    return items if isinstance(items, list) else ()


def _split(url: str) -> SplitResult:
    text = url.strip()
    fix = "write http://host:port, https://host/path or host:port"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"URL {url!r}: {error}; {fix}") from error
    if parts.scheme not in _SCHEMES or not host or not text.isprintable() or " " in text:
        raise SettingsError(f"URL {url!r}: not the address of a server; {fix}")
    if parts.username is not None and parts.password is None:
        raise SettingsError(f"URL {url!r}: a user name without a password; write user:password@host, or leave it out")
    return parts


def _close_of(error: ConnectionClosed) -> Close:
    if error.rcvd is not None:
        return Close(error.rcvd.code, error.rcvd.reason)
    if error.sent is not None and not Close(error.sent.code).reconnect:
        return Close(error.sent.code, NOT_UNDERSTOOD.reason)
    return Close(1006, "the connection was lost")


def _retry_after(error: ConnectError) -> float:
    """Seconds that the server asked to wait, in whole seconds (RFC 9110 10.2.3; dates are not for us)."""
    cause = error.__cause__
    after = cause.response.headers.get("Retry-After", "") if isinstance(cause, InvalidStatus) else ""
    return float(after) if re.fullmatch("[0-9]{1,4}", after) else 0.0


def _reason(error: Exception, timeout: float) -> str:
    """Why there is no connection, in people's words. None of it is the server's own text."""
    if isinstance(error, InvalidStatus):
        return _status_reason(error.response.status_code)
    if isinstance(error, InvalidURI):  # of a redirect, for ours was checked
        return f"it redirects to another address ({_origin(error.uri)}); give that one"
    if isinstance(error, (InvalidProxy, ProxyError)):
        return "the proxy that your environment names refused, or is none; set NO_PROXY to go without"
    if isinstance(error, ImportError):
        return "your environment asks for a SOCKS proxy: install python-socks, or set NO_PROXY for this host"
    if isinstance(error, InvalidMessage):
        return "what answers there is not a Parlour server, or one that wants https://"
    if isinstance(error, InvalidHandshake):
        return "what answers there is not a Parlour server"
    if isinstance(error, UnicodeError):
        return "the host name can't be one"
    if isinstance(error, OSError):
        return _network_reason(error, timeout)
    return str(error)


def _status_reason(status: int) -> str:
    match status:
        case 401:
            return "the server wants to know who you are (401)"
        case 403:
            return "the server refused (403): your origin is not allowed there, or it has no chat at this path"
        case 404:
            return "there is no such chat (404): the path is wrong, or booths are switched off"
        case 429:
            return "the server refused (429): too many connections from your address; wait and try again"
        case 502 | 503 | 504:
            return f"the server is not ready ({status}); try again later"
        case _:
            return f"what answers there is not a Parlour server (HTTP {status})"


def _network_reason(error: OSError, timeout: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}; does this server speak https?"
    if isinstance(error, socket.gaierror):
        return "there is no host of this name, or no network"
    if isinstance(error, ConnectionRefusedError) or _all_refused(error):
        return "connection refused; is the server running?"
    if isinstance(error, ConnectionResetError):
        return "it hung up; is this a Parlour server?"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return os.strerror(error.errno) if error.errno else str(error)


def _all_refused(error: OSError) -> bool:
    """A name with several addresses: asyncio joins the errors of all into one text (`loop.create_connection`)."""
    text = str(error)
    refused = text.count(f"[Errno {errno.ECONNREFUSED}]")
    return text.startswith("Multiple exceptions:") and text.count("[Errno ") == refused


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}" if host.isascii() and host.isprintable() else "an unreadable one"
