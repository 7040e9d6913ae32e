"""A client that says lines, in the one room that its address leads to.

It is seated when it comes, and has no word for anything else. Lines over its rate are held and said at the rate: it
could not know that it should say them again.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from parlour.core.commands import Command, Line
from parlour.core.connection import Connection, Pace
from parlour.core.events import (
    Answer,
    Effect,
    Enter,
    Find,
    Leave,
    Letter,
    MatchFound,
    Member,
    Place,
    Publish,
    Refuse,
    Role,
    Seat,
    Sender,
    Take,
)
from parlour.core.gate import NOT_MET
from parlour.core.house import House
from parlour.core.moderation import checked_text
from parlour.errors import BANNED, INTERNAL, ROOM_CLOSED, Refusal

_GATED: Final = Refusal("required", "terms must be accepted before meeting strangers; use the page, or a client of v1")


class _State(Enum):
    OPENING = "opening"  # asked for a seat
    SEATED = "seated"


class PlainConnection(Connection):
    """See `Connection`. A client whose name the host app did not prove may bring another one with each line."""

    __slots__ = ("_is_opening", "_is_proved", "_member", "_place", "_room", "_said_as", "_state")

    def __init__(
        self,
        id: str,
        pace: Pace,
        house: House,
        place: Place,
        *,
        person: str,
        name: str | None = None,
        role: Role = "user",
        address: str | None = None,
    ) -> None:
        """`place` leads to a room or a booth. `name` and `role` are set where the host app proved them; the name then
        overrides those that the lines bring. `address`: see `Connection`."""
        super().__init__(id, pace, house, address=address)
        self._place = place
        self._is_opening = place.room is None  # it has said nothing in its booth yet
        self._is_proved = name is not None
        role = role if self._is_proved else "guest"
        self._member = Member(id, Sender(person, name, role, plain=not self._is_proved))
        self._said_as: str | None = None  # the name that `_member` was made from: hardly anyone changes it
        self._state = _State.OPENING
        self._room: str | None = None  # set while seated

    @property
    def room(self) -> str | None:
        """The room it sits in, or None."""
        return self._room

    @property
    def sender(self) -> Sender:
        """See `Connection.sender`."""
        return self._member.sender

    def answered(self, answer: Answer | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        """See `Connection.answered`. What was said before the seat was there is said now."""
        if self._ended:
            return ()
        if isinstance(answer, Seat):
            if self._state is not _State.OPENING:
                raise RuntimeError(f"expected a connection that is opening, got one that is {self._state.value}")
            self._state = _State.SEATED
            self._room = answer.room
            return (Take(answer), *self.tick(now)) if self._held else (Take(answer),)
        if not isinstance(answer, Refusal):
            return ()
        if self._state is _State.OPENING:
            return (Refuse(answer), *self.end(INTERNAL))
        return (Refuse(answer),)

    def told(self, letter: Letter, seat: Seat | None) -> Sequence[Effect]:
        """See `Connection.told`. This client would not understand."""
        if isinstance(letter, MatchFound):
            self._is_opening = True
        return ()

    def closed(self, room: str) -> Sequence[Effect]:
        """See `Connection.closed`. This was its only room."""
        return self.end(ROOM_CLOSED) if room == self._room else ()

    def _begin(self, now: float) -> Sequence[Effect]:
        refusal = self._barred(self._member.person)
        if refusal is not None:
            return (Refuse(refusal), *self.end(BANNED))
        if self._place.room is None and self._policy.gate is not None:  # it has no word for accepting anything
            return (Refuse(_GATED), *self.end(NOT_MET))
        if self._place.room is None:
            return (Find(self._member),)
        return (Enter(self._place.room, self._member, listed=False),)

    def _hears(self, now: float) -> bool:
        return self._state is _State.SEATED and not self._ended and (self._budget is None or self._budget.take(now))

    def _hears_at(self) -> float:
        if self._state is _State.SEATED and self._budget is not None:
            return self._budget.ready_at()
        return super()._hears_at()

    def _carry_out(self, said: Command | Line | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        if not isinstance(said, Line):
            if not isinstance(said, Refusal):
                raise TypeError(f"expected a line, got {type(said).__name__}")
            return self._refuse_unreadable(said, re)
        if said.name != self._said_as:
            refusal = self._rename(said.name)
            if refusal is not None:
                return self._refuse_unreadable(refusal, re)
        refusal = checked_text(said.text)
        if refusal is not None:
            return self._refuse_unreadable(refusal, re)
        self._errors = 0
        if self._room is None:
            raise RuntimeError("expected a seat, got none")
        publish = Publish(self._room, self._member, said.text)
        return (publish,) if self._policy.is_open else (self._weighed(publish, now),)

    def _weighed(self, publish: Publish, now: float) -> Effect:
        """Nobody tells this client that a stranger took the other seat: what it says first in its booth is what opens a
        talk, though it may be alone there still."""
        effect = self._judge(publish, now, in_booth=self._place.room is None, opening=self._is_opening)
        if not isinstance(effect, Refuse):
            self._is_opening = False
        return effect

    def _rename(self, name: str) -> Refusal | None:
        if not self._is_proved:
            accepted = self._house.names.checked(name)
            if isinstance(accepted, Refusal):
                return accepted
            self._member = Member(self.id, Sender(self._member.person, accepted, plain=True))
        self._said_as = name
        return None

    def _give_up_seats(self, *, comes_back: bool) -> Sequence[Effect]:
        room, self._room = self._room, None
        return () if room is None else (Leave(room),)
