"""A plain connection: which line is said when, when the peer is not read, and when silence or noise is the end."""

from collections.abc import Callable
from math import inf
from typing import Final, Literal

import pytest

from parlour.core.commands import Hello
from parlour.core.connection import CALM, CONTROL_BURST, ERRORS_LIMIT, HOLD_LIMIT, HOLD_OVERHEAD, STALL_LIMIT, Pace
from parlour.core.events import (
    Done,
    Effect,
    End,
    Enter,
    Find,
    MatchBack,
    MatchFound,
    Member,
    Place,
    Publish,
    Refuse,
    Seat,
    Sender,
    Take,
    Weigh,
)
from parlour.core.filter import FilterRules
from parlour.core.gate import NOT_MET, Gate
from parlour.core.moderation import Verdict
from parlour.core.names import NameRules
from parlour.core.penalties import Mode, Penalties
from parlour.core.policy import Policy
from parlour.core.records import Ban, Mute
from parlour.errors import (
    BANNED,
    INTERNAL,
    NO_PONG,
    RATE,
    REPLACED,
    RESTART,
    ROOM_CLOSED,
    SLOW,
    TOO_MANY_ERRORS,
    UNFINISHED,
    Refusal,
)
from tests.core.peer import BOOTHS, FREE, PUBLIC, UNPINGED, UTC_MS, WRONG, PlainPeer

LARGE: Final = HOLD_LIMIT - HOLD_OVERHEAD
"""Characters of a line that fills all that is held for a client."""


def use_up(peer: PlainPeer, burst: int = UNPINGED.burst) -> None:
    """Say what may be said at once."""
    for _ in range(burst):
        peer.say("hi")
    assert len(peer.said) == burst


def press(peer: PlainPeer, seconds: float) -> None:
    """Say too much whenever one is read, for so long or until the end."""
    until = peer.now + seconds
    while peer.ended is None and peer.now < until:
        if peer.is_read():
            peer.say("more", size=LARGE)
        else:
            peer.wait_for_deadline()


# A seat, and what is said from it


ADA = Member("c-ada", Sender("p-ada", None, plain=True))


@pytest.mark.parametrize(("place", "asked"), [(PUBLIC, Enter("public", ADA, listed=False)), (BOOTHS, Find(ADA))])
def test_a_connection_asks_for_its_place_when_it_opens(place: Place, asked: Effect) -> None:
    """Opening asks for the seat that the address stands for, and for nothing else: not for a list that it can't show,
    and with no wish for anybody in particular."""
    assert PlainPeer(place=place, seated=False).asked == (asked,)


def test_one_whom_the_host_app_knows_comes_under_that_name() -> None:
    """From the first moment on, and as a user: the name is guarded."""
    (asked,) = PlainPeer(name="Ada Lovelace", seated=False).asked
    assert isinstance(asked, Enter)
    assert asked.member.sender == Sender("p-ada", "Ada Lovelace", "user", plain=False)


def test_the_seat_is_where_it_hears() -> None:
    """Nothing else comes of the engine's answer, and nothing of other answers."""
    ada = PlainPeer(seated=False)
    seat = Seat("booth-1", "e1", 5, 2)
    assert ada.answer(seat) == [Take(seat)]
    assert ada.answer(Done()) == []


def test_without_a_seat_there_is_no_connection() -> None:
    """The engine refused: the client is told, and may come back."""
    ada = PlainPeer(seated=False)
    refusal = Refusal("not_found", "there is no such room")
    assert ada.answer(refusal) == [Refuse(refusal), End(INTERNAL)]


def test_what_the_engine_refuses_is_told() -> None:
    """It is no error of the client's: the connection lives on, however often."""
    ada = PlainPeer()
    for _ in range(2 * ERRORS_LIMIT):
        ada.answer(Refusal("unavailable", "try again"))
    assert ada.refused == ["unavailable"] * 20
    assert ada.ended is None


def test_letters_are_not_for_this_client() -> None:
    """It has no word for them."""
    assert PlainPeer().connection.told(MatchBack("booth-1"), None) == ()


def test_commands_are_not_for_this_client() -> None:
    """The wire that reads it knows lines only; anything else is a fault of ours."""
    with pytest.raises(TypeError, match="expected a line, got Hello"):
        PlainPeer().hand(Hello())


