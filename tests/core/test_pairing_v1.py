"""Who sits with whom, where some speak v1: wishes, waiting, seats that are kept, and people who are avoided."""

import math
from collections import Counter

import pytest

from parlour.core.events import Member, Sender, Wanted
from parlour.core.pairing import (
    AVOID,
    GRACE,
    RELAX_INTERESTS,
    RELAX_LANGS,
    Away,
    Back,
    Displaced,
    Ended,
    Freed,
    Met,
    Seated,
    Waiting,
)
from tests.core.test_pairing import Booths, who


def wish(interests: str = "", langs: str = "", *, relaxes: bool = True, key: str | None = None) -> Wanted:
    return Wanted(frozenset(interests.split()), frozenset(langs.split()), relaxes, key)


def together(one: str = "ada", other: str = "bo") -> Booths:
    """Two who speak v1 sit in booth-1, since a while."""
    booths = Booths()
    booths.seek(one)
    booths.seek(other)
    booths.wait(100)
    return booths


def beside_plain() -> Booths:
    """Ada speaks v1 and sits in booth-1 beside bo, who is plain and was there before."""
    booths = Booths()
    booths.plain("bo")
    booths.seek("ada")
    return booths


# To meet


def test_the_first_one_waits() -> None:
    """In no room, without a deadline, for nothing relaxes. Its booth counts, and nobody sits there yet."""
    booths = Booths()
    assert booths.seek("ada") == [Waiting(who("ada"), "ticket-1", (), 1_000.0)]
    assert (len(booths.pairing), booths.pairing.waiting) == (1, 1)
    assert booths.pairing.seat_of("p-ada") is None
    assert booths.pairing.deadline == math.inf


def test_two_who_speak_v1_meet() -> None:
    """Both come into the room, the one who waited first."""
    booths = Booths()
    booths.seek("ada")
    assert booths.seek("bo") == [Met("booth-1", (who("ada"), who("bo")), None, ())]
    assert booths.pairing.seat_of("p-ada") == booths.pairing.seat_of("p-bo") == "booth-1"


def test_a_plain_client_meets_one_who_waits() -> None:
    """A booth with one seat taken, as any other (rule 4); both come into its room."""
    booths = Booths()
    booths.seek("ada", wish("tea"))
    assert booths.plain("bo") == [Met("booth-1", (who("ada"), who("bo")), None, ())]


def test_one_who_speaks_v1_meets_a_plain_client() -> None:
    """Who stays in its room."""
    booths = Booths()
    booths.plain("bo")
    assert booths.seek("ada") == [Met("booth-1", (who("ada"),), who("bo"), ())]


def test_the_draw_is_among_all_who_suit() -> None:
    """Plain and v1 clients alike: of 15 answers 5 lead to each, though some who don't suit are drawn in between."""
    met = Counter[str]()
    for luck in range(15):
        booths = Booths()
        booths.plain("x")
        for name in ("s1", "s2"):
            booths.seek(name, wish(name, relaxes=False))
        for name in ("s3", "s4"):
            booths.block(name, "x")
            booths.seek(name, wish(name))
        booths.plain("ada", luck)
        ((other, _),) = (names for names in booths.seats.values() if "ada" in names)
        met[other] += 1
    assert met == {"x": 5, "s3": 5, "s4": 5}


# Wishes


def test_what_both_like_is_told() -> None:
    booths = Booths()
    booths.seek("ada", wish("tea ski chess"))
    assert booths.seek("bo", wish("ski go chess")) == [Met("booth-1", (who("ada"), who("bo")), None, ("chess", "ski"))]


@pytest.mark.parametrize(
    ("ada", "bo", "meet"),
    [
        (wish("tea"), wish("tea ski"), True),
        (wish("tea"), wish("ski"), False),
        (wish("tea"), wish(), False),
        (wish(), wish("tea"), False),
        (wish(), wish(), True),
        (wish(langs="en"), wish(langs="en fr"), True),
        (wish(langs="en"), wish(langs="fr"), False),
        (wish(langs="en"), wish(), False),
        (wish("tea", "en"), wish("tea", "en"), True),
        (wish("tea", "en"), wish("tea", "fr"), False),
        (wish("tea", "en"), wish("ski", "en"), False),
    ],
)
def test_who_suits_whom(ada: Wanted, bo: Wanted, meet: bool) -> None:
    """Each must meet the other's demands, whoever comes first."""
    for one, other in ((ada, bo), (bo, ada)):
        booths = Booths()
        booths.seek("ada", one)
        booths.seek("bo", other)
        assert bool(booths.rooms) == meet


