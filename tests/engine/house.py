"""A hub of the tests: it calls an engine, and notes who sits where and what each one hears."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol, TypeVar

from parlour.core.events import Event, Member, Message, Publish, Published, Seat, Sender
from parlour.engine import Engine, Handler
from parlour.engine.memory import MemoryEngine
from parlour.errors import Refusal

_T = TypeVar("_T")


class Factory(Protocol):
    """What makes an engine."""

    def __call__(
        self, handler: Handler, *, choose: Callable[[int], int], new_id: Callable[[], str], utc_ms: Callable[[], int]
    ) -> Engine: ...


ENGINES: dict[str, Factory] = {"memory": MemoryEngine}
"""Every engine that the contract is held to. A new one adds its row."""


def member(connection: str, person: str | None = None) -> Member:
    return Member(connection, person or f"p-{connection}", None, plain=True)


@dataclass
class Guest:
    """One connection: its seat, what it heard since it has one, and what the engine answered it."""

    member: Member
    seat: Seat | None = None
    heard: list[Event] = field(default_factory=list)
    displaced: bool = False

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.heard if isinstance(event, Message)]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    @property
    def room(self) -> str | None:
        return None if self.seat is None else self.seat.room


class House:
    """All connections of a hub, by name, and the engine that they are guests of."""

    def __init__(self, make: Factory) -> None:
        self.guests: dict[str, Guest] = {}
        self.luck = 0  # what `choose` answers, within its range
        self.asked: list[int] = []  # from how many it had to choose
        self.is_prompt = True  # whether it gives up a displaced seat from within the call
        self.utc_ms = 1_700_000_000_000
        self.log: list[Event | Published | Refusal] = []  # what the engine told, in order
        ids = count(1)
        self.engine = make(self, choose=self._choose, new_id=lambda: f"{next(ids)}", utc_ms=lambda: self.utc_ms)

    # Handler

    def published(self, event: Event) -> None:
        self.log.append(event)
        for guest in self.guests.values():
            if guest.room == event.room:
                guest.heard.append(event)

    def displaced(self, member: Member) -> None:
        guest = self.guests[member.connection]
        assert guest.member == member
        assert not guest.displaced, "displaced twice"
        guest.displaced = True
        if self.is_prompt:
            self.leave(member.connection)

    # What connections do. Here is the one place to wait for engines that answer later.

    def join(self, name: str, room: str = "public") -> Seat:
        return self._seat(self._guest(name), lambda guest, done: self.engine.join(room, guest.member, done))

    def find(self, name: str, luck: int = 0, *, person: str | None = None) -> Seat:
        self.luck = luck
        return self._seat(self._guest(name, person), lambda guest, done: self.engine.find(guest.member, done))

    def leave(self, name: str) -> None:
        """Give up the seat, if there is one."""
        guest = self.guests[name]
        room, guest.seat = guest.room, None
        if room is not None:
            self.engine.leave(room, name)

    def say(self, name: str, text: str) -> Published:
        room = self.guests[name].room
        assert room is not None
        published = self.publish(room, name, text)
        assert isinstance(published, Published)
        return published

    def publish(self, room: str, name: str, text: str = "hi") -> Published | Refusal:
        answers: list[Published | Refusal] = []

        def done(answer: Published | Refusal) -> None:
            self.log.append(answer)
            answers.append(answer)

        self.engine.publish(Publish(room, Sender(f"p-{name}", name, plain=True), text), done)
        return _only(answers)

    def _guest(self, name: str, person: str | None = None) -> Guest:
        return self.guests.setdefault(name, Guest(member(name, person)))

    def _seat(self, guest: Guest, ask: Callable[[Guest, Callable[[Seat | Refusal], None]], None]) -> Seat:
        answers: list[Seat | Refusal] = []

        def done(answer: Seat | Refusal) -> None:
            if isinstance(answer, Seat):
                guest.seat = answer
            answers.append(answer)

        ask(guest, done)
        seat = _only(answers)
        assert isinstance(seat, Seat)
        return seat

    def _choose(self, number: int) -> int:
        self.asked.append(number)
        return self.luck % number


def _only(answers: list[_T]) -> _T:
    assert len(answers) == 1, f"answered {len(answers)} times, not once"
    return answers[0]
