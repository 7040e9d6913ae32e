"""Chat programs for a test to drive, one for each wire, and what the network does to them."""

import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from parlour.core.connection import Pace
from parlour.errors import Close, Disconnected
from parlour.testing.network import BINARY, CLOSE, PING, PONG, TEXT, Asgi, Clock, FrameReader, Line, Taken, packed

_CUT: Final = Close(1006, "the connection was cut")
_RESUMED: Final = 20
"""Rooms that one hello may resume."""


class Happening(NamedTuple):
    """One entry of `Kit.trace`.

    `at` is in seconds since the kit began; `who` is a client's label. `what` and `detail` are

    - `connect`: the address it asked for, and `closed`: the close code, as the client saw them;
    - `line`: a line that it received; `event` and `reply`: a frame of v1, as text;
    - `seat` and `leave` when it took and lost a seat in `room`, the latter with `lost` if its connection was;
    - `said`, `edited`, `deleted` and `reacted`, with the name of who did it in `who`: each has the next offset in
      `room`. The detail is the line that plain members get, the new text, the message's id, or the emoji after + or -;
    - `gone`: the server forgot the connection; `failed`: something of the server's broke, with the exception's type;
    - `restart` of the server, with nobody in `who`;
    - a fault's name (`freeze`, `drop`, ...) when the test caused it.
    """

    at: float
    who: str
    what: str
    detail: str
    room: str | None


