"""An app that says everything back, on the protocol that takes connections over: what the Autobahn suite talks to."""

from typing import cast

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from parlour.errors import INTERNAL, Close
from parlour.hub import Link, frame
from parlour.transport.uvicorn import TakenConnection, found

LIMIT = 16 * 1024 * 1024


class Echo:
    """Stands for the hub's link: what comes goes back at once."""

    def __init__(self, socket: TakenConnection) -> None:
        self._socket = socket

    def receive(self, text: str) -> None:
        self._socket.send(frame(text))

    def receive_binary(self, data: bytes) -> None:
        self._socket.send(binary_frame(data))

    def receive_unmeasured(self, text: str | None, data: bytes | None) -> None:
        if text is not None:
            self.receive(text)
        elif data is not None:
            self.receive_binary(data)

    def end(self, close: Close) -> None:
        self._socket.close(close)

    def failed(self, error: Exception) -> None:
        self.end(INTERNAL)

    def control(self) -> None: ...

    def began(self) -> None: ...

    def finished(self) -> None: ...

    def parted(self) -> None: ...

    def lost(self) -> None: ...

    def paused(self) -> None: ...

    def drained(self) -> None: ...


def binary_frame(data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x82, size)) + data
    return (b"\x82\x7e" + size.to_bytes(2) if size < 65536 else b"\x82\x7f" + size.to_bytes(8)) + data


async def echo(websocket: WebSocket) -> None:
    upgrade = found(websocket)
    assert upgrade is not None
    upgrade.decline_deflate()
    await websocket.accept()
    upgrade.take(lambda socket: cast(Link, Echo(socket)), lambda: None, limit=LIMIT)


app = Starlette(routes=[WebSocketRoute("/", echo)])
