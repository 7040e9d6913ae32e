"""A connection with a session: hello, what is legal when, how fast, and what is left behind at the end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from parlour.core import commands
from parlour.core.commands import Command, Line, Wish
from parlour.core.connection import CONTROL_BURST, ERRORS_LIMIT, HOLD_LIMIT, HOLD_OVERHEAD, STALL_LIMIT, Pace
from parlour.core.events import (
    Accuse,
    Amend,
    Asked,
    Avoid,
    Bye,
    CallMe,
    Cancel,
    Changed,
    Claim,
    Claimed,
    Clock,
    Done,
    Drop,
    Effect,
    End,
    Enter,
    Fetch,
    Find,
    Gone,
    Leave,
    Letter,
    Limits,
    Look,
    MatchAway,
    MatchBack,
    MatchEnded,
    MatchWaiting,
    Member,
    Named,
    Notice,
    PauseReading,
    Place,
    Position,
    Publish,
    Published,
    Reconnect,
    Refuse,
    Release,
    Reply,
    Reported,
    RoomList,
    Search,
    Seat,
    Sender,
    Show,
    Take,
    Tell,
    Ticket,
    Wanted,
    Welcome,
)
from parlour.core.keys import SESSION_DAYS, Keyring, Session
from parlour.core.names import NameRules, given_name
from parlour.core.session import HELLO_LIMIT, RESTART_JITTER_MS, RESTART_MS
from parlour.errors import (
    BINARY,
    ERROR_CODES,
    INTERNAL,
    NO_HELLO,
    NO_PONG,
    RATE,
    REPLACED,
    RESTART,
    SLOW,
    TOO_MANY_ERRORS,
    UNFINISHED,
    Close,
    Refusal,
)
from tests.core.peer import BOOTHS, NOWHERE, PACE, PUBLIC, TRUSTED, UNASKED, WRONG, SessionPeer, World, found

LARGE: Final = HOLD_LIMIT - HOLD_OVERHEAD
DAY_MS: Final = 86_400_000
HELLO: Final = commands.Hello(name="Ada")
SEND: Final = commands.Send("public", "k1", "hello")
TAKEN: Final = Refusal("bad_name", "somebody here has this name; take another", field="name")
ABSENT: Final = Refusal("not_found", "there is no such room", field="room")

OBEYED: Final[dict[str, Command]] = {
    "join": commands.Join("tea"),
    "leave": commands.Leave("public"),
    "send": SEND,
    "edit": commands.Edit("public", "m1", "hello!"),
    "delete": commands.Delete("public", "m1"),
    "react": commands.React("public", "m1", "\U0001f44d"),
    "history": commands.History("public"),
    "presence": commands.Presence("public"),
    "name": commands.Rename("Ada L."),
    "rooms": commands.Rooms(),
    "match.find": commands.Find(),
    "match.cancel": commands.Cancel(),
    "match.next": commands.Next(),
    "block": commands.Block("p-bo"),
    "unblock": commands.Unblock("p-bo"),
    "search": commands.Search("tea"),
    "report": commands.Report("public", "rude", (Reported("m1", 1, 7, "p-bo", "hi", ""),)),
}
PASSING: Final[dict[str, Command]] = {
    "typing": commands.Typing("public"),
    "read": commands.Read("public", 3),
    "ping": commands.Ping(),
    "pong": commands.Pong(),
}


def insider(
    pace: Pace = TRUSTED, *, world: World | None = None, may_meet: Callable[[], bool] = lambda: True
) -> SessionPeer:
    """Ada, in the public room."""
    ada = SessionPeer(pace, place=PUBLIC, world=world, may_meet=may_meet)
    ada.come_in(HELLO)
    return ada


def in_booth() -> SessionPeer:
    """Ada, in the public room and in a booth with Bo."""
    ada = insider()
    ada.meet()
    return ada


def as_ada(ada: SessionPeer, name: str = "Ada") -> Member:
    return Member("c-ada", Sender(ada.sender.id, name))


# Hello


def test_nothing_happens_before_hello() -> None:
    """`SessionPeer` sees no effect at opening: a room is entered once it is known who comes."""
    ada = SessionPeer(place=PUBLIC)
    assert (ada.connection.rooms, ada.connection.person) == ((), "")


@pytest.mark.parametrize("command", [*OBEYED.values(), PASSING["typing"], PASSING["read"]])
def test_hello_comes_first(command: Command) -> None:
    """Any command before it is refused with `required`, and the client may say hello still."""
    ada = SessionPeer(place=PUBLIC)
    assert ada.refusal(command) == "required"
    ada.come_in()


def test_one_may_ask_for_a_sign_of_life_before_hello() -> None:
    """And give one."""
    ada = SessionPeer()
    assert ada.ask(commands.Ping()) == Clock(ada.world.utc_ms)
    assert ada.hand(commands.Pong()) == []
    assert ada.ask(commands.Pong()) == Done()


def test_a_hello_makes_the_session_and_enters_the_room_of_the_address() -> None:
    """The answer says who one is, how fast one may speak, and where one sits; then the room is heard."""
    ada = SessionPeer(PACE, place=PUBLIC)
    assert ada.hand(HELLO, 7) == [Claim("id-1", Member("c-ada", Sender("id-2", "Ada")), 7)]
    assert ada.answer(Claimed(None), 7) == [Enter("public", Member("c-ada", Sender("id-2", "Ada")), None, True, 7)]
    seat = Seat("public", "e1", 5, 1, [Sender("id-2", "Ada")])
    reply, take = ada.answer(seat, 7)
    assert isinstance(reply, Reply)
    assert reply.re == 7
    welcome = reply.answer
    assert isinstance(welcome, Welcome)
    assert welcome.person == Sender("id-2", "Ada", "guest", plain=False)
    assert welcome.limits == Limits(10.0, 30)
    assert welcome.ping_ms == 20_000
    assert welcome.rooms == [seat]
    assert take == Take(seat)
    assert ada.connection.person == "id-2"
    keys = ada.world.house.keys
    assert keys.read_session(welcome.session, ada.world.utc_ms) == Session("id-1", "id-2", name="Ada")


def test_an_address_that_leads_nowhere_enters_no_room() -> None:
    """A client says where it wants to be."""
    ada = SessionPeer(place=NOWHERE)
    assert ada.come_in().rooms == []
    assert ada.after_hello == []


def test_an_address_that_leads_to_strangers_looks_for_one() -> None:
    """As `match.find` does, with the wish that hello brought; there is no answer to that but what comes of it."""
    ada = SessionPeer(place=BOOTHS)
    ada.come_in(commands.Hello(name="Ada", langs=("EN",), match=Wish(interests=("Tea ",), relax="never")))
    wanted = Wanted(frozenset({"tea"}), frozenset({"en"}), relaxes=False)
    assert ada.after_hello == [Find(as_ada(ada), wanted)]
    assert ada.answer(Ticket("t1"), None) == []
    assert ada.answer(Refusal("unavailable", "try again"), None) == []


@pytest.mark.parametrize("place", [PUBLIC, NOWHERE])
def test_a_wish_at_another_address_is_not_heard(place: Place) -> None:
    """`match` in a hello is for `/chat/private`."""
    ada = SessionPeer(place=place)
    ada.come_in(commands.Hello(match=Wish(interests=("tea",))))
    assert ada.after_hello == []


def test_a_hello_has_ten_seconds() -> None:
    """After that the connection is closed, and the client should not come back; nothing is given up, for nothing was
    had."""
    ada = SessionPeer(UNASKED, now=1_000.1)
    ada.wait(HELLO_LIMIT - 0.1)
    assert ada.ended is None
    ada.ask(commands.Ping())
    assert ada.refusal(SEND) == "required"
    ada.wait(0.2)
    assert (ada.close, ada.letters, ada.left) == (NO_HELLO, [Bye(NO_HELLO)], [])
    assert not NO_HELLO.reconnect


def test_one_who_came_in_has_all_the_time() -> None:
    """The ten seconds are over with the welcome."""
    ada = SessionPeer(UNASKED, place=PUBLIC)
    ada.wait(9.9)
    ada.come_in()
    ada.wait(86_400.0)
    assert ada.ended is None


def test_a_refused_hello_may_be_said_again_within_the_ten_seconds() -> None:
    """Trying gives no more time."""
    ada = SessionPeer(UNASKED, place=PUBLIC)
    for _ in range(5):
        assert ada.refusal(commands.Hello(name="")) == "bad_name"
        ada.wait(1.9)
    ada.wait(0.6)
    assert ada.close == NO_HELLO


def test_hello_comes_once() -> None:
    """The second one is refused, and changes nothing."""
    ada = insider()
    assert ada.refusal(commands.Hello(name="Bo")) == "conflict"
    assert ada.pass_on(SEND) == Publish("public", as_ada(ada), "hello", None, "k1", 103)


def test_a_hello_on_its_way_is_not_overtaken() -> None:
    """A second hello waits for what comes of the first."""
    ada = SessionPeer(place=PUBLIC)
    ada.hand(HELLO, 1)
    assert ada.hand(HELLO, 2) == []
    ada.answer(Claimed(None), 1)
    ada.answer(Seat("public", "e1", 0, 1), 1)
    assert isinstance(ada.answers[1], Welcome)
    refusal = ada.answers[2]
    assert isinstance(refusal, Refusal)
    assert refusal.code == "conflict"


def test_tokens_of_others_are_refused() -> None:
    """There is no issuer to ask."""
    ada = SessionPeer(place=PUBLIC)
    assert ada.refusal(commands.Hello(token="abc")) == "unauthorized"
    ada.come_in()


def test_what_is_kept_for_later_is_ignored() -> None:
    """Which program it is; and terms, where there are none."""
    ada = SessionPeer(place=PUBLIC)
    ada.come_in(commands.Hello(terms="2025-01", age=30, client=commands.Program("tui", "1.0")))
    assert ada.hears == {"public"}


# Sessions


def test_a_session_brings_back_the_same_person() -> None:
    """On another connection, also after others came; the token is new each time."""
    world = World()
    first = SessionPeer(world=world).come_in(HELLO)
    SessionPeer(world=world).come_in()
    world.utc_ms += 1_000
    ada = SessionPeer(world=world)
    (claim,) = ada.hand(commands.Hello(session=first.session), 7)
    assert isinstance(claim, Claim)
    assert (claim.session, claim.member.person) == ("id-1", first.person.id)
    (reply,) = ada.answer(Claimed(None), 7)
    assert isinstance(reply, Reply)
    assert isinstance(reply.answer, Welcome)
    assert reply.answer.session != first.session


def test_a_new_session_is_another_person() -> None:
    """Without a token nobody is known."""
    world = World()
    one, other = (SessionPeer(world=world).come_in() for _ in range(2))
    assert one.person.id != other.person.id
    assert one.session != other.session


def test_a_session_is_good_for_thirty_days_from_each_hello() -> None:
    """Not for one more; then one comes without it, and is somebody else."""
    world = World()
    token = SessionPeer(world=world).come_in().session
    world.utc_ms += SESSION_DAYS * DAY_MS - 1
    again = SessionPeer(world=world).come_in(commands.Hello(session=token))
    world.utc_ms += 1
    ada = SessionPeer(world=world)
    assert ada.refusal(commands.Hello(session=token)) == "expired"
    ada.come_in(commands.Hello(session=again.session))
    assert ada.sender.id == again.person.id


def test_a_forged_session_is_refused_as_one_that_expired() -> None:
    """The client does the same in both cases: it says hello again without it."""
    world = World()
    other = Keyring({"k1": bytes(31) + b"x"}, "k1")
    forged = other.sign_session(Session("id-1", "p-root"), world.utc_ms)
    ada = SessionPeer(world=world)
    for token in ("", "x", "a.b", forged, forged[:-1]):
        assert ada.refusal(commands.Hello(session=token)) == "expired"
    ada.come_in()
    assert ada.sender.id != "p-root"


def test_whom_the_host_app_knows_has_a_session_of_that_person() -> None:
    """Its name is not to choose, and its person is the same on every device."""
    world = World()
    tokens = set()
    for _ in range(2):
        ada = SessionPeer(world=world, place=PUBLIC, person="u-ada", name="Ada Lovelace")
        welcome = ada.come_in(commands.Hello(name="Bo"))
        assert welcome.person == Sender("u-ada", "Ada Lovelace", "user")
        tokens.add(welcome.session)
    assert len(tokens) == 2
    again = SessionPeer(world=world, person="u-ada", name="Ada Byron")
    assert again.come_in(commands.Hello(session=tokens.pop())).person == Sender("u-ada", "Ada Byron", "user")


def test_the_session_of_the_user_before_is_not_taken_over() -> None:
    """A page kept the token, and somebody else signed in: that one gets a new session, and no refusal."""
    world = World()
    token = SessionPeer(world=world, person="u-ada", name="Ada").come_in().session
    bo = SessionPeer(world=world, person="u-bo", name="Bo")
    (claim,) = bo.hand(commands.Hello(session=token), 7)
    assert isinstance(claim, Claim)
    assert claim.member.person == "u-bo"
    read = world.house.keys.read_session(token, world.utc_ms)
    assert read is not None
    assert claim.session != read.id


def test_the_token_of_a_user_needs_the_user() -> None:
    """Who signed out of the host app, or found the token of one who did, is not that user any more; without the token
    they come in as somebody else."""
    world = World()
    token = SessionPeer(world=world, person="u-ada", name="Ada").come_in().session
    guest = SessionPeer(world=world)
    assert guest.refusal(commands.Hello(session=token)) == "unauthorized"
    assert guest.come_in().person.id != "u-ada"
    again = SessionPeer(world=world, person="u-ada", name="Ada").come_in(commands.Hello(session=token))
    assert again.person.id == "u-ada"


def test_a_session_keeps_the_name_of_its_last_hello() -> None:
    """Unless the next one brings another, or it is reserved meanwhile."""
    world = World()
    token = SessionPeer(world=world).come_in(commands.Hello(name="Ada")).session
    assert SessionPeer(world=world).come_in(commands.Hello(session=token)).person.name == "Ada"
    assert SessionPeer(world=world).come_in(commands.Hello(session=token, name="Bo")).person.name == "Bo"
    world.house = replace(world.house, names=NameRules(["ada"]))
    assert SessionPeer(world=world).come_in(commands.Hello(session=token)).person.name != "Ada"


# Names


def test_without_a_name_the_server_gives_one() -> None:
    """The same one for the same person."""
    world = World()
    first = SessionPeer(world=world, place=PUBLIC).come_in()
    assert first.person.name == given_name(first.person.id)
    again = SessionPeer(world=world, place=PUBLIC).come_in(commands.Hello(session=first.session))
    assert again.person.name == first.person.name


def test_a_given_name_that_is_taken_gives_way_to_another() -> None:
    """The seats that one had under the first name are given up, and all rooms entered again under the next."""
    ada = SessionPeer(place=PUBLIC)
    ada.hand(commands.Hello(resume=(Position("tea", "e1", 3), Position("gone", "e1", 9))), 1)
    (enter,) = ada.answer(Claimed("booth-1"), 1)
    assert isinstance(enter, Enter)
    tea = Position("tea", "e1", 3)
    assert (enter.room, enter.since) == ("tea", tea)
    ada.answer(Seat("tea", "e1", 3, 1, recovered=True), 1)
    (enter,) = ada.answer(ABSENT, 1)
    assert isinstance(enter, Enter)
    assert enter.room == "public"
    person = enter.member.person
    second = Member("c-ada", Sender(person, given_name(person, 1)))
    assert ada.answer(TAKEN, 1) == [Leave("tea"), Enter("tea", second, tea, re=1)]
    ada.answer(Seat("tea", "e1", 3, 1, recovered=True), 1)
    ada.answer(ABSENT, 1)
    assert ada.answer(Seat("public", "e1", 0, 1), 1) == [Enter("booth-1", second, re=1)]
    ada.answer(Seat("booth-1", "e2", 0, 2), 1)
    assert ada.sender == second.sender
    assert ada.hears == {"tea", "public", "booth-1"}


def test_the_server_does_not_try_names_for_ever() -> None:
    """After 51 the hello is refused."""
    ada = SessionPeer(place=PUBLIC)
    effects = ada.hand(commands.Hello(), 1)
    names = []
    effects = ada.answer(Claimed(None), 1)
    while isinstance(effects[0], Enter):
        names.append(effects[0].member.sender.name)
        effects = ada.answer(TAKEN, 1)
    assert len(names) == len(set(names)) == 51
    assert effects == [Release("id-1"), Refuse(TAKEN, 1)]


@pytest.mark.parametrize("name", ["", "admin> really", "Parl0ur", "x" * 65])
def test_an_own_name_has_to_keep_the_rules(name: str) -> None:
    """Those that all names keep, and those of this server."""
    ada = SessionPeer(place=PUBLIC, world=World(reserved=["parlour"]))
    assert ada.refusal(commands.Hello(name=name)) == "bad_name"
    assert ada.come_in(commands.Hello(name="  Ada ")).person.name == "Ada"


def test_an_own_name_that_is_taken_refuses_the_hello() -> None:
    """Its seats are given up, and so is the session; then one says hello again."""
    ada = SessionPeer(place=PUBLIC)
    ada.hand(commands.Hello(name="Bo", resume=(Position("tea", "e1", 3),)), 1)
    ada.answer(Claimed(None), 1)
    ada.answer(Seat("tea", "e1", 3, 1, recovered=True), 1)
    assert ada.answer(TAKEN, 1) == [Leave("tea"), Release("id-1"), Refuse(TAKEN, 1)]
    assert ada.refusal(SEND) == "required"
    assert ada.come_in(HELLO).person.name == "Ada"


def test_what_waited_behind_a_refused_hello_is_heard() -> None:
    """Another hello, with another name, among it."""
    ada = SessionPeer(UNASKED, place=PUBLIC)
    ada.hand(commands.Hello(name="Bo"), 1)
    ada.hand(SEND, 2)
    ada.hand(HELLO, 3)
    ada.answer(Claimed(None), 1)
    released, refused, second, claim = ada.answer(TAKEN, 1)
    assert isinstance(released, Release)
    assert refused == Refuse(TAKEN, 1)
    assert isinstance(second, Refuse)
    assert (second.refusal.code, second.re) == ("required", 2)
    assert isinstance(claim, Claim)
    ada.answer(Claimed(None), 3)
    ada.answer(Seat("public", "e1", 0, 1), 3)
    assert isinstance(ada.answers[3], Welcome)


@pytest.mark.parametrize("at", ["claim", "enter"])
def test_an_engine_that_is_not_ready_refuses_the_hello(at: str) -> None:
    """With its own words, whichever answer it was."""
    ada = SessionPeer(place=PUBLIC)
    ada.hand(commands.Hello(), 1)
    if at == "enter":
        ada.answer(Claimed(None), 1)
    refusal = Refusal("unavailable", "try again", retry=True)
    assert ada.answer(refusal, 1) == [Release("id-1"), Refuse(refusal, 1)]
    ada.come_in()


# Resume


def test_rooms_are_resumed_from_where_one_was() -> None:
    """Each with the last event that was seen; the room of the address is entered once. All are heard after the answer,
    with what was missed."""
    ada = SessionPeer(place=PUBLIC)
    tea, public = Position("tea", "e1", 3), Position("public", "e0", 9)
    welcome = ada.come_in(commands.Hello(resume=(tea, public)))
    assert [seat.room for seat in welcome.rooms] == ["tea", "public"]
    assert [seat for seat in welcome.rooms if isinstance(seat, Seat)] == [
        Seat("tea", "e1", 3, 1, recovered=True),
        Seat("public", "e1", 9, 1, recovered=True),
    ]
    assert ada.hears == {"tea", "public"}


def test_a_room_that_is_resumed_twice_is_entered_once() -> None:
    """The last position counts."""
    ada = SessionPeer(place=PUBLIC)
    welcome = ada.come_in(commands.Hello(resume=(Position("public", "e0", 3), Position("public", "e1", 9))))
    assert welcome.rooms == [Seat("public", "e1", 9, 1, recovered=True)]


def test_rooms_that_are_gone_are_named() -> None:
    """In the order of the list, and one is in all others."""
    ada = SessionPeer(place=PUBLIC)
    positions = (Position("gone-1", "e1", 3), Position("tea", "e1", 3), Position("gone-2", "e1", 3))
    welcome = ada.come_in(commands.Hello(resume=positions))
    assert welcome.rooms[0] == Gone("gone-1")
    assert welcome.rooms[2] == Gone("gone-2")
    assert ada.hears == {"tea", "public"}


@pytest.mark.parametrize("listed", [True, False])
def test_a_booth_where_a_seat_is_kept_is_resumed(listed: bool) -> None:
    """Also if the client does not name it; it comes last, and no other search begins."""
    ada = SessionPeer(place=BOOTHS)
    since = Position("booth-1", "e-b", 4)
    welcome = ada.come_in(commands.Hello(resume=(since, Position("tea", "e1", 1)) if listed else ()), booth="booth-1")
    assert [seat.room for seat in welcome.rooms] == ["tea", "booth-1"] if listed else ["booth-1"]
    assert ada.after_hello == []
    assert ada.hand(commands.Read("booth-1", 4)) == [Show("booth-1", ada.member, off=4)]
    assert ada.refusal(commands.Find()) == "conflict"


def test_a_booth_that_ends_while_one_comes_back_is_gone() -> None:
    """The search for another stranger begins then."""
    ada = SessionPeer(place=BOOTHS)
    welcome = ada.come_in(HELLO, booth="gone-booth")
    assert welcome.rooms == [Gone("gone-booth")]
    assert ada.after_hello == [Find(as_ada(ada), Wanted())]


def test_the_end_of_a_booth_may_overtake_the_seat_there() -> None:
    """It was not heard yet, and is not given up."""
    ada = SessionPeer()
    ada.hand(HELLO, 1)
    ada.answer(Claimed("booth-1"), 1)
    ended = MatchEnded("booth-1", "peer")
    assert ada.tell(ended) == [Tell(ended)]
    ada.answer(ABSENT, 1)
    assert ada.hears == set()


# Welcome


def test_the_operator_may_greet() -> None:
    """Those who come in anew, not those who lost the connection."""
    world = World(welcome="be kind")
    ada = SessionPeer(world=world, place=PUBLIC)
    ada.come_in()
    assert ada.letters == [Notice("info", "welcome", "be kind")]
    back = SessionPeer(world=world, place=PUBLIC)
    back.come_in(commands.Hello(resume=(Position("public", "e1", 3),)))
    assert back.letters == []


def test_without_words_of_the_operator_nobody_is_greeted() -> None:
    """The default."""
    assert insider().letters == []


# What waits for the welcome


def test_commands_are_held_while_one_enters() -> None:
    """And heard in their order, after the welcome."""
    ada = SessionPeer(place=PUBLIC)
    ada.hand(HELLO, 1)
    assert ada.hand(SEND, 2) == []
    assert ada.hand(commands.Ping(), 3) == []
    assert ada.hand(WRONG, None) == []
    ada.answer(Claimed(None), 1)
    welcome, take, publish, clock, refused = ada.answer(Seat("public", "e1", 0, 1), 1)
    assert isinstance(welcome, Reply)
    assert isinstance(take, Take)
    assert publish == Publish("public", as_ada(ada), "hello", None, "k1", 2)
    assert clock == Reply(Clock(ada.world.utc_ms), 3)
    assert refused == Refuse(WRONG, None)


def test_one_who_holds_too_much_is_not_read_until_it_came_in() -> None:
    """Then at once again: the time of the engine is not the client's fault."""
    ada = SessionPeer(UNASKED, place=PUBLIC)
    ada.hand(HELLO, 1)
    ada.hand(SEND, 2, size=LARGE)
    assert not ada.is_read()
    ada.answer(Claimed(None), 1)
    ada.answer(Seat("public", "e1", 0, 1), 1)
    assert ada.is_read()
    assert ada.waiting == {2}