@pytest.mark.parametrize(
    ("wanted", "meet"),
    [
        (wish(), True),
        (wish("tea", "en"), True),
        (wish(relaxes=False), True),
        (wish("tea", relaxes=False), False),
        (wish(langs="en", relaxes=False), False),
    ],
)
def test_a_plain_client_suits_whoever_relaxes(wanted: Wanted, meet: bool) -> None:
    """At once. It has neither interests nor languages, so it never suits one who insists on some."""
    booths = Booths()
    booths.seek("ada", wanted)
    booths.plain("bo")
    assert bool(booths.pairing.seat_of("p-ada")) == meet
    booths = Booths()
    booths.plain("bo")
    booths.seek("ada", wanted)
    assert bool(booths.pairing.seat_of("p-ada")) == meet


def test_wishes_relax_with_time() -> None:
    """Interests first, then languages; each time it is told, and at no other."""
    booths = Booths()
    booths.seek("ada", wish("tea", "en"))
    assert booths.pairing.deadline == 1_000 + RELAX_INTERESTS
    assert booths.wait(RELAX_INTERESTS) == [Waiting(who("ada"), "ticket-1", ("interests",), 1_000.0)]
    assert booths.pairing.deadline == 1_000 + RELAX_LANGS
    assert booths.wait(1_000) == [Waiting(who("ada"), "ticket-1", ("interests", "langs"), 1_000.0)]
    assert booths.pairing.deadline == math.inf


def test_who_relaxes_meets_one_who_waits() -> None:
    """Both must: ada likes anybody after 10 seconds, bo 5 seconds later. Then bo, who relaxed, moves."""
    booths = Booths()
    booths.seek("ada", wish("tea", "en"))
    booths.wait(5)
    booths.seek("bo", wish("ski", "en"))
    assert booths.wait(5) == [Waiting(who("ada"), "ticket-1", ("interests",), 1_000.0)]
    assert booths.wait(5) == [Met("booth-1", (who("ada"), who("bo")), None, ())]
    assert (len(booths.pairing), booths.pairing.deadline) == (1, math.inf)


def test_one_who_relaxed_still_has_interests() -> None:
    """So it suits those who still ask for them."""
    booths = Booths()
    booths.seek("ada", wish("tea"))
    booths.wait(60)
    booths.seek("bo", wish("ski"))
    assert booths.seek("cy", wish("tea")) == [Met("booth-1", (who("ada"), who("cy")), None, ("tea",))]


def test_who_insists_never_relaxes() -> None:
    booths = Booths()
    booths.seek("ada", wish("tea", "en", relaxes=False))
    assert booths.pairing.deadline == math.inf
    booths.wait(1_000)
    booths.seek("bo", wish("ski", "en"))
    booths.wait(1_000)
    assert not booths.rooms


def test_steps_that_are_overdue_are_made_up_for() -> None:
    """A clock that was late makes nobody meet who should not, and leaves nobody out."""
    booths = Booths()
    booths.seek("ada", wish("tea", "en"))
    booths.seek("bo", wish("ski", "fr"))
    booths.now += 1_000
    outcomes = booths.carry_out(booths.pairing.tick(booths.now))
    assert outcomes[-1] == Met("booth-1", (who("ada"), who("bo")), None, ())


# One search a person


def test_the_same_key_is_the_same_search() -> None:
    """It goes on, since when it began; another key, or none, begins anew and tells nobody."""
    booths = Booths()
    booths.seek("ada", wish("tea", key="k"))
    booths.wait(4)
    assert booths.seek("ada", wish("tea", key="k")) == []
    assert booths.seek("ada", wish("tea", key="other")) == [Waiting(who("ada"), "ticket-2", (), 1_004.0)]
    assert booths.seek("ada", wish("tea")) == [Waiting(who("ada"), "ticket-3", (), 1_004.0)]
    assert booths.seek("ada", wish("tea")) == [Waiting(who("ada"), "ticket-4", (), 1_004.0)]
    assert len(booths.pairing) == 1


def test_a_newer_connection_wins() -> None:
    """The older one's search ends, with the same key too; later it can't cancel the newer one's."""
    booths = Booths()
    booths.seek("ada", wish(key="k"))
    assert booths.seek("ada/2", wish(key="k")) == [
        Ended(None, who("ada"), "you"),
        Waiting(who("ada/2"), "ticket-2", (), 1_000.0),
    ]
    booths.cancel("ada")
    assert list(booths.searches) == ["p-ada"]


