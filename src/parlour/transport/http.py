"""uvicorn's HTTP with an end to waiting, for our own server."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with an end to waiting: a request must be whole 10 seconds after it could begin."""

    REQUEST_LIMIT: Final = 10.0
    BYTES_LIMIT: Final = 64 * 1024
    PIPELINE_LIMIT: Final = 16

    _request_timer: asyncio.TimerHandle | None = None
    _request_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        self._request_bytes += len(data)
        if self._request_bytes > self.BYTES_LIMIT and self._request_timer is not None:
            self._cut()
            return
        super().data_received(data)
        if len(self.pipeline) > self.PIPELINE_LIMIT:
            self._cut()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_expecting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def handle_websocket_upgrade(self) -> None:
        """The websockets library may refuse a request that httptools took (a header of 9 kB, for one). It says so
        before uvicorn listens, which would then keep the connection for ever."""
        self._stop_expecting()
        super().handle_websocket_upgrade()
        upgraded = self.transport.get_protocol()
        if not getattr(upgraded, "handshake_initiated", True):
            self.transport.abort()
        else:
            self.loop.call_later(self.REQUEST_LIMIT, _cut_unanswered, upgraded, self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        self._stop_expecting()
        self._request_bytes = 0
        self._request_timer = self.loop.call_later(self.REQUEST_LIMIT, self._cut)

    def _stop_expecting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _cut(self) -> None:
        """Abort, and let the request that is being answered know: it would write to a closed transport."""
        self.pipeline.clear()
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.abort()


def _cut_unanswered(upgraded: object, transport: asyncio.Transport) -> None:
    if not getattr(upgraded, "handshake_complete", True):
        transport.abort()
