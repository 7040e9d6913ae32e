"""The protocol that takes a connection over, on a transport that the test holds in its hands: odd orders of calls."""

import asyncio
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.errors import NO_PONG, RESTART, Close
from parlour.hub import Link
from parlour.transport.uvicorn import TakenConnection
from parlour.wire.contract import FRAME_LIMIT
from tests.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame


class FakeTransport(asyncio.Transport):
    """Takes writes until it is told to be full, and tells what was called."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.acts: list[str] = []
        self._reads = True
        self.taken: TakenConnection | None = None
        self.is_full = False
        self._is_closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return len(self.written) if self.is_full else 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._is_closing, "written after the transport was closed"
        self.written += bytes(data)
        if self.is_full and self.taken is not None:
            self.taken.pause_writing()

    def is_closing(self) -> bool:
        return self._is_closing

    def does_read(self) -> bool:
        return self._reads

    def pause_reading(self) -> None:
        assert not self._is_closing
        self._reads = False

    def resume_reading(self) -> None:
        assert not self._is_closing
        self._reads = True

    def close(self) -> None:
        self.acts.append("close")
        self._is_closing = True

    def abort(self) -> None:
        self.acts.append("abort")
        self._is_closing = True

    def sent(self) -> list[tuple[int, bytes]]:
        """First byte and payload of each frame written since the last look."""
        frames, data, self.written = [], self.written, b""
        while data:
            assert data[1] < 126
            frames.append((data[0], data[2 : 2 + data[1]]))
            data = data[2 + data[1] :]
        return frames


class FakeLink:
    """Writes down what a transport tells; `on_text` is called for each text."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.on_text: Callable[[str], object] = lambda text: None
        self.socket: TakenConnection | None = None

    @property
    def said(self) -> list[str | bytes]:
        return [told for told in self.told if not isinstance(told, tuple)]

    def marks(self) -> list[str]:
        return [told[0] for told in self.told if isinstance(told, tuple)]

    def receive(self, text: str) -> None:
        self.told.append(text)
        self.on_text(text)

    def receive_binary(self, data: bytes) -> None:
        self.told.append(data)

    def end(self, close: Close) -> None:
        self.told.append(("end", close.code))
        assert self.socket is not None
        self.socket.close(close)

    def failed(self, error: Exception) -> None:
        self.told.append(("failed", type(error)))
        assert self.socket is not None
        self.socket.close(Close(4003))

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.told.append((name,))


class World:
    """A connection taken over, its transport, its link, and uvicorn's set of connections."""

    def __init__(self, *, limit: int = FRAME_LIMIT) -> None:
        self.loop = FakeLoop()
        self.transport = FakeTransport()
        self.link = FakeLink()
        self.group: set[Any] = set()
        self.shutdowns = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: self.loop)
            self.taken = TakenConnection(self.transport, self.group, self._shut_down, limit=limit)
        self.group.add(self.taken)
        self.transport.taken = self.taken
        self.link.socket = self.taken
        self.taken.serve(cast(Link, self.link))

    def _shut_down(self) -> None:
        self.shutdowns += 1

    def receive(self, *data: bytes) -> None:
        for piece in data:
            self.taken.data_received(piece)