def test_a_newer_connection_takes_a_person_out_of_a_booth() -> None:
    """Whatever both speak; the other one, if it speaks v1, hears that its partner left."""
    booths = together()
    assert booths.seek("ada/2") == [
        Ended("booth-1", who("ada"), "you"),
        Ended("booth-1", who("bo"), "peer"),
        Waiting(who("ada/2"), "ticket-3", (), 1_100.0),
    ]
    booths = together()
    assert booths.plain("ada/2")[-1] == Seated("booth-2", who("ada/2"))
    booths = beside_plain()
    assert booths.seek("bo/2")[:2] == [Displaced("booth-1", who("bo")), Ended("booth-1", who("ada"), "peer")]


def test_a_search_that_was_cancelled_is_over() -> None:
    """Nothing is left of it. What was found meanwhile stays."""
    booths = Booths()
    booths.seek("ada", wish("tea", "en"))
    booths.cancel("ada")
    assert (len(booths.pairing), booths.pairing.waiting, booths.pairing.deadline) == (0, 0, math.inf)
    booths = together()
    booths.cancel("ada")
    assert booths.seats == {"booth-1": ["ada", "bo"]}
    booths = Booths()
    booths.plain("ada")
    booths.cancel("ada")
    assert booths.seats == {"booth-1": ["ada"]}


def test_who_waits_has_no_booth_to_leave_or_to_come_back_to() -> None:
    """The id of its booth is told to nobody; even so, leaving it would end the search, and tell nobody."""
    booths = Booths()
    booths.seek("ada")
    assert booths.come_back("ada/2", "booth-1") is None
    assert booths.pairing.leave("booth-1", "c-ada", booths.now, lost=True) == ()
    assert len(booths.pairing) == 0


def test_who_is_renamed_goes_by_the_new_name() -> None:
    """Where it waits and where it sits; an older connection's name is of no account."""
    booths = Booths()
    booths.seek("ada/2")
    booths.pairing.rename(Member("c-ada/2", Sender("p-ada", "countess")))
    booths.pairing.rename(Member("c-ada", Sender("p-ada", "nobody")))
    booths.pairing.rename(who("cy"))
    _, (met,) = booths.pairing.find(who("bo"), None, booths.now)
    assert isinstance(met, Met)
    assert [member.sender.name for member in met.came] == ["countess", "bo"]
    booths.pairing.rename(Member("c-bo", Sender("p-bo", "bobby")))
    assert [member.sender.name for member in booths.pairing.members(met.booth)] == ["countess", "bobby"]


# The end of a booth


@pytest.mark.parametrize("name", ["ada", "bo"])
def test_if_both_speak_v1_the_booth_ends_when_one_leaves(name: str) -> None:
    """The other one has no seat any more, and does not wait unless it says so."""
    booths = together()
    other = "bo" if name == "ada" else "ada"
    assert booths.leave(name) == [Freed("booth-1", who(name), lost=False), Ended("booth-1", who(other), "peer")]
    assert (len(booths.pairing), booths.pairing.seat_of(f"p-{other}")) == (0, None)
    assert not booths.leave(other, "booth-1")


@pytest.mark.parametrize(("lost", "by"), [(False, "peer"), (True, "lost")])
def test_without_its_plain_partner_a_v1_client_has_no_booth(lost: bool, by: str) -> None:
    """At once: there is no grace."""
    booths = beside_plain()
    freed, ended = booths.leave("bo", lost=lost)
    assert freed == Freed("booth-1", who("bo"), lost)
    assert isinstance(ended, Ended)
    assert (ended.booth, ended.member, ended.by) == ("booth-1", who("ada"), by)


@pytest.mark.parametrize("lost", [False, True])
def test_a_plain_client_keeps_its_booth(lost: bool) -> None:
    """Its seat beside a v1 client is freed at once, too, and rule 4 goes on."""
    booths = beside_plain()
    assert booths.leave("ada", lost=lost) == [Freed("booth-1", who("ada"), lost)]
    assert booths.plain("cy") == [Met("booth-1", (who("cy"),), who("bo"), ())]


