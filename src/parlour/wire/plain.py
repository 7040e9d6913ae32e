"""The plain wire: JSON in, lines out.

A client sends `{"username": "ann", "message": "hello"}`; every member of the room receives `ann> hello`. One frame is
one line, and its sender can be read back from it: no name contains `> `, and no line break survives in a message. What
concerns one client alone begins with `! `, as no name does.
"""

import re
from typing import Final

import msgspec

from parlour.core.commands import Line
from parlour.core.events import Answer, Event, Letter, MemberJoined, MemberLeft, Message, RoomChanged
from parlour.errors import Close, Refusal
from parlour.wire.strict import DEPTH_LIMIT, is_too_deep, without_controls

_NOTICE_MEMBERS: Final = 50
"""In larger rooms nobody is told who came and left."""

_BREAKS = re.compile("\r\n|[\x00-\x08\n-\x1f\x7f-\x9f\u2028\u2029]")
"""Line breaks in the sense of UAX #14 and of `str.splitlines`, and all control characters but the tab."""


class _Line(msgspec.Struct):
    username: str | int | float
    message: str | int | float


_decode = msgspec.json.Decoder(_Line).decode


class Plain:
    """The wire of the first clients. `notices` tells members of small rooms who came and left, and all
    members how the room is when that changes."""

    name: Final = "plain"
    has_sessions: Final = False

    def __init__(self, *, notices: bool = False) -> None:
        self._notices = notices

    def decode(self, text: str) -> tuple[Line | Refusal, None]:
        """See `Wire.decode`. A number stands for its text; the last of a repeated key wins (RFC 8259 4 leaves it
        open)."""
        if is_too_deep(text):
            return Refusal("bad_frame", f"nested deeper than {DEPTH_LIMIT} levels; send a flat object"), None
        try:
            line = _decode(text)
        except msgspec.ValidationError as error:
            return _explain(str(error)), None
        except (msgspec.DecodeError, UnicodeEncodeError):
            return Refusal("bad_frame", _SHAPE), None
        name = line.username if type(line.username) is str else str(line.username)
        message = line.message if type(line.message) is str else str(line.message)
        if "\x00" in message:
            return Refusal("bad_field", '"message" must not contain the character NUL', field="message"), None
        return Line(without_controls(message), name), None

    def text_of(self, data: bytes) -> str | Refusal | Close:
        """A binary frame holding the JSON is taken like text."""
        try:
            return data.decode()
        except UnicodeDecodeError:
            return Refusal("bad_frame", _SHAPE)

    def encode(self, event: Event) -> str | None:
        """See `Wire.encode`. Every message is exactly one line."""
        if type(event) is Message:
            text = event.text
            if not text.isprintable():  # about ten times as fast as the expression, and true of most messages
                text = _BREAKS.sub(" ", text)
            return f"{event.sender.name}> {text}"
        if self._notices and isinstance(event, MemberJoined | MemberLeft) and event.count <= _NOTICE_MEMBERS:
            return "! joined: someone came in" if isinstance(event, MemberJoined) else "! left: someone went out"
        if self._notices and isinstance(event, RoomChanged):
            return f"! room: {_state(event)}"
        return None

    def tell(self, letter: Letter) -> None:
        """Letters are for clients that have sessions."""

    def reply(self, answer: Answer, re: int | None) -> None:
        """So are replies: whoever says a line hears it."""

    def refuse(self, refusal: Refusal, re: int | None) -> str:
        """A line that begins as no name does: `! code: words`."""
        return f"! {refusal.code}: {refusal.message}"


_SHAPE: Final = 'send a JSON object: {"username": "...", "message": "..."}'


def _state(room: RoomChanged) -> str:
    """How a room is, without its title, which could be any words."""
    if room.archived:
        return "closed"
    if room.locked:
        return "locked, only moderators speak"
    return f"slow, one message each {room.slow_ms / 1000:g} seconds" if room.slow_ms else "open"


def _explain(error: str) -> Refusal:
    """msgspec's words name the field as `$.field`, and never hold the value."""
    for field in ("username", "message"):
        if f"$.{field}" in error:
            return Refusal("bad_field", f'"{field}" must be a string', field=field)
        if f"`{field}`" in error:
            return Refusal("bad_field", f'"{field}" is missing; {_SHAPE}', field=field)
    return Refusal("bad_frame", _SHAPE)