class FakeLoop:
    """What is planned waits for `turn` and `wait`."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], object]] = []
        self._later: list[tuple[FakeTimer, Callable[[], object]]] = []

    def call_soon(self, call: Callable[[], object]) -> None:
        self._soon.append(call)

    def call_later(self, seconds: float, call: Callable[[], object]) -> "FakeTimer":
        timer = FakeTimer()
        self._later.append((timer, call))
        return timer

    def turn(self) -> None:
        soon, self._soon = self._soon, []
        for call in soon:
            call()

    def wait(self) -> None:
        """Until every timer has rung."""
        for timer, call in self._later:
            if not timer.is_cancelled:
                call()
        self._later = []


class FakeTimer:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


def text(words: str) -> bytes:
    return frame(TEXT, words.encode())


# Reading

MESSAGES = st.lists(
    st.one_of(
        st.text(max_size=300).map(lambda words: [text(words)]),
        st.binary(max_size=200).map(lambda data: [frame(BINARY, data)]),
        st.binary(max_size=125).map(lambda data: [frame(PING, data)]),
        st.just([frame(PONG)]),
        st.lists(st.text(max_size=20), min_size=2, max_size=5).map(
            lambda parts: [
                frame(TEXT if at == 0 else CONT, part.encode(), fin=at == len(parts) - 1)
                for at, part in enumerate(parts)
            ]
        ),
        st.just([frame(TEXT, b"a", fin=False), frame(PING, b"between"), frame(CONT, b"b")]),
    ),
    max_size=8,
)


@given(MESSAGES, st.lists(st.integers(min_value=0), max_size=20), st.booleans())
def test_no_matter_where_the_stream_is_cut(messages: list[list[bytes]], cuts: list[int], is_slow: bool) -> None:
    """The link is told the same, in the same order, whether the bytes come at once or in pieces, and also where the
    peer is not read for a while after every text. Nothing but what is needed stays behind."""
    data = b"".join(piece for message in messages for piece in message)
    whole = World()
    whole.receive(data)
    world = World()
    if is_slow:
        world.link.on_text = lambda words: world.taken.pause_reading()
    edges = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, stop in pairwise(edges):
        world.receive(data[start:stop])
        while not world.transport.does_read():
            world.taken.resume_reading()
            world.loop.turn()
    assert world.link.said == whole.link.said
    assert world.transport.sent() == whole.transport.sent()
    assert len(whole.link.said) == sum(message[0][0] & 0x0F in (TEXT, BINARY) for message in messages)
    began, finished = (
        max((at for at, mark in enumerate(world.link.told) if mark == (name,)), default=-1)
        for name in ("began", "finished")
    )
    assert finished >= began or not messages, "no message is on its way any more"


def test_a_message_in_pieces_begins_and_ends() -> None:
    """Each piece says that one is on its way; so the hub's deadline holds from the first byte on."""
    world = World()
    data = text("hello")
    world.receive(data[:1])
    assert world.link.marks() == ["began"]
    world.receive(data[1:7], data[7:])
    assert world.link.marks() == ["began"] * 2 + ["finished"]
    world.receive(data + data[:3])
    assert world.link.marks()[3:] == ["began"]


def test_fragments_that_come_in_pieces() -> None:
    """Whole frames in between are no end of the message: its time counts from its first byte."""
    world = World()
    first, last = frame(TEXT, b"hel", fin=False), frame(CONT, b"lo")
    world.receive(first[:3], first[3:], frame(PING)[:2], frame(PING)[2:], last[:4])
    assert "finished" not in world.link.marks()
    world.receive(last[4:])
    assert world.link.said == ["hello"]
    assert world.link.marks()[-1] == "finished"


def test_the_end_of_one_and_the_beginning_of_the_next() -> None:
    """One message is whole, another has begun: its time counts from now."""
    world = World()
    data = text("hello")
    world.receive(data[:4], data[4:] + data[:4])
    assert world.link.marks() == ["began", "finished", "began"]


def test_nothing_is_read_while_paused() -> None:
    """What the transport hands over all the same waits, and comes in order, in a later turn."""
    world = World()
    world.link.on_text = lambda words: world.taken.pause_reading() if words == "2" else None
    world.receive(text("1") + text("2") + text("3") + text("4")[:3])
    world.receive(text("4")[3:] + text("5"))
    assert world.link.said == ["1", "2"]
    assert not world.transport.does_read()
    world.taken.resume_reading()
    assert world.link.said == ["1", "2"]
    world.loop.turn()
    assert world.transport.does_read()
    assert world.link.said[:3] == ["1", "2", "3"]


def test_paused_again_while_it_catches_up() -> None:
    """A rate lets one line through at a time."""
    world = World()
    world.link.on_text = lambda words: world.taken.pause_reading()
    world.receive(text("1") + text("2") + text("3"))
    for heard in (["1"], ["1", "2"], ["1", "2", "3"]):
        assert world.link.said == heard
        world.taken.resume_reading()
        world.taken.pause_reading()
        world.taken.resume_reading()
        world.loop.turn()
    assert world.transport.does_read()


def test_what_breaks_inside_is_told_and_ends_it() -> None:
    """An error of ours is no error of the event loop's."""
    world = World()

    def fail(words: str) -> None:
        raise LookupError

    world.link.on_text = fail
    world.receive(text("1") + text("2"))
    assert world.link.told == ["1", ("failed", LookupError)]
    world.receive(text("3"))
    assert world.link.said == ["1"]
    assert world.transport.sent() == [(0x88, struct.pack("!H", 4003))]


# Closing


def test_closing_twice_is_closing_once() -> None:
    world = World()
    world.taken.close(RESTART)
    world.taken.close(NO_PONG)
    assert world.transport.sent() == [(0x88, struct.pack("!H", 4000) + b"the server restarts")]
    assert world.transport.acts == []


def test_the_answer_to_a_close_frame_ends_it() -> None:
    """Whatever the client says before it is dropped."""
    world = World()
    world.taken.close(RESTART)
    world.receive(text("late") + frame(PING) + frame(BINARY, b"late"), frame(CLOSE, struct.pack("!H", 4000)))
    assert world.transport.acts == ["close"]
    assert world.link.said == []


