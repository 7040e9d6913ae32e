"""A test kit: the whole chat on a clock, a network and dice of its own.

Hub, rules, wire and engine are the real ones; only time, the network and chance are simulated. Nothing sleeps and
nothing runs beside the test, so a minute of silence takes no time, and the same seed gives the same `Kit.trace`.

Two strangers meet in a booth; one of their machines falls asleep; the seat is free again half a minute later:

>>> from parlour.testing import Kit
>>> kit = Kit(seed=1)
>>> ada, bo = kit.private("ada"), kit.private("bo")
>>> ada.say("hello")
>>> bo.expect("ada> hello")
>>> ada.freeze()
>>> kit.run_until(lambda: not ada.is_connected, within=32)
>>> cy = kit.private("cy")
>>> cy.say("anyone here?")
>>> bo.expect("cy> anyone here?")

Settings are the server's own. Here a client talks faster than it may; the third line comes a second later:

>>> from parlour import Settings
>>> kit = Kit(Settings(rate=1, burst=2))
>>> ada = kit.public("ada")
>>> for line in ("one", "two", "three"):
...     ada.say(line)
>>> ada.expect("ada> one"), ada.expect("ada> two")
(None, None)
>>> ada.expect_nothing(for_=0.9)
>>> ada.expect("ada> three", within=0.2)

A user whom the host app knows: give `identity` what the `authenticate` hook answered.

>>> from parlour import Person
>>> kit = Kit()
>>> ada = kit.public("whoever", identity=Person("user-1", "Ada"))
>>> ada.say("it is really me")
>>> ada.expect("Ada> it is really me")
"""

import heapq
import json
import random
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple

from parlour.core.connection import Pace
from parlour.core.events import Enter, Find, Member, Publish, Published, Seat
from parlour.core.moderation import mended_name
from parlour.engine.memory import MemoryEngine
from parlour.errors import SLOW, TOO_BIG, Close, ConnectError, Disconnected, Refusal
from parlour.hub import CLOSE_LIMIT, FRAME_LIMIT, Hub, Link, frame
from parlour.settings import Settings
from parlour.wire import Plain

__all__ = ["Client", "Happening", "Kit"]

_CUT: Final = Close(1006, "the connection was cut")
_TURNS_LIMIT: Final = 100_000
_BIRTHDAY: Final = 1_700_000_000_000

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


class Happening(NamedTuple):
    """One entry of `Kit.trace`.

    `at` is in seconds since the kit began; `who` is a client's label. `what` and `detail` are

    - `connect`: the address it asked for, and `closed`: the close code, as the client saw them;
    - `line`: a line that it received;
    - `seat` and `leave`: the room or booth, and `said`: the text, as the engine did them (`room` names where);
    - `gone`: the server forgot the connection; `failed`: something of the server's broke, with the exception's type;
    - a fault's name (`freeze`, `drop`, ...) when the test caused it.
    """

    at: float
    who: str
    what: str
    detail: str
    room: str | None


