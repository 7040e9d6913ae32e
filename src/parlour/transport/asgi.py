"""Serves a connection through ASGI, on any server: texts go through a queue to one writer task, and come from one
reader.

The hub may live on another event loop than the connection (Starlette's TestClient runs each socket in a loop and thread
of its own). Every call then crosses over by `call_soon_threadsafe`, which keeps their order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from parlour.errors import Close
from parlour.hub import BACKLOG_LIMIT, CLOSE_LIMIT, Link

_T = TypeVar("_T")

_WATCH_SECONDS: Final = 1.0

_GONE = (OSError, RuntimeError, WebSocketDisconnect)
"""What servers raise when something is sent to a client that is gone."""


class Below(Protocol):
    """The transport below the server."""

    def cut(self) -> None:
        """Cut the connection at once."""
        ...

    def backlog(self) -> int:
        """Bytes that the server wrote and the kernel did not take."""
        ...


class AsgiConnection:
    """One connection on an ASGI server: the `Socket` that the hub writes to, and the endpoint's own `run`."""

    frames: Final = False
    pings: Final = False

    def __init__(self, websocket: WebSocket, hub_loop: asyncio.AbstractEventLoop, below: Below | None = None) -> None:
        """`hub_loop` is where the hub lives; `below` is given where the server lets its transport be seen."""
        self._websocket = websocket
        self._hub_loop = hub_loop
        self._below = below
        self._loop = asyncio.get_running_loop()
        self._link: Link | None = None  # set on the hub's loop
        self._texts: deque[str] = deque()
        # Two counters, for each is changed by one thread only.
        self._given = 0  # characters that the hub sent
        self._written = 0  # and those of them that the server took
        self._busy = False  # texts were given and the writer is not through with them
        self._told = False  # the link knows that it is paused
        self._closing: Close | None = None
        self._wake = asyncio.Event()  # the writer has something to do
        self._readable = asyncio.Event()
        self._readable.set()
        self._over = asyncio.Event()  # nothing more is to be done

    async def run(self, connect: Callable[["AsgiConnection"], Link], subprotocol: str | None) -> None:
        """Take a seat, accept, and serve until the connection is over.

        The seat comes first: one who knows that a client was accepted knows that it is seated. What the room says
        meanwhile waits in the queue.
        """
        try:
            await self._on_hub(lambda: self._take_seat(connect))
            with suppress(*_GONE):
                await self._serve(subprotocol)
        finally:
            # Not awaited: the server or a test may have cancelled this task, and the seat must be freed all the same.
            self._post(self._hub_loop, self._give_up_seat)
            if self._below is not None:
                # The server closes as well, but would wait for ever for a peer that reads nothing.
                self._loop.call_later(CLOSE_LIMIT, self._below.cut)

    async def _serve(self, subprotocol: str | None) -> None:
        await self._websocket.accept(subprotocol)
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        over = asyncio.create_task(self._over.wait())
        watch = asyncio.create_task(self._watch())
        try:
            await asyncio.wait((reader, writer, over), return_when=asyncio.FIRST_COMPLETED)
            for served in (reader, writer):
                if served.done() and (error := served.exception()) is not None:
                    self._post(self._hub_loop, partial(self._failed, error))
                    return
            if writer.done() and not self._over.is_set():  # closed by us: the client's answer ends the reader
                await asyncio.wait((reader, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer, over, watch):
                task.cancel()

    # What the hub calls, on its own loop

    def send(self, texts: Sequence[str]) -> None:
        was_busy, self._busy = self._busy, True
        self._given += sum(map(len, texts))
        self._texts.extend(texts)
        if was_busy and self._link is not None:
            self._told = True
            self._link.paused()
        self._post(self._loop, self._wake.set)

    def buffered(self) -> int:
        return self._given - self._written

    def ping(self) -> None:
        """ASGI has no pings: the server sends its own."""

    def pause_reading(self) -> None:
        self._post(self._loop, self._readable.clear)

    def resume_reading(self) -> None:
        self._post(self._loop, self._readable.set)

    def close(self, close: Close) -> None:
        self._closing = close
        self._post(self._loop, self._wake.set)
        self._post(self._loop, lambda: self._loop.call_later(CLOSE_LIMIT, self._give_up))

    def abort(self) -> None:
        self._post(self._loop, self._give_up)

    def _take_seat(self, connect: Callable[["AsgiConnection"], Link]) -> None:
        self._link = connect(self)

    def _give_up_seat(self) -> None:
        if self._link is not None:
            self._link.lost()

    def _drained(self) -> None:
        if self._link is not None:
            self._link.drained()

    def _receive(self, text: str | None, data: bytes | None) -> None:
        if self._link is not None:
            self._link.receive_unmeasured(text, data)

    def _failed(self, error: BaseException) -> None:
        if self._link is not None and isinstance(error, Exception):
            self._link.failed(error)

    # On the connection's loop

    async def _read(self) -> None:
        while True:
            await self._readable.wait()
            try:
                message = await self._websocket.receive()
            except _GONE:
                return
            if message["type"] == "websocket.disconnect":
                return
            await self._readable.wait()  # it may have been paused meanwhile
            # Waits for the hub where it lives on another loop: so a flood can't pile up between the two.
            await self._on_hub(partial(self._receive, message.get("text"), message.get("bytes")))

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            with suppress(*_GONE):
                while self._texts:
                    text = self._texts.popleft()
                    await self._websocket.send({"type": "websocket.send", "text": text})
                    self._written += len(text)
                if self._closing is not None:
                    await self._websocket.close(self._closing.code, self._closing.reason)
                    return
            self._busy = False
            # The hub sets `_told` before it wakes this task again, so that no pause is forgotten.
            if self._told:
                self._told = False
                self._post(self._hub_loop, self._drained)

    async def _watch(self) -> None:
        """A server answers pings by itself, also to a peer that takes none of the answers."""
        while self._below is not None and self._below.backlog() <= BACKLOG_LIMIT:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(_WATCH_SECONDS)
        if self._below is not None:
            self._give_up()

    def _give_up(self) -> None:
        self._over.set()
        if self._below is not None:
            self._below.cut()

    # Between the loops

    def _post(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Call on that loop, in order: now, if it is the one that runs."""
        if loop is self._loop and loop is self._hub_loop:
            callback()
            return
        with suppress(RuntimeError):  # that loop was closed, and with it whatever this was for
            loop.call_soon_threadsafe(callback)

    async def _on_hub(self, call: Callable[[], _T]) -> _T:
        if self._hub_loop is self._loop:
            return call()

        answer: Future[_T] = Future()

        def cross() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(call())
            except Exception as error:
                answer.set_exception(error)

        self._hub_loop.call_soon_threadsafe(cross)
        return await asyncio.wrap_future(answer)
