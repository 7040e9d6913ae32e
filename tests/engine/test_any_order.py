"""Every engine under any order of calls: plain clients beside a model of the five rules as simple as can be, and plain
and v1 clients mixed, where some act while they are told."""

from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from parlour.core.events import (
    Event,
    Here,
    Letter,
    Look,
    MatchAway,
    MatchBack,
    MatchEnded,
    MatchFound,
    MatchWaiting,
    MemberJoined,
    MemberLeft,
    Message,
    Position,
    Published,
    Seat,
    Sender,
    Wanted,
)
from parlour.core.pairing import AVOID, GRACE, RELAX_INTERESTS
from tests.engine.house import ENGINES, Factory, Guest, House, plain, v1

PEOPLE = st.sampled_from(["ada", "bo", "cy", "di", "ed", "flo"])
PICKS = st.integers(min_value=0, max_value=1_000)


class AnyOrder(RuleBasedStateMachine):
    """Plain clients come to the public room and the booths, speak, leave, leave twice, and come again."""

    make: Factory

    def __init__(self) -> None:
        super().__init__()
        self.house = House(self.make)
        self.rooms: dict[str, list[str]] = {"public": []}  # by room: who sits there, in the order of their coming
        self.offsets: dict[str, int] = {"public": 0}  # by room: how much was said
        self.epochs: dict[str, str] = {}  # by room that ever was
        self.heard: dict[str, list[Event]] = {}
        self.senders: dict[str, Sender] = {}
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
        self.sit(name, "public", self.house.join(name))

    @rule(person=PEOPLE, luck=PICKS)
    def find(self, person: str, luck: int) -> None:
        """A person who sits in a booth loses that seat first, then rule 2, 3 or 4 decides."""
        name = self.newcomer(person)
        older = self.latest.get(person)
        displaced = older is not None and any(older in members for members in self.booths.values())
        if displaced and older is not None:
            self.rise(older, lost=False)
        self.latest[person] = name
        free = {room for room, members in self.booths.items() if len(members) == 1}
        self.house.asked.clear()
        seat = self.house.find(name, luck)
        assert self.house.asked == ([len(free)] if free else [])
        assert seat.room in free if free else seat.room not in self.epochs
        if older is not None:
            assert self.house.guests[older].displaced >= displaced
        self.sit(name, seat.room, seat)

    @precondition(lambda self: self.seated)
    @rule(pick=PICKS, twice=st.booleans(), lost=st.booleans())
    def leave(self, pick: int, twice: bool, lost: bool) -> None:
        name = self.seated[pick % len(self.seated)]
        room = next(room for room, members in self.rooms.items() if name in members)
        self.rise(name, lost=lost)
        if lost:
            self.house.lose(name)
        else:
            self.house.leave(name)
        if twice:
            self.house.engine.leave(room, name)

    @precondition(lambda self: self.heard)
    @rule(pick=PICKS)
    def leave_where_one_does_not_sit(self, pick: int) -> None:
        name = list(self.heard)[pick % len(self.heard)]
        for room in {"public", *self.epochs}:
            if name not in self.rooms.get(room, ()):
                self.house.engine.leave(room, name)

    @precondition(lambda self: self.seated)
    @rule(pick=PICKS)
    def say(self, pick: int) -> None:
        name = self.seated[pick % len(self.seated)]
        published = self.house.say(name, f"{pick}")
        room = published.room
        assert name in self.rooms[room]
        self.offsets[room] += 1
        sender = self.senders[name] = Sender(self.senders[name].id, name, plain=True)
        assert published.off == self.offsets[room]
        self.tell(room, Message(room, published.epoch, published.off, published.mid, published.ts, sender, f"{pick}"))

    # The model

    def newcomer(self, person: str) -> str:
        name = f"{person}/{len(self.heard)}"
        self.heard[name] = []
        self.senders[name] = plain(name).sender
        self.house.guests[name] = Guest(plain(name))
        return name

    def sit(self, name: str, room: str, seat: Seat) -> None:
        if room not in self.epochs:
            assert seat.epoch not in self.epochs.values(), "numbers of another room's"
            self.epochs[room] = seat.epoch
            self.offsets[room] = 0
        members = self.rooms.setdefault(room, [])
        members.append(name)
        self.tell(room, MemberJoined(room, self.senders[name], len(members), room != "public"), but=name)
        assert (seat.room, seat.epoch, seat.off) == (room, self.epochs[room], self.offsets[room])
        assert seat.count == len(members)

    def rise(self, name: str, *, lost: bool) -> None:
        room = next(room for room, members in self.rooms.items() if name in members)
        self.rooms[room].remove(name)
        remaining = len(self.rooms[room])
        left = MemberLeft(room, self.senders[name], remaining, "lost" if lost else "left", room != "public")
        self.tell(room, left)
        if not remaining and room != "public":
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
        people = [self.senders[name].id for members in self.booths.values() for name in members]
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