class Kit:
    """One simulated server, and the clients that a test connects to it.

    Time stands still but in `advance`, `run_until` and the clients' `expect...`. `within` and `for_` are seconds of that
    time.
    """

    def __init__(self, settings: Settings | None = None, seed: int = 0) -> None:
        """`settings` count as they do on a server, except that each client has an address of its own; with `rate` not
        given there is no limit, as for programs on the server's own machine. `seed` decides who meets whom."""
        self.settings = settings or Settings()
        self.seed = seed
        self.trace: list[Happening] = []  # all that happened, in order
        self.clients: list[Client] = []  # in the order of their coming
        self._clock = _Clock()
        self._wire = Plain(notices=self.settings.notices)
        rate = self.settings.rate
        self._pace = Pace(
            rate=None if rate == inf else rate,
            burst=self.settings.burst,
            ping=self.settings.ping,
            ping_timeout=self.settings.ping_timeout,
        )
        ids = count(1)
        self._by_connection: dict[str, Client] = {}
        self._connecting: Client | None = None
        self.hub = Hub(self._clock, self._new_engine, lambda: f"{next(ids):04x}")

    def public(
        self,
        name: str | None = None,
        *,
        identity: tuple[str, str] | tuple[()] | None = (),
        frames: bool = True,
        latency: float = 0.0,
        buffer: int = 65_536,
    ) -> "Client":
        """Connect a client to the public room.

        `name` is what it calls itself in its lines. `identity` is what the host app's `authenticate` hook answered: a
        `Person`, a `Guest()`, or None. `frames` says whether the server took the connection over; if not, it comes
        through a plain ASGI server. `latency` is in seconds, one way; `buffer` in bytes, what the kernels between the
        server and a client that does not read take. Raises `ConnectError` where the server would refuse.
        """
        return self._connect("/chat/public", Enter("public"), name, identity, frames, latency, buffer)

    def private(
        self,
        name: str | None = None,
        *,
        identity: tuple[str, str] | tuple[()] | None = (),
        frames: bool = True,
        latency: float = 0.0,
        buffer: int = 65_536,
    ) -> "Client":
        """Connect a client to a booth, which the pairing rules choose. See `public`."""
        return self._connect("/chat/private", Find(), name, identity, frames, latency, buffer)

    @property
    def now(self) -> float:
        """Seconds since the kit began."""
        return self._clock.now

    @property
    def next_due(self) -> float:
        """When something is planned next; inf if nothing ever happens again by itself."""
        return self._clock.next_due

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        until = self._clock.now + seconds
        while self._clock.turn(until):
            pass
        self._clock.now = until

    def run_until(self, condition: Callable[[], object], within: float) -> None:
        """Let time pass until `condition()` is true, and not a moment longer. AssertionError if it is not in time."""
        __tracebackhide__ = True
        if not self._has_come(condition, within):
            raise AssertionError(f"not so within {within:g} s (at {self.now:g} s, seed {self.seed}): {condition}")

    def drain(self) -> None:
        """Stop the server as SIGTERM does: everyone is closed with 4000, and nobody is let in."""
        self.hub.drain()

    def _has_come(self, condition: Callable[[], object], within: float) -> bool:
        until = self._clock.now + within
        while not condition():
            if not self._clock.turn(until):
                self._clock.now = until
                return False
        return True

    def _connect(
        self,
        path: str,
        place: Enter | Find,
        name: str | None,
        identity: tuple[str, str] | tuple[()] | None,
        frames: bool,
        latency: float,
        buffer: int,
    ) -> "Client":
        if self.hub.draining:
            raise ConnectError(path, "the server restarts; try again in a few seconds")
        if isinstance(place, Find) and not self.settings.booths:
            raise ConnectError(path, "there are no booths here")
        if identity is None:
            raise ConnectError(path, "sign in first")
        client = Client(self, self._label(name), name, frames, latency, buffer)
        self.clients.append(client)
        self._note(client, "connect", path)
        person, proved = (identity[0], mended_name(identity[1])) if identity else (None, None)
        self._connecting = client
        try:
            link = self.hub.connect(
                client._socket, self._wire, place, self._pace, person=person, name=proved, gone=client._was_forgotten
            )
        finally:
            self._connecting = None
        client._socket.serve(link)
        return client

    def _label(self, name: str | None) -> str:
        label = name or f"guest{len(self.clients) + 1}"
        others = sum(client.name == label for client in self.clients)
        return f"{label}/{others + 1}" if others else label

    def _new_engine(self, hub: Hub) -> "_NotedEngine":
        dice = random.Random(self.seed)  # noqa: S311 - chance that can be repeated is the point
        ids = count(1)
        self.engine = MemoryEngine(
            hub,
            choose=dice.randrange,
            new_id=lambda: f"{next(ids):04x}",
            utc_ms=lambda: _BIRTHDAY + round(self._clock.now * 1000),
        )
        return _NotedEngine(self.engine, self._client_of, self._note)

    def _client_of(self, connection: str) -> "Client":
        """The engine hears of a connection while it is being made, before anyone else does."""
        if self._connecting is not None and connection not in self._by_connection:
            self._by_connection[connection] = self._connecting
        return self._by_connection[connection]

    def _note(self, client: "Client", what: str, detail: str = "", room: str | None = None) -> None:
        self.trace.append(Happening(self._clock.now, client.label, what, detail, room))


