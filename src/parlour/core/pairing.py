"""Who sits with whom in the booths.

1. A client connects.
2. No booth has a free seat: one is opened for it.
3. All booths are full: the same.
4. One or more booths hold exactly one client: one of them is chosen uniformly at random.
5. Messages go to that booth only.

A plain client whose partner left keeps its booth, which then has a free seat (rule 4). It is never moved.

A v1 client wishes for somebody, and waits until one comes who suits: its booth has one seat taken, though it enters the
room only with the other one. Its demands relax with time. Once its partner is gone so is its booth, and it looks again
only if it says so. A v1 client that loses its connection keeps its seat beside another v1 client for a while.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from parlour.core.events import Member, Wanted, value

SEATS: Final = 2
"""Seats in a booth."""

GRACE: Final = 60.0
"""Seconds for which the seat of a lost v1 connection is kept: phones drop sockets when the screen locks."""

BLOCKERS_LIMIT: Final = 10_000
"""People whose blocks are kept; those who blocked first are forgotten first. A person costs nothing, memory does."""

AVOID: Final = 30.0
"""Seconds for which two do not meet again."""

RELAX_INTERESTS: Final = 10.0
"""Seconds of waiting after which a shared interest is no longer asked for."""

RELAX_LANGS: Final = 20.0
"""Seconds of waiting after which a shared language is no longer asked for."""

_TRIES = 32
"""Draws from all who wait, before everybody is looked at: where one in ten suits, they fail one time in thirty."""

By: TypeAlias = Literal["peer", "lost", "you"]


# What came of a call, to be carried out in the order given. Who took a seat in a room (`Seated`, or `came` in `Met`)
# loses it by exactly one of `Ended`, `Freed` and `Displaced`; those who are still in the room are told.


@value
class Seated:
    """A plain client sits alone in a new booth."""

    booth: str
    member: Member


@value
class Waiting:
    """A v1 client waits, in no room. It is told at the beginning, and whenever less is asked for.

    `relaxed` names what no longer is: `interests`, `langs`. `since` is when the search began.
    """

    member: Member
    ticket: str
    relaxed: tuple[str, ...]
    since: float


@value
class Met:
    """Two sit in the booth. Those who `came` take a seat in the room now: both, or one beside the plain client that
    `stayed`. `common` are the interests that they share, sorted."""

    booth: str
    came: tuple[Member, ...]
    stayed: Member | None
    common: tuple[str, ...]


@value
class Away:
    """The member lost its connection, and keeps its seat for `GRACE`. The partner, who may be away too, is told."""

    booth: str
    member: Member
    partner: Member


@value
class Back:
    """After `Away`: the person sits there again, as `member`, on another connection."""

    booth: str
    member: Member
    partner: Member


@value
class Ended:
    """A v1 client is told that its booth is over, and has no seat any more; or, where `booth` is None, its search.

    The other one left (`peer`) or is `lost`; or it was this person's own doing (`you`).
    """

    booth: str | None
    member: Member
    by: By


@value
class Freed:
    """The member gave up its seat, or its connection is `lost`; it need not be told."""

    booth: str
    member: Member
    lost: bool


@value
class Displaced:
    """A plain client has no seat any more, by another act of the same person. Its connection ends."""

    booth: str
    member: Member


Outcome: TypeAlias = Seated | Waiting | Met | Away | Back | Ended | Freed | Displaced

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Seat:
    """One taken seat. A plain client has no wish; `relaxed` is what a v1 client no longer asks for."""

    member: Member
    wish: Wanted | None
    since: float
    ticket: str = ""
    booth: str = ""
    relaxed: tuple[str, ...] = ()

    def accepts(self, other: "_Seat") -> bool:
        """Whether the other one meets this one's demands."""
        wish = self.wish
        if self.band != other.band:
            return False
        if wish is None:
            return True
        if other.wish is None:
            return wish.relaxes or not (wish.interests or wish.langs)
        return (
            not wish.interests or "interests" in self.relaxed or not wish.interests.isdisjoint(other.wish.interests)
        ) and (not wish.langs or "langs" in self.relaxed or not wish.langs.isdisjoint(other.wish.langs))

    @property
    def band(self) -> str | None:
        return None if self.wish is None else self.wish.band

    def waits(self) -> Waiting:
        return Waiting(self.member, self.ticket, self.relaxed, self.since)


