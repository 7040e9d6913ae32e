"""What a wire is: how core objects look as text on a WebSocket."""

from typing import Final, Protocol

from parlour.core.commands import Command, Line
from parlour.core.events import Answer, Event, Letter
from parlour.errors import Close, Refusal

FRAME_LIMIT: Final = 128 * 1024
"""Bytes of one message on any wire."""


class Wire(Protocol):
    """One way of writing commands and events. A wire keeps no state and does no I/O: equal input gives equal output."""

    @property
    def name(self) -> str:
        """What it is called where connections are counted."""
        ...

    @property
    def has_sessions(self) -> bool:
        """Whether its clients say hello, name their rooms and resume them; else they say lines in the one room that
        their address leads to."""
        ...

    def decode(self, text: str) -> tuple[Command | Line | Refusal, int | None]:
        """What the client said, decoded strictly, and the number that the answer must bear; a `Refusal` for whatever is
        not as it should be."""
        ...

    def text_of(self, data: bytes) -> str | Refusal | Close:
        """What a binary frame stands for on this wire."""
        ...

    def encode(self, event: Event) -> str | None:
        """The event as one text frame's payload, the same for every member; None if this wire does not tell it."""
        ...

    def tell(self, letter: Letter) -> str | None:
        """The letter as one text frame's payload; None if this wire does not tell it."""
        ...

    def reply(self, answer: Answer, re: int | None) -> str | None:
        """The answer as one text frame's payload, for the one who asked; None if this wire does not tell it."""
        ...

    def refuse(self, refusal: Refusal, re: int | None) -> str:
        """The refusal as one text frame's payload, for the one who is refused."""
        ...
