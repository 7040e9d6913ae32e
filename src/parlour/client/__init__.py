"""An async client of the plain wire, for programs and for the terminal chat. To join the public room, speak and listen:

    async with Client.connect("https://chat.example.com", name="ann") as client:
        await client.say("hello")
        async for line in client:
            print(line)

Foreign exceptions end here: what can't be reached is a `ConnectError`, what was lost is `Disconnected`.
"""

import errno
import ipaddress
import json
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)

from parlour.core.events import Message, Sender
from parlour.errors import Close, ConnectError, Disconnected, SettingsError
from parlour.wire.contract import FRAME_LIMIT
from parlour.wire.plain import Plain

__all__ = ["DEFAULT_URL", "FRAME_LIMIT", "Address", "Client", "frame", "line"]

DEFAULT_URL: Final = "http://127.0.0.1:8000"

OPEN_TIMEOUT: Final = 10.0
PING_INTERVAL: Final = 20.0
PING_TIMEOUT: Final = 10.0
"""Seconds. A server that is gone without a word is noticed within 30."""

CLOSE_TIMEOUT: Final = 2.0
"""Seconds for the server's half of the closing handshake: a person waits for it after Ctrl-C."""

_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_WHOLE_PATH: Final = re.compile(r"(?P<prefix>.*)/chat/(?P<room>public|private|rooms/[^/]+)/?")
_NOT_UNDERSTOOD: Final = frozenset({1002, 1007, 1009})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a chat is.

    `url` is the WebSocket's, `private` says whether it leads to a booth, and `shown` is for people: without the
    credentials and the query that `url` may hold.
    """

    url: str
    private: bool
    shown: str

    @classmethod
    def of(cls, url: str, *, private: bool = False) -> "Address":
        """The chat that a person means by `url`: `http(s)://host[:port][/prefix]`, the same with `ws(s)`, or no scheme.

        The public room, or a booth if `private`; a URL that holds a whole `/chat/...` path is taken as it is.
        Raises `SettingsError` if it is no such URL.
        """
        parts = _split(url)
        scheme = _SCHEMES[parts.scheme]
        host = parts.netloc.rpartition("@")[2]
        whole = _WHOLE_PATH.fullmatch(parts.path)
        if whole is None:
            prefix, room = parts.path.rstrip("/"), "private" if private else "public"
        else:
            prefix, room = whole["prefix"], whole["room"]
            if private and room != "private":
                raise SettingsError(f"URL {url!r}: it names another room than a booth; leave out --private or the path")
        query = f"?{parts.query}" if parts.query else ""
        return cls(
            url=f"{scheme}://{parts.netloc}{prefix}/chat/{room}{query}",
            private=room == "private",
            shown=f"{scheme.replace('ws', 'http')}://{host}{prefix}",
        )

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine, as far as the name tells."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 6.3
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


class Client:
    """One connection on the plain wire, made by `Client.connect`. Iterating over it gives the lines of the room."""

    def __init__(self, connection: ClientConnection, address: Address, name: str) -> None:
        self.address = address
        self.name = name
        self._connection = connection
        self._closing = False  # set once this side has ended it

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str = DEFAULT_URL, *, name: str, private: bool = False, open_timeout: float = OPEN_TIMEOUT
    ) -> AsyncIterator["Client"]:
        """Connect for as long as the context lasts, and close cleanly at its end. See `Address.of` for `url`.

        The server decides whether it takes `name`, and says so when it hears the first line. The environment's proxy
        is used, but never to reach this machine itself. `open_timeout` is in seconds.
        Raises `SettingsError` for a URL that can't be one, `ConnectError` if there is no chat to be had there.
        """
        address = Address.of(url, private=private)
        try:
            connection = await open_socket(
                address.url,
                compression=None,
                proxy=None if address.loopback else True,
                user_agent_header="parlour",
                open_timeout=open_timeout,
                ping_interval=PING_INTERVAL,
                ping_timeout=PING_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                max_size=FRAME_LIMIT,
            )
        except (OSError, InvalidHandshake, InvalidProxy, InvalidURI, ImportError, UnicodeError) as error:
            raise ConnectError(address.shown, _reason(error, open_timeout)) from error
        client = cls(connection, address, name)
        try:
            yield client
        finally:
            await client.close()

    async def say(self, message: str) -> None:
        """Send one message. It is said once its line comes back, and not before.

        Raises `ValueError` if the frame would be larger than `FRAME_LIMIT` or the text is not Unicode (a lone
        surrogate), `Disconnected` if the connection is gone.
        """
        data = frame(self.name, message)
        if len(data) > FRAME_LIMIT:
            raise ValueError(f"the message is larger than {FRAME_LIMIT} bytes; shorten it")
        try:
            await self._connection.send(data, text=True)
        except ConnectionClosed as error:
            raise Disconnected(_close_of(error)) from error

    async def __aiter__(self) -> AsyncIterator[str]:
        """The lines as they come: `name> message`, or `! code: words` for what concerns this client alone.

        Ends after `close`. Raises `Disconnected` if the server or the network ended the connection.
        """
        try:
            while True:
                yield await self._connection.recv(decode=True)
        except ConnectionClosed as error:
            if not self._closing:
                raise Disconnected(_close_of(error)) from error

    async def close(self) -> None:
        """Say goodbye. Closing twice equals closing once."""
        self._closing = True
        await self._connection.close()


def frame(name: str, message: str) -> bytes:
    """The payload of the frame that says `message`. Raises `UnicodeEncodeError` for a lone surrogate."""
    return json.dumps({"username": name, "message": message}, ensure_ascii=False, separators=(",", ":")).encode()


def line(name: str, message: str) -> str:
    """The line that comes back for `message`, unless it is refused or the host app proved another name."""
    sender = Sender(person="", name=name.strip(), plain=True)
    return Plain().encode(Message(room="", epoch="", off=0, mid="", ts=0, sender=sender, text=message)) or ""


def _split(url: str) -> SplitResult:
    text = url.strip()
    fix = "write http://host:port, https://host/path or host:port"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"URL {url!r}: {error}; {fix}") from error
    if parts.scheme not in _SCHEMES or not host or not text.isprintable() or " " in text:
        raise SettingsError(f"URL {url!r}: not the address of a server; {fix}")
    if parts.username is not None and parts.password is None:
        raise SettingsError(f"URL {url!r}: a user name without a password; write user:password@host, or leave it out")
    return parts


def _close_of(error: ConnectionClosed) -> Close:
    if error.rcvd is not None:
        return Close(error.rcvd.code, error.rcvd.reason)
    if error.sent is not None and error.sent.code in _NOT_UNDERSTOOD:
        return Close(error.sent.code, "the server sent what is not understood here")
    if error.sent is not None and error.sent.code == 1011:
        return Close(1006, "the server stopped answering")
    return Close(1006, "the connection was lost")


def _reason(error: Exception, timeout: float) -> str:
    """Why there is no connection, in people's words. None of it is the server's own text."""
    if isinstance(error, InvalidStatus):
        return _status_reason(error.response.status_code)
    if isinstance(error, InvalidURI):  # of a redirect, for ours was checked
        return f"it redirects to another address ({_origin(error.uri)}); give that one"
    if isinstance(error, (InvalidProxy, ProxyError)):
        return "the proxy that your environment names refused, or is none; set NO_PROXY to go without"
    if isinstance(error, ImportError):
        return "your environment asks for a SOCKS proxy: install python-socks, or set NO_PROXY for this host"
    if isinstance(error, InvalidMessage):
        return "what answers there is not a Parlour server, or one that wants https://"
    if isinstance(error, InvalidHandshake):
        return "what answers there is not a Parlour server"
    if isinstance(error, UnicodeError):
        return "the host name can't be one"
    if isinstance(error, OSError):
        return _network_reason(error, timeout)
    return str(error)


def _status_reason(status: int) -> str:
    match status:
        case 401:
            return "the server wants to know who you are (401)"
        case 403:
            return "the server refused (403): your origin is not allowed there, or it has no chat at this path"
        case 404:
            return "there is no such chat (404): the path is wrong, or booths are switched off"
        case 429:
            return "the server refused (429): too many connections from your address; wait and try again"
        case 502 | 503 | 504:
            return f"the server is not ready ({status}); try again later"
        case _:
            return f"what answers there is not a Parlour server (HTTP {status})"


def _network_reason(error: OSError, timeout: float) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not valid: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}; does this server speak https?"
    if isinstance(error, socket.gaierror):
        return "there is no host of this name, or no network"
    if isinstance(error, ConnectionRefusedError) or _all_refused(error):
        return "connection refused; is the server running?"
    if isinstance(error, ConnectionResetError):
        return "it hung up; is this a Parlour server?"
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout:g} s"
    return os.strerror(error.errno) if error.errno else str(error)


def _all_refused(error: OSError) -> bool:
    """A name with several addresses: asyncio joins the errors of all into one text (`loop.create_connection`)."""
    text = str(error)
    refused = text.count(f"[Errno {errno.ECONNREFUSED}]")
    return text.startswith("Multiple exceptions:") and text.count("[Errno ") == refused


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{host}" if host.isascii() and host.isprintable() else "an unreadable one"