def test_next_leaves_and_looks_again() -> None:
    """One act. The other one is not met again, though it looks as well."""
    booths = together()
    assert booths.seek("ada", Wanted(leaving="booth-1")) == [
        Freed("booth-1", who("ada"), lost=False),
        Ended("booth-1", who("bo"), "peer"),
        Waiting(who("ada"), "ticket-3", (), 1_100.0),
    ]
    assert booths.seek("bo") == [Waiting(who("bo"), "ticket-4", (), 1_100.0)]
    booths = beside_plain()
    assert booths.seek("ada")[-1] == Waiting(who("ada"), "ticket-2", (), 1_000.0)
    assert booths.seats == {"booth-1": ["bo"]}


def test_a_plain_client_that_is_left_meets_who_waits_longest() -> None:
    """Of those who suit: ada insists on an interest, bo blocked it. It stays where it is; nobody waits beside it."""
    booths = Booths()
    booths.plain("x1")
    booths.plain("x2")
    booths.block("bo", "x1")
    booths.seek("ada", wish("tea", relaxes=False))
    booths.seek("bo", wish("go"))
    booths.seek("cy", wish("ski"))
    booths.seek("di", wish("run"))
    assert booths.leave("x2") == [
        Freed("booth-1", who("x2"), lost=False),
        Met("booth-1", (who("cy"),), who("x1"), ()),
    ]


# A seat that is kept


def test_who_is_lost_keeps_the_seat_for_a_while() -> None:
    booths = together()
    assert booths.lose("ada") == [Away("booth-1", who("ada"), who("bo"))]
    assert booths.lose("ada") == []
    assert booths.pairing.seat_of("p-ada") == "booth-1"
    assert booths.pairing.deadline == booths.now + GRACE


def test_who_comes_back_sits_there_again() -> None:
    """On its new connection: the older one can't leave any more."""
    booths = together()
    booths.lose("ada")
    booths.wait(GRACE - 1)
    assert booths.come_back("ada/2", "booth-1") == [Back("booth-1", who("ada/2"), who("bo"))]
    assert not booths.leave("ada", "booth-1")
    assert booths.wait(GRACE) == []
    assert booths.seats == {"booth-1": ["ada/2", "bo"]}


def test_who_comes_back_before_it_was_lost_was_lost() -> None:
    """The older connection is dead, and nobody noticed. To come back to where one sits is nothing."""
    booths = together()
    assert booths.come_back("ada/2", "booth-1") == [
        Away("booth-1", who("ada"), who("bo")),
        Back("booth-1", who("ada/2"), who("bo")),
    ]
    assert booths.come_back("ada/2", "booth-1") == []


def test_who_comes_too_late_has_no_seat() -> None:
    """Nor has who never sat there, or sits there as a plain client."""
    booths = together()
    assert booths.come_back("cy", "booth-1") is None
    assert booths.come_back("ada/2", "booth-9") is None
    booths.lose("ada")
    assert booths.wait(GRACE) == [Freed("booth-1", who("ada"), lost=True), Ended("booth-1", who("bo"), "lost")]
    assert booths.come_back("ada/2", "booth-1") is None
    booths = beside_plain()
    assert booths.come_back("bo/2", "booth-1") is None


def test_the_other_one_need_not_wait() -> None:
    """Nobody tells the one who is away."""
    booths = together()
    booths.lose("ada")
    assert booths.seek("bo") == [
        Freed("booth-1", who("bo"), lost=False),
        Freed("booth-1", who("ada"), lost=True),
        Waiting(who("bo"), "ticket-3", (), 1_100.0),
    ]
    assert booths.come_back("ada/2", "booth-1") is None


def test_both_may_be_away() -> None:
    """Each has a grace of its own. When the first one's is over so is the booth; who came back awaits the other's."""
    booths = together()
    booths.lose("ada")
    booths.wait(10)
    assert booths.lose("bo") == [Away("booth-1", who("bo"), who("ada"))]
    assert booths.wait(1_000) == [Freed("booth-1", who("ada"), lost=True), Freed("booth-1", who("bo"), lost=True)]
    booths = together()
    booths.lose("ada")
    booths.wait(10)
    booths.lose("bo")
    assert booths.come_back("ada/2", "booth-1") == [Back("booth-1", who("ada/2"), who("bo"))]
    assert booths.wait(GRACE) == [Freed("booth-1", who("bo"), lost=True), Ended("booth-1", who("ada/2"), "lost")]


