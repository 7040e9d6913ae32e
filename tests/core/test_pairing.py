"""Who sits with whom: the five rules. The engine's tests hold them under any order of calls."""

from itertools import count

import pytest

from parlour.core.events import Member
from parlour.core.pairing import Paired, Pairing


class Booths:
    """A pairing whose choices are given: `luck` is taken each time, and `asked` keeps from how many."""

    def __init__(self) -> None:
        self.luck = 0
        self.asked: list[int] = []
        booths = count(1)
        self.pairing = Pairing(self._choose, lambda: f"booth-{next(booths)}")

    def _choose(self, number: int) -> int:
        self.asked.append(number)
        return self.luck

    def find(self, name: str, luck: int = 0, *, person: str | None = None) -> Paired:
        self.luck = luck
        return self.pairing.find(member(name, person))

    def leave(self, booth: str, name: str) -> bool:
        return self.pairing.leave(booth, f"c-{name}")

    @property
    def seats(self) -> dict[str, list[str]]:
        """Who sits where, by name."""
        booths = [f"booth-{number}" for number in range(1, 100)]
        found = {booth: [seated.connection[2:] for seated in self.pairing.members(booth)] for booth in booths}
        return {booth: names for booth, names in found.items() if names}


def member(name: str, person: str | None = None) -> Member:
    return Member(f"c-{name}", person or f"p-{name}", None, plain=True)


def with_waiting(number: int) -> Booths:
    """So many sit alone, each in a booth: their partners left."""
    booths = Booths()
    for pair in range(1, number + 1):
        booths.find(f"w{pair}")
        booths.find(f"x{pair}")
    for pair in range(1, number + 1):
        booths.leave(f"booth-{pair}", f"x{pair}")
    booths.asked.clear()
    return booths


def test_the_first_one_gets_a_booth_of_their_own() -> None:
    """Rule 2: no booth has a free seat."""
    booths = Booths()
    assert booths.find("ada") == Paired("booth-1", None)
    assert (len(booths.pairing), booths.pairing.waiting, booths.asked) == (1, 1, [])


def test_the_second_one_meets_the_first() -> None:
    """Rule 4, with one booth to choose from."""
    booths = Booths()
    booths.find("ada")
    assert booths.find("bo") == Paired("booth-1", member("ada"))
    assert booths.pairing.members("booth-1") == (member("ada"), member("bo"))
    assert (len(booths.pairing), booths.pairing.waiting, booths.asked) == (1, 0, [1])


def test_the_third_one_gets_another_booth() -> None:
    """Rule 3: all booths are full."""
    booths = Booths()
    for name in ("ada", "bo", "cy"):
        booths.find(name)
    assert booths.seats == {"booth-1": ["ada", "bo"], "booth-2": ["cy"]}
    assert booths.pairing.waiting == 1


def test_who_was_left_keeps_the_booth_and_meets_the_next() -> None:
    """Its free seat is offered again."""
    booths = Booths()
    for name in ("ada", "bo"):
        booths.find(name)
    assert booths.leave("booth-1", "ada")
    assert booths.seats == {"booth-1": ["bo"]}
    assert booths.find("cy") == Paired("booth-1", member("bo"))


def test_the_last_one_takes_the_booth_along() -> None:
    """An empty booth is gone, and its id is not used again."""
    booths = Booths()
    booths.find("ada")
    assert booths.leave("booth-1", "ada")
    assert (len(booths.pairing), booths.pairing.waiting, booths.pairing.members("booth-1")) == (0, 0, ())
    assert booths.find("bo") == Paired("booth-2", None)


def test_to_leave_twice_is_to_leave_once() -> None:
    """Nor can one leave where one does not sit, or a booth that never was."""
    booths = Booths()
    for name in ("ada", "bo", "cy"):
        booths.find(name)
    assert booths.leave("booth-1", "ada")
    assert not booths.leave("booth-1", "ada")
    assert not booths.leave("booth-1", "cy")
    assert not booths.leave("booth-9", "cy")
    assert booths.seats == {"booth-1": ["bo"], "booth-2": ["cy"]}
    assert booths.pairing.waiting == 2


@pytest.mark.parametrize("number", [1, 2, 7, 30])
def test_every_booth_with_a_free_seat_can_be_drawn(number: int) -> None:
    """`choose` is asked once, for one of as many as wait; each answer leads to another booth."""
    met = set()
    for luck in range(number):
        booths = with_waiting(number)
        paired = booths.find("ada", luck)
        assert booths.asked == [number]
        assert paired.partner is not None
        met.add(paired.partner.connection)
    assert met == {f"c-w{pair}" for pair in range(1, number + 1)}


@pytest.mark.parametrize("gone", range(5))
def test_a_booth_that_is_gone_or_full_can_not_be_drawn(gone: int) -> None:
    """Wherever it stood among those with a free seat; the others still can."""
    for another in ("leaves", "is met"):
        met = set()
        for luck in range(4):
            booths = with_waiting(5)
            if another == "leaves":
                booths.leave(f"booth-{gone + 1}", f"w{gone + 1}")
            else:
                booths.find("bo", gone)
            booths.asked.clear()
            met.add(booths.find("ada", luck).booth)
            assert booths.asked == [4]
        assert len(met) == 4
        assert f"booth-{gone + 1}" not in met


def test_a_person_who_comes_again_loses_the_seat_they_had() -> None:
    """One booth a person: the newer connection is seated, the older one is told of."""
    booths = Booths()
    for name in ("ada", "bo", "cy"):
        booths.find(name)
    paired = booths.find("ada-again", luck=0, person="p-ada")
    assert paired.displaced == ("booth-1", member("ada"))
    assert paired.booth in ("booth-1", "booth-2")
    assert sum("ada" in names for names in booths.seats.values()) == 0
    assert sorted(name for names in booths.seats.values() for name in names) == ["ada-again", "bo", "cy"]
    assert not booths.leave("booth-1", "ada")


def test_nobody_meets_themselves() -> None:
    """One who waits alone and comes again does not sit down beside their older connection."""
    booths = Booths()
    booths.find("ada")
    assert booths.find("ada-again", person="p-ada") == Paired("booth-2", None, ("booth-1", member("ada")))
    assert booths.seats == {"booth-2": ["ada-again"]}


def test_a_person_who_left_can_come_again() -> None:
    """Nothing is kept about those who sit nowhere."""
    booths = Booths()
    booths.find("ada")
    booths.leave("booth-1", "ada")
    assert booths.find("ada") == Paired("booth-2", None)