class Client:
    """A chat program somewhere on the network, made by `Kit.public` and `Kit.private`.

    Its program answers pings and close frames by itself, as every WebSocket library does.
    """

    def __init__(self, kit: Kit, label: str, name: str | None, frames: bool, latency: float, buffer: int) -> None:
        self.label: Final = label  # unlike any other client's of the kit
        self.name: Final = name or label  # what it calls itself
        self.lines: list[str] = []  # all lines that it received
        self.pongs = 0  # answers to its own pings
        self.closed: Close | None = None  # why the connection ended, once this client knows; 1006: it was cut
        self.room: str | None = None  # the room or booth where the server holds a seat for it
        self.is_connected = True  # whether the server holds the connection
        self._kit = kit
        self._expected = 0  # lines that the test has spoken about
        self._frozen = False
        self._stalled = False
        self._says_bye = False  # it sent a close frame
        self._unsent = b""  # what it would say if it were not frozen
        self._frames = _Frames()
        clock = kit._clock
        self._up = _Stream(clock, latency, inf)
        self._down = _Stream(clock, latency, buffer)
        transport = _Taken if frames else _Asgi
        self._socket: _Transport = transport(clock, self._up, self._down, kit._pace, self._note_failure)
        self._down.serve(self._read, self._was_cut, self._socket.has_room)

    def __repr__(self) -> str:
        state = f"closed with {self.closed.code}" if self.closed is not None else self._fault or "connected"
        return f"<{self.label}: {state}>"

    # What it does

    def say(self, text: str, name: str | None = None) -> None:
        """Say a line, under `name` instead of its own if one is given. Raises `Disconnected` where the client knows
        that the connection is over."""
        self.send_raw(json.dumps({"username": self.name if name is None else name, "message": text}))

    def send_raw(self, data: str | bytes) -> None:
        """Send one frame as it is: a text frame, or a binary one for bytes. Raises `Disconnected` like `say`."""
        if self.closed is not None:
            raise Disconnected(self.closed)
        self._send(_frame(_TEXT, data.encode("utf-8", "surrogatepass")) if isinstance(data, str) else _frame(_BINARY, data))

    def ping(self) -> None:
        """Send a WebSocket ping; `pongs` counts the answers. Raises `Disconnected` like `say`."""
        if self.closed is not None:
            raise Disconnected(self.closed)
        self._send(_frame(_PING, b""))

    def close(self, code: int = 1000) -> None:
        """Say goodbye. `closed` is set when the server has answered."""
        if self.closed is None and not self._says_bye:
            self._says_bye = True
            self._send(_frame(_CLOSE, code.to_bytes(2, "big")))

    # What a test expects

    def expect(self, line: str, within: float = 1.0) -> None:
        """The next line that comes is this one. AssertionError if it is another, or if none comes in time."""
        __tracebackhide__ = True
        self._kit._has_come(lambda: len(self.lines) > self._expected or self.closed is not None, within)
        came = self.lines[self._expected : self._expected + 1]
        if came != [line]:
            so = f"{came[0]!r} came" if came else f"nothing came, and it is {self._state}"
            raise AssertionError(f"{self._at}: expected {line!r} within {within:g} s; {so}")
        self._expected += 1

    def expect_nothing(self, for_: float = 5.0) -> None:
        """No line comes for so long, and none came that was not expected before. AssertionError with the line if one
        did."""
        __tracebackhide__ = True
        if self._kit._has_come(lambda: len(self.lines) > self._expected, for_):
            raise AssertionError(f"{self._at}: expected nothing for {for_:g} s; {self.lines[self._expected]!r} came")

    def expect_close(self, code: int, within: float = 1.0) -> Close:
        """The connection ends with this close code; 1006 if it is cut without one. Lines may come before.
        AssertionError if it ends with another, or does not end in time."""
        __tracebackhide__ = True
        self._kit._has_come(lambda: self.closed is not None, within)
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
        for stream in (self._up, self._down):
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
        return f"{self.label} at {self._kit.now:g} s (seed {self._kit.seed})"

    def _note(self, what: str, detail: str = "") -> None:
        self._kit._note(self, what, detail)

    def _note_failure(self, error: Exception) -> None:
        self._note("failed", type(error).__name__)

    def _was_forgotten(self) -> None:
        self.is_connected = False
        self._note("gone")

    def _send(self, data: bytes) -> None:
        if self._frozen:
            self._unsent += data
        else:
            self._up.write(data)

    def _read(self, data: bytes) -> None:
        self._frames.feed(data)
        while self.closed is None and (came := self._frames.next()) is not None:
            head, payload = came
            if head == _TEXT:
                line = payload.decode()
                self.lines.append(line)
                self._note("line", line)
            elif head == _PING:
                self._send(_frame(_PONG, payload))
            elif head == _PONG:
                self.pongs += 1
            elif head == _CLOSE:
                if not self._says_bye:
                    self._send(_frame(_CLOSE, payload[:2]))
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


