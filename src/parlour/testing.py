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
>>> ada.expect("ada> one")
>>> ada.expect("ada> two")
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
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple

from parlour.core.connection import Pace
from parlour.core.events import Enter, Find, Guest, Member, Person, Publish, Published, Seat
from parlour.core.moderation import mended_name
from parlour.engine.memory import MemoryEngine
from parlour.errors import NOT_UTF8, TOO_BIG, Close, ConnectError, Disconnected, Refusal
from parlour.hub import CLOSE_LIMIT, Hub, Link, frame
from parlour.settings import Settings
from parlour.wire import Plain
from parlour.wire.contract import FRAME_LIMIT

__all__ = ["Client", "Happening", "Kit"]

_CUT: Final = Close(1006, "the connection was cut")
_GUEST: Final = Guest()
_TURNS_LIMIT: Final = 100_000
_BIRTHDAY: Final = 1_700_000_000_000

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


class Happening(NamedTuple):
    """One entry of `Kit.trace`.

    `at` is in seconds since the kit began; `who` is a client's label. `what` and `detail` are

    - `connect`: the address it asked for, and `closed`: the close code, as the client saw them;
    - `line`: a line that it received;
    - `seat` and `leave` when the engine gave or took a seat in `room`, and `said` when it gave a message its place
      there: the line that members get, and in `who` the name that it was said under;
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

    Time stands still but in `advance`, `run_until` and the clients' `expect...`; `within` and `for_` are seconds of
    that time.
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
        self.engine: MemoryEngine  # rooms and booths, to look into; set by the next line
        self.hub = Hub(self._clock, self._new_engine, lambda: f"{next(ids):04x}")  # the server's live connections

    def public(
        self,
        name: str | None = None,
        *,
        identity: Person | Guest | None = _GUEST,
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
        identity: Person | Guest | None = _GUEST,
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
        identity: Person | Guest | None,
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
        self._note(client.label, "connect", path)
        person, proved = (identity.id, mended_name(identity.name)) if isinstance(identity, Person) else (None, None)
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

    def _note(self, who: str, what: str, detail: str = "", room: str | None = None) -> None:
        self.trace.append(Happening(self._clock.now, who, what, detail, room))


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
        self._socket = (_Taken if frames else _Asgi)(clock, self._up, self._down, kit._pace, self._note_failure)
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
        self._send(
            _frame(_TEXT, data.encode("utf-8", "surrogatepass")) if isinstance(data, str) else _frame(_BINARY, data)
        )

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
        self._kit._note(self.label, what, detail)

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
        self, engine: MemoryEngine, client_of: Callable[[str], Client], note: Callable[[str, str, str, str], None]
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
            self._note(client.label, "leave", "", room)
        self._engine.leave(room, connection)

    def publish(self, publish: Publish, done: Callable[[Published | Refusal], None]) -> None:
        def published(answer: Published | Refusal) -> None:
            if isinstance(answer, Published):
                name = publish.sender.name
                self._note(name, "said", f"{name}> {publish.text}", publish.room)
            done(answer)

        self._engine.publish(publish, published)

    def _noting(self, member: Member, done: Callable[[Seat | Refusal], None]) -> Callable[[Seat | Refusal], None]:
        client = self._client_of(member.connection)

        def seated(answer: Seat | Refusal) -> None:
            if isinstance(answer, Seat):
                client.room = answer.room
                self._note(client.label, "seat", "", answer.room)
            done(answer)

        return seated


class _Stream:
    """One direction of a connection: bytes arrive in order, as far as the reader takes them."""

    def __init__(self, clock: _Clock, latency: float, capacity: float) -> None:
        self.latency = latency
        self.piece: float = inf  # bytes that are taken at once
        self.every = 0.0  # seconds between pieces
        self.is_lost = False  # what is written vanishes
        self.is_abandoned = False  # the reader is gone for ever
        self._clock = clock
        self._capacity = capacity
        self._reads = True
        self._pieces: deque[tuple[float, bytes | None]] = deque()  # with the time of arrival; None is the end
        self._held = 0  # bytes written and not taken
        self._next_at = 0.0  # when the next piece may be taken
        self._last_at = 0.0  # when the last piece arrives
        self._is_planned = False
        self._take: Callable[[bytes], object]  # this and the following: set by `serve`
        self._ended: Callable[[], object]
        self._has_room: Callable[[], object] | None

    def serve(
        self, take: Callable[[bytes], object], ended: Callable[[], object], has_room: Callable[[], object] | None = None
    ) -> None:
        """`take` gets what arrives, and `ended` tells the end; `has_room` tells the writer that bytes were taken."""
        self._take, self._ended, self._has_room = take, ended, has_room

    @property
    def reads(self) -> bool:
        """Whether the reader takes what arrives."""
        return self._reads

    @reads.setter
    def reads(self, reads: bool) -> None:
        self._reads = reads
        self._plan()

    def write(self, data: bytes) -> int:
        """Give as much to the kernel as it takes, and tell how much that is."""
        size = len(data)
        if self._held + size > self._capacity:
            size = max(0, int(self._capacity) - self._held)
            data = data[:size]
        if size:
            self._held += size
            self._add(data)
        return size

    def end(self) -> None:
        """No more bytes will come."""
        self._add(None)

    def vanish(self) -> None:
        self.is_lost = True

    def abandon(self) -> None:
        """Nobody reads any more: what is written is refused from now on."""
        self.is_abandoned = True
        self.reads = False

    def _add(self, data: bytes | None) -> None:
        self._last_at = max(self._last_at, self._clock.now + self.latency)
        self._pieces.append((self._last_at, data))
        self._plan()

    def _plan(self) -> None:
        if self._reads and self._pieces and not self._is_planned and not self.is_lost:
            self._is_planned = True
            self._clock.call_at(max(self._clock.now, self._pieces[0][0], self._next_at), self._arrive)

    def _arrive(self) -> None:
        self._is_planned = False
        taken = self._held
        while self._reads and not self.is_lost and self._pieces:
            at, data = self._pieces[0]
            if max(at, self._next_at) > self._clock.now:
                break
            self._pieces.popleft()
            if data is None:
                self._ended()
                continue
            if len(data) > self.piece:
                self._pieces.appendleft((at, data[int(self.piece) :]))
                data = data[: int(self.piece)]
            if self.every:
                self._next_at = self._clock.now + self.every
            self._held -= len(data)
            self._take(data)
        self._plan()
        if self._held < taken and self._has_room is not None:
            self._has_room()


class _Frames:
    """Reads frames (RFC 6455 5.2) from bytes. Nothing here is masked: no proxy looks on."""

    def __init__(self) -> None:
        self._rest = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        self._rest = self._rest[self._at :] + data
        self._at = 0

    def next(self) -> tuple[int, bytes] | None:
        """First byte and payload of the next whole frame, if there is one."""
        size, head = self.announced()
        stop = self._at + head + size
        if not head or stop > len(self._rest):
            return None
        payload = self._rest[stop - size : stop]
        first = self._rest[self._at]
        self._at = stop
        return first, payload

    def announced(self) -> tuple[int, int]:
        """Sizes of the next frame's payload and of its head; 0 and 0 as long as the head is not there."""
        rest, at = self._rest, self._at
        if len(rest) < at + 2:
            return 0, 0
        size = rest[at + 1]
        wide = {126: 2, 127: 8}.get(size, 0)
        if len(rest) < at + 2 + wide:
            return 0, 0
        return int.from_bytes(rest[at + 2 : at + 2 + wide]) if wide else size, 2 + wide

    @property
    def has_part(self) -> bool:
        """Whether some bytes wait for more."""
        return self._at < len(self._rest)