def test_without_an_answer_it_is_cut() -> None:
    world = World()
    world.taken.close(RESTART)
    world.loop.wait()
    assert world.transport.acts == ["abort"]


def test_a_close_frame_that_can_not_be_written_is_cut_as_well() -> None:
    """The client closes, but reads nothing."""
    world = World()
    world.transport.is_full = True
    world.receive(frame(CLOSE))
    assert world.link.marks()[:1] == ["parted"]
    world.loop.wait()
    assert world.transport.acts == ["close", "abort"]


def test_close_while_not_reading() -> None:
    """It reads again, for the answer."""
    world = World()
    world.taken.pause_reading()
    world.taken.close(RESTART)
    assert world.transport.does_read()
    world.receive(frame(CLOSE))
    assert world.transport.acts == ["close"]


def test_resuming_behind_the_close_says_nothing() -> None:
    world = World()
    world.link.on_text = lambda words: world.taken.pause_reading()
    world.receive(text("1") + text("2"))
    world.taken.resume_reading()
    world.taken.close(RESTART)
    world.loop.turn()
    assert world.link.said == ["1"]


def test_a_close_in_the_midst_of_a_chunk() -> None:
    """The hub ends the connection while it reads the chunk: the rest of it is dropped."""
    world = World()
    world.link.on_text = lambda words: world.taken.close(RESTART)
    world.receive(text("1") + text("2") + frame(TEXT, b"3", fin=False) + frame(CONT, b"4"))
    assert world.link.said == ["1"]
    assert [first for first, _ in world.transport.sent()] == [0x88]


def test_a_close_in_the_midst_of_fragments() -> None:
    """The hub ends the connection on the last fragment, or between two."""
    world = World()
    world.link.on_text = lambda words: world.taken.close(RESTART)
    world.receive(frame(TEXT, b"1", fin=False), frame(CONT, b"2"), frame(TEXT, b"3", fin=False))
    assert world.link.said == ["12"]
    other = World()
    other.receive(frame(TEXT, b"1", fin=False))
    other.taken.close(RESTART)
    other.receive(frame(CONT, b"2"), frame(CLOSE))
    assert other.link.said == []


def test_abort_then_anything() -> None:
    """After an abort nothing is written, read or closed."""
    world = World()
    world.taken.abort()
    world.taken.close(RESTART)
    world.taken.ping()
    world.taken.pause_reading()
    world.taken.resume_reading()
    world.loop.turn()
    world.taken.connection_lost(None)
    world.loop.wait()
    assert world.transport.acts == ["abort"]
    assert world.transport.sent() == []


def test_lost_is_told_and_leaves_uvicorns_set() -> None:
    """uvicorn waits for its set to be empty before it stops; timers die with the connection."""
    world = World()
    world.taken.close(RESTART)
    world.taken.connection_lost(ConnectionResetError())
    world.loop.wait()
    assert world.link.marks() == ["lost"]
    assert world.group == set()
    assert world.transport.acts == []


def test_the_end_of_uvicorn_reaches_the_hub() -> None:
    world = World()
    world.taken.shutdown()
    assert world.shutdowns == 1


# Writing


def test_a_full_transport_is_told_from_within_the_write() -> None:
    world = World()
    world.transport.is_full = True
    world.taken.send(b"\x81\x02hi")
    assert world.link.marks() == ["paused"]
    assert world.taken.buffered() == 4
    world.taken.resume_writing()
    assert world.link.marks() == ["paused", "drained"]


def test_pings_are_empty() -> None:
    world = World()
    world.taken.ping()
    assert world.transport.sent() == [(0x89, b"")]


def test_nothing_is_written_to_a_closed_transport() -> None:
    """The transport closed itself: the peer ended its half."""
    world = World()
    world.transport.close()
    world.taken.ping()
    world.receive(frame(PING, b"x"))
    world.taken.close(RESTART)
    assert world.transport.sent() == []
    world.taken.connection_lost(None)


def test_limits_hold_for_the_whole_message() -> None:
    """By the header alone, and summed over fragments."""
    world = World(limit=1000)
    world.receive(frame(TEXT, b"x" * 1000))
    world.receive(frame(TEXT, b"x" * 1001)[:8])
    assert world.link.marks()[-1:] == ["end"]
    assert world.transport.sent()[0][1][:2] == struct.pack("!H", 1009)
    world = World(limit=1000)
    world.receive(frame(TEXT, b"x" * 600, fin=False), frame(CONT, b"x" * 401))
    assert world.link.said == []
    assert world.transport.sent()[0][1][:2] == struct.pack("!H", 1009)
