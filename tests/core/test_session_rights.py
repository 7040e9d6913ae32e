"""A connection with a session, where not everybody may do everything: bans, what may be said, tokens of others, terms,
reports, moderators."""

from dataclasses import replace
from typing import Final

import pytest

from parlour.core import commands
from parlour.core.commands import Command
from parlour.core.connection import ERRORS_LIMIT
from parlour.core.events import (
    Accept,
    Accuse,
    Act,
    Acted,
    Amend,
    Bye,
    CallMe,
    Claim,
    Claimed,
    Done,
    Drop,
    End,
    Enter,
    Filed,
    Find,
    Leave,
    Matches,
    Member,
    Moderated,
    Person,
    Proved,
    Publish,
    Published,
    Refuse,
    Release,
    Reply,
    Reported,
    Required,
    Role,
    Search,
    Seat,
    Sender,
    Take,
    Tell,
    Verify,
    Wanted,
    Weigh,
    Welcome,
)
from parlour.core.filter import FilterRules, Limit
from parlour.core.gate import Gate
from parlour.core.moderation import Verdict
from parlour.core.penalties import Mode, Penalties
from parlour.core.policy import Policy
from parlour.core.records import Ban, Mute
from parlour.core.session import HELLO_LIMIT, LOOKUP_BURST, REPORT_BURST, SEARCH_BURST
from parlour.errors import BANNED, NO_HELLO, Refusal
from tests.core.peer import BOOTHS, NOWHERE, PUBLIC, TRUSTED, UNASKED, SessionPeer, World

HELLO: Final = commands.Hello(name="Ada")
SEND: Final = commands.Send("public", "k1", "hello")
WORDS: Final = FilterRules(words={"spam": "refuse", "maybe": "hold", "hm": "flag"})
TERMS: Final = Gate("2", "https://example.org/terms")
BANDS: Final = Gate("2", bands={"16-17": 16, "adult": 18})
SAID: Final = Reported("m1", 1, 7, "local-bo", "hello", "k1.stamp")


def ban(subject: str, *, until_ms: int | None = None, kind: str = "person") -> Penalties:
    return Penalties(bans=[Ban("b1", kind, subject, "rude", 0, until_ms, "operator:o1")])  # type: ignore[arg-type]


def mute(ada: SessionPeer, room: str | None = None) -> None:
    ada.world.policy.change(penalties=Penalties(mutes=[Mute("m1", ada.sender.id, room, "", 0, None, "operator:o1")]))


def lock(world: World, room: str = "public") -> None:
    world.policy.change(penalties=Penalties(modes={room: Mode(locked=True)}))


def insider(
    *, world: World | None = None, role: Role | None = None, hello: commands.Hello = HELLO, paced: bool = False
) -> SessionPeer:
    """Ada, in the public room; with a role, by the word of the host app."""
    pace = UNASKED if paced else TRUSTED
    if role is None:
        ada = SessionPeer(pace, place=PUBLIC, world=world)
    else:
        ada = SessionPeer(pace, place=PUBLIC, world=world, person="u-ada", name="Ada", role=role)
    ada.come_in(hello)
    return ada


def in_booth(world: World | None = None) -> SessionPeer:
    ada = insider(world=world)
    ada.meet()
    return ada


def welcome_of(ada: SessionPeer) -> Welcome:
    (welcome,) = (answer for answer in ada.answers.values() if isinstance(answer, Welcome))
    return welcome


def refused(ada: SessionPeer, command: Command) -> Refusal:
    answer = ada.ask(command)
    assert isinstance(answer, Refusal)
    return answer


# Bans


def test_one_who_is_banned_is_told_so_and_let_go() -> None:
    """At hello, with the time after which to come back; the older connection of the session is left alone."""
    world = World()
    welcome = welcome_of(insider(world=world))
    world.policy.change(penalties=ban(welcome.person.id, until_ms=world.utc_ms + 9_000))
    ada = SessionPeer(place=PUBLIC, world=world)
    refusal, farewell, end = ada.hand(commands.Hello(session=welcome.session), 1)
    assert isinstance(refusal, Refuse)
    assert (refusal.refusal.code, refusal.refusal.retry_after_ms, refusal.re) == ("banned", 9_000, 1)
    assert (farewell, end) == (Tell(Bye(BANNED)), End(BANNED))
    assert not BANNED.reconnect


def test_a_ban_ends() -> None:
    """Then one comes in as ever."""
    world = World()
    world.policy.change(penalties=ban("u-ada", until_ms=world.utc_ms))
    assert SessionPeer(place=PUBLIC, world=world, person="u-ada", name="Ada").come_in().person.id == "u-ada"


