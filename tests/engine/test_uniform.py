"""Rule 4: whoever waits is as likely to be met as anyone else who does."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count, pairwise
from statistics import NormalDist
from typing import Final

import pytest

from parlour.core.events import Answer, Event, Find, Letter, Member, Seat, Wanted
from parlour.core.pairing import AVOID
from parlour.engine import Engine
from parlour.errors import Refusal
from tests.engine.house import ENGINES, KEYRING, Factory, FakeScheduler, plain, v1

DRAWS: Final = 100_000
LEAST: Final = 1e-6
"""By chance alone one series in a million is less likely than this; the seeds are fixed, so none of ours ever is."""


class Deaf:
    """A hub without connections. It knows in which booth each v1 client was seated last."""

    def __init__(self) -> None:
        self.seats: dict[str, str] = {}

    def published(self, event: Event) -> None: ...

    def told(self, connection: str, letter: Letter, seat: Seat | None = None) -> None:
        if seat is not None:
            self.seats[connection] = seat.room

    def displaced(self, member: Member) -> None: ...

    def closed(self, room: str) -> None: ...


def engine_for(make: Factory, deaf: Deaf, scheduler: FakeScheduler, choose: Callable[[int], int]) -> Engine:
    ids = count()
    return make(
        deaf,
        scheduler=scheduler,
        keyring=KEYRING,
        choose=choose,
        new_id=lambda: f"{next(ids)}",
        utc_ms=lambda: 0,
        public=("public",),
    )


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
    answers: list[Answer | Refusal] = []
    engine.find(Find(newcomer), lambda answer, re: answers.append(answer))
    (seat,) = answers
    assert isinstance(seat, Seat)
    return seat.room


def search(engine: Engine, seeker: Member, wanted: Wanted) -> None:
    engine.find(Find(seeker, wanted), lambda answer, re: None)


def survivors(engine: Engine, number: int) -> list[str]:
    """The booths of so many plain clients whose partner left."""
    pairs = [room_found(engine, plain(f"w{number}")) for number in range(2 * number)][::2]
    for place, room in enumerate(pairs):
        engine.leave(room, f"w{2 * place}")
    return pairs


def is_even(met: Sequence[str], waiting: int) -> bool:
    """Whether chance explains how often each one was met, and how often each after each other one: who was met moves
    to another place among those who wait, so that a favour for one place is seen only there."""
    chances = [chance_of(Counter(met), waiting)]
    if len(met) >= 5 * waiting**2:
        chances.append(chance_of(Counter(map(" ".join, pairwise(met))), waiting**2))
    return all(LEAST < chance < 1 - LEAST for chance in chances)


def draw(make: Factory, waiting: int, choose: Callable[[int], int]) -> list[str]:
    """Which booths were drawn. The newcomer leaves each time, so that as many wait again."""
    engine = engine_for(make, Deaf(), FakeScheduler(), choose)
    pairs = survivors(engine, waiting)
    assert engine.counts() == (waiting, waiting)
    newcomer, met = plain("ada"), list[str]()
    for _ in range(DRAWS):
        room = room_found(engine, newcomer)
        engine.leave(room, newcomer.connection)
        met.append(room)
    assert engine.counts() == (waiting, waiting)
    assert set(met) <= set(pairs)
    return met


def draw_mixed(make: Factory, plains: int, seekers: int, choose: Callable[[int], int]) -> list[str]:
    """Which of those who wait were met by a v1 client that suits all, though they don't suit each other.

    A v1 client that was met searches again. Each newcomer is another person: no two meet twice within half a minute.
    """
    deaf, scheduler = Deaf(), FakeScheduler()
    engine = engine_for(make, deaf, scheduler, choose)
    pairs = survivors(engine, plains)
    wishes = {f"s{number}": Wanted(frozenset({f"tag {number}"}), relaxes=False) for number in range(seekers)}
    for name, wish in wishes.items():
        search(engine, v1(name), wish)
    waiting = plains + seekers
    assert engine.counts() == (waiting, waiting)
    every = Wanted(frozenset.union(*(wish.interests for wish in wishes.values())))
    met = list[str]()
    for number in range(DRAWS):
        newcomer = v1(f"n{number}")
        search(engine, newcomer, every)
        booth = deaf.seats.pop(newcomer.connection)
        partner = next((name for name, seat in deaf.seats.items() if seat == booth), booth)
        engine.leave(booth, newcomer.connection)
        if partner != booth:
            del deaf.seats[partner]
            search(engine, v1(partner), wishes[partner])
        met.append(partner)
        scheduler.now += AVOID
        while scheduler.step(scheduler.now):
            pass
    assert engine.counts() == (waiting, waiting)
    assert set(met) <= {*pairs, *wishes}
    return met


@pytest.mark.parametrize("waiting", [2, 7, 100, 1_000])
@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_whoever_waits_is_met_as_often(make: Factory, waiting: int) -> None:
    """Over 100,000 draws no unevenness that chance does not explain, and not the evenness of taking turns either."""
    assert is_even(draw(make, waiting, random.Random(23).randrange), waiting)


@pytest.mark.parametrize(("plains", "seekers"), [(5, 5), (2, 8)])
@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES.keys())
def test_plain_and_v1_clients_are_met_as_often(make: Factory, plains: int, seekers: int) -> None:
    """One who waits in a room is no more likely than one who searches, nor less."""
    assert is_even(draw_mixed(make, plains, seekers, random.Random(23).randrange), plains + seekers)


@pytest.mark.parametrize(("waiting", "favour"), [(2, 0.02), (7, 0.02), (100, 0.02), (1_000, 0.1)])
def test_the_measure_sees_a_small_favour(waiting: int, favour: float) -> None:
    """A choice that now and then takes the first one is found out; without that, nothing would be shown above."""
    dice = random.Random(23)

    def unfair(number: int) -> int:
        return 0 if dice.random() < favour else dice.randrange(number)

    assert not is_even([f"{unfair(waiting)}" for _ in range(DRAWS)], waiting)


@pytest.mark.parametrize("waiting", [2, 7])
def test_the_measure_sees_a_favour_for_a_place(waiting: int) -> None:
    """As well as taking turns: each one is met as often as the others, and who comes next can be guessed."""
    dice = random.Random(23)
    places, met = [f"{number}" for number in range(waiting)], list[str]()
    for _ in range(DRAWS):
        place = 0 if dice.random() < 0.1 else dice.randrange(waiting)
        met.append(places[place])
        places[place], places[-1] = places[-1], places[place]
    assert not is_even(met, waiting)
    assert not is_even([f"{number % waiting}" for number in range(DRAWS)], waiting)


@pytest.mark.parametrize(
    ("chi_square", "freedom", "chance"),
    [(6.635, 1, 0.01), (16.812, 6, 0.01), (134.642, 99, 0.01), (1105.917, 999, 0.01), (98.334, 99, 0.5)],
)
def test_the_measure_agrees_with_the_tables(chi_square: float, freedom: int, chance: float) -> None:
    """Values of the usual tables of chi-square."""
    assert chance_of_more(chi_square, freedom) == pytest.approx(chance, rel=0.05)