# What is legal in a room


@pytest.mark.parametrize("op", ["send", "edit", "delete", "react", "history", "presence", "typing", "read"])
def test_a_room_must_be_joined(op: str) -> None:
    """What is about a room is for its members."""
    ada = SessionPeer(place=NOWHERE)
    ada.come_in()
    assert ada.refusal({**OBEYED, **PASSING}[op]) == "not_member"


def test_each_command_has_its_effect() -> None:
    """The number goes with it, so that the engine's answer finds its way."""
    ada = insider()
    me = as_ada(ada)
    expected: dict[str, Effect] = {
        "join": Enter("tea", me, re=102),
        "send": Publish("public", me, "hello", None, "k1", 103),
        "edit": Amend("public", me, "m1", text="hello!", re=104),
        "delete": Amend("public", me, "m1", re=105),
        "react": Amend("public", me, "m1", emoji="\U0001f44d", on=True, re=106),
        "history": Fetch("public", None, None, 50, 107),
        "presence": Look("public", 108),
        "name": CallMe(as_ada(ada, "Ada L."), ("public",), 109),
        "rooms": Look(None, 110),
        "match.find": Find(me, Wanted(), 111),
        "match.cancel": Cancel(me, 112),
        "match.next": Find(me, Wanted(), 113),
        "block": Avoid(me, "p-bo", None, True, 114),
        "unblock": Avoid(me, "p-bo", None, False, 115),
        "search": Search("tea", None, 50, 116),
        "report": Accuse(me, "public", "rude", (Reported("m1", 1, 7, "p-bo", "hi", ""),), re=117),
    }
    assert {op: ada.pass_on(OBEYED[op]) for op in expected} == expected
    assert expected.keys() == OBEYED.keys() - {"leave"}


