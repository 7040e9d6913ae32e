"""Takes a connection over from uvicorn right after the WebSocket was accepted.

uvicorn's own object, the ASGI task, the scope and its queue are gone then, and bytes come straight here by asyncio's
own `transport.set_protocol`. A whole small text frame is read by a few lines below; everything else (fragments, control
frames, errors) goes to the websockets library's parser, which lives only while it is needed.

Everything that leans on uvicorn's inside stands in this module. Where uvicorn is not as expected, `found` gives None
and the plain ASGI transport serves.
"""

import asyncio
import logging
from collections.abc import Callable, MutableSet
from typing import Any, Final, cast

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from parlour.errors import FRAGMENTS, NOT_UTF8, TOO_BIG, TOO_EARLY, Close
from parlour.hub import CLOSE_LIMIT, FRAGMENTS_LIMIT, Link
from parlour.wire.contract import FRAME_LIMIT

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler was at hand when it was installed
    from websockets.utils import apply_mask

_quiet_logger = logging.getLogger("parlour.frames")
"""For the library, which logs what people say at level DEBUG."""
_quiet_logger.setLevel(logging.WARNING)

_TEXT: Final = 0x81  # FIN and the opcode for text (RFC 6455 5.2)
_MASKED: Final = 0x80
_PING: Final = b"\x89\x00"

_NEEDED: Final = (
    "client",
    "conn",
    "connections",
    "handshake_complete",
    "queue",
    "read_paused",
    "response",
    "scope",
    "stop_keepalive",
    "transport",
)


