"""A server that speaks v1 and nothing else, written from docs/protocol.md: one public room, and booths."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from itertools import count
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidState
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

V1 = Subprotocol("parlour.v1.json")


class Room:
    """Members by connection, and what was said, numbered from 1 in `epoch`."""

    def __init__(self, name: str, epoch: str, *, booth: bool = False) -> None:
        self.name = name
        self.epoch = epoch
        self.booth = booth
        self.events: list[dict[str, Any]] = []
        self.members: dict[ServerConnection, dict[str, Any]] = {}
        self.kept: dict[str, dict[str, Any]] = {}  # seats of a booth whose owners are away, by person

    def peer(self, person: str) -> dict[str, Any]:
        """The other one in a booth."""
        return next(one for one in (*self.members.values(), *self.kept.values()) if one["id"] != person)


class V1Server:
    """Everyone hears every message. One that begins with ! asks for something else:

    - `!refuse`: it is refused
    - `!notice`: a notice comes, then the message
    - `!hold`: no answer, until `release` is set
    - `!never`: no answer at all
    - `!silent`: the message, but no reply
    - `!limit`: the first time, `rate_limited`
    - `!unconfirmed`: the message, and `unavailable`
    - `!close CODE`: the connection ends with that code

    A path that holds `/status/NNN` answers with that HTTP status. `refusals` are the answers to the next hellos.
    """

    def __init__(self, *, ping_ms: int = 20_000, subprotocol: bool = True, limits: Mapping[str, float] | None) -> None:
        self.ping_ms = ping_ms
        self.subprotocol = subprotocol
        self.limits = {"text": 10_000, "frame": 131_072, "page": 100, "burst": 30, **(limits or {})}
        self.release = asyncio.Event()
        self.gate = asyncio.Event()  # closed while it lets nobody in
        self.gate.set()
        self.refuse_version = False  # it closes with 4501
        self.deaf: set[str] = set()  # commands that it does not answer
        self.required: dict[str, Any] | None = None  # what must be accepted first
        self.refusals: list[dict[str, Any]] = []
        self.said: list[str] = []  # messages, each once
        self.heard: list[dict[str, Any]] = []  # all commands
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.persons: dict[ServerConnection, dict[str, Any]] = {}  # who said hello
        self.port = 0
        self._ids = count(1)
        self._keys: dict[str, dict[str, Any]] = {}
        self._sessions: dict[str, str] = {}
        self._waiting: list[ServerConnection] = []
        self._limited = False
        self._changed = asyncio.Event()
        self.rooms: dict[str, Room] = {}
        self.forget()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *, ping_ms: int = 20_000, subprotocol: bool = True, limits: Mapping[str, float] | None = None
    ) -> AsyncIterator["V1Server"]:
        self = cls(ping_ms=ping_ms, subprotocol=subprotocol, limits=limits)
        running = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._answer,
            subprotocols=[V1] if subprotocol else None,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )
        async with running:
            self.port = _port(running)
            try:
                yield self
            finally:
                self.gate.set()
                self.drop()

    # What a test does to it

    def forget(self) -> None:
        """Be a server that was killed and started again: rooms are numbered anew, and no key is known."""
        self.rooms = {"public": Room("public", f"e{next(self._ids)}")}
        self._keys.clear()

    def drop(self) -> None:
        """Cut all connections, without a word."""
        for connection in list(self.persons):
            connection.transport.abort()

    def say(self, text: str, name: str = "bo", *, sender: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Somebody says something in the public room."""
        sender = sender or {"id": f"id-{name}", "name": name, "role": "guest"}
        self._number(self.rooms["public"], _message(text, sender) | more)

    def tell(self, **event: Any) -> None:
        """Any event, to everyone."""
        for connection in self.persons:
            self._send(connection, event)

    def tell_raw(self, text: str) -> None:
        """Any text, to everyone."""
        for connection in self.persons:
            self._send_text(connection, text)

    async def wait_people(self, number: int) -> None:
        """Until exactly so many said hello and are there."""
        await self.wait(lambda: len(self.persons) == number)

    async def wait_said(self, number: int) -> None:
        """Until it heard so many sends."""
        await self.wait(lambda: sum(command["op"] == "send" for command in self.heard) >= number)

    async def wait_heard(self, op: str, number: int = 1) -> None:
        """Until it heard such a command so often."""
        await self.wait(lambda: sum(command["op"] == op for command in self.heard) >= number)

    async def wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    # Connections

    async def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        await self.gate.wait()
        _, found, status = request.path.partition("/status/")
        if not found:
            return None
        response = connection.respond(HTTPStatus(int(status[:3])), "no")
        if status.startswith("301"):
            response.headers["Location"] = "https://elsewhere.example/chat/public"
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.headers.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        if self.refuse_version:
            await connection.close(4501, "no such version")
            return
        try:
            with suppress(ConnectionClosed):
                async for data in connection:
                    command = json.loads(data)
                    self.heard.append(command)
                    await self._obey(connection, command)
                    self._changed.set()
        finally:
            self._part(connection)
            self._changed.set()

    def _part(self, connection: ServerConnection) -> None:
        person = self.persons.pop(connection, None)
        if connection in self._waiting:
            self._waiting.remove(connection)
        for room in list(self.rooms.values()):
            if room.members.pop(connection, None) is None or person is None:
                continue
            if room.booth:
                room.kept[person["id"]] = person
                self._tell_room(room, {"ev": "match.away", "room": room.name, "grace_ms": 60_000})
            else:
                left = {"ev": "member.left", "member": person, "count": len(room.members), "reason": "left"}
                self._tell_room(room, left | {"room": room.name})

    def _send(self, connection: ServerConnection, frame: Mapping[str, Any]) -> None:
        self._send_text(connection, json.dumps(frame))

    def _send_text(self, connection: ServerConnection, text: str) -> None:
        """Without waiting, as a server does; frames keep their order. Who is going hears nothing."""
        with suppress(InvalidState):
            connection.protocol.send_text(text.encode())
            connection.send_data()

    def _reply(self, connection: ServerConnection, command: Mapping[str, Any], **fields: Any) -> None:
        self._send(connection, {"re": command["id"], "ok": True, **fields})

    def _refuse(self, connection: ServerConnection, command: Mapping[str, Any], code: str, **more: Any) -> None:
        error = {"code": code, "message": f"{code} it is", "retry": code == "rate_limited", **more}
        self._send(connection, {"re": command["id"], "ok": False, "error": error})

    def _tell_room(self, room: Room, event: Mapping[str, Any]) -> None:
        for member in room.members:
            self._send(member, event)

    def _number(self, room: Room, event: dict[str, Any]) -> dict[str, Any]:
        if room.booth and "text" in event:
            event["stamp"] = f"stamp {len(room.events) + 1}"
        event |= {"room": room.name, "off": len(room.events) + 1, "mid": f"m{next(self._ids)}", "ts": 1}
        room.events.append(event)
        self._tell_room(room, event)
        return event

    # Commands

    async def _obey(self, connection: ServerConnection, command: Mapping[str, Any]) -> None:
        op, person = command["op"], self.persons.get(connection)
        if op in ("pong", "typing", "read") or op in self.deaf:
            return
        if op == "hello":
            self._hello(connection, command)
        elif person is None:
            self._refuse(connection, command, "required")
        elif op == "send":
            await self._hear(connection, command, person)
        elif op == "name":
            person["name"] = command["name"]
            self._reply(connection, command, name=command["name"])
        elif op == "presence":
            room = self.rooms[command["room"]]
            members = list(room.members.values())
            self._reply(connection, command, room=room.name, count=len(members), members=members)
        elif op == "history":
            room = self.rooms[command["room"]]
            fields = {"room": room.name, "epoch": room.epoch, "messages": room.events, "more": False}
            self._reply(connection, command, **fields)
        elif op == "join":
            room = self.rooms[command["room"]]
            self._reply(connection, command, **self._sit(connection, room, None))
        elif op == "leave":
            self._end_booth(connection, command["room"])
            self._reply(connection, command)
        elif op == "block":
            self._reply(connection, command)
            self._end_booth(connection, command.get("room", ""), by="you")
        elif op in ("edit", "delete", "react"):
            kind = {"edit": "message.edited", "delete": "message.deleted", "react": "message.reaction"}[op]
            more = {name: command[name] for name in ("text", "emoji", "on") if name in command}
            room = self.rooms[command["room"]]
            event = self._number(room, {"ev": kind, "from": person} | more)
            self._reply(connection, command, epoch=room.epoch, off=event["off"])
        elif op == "search":
            said = [event for event in self.rooms["public"].events if command["text"] in event["text"]]
            found = said[::-1][: command.get("limit", 50)]
            self._reply(connection, command, messages=found, more=len(found) < len(said))
        elif op == "report":
            self._reply(connection, command, ref="r1")
            if command["block"]:
                self._end_booth(connection, command["room"], by="you")
        elif op == "terms":
            self.required = None
            self._reply(connection, command)
        elif op in ("match.next", "match.find"):
            self._end_booth(connection)
            self._reply(connection, command, ticket="t")
            self._find(connection)
        elif op == "match.cancel":
            self._waiting.remove(connection)
            self._reply(connection, command)
        else:
            self._refuse(connection, command, "unknown_op")

    def _hello(self, connection: ServerConnection, command: Mapping[str, Any]) -> None:
        assert connection.request is not None
        if self.refusals:
            refusal = self.refusals.pop(0)
            self._refuse(connection, command, **refusal)
            return
        token = command.get("session") or f"s{next(self._ids)}"
        id = self._sessions.setdefault(token, f"p{next(self._ids)}")
        person = {"id": id, "name": command.get("name", "Quiet Otter"), "role": "guest"}
        self.persons[connection] = person
        rooms, missed = [], []
        wanted = {entry["room"]: entry for entry in command.get("resume", ())}
        path = connection.request.path
        if path.endswith("/chat/public"):
            wanted.setdefault("public", None)
        for name, since in wanted.items():
            room = self.rooms.get(name)
            if room is None:
                rooms.append({"room": name, "gone": True})
                continue
            rooms.append(self._sit(connection, room, since))
            if rooms[-1]["recovered"]:
                missed += room.events[since["off"] :]
        fields = {"session": token, "person": person, "limits": self.limits, "ping_ms": self.ping_ms, "rooms": rooms}
        self._reply(connection, command, **fields, **({"required": self.required} if self.required else {}))
        for event in missed:
            self._send(connection, event)
        if self.required is None and path.endswith("/chat/private") and not any("peer" in entry for entry in rooms):
            self._find(connection)

    def _sit(self, connection: ServerConnection, room: Room, since: Mapping[str, Any] | None) -> dict[str, Any]:
        person = self.persons[connection]
        joined = {"ev": "member.joined", "room": room.name, "member": person, "count": len(room.members) + 1}
        if room.booth:
            room.kept.pop(person["id"], None)
            joined = {"ev": "match.back", "room": room.name}
        self._tell_room(room, joined)
        room.members[connection] = person
        recovered = since is not None and since["epoch"] == room.epoch
        off = since["off"] if since is not None and recovered else len(room.events)
        seat = {"room": room.name, "epoch": room.epoch, "off": off, "upto": len(room.events), "recovered": recovered}
        seat |= {"count": len(room.members), "members": list(room.members.values())}
        return seat | ({"peer": room.peer(person["id"])} if room.booth else {})

    async def _hear(self, connection: ServerConnection, command: Mapping[str, Any], person: dict[str, Any]) -> None:
        room = self.rooms.get(command["room"])
        if room is None or connection not in room.members:
            self._refuse(connection, command, "not_member")
            return
        text = command["text"]
        match text.split():
            case ["!refuse", *_]:
                self._refuse(connection, command, "too_large")
                return
            case ["!never", *_]:
                return
            case ["!limit", *_] if not self._limited:
                self._limited = True
                self._refuse(connection, command, "rate_limited", retry_after_ms=1)
                return
            case ["!close", code]:
                await connection.close(int(code), "as asked")
                return
            case ["!hold", *_]:
                self._changed.set()
                await self.release.wait()
            case ["!notice", *_]:
                self._send(connection, {"ev": "notice", "level": "warning", "code": "tea", "text": "tea is ready"})
        key, before = command["key"], self._keys.get(command["key"])
        if before is None:
            event = self._number(room, _message(text, person) | {"key": key})
            before = self._keys[key] = event
            self.said.append(text)
        if text == "!unconfirmed":
            self._refuse(connection, command, "unavailable", retry=True)
        elif text != "!silent":
            fields = {"mid": before["mid"], "epoch": room.epoch, "off": before["off"], "ts": 1, "kept": "relayed"}
            self._reply(connection, command, **fields)

    def _find(self, connection: ServerConnection) -> None:
        others = [other for other in self._waiting if other in self.persons]
        if not others:
            self._waiting.append(connection)
            self._send(connection, {"ev": "match.waiting", "ticket": "t", "since": 1, "relaxed": []})
            return
        other = others[0]
        self._waiting.remove(other)
        room = Room(f"booth{next(self._ids)}", f"e{next(self._ids)}", booth=True)
        self.rooms[room.name] = room
        room.members = {one: self.persons[one] for one in (connection, other)}
        for one, peer in ((connection, other), (other, connection)):
            found = {"ev": "match.found", "room": room.name, "epoch": room.epoch, "off": 0, "common": []}
            self._send(one, found | {"peer": self.persons[peer]})

    def _end_booth(self, connection: ServerConnection, name: str | None = None, *, by: str = "") -> None:
        for room in list(self.rooms.values()):
            if not room.booth or connection not in room.members or name not in (None, room.name):
                continue
            del self.rooms[room.name]
            for member in room.members:
                ended = {"ev": "match.ended", "room": room.name}
                if member is not connection:
                    self._send(member, ended | {"by": "peer"})
                elif by:
                    self._send(member, ended | {"by": by})


def _message(text: str, sender: Mapping[str, Any]) -> dict[str, Any]:
    return {"ev": "message", "from": dict(sender), "text": text}


def _port(running: Server) -> int:
    port = next(iter(running.sockets)).getsockname()[1]
    assert isinstance(port, int)
    return port
