"""Every engine under any order of calls, beside a model of the five rules as simple as can be."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from parlour.core.events import Event, Member, MemberJoined, MemberLeft, Message, Sender
from tests.engine.house import ENGINES, Factory, Guest, House, member

PEOPLE = st.sampled_from(["ada", "bo", "cy", "di", "ed", "flo"])
PICKS = st.integers(min_value=0, max_value=1_000)


class AnyOrder(RuleBasedStateMachine):
    """Clients come to the public room and the booths, speak, leave, leave twice, and come again."""

    make: Factory

    def __init__(self) -> None:
        super().__init__()
        self.house = House(self.make)
        self.rooms: dict[str, list[str]] = {}  # by room: who sits there, in the order of their coming
        self.offsets: dict[str, int] = {}  # by room: how much was said
        self.epochs: set[str] = set()  # those of all rooms that ever were
        self.used: set[str] = set()  # ids of all booths that ever were
        self.heard: dict[str, list[Event]] = {}
        self.latest: dict[str, str] = {}  # by person: the connection that looked for a booth last

    @property
    def booths(self) -> dict[str, list[str]]:
        return {room: members for room, members in self.rooms.items() if room != "public"}

    @property
    def seated(self) -> list[str]:
        return [name for members in self.rooms.values() for name in members]

    @rule(person=PEOPLE)
    def join(self, person: str) -> None:
        name = self.newcomer(person)
        self.sit(name, "public", self.house.join(name).epoch)

    @rule(person=PEOPLE, luck=PICKS)
    def find(self, person: str, luck: int) -> None:
        """A person who sits in a booth loses that seat first, then rule 2, 3 or 4 decides."""
        name = self.newcomer(person)
        older = self.latest.get(person)
        displaced = older is not None and any(older in members for members in self.booths.values())
        if displaced and older is not None:
            self.rise(older)
        self.latest[person] = name
        free = {room for room, members in self.booths.items() if len(members) == 1}
        self.house.asked.clear()
        seat = self.house.find(name, luck)
        assert self.house.asked == ([len(free)] if free else [])
        assert seat.room in free if free else seat.room not in self.used | {"public"}
        if older is not None:
            assert self.house.guests[older].displaced >= displaced
        self.sit(name, seat.room, seat.epoch)

    @precondition(lambda self: self.rooms)
    @rule(pick=PICKS, twice=st.booleans())
    def leave(self, pick: int, twice: bool) -> None:
        name = self.seated[pick % len(self.seated)]
        room = next(room for room, members in self.rooms.items() if name in members)
        self.rise(name)
        self.house.leave(name)
        if twice:
            self.house.engine.leave(room, name)

    @precondition(lambda self: self.heard)
    @rule(pick=PICKS)
    def leave_where_one_does_not_sit(self, pick: int) -> None:
        name = list(self.heard)[pick % len(self.heard)]
        for room in {"public", *self.used}:
            if name not in self.rooms.get(room, ()):
                self.house.engine.leave(room, name)

    @precondition(lambda self: self.rooms)
    @rule(pick=PICKS)
    def say(self, pick: int) -> None:
        name = self.seated[pick % len(self.seated)]
        published = self.house.say(name, f"{pick}")
        room = published.room
        assert name in self.rooms[room]
        self.offsets[room] += 1
        sender = Sender(f"p-{name}", name, plain=True)
        assert published.off == self.offsets[room]
        self.tell(room, Message(room, published.epoch, published.off, published.mid, published.ts, sender, f"{pick}"))

    # The model

    def newcomer(self, person: str) -> str:
        name = f"{person}-{len(self.heard)}"
        self.heard[name] = []
        self.house.guests[name] = Guest(member(name, person))
        return name

    def member(self, name: str) -> Member:
        return self.house.guests[name].member

    def sit(self, name: str, room: str, epoch: str) -> None:
        members = self.rooms.setdefault(room, [])
        if not members:
            assert epoch not in self.epochs, "numbers of another room's, or of one that is gone"
            self.offsets[room] = 0
        self.epochs.add(epoch)
        self.used |= {room} - {"public"}
        members.append(name)
        self.tell(room, MemberJoined(room, self.member(name), len(members)), but=name)
        seat = self.house.guests[name].seat
        assert seat is not None
        assert (seat.room, seat.epoch, seat.off, seat.count) == (room, epoch, self.offsets[room], len(members))
        seats = [self.house.guests[other].seat for other in members]
        assert {other.epoch for other in seats if other is not None} == {epoch}

    def rise(self, name: str) -> None:
        room = next(room for room, members in self.rooms.items() if name in members)
        self.rooms[room].remove(name)
        if self.rooms[room]:
            self.tell(room, MemberLeft(room, self.member(name), len(self.rooms[room])))
        else:
            del self.rooms[room]

    def tell(self, room: str, event: Event, but: str | None = None) -> None:
        for name in self.rooms[room]:
            if name != but:
                self.heard[name].append(event)

    # What always holds

    @invariant()
    def a_booth_has_at_most_two_members(self) -> None:
        assert all(1 <= len(members) <= 2 for members in self.booths.values())

    @invariant()
    def a_person_sits_in_at_most_one_booth(self) -> None:
        people = [self.member(name).person for members in self.booths.values() for name in members]
        assert len(people) == len(set(people))

    @invariant()
    def the_engine_and_its_guests_see_the_same(self) -> None:
        seats = {name: guest.room for name, guest in self.house.guests.items() if guest.room is not None}
        assert seats == {name: room for room, members in self.rooms.items() for name in members}
        alone = sum(len(members) == 1 for members in self.booths.values())
        assert self.house.engine.counts() == (len(self.booths), alone)

    @invariant()
    def everyone_hears_all_of_their_room_and_nothing_else(self) -> None:
        assert {name: guest.heard for name, guest in self.house.guests.items()} == self.heard


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_any_order(make: Factory) -> None:
    """One booth a person, two members a booth, both see the same one, and nobody misses or overhears a word."""

    class OnThisEngine(AnyOrder):
        pass

    OnThisEngine.make = staticmethod(make)
    run_state_machine_as_test(OnThisEngine, settings=settings(max_examples=200, stateful_step_count=40))
