"""A server that speaks the plain wire and nothing else, written from the protocol's few lines."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


class PlainServer:
    """Everyone hears every line. A message that begins with / asks for something else:

    - `/refuse`: a refusal instead of a line
    - `/notice`: a line of the server's own that answers nothing, then the line
    - `/hold`: no answer, until `release` is set
    - `/never`: no answer at all
    - `/close CODE`: the connection ends with that code

    A path that ends in `/status/NNN` answers with that HTTP status; what was heard is in `said`.
    """

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.said: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.members: set[ServerConnection] = set()
        self.port = 0
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["PlainServer"]:
        self = cls()
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._answer, compression=None) as running:
            self.port = _port(running)
            yield self

    def tell(self, line: str) -> None:
        """Say a line to everyone."""
        broadcast(self.members, line)

    async def wait_members(self, count: int) -> None:
        """Until there are exactly `count` members."""
        while len(self.members) != count:
            self._changed.clear()
            await self._changed.wait()

    async def wait_said(self, count: int) -> None:
        """Until it heard `count` messages."""
        while len(self.said) < count:
            self._changed.clear()
            await self._changed.wait()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        _, found, status = request.path.partition("/status/")
        if not found:
            return None
        response = connection.respond(HTTPStatus(int(status[:3])), "no")
        if status.startswith("301"):
            response.headers["Location"] = "https://elsewhere.example/chat/public"
        return response

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        self.headers.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        self.members.add(connection)
        self._changed.set()
        try:
            with suppress(ConnectionClosed):
                async for data in connection:
                    await self._hear(connection, json.loads(data))
        finally:
            self.members.discard(connection)
            self._changed.set()

    async def _hear(self, connection: ServerConnection, said: dict[str, str]) -> None:
        self.said.append(said)
        self._changed.set()
        match said["message"].split():
            case ["/refuse", *_]:
                await connection.send("! bad_field: this is refused")
            case ["/never", *_]:
                pass
            case ["/close", code]:
                await connection.close(int(code), "as asked")
            case ["/hold", *_]:
                await self.release.wait()
                self.tell(_line(said))
            case ["/notice", *_]:
                await connection.send("! joined: someone came in")
                self.tell(_line(said))
            case _:
                self.tell(_line(said))


def _line(said: dict[str, str]) -> str:
    text = said["message"].replace("\r\n", " ")
    controls = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029) if code != 9}
    return f"{said['username'].strip()}> {text.translate(controls)}"


def _port(running: Server) -> int:
    port = next(iter(running.sockets)).getsockname()[1]
    assert isinstance(port, int)
    return port
