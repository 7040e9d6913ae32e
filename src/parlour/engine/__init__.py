"""The engine: who decides order, membership and pairing."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from parlour.core.events import (
    Amend,
    Answer,
    Avoid,
    CallMe,
    Cancel,
    Claim,
    Enter,
    Event,
    Fetch,
    Find,
    Letter,
    Look,
    Member,
    Publish,
    RoomShown,
    Search,
    Seat,
    Sender,
    Show,
)
from parlour.errors import Refusal


class Timer(Protocol):
    """A call that was planned."""

    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """When things happen. An asyncio event loop is one; a simulation brings its own."""

    def time(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def call_soon(self, callback: Callable[[], object], /) -> object:
        """Call at the end of this turn."""
        ...

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Call at the time `when`."""
        ...


Answered: TypeAlias = Callable[[Answer | Refusal, int | None], None]
"""Takes the answer to an effect, and the number `re` that the effect bore."""


class Handler(Protocol):
    """Who is told what the engine decided: this process's hub."""

    def published(self, event: Event) -> None:
        """Something happened in a room that has members here."""
        ...

    def told(self, connection: str, letter: Letter, seat: Seat | None = None) -> None:
        """Something concerns one connection alone; with `MatchFound` it takes this seat."""
        ...

    def displaced(self, member: Member) -> None:
        """A newer connection of the same session, or in a booth of the same person, took its place. It ends (4504)."""
        ...

    def closed(self, room: str) -> None:
        """The public room is over: its members here have no seat there any more."""
        ...


class Engine(Protocol):
    """Order, membership and pairing of all rooms. One contract suite holds every implementation to this:

    - One order per room: every member sees the numbered events of a room in the order of their offsets, without a gap
      from its seat's offset on. What a seat brings as `missed` fills the gap before it, whole or not at all.
    - `done` is called exactly once, at once or later; before it, nothing of the room reaches the one who joins.
    - An event reaches `Handler.published` before the `done` of what caused it: an answer never overtakes what it
      answers.
    - Nothing here waits: a method that needs the network returns, and calls back.
    - What is done twice under the same key is done once, also where the server was stopped in between; leaving twice
      is leaving once.
    - With a store, `publish` answers `kept: "stored"` in a public room once the store confirmed it; if that takes
      longer than `store.CONFIRM_SECONDS` it is refused with `unavailable`, which means: it was said, and is not
      confirmed yet. Where the store can't take it, the answer is `kept: "relayed"`. Nobody who hears it waits for that.
    - A public room is kept with what it remembers; a booth is forgotten with its last seat.
    - Booths follow the rules of `core.pairing`; the choice is uniform; a person sits in at most one.
    """

    def claim(self, claim: Claim, done: Answered) -> None:
        """Make the session this connection's: an older one of it is displaced. Answers `Claimed`."""
        ...

    def release(self, session: str, connection: str) -> None:
        """The session has no connection any more, if it was this one."""
        ...

    def enter(self, enter: Enter, done: Answered) -> None:
        """Seat the member in the public room of this name, or again in the booth where its seat is kept.

        Answers `Seat`; refused with `not_found` where there is no such room or seat, with `bad_name` where the name is
        taken.
        """
        ...

    def leave(self, room: str, connection: str, *, lost: bool = False) -> None:
        """Free the connection's seat in the room or booth; one that was `lost` may be kept for a while."""
        ...

    def publish(self, publish: Publish, done: Answered) -> None:
        """Give the message its place and tell the room. Answers `Published`; refused with `not_member`, `conflict`."""
        ...

    def amend(self, amend: Amend, done: Answered) -> None:
        """Change a message. Answers `Changed`; refused with `not_member`, `not_found`, `forbidden`, `expired`,
        `too_large`."""
        ...

    def show(self, show: Show) -> None:
        """Tell the room something in passing."""
        ...

    def fetch(self, fetch: Fetch, done: Answered) -> None:
        """Answers a `Page` of what the room remembers; refused with `not_found`."""
        ...

    def look(self, look: Look, done: Answered) -> None:
        """Answers `Here`, who is in a room; or `RoomList`, which public rooms there are. Refused with `not_found`."""
        ...

    def rename(self, call_me: CallMe, done: Answered) -> None:
        """Give the member another name in all its rooms, or in none. Answers `Named`; refused with `bad_name`."""
        ...

    def find(self, find: Find, done: Answered) -> None:
        """Seat a plain member in a booth, by the pairing rules, and answer with its `Seat`; or begin a search, answer
        with a `Ticket`, and tell what becomes of it by `Handler.told`."""
        ...

    def cancel(self, cancel: Cancel, done: Answered) -> None:
        """End the connection's search, if it has one. Answers `Done`."""
        ...

    def avoid(self, avoid: Avoid, done: Answered) -> None:
        """Never seat two people together again, or allow it. Answers `Done`; refused with `not_found`, `too_large`."""
        ...

    def search(self, search: Search, done: Answered) -> None:
        """Answers `Matches`; refused with `not_found` for a room that there is not, with `unavailable`."""
        ...

    def message(self, mid: str, done: Answered) -> None:
        """Answers `Matches` with the one message of a public room; refused with `not_found`, `unavailable`."""
        ...

    # For those who have no connection: operators and the host app

    def say(self, room: str, sender: Sender, text: str, done: Answered) -> None:
        """Say something in a public room without a seat there. Answers `Published`; refused with `not_found`."""
        ...

    def remove(self, room: str, mid: str, by: Sender, done: Answered) -> None:
        """Delete a message, whoever said it and however long ago. Answers `Changed`; refused with `not_found`."""
        ...

    def open_room(self, room: RoomShown) -> None:
        """From now on there is this public room; if there is, it has this title and these modes, and its members are
        told (`RoomChanged`)."""
        ...

    def close_room(self, room: str) -> None:
        """The public room is archived: its members are told and lose their seats, and nobody enters."""
        ...

    def met(self, room: str, person: str, other: str, done: Answered) -> None:
        """Whom `person`, who sits in the booth `room` or left it at most ten minutes ago, knew there by the id `other`.
        Answers `Whom`; refused with `not_found`."""
        ...

    def counts(self) -> tuple[int, int]:
        """How many booths there are, and how many of them hold one who waits."""
        ...