class Pairing:
    """All booths, their seats, and who waits for one.

    Invariants, after each call:

    - A booth has one or two seats taken. A person has at most one seat, be it in a room, kept, or waiting.
    - Both who sit in a booth see the same one. Nobody sits beside one whom they blocked, or who blocked them.
    - No v1 client waits while another one suits it that waits as well, or is plain and alone.
    - `_free` holds exactly the booths with one seat taken, each at the place that `_place` tells.
    - A v1 client is alone only while it searches, and away only beside another v1 client.
    - Of people without a seat nothing is kept but whom they blocked and, for `AVOID`, whom they met.

    Time is in seconds of a clock that never goes back. What is due happens in `tick` alone.
    """

    def __init__(
        self, choose: Callable[[int], int], new_booth: Callable[[], str], new_ticket: Callable[[], str]
    ) -> None:
        """`choose(n)` gives a number from 0 to n - 1, each equally likely; the others an id never used before."""
        self._choose = choose
        self._new_booth = new_booth
        self._new_ticket = new_ticket
        self._booths: dict[str, list[_Seat]] = {}
        self._seats: dict[str, _Seat] = {}  # by person
        self._free: list[str] = []  # a list, so that one can be drawn in constant time
        self._place: dict[str, int] = {}
        self._searches: OrderedDict[str, _Seat] = OrderedDict()  # by person, the longest first
        self._blocks: dict[str, set[str]] = {}  # by person: whom they blocked
        # When something is due. All in one of these wait equally long, so the first one is due first.
        self._away: OrderedDict[str, float] = OrderedDict()  # by person
        self._parted: OrderedDict[tuple[str, str], float] = OrderedDict()  # by pair of people
        self._interests: OrderedDict[str, float] = OrderedDict()  # by person: when their search relaxes
        self._langs: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._booths)

    @property
    def waiting(self) -> int:
        """How many booths have one seat taken: by a plain client who is alone, or a v1 client who searches."""
        return len(self._free)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do; infinity if nothing is due."""
        queues = (self._away.values(), self._parted.values(), self._interests.values(), self._langs.values())
        return min((next(iter(queue)) for queue in queues if queue), default=math.inf)

    def members(self, booth: str) -> tuple[Member, ...]:
        """Who has a seat in the booth, those who are away included; empty if there is no such booth."""
        return tuple(seat.member for seat in self._booths.get(booth, ()))

    def blocks(self, person: str) -> Set[str]:
        """Whom this person blocked."""
        return self._blocks.get(person, frozenset())

    def seat_of(self, person: str) -> str | None:
        """The booth in which this person's v1 client sits with somebody, or has a seat that is kept."""
        seat = self._seats.get(person)
        return None if seat is None or seat.wish is None or person in self._searches else seat.booth

    def find(self, member: Member, wanted: Wanted | None, now: float) -> tuple[str | None, Sequence[Outcome]]:
        """Seat a plain client, which has no wish, or begin the search of a v1 client; its ticket, and what came of it.

        Any other seat or search of the person ends first, `wanted.leaving` or not. A connection that gives the key of
        its search again goes on with it.
        """
        older = self._seats.get(member.person)
        outcomes: list[Outcome] = []
        if older is not None:
            if self._goes_on(older, member, wanted):
                return older.ticket, ()
            outcomes += self._replace(older, member, now)
        seat = _Seat(member, wanted, now)
        if wanted is not None:
            seat.ticket = self._new_ticket()
        other = self._draw(seat)
        outcomes.append(self._open(seat) if other is None else self._meet(seat, other))
        return seat.ticket or None, outcomes

    def rename(self, member: Member) -> None:
        """The connection's seat or search, if it has one, is this member's, who goes by another name now."""
        seat = self._seats.get(member.person)
        if seat is not None and seat.member.connection == member.connection:
            seat.member = member

    def cancel(self, member: Member) -> None:
        """End the search of this connection, if it has one: it wishes so, or was lost. Nobody need be told."""
        seat = self._searches.get(member.person)
        if seat is not None and seat.member.connection == member.connection:
            self._remove(seat)

    def leave(self, booth: str, connection: str, now: float, *, lost: bool = False) -> Sequence[Outcome]:
        """Give up the connection's seat in the booth; leaving twice is leaving once.

        Where both speak v1, the seat of one that was lost is kept until it comes back, its grace is over, or it leaves.
        """
        seat = next((seat for seat in self._booths.get(booth, ()) if seat.member.connection == connection), None)
        if seat is None:
            return ()
        person, partner = seat.member.person, self._partner(seat)
        if person in self._searches:
            self._remove(seat)
            return ()
        if lost and seat.wish is not None and partner is not None and partner.wish is not None:
            if person in self._away:
                return ()
            self._away[person] = now + GRACE
            return (Away(booth, seat.member, partner.member),)
        return self._part(seat, Freed(booth, seat.member, lost), "lost" if lost else "peer", now)

    def come_back(self, booth: str, member: Member) -> Sequence[Outcome] | None:
        """Give a v1 client the seat that its person has in the booth; None if there is none.

        If the seat is another connection's that was not lost yet, it is by this.
        """
        seat = next((seat for seat in self._booths.get(booth, ()) if seat.member.person == member.person), None)
        partner = None if seat is None else self._partner(seat)
        if seat is None or seat.wish is None or partner is None:
            return None
        was_away = self._away.pop(member.person, None) is not None
        if not was_away and seat.member.connection == member.connection:
            return ()
        away = () if was_away else (Away(booth, seat.member, partner.member),)
        seat.member = member
        return (*away, Back(booth, member, partner.member))

    def avoid(self, person: str, other: str, on: bool, now: float) -> Sequence[Outcome]:
        """Never seat the two together again, whichever of them looks for somebody; or take that back.

        Where they sit together, one loses its seat: the v1 client, if one is plain; else the person's own.
        """
        if not on:
            blocked = self._blocks.get(person, set())
            blocked.discard(other)
            if not blocked:
                self._blocks.pop(person, None)
            return self._introduce(person, other)
        self._blocks.setdefault(person, set()).add(other)
        if len(self._blocks) > BLOCKERS_LIMIT:
            del self._blocks[next(iter(self._blocks))]
        seat = self._seats.get(person)
        partner = None if seat is None else self._partner(seat)
        if seat is None or partner is None or partner.member.person != other:
            return ()
        if seat.wish is None and partner.wish is not None:
            return self._part(partner, self._over(partner, "peer"), "peer", now)
        return self._part(seat, self._over(seat, "you"), "peer", now)

    def tick(self, now: float) -> Sequence[Outcome]:
        """Do what is due: end the booths whose grace is over, let people meet again, and relax searches."""
        outcomes: list[Outcome] = []
        for person in _due(self._away, now):
            seat = self._seats[person]
            outcomes += self._part(seat, Freed(seat.booth, seat.member, lost=True), "lost", now)
        for pair in _due(self._parted, now):
            outcomes += self._introduce(*pair)
        for person in _due(self._interests, now):
            outcomes.append(self._relax(self._searches[person], "interests"))
        for person in _due(self._langs, now):
            outcomes.append(self._relax(self._searches[person], "langs"))
        return outcomes

    # Who suits whom

    def _suit(self, one: _Seat, other: _Seat) -> bool:
        a, b = one.member.person, other.member.person
        return (
            one.accepts(other)
            and other.accepts(one)
            and a != b
            and b not in self._blocks.get(a, ())
            and a not in self._blocks.get(b, ())
            and _pair(a, b) not in self._parted
        )

    def _draw(self, seat: _Seat) -> _Seat | None:
        """One who is alone and suits, each equally likely.

        Where many suit, one of a few drawn from all does: then nobody else is looked at. Those who don't are drawn in
        vain, which favours none of the others.
        """
        for _ in range(min(_TRIES, len(self._free))):
            (other,) = self._booths[self._free[self._choose(len(self._free))]]
            if self._suit(seat, other):
                return other
        suited = [other for booth in self._free for other in self._booths[booth] if self._suit(seat, other)]
        return suited[self._choose(len(suited))] if suited else None

    def _introduce(self, one: str, other: str) -> list[Outcome]:
        """Let the two meet, if they are alone and suit now: the one that waits longer comes to the other.

        Nobody else became fit for either of them, so there is nothing to draw.
        """
        pair = [seat for seat in map(self._seats.get, (one, other)) if seat is not None and seat.booth in self._place]
        comer = min((seat for seat in pair if seat.wish is not None), key=lambda seat: seat.since, default=None)
        if comer is None:
            return []
        return [self._meet(comer, seat) for seat in pair if seat is not comer and self._suit(comer, seat)]

    def _relax(self, seat: _Seat, what: str) -> Outcome:
        seat.relaxed += (what,)
        other = self._draw(seat)
        return seat.waits() if other is None else self._meet(seat, other)

    def _goes_on(self, older: _Seat, member: Member, wanted: Wanted | None) -> bool:
        """Whether what is wanted is the search that the person has already."""
        return (
            member.person in self._searches
            and older.member.connection == member.connection
            and older.wish is not None
            and wanted is not None
            and wanted.key is not None
            and wanted.key == older.wish.key
        )

    # Seats taken and given up

    def _open(self, seat: _Seat) -> Outcome:
        """Seat one whom nobody suits in a booth of its own."""
        person, wish = seat.member.person, seat.wish
        seat.booth = self._new_booth()
        self._booths[seat.booth] = [seat]
        self._seats[person] = seat
        self._offer(seat.booth)
        if wish is None:
            return Seated(seat.booth, seat.member)
        self._searches[person] = seat
        if wish.relaxes and wish.interests:
            self._interests[person] = seat.since + RELAX_INTERESTS
        if wish.relaxes and wish.langs:
            self._langs[person] = seat.since + RELAX_LANGS
        return seat.waits()

    def _meet(self, comer: _Seat, other: _Seat) -> Outcome:
        """Seat a newcomer, or one that waits elsewhere, beside one who is alone."""
        if comer.booth:
            self._remove(comer)
        self._stop(other)
        self._withdraw(other.booth)
        comer.booth = other.booth
        self._booths[comer.booth].append(comer)
        self._seats[comer.member.person] = comer
        if other.wish is None:
            return Met(comer.booth, (comer.member,), other.member, ())
        common = other.wish.interests & comer.wish.interests if comer.wish is not None else ()
        return Met(comer.booth, (other.member, comer.member), None, tuple(sorted(common)))

    def _replace(self, older: _Seat, member: Member, now: float) -> list[Outcome]:
        """End what another connection of the person has, or this one had: a forgotten one must not keep them out."""
        if older.member.connection != member.connection:
            return self._part(older, self._over(older, "you"), "peer", now)
        if member.person in self._searches:
            self._remove(older)
            return []
        return self._part(older, Freed(older.booth, older.member, lost=False), "peer", now)

    def _part(self, seat: _Seat, told: Outcome, by: By, now: float) -> list[Outcome]:
        """Free the seat, as `told`. A v1 client beside it loses its own; to a plain one comes the v1 client that waits
        longest of those whom it suits: nobody else does, or would have come before."""
        partner = self._partner(seat)
        self._remove(seat)
        if partner is None:
            return [told]
        if seat.wish is not None or partner.wish is not None:
            pair = _pair(seat.member.person, partner.member.person)
            self._parted[pair] = now + AVOID
        if partner.wish is not None:
            ended = self._over(partner, by)
            self._remove(partner)
            return [told, ended]
        seeker = next((seeker for seeker in self._searches.values() if self._suit(seeker, partner)), None)
        return [told] if seeker is None else [told, self._meet(seeker, partner)]

    def _over(self, seat: _Seat, by: By) -> Outcome:
        """How it is told to one that its seat or search is over: who is away hears nothing."""
        if seat.member.person in self._away:
            return Freed(seat.booth, seat.member, lost=True)
        if seat.wish is None:
            return Displaced(seat.booth, seat.member)
        return Ended(None if seat.member.person in self._searches else seat.booth, seat.member, by)

    def _remove(self, seat: _Seat) -> None:
        """Free the seat; the booth goes with the last one."""
        self._stop(seat)
        self._away.pop(seat.member.person, None)
        del self._seats[seat.member.person]
        seats = self._booths[seat.booth]
        seats.remove(seat)
        if seats:
            self._offer(seat.booth)
        else:
            self._withdraw(seat.booth)
            del self._booths[seat.booth]

    def _stop(self, seat: _Seat) -> None:
        """End the search, if there is one."""
        self._searches.pop(seat.member.person, None)
        self._interests.pop(seat.member.person, None)
        self._langs.pop(seat.member.person, None)

    def _partner(self, seat: _Seat) -> _Seat | None:
        return next((other for other in self._booths[seat.booth] if other is not seat), None)

    # Booths with one seat taken

    def _offer(self, booth: str) -> None:
        self._free.append(booth)
        self._place[booth] = len(self._free) - 1

    def _withdraw(self, booth: str) -> None:
        place, last = self._place.pop(booth), self._free.pop()
        if last != booth:
            self._free[place] = last
            self._place[last] = place


def _pair(one: str, other: str) -> tuple[str, str]:
    """The two in the order that is theirs: a set has another one in each process."""
    return (one, other) if one < other else (other, one)


def _due(queue: OrderedDict[_T, float], now: float) -> Iterator[_T]:
    """Take what is due, the earliest first."""
    while queue and next(iter(queue.values())) <= now:
        yield queue.popitem(last=False)[0]