def test_all_fields_of_a_command_go_on() -> None:
    """Those that are mostly left out."""
    ada = in_booth()
    me = as_ada(ada)
    assert ada.hand(commands.Send("public", "k1", "hello", "m0"), 12) == [
        Publish("public", me, "hello", "m0", "k1", 12)
    ]
    assert ada.hand(commands.React("public", "m1", "\U0001f44d", False), 13) == [
        Amend("public", me, "m1", emoji="\U0001f44d", on=False, re=13)
    ]
    assert ada.hand(commands.History("public", before=9, limit=3), 14) == [Fetch("public", 9, None, 3, 14)]
    assert ada.hand(commands.History("public", after=9), 15) == [Fetch("public", None, 9, 50, 15)]
    assert ada.hand(commands.Block("local-bo", "booth-1"), 16) == [Avoid(me, "local-bo", "booth-1", True, 16)]
    assert ada.hand(commands.Unblock("local-bo", "booth-1"), 17) == [Avoid(me, "local-bo", "booth-1", False, 17)]


def test_the_answers_of_the_engine_go_to_the_client() -> None:
    """Each once, under its number, whatever it is."""
    ada = insider()
    published = Published("public", "e1", 1, "m1", 7)
    ada.hand(SEND, 10)
    assert ada.answer(published, 10) == [Reply(published, 10)]
    ada.hand(commands.Delete("public", "m1"), 11)
    assert ada.answer(Changed("e1", 2), 11) == [Reply(Changed("e1", 2), 11)]
    ada.hand(commands.Rooms(), 12)
    assert ada.answer(RoomList([]), 12) == [Reply(RoomList([]), 12)]
    ada.hand(commands.Delete("public", "m1"), 13)
    refusal = Refusal("not_found", "there is no such message")
    assert ada.answer(refusal, 13) == [Refuse(refusal, 13)]


