"""Who sits with whom: the five rules, for plain clients. The engine's tests hold them under any order of calls.

`Booths` is the world of all tests of the pairing.
"""

import math
from collections.abc import Sequence
from itertools import count

import pytest

from parlour.core.events import Member, Sender, Wanted
from parlour.core.pairing import (
    AVOID,
    GRACE,
    RELAX_INTERESTS,
    RELAX_LANGS,
    SEATS,
    Away,
    Back,
    Displaced,
    Ended,
    Freed,
    Met,
    Outcome,
    Pairing,
    Seated,
    Waiting,
)


def who(name: str) -> Member:
    """`ada/2` is another connection of ada."""
    return Member(f"c-{name}", Sender(f"p-{name.partition('/')[0]}", name))


class Booths:
    """A pairing with a clock, and chance, that are set by hand.

    Each call gives what came of it. By that alone the world knows who sits where and who waits, as an engine does, and
    compares it after each call with the pairing, and with what must always hold.
    """

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.luck = 0
        self.asked: list[int] = []
        booths, tickets = count(1), count(1)
        self.pairing = Pairing(self._choose, lambda: f"booth-{next(booths)}", lambda: f"ticket-{next(tickets)}")
        self.rooms: dict[str, list[Member]] = {}
        self.searches: dict[str, Waiting] = {}  # by person
        self.wishes: dict[str, Wanted | None] = {}  # by connection
        self.away: dict[str, float] = {}  # by person, since when
        self.parted: dict[frozenset[str], float] = {}  # by pair of people
        self.blocks: set[tuple[str, str]] = set()
        self.used: set[str] = set()  # booths that were told of, ever

    def _choose(self, number: int) -> int:
        self.asked.append(number)
        return self.luck % number

    # What people do

    def plain(self, name: str, luck: int = 0) -> list[Outcome]:
        self.luck = luck
        self.wishes[who(name).connection] = None
        ticket, outcomes = self.pairing.find(who(name), None, self.now)
        assert ticket is None
        return self.carry_out(outcomes)

    def seek(self, name: str, wanted: Wanted | None = None, luck: int = 0) -> list[Outcome]:
        self.luck = luck
        member, wanted = who(name), wanted or Wanted()
        before = self.searches.get(member.person)
        if before is not None and before.member == member:
            wished = self.wishes[member.connection]
            if wished is not None and wished.key == wanted.key is not None:
                assert self.pairing.find(member, wanted, self.now) == (before.ticket, ())
                return self.carry_out(())
            del self.searches[member.person]
        self.wishes[member.connection] = wanted
        ticket, outcomes = self.pairing.find(member, wanted, self.now)
        assert ticket is not None
        assert all(outcome.ticket == ticket for outcome in outcomes if isinstance(outcome, Waiting))
        return self.carry_out(outcomes)

    def cancel(self, name: str) -> None:
        self.pairing.cancel(who(name))
        search = self.searches.get(who(name).person)
        if search is not None and search.member == who(name):
            del self.searches[search.member.person]
        self.carry_out(())

    def leave(self, name: str, booth: str | None = None, *, lost: bool = False) -> list[Outcome]:
        """Leave the booth where `name` sits, unless another is given."""
        booth = booth or next((booth for booth, members in self.rooms.items() if who(name) in members), "booth-0")
        return self.carry_out(self.pairing.leave(booth, who(name).connection, self.now, lost=lost))

    def lose(self, name: str) -> list[Outcome]:
        return self.leave(name, lost=True)

    def come_back(self, name: str, booth: str) -> list[Outcome] | None:
        outcomes = self.pairing.come_back(booth, who(name))
        return None if outcomes is None else self.carry_out(outcomes)

    def block(self, name: str, other: str, *, on: bool = True) -> list[Outcome]:
        pair = who(name).person, who(other).person
        self.blocks = self.blocks | {pair} if on else self.blocks - {pair}
        return self.carry_out(self.pairing.avoid(*pair, on, self.now))

    def unblock(self, name: str, other: str) -> list[Outcome]:
        return self.block(name, other, on=False)

    def wait(self, seconds: float) -> list[Outcome]:
        """Time passes, and what is due is done at its time; nothing is, at any other."""
        end, outcomes = self.now + seconds, list[Outcome]()
        while self.pairing.deadline <= end:
            self.now = self.pairing.deadline
            outcomes += self.carry_out(self.pairing.tick(self.now))
        self.now = end
        assert self.carry_out(self.pairing.tick(end)) == []
        return outcomes

    # What came of it

    def carry_out(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Also what was due before the call, if time was moved by hand."""
        outcomes = list(outcomes)
        for outcome in outcomes:
            self._carry_out(outcome)
        overdue = self.pairing.tick(self.now)
        for outcome in overdue:
            self._carry_out(outcome)
        self.check()
        return [*outcomes, *overdue]

    def _carry_out(self, outcome: Outcome) -> None:
        match outcome:
            case Seated(booth, member):
                assert booth not in self.used
                assert self.wishes[member.connection] is None
                self.used.add(booth)
                self.rooms[booth] = [member]
            case Waiting(member, _, _, since):
                assert self.wishes[member.connection] is not None
                before = self.searches.get(member.person)
                assert since == self.now if before is None else since == before.since
                self.searches[member.person] = outcome
            case Met(booth, came, stayed, common):
                assert self.rooms.get(booth, []) == ([] if stayed is None else [stayed])
                assert (booth in self.used) == (stayed is not None)
                one, other = came if stayed is None else (stayed, *came)
                assert self.suit(one, other)
                wishes = [self.wishes[one.connection] or Wanted(), self.wishes[other.connection] or Wanted()]
                assert common == tuple(sorted(wishes[0].interests & wishes[1].interests))
                for member in came:
                    self.searches.pop(member.person, None)
                self.used.add(booth)
                self.rooms[booth] = [one, other]
            case Away(booth, member, partner):
                assert self.wishes[member.connection] is not None
                assert {member.person, partner.person} == {seated.person for seated in self.rooms[booth]}
                assert member.person not in self.away
                self.away[member.person] = self.now
            case Back(booth, member, partner):
                del self.away[member.person]
                (older,) = (seated for seated in self.rooms[booth] if seated != partner)
                assert older.person == member.person
                self.wishes[member.connection] = self.wishes[older.connection]
                self.rooms[booth][self.rooms[booth].index(older)] = member
            case Ended(None, member, by):
                assert by == "you"
                assert self.searches.pop(member.person).member == member
            case Ended(booth, member, _):
                assert self.wishes[member.connection] is not None
                assert member.person not in self.away, "nobody can be told"
                self._rise(booth or "", member)
            case Freed(booth, member, _):
                self._rise(booth, member)
            case Displaced(booth, member):
                assert self.wishes[member.connection] is None
                self._rise(booth, member)

    def _rise(self, booth: str, member: Member) -> None:
        members = self.rooms[booth]
        if any(self.wishes[seated.connection] is not None for seated in members) and len(members) == SEATS:
            self.parted[frozenset(seated.person for seated in members)] = self.now
        members.remove(member)
        self.away.pop(member.person, None)
        if not members:
            del self.rooms[booth]

    # What always holds

    def suit(self, one: Member, other: Member) -> bool:
        """Whether the two may meet now."""
        people = frozenset({one.person, other.person})
        return (
            len(people) == SEATS
            and self.blocks.isdisjoint({(one.person, other.person), (other.person, one.person)})
            and self.parted.get(people, -math.inf) + AVOID <= self.now
            and self._is_content(one, other)
            and self._is_content(other, one)
        )

    def _is_content(self, member: Member, other: Member) -> bool:
        wish, offer = self.wishes[member.connection], self.wishes[other.connection]
        if wish is None or wish.interests | wish.langs == frozenset():
            return True
        if offer is None:
            return wish.relaxes
        asked = {step for step, due in self._steps(member).items() if not wish.relaxes or due > self.now}
        return ("interests" not in asked or wish.interests & offer.interests != frozenset()) and (
            "langs" not in asked or wish.langs & offer.langs != frozenset()
        )

    def _steps(self, member: Member) -> dict[str, float]:
        """What is asked for at the beginning, and until when."""
        wish, search = self.wishes[member.connection], self.searches.get(member.person)
        since = self.now if search is None else search.since
        asked = {} if wish is None else {"interests": wish.interests, "langs": wish.langs}
        after = {"interests": RELAX_INTERESTS, "langs": RELAX_LANGS}
        return {step: since + after[step] for step, wanted in asked.items() if wanted}

    def check(self) -> None:
        pairing = self.pairing
        seated = [member for members in self.rooms.values() for member in members]
        seekers = [search.member for search in self.searches.values()]
        people = [member.person for member in (*seated, *seekers)]
        assert len(people) == len(set(people)), "a person has one seat at most"
        assert sorted(people) == sorted(pairing._seats)
        booths = {booth: list(pairing.members(booth)) for booth in pairing._booths}
        assert {booth: members for booth, members in booths.items() if booth in self.rooms} == self.rooms
        hidden = [members for booth, members in booths.items() if booth not in self.rooms]
        assert sorted(members[0].connection for members in hidden) == sorted(seeker.connection for seeker in seekers)
        assert all(1 <= len(members) <= SEATS for members in booths.values())
        assert len(pairing) == len(booths)

        free = [booth for booth, members in booths.items() if len(members) == 1]
        assert sorted(pairing._free) == sorted(free)
        assert pairing._place == {booth: place for place, booth in enumerate(pairing._free)}
        assert pairing.waiting == len(free)

        alone = [members[0] for members in self.rooms.values() if len(members) == 1]
        assert all(self.wishes[member.connection] is None for member in alone), "a v1 client alone in a room"
        for seeker in seekers:
            for other in (*alone, *seekers):
                assert not self.suit(seeker, other), f"{seeker.person} and {other.person} wait side by side"
        for members in self.rooms.values():
            assert self.blocks.isdisjoint({(one.person, other.person) for one in members for other in members})
            away = [member for member in members if member.person in self.away]
            assert not away or all(self.wishes[member.connection] is not None for member in members)
        for booth, members in self.rooms.items():
            for member in members:
                v1 = self.wishes[member.connection] is not None
                assert pairing.seat_of(member.person) == (booth if v1 else None)
        assert all(pairing.seat_of(seeker.person) is None for seeker in seekers)

        due = [since + GRACE for since in self.away.values()]
        due += [since + AVOID for since in self.parted.values()]
        for search in self.searches.values():
            wish, steps = self.wishes[search.member.connection], self._steps(search.member)
            assert wish is not None
            due += steps.values() if wish.relaxes else ()
            assert search.relaxed == tuple(step for step, at in steps.items() if wish.relaxes and at <= self.now)
        assert pairing.deadline == min((at for at in due if at > self.now), default=math.inf)

    @property
    def seats(self) -> dict[str, list[str]]:
        """Who sits where, by name."""
        return {booth: [member.connection[2:] for member in members] for booth, members in self.rooms.items()}


def with_waiting(number: int) -> Booths:
    """So many sit alone, each in a booth: their partners left."""
    booths = Booths()
    for pair in range(1, number + 1):
        booths.plain(f"w{pair}")
        booths.plain(f"x{pair}")
    for pair in range(1, number + 1):
        booths.leave(f"x{pair}")
    booths.asked.clear()
    return booths


def test_the_first_one_gets_a_booth_of_their_own() -> None:
    """Rule 2: no booth has a free seat."""
    booths = Booths()
    assert booths.plain("ada") == [Seated("booth-1", who("ada"))]
    assert (len(booths.pairing), booths.pairing.waiting, booths.asked) == (1, 1, [])


def test_the_second_one_meets_the_first() -> None:
    """Rule 4, with one booth to choose from."""
    booths = Booths()
    booths.plain("ada")
    assert booths.plain("bo") == [Met("booth-1", (who("bo"),), who("ada"), ())]
    assert booths.pairing.members("booth-1") == (who("ada"), who("bo"))
    assert (len(booths.pairing), booths.pairing.waiting, booths.asked) == (1, 0, [1])


def test_the_third_one_gets_another_booth() -> None:
    """Rule 3: all booths are full."""
    booths = Booths()
    for name in ("ada", "bo", "cy"):
        booths.plain(name)
    assert booths.seats == {"booth-1": ["ada", "bo"], "booth-2": ["cy"]}
    assert booths.pairing.waiting == 1


@pytest.mark.parametrize("lost", [False, True])
def test_who_was_left_keeps_the_booth_and_meets_the_next(lost: bool) -> None:
    """The free seat is offered again; there is no grace, and nothing to remember."""
    booths = Booths()
    for name in ("ada", "bo"):
        booths.plain(name)
    assert booths.leave("ada", lost=lost) == [Freed("booth-1", who("ada"), lost)]
    assert booths.seats == {"booth-1": ["bo"]}
    assert booths.pairing.deadline == math.inf
    assert booths.plain("cy") == [Met("booth-1", (who("cy"),), who("bo"), ())]


def test_the_last_one_takes_the_booth_along() -> None:
    """An empty booth is gone, and its id is not used again."""
    booths = Booths()
    booths.plain("ada")
    assert booths.leave("ada") == [Freed("booth-1", who("ada"), lost=False)]
    assert (len(booths.pairing), booths.pairing.waiting, booths.pairing.members("booth-1")) == (0, 0, ())
    assert booths.plain("bo") == [Seated("booth-2", who("bo"))]


def test_to_leave_twice_is_to_leave_once() -> None:
    """Nor can one leave where one does not sit, or a booth that never was."""
    booths = Booths()
    for name in ("ada", "bo", "cy"):
        booths.plain(name)
    assert booths.leave("ada", "booth-1")
    assert not booths.leave("ada", "booth-1")
    assert not booths.leave("cy", "booth-1")
    assert not booths.leave("cy", "booth-9")
    assert booths.seats == {"booth-1": ["bo"], "booth-2": ["cy"]}


@pytest.mark.parametrize("number", [1, 2, 7, 30])
def test_every_booth_with_a_free_seat_can_be_drawn(number: int) -> None:
    """`choose` is asked once, for one of as many as wait; each answer leads to another booth."""
    met = set()
    for luck in range(number):
        booths = with_waiting(number)
        booths.plain("ada", luck)
        assert booths.asked == [number]
        met |= {names[0] for names in booths.seats.values() if "ada" in names}
    assert met == {f"w{pair}" for pair in range(1, number + 1)}


@pytest.mark.parametrize("gone", range(5))
def test_a_booth_that_is_gone_or_full_can_not_be_drawn(gone: int) -> None:
    """Wherever it stood among those with a free seat; the others still can."""
    for another in ("leaves", "is met"):
        met = set()
        for luck in range(4):
            booths = with_waiting(5)
            if another == "leaves":
                booths.leave(f"w{gone + 1}")
            else:
                booths.plain("bo", gone)
            booths.asked.clear()
            booths.plain("ada", luck)
            met |= {booth for booth, names in booths.seats.items() if "ada" in names}
            assert booths.asked == [4]
        assert len(met) == 4
        assert f"booth-{gone + 1}" not in met


def test_a_person_who_comes_again_loses_the_seat_they_had() -> None:
    """One booth a person: the newer connection is seated, the older one is told of."""
    booths = Booths()
    for name in ("ada", "bo", "cy"):
        booths.plain(name)
    displaced, met = booths.plain("ada/2")
    assert displaced == Displaced("booth-1", who("ada"))
    assert isinstance(met, Met)
    assert sorted(name for names in booths.seats.values() for name in names) == ["ada/2", "bo", "cy"]
    assert not booths.leave("ada", "booth-1")


def test_nobody_meets_themselves() -> None:
    """One who waits alone and comes again does not sit down beside their older connection."""
    booths = Booths()
    booths.plain("ada")
    assert booths.plain("ada/2") == [Displaced("booth-1", who("ada")), Seated("booth-2", who("ada/2"))]
    assert booths.seats == {"booth-2": ["ada/2"]}


def test_a_connection_that_looks_again_leaves_first() -> None:
    """It is not its own older connection, which would end."""
    booths = Booths()
    booths.plain("ada")
    assert booths.plain("ada") == [Freed("booth-1", who("ada"), lost=False), Seated("booth-2", who("ada"))]


def test_a_person_who_left_can_come_again() -> None:
    """Nothing is kept about those who sit nowhere."""
    booths = Booths()
    booths.plain("ada")
    booths.leave("ada")
    assert booths.plain("ada") == [Seated("booth-2", who("ada"))]
