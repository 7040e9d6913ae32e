"""The engine: who decides order, membership and pairing."""

from collections.abc import Callable
from typing import Protocol

from parlour.core.events import Event, Member, Publish, Published, Seat
from parlour.errors import Refusal


class Handler(Protocol):
    """Who is told what the engine decided: this process's hub."""

    def published(self, event: Event) -> None:
        """Something happened in a room that has members here."""
        ...

    def displaced(self, member: Member) -> None:
        """The member lost its seat in a booth to a newer connection of the same person. Its connection ends (4504)."""
        ...


class Engine(Protocol):
    """Order, membership and pairing of all rooms. One contract suite holds every implementation to this:

    - One order per room: every member sees the events of a room in the order of their offsets, without a gap from its
      seat's offset on.
    - `done` is called exactly once, at once or later; before it, nothing of the room reaches the one who joins.
    - A message reaches `Handler.published` before its `done`: an answer never overtakes what it answers.
    - Nothing here waits: a method that needs the network returns, and calls back.
    - Leaving twice is leaving once. A room without members is forgotten; its numbering starts anew under another epoch.
    - Booths follow the five rules of `core.pairing`; the choice is uniform; a person sits in at most one.
    """

    def join(self, room: str, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        """Seat the member in the public room of this name."""
        ...

    def find(self, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        """Seat the member in a booth, by the pairing rules."""
        ...

    def leave(self, room: str, connection: str) -> None:
        """Free the connection's seat in the room or booth."""
        ...

    def publish(self, publish: Publish, done: Callable[[Published | Refusal], None]) -> None:
        """Give the message its place and tell the room. Refused with `not_member` where there is no such room."""
        ...

    def counts(self) -> tuple[int, int]:
        """How many booths there are, and how many of them hold one who waits."""
        ...