@pytest.mark.parametrize("emoji", ["", "a", "ok", " "])
def test_only_emoji_are_put_to_messages(emoji: str) -> None:
    """`moderation` knows which."""
    assert insider().refusal(commands.React("public", "m1", emoji)) == "bad_field"


def test_joining_takes_a_seat() -> None:
    """The answer first, then the room is heard."""
    ada = insider()
    ada.hand(commands.Join("tea"), 10)
    seat = Seat("tea", "e1", 3, 2)
    assert ada.answer(seat, 10) == [Reply(seat, 10), Take(seat)]
    assert ada.connection.rooms == ("public", "tea")
    assert isinstance(ada.pass_on(commands.Presence("tea")), Look)


def test_to_join_twice_is_to_join_once() -> None:
    """The second time one is told where one stands, and hears nothing twice."""
    ada = insider()
    ada.hand(commands.Join("public"), 10)
    seat = Seat("public", "e1", 3, 2)
    assert ada.answer(seat, 10) == [Reply(seat, 10)]


def test_a_room_that_refuses_is_not_joined() -> None:
    """Its word goes to the client."""
    ada = insider()
    ada.hand(commands.Join("tea"), 10)
    assert ada.answer(TAKEN, 10) == [Refuse(TAKEN, 10)]
    assert ada.connection.rooms == ("public",)


