"""What can go wrong, in two families, and the exceptions of the package.

- `Refusal`: an answer to one command. The connection lives on; the code says whether trying again can help.
- `Close`: the end of a connection. The code's range says whether a client should reconnect.
- `ParlourError` and its children: raised to the code that embeds, configures or drives Parlour.

The words of a refusal are for the person who sent the command; they name the field and the fix and never hold what was
sent.
"""

from dataclasses import dataclass
from typing import Final

ERROR_CODES: Final[dict[str, str]] = {
    "bad_frame": "the frame is not what the wire expects: not JSON, not an object, too deep",
    "bad_field": "a field is missing, of another type, or not allowed as it is",
    "unknown_op": "there is no such command",
    "unauthorized": "who you are could not be proved",
    "forbidden": "you may not do this",
    "required": "something must be accepted or given first",
    "not_found": "there is no such room, message or person",
    "not_member": "you are not in this room",
    "rate_limited": "too many commands; wait and try again",
    "too_large": "a field is longer than allowed",
    "muted": "you may read but not speak here",
    "banned": "you were banned",
    "blocked": "one of you blocked the other",
    "unavailable": "a part of the server is not ready; try again",
    "internal": "the server failed; the log has the details",
    "expired": "too late: the time for this has passed",
    "bad_name": "the name is not allowed; the words say why",
    "held": "the message waits for a moderator",
    "locked": "the room is locked",
    "conflict": "something else was done under the same key",
}
"""Every code a `Refusal` can carry, with its meaning."""

CLOSE_CODES: Final[dict[int, str]] = {
    4000: "the server restarts",
    4003: "the server failed on this connection",
    4008: "too slow: what was said to you could not be delivered",
    4012: "no pong: the peer stopped answering",
    4013: "rate: a minute of more than the allowed messages",
    4014: "the session expired",
    4015: "the server is overloaded",
    4016: "the server lost the state of this connection",
    4500: "a binary frame where text is needed",
    4501: "this protocol version is not spoken here",
    4502: "who you are could not be proved",
    4503: "you may not connect here",
    4504: "replaced by a newer connection of the same session",
    4505: "too many connections from one address",
    4506: "kicked by a moderator",
    4507: "banned",
    4508: "a requirement is not met",
    4510: "too many errors in a row",
    4511: "no hello within 10 seconds",
    4512: "the room was closed",
}
"""Every private close code, with its meaning. 4000-4499: reconnect; 4500-4999: do not."""

_FINAL_STANDARD_CODES = frozenset({1002, 1003, 1007, 1009})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a command that was not carried out.

    `code` is a key of `ERROR_CODES`; `field` names what to change; `retry` says whether the same command may succeed
    later, `retry_after_ms` when.
    """

    code: str
    message: str
    field: str | None = None
    retry: bool = False
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """Why a connection ends: a WebSocket close code (RFC 6455 7.4) and a short reason, at most 123 bytes."""

    code: int
    reason: str = ""

    @property
    def reconnect(self) -> bool:
        """Whether a client should connect again: by range for private codes, all but protocol errors for the others."""
        if self.code >= 4000:
            return self.code < 4500
        return self.code not in _FINAL_STANDARD_CODES


RESTART: Final = Close(4000, "the server restarts")
INTERNAL: Final = Close(4003, "internal error")
SLOW: Final = Close(4008, "too slow")
NO_PONG: Final = Close(4012, "no pong")
RATE: Final = Close(4013, "too many messages")
BINARY: Final = Close(4500, "binary frame; send text")
UNAUTHORIZED: Final = Close(4502, "sign in first")
REPLACED: Final = Close(4504, "replaced by a newer connection")
KICKED: Final = Close(4506, "a moderator ended this connection")
BANNED: Final = Close(4507, "banned")
ROOM_CLOSED: Final = Close(4512, "the room is closed")
NO_HELLO: Final = Close(4511, "no hello in time")
VERSION: Final = Close(4501, "unknown protocol version")
TOO_MANY_ERRORS: Final = Close(4510, "too many errors")
NOT_UTF8: Final = Close(1007, "text that is not UTF-8")
TOO_EARLY: Final = Close(1002, "data before the handshake was over")
UNFINISHED: Final = Close(1008, "message not finished in time")
FRAGMENTS: Final = Close(1009, "too many fragments")
TOO_BIG: Final = Close(1009, "message too big")


class ParlourError(Exception):
    """Everything that this package raises on purpose."""


class SettingsError(ParlourError):
    """A setting is unknown or has a value that it can't have. The text names the setting, where it was set, and the
    fix."""


class ConnectError(ParlourError):
    """A client could not reach the server, or was refused before the WebSocket opened. `reason` says which."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"cannot connect to {url}: {reason}")


class Disconnected(ParlourError):  # noqa: N818 - named for the state, as ConnectionClosed in websockets
    """The server ended the connection. `close` says why and whether to come back."""

    def __init__(self, close: Close) -> None:
        self.close = close
        super().__init__(
            f"disconnected with {close.code}: {close.reason or CLOSE_CODES.get(close.code, 'no reason given')}"
        )


class Refused(ParlourError):  # noqa: N818 - named for what happened, as Disconnected
    """A server did not carry out what this client asked for. `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        words = refusal.message or ERROR_CODES.get(refusal.code, "no reason given")
        super().__init__(f"refused ({refusal.code}): {words}")