def test_a_line_goes_to_the_room_under_the_name_it_brings() -> None:
    """Each line may carry another name, which is trimmed and unproved."""
    ada = PlainPeer()
    ada.say("hello")
    ada.say("hello again", "  Ada L. ")
    ada.say("and again")
    assert ada.answers == [
        Publish("public", Member("c-ada", Sender("p-ada", "ada", plain=True)), "hello"),
        Publish("public", Member("c-ada", Sender("p-ada", "Ada L.", plain=True)), "hello again"),
        Publish("public", Member("c-ada", Sender("p-ada", "ada", plain=True)), "and again"),
    ]


@pytest.mark.parametrize("named", ["bo", "", "ada> ", "parlour"])
def test_a_proved_name_overrides_the_one_in_the_line(named: str) -> None:
    """Where the host app says who this is, the line's own name is not even looked at."""
    ada = PlainPeer(names=NameRules(["parlour"]), name="Ada Lovelace")
    ada.say("hello", named)
    ada.say("hello again", named)
    assert ada.said == ["hello", "hello again"]
    assert ada.senders == [Sender("p-ada", "Ada Lovelace", "user", plain=False)] * 2


def test_what_is_said_before_the_seat_is_said_from_it() -> None:
    """Lines that come while the engine looks for a seat wait for it, in order, among them those that are refused."""
    ada = PlainPeer(FREE, seated=False)
    ada.say("one")
    ada.hand(WRONG)
    ada.say("two")
    assert ada.answers == []
    ada.sit("booth-1")
    assert [type(answer) for answer in ada.answers] == [Publish, Refusal, Publish]
    assert (ada.said, ada.refused) == (["one", "two"], ["bad_frame"])
    assert ada.connection.room == "booth-1"


def test_a_seat_is_given_once() -> None:
    """The engine's second answer would be a fault of the engine."""
    ada = PlainPeer()
    with pytest.raises(RuntimeError, match="expected a connection that is opening, got one that is seated"):
        ada.sit()


def test_a_seat_that_comes_too_late_is_not_taken() -> None:
    """The connection ended while the engine still looked for one; the hub gives it back."""
    ada = PlainPeer(seated=False)
    ada.say("hello")
    ada.lose()
    assert ada.sit() == []
    assert ada.answer(Refusal("unavailable", "try again")) == []
    assert (ada.connection.room, ada.said) == (None, [])


# Refusals


def test_what_is_wrong_is_told_to_the_sender_alone() -> None:
    """A name or text that is not allowed, and what the wire could not read, end in a refusal and in nothing said."""
    ada = PlainPeer(names=NameRules(["parlour"]))
    ada.say("hello", "admin> really")
    ada.say("hello", "")
    ada.say("hello", "Parl0ur")
    ada.say("x" * 10_001)
    ada.hand(WRONG)
    assert ada.refused == ["bad_name", "bad_name", "bad_name", "too_large", "bad_frame"]
    assert ada.said == []
    ada.say("x" * 10_000)
    assert len(ada.said) == 1


def test_ten_refusals_in_a_row_end_the_connection() -> None:
    """The tenth is told, then the seat is given up, then the connection closes with 4510."""
    ada = PlainPeer()
    for _ in range(ERRORS_LIMIT - 1):
        ada.hand(WRONG)
    assert ada.ended is None
    ada.say("hello", "! notice")
    assert (ada.close, ada.left, len(ada.refused)) == (TOO_MANY_ERRORS, ["public"], 10)


def test_a_fine_line_forgives_the_refusals_before_it() -> None:
    """Nine wrong lines and a fine one can go on for ever."""
    ada = PlainPeer(FREE)
    for _ in range(5):
        for _ in range(ERRORS_LIMIT - 1):
            ada.hand(WRONG)
        ada.say("sorry")
    assert (ada.ended, len(ada.said)) == (None, 5)


def test_refusals_that_were_held_count_too() -> None:
    """The end comes at the tenth, and what was held behind it is gone with the connection."""
    ada = PlainPeer(FREE, seated=False)
    for _ in range(ERRORS_LIMIT):
        ada.hand(WRONG)
    ada.say("too late")
    ada.sit()
    assert (ada.close, len(ada.refused), ada.said) == (TOO_MANY_ERRORS, 10, [])


# Who may not come in, and what may not be said


WORDS: Final = FilterRules(words={"spam": "refuse", "maybe": "hold", "hm": "flag"})


def judged(penalties: Penalties | None = None, rules: FilterRules | None = None, *, classifies: bool = False) -> Policy:
    policy = Policy(rules=rules, classifies=classifies)
    policy.change(penalties=penalties)
    return policy