def test_nobody_comes_in_from_a_banned_address() -> None:
    """Whoever it is; nobody is asked whose a token is."""
    world = World(has_tokens=True)
    world.policy.change(penalties=ban("h-1", kind="address"))
    for hello in (commands.Hello(), commands.Hello(token="abc"), commands.Hello(session="forged")):
        ada = SessionPeer(place=PUBLIC, world=world, address="h-1")
        assert len(ada.hand(hello, 1)) == 3
        assert ada.close == BANNED
    SessionPeer(place=PUBLIC, world=world, address="h-2").come_in()


def test_each_hello_is_looked_at() -> None:
    """Also the second one of a connection."""
    ada = SessionPeer(place=PUBLIC, address="h-1")
    assert ada.refusal(commands.Hello(name="")) == "bad_name"
    ada.world.policy.change(penalties=ban("h-1", kind="address"))
    assert ada.refusal(HELLO) == "banned"
    assert ada.close == BANNED


def test_what_waited_behind_a_hello_that_was_the_end_is_not_heard() -> None:
    """The connection is over."""
    ada = SessionPeer(place=PUBLIC, world=World(has_tokens=True))
    ada.hand(commands.Hello(token="abc"), 1)
    ada.hand(SEND, 2)
    ada.world.policy.change(penalties=ban(ada.world.house.keys.person_id("ada")))
    effects = ada.answer(Proved(Person("ada", "Ada")), 1)
    assert [type(effect) for effect in effects] == [Refuse, Tell, End]
    assert ada.waiting == {2}


def test_what_a_moderator_did_is_told() -> None:
    """Also before hello was answered."""
    muted = Moderated("muted", "rude", 9)
    assert insider().tell(muted) == [Tell(muted)]
    ada = SessionPeer(place=PUBLIC)
    ada.hand(HELLO, 1)
    assert ada.tell(muted) == [Tell(muted)]


# What may be said


def test_one_who_is_muted_does_not_speak() -> None:
    """Where the mute is for one room, one speaks in others."""
    ada = in_booth()
    mute(ada, "public")
    assert ada.refusal(SEND) == "muted"
    assert isinstance(ada.pass_on(commands.Send("booth-1", "k", "hi")), Publish)
    mute(ada)
    assert ada.refusal(commands.Send("booth-1", "k", "hi")) == "muted"


def test_one_who_is_muted_is_not_seen_otherwise() -> None:
    """What is put to messages, another text of one, and another name are refused; that one writes is told nobody, and
    no word of it. One reads on, and may take back what one said."""
    ada = insider()
    mute(ada)
    assert ada.refusal(commands.React("public", "m1", "\U0001f44d")) == "muted"
    assert ada.refusal(commands.Edit("public", "m1", "hello!")) == "muted"
    assert ada.refusal(commands.Rename("Ada L.")) == "muted"
    assert ada.hand(commands.Typing("public")) == []
    assert ada.hand(commands.Typing("public"), 1) == [Reply(Done(), 1)]
    assert isinstance(ada.pass_on(commands.Delete("public", "m1")), Amend)
    ada.pass_on(commands.History("public"))


def test_a_room_that_one_is_not_in_comes_first() -> None:
    """Nobody learns of a mute there."""
    ada = insider()
    mute(ada)
    for command in (commands.Send("tea", "k", "hi"), commands.React("tea", "m1", "\U0001f44d")):
        assert ada.refusal(command) == "not_member"


@pytest.mark.parametrize("role", ["guest", "user", "moderator", "admin"])
def test_in_a_locked_room_moderators_speak(role: Role) -> None:
    """Others are refused, and may go by another name, for that is no room's."""
    world = World()
    lock(world)
    ada = insider(world=world, role=None if role == "guest" else role)
    said = ada.do(SEND)
    if role in ("moderator", "admin"):
        assert isinstance(said[0], Publish)
    else:
        assert isinstance(said[0], Refuse)
        assert said[0].refusal.code == "locked"
        assert ada.hand(commands.Typing("public")) == []
    if role == "guest":
        assert isinstance(ada.pass_on(commands.Rename("Ada L.")), CallMe)