class AnyMixture(RuleBasedStateMachine):
    """Plain and v1 clients in the booths. Sessions lose their connection and come back, people block each other, time
    passes, and some of those who are told something act at once."""

    make: Factory

    @initialize(acts=st.lists(st.sampled_from(["", "", "", "lose", "leave", "seek"]), max_size=20))
    def open(self, acts: Sequence[str]) -> None:
        self.house = House(self.make)
        self.house.act = self.act
        self.acts = list(acts)
        self.connections = count(1)
        self.last: dict[str, str] = {}  # by person: the last connection of its session
        self.searching: set[str] = set()

    def act(self, name: str, letter: Letter) -> None:
        """What one does who is told something."""
        guest = self.house.guests[name]
        match letter:
            case MatchWaiting():
                self.searching.add(name)
            case MatchFound() | MatchEnded():
                self.searching.discard(name)
        what = self.acts.pop(0) if self.acts else ""
        if what == "lose":
            self.lose(name)
        elif what == "leave" and guest.booth is not None and isinstance(letter, MatchFound | MatchAway | MatchBack):
            self.house.leave(name, guest.booth)
        elif what == "seek" and isinstance(letter, MatchEnded):
            self.seek_as(name, Wanted())

    @property
    def live(self) -> list[str]:
        return [name for name, guest in self.house.guests.items() if not guest.is_over]

    @property
    def seated(self) -> list[str]:
        return [name for name in self.live if self.house.guests[name].booth is not None]

    @rule(person=PEOPLE, luck=PICKS)
    def come_plain(self, person: str, luck: int) -> None:
        self.house.find(f"{person}/{next(self.connections)}", luck)

    @rule(person=PEOPLE, luck=PICKS, tags=st.frozensets(st.sampled_from(["tea", "go"])), relaxes=st.booleans())
    def come_and_seek(self, person: str, luck: int, tags: frozenset[str], relaxes: bool) -> None:
        """With the person's session, which was somewhere else before; a seat that is kept is left."""
        name = self.connect(person)
        self.seek_as(name, Wanted(tags, relaxes=relaxes), luck)

    @rule(person=PEOPLE)
    def come_back(self, person: str) -> None:
        """To the seat that is kept, if there is one."""
        name = self.connect(person)
        guest = self.house.guests[name]
        if guest.booth is None and self.kept is not None:
            booth = self.kept
            answer = self.house.try_to_enter(guest.member, booth, self.seen(person, booth))
            assert isinstance(answer, Seat) or self.house.refusal(answer) == "not_found"

    @precondition(lambda self: self.live)
    @rule(pick=PICKS, luck=PICKS)
    def seek_again(self, pick: int, luck: int) -> None:
        name = self.live[pick % len(self.live)]
        if not self.house.guests[name].member.sender.plain:
            self.seek_as(name, Wanted(), luck)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS)
    def lose_one(self, pick: int) -> None:
        self.lose(self.live[pick % len(self.live)])

    @precondition(lambda self: self.seated)
    @rule(pick=PICKS)
    def leave(self, pick: int) -> None:
        name = self.seated[pick % len(self.seated)]
        self.house.leave(name, self.house.guests[name].booth)

    @precondition(lambda self: self.live)
    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        name = self.live[pick % len(self.live)]
        self.house.cancel(name)
        self.searching.discard(name)

    @precondition(lambda self: self.seated)
    @rule(pick=PICKS)
    def say(self, pick: int) -> None:
        """Exactly those who sit there hear it."""
        name = self.seated[pick % len(self.seated)]
        booth = self.house.guests[name].booth
        before = {other: len(guest.messages) for other, guest in self.house.guests.items()}
        answer = self.house.publish(name, f"{pick}", booth, key=f"{pick}")
        told = {other for other, guest in self.house.guests.items() if len(guest.messages) > before[other]}
        if isinstance(answer, Published) and not answer.dup:
            assert told == {other for other in self.seated if self.house.guests[other].booth == booth}
        else:
            assert not told

    @rule(person=PEOPLE, other=PEOPLE, on=st.booleans())
    def block(self, person: str, other: str, on: bool) -> None:
        if person != other:
            self.house.guest(v1(person)).is_over = True
            self.house.block(person, f"p-{other}", on=on)

    @rule(seconds=st.sampled_from([0.1, RELAX_INTERESTS, AVOID, GRACE]))
    def wait(self, seconds: float) -> None:
        self.house.wait(seconds)

    # What they do

    kept: str | None = None

    def connect(self, person: str) -> str:
        name = f"{person}/{next(self.connections)}"
        self.kept = self.house.claim(name, f"s-{person}")
        self.last[person] = name
        return name

    def seek_as(self, name: str, wanted: Wanted, luck: int = 0) -> None:
        self.searching.discard(name)
        self.house.seek(name, wanted, luck)

    def lose(self, name: str) -> None:
        self.searching.discard(name)
        self.house.lose(name)

    def seen(self, person: str, booth: str) -> Position | None:
        """The last event that the person saw there."""
        seen = [
            Position(booth, event.epoch, event.off)
            for name, guest in self.house.guests.items()
            if name.partition("/")[0] == person
            for event in guest.messages
            if event.room == booth
        ]
        return max(seen, key=lambda position: position.off, default=None)

    # What always holds

    @invariant()
    def the_engine_and_its_guests_see_the_same(self) -> None:
        """Who sits where; whoever has a seat is no ghost."""
        booths: dict[str, list[str]] = {}
        for name in self.seated:
            guest = self.house.guests[name]
            assert len(guest.seats) == 1
            booths.setdefault(guest.booth or "", []).append(name)
        for booth, names in booths.items():
            assert len(names) <= 2
            assert len({self.house.guests[name].member.person for name in names}) == len(names)
            here = self.house.ask(self.house.engine.look, Look(booth))
            assert isinstance(here, Here)
            assert here.count == len(names)

    @invariant()
    def a_person_sits_in_at_most_one_booth(self) -> None:
        people = [self.house.guests[name].member.person for name in self.seated]
        assert len(people) == len(set(people))

    @invariant()
    def whoever_waits_is_counted(self) -> None:
        alone = 0
        for name in self.seated:
            here = self.house.ask(self.house.engine.look, Look(self.house.guests[name].booth))
            alone += isinstance(here, Here) and here.count == 1 and self.house.guests[name].member.sender.plain
        assert self.house.engine.counts()[1] == alone + len(self.searching.intersection(self.live))

    @invariant()
    def nobody_misses_a_word(self) -> None:
        """From the seat's offset on there is no gap."""
        for name in self.seated:
            guest = self.house.guests[name]
            seat = guest.seats[guest.booth or ""]
            heard = [event for event in guest.messages if event.room == seat.room and event.off > seat.off]
            assert [event.off for event in heard] == list(range(seat.off + 1, seat.off + 1 + len(heard)))
            assert {event.epoch for event in heard} <= {seat.epoch}

    def teardown(self) -> None:
        """When all have gone nothing is left, and nothing is planned."""
        if not hasattr(self, "house"):
            return
        for name in self.live:
            self.lose(name)
        self.house.wait(GRACE)
        self.house.wait(AVOID)
        assert self.house.engine.counts() == (0, 0)
        assert self.house.scheduler.planned == 0


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
@pytest.mark.parametrize("machine", [AnyOrder, AnyMixture])
def test_any_order(make: Factory, machine: type[RuleBasedStateMachine]) -> None:
    """One booth a person, two members a booth, both see the same one, and nobody misses or overhears a word."""
    on_this_engine = type("OnThisEngine", (machine,), {"make": staticmethod(make)})
    run_state_machine_as_test(on_this_engine, settings=settings(max_examples=200, stateful_step_count=40))