def test_a_seat_that_is_kept_can_be_given_up() -> None:
    """By the connection's word, or by looking for somebody else on a newer one."""
    booths = together()
    booths.lose("ada")
    assert booths.leave("ada") == [Freed("booth-1", who("ada"), lost=False), Ended("booth-1", who("bo"), "peer")]
    booths = together()
    booths.lose("ada")
    assert booths.seek("ada/2")[:2] == [Freed("booth-1", who("ada"), lost=True), Ended("booth-1", who("bo"), "peer")]


# People who are avoided


def test_two_who_parted_do_not_meet_for_a_while() -> None:
    """Then they do, if both still wait: the one that waits longer comes to the other."""
    booths = together()
    booths.leave("ada")
    booths.seek("ada")
    booths.wait(1)
    booths.seek("bo")
    assert booths.wait(AVOID) == [Met("booth-3", (who("bo"), who("ada")), None, ())]


def test_a_plain_client_is_avoided_too() -> None:
    """And then met in its booth, where it stays."""
    booths = beside_plain()
    booths.leave("ada")
    booths.seek("ada")
    assert booths.wait(AVOID) == [Met("booth-1", (who("ada"),), who("bo"), ())]


def test_two_plain_clients_remember_nothing() -> None:
    booths = Booths()
    booths.plain("ada")
    booths.plain("bo")
    booths.leave("ada")
    assert booths.plain("ada") == [Met("booth-1", (who("ada"),), who("bo"), ())]


@pytest.mark.parametrize("pair", [("ada", "bo"), ("bo", "ada")])
def test_who_blocked_somebody_does_not_meet_them(pair: tuple[str, str]) -> None:
    """Whichever of them it was, whatever they speak; once it is taken back they meet."""
    booths = Booths()
    booths.block(*pair)
    booths.seek("ada")
    booths.wait(1)
    booths.seek("bo")
    assert not booths.rooms
    assert booths.unblock(*pair) == [Met("booth-2", (who("bo"), who("ada")), None, ())]
    booths = Booths()
    booths.block(*pair)
    booths.plain("bo")
    booths.seek("ada")
    assert booths.seats == {"booth-1": ["bo"]}
    assert booths.unblock(*pair) == [Met("booth-1", (who("ada"),), who("bo"), ())]


def test_two_plain_clients_that_are_unblocked_stay_where_they_are() -> None:
    """Plain clients are never moved."""
    booths = Booths()
    booths.block("ada", "bo")
    booths.plain("ada")
    booths.plain("bo")
    assert booths.unblock("ada", "bo") == []
    assert booths.seats == {"booth-1": ["ada"], "booth-2": ["bo"]}


def test_both_must_take_it_back() -> None:
    booths = Booths()
    booths.block("ada", "bo")
    booths.block("bo", "ada")
    booths.seek("ada")
    booths.seek("bo")
    assert booths.unblock("ada", "bo") == []
    assert booths.unblock("cy", "bo") == []
    assert (booths.pairing.blocks("p-ada"), booths.pairing.blocks("p-bo")) == (set(), {"p-ada"})
    assert len(booths.unblock("bo", "ada")) == 1
    assert booths.pairing.blocks("p-bo") == set()


def test_a_block_ends_the_booth() -> None:
    """They don't meet at once when it is taken back, either."""
    booths = together()
    assert booths.block("ada", "bo") == [Ended("booth-1", who("ada"), "you"), Ended("booth-1", who("bo"), "peer")]
    booths.seek("ada")
    booths.seek("bo")
    assert booths.unblock("ada", "bo") == []
    assert len(booths.wait(AVOID)) == 1


def test_a_block_tells_nobody_who_is_away() -> None:
    booths = together()
    booths.lose("bo")
    assert booths.block("ada", "bo") == [Ended("booth-1", who("ada"), "you"), Freed("booth-1", who("bo"), lost=True)]


def test_a_plain_client_that_is_blocked_keeps_its_booth() -> None:
    """So does one whose person blocked the other from elsewhere; of two plain ones the blocked one stays."""
    booths = beside_plain()
    assert booths.block("ada", "bo") == [Ended("booth-1", who("ada"), "you")]
    assert booths.seats == {"booth-1": ["bo"]}
    booths = beside_plain()
    assert booths.block("bo", "ada") == [Ended("booth-1", who("ada"), "peer")]
    assert booths.seats == {"booth-1": ["bo"]}
    booths = Booths()
    booths.plain("ada")
    booths.plain("bo")
    assert booths.block("ada", "bo") == [Displaced("booth-1", who("ada"))]
    assert booths.seats == {"booth-1": ["bo"]}