def test_leaving_gives_up_the_seat() -> None:
    """It is over with the answer, whatever the engine does."""
    ada = insider()
    assert ada.hand(commands.Leave("public"), 10) == [Leave("public"), Reply(Done(), 10)]
    assert ada.refusal(SEND) == "not_member"
    assert ada.lost == {"public": False}


def test_to_leave_twice_is_to_leave_once() -> None:
    """And to leave where one never was is fine."""
    ada = insider()
    ada.ask(commands.Leave("public"))
    assert ada.hand(commands.Leave("public"), 10) == [Reply(Done(), 10)]
    assert ada.hand(commands.Leave("tea"), 11) == [Reply(Done(), 11)]


def test_the_name_changes_with_the_answer() -> None:
    """Until then one speaks under the old one, and a refusal changes nothing."""
    ada = insider()
    ada.hand(commands.Rename(" Ada L. "), 10)
    assert ada.hand(SEND, 11) == [Publish("public", as_ada(ada), "hello", None, "k1", 11)]
    assert ada.answer(Named("Ada L."), 10) == [Reply(Named("Ada L."), 10)]
    assert ada.hand(SEND, 12) == [Publish("public", as_ada(ada, "Ada L."), "hello", None, "k1", 12)]
    ada.hand(commands.Rename("Bo"), 13)
    ada.answer(TAKEN, 13)
    assert ada.hand(SEND, 14) == [Publish("public", as_ada(ada, "Ada L."), "hello", None, "k1", 14)]