class TakenConnection(asyncio.Protocol):
    """A connection taken over: the protocol of its transport, and the `Socket` that the hub writes to."""

    __slots__ = (
        "_abort_timer",
        "_closing",
        "_group",
        "_is_deaf",
        "_limit",
        "_link",
        "_loop",
        "_need",
        "_on_shutdown",
        "_parser",
        "_pieces",
        "_reading",
        "_rest",
        "_transport",
        "send",
    )

    frames: Final = True
    pings: Final = True

    def __init__(
        self,
        transport: asyncio.Transport,
        group: MutableSet[Any],
        on_shutdown: Callable[[], object],
        *,
        limit: int = FRAME_LIMIT,
    ) -> None:
        """`group` is uvicorn's set of live connections; `on_shutdown` is called when uvicorn stops; `limit` holds for
        one message, in bytes."""
        self.send: Callable[[Any], object] = transport.write
        self._transport = transport
        self._group = group
        self._on_shutdown = on_shutdown
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None  # set by `serve`
        self._reading = True
        self._is_deaf = False  # what still comes is dropped
        self._closing = False  # a close frame was sent or received, or the transport failed
        self._rest: bytes | bytearray = b""  # the beginning of a frame that is not whole yet
        self._need = 0  # bytes of that frame, as far as its header tells
        self._parser: ServerProtocol | None = None  # only while a message comes in fragments, or while closing
        self._pieces: list[bytes] | None = None  # those fragments
        self._abort_timer: asyncio.TimerHandle | None = None

    def serve(self, link: Link) -> None:
        """Hand what comes to the link from now on."""
        self._link = link
        # At 0, `pause_writing` comes from within `write` as soon as a byte is left over. A TLS transport, which never
        # writes at once, would pause at every write then.
        secure = self._transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if secure else 0)

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        rest = self._rest
        if rest:
            if len(rest) + len(data) < self._need or not self._reading:
                # Kept in one growing buffer: a frame that comes byte by byte must not be copied for each.
                self._rest = rest = rest if isinstance(rest, bytearray) else bytearray(rest)
                rest += data
                if self._link is not None:
                    self._link.began()
                return
            data = bytes(rest) + data
        self._read(data)

    def eof_received(self) -> None:
        """The peer sends no more: the transport closes itself, which `connection_lost` tells."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._group.discard(self)
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._link is not None:
            self._link.lost()

    def pause_writing(self) -> None:
        if self._link is not None:
            self._link.paused()

    def resume_writing(self) -> None:
        if self._link is not None:
            self._link.drained()

    # What uvicorn calls

    def shutdown(self) -> None:
        """uvicorn stops; it waits until every connection has left its set."""
        self._on_shutdown()

    # What the hub calls

    def buffered(self) -> int:
        return self._transport.get_write_buffer_size()

    def ping(self) -> None:
        self._write(_PING)

    def pause_reading(self) -> None:
        self._reading = False
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._reading = True
        self._loop.call_soon(self._resume)

    def close(self, close: Close) -> None:
        if self._closing:
            return
        parser = self._parser = self._parser or self._new_parser()
        parser.send_close(close.code, close.reason)
        self._write(b"".join(parser.data_to_send()))
        self._begin_closing()
        self._reading = True
        self._resume_transport()  # the peer's close frame ends it sooner

    def abort(self) -> None:
        self._closing = True
        self._transport.abort()

    # Inside

    def _read(self, data: bytes) -> None:
        """Read all whole frames of `data`, which begins with one; keep the rest."""
        link = self._link
        if link is None:
            raise RuntimeError("expected a link, got none: serve() comes first")
        at, end = 0, len(data)
        had_rest = bool(self._rest)
        self._need = 0
        try:
            while end - at >= 6 and self._reading:
                size = data[at + 1] & 0x7F
                start = at + 6
                if size >= 126:
                    wide = 2 if size == 126 else 8
                    start += wide
                    if end < start:
                        break
                    size = int.from_bytes(data[at + 2 : at + 2 + wide])
                    if size > self._limit:
                        # Nothing behind such a header is read: the frame is not taken, so where it ends is unknown.
                        self._rest = b""
                        self._is_deaf = True
                        link.end(TOO_BIG)
                        return
                stop = start + size
                if stop > end:
                    self._need = stop - at
                    break
                if data[at] == _TEXT and data[at + 1] & _MASKED and self._parser is None:
                    try:
                        text = apply_mask(data[start:stop], data[start - 4 : start]).decode()
                    except UnicodeDecodeError:
                        link.end(NOT_UTF8)
                    else:
                        link.receive(text)
                else:
                    self._read_frame(data[at:stop], link)
                at = stop
        except Exception as error:
            self._rest = b""
            link.failed(error)
            return
        self._rest = data[at:] if at else data
        if self._closing:
            return
        if at and had_rest and self._pieces is None:
            link.finished()
        if self._rest and self._reading:
            self._expect_more(link)

    def _expect_more(self, link: Link) -> None:
        """A frame is not whole yet. One without a mask is refused by its first two bytes: it has another length."""
        rest = self._rest
        if len(rest) >= 2 and not rest[1] & _MASKED:
            self._read_frame(bytes(rest[:2]), link)
        else:
            link.began()

    def _read_frame(self, frame: bytes, link: Link) -> None:
        """Let the library read one frame, and do what follows."""
        parser = self._parser = self._parser or self._new_parser()
        parser.receive_data(frame)
        for event in parser.events_received():
            if isinstance(event, Frame) and not self._closing:
                self._take(event, link)
        if parser.state is State.OPEN:
            self._write(b"".join(parser.data_to_send()))
            if self._pieces is None:
                self._parser = None
        elif not self._closing:
            # A close frame came, or the library found an error: its answer goes out behind what the room said before.
            link.parted()
            self._write(b"".join(parser.data_to_send()))
            self._begin_closing()
            self._transport.close()
        elif parser.close_rcvd is not None:
            self._transport.close()

    def _take(self, frame: Frame, link: Link) -> None:
        match frame.opcode:
            case Opcode.PING | Opcode.PONG:
                link.control()
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self._deliver(frame.opcode, bytes(frame.data), link)
            case Opcode.TEXT | Opcode.BINARY:
                # The first byte tells the kind, so that one list is enough.
                self._pieces = [b"t" if frame.opcode is Opcode.TEXT else b"b", bytes(frame.data)]
                link.began()
            case Opcode.CONT if self._pieces is not None:
                self._pieces.append(bytes(frame.data))
                if frame.fin:
                    kind, *pieces = self._pieces
                    self._pieces = None
                    link.finished()
                    self._deliver(Opcode.TEXT if kind == b"t" else Opcode.BINARY, b"".join(pieces), link)
                elif len(self._pieces) > FRAGMENTS_LIMIT:
                    link.end(FRAGMENTS)

    def _deliver(self, opcode: Opcode, data: bytes, link: Link) -> None:
        if opcode is not Opcode.TEXT:
            link.receive_binary(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            link.end(NOT_UTF8)
        else:
            link.receive(text)

    def _begin_closing(self) -> None:
        self._closing = True
        self._abort_timer = self._loop.call_later(CLOSE_LIMIT, self._transport.abort)

    def _resume(self) -> None:
        if self._closing or not self._reading:
            return
        if self._rest:
            self._read(bytes(self._rest))
        self._resume_transport()

    def _resume_transport(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._transport.resume_reading()

    def _write(self, data: bytes) -> None:
        """Write control frames. They may stand between any two frames of the hub's."""
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _new_parser(self) -> ServerProtocol:
        return ServerProtocol(state=State.OPEN, max_size=self._limit, logger=_quiet_logger)


