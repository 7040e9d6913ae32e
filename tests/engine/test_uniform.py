"""Rule 4: whoever waits is as likely to be met as anyone else who does."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import count
from statistics import NormalDist
from typing import Final

import pytest

from parlour.core.events import Event, Member, Seat
from parlour.engine import Engine
from parlour.errors import Refusal
from tests.engine.house import ENGINES, Factory, member

DRAWS: Final = 100_000
LEAST: Final = 1e-6
"""By chance alone one series in a million is less likely than this; the seeds are fixed, so none of ours ever is."""


class Deaf:
    """A hub without connections."""

    def published(self, event: Event) -> None: ...

    def displaced(self, member: Member) -> None: ...


def chance_of_more(chi_square: float, freedom: int) -> float:
    """How likely chance alone gives at least this chi-square.

    After Wilson and Hilferty (1931): the cube root of chi-square over its degrees of freedom is close to normal.
    """
    spread = 2 / (9 * freedom)
    deviation = ((chi_square / freedom) ** (1 / 3) - (1 - spread)) / spread**0.5
    return NormalDist().cdf(-deviation)


def chance_of(met: Counter[str], waiting: int) -> float:
    """How likely draws as uneven as these are, if each of those who wait is as likely as any other."""
    expected = met.total() / waiting
    missing = waiting - len(met)
    chi_square = sum((times - expected) ** 2 / expected for times in met.values()) + missing * expected
    return chance_of_more(chi_square, waiting - 1)


def room_found(engine: Engine, newcomer: Member) -> str:
    answers: list[Seat | Refusal] = []
    engine.find(newcomer, answers.append)
    (seat,) = answers
    assert isinstance(seat, Seat)
    return seat.room


def draw(make: Factory, waiting: int, choose: Callable[[int], int]) -> Counter[str]:
    """How often each booth was drawn. The newcomer leaves each time, so that as many wait again."""
    ids = count()
    engine = make(Deaf(), choose=choose, new_id=lambda: f"{next(ids)}", utc_ms=lambda: 0)
    pairs = [room_found(engine, member(f"w{number}")) for number in range(2 * waiting)][::2]
    for number, room in enumerate(pairs):
        engine.leave(room, f"w{2 * number}")
    assert engine.counts() == (waiting, waiting)
    newcomer, met = member("ada"), Counter[str]()
    for _ in range(DRAWS):
        room = room_found(engine, newcomer)
        engine.leave(room, newcomer.connection)
        met[room] += 1
    assert engine.counts() == (waiting, waiting)
    assert met.keys() <= set(pairs)
    return met


@pytest.mark.parametrize("waiting", [2, 7, 100, 1_000])
@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_whoever_waits_is_met_as_often(make: Factory, waiting: int) -> None:
    """Over 100,000 draws no unevenness that chance does not explain, and not the evenness of taking turns either."""
    chance = chance_of(draw(make, waiting, random.Random(23).randrange), waiting)
    assert LEAST < chance < 1 - LEAST


@pytest.mark.parametrize(("waiting", "favour"), [(2, 0.02), (7, 0.02), (100, 0.02), (1_000, 0.1)])
def test_the_measure_sees_a_small_favour(waiting: int, favour: float) -> None:
    """A choice that now and then takes the first one is found out; without that, nothing would be shown above."""
    dice = random.Random(23)

    def unfair(number: int) -> int:
        return 0 if dice.random() < favour else dice.randrange(number)

    met = Counter(f"{unfair(waiting)}" for _ in range(DRAWS))
    assert chance_of(met, waiting) < LEAST


@pytest.mark.parametrize(
    ("chi_square", "freedom", "chance"),
    [(6.635, 1, 0.01), (16.812, 6, 0.01), (134.642, 99, 0.01), (1105.917, 999, 0.01), (98.334, 99, 0.5)],
)
def test_the_measure_agrees_with_the_tables(chi_square: float, freedom: int, chance: float) -> None:
    """Values of the usual tables of chi-square."""
    assert chance_of_more(chi_square, freedom) == pytest.approx(chance, rel=0.05)
