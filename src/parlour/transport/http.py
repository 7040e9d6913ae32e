"""uvicorn's HTTP with an end to waiting, for our own server."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with an end to waiting: a request must be whole 10 seconds after it could begin."""

    REQUEST_LIMIT: Final = 10.0
    HEADER_LIMIT: Final = 64 * 1024

    _request_timer: asyncio.TimerHandle | None = None
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        self._header_bytes += len(data)
        if self._header_bytes > self.HEADER_LIMIT and self._request_timer is not None:
            self.transport.abort()
            return
        super().data_received(data)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_expecting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def handle_websocket_upgrade(self) -> None:
        self._stop_expecting()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        self._stop_expecting()
        self._header_bytes = 0
        self._request_timer = self.loop.call_later(self.REQUEST_LIMIT, self.transport.abort)

    def _stop_expecting(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None