@pytest.mark.parametrize("name", ["", "admin> really", "Parl0ur"])
def test_another_name_has_to_keep_the_rules(name: str) -> None:
    """No engine is asked."""
    ada = insider(world=World(reserved=["parlour"]))
    assert ada.refusal(commands.Rename(name)) == "bad_name"


def test_a_proved_name_stays() -> None:
    """It comes from where one signed in."""
    ada = SessionPeer(place=PUBLIC, person="u-ada", name="Ada Lovelace")
    ada.come_in()
    assert ada.refusal(commands.Rename("Bo")) == "forbidden"


def test_one_does_not_block_oneself() -> None:
    """That would keep nobody away."""
    ada = insider()
    assert ada.refusal(commands.Block(ada.sender.id)) == "bad_field"
    assert ada.refusal(commands.Unblock(ada.sender.id)) == "bad_field"


# What is told in passing


def test_typing_is_shown_to_the_room() -> None:
    """It is answered only if it has a number."""
    ada = insider()
    assert ada.hand(commands.Typing("public")) == [Show("public", as_ada(ada), on=True)]
    assert ada.hand(commands.Typing("public", on=False), 10) == [
        Show("public", as_ada(ada), on=False),
        Reply(Done(), 10),
    ]


def test_read_is_for_booths() -> None:
    """Where there is one who wants to know."""
    ada = in_booth()
    assert ada.refusal(commands.Read("public", 3)) == "forbidden"
    assert ada.hand(commands.Read("booth-1", 3)) == [Show("booth-1", as_ada(ada), off=3)]
    assert ada.hand(commands.Read("booth-1", 4), 10) == [Show("booth-1", as_ada(ada), off=4), Reply(Done(), 10)]


def test_what_passes_is_refused_also_without_a_number() -> None:
    """The client did something wrong and should know."""
    ada = insider()
    (refused,) = ada.hand(commands.Typing("tea"))
    assert isinstance(refused, Refuse)
    assert (refused.refusal.code, refused.re) == ("not_member", None)


def test_the_servers_ping_goes_both_ways() -> None:
    """A page's script sees no WebSocket pings, so it is asked by an event, too; any command is an answer."""
    ada = SessionPeer(PACE, place=PUBLIC)
    ada.come_in()
    ada.wait(19.9)
    assert ada.letters == []
    ada.wait(0.1)
    assert (ada.letters, ada.pings) == ([Asked()], [20.0])
    for answer in (commands.Pong(), SEND, commands.Ping()):
        ada.wait(9.9)
        ada.hand(answer, None if isinstance(answer, commands.Pong) else int(ada.now * 10))
        ada.wait(10.1)
    assert ada.ended is None
    assert ada.pings == [20.0, 40.0, 60.0, 80.0]


def test_one_who_gives_no_sign_of_life_is_cut_off() -> None:
    """Its seats are kept where that is done: it may come back."""
    ada = SessionPeer(PACE, place=PUBLIC)
    ada.come_in()
    ada.wait(30.0)
    assert ada.ended == End(NO_PONG, abort=True)
    assert ada.lost == {"public": True}
    assert ada.letters == [Asked()]


# Strangers


def test_a_search_has_a_ticket_and_ends_in_a_booth() -> None:
    """Letters go to the client as they are; the room is heard after it was named."""
    ada = insider()
    ada.hand(commands.Find(), 10)
    assert ada.answer(Ticket("t1"), 10) == [Reply(Ticket("t1"), 10)]
    waiting = MatchWaiting("t1", 7)
    assert ada.tell(waiting) == [Tell(waiting)]
    assert ada.meet() == [Tell(found()), Take(Seat("booth-1", "e-b", 0, 2))]
    assert ada.connection.rooms == ("public", "booth-1")


def test_a_wish_is_compared_without_case() -> None:
    """Blanks around a word don't count, nor do blank words."""
    ada = insider()
    wish = commands.Find(interests=("Tea", " tea ", "SS", "\u00df", " "), langs=("EN",), relax="never", key="k")
    expected = Wanted(frozenset({"tea", "ss"}), frozenset({"en"}), relaxes=False, key="k")
    assert ada.hand(wish, 10) == [Find(as_ada(ada), expected, 10)]


def test_languages_of_the_hello_stand_in() -> None:
    """Where a search names none."""
    ada = SessionPeer()
    ada.come_in(commands.Hello(name="Ada", langs=("EN", "fr")))
    assert ada.hand(commands.Find(), 10) == [Find(as_ada(ada), Wanted(langs=frozenset({"en", "fr"})), 10)]
    assert ada.hand(commands.Next(langs=("de",)), 11) == [Find(as_ada(ada), Wanted(langs=frozenset({"de"})), 11)]


def test_one_who_sits_in_a_booth_does_not_search() -> None:
    """It has to leave first, or say next."""
    ada = in_booth()
    assert ada.refusal(commands.Find()) == "conflict"
    ada.ask(commands.Leave("booth-1"))
    assert isinstance(ada.pass_on(commands.Find()), Find)


def test_next_leaves_the_booth_for_another() -> None:
    """One act: nothing is heard of the first booth any more, and the engine learns which it was."""
    ada = in_booth()
    assert ada.hand(commands.Next(interests=("tea",)), 10) == [
        Drop("booth-1"),
        Find(as_ada(ada), Wanted(frozenset({"tea"}), leaving="booth-1"), 10),
    ]
    assert ada.refusal(commands.Send("booth-1", "k", "hello?")) == "not_member"
    late = MatchEnded("booth-1", "peer")
    assert ada.tell(late) == [Tell(late)]
    ada.meet("booth-2")
    assert ada.connection.rooms == ("public", "booth-2")


def test_next_without_a_booth_is_find() -> None:
    """There is nothing to leave."""
    ada = insider()
    assert ada.pass_on(commands.Next()) == Find(as_ada(ada), Wanted(), 102)