@pytest.mark.parametrize(("kind", "subject"), [("person", "p-ada"), ("address", "h-1")])
@pytest.mark.parametrize("place", [PUBLIC, BOOTHS])
def test_one_who_is_banned_is_told_so_and_let_go(
    place: Place, kind: Literal["person", "address"], subject: str
) -> None:
    """Before it asks for a seat; it should not come back."""
    policy = judged(Penalties(bans=[Ban("b1", kind, subject, "rude", 0, None, "operator:o1")]))
    ada = PlainPeer(place=place, name="Ada", policy=policy, address="h-1", seated=False)
    refusal, end = ada.asked
    assert isinstance(refusal, Refuse)
    assert refusal.refusal.code == "banned"
    assert end == End(BANNED)
    assert ada.connection.ended
    assert not BANNED.reconnect


def test_one_whom_no_ban_meets_comes_in() -> None:
    """Whoever else is banned, and once a ban is over."""
    bans = [
        Ban("b1", "person", "p-bo", "", 0, None, "operator:o1"),
        Ban("b2", "person", "p-ada", "", 0, UTC_MS, "operator:o1"),
        Ban("b3", "address", "h-2", "", 0, None, "operator:o1"),
    ]
    ada = PlainPeer(policy=judged(Penalties(bans=bans)), address="h-1")
    ada.say("hello")
    assert ada.said == ["hello"]


def test_one_who_can_not_accept_terms_meets_no_strangers() -> None:
    """It has no word for that, and should not come back; public rooms ask for nothing."""
    policy = Policy(gate=Gate("1", "https://example.org/terms"))
    refusal, end = PlainPeer(place=BOOTHS, policy=policy, seated=False).asked
    assert isinstance(refusal, Refuse)
    assert refusal.refusal.code == "required"
    assert end == End(NOT_MET)
    assert not NOT_MET.reconnect
    ada = PlainPeer(policy=policy)
    ada.say("hello")
    assert ada.said == ["hello"]


@pytest.mark.parametrize(
    ("penalties", "code"),
    [
        (Penalties(mutes=[Mute("m1", "p-ada", None, "", 0, None, "operator:o1")]), "muted"),
        (Penalties(mutes=[Mute("m1", "p-ada", "public", "", 0, None, "operator:o1")]), "muted"),
        (Penalties(modes={"public": Mode(locked=True)}), "locked"),
    ],
)
def test_what_may_not_be_said_is_refused_and_no_error(penalties: Penalties, code: str) -> None:
    """However often one tries; then one speaks again."""
    policy = judged(penalties)
    ada = PlainPeer(FREE, policy=policy)
    for _ in range(2 * ERRORS_LIMIT):
        ada.say("hello")
    assert ada.refused == [code] * 2 * ERRORS_LIMIT
    policy.change(penalties=Penalties())
    ada.say("hello")
    assert (ada.said, ada.ended) == (["hello"], None)


def test_a_moderator_speaks_in_a_locked_room() -> None:
    """By the word of the host app; a role without a name that was proved counts for nothing."""
    locked = judged(Penalties(modes={"public": Mode(locked=True)}))
    ada = PlainPeer(name="Ada", role="moderator", policy=locked)
    ada.say("hello")
    assert ada.said == ["hello"]
    assert ada.connection.sender == Sender("p-ada", "Ada", "moderator")
    bo = PlainPeer(role="moderator", policy=locked)
    bo.say("hello")
    assert (bo.refused, bo.connection.sender.role) == (["locked"], "guest")


def test_in_a_slow_room_one_waits_for_ones_turn() -> None:
    """What comes too soon is refused, not held: it might be for an hour."""
    ada = PlainPeer(policy=judged(Penalties(modes={"public": Mode(slow_ms=10_000)})))
    ada.say("hello")
    ada.say("hello?")
    assert (ada.said, ada.refused) == (["hello"], ["rate_limited"])


def test_what_the_filter_found_is_refused_or_weighed() -> None:
    """What passes is said at once."""
    ada = PlainPeer(policy=judged(rules=WORDS))
    for text in ("hello", "spam", "hm", "maybe"):
        ada.say(text)
    assert (ada.said, ada.refused) == (["hello"], ["forbidden"])
    kinds = [(answer.publish.text, answer.verdict) for answer in ada.answers if isinstance(answer, Weigh)]
    assert kinds == [("hm", Verdict("flag", ("word",))), ("maybe", Verdict("hold", ("word",)))]


