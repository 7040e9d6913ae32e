"""What a test kit puts in place of the world: a clock, a network, and the transports of the server above it."""

import heapq
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple

from parlour.core.connection import Pace
from parlour.errors import NOT_UTF8, TOO_BIG, Close
from parlour.hub import CLOSE_LIMIT, Link, frame
from parlour.wire.contract import FRAME_LIMIT

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
"""First bytes of whole frames (RFC 6455 5.2)."""

TURNS_LIMIT: Final = 100_000


class Planned:
    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], object] | None) -> None:
        self.when = when
        self.callback = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """A `hub.Scheduler` that turns as asyncio's loop does, but where time passes only when nothing is left to do."""

    def __init__(self) -> None:
        self.now = 0.0
        self._ready: deque[Callable[[], object]] = deque()
        self._planned: list[tuple[float, int, Planned]] = []  # a heap
        self._entries = count()
        self._turns = 0  # at this moment

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], object], /) -> None:
        self._ready.append(callback)

    def call_at(self, when: float, callback: Callable[[], object], /) -> Planned:
        planned = Planned(when, callback)
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
        if self._turns > TURNS_LIMIT:
            raise RuntimeError(f"time stands still at {self.now:g} s: something plans itself again and again")
        while self._planned and self._planned[0][0] <= self.now:
            callback = heapq.heappop(self._planned)[2].callback
            if callback is not None:
                self._ready.append(callback)
        for _ in range(len(self._ready)):
            self._ready.popleft()()
        return True


class Stream:
    """One direction of a connection: bytes arrive in order, as far as the reader takes them."""

    def __init__(self, clock: Clock, latency: float, capacity: float) -> None:
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


class Line(NamedTuple):
    """Both directions of a connection, seen from the client."""

    up: Stream
    down: Stream

    @classmethod
    def of(cls, clock: Clock, latency: float, buffer: int) -> "Line":
        """`buffer` is in bytes, what the kernels on the way to a client that does not read take."""
        return cls(Stream(clock, latency, inf), Stream(clock, latency, buffer))


class FrameReader:
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


def packed(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def _close_frame(close: Close) -> bytes:
    return packed(CLOSE, close.code.to_bytes(2, "big") + close.reason.encode())


class Transport(ABC):
    """The server's end of a connection, as far as both kinds are alike: each is a `hub.Socket`."""

    def __init__(self, clock: Clock, line: Line, pace: Pace, failed: Callable[[Exception], object]) -> None:
        self._clock = clock
        self._up, self._down = line
        self._pace = pace
        self._failed = failed
        self._link: Link | None = None  # set by `serve`
        self._frames = FrameReader()
        self._reading = True
        self._closing = False  # a close frame was sent or received
        self._over = False  # nothing can be written any more
        self._limit: Planned | None = None  # cuts a connection that does not end
        self._up.serve(self._read, self._peer_ended)

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
        if first == CLOSE:
            self._peer_closed(payload)
        elif not self._closing:
            self._receive(first, payload)

    def _receive(self, first: int, payload: bytes) -> None:
        if len(payload) > FRAME_LIMIT:
            self.link.end(TOO_BIG)
        elif first == TEXT:
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                self.link.end(NOT_UTF8)
            else:
                self.link.receive(text)
        elif first == BINARY:
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


class Taken(Transport):
    """A connection taken over: `send` is the `write` of asyncio's transport with its buffer limit at 0."""

    frames: Final = True
    pings: Final = True

    def __init__(self, clock: Clock, line: Line, pace: Pace, failed: Callable[[Exception], object]) -> None:
        super().__init__(clock, line, pace, failed)
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
        self.send(packed(PING, b""))

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
        if first in (PING, PONG):
            self.link.control()
        if first == PING and not self._closing:
            self.send(packed(PONG, payload))

    def _peer_closed(self, payload: bytes) -> None:
        if not self._closing:
            self.link.parted()
            self.send(packed(CLOSE, payload[:2]))
            self._begin_closing()
        self._ends = True
        if not self._buffer:
            self._cut()

    def _cut(self) -> None:
        self._buffer.clear()
        super()._cut()


class Asgi(Transport):
    """A connection through a plain ASGI server: texts wait for one writer, and the server itself asks for signs of
    life."""

    frames: Final = False
    pings: Final = False

    def __init__(self, clock: Clock, line: Line, pace: Pace, failed: Callable[[Exception], object]) -> None:
        super().__init__(clock, line, pace, failed)
        self._waiting: deque[tuple[bytes, int]] = deque()  # frames to be written, with the characters that they count
        self._rest = b""  # of the frame that is being written
        self._rest_counts = 0
        self._buffered = 0
        self._busy = False  # texts were given and the writer is not through with them
        self._told = False  # the link knows that it is paused
        self._is_awake = False  # the writer's turn comes
        self._ends = False  # after all is written
        self._ask_timer: Planned | None = None
        self._pong_timer: Planned | None = None

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
            self._waiting.appendleft((packed(first, payload), 0))
            self._wake()

    def _receive(self, first: int, payload: bytes) -> None:
        super()._receive(first, payload)
        if first == PING:
            self._write_control(PONG, payload)
        elif first == PONG and self._pong_timer is not None:
            self._pong_timer.cancel()
            self._pong_timer = None

    def _peer_closed(self, payload: bytes) -> None:
        if self._closing:
            self._cut()
            return
        self.link.lost()
        self._waiting.clear()
        self._waiting.append((packed(CLOSE, payload[:2]), 0))
        self._ends = True
        self._begin_closing()
        self._wake()

    def _ask(self) -> None:
        now = self._clock.now
        self._ask_timer = self._clock.call_at(now + self._pace.ping, self._ask)
        self._write_control(PING, b"")
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