def test_a_slow_room_tells_when_it_is_ones_turn() -> None:
    """The same message again is none."""
    world = World()
    world.policy.change(penalties=Penalties(modes={"public": Mode(slow_ms=10_000)}))
    ada = insider(world=world)
    assert isinstance(ada.pass_on(SEND), Publish)
    assert isinstance(ada.pass_on(SEND), Publish)
    world.utc_ms += 4_000
    refusal = refused(ada, commands.Send("public", "k2", "hello?"))
    assert (refusal.code, refusal.retry_after_ms) == ("rate_limited", 6_000)
    world.utc_ms += 6_000
    assert isinstance(ada.pass_on(commands.Send("public", "k2", "hello?")), Publish)


def test_what_the_filter_found_is_refused_or_weighed() -> None:
    """What passes is said at once. The number goes along, and the desk's answer under it to the client."""
    ada = insider()
    ada.world.policy.change(rules=WORDS)
    me = ada.member
    assert ada.hand(SEND, 1) == [Publish("public", me, "hello", None, "k1", 1)]
    (refusal,) = ada.hand(commands.Send("public", "k2", "spam"), 2)
    assert isinstance(refusal, Refuse)
    assert (refusal.refusal.code, refusal.re) == ("forbidden", 2)
    flagged = Publish("public", me, "hm", None, "k3", 3)
    assert ada.hand(commands.Send("public", "k3", "hm"), 3) == [Weigh(flagged, Verdict("flag", ("word",)), False)]
    published = Published("public", "e1", 2, "m2", 7)
    assert ada.answer(published, 3) == [Reply(published, 3)]
    held = Publish("public", me, "maybe", None, "k4", 4)
    assert ada.hand(commands.Send("public", "k4", "maybe"), 4) == [Weigh(held, Verdict("hold", ("word",)), False)]
    refusal = Refuse(Refusal("held", "the message waits for a moderator"), 4)
    assert ada.answer(refusal.refusal, 4) == [refusal]


def test_a_classifier_weighs_all_that_may_be_said() -> None:
    """Of the others it hears nothing."""
    ada = insider(world=World(policy=Policy(rules=WORDS, classifies=True)))
    assert isinstance(ada.pass_on(SEND), Weigh)
    assert ada.refusal(commands.Send("public", "k2", "spam")) == "forbidden"


def test_what_one_says_first_to_a_stranger_is_told_apart() -> None:
    """Once for each that one meets, and not what was refused: then nothing was said yet."""
    ada = in_booth(World(policy=Policy(rules=WORDS, classifies=True)))

    def say(text: str, room: str = "booth-1") -> bool:
        weigh = ada.pass_on(commands.Send(room, "k", text))
        assert isinstance(weigh, Weigh)
        return weigh.opening

    assert not say("hello", "public")
    assert ada.refusal(commands.Send("booth-1", "k", "spam")) == "forbidden"
    assert [say("hello"), say("how are you?")] == [True, False]
    ada.do(commands.Next())
    ada.meet("booth-2")
    assert [say("hello", "booth-2"), say("how are you?", "booth-2")] == [True, False]


def test_a_booth_that_one_came_back_to_was_opened_before() -> None:
    """Nobody knows any more whether one spoke there."""
    ada = SessionPeer(world=World(policy=Policy(classifies=True)))
    ada.come_in(HELLO, booth="booth-1")
    weigh = ada.pass_on(commands.Send("booth-1", "k", "hello again"))
    assert isinstance(weigh, Weigh)
    assert not weigh.opening


def test_rules_for_an_opening_hold_while_nothing_else_does() -> None:
    """What was said while all was allowed counts, too."""
    ada = in_booth()
    ada.pass_on(commands.Send("booth-1", "k1", "hello"))
    ada.world.policy.change(rules=FilterRules(opening_links="refuse"))
    assert isinstance(ada.pass_on(commands.Send("booth-1", "k2", "https://example.org/")), Publish)
    ada.do(commands.Next())
    ada.meet("booth-2")
    assert ada.refusal(commands.Send("booth-2", "k3", "https://example.org/")) == "forbidden"


def test_in_a_booth_nothing_waits_for_a_moderator() -> None:
    """None looks into one: what would wait is refused, what would be noted is said."""
    ada = in_booth(World(policy=Policy(rules=WORDS)))
    assert ada.refusal(commands.Send("booth-1", "k1", "maybe")) == "forbidden"
    assert isinstance(ada.pass_on(commands.Send("booth-1", "k2", "hm")), Publish)


def test_another_text_must_be_one_that_may_be_said() -> None:
    """It can't wait for a moderator: the message is there already."""
    ada = insider(world=World(policy=Policy(rules=WORDS)))
    for text in ("spam", "maybe"):
        assert ada.refusal(commands.Edit("public", "m1", text)) == "forbidden"
    assert isinstance(ada.pass_on(commands.Edit("public", "m1", "hm")), Amend)