def _frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def _close_frame(close: Close) -> bytes:
    return _frame(_CLOSE, close.code.to_bytes(2, "big") + close.reason.encode())


class _Transport(ABC):
    """The server's end of a connection, as far as both kinds are alike: each is a `hub.Socket`."""

    def __init__(
        self, clock: _Clock, up: _Stream, down: _Stream, pace: Pace, failed: Callable[[Exception], object]
    ) -> None:
        self._clock = clock
        self._up = up
        self._down = down
        self._pace = pace
        self._failed = failed
        self._link: Link | None = None  # set by `serve`
        self._frames = _Frames()
        self._reading = True
        self._closing = False  # a close frame was sent or received
        self._over = False  # nothing can be written any more
        self._limit: _Planned | None = None  # cuts a connection that does not end
        up.serve(self._read, self._peer_ended)

    def serve(self, link: Link) -> None:
        """Hand what comes to the link from now on."""
        self._link = link

    @property
    def link(self) -> Link:
        if self._link is None:
            raise RuntimeError("expected a link, got none: serve() comes first")
        return self._link

    def pause_reading(self) -> None:
        self._reading = self._up.reads = False

    def resume_reading(self) -> None:
        self._reading = True
        self._clock.call_soon(self._resume)

    def abort(self) -> None:
        self._cut()

    @abstractmethod
    def has_room(self) -> None:
        """The kernel can take more."""

    def _read(self, data: bytes) -> None:
        self._frames.feed(data)
        while self._reading and not self._over and (came := self._frames.next()) is not None:
            try:
                self._handle(*came)
            except Exception as error:
                self._failed(error)
                self.link.failed(error)

    def _handle(self, first: int, payload: bytes) -> None:
        if first == _CLOSE:
            self._peer_closed(payload)
        elif not self._closing:
            self._receive(first, payload)

    def _receive(self, first: int, payload: bytes) -> None:
        if len(payload) > FRAME_LIMIT:
            self.link.end(TOO_BIG)
        elif first == _TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                self.link.end(NOT_UTF8)
            else:
                self.link.receive(text)
        elif first == _BINARY:
            self.link.receive_binary(payload)

    @abstractmethod
    def _peer_closed(self, payload: bytes) -> None:
        """A close frame came."""

    def _peer_ended(self) -> None:
        """The peer's end is cut."""
        self._cut()

    def _resume(self) -> None:
        if self._reading and not self._over:
            self._read(b"")
            self._up.reads = self._reading

    def _write_refused(self) -> bool:
        """Whether nobody can get what is written. The first bytes are answered by a reset, of which we learn."""
        if self._down.is_abandoned and not self._over:
            self._clock.call_at(self._clock.now + 2 * self._down.latency, self._cut)
        return self._over or self._down.is_abandoned

    def _begin_closing(self) -> None:
        self._closing = True
        self._limit = self._clock.call_at(self._clock.now + CLOSE_LIMIT, self._cut)
        self._reading = True
        self._clock.call_soon(self._resume)

    def _cut(self) -> None:
        """The connection ends here and now. What the kernel took still arrives."""
        if self._over:
            return
        self._over = self._closing = True
        self._down.end()
        if self._limit is not None:
            self._limit.cancel()
        self._clock.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        if self._link is not None:
            self._link.lost()


