"""Our own server: uvicorn around `app.create_app`, as `parlour serve` runs it."""

import asyncio
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from parlour.app import Parlour, create_app, new_store
from parlour.errors import SettingsError
from parlour.hub import CLOSE_LIMIT
from parlour.keyfile import check_secrets
from parlour.logs import set_up
from parlour.settings import Settings, variable_name
from parlour.store import StoreError
from parlour.wire.contract import FRAME_LIMIT

logger = logging.getLogger("parlour")

ADDRESS_FILE: Final = "server.json"
"""Where a running server is, in its data folder: `{"url": ..., "pid": ...}`."""

_STOP_LIMIT: Final = 8
"""Seconds after which a stopping server cuts what is still open."""


def serve(settings: Settings) -> int:
    """Run the server until it is told to stop, and give the exit code. Raises `SettingsError` and nothing else."""
    set_up(settings.log_format)
    check_secrets(settings.data)  # or else the first client would find it out
    _check_database(settings)
    if settings.reload:
        return _serve_reloading(settings)
    try:
        _Server(settings).run()
    except KeyboardInterrupt:
        return 130
    except SystemExit as error:  # uvicorn's word for an address in use, which it has logged
        return 1 if error.code else 0
    return 0


def _check_database(settings: Settings) -> None:
    """Make the database, or bring it to this version's schema, before anybody comes. Raises `StoreError`."""
    if settings.database is None and (settings.data is None or not _is_writable(settings.data)):
        return

    async def check() -> None:
        store = new_store(settings)
        await store.open()
        await store.close()

    asyncio.run(check())


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _uvicorn_options(settings: Settings) -> dict[str, Any]:
    from parlour.transport.http import HttpProtocol

    return {
        "host": settings.host,
        "port": settings.port,
        "http": HttpProtocol,
        "ws_ping_interval": settings.ping,
        "ws_ping_timeout": settings.ping_timeout,
        "ws_max_size": FRAME_LIMIT,
        "ws_per_message_deflate": False,
        "proxy_headers": False,  # it would believe what anyone behind a proxy on loopback says; the door counts hops
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "timeout_graceful_shutdown": _STOP_LIMIT,
    }


class _Server(uvicorn.Server):
    """uvicorn, which says where it is once it is there, and says good night to the chat before it stops."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        app = create_app(settings)
        self._parlour: Parlour = app.state.parlour
        super().__init__(uvicorn.Config(app, **_uvicorn_options(settings)))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._note_address(port)
            print(_address(self._settings, port), flush=True)
            if logger.isEnabledFor(logging.INFO):
                await self._invite(port)
                print("Stop with Ctrl-C.", file=sys.stderr)

    async def _invite(self, port: int) -> None:
        """Until there is an operator, each start prints a link that makes one, and voids the one before."""
        try:
            ticket = await self._parlour.first_link()
        except StoreError as error:
            logger.warning("no link for the first operator can be made now: %s; try `parlour admin link`", error)
            return
        if ticket is not None:
            link = f"{_address(self._settings, port)}/admin#first={ticket}"
            print(f"Become the operator, within a day: {link}", file=sys.stderr)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._note_address(None)
        hub = self._parlour.hub
        if hub is not None:
            people, messages = len(hub), hub.tally.messages
            hub.drain()
            await self._let_endpoints_end()
            lost = await self._parlour.stop()
            kept = f"; {lost} could not be stored" if lost else ""
            logger.info("good night: %s connections, %s messages since the start%s", people, messages, kept)
        await super().shutdown(sockets)

    def _note_address(self, port: int | None) -> None:
        """Tell `parlour admin` where the server is, while it runs."""
        folder = self._settings.data
        if folder is None:
            return
        file = folder / ADDRESS_FILE
        try:
            if port is None:
                file.unlink(missing_ok=True)
            else:
                address = _local_address(self._settings, port)
                file.write_text(json.dumps({"url": address, "pid": os.getpid()}) + "\n")
        except OSError as error:
            logger.warning("%s can't be written (%s): `parlour admin` needs --url", file, error.strerror)

    async def _let_endpoints_end(self) -> None:
        """Connections on plain ASGI get their close frame from tasks, which uvicorn would overtake with its own
        (1012)."""
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=CLOSE_LIMIT)


def _address(settings: Settings, port: int) -> str:
    return settings.url or _local_address(settings, port)


def _local_address(settings: Settings, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - not a bind
    return f"http://[{host}]:{port}" if ":" in host and "[" not in host else f"http://{host}:{port}"


def _serve_reloading(settings: Settings) -> int:
    """The reloader starts processes of its own, which read the settings from the environment."""
    if settings.port == 0:
        raise SettingsError("--port: 0 can't be told from one start to the next; give --reload a port")
    os.environ.update({variable_name(name): settings.spelled(name) for name in settings.model_fields_set})
    print(_address(settings, settings.port), flush=True)
    folder = str(Path(__file__).parent)
    options = _uvicorn_options(settings)
    uvicorn.run("parlour.serve:reloaded_app", factory=True, reload=True, reload_dirs=[folder], **options)
    return 0


def reloaded_app() -> FastAPI:
    """Our own app in a process that the reloader started."""
    settings = Settings.load()
    set_up(settings.log_format)
    return create_app(settings)