def test_a_message_that_is_sent_again_is_not_said_twice() -> None:
    """Neither on this connection nor on the next one of the session."""
    world = World(policy=Policy(rules=FilterRules(repeats=Limit(2, 600.0, "refuse"))))
    ada = insider(world=world)
    send = commands.Send("public", "k1", "have you seen my cat?")
    assert isinstance(ada.pass_on(send), Publish)
    ada.lose()
    again = insider(world=world, hello=commands.Hello(session=welcome_of(ada).session))
    assert isinstance(again.pass_on(send), Publish)
    assert again.refusal(replace(send, key="k2")) == "forbidden"


def test_what_may_not_be_said_is_no_error() -> None:
    """However often one tries."""
    ada = insider()
    mute(ada)
    for _ in range(3 * ERRORS_LIMIT):
        assert ada.refusal(SEND) == "muted"
    assert ada.ended is None


# Tokens of others


def with_token(world: World | None = None) -> SessionPeer:
    """Ada, who has said hello with a token."""
    ada = SessionPeer(UNASKED, place=PUBLIC, world=world or World(has_tokens=True))
    assert ada.hand(commands.Hello(token="abc", name="Bo"), 1) == [Verify("abc", 1)]
    return ada


def prove(ada: SessionPeer, person: Person) -> Welcome:
    (claim,) = ada.answer(Proved(person), 1)
    assert isinstance(claim, Claim)
    ada.answer(Claimed(None), 1)
    ada.answer(Seat("public", "e1", 0, 1), 1)
    welcome = ada.answers[1]
    assert isinstance(welcome, Welcome)
    return welcome


def test_a_token_tells_who_one_is() -> None:
    """Name and role as well: what hello says does not count, and the name stays."""
    ada = with_token()
    keys = ada.world.house.keys
    welcome = prove(ada, Person("ada@example.org", "Ada\u202e> ", "moderator"))
    assert welcome.person == Sender(keys.person_id("ada@example.org"), "Ada", "moderator")
    assert ada.connection.sender == welcome.person
    assert ada.refusal(commands.Rename("Bo")) == "forbidden"
    session = keys.read_session(welcome.session, ada.world.utc_ms)
    assert session is not None
    assert session.is_user


def test_what_is_said_while_the_token_is_looked_at_waits() -> None:
    """Pings too; a second hello is none."""
    ada = with_token()
    assert ada.hand(SEND, 2) == []
    assert ada.hand(commands.Hello(), 3) == []
    prove(ada, Person("ada", "Ada"))
    assert isinstance(ada.asked[-1], Publish)
    assert ada.waiting == {2}
    refusal = ada.answers[3]
    assert isinstance(refusal, Refusal)
    assert refusal.code == "conflict"


@pytest.mark.parametrize("code", ["unauthorized", "unavailable"])
def test_a_token_that_proves_nothing_refuses_the_hello(code: str) -> None:
    """What was said meanwhile is heard, and one may say hello again: as a guest, too."""
    ada = with_token()
    ada.hand(SEND, 2)
    refusal = Refusal(code, "no")
    first, second = ada.answer(refusal, 1)
    assert first == Refuse(refusal, 1)
    assert isinstance(second, Refuse)
    assert (second.refusal.code, second.re) == ("required", 2)
    assert ada.come_in(HELLO).person.role == "guest"


def test_a_token_is_good_for_one_hello() -> None:
    """Where that was refused for something else, the next one has to bring it again."""
    ada = with_token()
    ada.answer(Proved(Person("ada", "Ada", "admin")), 1)
    ada.answer(Claimed(None), 1)
    taken = Refusal("bad_name", "somebody here has this name")
    released, refused = ada.answer(taken, 1)
    assert isinstance(released, Release)
    assert refused == Refuse(taken, 1)
    assert ada.come_in(HELLO).person.role == "guest"
    assert isinstance(ada.pass_on(commands.Rename("Ada L.")), CallMe)