class _Taken(_Transport):
    """A connection taken over: `send` is the `write` of asyncio's transport with its buffer limit at 0."""

    frames: Final = True
    pings: Final = True

    def __init__(
        self, clock: _Clock, up: _Stream, down: _Stream, pace: Pace, failed: Callable[[Exception], object]
    ) -> None:
        super().__init__(clock, up, down, pace, failed)
        self._buffer = bytearray()
        self._is_full = False  # the link was told
        self._ends = False  # after the buffer is written

    def send(self, data: bytes) -> None:
        if self._write_refused():
            return
        if not self._buffer:
            size = self._down.write(data)
            if size == len(data):
                return
            data = data[size:]
        self._buffer += data
        if not self._is_full and self._link is not None:
            self._is_full = True
            self._link.paused()

    def buffered(self) -> int:
        return len(self._buffer)

    def ping(self) -> None:
        self.send(_frame(_PING, b""))

    def close(self, close: Close) -> None:
        if not self._closing:
            self.send(_close_frame(close))
            self._begin_closing()

    def has_room(self) -> None:
        if self._over:
            return
        if self._buffer:
            del self._buffer[: self._down.write(bytes(self._buffer))]
        if self._buffer:
            return
        if self._is_full:
            self._is_full = False
            self.link.drained()
        if self._ends and not self._buffer:
            self._cut()

    def _read(self, data: bytes) -> None:
        had_part = self._frames.has_part
        super()._read(data)
        if self._closing or not self._reading:
            return
        if self._frames.announced()[0] > FRAME_LIMIT:
            self.link.end(TOO_BIG)
        elif self._frames.has_part:
            self.link.began()
        elif had_part:
            self.link.finished()

    def _receive(self, first: int, payload: bytes) -> None:
        super()._receive(first, payload)
        if first in (_PING, _PONG):
            self.link.control()
        if first == _PING and not self._closing:
            self.send(_frame(_PONG, payload))

    def _peer_closed(self, payload: bytes) -> None:
        if not self._closing:
            self.link.parted()
            self.send(_frame(_CLOSE, payload[:2]))
            self._begin_closing()
        self._ends = True
        if not self._buffer:
            self._cut()

    def _cut(self) -> None:
        self._buffer.clear()
        super()._cut()