def test_in_a_booth_nothing_waits_for_a_moderator() -> None:
    """None looks into one."""
    ada = PlainPeer(place=BOOTHS, policy=judged(rules=WORDS), seated=False)
    ada.sit("booth-1")
    ada.say("maybe")
    ada.say("hm")
    assert (ada.said, ada.refused) == (["hm"], ["forbidden"])


def test_what_one_says_first_in_a_booth_opens_a_talk() -> None:
    """What was refused was not said; and so it is again, if one is told of another stranger. In a room nothing does."""
    policy = judged(rules=WORDS, classifies=True)
    ada = PlainPeer(place=BOOTHS, policy=policy, seated=False)
    ada.sit("booth-1")
    for text in ("spam", "hello", "how are you?"):
        ada.say(text)
    ada.connection.told(MatchFound("booth-1", "e1", 3, Sender("local-bo", None)), None)
    ada.say("hello")
    assert [answer.opening for answer in ada.answers if isinstance(answer, Weigh)] == [True, False, True]
    bo = PlainPeer(policy=policy)
    bo.say("hello")
    assert [answer.opening for answer in bo.answers if isinstance(answer, Weigh)] == [False]


def test_a_room_that_is_over_ends_the_connection() -> None:
    """It was the only one."""
    ada = PlainPeer()
    assert ada.carry_out(ada.connection.closed("tea")) == []
    ada.carry_out(ada.connection.closed("public"))
    assert (ada.close, ada.left) == (ROOM_CLOSED, ["public"])


# The rate


def test_300_lines_at_once_are_all_said_at_the_rate_and_in_order() -> None:
    """Rate 10, burst 30: thirty at once, then one each tenth of a second; nobody has to stop reading for that."""
    ada = PlainPeer(UNPINGED)
    lines = [f"line {number}" for number in range(300)]
    for line in lines:
        ada.say(line)
    assert ada.said == lines[:30]
    assert ada.is_read()
    ada.wait(26.95)
    assert len(ada.said) == 299
    ada.wait(0.1)
    assert ada.said == lines
    assert ada.answered_at == pytest.approx([0.0] * 30 + [number / 10 for number in range(1, 271)], abs=1e-5)
    assert ada.connection.deadline == inf


def test_the_budget_comes_back_with_time() -> None:
    """One who was quiet for a second has ten lines at once again, after three as many as ever."""
    ada = PlainPeer(UNPINGED)
    use_up(ada)
    ada.wait(1.0)
    for number in range(11):
        ada.say(f"{number}")
    assert ada.said[30:] == [f"{number}" for number in range(10)]
    ada.wait(60.0)
    for _ in range(31):
        ada.say("hi")
    assert len(ada.said) == 30 + 11 + 30


def test_a_refused_line_uses_the_budget_as_well() -> None:
    """Nonsense is no way round the rate."""
    ada = PlainPeer(Pace(rate=1.0, burst=2, ping=inf, ping_timeout=inf))
    ada.hand(WRONG)
    ada.hand(WRONG)
    ada.say("hello")
    ada.hand(WRONG)
    assert (ada.said, len(ada.refused)) == ([], 2)
    ada.wait(1.0)
    assert (ada.said, len(ada.refused)) == (["hello"], 2)
    ada.wait(1.0)
    assert len(ada.refused) == 3


def test_a_line_never_overtakes_those_that_wait() -> None:
    """A late timer leaves lines waiting though the budget has room: a new line goes behind them."""
    ada = PlainPeer(UNPINGED)
    use_up(ada)
    ada.say("first")
    ada.now += 5.0
    ada.say("second")
    assert len(ada.said) == 30
    ada.wait(0.0)
    assert ada.said[30:] == ["first", "second"]


def test_without_a_rate_nothing_is_held() -> None:
    """Peers on loopback have no limit by default."""
    ada = PlainPeer(FREE)
    for number in range(5_000):
        ada.say(f"{number}", size=LARGE)
    assert len(ada.said) == 5_000
    assert ada.is_read()


# Not being read


def test_a_client_that_has_too_much_waiting_is_not_read_until_there_is_room() -> None:
    """At 64 KiB reading pauses, and goes on with the first line that is said; nothing is lost."""
    ada = PlainPeer(UNPINGED)
    use_up(ada)
    half = HOLD_LIMIT // 2 - HOLD_OVERHEAD
    ada.say("one", size=half)
    ada.say("two", size=half - 1)
    assert ada.is_read()
    ada.say("three", size=0)
    assert not ada.is_read()
    ada.say("four", size=0)
    ada.wait(0.09)
    assert not ada.is_read()
    ada.wait(0.02)
    assert ada.is_read()
    ada.wait(1.0)
    assert ada.said[30:] == ["one", "two", "three", "four"]