def test_a_session_of_a_token_needs_the_token_again() -> None:
    """And of the same person, else it is a new one."""
    world = World(has_tokens=True)
    ada = with_token(world)
    token = prove(ada, Person("ada", "Ada")).session
    guest = SessionPeer(place=PUBLIC, world=world)
    assert guest.refusal(commands.Hello(session=token)) == "unauthorized"
    session = world.house.keys.read_session(token, world.utc_ms)
    assert session is not None
    for who, is_same in (("ada", True), ("bo", False)):
        again = SessionPeer(place=PUBLIC, world=world)
        again.hand(commands.Hello(token="abc", session=token), 1)
        (claim,) = again.answer(Proved(Person(who, who)), 1)
        assert isinstance(claim, Claim)
        assert claim.member.person == world.house.keys.person_id(who)
        assert (claim.session == session.id) is is_same


def test_whom_the_host_app_knows_brings_no_token() -> None:
    """Nobody chooses whose word counts; without it one comes in."""
    world = World(has_tokens=True)
    ada = SessionPeer(place=PUBLIC, world=world, person="u-ada", name="Ada")
    refusal = refused(ada, commands.Hello(token="abc"))
    assert (refusal.code, refusal.field) == ("conflict", "token")
    assert ada.come_in().person.id == "u-ada"


def test_the_ten_seconds_go_on_while_the_token_is_looked_at() -> None:
    """What comes later is too late, and nothing is given up, for nothing was had."""
    ada = with_token()
    ada.wait(HELLO_LIMIT)
    assert (ada.close, ada.left) == (NO_HELLO, [])
    assert ada.answer(Proved(Person("ada", "Ada")), 1) == []


def test_one_who_is_lost_while_the_token_is_looked_at_had_nothing() -> None:
    """No seat, no session."""
    assert with_token().lose() == []


# Terms


def accepting(gate: Gate, hello: commands.Hello = HELLO, *, world: World | None = None) -> SessionPeer:
    ada = SessionPeer(place=NOWHERE, world=world or World(policy=Policy(gate=gate)))
    ada.come_in(hello)
    return ada


def test_without_terms_there_is_nothing_to_accept() -> None:
    """Nor is anything required."""
    ada = insider()
    assert welcome_of(ada).required is None
    assert ada.refusal(commands.Terms("2")) == "not_found"


def test_terms_come_before_strangers() -> None:
    """Hello tells of them; public rooms ask for nothing."""
    world = World(policy=Policy(gate=TERMS))
    ada = insider(world=world)
    assert welcome_of(ada).required == Required("2", "https://example.org/terms", asks_age=False)
    assert isinstance(ada.pass_on(SEND), Publish)
    for command in (commands.Find(), commands.Next()):
        refusal = refused(ada, command)
        assert (refusal.code, refusal.field) == ("required", "terms")
    assert ada.refusal(commands.Terms("1")) == "required"
    assert ada.hand(commands.Terms("2"), 1) == [Accept(ada.sender.id, "2", None), Reply(Done(), 1)]
    assert ada.pass_on(commands.Find()) == Find(ada.member, Wanted(), 106)


def test_terms_are_accepted_once() -> None:
    """To say so again changes nothing."""
    ada = accepting(TERMS, commands.Hello(terms="2"))
    assert welcome_of(ada).required is None
    assert ada.ask(commands.Terms("2")) == Done()
    assert ada.refusal(commands.Terms("1")) == "required"
    assert ada.accepted == [Accept(ada.sender.id, "2", None)]
    assert isinstance(ada.pass_on(commands.Find()), Find)


def test_people_look_for_those_of_their_band() -> None:
    """Whatever they wish for."""
    ada = accepting(BANDS)
    assert welcome_of(ada).required == Required("2", None, asks_age=True)
    assert ada.refusal(commands.Terms("2")) == "required"
    ada.do(commands.Terms("2", 17))
    assert ada.accepted == [Accept(ada.sender.id, "2", "16-17")]
    assert ada.hand(commands.Find(interests=("tea",)), 1) == [
        Find(ada.member, Wanted(frozenset({"tea"}), band="16-17"), 1)
    ]
    ada.meet()
    assert ada.hand(commands.Next(), 2) == [
        Drop("booth-1"),
        Find(ada.member, Wanted(leaving="booth-1", band="16-17"), 2),
    ]


def test_who_is_too_young_meets_nobody() -> None:
    """Not even with another age: that would be too easy. All else is as for others."""
    ada = accepting(BANDS, commands.Hello(terms="2", age=15))
    assert welcome_of(ada).required is not None
    assert ada.refusal(commands.Find()) == "forbidden"
    assert ada.refusal(commands.Terms("2", 18)) == "forbidden"
    assert ada.refusal(commands.Find()) == "forbidden"
    assert ada.accepted == []
    assert isinstance(ada.pass_on(commands.Join("tea")), Enter)