class _Asgi(_Transport):
    """A connection through a plain ASGI server: texts wait for one writer, and the server itself asks for signs of
    life."""

    frames: Final = False
    pings: Final = False

    def __init__(
        self, clock: _Clock, up: _Stream, down: _Stream, pace: Pace, failed: Callable[[Exception], object]
    ) -> None:
        super().__init__(clock, up, down, pace, failed)
        self._waiting: deque[tuple[bytes, int]] = deque()  # frames to be written, with the characters that they count
        self._rest = b""  # of the frame that is being written
        self._rest_counts = 0
        self._buffered = 0
        self._busy = False  # texts were given and the writer is not through with them
        self._told = False  # the link knows that it is paused
        self._is_awake = False  # the writer's turn comes
        self._ends = False  # after all is written
        self._ask_timer: _Planned | None = None
        self._pong_timer: _Planned | None = None

    def serve(self, link: Link) -> None:
        super().serve(link)
        self._ask_timer = self._clock.call_at(self._clock.now + self._pace.ping, self._ask)

    def send(self, texts: Any) -> None:
        if self._write_refused():
            return
        was_busy, self._busy = self._busy, True
        for text in texts:
            self._waiting.append((frame(text), len(text)))
            self._buffered += len(text)
        if was_busy and self._link is not None:
            self._told = True
            self._link.paused()
        self._wake()

    def buffered(self) -> int:
        return self._buffered

    def ping(self) -> None:
        """The server does that."""

    def close(self, close: Close) -> None:
        if not self._closing:
            self._waiting.append((_close_frame(close), 0))
            self._begin_closing()
            self._wake()

    def has_room(self) -> None:
        if self._rest:
            self._wake()

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._clock.call_soon(self._write)

    def _write(self) -> None:
        self._is_awake = False
        if self._over:
            return
        while self._rest or self._waiting:
            if not self._rest:
                self._rest, self._rest_counts = self._waiting.popleft()
            self._rest = self._rest[self._down.write(self._rest) :]
            if self._rest:
                return
            self._buffered -= self._rest_counts
        self._busy = False
        if self._told:
            self._told = False
            self.link.drained()
        if self._ends:
            self._cut()

    def _write_control(self, first: int, payload: bytes) -> None:
        """Control frames may stand between any two others."""
        if not self._write_refused():
            self._waiting.appendleft((_frame(first, payload), 0))
            self._wake()

    def _receive(self, first: int, payload: bytes) -> None:
        super()._receive(first, payload)
        if first == _PING:
            self._write_control(_PONG, payload)
        elif first == _PONG and self._pong_timer is not None:
            self._pong_timer.cancel()
            self._pong_timer = None

    def _peer_closed(self, payload: bytes) -> None:
        if self._closing:
            self._cut()
            return
        self.link.lost()
        self._waiting.clear()
        self._waiting.append((_frame(_CLOSE, payload[:2]), 0))
        self._ends = True
        self._begin_closing()
        self._wake()

    def _ask(self) -> None:
        now = self._clock.now
        self._ask_timer = self._clock.call_at(now + self._pace.ping, self._ask)
        self._write_control(_PING, b"")
        if self._pong_timer is None:
            self._pong_timer = self._clock.call_at(now + self._pace.ping_timeout, self._miss_pong)

    def _miss_pong(self) -> None:
        if self._reading:
            self._cut()
        else:  # the answer may have come: it is not read
            self._pong_timer = self._clock.call_at(self._clock.now + self._pace.ping_timeout, self._miss_pong)

    def _cut(self) -> None:
        for timer in (self._ask_timer, self._pong_timer):
            if timer is not None:
                timer.cancel()
        self._waiting.clear()
        super()._cut()