class World:
    """The clock that all in a kit share, and what happened by it."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.clock = Clock()
        self.trace: list[Happening] = []

    def note(self, who: str, what: str, detail: str = "", room: str | None = None) -> None:
        self.trace.append(Happening(self.clock.now, who, what, detail, room))

    def has_come(self, condition: Callable[[], object], within: float) -> bool:
        """Let time pass until the condition is true, but no longer than `within`."""
        until = self.clock.now + within
        while not condition():
            if not self.clock.turn(until):
                self.clock.now = until
                return False
        return True


class _Program(ABC):
    """A program somewhere on the network, with one connection.

    It answers pings and close frames by itself, as every WebSocket library does.
    """

    def __init__(
        self, world: World, label: str, name: str | None, pace: Pace, frames: bool, latency: float, buffer: int
    ) -> None:
        self.label: Final = label  # unlike any other client's of the kit
        self.buffer: Final = buffer  # bytes between the server and this client, if it does not read
        self.name = name or label  # what it calls itself
        self.pongs = 0  # answers to its own pings
        self.closed: Close | None = None  # why the connection ended, once this client knows; 1006: it was cut
        self.rooms: list[str] = []  # where the server holds a seat for it
        self.is_connected = True  # whether the server holds the connection
        self.answers_pings = True
        self._world = world
        self._frozen = False
        self._stalled = False
        self._says_bye = False  # it sent a close frame
        self._unsent = b""  # what it would say if it were not frozen
        self._reader = FrameReader()
        self._line = Line.of(world.clock, latency, buffer)
        self._up, self._down = self._line
        self.socket: Final = (Taken if frames else Asgi)(world.clock, self._line, pace, self._note_failure)
        self._down.serve(self._read, self._was_cut, self.socket.has_room)

    def __repr__(self) -> str:
        state = f"closed with {self.closed.code}" if self.closed is not None else self._fault or "connected"
        return f"<{self.label}: {state}>"

    # What it does

    def send_raw(self, data: str | bytes) -> None:
        """Send one frame as it is: a text frame, or a binary one for bytes. Raises `Disconnected` where the client
        knows that the connection is over."""
        if isinstance(data, str):
            self._send_frame(TEXT, data.encode("utf-8", "surrogatepass"))
        else:
            self._send_frame(BINARY, data)

    def ping(self) -> None:
        """Send a WebSocket ping; `pongs` counts the answers. Raises `Disconnected` like `send_raw`."""
        self._send_frame(PING, b"")

    def close(self, code: int = 1000) -> None:
        """Say goodbye. `closed` is set when the server has answered."""
        if self.closed is None and not self._says_bye:
            self._says_bye = True
            self._send(packed(CLOSE, code.to_bytes(2, "big")))

    # What a test expects

    def expect_close(self, code: int, within: float = 1.0) -> Close:
        """The connection ends with this close code; 1006 if it is cut without one. More may come before. AssertionError
        if it ends with another, or does not end in time."""
        __tracebackhide__ = True
        self._world.has_come(lambda: self.closed is not None, within)
        if self.closed is None or self.closed.code != code:
            raise AssertionError(f"{self._at}: expected close {code} within {within:g} s; it is {self._state}")
        return self.closed

    # What the network and its machine do to it

    @property
    def latency(self) -> float:
        """Seconds that bytes travel, each way. Can be changed at any time; bytes never overtake each other."""
        return self._up.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._note("latency", f"{seconds:g}")
        self._up.latency = self._down.latency = seconds

    def trickle(self, piece: int, every: float) -> None:
        """From now on bytes arrive in pieces of at most `piece`, one each `every` seconds, both ways."""
        self._note("trickle", f"{piece} bytes each {every:g} s")
        for stream in self._line:
            stream.piece, stream.every = piece, every

    def stall(self) -> None:
        """It reads no more. The kernels' buffers take `buffer` bytes for it, and then nothing. What it says still
        goes out."""
        self._note("stall")
        self._stalled = True
        self._down.reads = False

    def unstall(self) -> None:
        """It reads again."""
        self._note("unstall")
        self._stalled = False
        self._down.reads = not self._frozen

    def freeze(self) -> None:
        """Its program is stopped, as by SIGSTOP: it reads nothing, and what it would say waits for `thaw`."""
        self._note("freeze")
        self._frozen = True
        self._down.reads = False

    def thaw(self) -> None:
        """Its program goes on where it was."""
        self._note("thaw")
        self._frozen = False
        self._down.reads = not self._stalled
        unsent, self._unsent = self._unsent, b""
        if unsent:
            self._send(unsent)

    def drop(self) -> None:
        """Its end of the connection is cut at once. What it said before still arrives, and then the server learns of
        it."""
        if self.closed is None:
            self._note("drop")
            self._end(_CUT)
            self._down.abandon()
            self._up.end()

    def half_open(self) -> None:
        """From now on all bytes vanish, both ways, also those on their way; neither end is told."""
        self._note("half-open")
        self._up.vanish()
        self._down.vanish()

    # Inside

    @abstractmethod
    def _received(self, text: str) -> None:
        """A text frame came."""

    @property
    def _fault(self) -> str:
        if self._up.is_lost:
            return "half-open"
        return "frozen" if self._frozen else "stalled" if self._stalled else ""

    @property
    def _state(self) -> str:
        if self.closed is None:
            return self._fault or "connected"
        return f"closed with {self.closed.code} {self.closed.reason}".rstrip()

    @property
    def _at(self) -> str:
        return f"{self.label} at {self._world.clock.now:g} s (seed {self._world.seed})"

    def _note(self, what: str, detail: str = "") -> None:
        self._world.note(self.label, what, detail)

    def _note_failure(self, error: Exception) -> None:
        self._note("failed", type(error).__name__)

    def _was_forgotten(self) -> None:
        self.is_connected = False
        self._note("gone")

    def _send_frame(self, first: int, payload: bytes) -> None:
        if self.closed is not None:
            raise Disconnected(self.closed)
        self._send(packed(first, payload))

    def _send(self, data: bytes) -> None:
        if self._frozen:
            self._unsent += data
        else:
            self._up.write(data)

    def _read(self, data: bytes) -> None:
        self._reader.feed(data)
        while self.closed is None and (came := self._reader.next()) is not None:
            head, payload = came
            if head == TEXT:
                self._received(payload.decode())
            elif head == PING:
                if self.answers_pings:
                    self._send(packed(PONG, payload))
            elif head == PONG:
                self.pongs += 1
            elif head == CLOSE:
                if not self._says_bye:
                    self._send(packed(CLOSE, payload[:2]))
                self._end(Close(int.from_bytes(payload[:2], "big"), payload[2:].decode()))
            else:
                raise AssertionError(f"{self._at}: the server sent a frame that begins with {head:#x}")

    def _was_cut(self) -> None:
        if self.closed is None:
            self._end(_CUT)
            self._up.end()

    def _end(self, close: Close) -> None:
        self.closed = close
        self._note("closed", str(close.code))


class Client(_Program):
    """A client of the plain wire, made by `Kit.public` and `Kit.private`."""

    def __init__(
        self, world: World, label: str, name: str | None, pace: Pace, frames: bool, latency: float, buffer: int
    ) -> None:
        super().__init__(world, label, name, pace, frames, latency, buffer)
        self.lines: list[str] = []  # all lines that it received
        self._expected = 0  # lines that the test has spoken about

    @property
    def room(self) -> str | None:
        """The room or booth where the server holds a seat for it."""
        return self.rooms[0] if self.rooms else None

    def say(self, text: str, name: str | None = None) -> None:
        """Say a line, under `name` instead of its own if one is given. Raises `Disconnected` where the client knows
        that the connection is over."""
        self.send_raw(json.dumps({"username": self.name if name is None else name, "message": text}))

    def expect(self, line: str, within: float = 1.0) -> None:
        """The next line that comes is this one. AssertionError if it is another, or if none comes in time."""
        __tracebackhide__ = True
        self._world.has_come(lambda: len(self.lines) > self._expected or self.closed is not None, within)
        came = self.lines[self._expected : self._expected + 1]
        if came != [line]:
            so = f"{came[0]!r} came" if came else f"nothing came, and it is {self._state}"
            raise AssertionError(f"{self._at}: expected {line!r} within {within:g} s; {so}")
        self._expected += 1

    def expect_nothing(self, for_: float = 5.0) -> None:
        """No line comes for so long, and none came that was not expected before. AssertionError with the line if one
        did."""
        __tracebackhide__ = True
        if self._world.has_come(lambda: len(self.lines) > self._expected, for_):
            raise AssertionError(f"{self._at}: expected nothing for {for_:g} s; {self.lines[self._expected]!r} came")

    def _received(self, text: str) -> None:
        self.lines.append(text)
        self._note("line", text)


class V1Client(_Program):
    """A client of the wire v1 (docs/protocol.md), made by `Kit.v1` and `resume`.

    Fields are given by their names on the wire, with an underscore behind those that Python keeps: `from_`. What is
    asserted of an object holds if it has these fields; others may be there, too. None stands for a field that is left
    out.
    """

    def __init__(
        self,
        world: World,
        label: str,
        name: str | None,
        pace: Pace,
        frames: bool,
        latency: float,
        buffer: int,
        come_again: Callable[["V1Client", str | None, bool, Mapping[str, Any]], "V1Client"],
    ) -> None:
        super().__init__(world, label, name, pace, frames, latency, buffer)
        self.events: list[dict[str, Any]] = []  # all that came, in order
        self.ignored = {"ping"}  # kinds of events that assertions pass over
        self.commands: dict[int, dict[str, Any]] = {}  # all that were sent, by id
        self.replies: dict[int, dict[str, Any]] = {}  # all that came, by the id of the command
        self.session: str | None = None  # the token of the last hello's reply
        self.person: dict[str, Any] = {}  # who it is, from the same
        self.positions: dict[str, tuple[str, int]] = {}  # by room where it sits: epoch, and offset of the last event
        self.booth: str | None = None  # the booth where it sits, as far as it knows
        self._wish = name
        self._come_again = come_again
        self._expected = 0  # events that the test has spoken about
        self._last: int | None = None  # id of what was sent last
        self._unnumbered: deque[dict[str, Any]] = deque()  # replies to what had no id

    # What it does

    def send_command(self, op: str, /, **fields: Any) -> int:
        """Send a command, and give its id. Raises `Disconnected` where the client knows that the connection is over."""
        number = len(self.commands) + 1
        command = {"id": number, "op": op, **_on_the_wire(fields)}
        super().send_raw(json.dumps(command))
        self.commands[number] = command
        self._last = number
        return number

    def send_raw(self, data: str | bytes) -> None:
        """See `Client.send_raw`. `assert_refused` then takes a reply that names no command."""
        super().send_raw(data)
        self._last = None

    def say_hello(self, **fields: Any) -> int:
        """Send the hello, with the session and positions that this client has, and do not wait for the reply."""
        resume = [{"room": room, "epoch": epoch, "off": off} for room, (epoch, off) in self.positions.items()]
        mine = {"name": self._wish, "session": self.session, "resume": resume[:_RESUMED] or None}
        return self.send_command("hello", **{**mine, **fields})

    def hello(self, **fields: Any) -> dict[str, Any]:
        """Say hello, and give the reply. AssertionError if it is refused, or does not come within a second and the time
        that bytes travel."""
        __tracebackhide__ = True
        return self.assert_reply(self.say_hello(**fields), within=1 + 2 * self.latency)

    def send(self, room: str, text: str, key: str | None = None, **fields: Any) -> int:
        """Say something, under a new key if none is given. Like `send_command`."""
        key = key or f"{self.label}-{len(self.commands) + 1}"
        return self.send_command("send", room=room, key=key, text=text, **fields)

    def find(self, **wish: Any) -> int:
        """Look for a stranger. Like `send_command`."""
        return self.send_command("match.find", **wish)

    def next(self, **wish: Any) -> int:
        """Leave the booth, and look for another stranger. Like `send_command`."""
        return self.send_command("match.next", **wish)

    def resume(self, path: str | None = None, *, hello: bool = True, **fields: Any) -> "V1Client":
        """Connect anew from the same machine, and say hello with the session and the positions: a client that goes on
        where this one was. If this one's connection still stands, the server closes it with 4504.

        `path` is another address than before; see `Kit.v1` for the rest.
        """
        __tracebackhide__ = True
        return self._come_again(self, path, hello, fields)

    # What a test expects

    def assert_reply(self, to: int | None = None, /, within: float = 1.0, **fields: Any) -> dict[str, Any]:
        """The command `to`, or else the last one, has a reply in time that is not a refusal and has these fields. Gives
        the reply."""
        __tracebackhide__ = True
        what = f"a reply{_shown(fields)}"
        reply = self._reply(to, within, what)
        if not reply["ok"] or not _suits(reply, _on_the_wire(fields)):
            raise AssertionError(f"{self._at}: expected {what}; {json.dumps(reply)} came")
        return reply

    def assert_refused(self, code: str, to: int | None = None, /, within: float = 1.0, **fields: Any) -> dict[str, Any]:
        """The same for a refusal with this code. Gives the error."""
        __tracebackhide__ = True
        what = f"refusal {code}{_shown(fields)}"
        reply = self._reply(to, within, what)
        if not _suits(reply, {"ok": False, "error": {"code": code, **_on_the_wire(fields)}}):
            raise AssertionError(f"{self._at}: expected {what}; {json.dumps(reply)} came")
        error: dict[str, Any] = reply["error"]
        return error

    def assert_event(self, kind: str, /, within: float = 1.0, **fields: Any) -> dict[str, Any]:
        """The next event, those `ignored` aside, is of this kind and has these fields. Gives the event. AssertionError
        if it is another, or if none comes in time."""
        __tracebackhide__ = True
        self._world.has_come(lambda: self._has_news() or self.closed is not None, within)
        event = self.events[self._expected] if self._has_news() else None
        if event is None or not _suits(event, {"ev": kind, **_on_the_wire(fields)}):
            so = f"nothing came, and it is {self._state}" if event is None else f"{json.dumps(event)} came"
            raise AssertionError(f"{self._at}: expected {kind}{_shown(fields)} within {within:g} s; {so}")
        self._expected += 1
        return event

    def assert_nothing(self, for_: float = 5.0) -> None:
        """No event comes for so long, those `ignored` aside, and none came that was not expected before."""
        __tracebackhide__ = True
        if self._world.has_come(self._has_news, for_):
            event = json.dumps(self.events[self._expected])
            raise AssertionError(f"{self._at}: expected nothing for {for_:g} s; {event} came")

    # Inside

    def _has_news(self) -> bool:
        while self._expected < len(self.events) and self.events[self._expected]["ev"] in self.ignored:
            self._expected += 1
        return self._expected < len(self.events)

    def _reply(self, to: int | None, within: float, what: str) -> dict[str, Any]:
        __tracebackhide__ = True
        number = self._last if to is None else to

        def is_there() -> bool:
            return number in self.replies or (number is None and bool(self._unnumbered))

        self._world.has_come(lambda: is_there() or self.closed is not None, within)
        if not is_there():
            asked = "what had no id" if number is None else f"{number} ({self.commands[number]['op']})"
            came = f"nothing came, and it is {self._state}"
            raise AssertionError(f"{self._at}: expected {what} to {asked} within {within:g} s; {came}")
        return self._unnumbered.popleft() if number is None else self.replies[number]

    def _received(self, text: str) -> None:
        came: dict[str, Any] = json.loads(text)
        if "re" in came:
            self._note("reply", text)
            self._heed_reply(came)
        else:
            self._note("event", text)
            self.events.append(came)
            self._heed_event(came)

    def _heed_reply(self, reply: dict[str, Any]) -> None:
        number = reply["re"]
        if number is None:
            self._unnumbered.append(reply)
            return
        if number in self.replies:
            raise AssertionError(f"{self._at}: a second reply to {number} came: {json.dumps(reply)}")
        self.replies[number] = reply
        if not reply["ok"]:
            return
        match self.commands[number]:
            case {"op": "hello"}:
                self.session, self.person = reply["session"], reply["person"]
                self.name = self.person["name"]
                for place in reply["rooms"]:
                    self._sit(place)
            case {"op": "join", "room": room} if room not in self.positions:
                self._sit(reply)
            case {"op": "leave", "room": room}:
                self._forget(room)
            case {"op": "match.next"}:
                self._forget(self.booth)
            case {"op": "name"}:
                self.name = reply["name"]

    def _heed_event(self, event: dict[str, Any]) -> None:
        room = event.get("room")
        match event["ev"]:
            case "ping":
                if self.answers_pings:
                    self._send(packed(TEXT, b'{"op":"pong"}'))
            case "match.found" | "gap":
                self._sit(event)
            case "match.ended":
                self._forget(room)
            case "message" | "message.edited" | "message.deleted" | "message.reaction" if room in self.positions:
                self.positions[room] = self.positions[room][0], event["off"]

    def _sit(self, place: Mapping[str, Any]) -> None:
        room = place["room"]
        if place.get("gone"):
            self._forget(room)
            return
        self.positions[room] = place["epoch"], place["off"]
        if "peer" in place:
            self.booth = room

    def _forget(self, room: str | None) -> None:
        if room is not None:
            self.positions.pop(room, None)
        if room == self.booth:
            self.booth = None


def _on_the_wire(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name.rstrip("_"): value for name, value in fields.items()}


def _shown(fields: Mapping[str, Any]) -> str:
    return f" {json.dumps(_on_the_wire(fields))}" if fields else ""


def _suits(came: object, wanted: object) -> bool:
    """Whether it is what is wanted; objects may have further fields."""
    if isinstance(wanted, Mapping):
        return isinstance(came, Mapping) and all(_suits(came.get(name), value) for name, value in wanted.items())
    if isinstance(wanted, list | tuple):
        return isinstance(came, list) and len(came) == len(wanted) and all(map(_suits, came, wanted))
    return came == wanted
