"""Who sits with whom in the booths: the five rules, and nothing else.

1. A client connects.
2. No booth has a free seat: one is opened for it.
3. All booths are full: the same.
4. One or more booths hold exactly one client: one of them is chosen uniformly at random.
5. Messages go to that booth only.

A client whose partner left keeps its booth, which then has a free seat (rule 4).
"""

from collections.abc import Callable
from typing import Final

from parlour.core.events import Member, value

SEATS: Final = 2


@value
class Paired:
    """The outcome of `Pairing.find`.

    `partner` is None where the booth was opened for this member. `displaced` is the booth that another connection of
    the same person sat in, and that connection: it lost its seat, for a person sits in at most one booth.
    """

    booth: str
    partner: Member | None
    displaced: tuple[str, Member] | None = None


class Pairing:
    """All booths and their seats.

    Invariants: a booth has one or two members; a person sits in at most one booth; `_free` holds exactly the booths
    with one member, each at the place that `_place` tells.
    """

    def __init__(self, choose: Callable[[int], int], new_booth: Callable[[], str]) -> None:
        """`choose(n)` gives a number from 0 to n - 1, each equally likely; `new_booth` an id never used before."""
        self._choose = choose
        self._new_booth = new_booth
        self._seats: dict[str, list[Member]] = {}  # by booth
        self._sits: dict[str, tuple[str, Member]] = {}  # by person: the booth, and the connection that sits there
        self._free: list[str] = []  # booths with a free seat; a list, so that one can be drawn in constant time
        self._place: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def waiting(self) -> int:
        """How many sit alone."""
        return len(self._free)

    def members(self, booth: str) -> tuple[Member, ...]:
        """Who sits in the booth; empty if there is none."""
        return tuple(self._seats.get(booth, ()))

    def find(self, member: Member) -> Paired:
        """Seat the member by the rules."""
        displaced = self._displace(member.person)
        booth, partner = self._draw()
        self._seats.setdefault(booth, []).append(member)
        self._sits[member.person] = (booth, member)
        return Paired(booth, partner, displaced)

    def leave(self, booth: str, connection: str) -> bool:
        """Free the seat of the connection in the booth. False if it has none there, so that leaving twice is leaving
        once."""
        seats = self._seats.get(booth, [])
        for member in seats:
            if member.connection == connection:
                break
        else:
            return False
        seats.remove(member)
        del self._sits[member.person]
        if seats:
            self._offer(booth)
        else:
            del self._seats[booth]
            self._withdraw(booth)
        return True

    def _displace(self, person: str) -> tuple[str, Member] | None:
        seat = self._sits.get(person)
        if seat is not None:
            booth, member = seat
            self.leave(booth, member.connection)
        return seat

    def _draw(self) -> tuple[str, Member | None]:
        if not self._free:
            booth = self._new_booth()
            self._offer(booth)
            return booth, None
        booth = self._free[self._choose(len(self._free))]
        self._withdraw(booth)
        return booth, self._seats[booth][0]

    def _offer(self, booth: str) -> None:
        self._place[booth] = len(self._free)
        self._free.append(booth)

    def _withdraw(self, booth: str) -> None:
        place = self._place.pop(booth)
        last = self._free.pop()
        if last != booth:
            self._free[place] = last
            self._place[last] = place