def test_leaving_a_booth_ends_it() -> None:
    """And begins no other search."""
    ada = in_booth()
    assert ada.hand(commands.Leave("booth-1"), 10) == [Leave("booth-1"), Reply(Done(), 10)]
    assert ada.lost == {"booth-1": False}


@pytest.mark.parametrize("by", ["peer", "lost", "you"])
def test_the_booth_ends_with_the_other_one(by: str) -> None:
    """The room is heard no more before the client is told, and the seat is gone already."""
    ada = in_booth()
    ended = MatchEnded("booth-1", by)  # type: ignore[arg-type]
    assert ada.tell(ended) == [Drop("booth-1"), Tell(ended)]
    assert isinstance(ada.pass_on(commands.Find()), Find)


def test_the_end_of_a_search_leaves_the_booth_alone() -> None:
    """It has no room."""
    ada = in_booth()
    ended = MatchEnded(None, "you")
    assert ada.tell(ended) == [Tell(ended)]
    assert "booth-1" in ada.hears


@pytest.mark.parametrize("letter", [MatchAway("booth-1", 60_000), MatchBack("booth-1"), Notice("warning", "w", "mind")])
def test_letters_go_to_the_client(letter: Letter) -> None:
    """And change nothing here: one may leave, or wait, or speak."""
    ada = in_booth()
    assert ada.tell(letter) == [Tell(letter)]
    assert isinstance(ada.pass_on(commands.Send("booth-1", "k", "are you there?")), Publish)


def test_a_booth_that_was_found_while_one_cancelled_is_found() -> None:
    """`match.cancel` came too late."""
    ada = insider()
    ada.hand(commands.Find(), 10)
    ada.hand(commands.Cancel(), 11)
    ada.meet()
    assert ada.answer(Done(), 11) == [Reply(Done(), 11)]
    assert "booth-1" in ada.hears


@pytest.mark.parametrize("command", [commands.Find(), commands.Next()])
def test_without_booths_nobody_is_met(command: Command) -> None:
    """There are none on this server."""
    assert insider(world=World(has_booths=False)).refusal(command) == "not_found"


def test_too_many_of_one_address_do_not_meet_strangers() -> None:
    """`may_meet` is asked each time; it may be fine later. One keeps the booth that one has."""
    allowed = True
    ada = insider(may_meet=lambda: allowed)
    ada.hand(commands.Find(), 10)
    ada.meet()
    allowed = False
    refusal = ada.ask(commands.Next())
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry) == ("rate_limited", True)
    assert "booth-1" in ada.hears
    allowed = True
    assert len(ada.do(commands.Next())) == 2


def test_blocking_the_one_you_talk_with_ends_the_booth() -> None:
    """The engine says so; then one sits nowhere."""
    ada = in_booth()
    ada.hand(commands.Block("local-bo", "booth-1"), 10)
    assert ada.answer(Done(), 10) == [Reply(Done(), 10)]
    ada.tell(MatchEnded("booth-1", "you"))
    assert ada.hears == {"public"}


# The rate


def test_commands_over_the_rate_are_refused_with_the_time_to_wait() -> None:
    """Exactly so long: then the same command passes."""
    ada = SessionPeer(UNASKED, place=PUBLIC)
    ada.come_in(HELLO)
    for number in range(29):
        ada.pass_on(commands.Send("public", f"{number}", "hi"))
    refusal = ada.ask(SEND)
    assert refusal == Refusal("rate_limited", "too fast; wait and say it again", retry=True, retry_after_ms=100)
    ada.wait(0.0333)
    refusal = ada.ask(SEND)
    assert isinstance(refusal, Refusal)
    assert refusal.retry_after_ms is not None
    ada.wait(refusal.retry_after_ms / 1000 - 0.001)
    assert ada.refusal(SEND) == "rate_limited"
    ada.wait(0.001)
    assert isinstance(ada.pass_on(SEND), Publish)


def test_hello_and_what_cannot_be_read_cost_as_much() -> None:
    """Nonsense is no way round the rate."""
    ada = SessionPeer(Pace(rate=1.0, burst=5, ping=1e9, ping_timeout=1e9), place=PUBLIC)
    ada.come_in(HELLO)
    ada.do(WRONG)
    ada.do(WRONG)
    ada.pass_on(SEND)
    ada.pass_on(SEND)
    assert ada.refusal(SEND) == "rate_limited"


def test_signs_of_life_have_a_budget_of_their_own() -> None:
    """They take nothing from what one says, nor what one says from them."""
    ada = insider(UNASKED)
    for number in range(CONTROL_BURST):
        ada.hand(list(PASSING.values())[number % 2 * 2], 1_000 + number)
    for _ in range(29):
        ada.pass_on(SEND)
    assert ada.is_read()
    assert PauseReading() in ada.hand(commands.Ping(), 10)
    assert isinstance(ada.answers[10], Clock)


def test_one_who_goes_on_regardless_is_not_read_for_a_while() -> None:
    """Every refusal costs one of the small budget; what was on its way already is still answered."""
    ada = insider(UNASKED)
    for _ in range(29):
        ada.pass_on(SEND)
    for _ in range(CONTROL_BURST):
        assert ada.refusal(SEND) == "rate_limited"
    assert ada.is_read()
    assert ada.refusal(SEND) == "rate_limited"
    assert not ada.is_read()
    assert ada.refusal(SEND) == "rate_limited"
    ada.wait(0.11)
    assert ada.is_read()


@pytest.mark.parametrize("said", [SEND, commands.Ping(), commands.Typing("tea")])
def test_a_minute_of_too_much_ends_the_connection(said: Command) -> None:
    """With 4013, after a word of farewell; the client may come back for its seats."""
    ada = insider(UNASKED)
    while ada.ended is None:
        if ada.is_read():
            ada.do(said)
        else:
            ada.wait_for_deadline()
    assert ada.close == RATE
    assert ada.letters == [Bye(RATE)]
    assert STALL_LIMIT <= ada.now <= STALL_LIMIT + 10
    assert ada.lost == {"public": True}