def test_empty_lines_cannot_be_held_without_end() -> None:
    """Each held line counts for something beside its text."""
    ada = PlainPeer(UNPINGED)
    use_up(ada)
    for number in range(HOLD_LIMIT // HOLD_OVERHEAD):
        assert ada.is_read(), number
        ada.say("", size=0)
    assert not ada.is_read()


def test_what_was_said_makes_room_for_as_much_again() -> None:
    """Nothing remains of a held line that is said, not even of many small ones."""
    ada = PlainPeer(UNPINGED)
    for _ in range(3):
        use_up(ada)
        for number in range(HOLD_LIMIT // HOLD_OVERHEAD - 1):
            ada.say(f"{number}", size=0)
        assert ada.is_read()
        ada.wait(120.0)
        ada.answers.clear()


def test_a_minute_of_pressing_ends_the_connection() -> None:
    """One who is read again and presses on at once is let go after 60 s of not being read, with 4013."""
    ada = PlainPeer(UNPINGED)
    use_up(ada)
    press(ada, 120.0)
    assert (ada.close, ada.left) == (RATE, ["public"])
    assert ada.now == pytest.approx(STALL_LIMIT)
    assert len(ada.said) == pytest.approx(30 + 10 * STALL_LIMIT, abs=1)


def test_a_minute_without_a_seat_ends_one_who_filled_what_is_held() -> None:
    """It can't be read, and no seat comes: that must end too."""
    ada = PlainPeer(UNPINGED, seated=False, now=1000.1)
    ada.say("hello", size=LARGE)
    assert not ada.is_read()
    ada.wait(59.9)
    assert ada.ended is None
    ada.wait(0.2)
    assert (ada.close, ada.left) == (RATE, [])


@pytest.mark.parametrize(("quiet", "lives"), [(CALM, True), (CALM / 2, False)])
def test_only_a_calm_second_forgets_the_stalls_before(quiet: float, lives: bool) -> None:
    """40 s of pressing, a pause, and 40 s more: the pause decides."""
    ada = PlainPeer(UNPINGED)
    use_up(ada)
    press(ada, 40.0)
    while not ada.is_read():
        ada.wait_for_deadline()
    ada.wait(quiet)
    press(ada, 40.0)
    assert (ada.ended is None) is lives


def test_control_frames_over_their_budget_stop_the_reading_for_a_moment() -> None:
    """Thirty at once are fine, then ten a second; they take nothing from the budget of the lines."""
    ada = PlainPeer(UNPINGED)
    for _ in range(CONTROL_BURST):
        ada.control()
    assert ada.is_read()
    ada.control()
    assert not ada.is_read()
    ada.control()
    ada.wait(0.09)
    assert not ada.is_read()
    ada.wait(0.02)
    assert ada.is_read()
    use_up(ada)


def test_a_minute_of_control_frames_ends_the_connection() -> None:
    """A flood of pings ends as a flood of lines does."""
    ada = PlainPeer(UNPINGED)
    while ada.ended is None:
        if ada.is_read():
            ada.control()
        else:
            ada.wait_for_deadline()
    assert ada.close == RATE
    assert ada.now == pytest.approx(STALL_LIMIT)


# Signs of life


def test_a_peer_that_answers_its_pings_lives() -> None:
    """A ping every 20 s; any sign of life is an answer."""
    ada = PlainPeer()
    ada.wait(9.0)
    answers: list[Callable[[], object]] = [ada.control, lambda: ada.say("hi"), lambda: ada.hand(WRONG), ada.begin]
    for number, answer in enumerate(answers, start=1):
        ada.wait(11.0)
        assert ada.pings == [20.0 * ping for ping in range(1, number + 1)]
        ada.wait(9.0)
        answer()
    ada.wait(5.0)
    assert ada.ended is None


def test_a_peer_that_does_not_answer_is_cut_off() -> None:
    """Closing would wait for one who is gone: it is aborted, and its seat is free at once."""
    ada = PlainPeer()
    ada.wait(29.9)
    assert (ada.pings, ada.ended) == ([20.0], None)
    ada.wait(0.2)
    assert ada.ended is not None
    assert (ada.ended.close, ada.ended.abort, ada.left) == (NO_PONG, True, ["public"])


def test_a_second_ping_gives_no_second_chance() -> None:
    """With pings more frequent than their timeout, the first one's answer is what counts."""
    ada = PlainPeer(Pace(rate=10.0, burst=30, ping=5.0, ping_timeout=12.0))
    ada.wait(60.0)
    assert (ada.pings, ada.close) == ([5.0, 10.0, 15.0], NO_PONG)


def test_a_transport_that_cannot_ping_never_does() -> None:
    """Silence for a day is fine then."""
    ada = PlainPeer(UNPINGED)
    ada.wait(86_400.0)
    assert (ada.pings, ada.ended) == ([], None)


def test_one_who_is_not_read_is_not_asked() -> None:
    """No pong could be read. The first ping comes one interval after reading went on, without a word before."""
    ada = PlainPeer(seated=False)
    ada.say("hello", size=LARGE)
    ada.wait(50.0)
    assert (ada.is_read(), ada.pings) == (False, [])
    ada.sit()
    assert ada.is_read()
    ada.wait(25.0)
    assert ada.pings == [70.0]


def test_a_ping_on_its_way_is_answered_by_what_stops_the_reading() -> None:
    """The line that fills what is held came from a living peer: no pong is missed afterwards."""
    ada = PlainPeer(seated=False)
    ada.wait(25.0)
    assert ada.pings == [20.0]
    ada.say("hello", size=LARGE)
    ada.wait(50.0)
    assert ada.ended is None


# Messages in pieces


def test_a_message_in_pieces_has_ten_seconds() -> None:
    """Pieces that keep coming don't prolong that."""
    ada = PlainPeer(UNPINGED)
    ada.begin()
    ada.wait(5.0)
    ada.begin()
    ada.wait(4.9)
    assert ada.close is None
    ada.wait(0.2)
    assert (ada.ended, ada.left) == (End(UNFINISHED, abort=False), ["public"])


def test_a_message_that_is_whole_in_time_is_fine() -> None:
    """The next one has ten seconds of its own."""
    ada = PlainPeer(UNPINGED)
    for _ in range(3):
        ada.begin()
        ada.wait(9.9)
        ada.connection.finished()
    assert ada.connection.deadline == inf
    ada.wait(60.0)
    assert ada.ended is None


def test_pieces_that_were_not_read_are_not_late() -> None:
    """The ten seconds begin anew when reading goes on."""
    ada = PlainPeer(UNPINGED, seated=False)
    ada.say("hello", size=LARGE)
    ada.begin()
    ada.wait(30.0)
    ada.sit()
    ada.wait(9.9)
    assert ada.ended is None
    ada.wait(0.2)
    assert ada.close == UNFINISHED


# The end


@pytest.mark.parametrize("ending", [PlainPeer.lose, lambda peer: peer.end(REPLACED)])
def test_the_end_is_final(ending: Callable[[PlainPeer], object]) -> None:
    """Whatever comes afterwards has no effect: no line, no second leave, no timer."""
    ada = PlainPeer()
    use_up(ada)
    ada.say("held")
    ada.begin()
    ending(ada)
    first = (ada.left, ada.ended)
    assert ada.left == ["public"]
    for _ in range(3):
        ada.say("hello", size=LARGE)
        ada.hand(WRONG)
        for _ in range(2 * CONTROL_BURST):
            ada.control()
        ada.begin()
        ada.connection.finished()
        assert ada.tick() == []
        ada.end(RESTART)
        ada.lose()
        ada.wait(100.0)
    assert (ada.left, ada.ended) == first
    assert len(ada.said) == 30
    assert (ada.connection.ended, ada.connection.room, ada.connection.deadline) == (True, None, inf)


def test_a_lost_peer_gives_up_its_seat_once() -> None:
    """To lose a connection twice is to lose it once; there is nobody to send a close to."""
    ada = PlainPeer()
    ada.lose()
    ada.lose()
    assert (ada.left, ada.ended) == (["public"], None)


def test_one_without_a_seat_has_none_to_give_up() -> None:
    """Lost while the engine still looked for a seat."""
    ada = PlainPeer(seated=False)
    ada.lose()
    assert ada.left == []


def test_the_server_ends_a_connection_with_a_close_frame_or_without() -> None:
    """A peer that reads is told why; one that does not is cut off."""
    ada, bo = PlainPeer(), PlainPeer()
    ada.end(RESTART)
    bo.end(SLOW, abort=True)
    assert (ada.ended, bo.ended) == (End(RESTART, abort=False), End(SLOW, abort=True))
    assert (ada.left, bo.left) == (["public"], ["public"])