def test_who_says_later_to_be_too_young_is_believed() -> None:
    """Whatever they said before; and the next token tells nothing else."""
    world = World(policy=Policy(gate=BANDS))
    ada = accepting(BANDS, commands.Hello(terms="2", age=18), world=world)
    assert ada.refusal(commands.Terms("2", 12)) == "forbidden"
    assert ada.refusal(commands.Find()) == "forbidden"
    token = welcome_of(ada).session
    for hello in (commands.Hello(session=token, terms="2", age=12), commands.Hello()):
        again = accepting(BANDS, replace(hello, session=token), world=world)
        assert again.refusal(commands.Find()) in ("forbidden", "required")
        token = welcome_of(again).session


def test_the_session_tells_what_was_accepted() -> None:
    """So nobody is asked twice, until the terms change; and nothing is kept but the band."""
    world = World(policy=Policy(gate=BANDS))
    first = accepting(BANDS, commands.Hello(terms="2", age=18), world=world)
    token = welcome_of(first).session
    session = world.house.keys.read_session(token, world.utc_ms)
    assert session is not None
    assert (session.terms, session.band) == ("2", "adult")
    again = accepting(BANDS, commands.Hello(session=token), world=world)
    assert (welcome_of(again).required, again.accepted) == (None, [])
    assert again.hand(commands.Find(), 1) == [Find(again.member, Wanted(band="adult"), 1)]
    world.policy.gate = Gate("3", bands={"adult": 18})
    later = accepting(BANDS, commands.Hello(session=welcome_of(again).session), world=world)
    assert welcome_of(later).required == Required("3", None, asks_age=True)


def test_a_hello_that_says_it_again_is_no_other_consent() -> None:
    """Clients may say it each time; old words take nothing back."""
    world = World(policy=Policy(gate=BANDS))
    token = welcome_of(accepting(BANDS, commands.Hello(terms="2", age=18), world=world)).session
    for terms in ("2", "1"):
        again = accepting(BANDS, commands.Hello(session=token, terms=terms, age=30), world=world)
        assert (welcome_of(again).required, again.accepted) == (None, [])


def test_nobody_moves_to_another_band() -> None:
    """An adult who says to be sixteen after all would meet those who are; so would one with an adult's token."""
    world = World(policy=Policy(gate=BANDS))
    ada = accepting(BANDS, commands.Hello(terms="2", age=30), world=world)
    assert ada.refusal(commands.Terms("2", 16)) == "conflict"
    assert ada.hand(commands.Find(), 1) == [Find(ada.member, Wanted(band="adult"), 1)]
    token = welcome_of(ada).session
    again = accepting(BANDS, commands.Hello(session=token, terms="2", age=16), world=world)
    assert again.hand(commands.Find(), 1) == [Find(again.member, Wanted(band="adult"), 1)]


def test_a_band_that_is_no_more_is_asked_for_again() -> None:
    """It might be another one today."""
    world = World(policy=Policy(gate=Gate("2", bands={"grown": 16})))
    token = welcome_of(accepting(BANDS, commands.Hello(terms="2", age=17), world=world)).session
    world.policy.gate = BANDS
    again = accepting(BANDS, commands.Hello(session=token), world=world)
    assert again.refusal(commands.Find()) == "required"


def test_terms_hold_for_the_person_who_accepted_them() -> None:
    """Not for whoever else comes with the page that kept the token."""
    world = World(policy=Policy(gate=TERMS))
    token = welcome_of(accepting(TERMS, commands.Hello(terms="2"), world=world)).session
    bo = SessionPeer(world=world, person="u-bo", name="Bo")
    assert bo.come_in(commands.Hello(session=token)).required is not None


def test_the_search_of_the_address_waits_for_the_terms() -> None:
    """It is refused, and does not begin by itself later; who accepts with hello is found somebody."""
    world = World(policy=Policy(gate=BANDS))
    ada = SessionPeer(place=BOOTHS, world=world)
    ada.come_in(HELLO)
    (refusal,) = ada.after_hello
    assert isinstance(refusal, Refuse)
    assert (refusal.refusal.code, refusal.re) == ("required", None)
    assert ada.ask(commands.Terms("2", 20)) == Done()
    bo = SessionPeer(place=BOOTHS, world=world)
    bo.come_in(commands.Hello(terms="2", age=20))
    assert bo.after_hello == [Accept(bo.sender.id, "2", "adult"), Find(bo.member, Wanted(band="adult"))]