def test_without_a_rate_nothing_is_refused() -> None:
    """Peers on loopback have no limit by default."""
    ada = insider()
    for number in range(2_000):
        assert isinstance(ada.pass_on(commands.Send("public", f"{number}", "hi")), Publish)
    assert ada.is_read()


# What can't be read


def test_ten_unreadable_commands_in_a_row_end_the_connection() -> None:
    """The tenth is answered, then comes the farewell, then the close: 4510, not to come back."""
    ada = insider()
    for _ in range(ERRORS_LIMIT - 1):
        ada.do(WRONG)
    assert ada.ended is None
    assert ada.hand(WRONG, None) == [
        Refuse(WRONG, None),
        Leave("public"),
        Cancel(as_ada(ada)),
        Release("id-1"),
        Tell(Bye(TOO_MANY_ERRORS)),
        End(TOO_MANY_ERRORS),
    ]
    assert ada.lost == {"public": False}


@pytest.mark.parametrize("fine", [commands.Pong(), SEND, commands.Send("tea", "k1", "hi")])
def test_what_can_be_read_forgives_what_could_not(fine: Command) -> None:
    """Also if it is refused for what it says."""
    ada = insider()
    for _ in range(5):
        for _ in range(ERRORS_LIMIT - 1):
            ada.do(WRONG)
        ada.do(fine)
    assert ada.ended is None


def test_nonsense_before_hello_counts_as_well() -> None:
    """There is nothing to give up then."""
    ada = SessionPeer(place=PUBLIC)
    for _ in range(ERRORS_LIMIT - 1):
        ada.hand(WRONG)
    assert ada.hand(WRONG) == [Refuse(WRONG), Tell(Bye(TOO_MANY_ERRORS)), End(TOO_MANY_ERRORS)]


def test_refusals_of_what_was_understood_are_no_errors() -> None:
    """However many."""
    ada = insider()
    for _ in range(3 * ERRORS_LIMIT):
        assert ada.refusal(commands.Send("tea", "k1", "hi")) in ERROR_CODES
    assert ada.ended is None


def test_lines_are_not_for_this_client() -> None:
    """The wire that reads it knows commands only; anything else is a fault of ours."""
    with pytest.raises(TypeError, match="expected a command, got a line"):
        SessionPeer().hand(Line("hello", "ada"))


# The end


@pytest.mark.parametrize("close", [RATE, REPLACED, BINARY, INTERNAL, UNFINISHED])
def test_a_farewell_comes_before_each_close(close: Close) -> None:
    """It says the code, for a page that is told none."""
    ada = insider()
    effects = ada.end(close)
    assert effects[-2:] == [Tell(Bye(close)), End(close)]


def test_a_restart_tells_when_to_come_back() -> None:
    """Spread over some seconds, and in the farewell, too."""
    ada = insider()
    assert ada.end(RESTART)[-3:] == [
        Tell(Reconnect(RESTART_MS, RESTART_JITTER_MS)),
        Tell(Bye(RESTART, RESTART_MS)),
        End(RESTART),
    ]


def test_one_who_is_cut_off_is_told_nothing() -> None:
    """It would not read it."""
    ada = insider()
    assert ada.end(SLOW, abort=True)[-1] == End(SLOW, abort=True)
    assert ada.letters == []


@pytest.mark.parametrize("close", [RESTART, INTERNAL, SLOW, NO_PONG, RATE, REPLACED, UNFINISHED])
def test_seats_are_lost_where_the_client_comes_back(close: Close) -> None:
    """By its code the client will, or, replaced, has come already: a booth may keep the seat. The session is free after
    the seats, so that they can be told apart from those of others; then no search goes on."""
    ada = in_booth()
    effects = ada.end(close)
    assert effects[:4] == [
        Leave("public", lost=True),
        Leave("booth-1", lost=True),
        Cancel(as_ada(ada)),
        Release("id-1"),
    ]


@pytest.mark.parametrize("close", [BINARY, TOO_MANY_ERRORS, Close(1009), Close(4507)])
def test_seats_are_left_where_the_client_should_not_come_back(close: Close) -> None:
    """The other one in the booth need not wait."""
    ada = in_booth()
    ada.end(close)
    assert ada.lost == {"public": False, "booth-1": False}


def test_a_lost_peer_may_come_back() -> None:
    """There is nobody to send a close to."""
    ada = in_booth()
    assert ada.lose()[:2] == [Leave("public", lost=True), Leave("booth-1", lost=True)]
    assert ada.ended is None


def test_seats_that_were_taken_on_the_way_in_are_given_up() -> None:
    """One who is lost before the welcome had some already."""
    ada = SessionPeer(place=PUBLIC)
    ada.hand(commands.Hello(resume=(Position("gone", "e", 1), Position("tea", "e1", 3))), 1)
    ada.answer(Claimed("booth-1"), 1)
    ada.answer(ABSENT, 1)
    ada.answer(Seat("tea", "e1", 3, 1), 1)
    leave, cancel, release = ada.lose()
    assert leave == Leave("tea", lost=True)
    assert isinstance(cancel, Cancel)
    assert release == Release("id-1")
    assert ada.answer(Seat("public", "e1", 0, 1), 1) == []


def test_one_who_never_came_in_has_nothing_to_give_up() -> None:
    """No seat, no session."""
    assert SessionPeer(place=PUBLIC).lose() == []
    refused = SessionPeer(place=PUBLIC)
    refused.ask(commands.Hello(name=""))
    assert refused.end(RESTART)[0] == Tell(Reconnect(RESTART_MS, RESTART_JITTER_MS))


def test_what_comes_too_late_has_no_effect() -> None:
    """Neither commands, nor answers, nor letters, nor time."""
    ada = in_booth()
    ada.hand(commands.Join("tea"), 10)
    ada.end(RESTART)
    assert ada.answer(Seat("tea", "e1", 0, 1), 10) == []
    assert ada.meet("booth-2") == []
    assert ada.tell(MatchEnded("booth-1", "peer")) == []
    for command in [*OBEYED.values(), *PASSING.values(), HELLO, WRONG]:
        assert ada.do(command) == []
    ada.wait(1_000.0)
    ada.control()
    assert ada.lose() == []
    assert ada.end(REPLACED) == []
