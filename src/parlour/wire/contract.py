"""What a wire is: how core objects look as text on a WebSocket."""

from typing import Final, Protocol

from parlour.core.events import Command, Event
from parlour.errors import Close, Refusal

FRAME_LIMIT: Final = 128 * 1024
"""Bytes of one message on any wire."""


class Wire(Protocol):
    """One way of writing commands and events. A wire keeps no state and does no I/O: equal input gives equal output."""

    def decode(self, text: str) -> Command | Refusal:
        """What the client said, decoded strictly; a `Refusal` for whatever is not as it should be."""
        ...

    def text_of(self, data: bytes) -> str | Refusal | Close:
        """What a binary frame stands for on this wire."""
        ...

    def encode(self, event: Event) -> str | None:
        """The event as one text frame's payload, the same for every member; None if this wire does not tell it."""
        ...

    def refuse(self, refusal: Refusal) -> str:
        """The refusal as one text frame's payload, for the one who is refused."""
        ...