class Upgrade:
    """A WebSocket on uvicorn, from the request on until it is taken over."""

    def __init__(self, protocol: WebSocketsSansIOProtocol) -> None:
        self._protocol = protocol
        self._transport = protocol.transport

    @property
    def server(self) -> object:
        """Stands for the running server: another one has another object."""
        return self._protocol.connections

    @property
    def host(self) -> str | None:
        """The transport's peer. The scope may tell another: uvicorn believes forwarding headers from loopback."""
        return None if self._protocol.client is None else self._protocol.client[0]

    def hide_query(self) -> None:
        """uvicorn logs the path with its query when it accepts or refuses, and a query may hold a token; as the peer it
        logs whatever a forwarding header said."""
        self._protocol.scope = {**self._protocol.scope, "query_string": b"", "client": self._protocol.client}

    def denied(self) -> None:
        """uvicorn takes an answer without an upgrade for a forgotten handshake, and would log an error for each."""
        self._protocol.handshake_complete = True

    def decline_deflate(self) -> None:
        """Before accepting: agree on no extension. Compression costs 56 KiB a connection and makes 15 MiB of 15 KB."""
        headers = self._protocol.response.headers
        if "Sec-WebSocket-Extensions" in headers:
            del headers["Sec-WebSocket-Extensions"]
        self._protocol.conn.extensions = []

    def hold(self) -> None:
        """Read nothing more until the request is answered; uvicorn reads again when it is asked for the first event."""
        self._protocol.read_paused = True
        self._transport.pause_reading()

    def cut(self) -> None:
        """Cut the connection at once, whatever uvicorn still has to write."""
        self._transport.abort()

    def backlog(self) -> int:
        """Bytes that uvicorn wrote and the kernel did not take."""
        return self._transport.get_write_buffer_size()

    def take(
        self,
        connect: Callable[[TakenConnection], Link],
        on_shutdown: Callable[[], object],
        *,
        limit: int = FRAME_LIMIT,
    ) -> None:
        """Right after it was accepted: take the connection over, and serve it with the link that `connect` makes.

        Nothing has run on the loop since the answer was written, so what the client sent too early is either in
        uvicorn's queue or half read by its parser. A client that began a frame before the handshake was over broke RFC
        6455 4.1, and is closed.
        """
        protocol, transport = self._protocol, self._transport
        early = [protocol.queue.get_nowait() for _ in range(protocol.queue.qsize())]
        is_half_read = not _is_between_frames(protocol.conn)
        group = cast(MutableSet[Any], protocol.connections)
        protocol.stop_keepalive()
        protocol.connections.discard(protocol)
        protocol.transport = cast(asyncio.Transport, _Dead())
        taken = TakenConnection(transport, group, on_shutdown, limit=limit)
        transport.set_protocol(taken)
        group.add(taken)
        if protocol.read_paused:
            transport.resume_reading()
        link = connect(taken)
        taken.serve(link)
        if is_half_read:
            link.end(TOO_EARLY)
        for message in cast(list[dict[str, Any]], early):
            if message["type"] == "websocket.receive":
                link.receive_unmeasured(message.get("text"), message.get("bytes"))


def found(websocket: WebSocket) -> Upgrade | None:
    """uvicorn's object behind this WebSocket, or None where there is none, or not one as expected.

    Starlette wraps `send` and leaves `receive` as it was. Something else that wraps it, such as tracing, wants to see
    every message, and the plain ASGI transport lets it.
    """
    protocol = getattr(getattr(websocket, "_receive", None), "__self__", None)
    if type(protocol) is not WebSocketsSansIOProtocol or not _CAN_TELL:
        return None
    if not all(hasattr(protocol, name) for name in _NEEDED):
        return None
    return Upgrade(protocol)


def _is_between_frames(conn: ServerProtocol) -> bool:
    """Whether the library's parser waits for the first byte of a frame: then it is inside its reader's `at_eof`."""
    inner: Any = conn.parser
    while inner.gi_yieldfrom is not None:
        inner = inner.gi_yieldfrom
    return str(inner.__name__) == "at_eof"


def _can_tell_frames_apart() -> bool:
    """Probe what `_is_between_frames` leans on: where the library changed, plain ASGI serves."""
    conn = ServerProtocol(state=State.OPEN)
    try:
        before = _is_between_frames(conn)
        conn.receive_data(b"\x81")
        return before and not _is_between_frames(conn)
    except AttributeError:
        return False


_CAN_TELL: Final = _can_tell_frames_apart()


class _Dead:
    """Stands for the transport in uvicorn's object, which closes it when the endpoint returns."""

    def is_closing(self) -> bool:
        return True

    def close(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...