def test_a_refused_hello_is_no_consent() -> None:
    """Nothing is kept of it."""
    ada = SessionPeer(place=PUBLIC, world=World(policy=Policy(gate=TERMS)))
    ada.hand(commands.Hello(name="Ada", terms="2"), 1)
    ada.answer(Claimed(None), 1)
    ada.answer(Refusal("bad_name", "somebody here has this name"), 1)
    assert ada.accepted == []
    assert ada.come_in(commands.Hello(name="Ada L.")).required is not None


# Searches and reports


def test_messages_are_searched_for() -> None:
    """In a public room, also one where one is not, or in all."""
    ada = in_booth()
    assert ada.hand(commands.Search("tea", "tea", 9), 1) == [Search("tea", "tea", 9, 1)]
    assert ada.answer(Matches([], more=False), 1) == [Reply(Matches([], more=False), 1)]
    assert ada.hand(commands.Search("tea"), 2) == [Search("tea", None, 50, 2)]
    assert ada.refusal(commands.Search(" \n")) == "bad_field"
    assert ada.refusal(commands.Search("tea", "booth-1")) == "forbidden"


def test_a_report_goes_to_the_desk() -> None:
    """With all that it says; also of a booth that is over."""
    ada = insider()
    report = commands.Report("booth-1", "rude", (SAID,), "k1.before", "see for yourself", block=True)
    assert ada.hand(report, 1) == [
        Accuse(ada.member, "booth-1", "rude", (SAID,), "k1.before", "see for yourself", block=True, re=1)
    ]
    assert ada.answer(Filed("r1"), 1) == [Reply(Filed("r1"), 1)]


def test_a_report_says_what_is_wrong_with_what() -> None:
    """Such mistakes are not counted."""
    ada = insider()
    for _ in range(2 * REPORT_BURST):
        assert refused(ada, commands.Report("public", " ", (SAID,))).field == "reason"
        assert refused(ada, commands.Report("public", "rude", ())).field == "messages"
    assert isinstance(ada.pass_on(commands.Report("public", "rude", (SAID,))), Accuse)


def test_reports_have_a_rate_of_their_own() -> None:
    """Five at once, and one a minute, also where nothing else has one."""
    ada = insider()
    report = commands.Report("public", "rude", (SAID,))
    for _ in range(REPORT_BURST):
        assert isinstance(ada.pass_on(report), Accuse)
    refusal = refused(ada, report)
    assert (refusal.code, refusal.retry, refusal.retry_after_ms) == ("rate_limited", True, 60_000)
    ada.wait(60.0)
    assert isinstance(ada.pass_on(report), Accuse)


@pytest.mark.parametrize("leaves_first", [False, True])
def test_searches_for_strangers_have_a_rate_of_their_own(leaves_first: bool) -> None:
    """Ten at once, and one in two seconds, whichever way one goes to the next; one keeps the booth that one has."""
    ada = insider(paced=True)
    for number in range(SEARCH_BURST):
        if leaves_first and number:
            ada.do(commands.Leave(f"booth-{number - 1}"))
        ada.do(commands.Find() if leaves_first else commands.Next())
        ada.meet(f"booth-{number}")
        ada.wait(0.1)
    if leaves_first:
        ada.do(commands.Leave(f"booth-{SEARCH_BURST - 1}"))
    refusal = refused(ada, commands.Next())
    assert (refusal.code, refusal.retry, refusal.retry_after_ms) == ("rate_limited", True, 1_000)
    ada.wait(1.0)
    assert isinstance(ada.do(commands.Next())[-1], Find)


def test_where_there_is_no_rate_there_is_none_for_searches() -> None:
    """Peers on loopback have none by default."""
    ada = insider()
    for _ in range(5 * SEARCH_BURST):
        ada.pass_on(commands.Next())


# Moderators


MODERATING: Final[dict[str, Command]] = {
    "mod.delete": commands.ModDelete("public", "m1"),
    "mod.kick": commands.ModKick("p-bo", "rude"),
    "mod.mute": commands.ModMute("p-bo", "public", 60, "rude"),
    "mod.unmute": commands.ModUnmute("p-bo", "public"),
    "mod.ban": commands.ModBan("p-bo", 60, "rude"),
    "mod.unban": commands.ModUnban("p-bo"),
    "mod.lock": commands.ModLock("public", on=False),
    "mod.slow": commands.ModSlow("public", 10),
}