class _Planned:
    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], object] | None) -> None:
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        self.callback = None


class _Clock:
    """A `hub.Scheduler` that turns as asyncio's loop does, but where time passes only when nothing is left to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ready: deque[Callable[[], object]] = deque()
        self._planned: list[tuple[float, int, _Planned]] = []  # a heap
        self._entries = count()
        self._turns = 0  # at this moment

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], object], /) -> None:
        self._ready.append(callback)

    def call_at(self, when: float, callback: Callable[[], object], /) -> _Planned:
        planned = _Planned(when, callback)
        heapq.heappush(self._planned, (when, next(self._entries), planned))
        return planned

    @property
    def next_due(self) -> float:
        if self._ready:
            return self.now
        while self._planned and self._planned[0][2].callback is None:
            heapq.heappop(self._planned)
        return self._planned[0][0] if self._planned else inf

    def turn(self, until: float) -> bool:
        """What is due first, if that is by `until`; then all that is due at that moment. False if nothing was."""
        due = self.next_due
        if due > until:
            return False
        if due > self.now:
            self.now, self._turns = due, 0
        self._turns += 1
        if self._turns > _TURNS_LIMIT:
            raise RuntimeError(f"time stands still at {self.now:g} s: something plans itself again and again")
        while self._planned and self._planned[0][0] <= self.now:
            callback = heapq.heappop(self._planned)[2].callback
            if callback is not None:
                self._ready.append(callback)
        for _ in range(len(self._ready)):
            self._ready.popleft()()
        return True


class _NotedEngine:
    """The engine, with a note of all that it did."""

    def __init__(
        self, engine: MemoryEngine, client_of: Callable[[str], Client], note: Callable[[Client, str, str, str], None]
    ) -> None:
        self._engine = engine
        self._client_of = client_of
        self._note = note
        self.counts = engine.counts

    def join(self, room: str, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        self._engine.join(room, member, self._noting(member, done))

    def find(self, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        self._engine.find(member, self._noting(member, done))

    def leave(self, room: str, connection: str) -> None:
        client = self._client_of(connection)
        if client.room == room:
            client.room = None
            self._note(client, "leave", "", room)
        self._engine.leave(room, connection)

    def publish(self, publish: Publish, done: Callable[[Published | Refusal], None]) -> None:
        self._engine.publish(publish, done)

    def _noting(self, member: Member, done: Callable[[Seat | Refusal], None]) -> Callable[[Seat | Refusal], None]:
        client = self._client_of(member.connection)

        def seated(answer: Seat | Refusal) -> None:
            if isinstance(answer, Seat):
                client.room = answer.room
                self._note(client, "seat", "", answer.room)
            done(answer)

        return seated