@pytest.mark.parametrize("role", ["moderator", "admin"])
def test_each_act_of_a_moderator_has_its_effect(role: Role) -> None:
    """The number goes with it, and the answer comes back under it."""
    ada = insider(role=role)
    me: Member = ada.member
    assert {op: ada.pass_on(command) for op, command in MODERATING.items()} == {
        "mod.delete": Amend("public", me, "m1", re=102),
        "mod.kick": Act(me, "kick", "p-bo", reason="rude", re=103),
        "mod.mute": Act(me, "mute", "p-bo", "public", "rude", 60, re=104),
        "mod.unmute": Act(me, "unmute", "p-bo", "public", re=105),
        "mod.ban": Act(me, "ban", "p-bo", reason="rude", seconds=60, re=106),
        "mod.unban": Act(me, "unban", "p-bo", re=107),
        "mod.lock": Act(me, "lock", room="public", on=False, re=108),
        "mod.slow": Act(me, "slow", room="public", seconds=10, re=109),
    }
    assert ada.answer(Acted("b1"), 106) == [Reply(Acted("b1"), 106)]


@pytest.mark.parametrize("role", [None, "guest", "user"])
@pytest.mark.parametrize("op", MODERATING)
def test_others_do_not_moderate(role: Role | None, op: str) -> None:
    """No desk is asked."""
    assert insider(role=role).refusal(MODERATING[op]) == "forbidden"


@pytest.mark.parametrize("command", [*MODERATING.values(), commands.Terms("2"), commands.Search("tea")])
def test_hello_comes_before_all_that(command: Command) -> None:
    """As before anything."""
    ada = SessionPeer(place=PUBLIC, person="u-ada", name="Ada", role="admin")
    assert ada.refusal(command) == "required"
    ada.come_in()


def test_a_moderator_sits_where_a_message_is_deleted() -> None:
    """As everyone who does something to one; elsewhere there are the other ways of operators."""
    assert insider(role="moderator").refusal(commands.ModDelete("tea", "m1")) == "not_member"


# Seats that come late


def test_who_left_before_the_seat_came_does_not_sit() -> None:
    """The engine had it: it is given up."""
    ada = insider()
    ada.hand(commands.Join("tea"), 1)
    assert ada.hand(commands.Leave("tea"), 2) == [Reply(Done(), 2)]
    left, refusal = ada.answer(Seat("tea", "e1", 3, 2), 1)
    assert left == Leave("tea")
    assert isinstance(refusal, Refuse)
    assert (refusal.refusal.code, refusal.re) == ("conflict", 1)
    assert ada.connection.rooms == ("public",)


def test_who_joined_again_by_then_sits() -> None:
    """Once, whichever answer comes first, and until they leave again."""
    ada = insider()
    ada.hand(commands.Join("tea"), 1)
    ada.ask(commands.Leave("tea"))
    ada.hand(commands.Join("tea"), 2)
    seat = Seat("tea", "e1", 3, 2)
    assert ada.answer(seat, 1) == [Reply(seat, 1), Take(seat)]
    assert ada.answer(seat, 2) == [Reply(seat, 2)]
    ada.ask(commands.Leave("tea"))
    assert ada.connection.rooms == ("public",)


def test_a_join_that_was_refused_leaves_nothing_behind() -> None:
    """The next one under the same number is as good as any."""
    ada = insider()
    ada.hand(commands.Join("tea"), 1)
    ada.ask(commands.Leave("tea"))
    ada.answer(Refusal("not_found", "there is no such room"), 1)
    ada.do(commands.Join("tea"))
    seat = Seat("tea", "e1", 3, 2)
    assert ada.answer(seat, 103) == [Reply(seat, 103), Take(seat)]


def test_a_room_that_is_over_is_heard_no_more() -> None:
    """The seat is gone already. Of a room where one does not sit nothing is to do."""
    ada = insider()
    assert ada.carry_out(ada.connection.closed("tea")) == []
    ada.seats.discard("public")
    assert ada.carry_out(ada.connection.closed("public")) == [Drop("public")]
    assert ada.refusal(SEND) == "not_member"


def test_searches_have_a_rate_of_their_own() -> None:
    """But for peers without a rate."""
    ada = SessionPeer(UNASKED)
    ada.come_in()
    for number in range(LOOKUP_BURST):
        assert ada.hand(commands.Search("tea"), number + 1) == [Search("tea", None, 50, number + 1)]
    assert ada.refusal(commands.Search("tea")) == "rate_limited"
    free = SessionPeer()
    free.come_in()
    for number in range(2 * LOOKUP_BURST):
        assert free.hand(commands.Search("tea"), number + 1) == [Search("tea", None, 50, number + 1)]
