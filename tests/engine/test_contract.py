"""What every engine promises, in the words of `parlour.engine.Engine`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from parlour.core.events import (
    Answer,
    Changed,
    Counted,
    Deleted,
    Done,
    Edited,
    Event,
    Fetch,
    Here,
    Letter,
    Look,
    MatchAway,
    MatchBack,
    MatchEnded,
    Matches,
    MatchFound,
    MatchWaiting,
    Member,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Message,
    Named,
    Page,
    Position,
    Published,
    Reacted,
    ReadShown,
    RoomChanged,
    RoomList,
    RoomShown,
    Search,
    Seat,
    Sender,
    Show,
    TypingShown,
    Wanted,
    Whom,
)
from parlour.core.pairing import AVOID, GRACE, RELAX_INTERESTS, RELAX_LANGS
from parlour.core.room import AMENDABLE_SECONDS, INTIMATE, KEYS_SECONDS, RECENT, RECENT_IN_BOOTH
from parlour.engine.memory import BLOCKS_LIMIT, PARTED_SECONDS
from parlour.errors import Refusal
from tests.engine.house import KEYRING, House, local, plain, v1

THUMB = "\U0001f44d"
CY, BO, ADA = (Sender(f"p-{name}", None, plain=True) for name in ("cy", "bo", "ada"))
MODERATOR = Sender("p-mod", "Mo", "moderator")
TEA = Wanted(interests=frozenset({"tea"}), relaxes=False)


def kinds(events: Sequence[Event | Letter]) -> list[str]:
    return [type(event).__name__ for event in events]


# Rooms


def test_a_seat_says_where_one_stands(house: House) -> None:
    """Room, epoch, the newest offset, the number of members, oneself included, and who they are."""
    first = house.join("ada")
    assert first == Seat("public", first.epoch, 0, 1, [ADA])
    house.say("ada", "one")
    house.say("ada", "two")
    assert house.join("bo") == Seat("public", first.epoch, 2, 2, [Sender("p-ada", "ada", plain=True), BO])


def test_those_who_were_there_are_told_who_comes(house: House) -> None:
    """The one who comes is not."""
    for name in ("ada", "bo", "cy"):
        house.join(name)
    assert house.guests["ada"].heard == [MemberJoined("public", BO, 2), MemberJoined("public", CY, 3)]
    assert house.guests["bo"].heard == [MemberJoined("public", CY, 3)]
    assert house.guests["cy"].heard == []


def test_those_who_stay_are_told_who_leaves(house: House) -> None:
    """With the number of those who remain, and whether the connection was lost."""
    for name in ("ada", "bo", "cy"):
        house.join(name)
    house.leave("ada")
    house.lose("cy")
    assert house.guests["bo"].heard[1:] == [MemberLeft("public", ADA, 2), MemberLeft("public", CY, 1, "lost")]
    assert kinds(house.guests["ada"].heard) == ["MemberJoined", "MemberJoined"]


def test_a_message_reaches_every_member_once(house: House) -> None:
    """Its sender as well, with all that was said, the time, and its place."""
    for name in ("ada", "bo", "cy"):
        house.join(name)
    published = house.say("bo", "hello")
    expected = Message(
        "public", published.epoch, 1, published.mid, house.utc_ms, Sender("p-bo", "bo", plain=True), "hello"
    )
    assert published == Published("public", expected.epoch, 1, expected.mid, expected.ts, kept=house.kept)
    for guest in house.guests.values():
        assert guest.messages == [expected]


def test_there_is_one_order(house: House) -> None:
    """Offsets count on without a gap, for everybody alike, from one's seat's offset on."""
    house.join("ada")
    for number in range(1, 4):
        house.say("ada", f"{number}")
    house.join("bo")
    for number in range(4, 7):
        house.say("bo" if number % 2 else "ada", f"{number}")
    ada, bo = house.guests["ada"], house.guests["bo"]
    assert [(message.off, message.text) for message in ada.messages] == [(n, f"{n}") for n in range(1, 7)]
    assert bo.messages == ada.messages[3:]
    assert bo.messages[0].off == bo.seats["public"].off + 1
    assert {message.epoch for message in ada.messages} == {bo.seats["public"].epoch}
    assert len({message.mid for message in ada.messages}) == 6


def test_an_answer_never_overtakes_what_it_answers(house: House) -> None:
    """The event is on its way before its sender is told; and before the seat, nothing of the room is."""
    house.enter(v1("ada"))
    mid = house.say("ada", "one", key="k1").mid
    house.amend("ada", mid, "two")
    house.amend("ada", mid, emoji=THUMB)
    house.amend("ada", mid)
    house.rename("ada", "Ada L.")
    assert [type(told) for told in house.log] == [
        *(MemberJoined, Seat, Message, Published, Edited, Changed, Reacted, Changed, Deleted, Changed),
        *(MemberRenamed, Named),
    ]


def test_nobody_speaks_where_they_have_no_seat(house: House) -> None:
    """Refused, and told to nobody; so is every change."""
    house.enter(v1("bo"))
    mid = house.say("bo", key="k1").mid
    house.guest(v1("ada"))
    for _ in range(2):
        for room in ("public", "tea", "nowhere", "booth-9"):
            assert house.refusal(house.publish("ada", room=room)) == "not_member"
            assert house.refusal(house.amend("ada", mid, emoji=THUMB, room=room)) == "not_member"
        house.enter(v1("ada"))
        house.leave("ada")
    assert len(house.guests["bo"].messages) == 1


def test_to_leave_twice_is_to_leave_once(house: House) -> None:
    """Nor does one leave where one never sat."""
    for name in ("ada", "bo"):
        house.join(name)
    for _ in range(2):
        house.engine.leave("public", "ada")
        house.engine.leave("public", "cy")
        house.engine.leave("tea", "bo")
        house.engine.leave("nowhere", "bo")
    assert house.guests["bo"].heard == [MemberLeft("public", ADA, 1)]


def test_to_join_twice_is_to_join_once(house: House) -> None:
    """The second time one is told where one stands, and the others nothing."""
    house.join("ada")
    house.join("bo")
    house.say("ada", "hello")
    assert house.join("bo").off == 1
    assert kinds(house.guests["ada"].heard) == ["MemberJoined", "Message"]
    house.leave("bo")
    assert house.join("cy").count == 2


def test_two_connections_of_one_person_are_two_members_of_a_room(house: House) -> None:
    """A person may have the public room open in two tabs; a list has one entry."""
    house.join("ada")
    seat = house.join("ada/2")
    assert (seat.count, seat.members) == (2, [ADA])
    house.say("ada", "hello")
    assert house.guests["ada/2"].texts == ["hello"]


def test_rooms_do_not_hear_each_other(house: House) -> None:
    """Each has its own members, numbers and epoch."""
    tea, public = house.join("ada", "tea"), house.join("bo", "public")
    house.join("cy", "tea")
    house.say("ada", "tea?")
    house.say("bo", "hello")
    house.say("cy", "please")
    assert house.guests["ada"].texts == house.guests["cy"].texts == ["tea?", "please"]
    assert house.guests["bo"].texts == ["hello"]
    assert house.guests["bo"].messages[0].off == 1
    assert tea.epoch != public.epoch


def test_a_room_that_is_not_there_cannot_be_entered(house: House) -> None:
    """Only the operator makes rooms."""
    assert house.refusal(house.try_to_enter(plain("ada"), "nowhere")) == "not_found"
    assert house.refusal(house.try_to_enter(plain("ada"), "booth-1")) == "not_found"


def test_a_public_room_is_kept(house: House) -> None:
    """Its numbering and what it remembers, also while nobody is there."""
    first = house.join("ada")
    house.say("ada", "hello")
    house.leave("ada")
    assert house.join("bo") == Seat("public", first.epoch, 1, 1, [BO])
    page = house.ask(house.engine.fetch, Fetch("public", None, None, 50))
    assert isinstance(page, Page)
    assert [one.message.text for one in page.messages] == ["hello"]


# What was missed


def test_one_who_comes_back_hears_what_was_missed(house: House) -> None:
    """The seat brings everything after the last event that was seen; live events go on from there."""
    epoch = house.enter(v1("ada")).epoch
    house.enter(v1("bo"))
    house.say("bo", "one", key="k1")
    house.lose("ada")
    mid = house.say("bo", "two", key="k2").mid
    house.amend("bo", mid, "two!")
    seat = house.enter(v1("ada/2"), since=Position("public", epoch, 1))
    assert seat.recovered
    assert (seat.off, seat.count) == (1, 2)
    assert kinds(seat.missed) == ["Message", "Edited"]
    house.say("bo", "three", key="k3")
    heard = house.guests["ada/2"].heard
    assert [event.off for event in heard if isinstance(event, Message | Edited)] == [2, 3, 4]


@pytest.mark.parametrize("since", [Position("public", "another", 1), Position("public", "", 99)])
def test_a_position_that_is_not_known_brings_nothing(house: House, since: Position) -> None:
    """The seat says where one stands, and that this is not what one knew."""
    epoch = house.join("ada").epoch
    house.say("ada")
    seat = house.join("bo", since=Position("public", since.epoch or epoch, since.off))
    assert (seat.off, seat.missed, seat.recovered) == (1, (), False)


def test_what_is_missed_is_brought_whole_or_not_at_all(house: House) -> None:
    """A public room remembers a thousand events."""
    epoch = house.join("ada").epoch
    house.post("ada", *(f"{number}" for number in range(RECENT + 1)))
    assert len(house.join("bo", since=Position("public", epoch, 1)).missed) == RECENT
    seat = house.join("cy", since=Position("public", epoch, 0))
    assert (seat.recovered, seat.missed) == (False, ())


# Keys, and changes


def test_what_is_sent_twice_is_said_once(house: House) -> None:
    """Also on another connection, ten minutes long: the answer is that of the first time."""
    house.enter(v1("ada"))
    first = house.say("ada", "hello", key="k1")
    house.lose("ada")
    house.enter(v1("ada/2"))
    house.wait(KEYS_SECONDS)
    again = house.say("ada/2", "hello", key="k1")
    assert again == Published("public", first.epoch, first.off, first.mid, first.ts, dup=True, kept=house.kept)
    assert house.refusal(house.publish("ada/2", "hello!", key="k1")) == "conflict"
    assert house.guests["ada/2"].messages == []
    house.wait(0.1)
    assert not house.say("ada/2", "hello", key="k1").dup
    assert not house.say("ada/2", "hello").dup


def test_messages_are_changed_by_their_senders(house: House) -> None:
    """Everybody is told, in the room's order."""
    house.enter(v1("ada"))
    house.enter(v1("bo"))
    published = house.say("ada", "helo", key="k1")
    mid, epoch = published.mid, published.epoch
    assert house.amend("ada", mid, "hello") == Changed(epoch, 2)
    assert house.amend("bo", mid, emoji=THUMB) == Changed(epoch, 3)
    assert house.amend("bo", mid, emoji=THUMB) == Changed(epoch, 3)
    assert house.amend("ada", mid) == Changed(epoch, 4)
    ts, ada, bo = house.utc_ms, v1("ada").sender, v1("bo").sender
    assert house.guests["bo"].heard[1:] == [
        Edited("public", epoch, 2, mid, ts, ada, "hello"),
        Reacted("public", epoch, 3, mid, ts, bo, THUMB, on=True),
        Deleted("public", epoch, 4, mid, ts, ada),
    ]
    assert house.guests["bo"].heard == house.guests["ada"].heard[1:]


def test_what_may_not_be_changed_is_refused(house: House) -> None:
    """With the reason, and told to nobody."""
    house.enter(v1("ada"))
    house.enter(v1("bo"))
    mid = house.say("ada", key="k1").mid
    heard = list(house.guests["bo"].heard)
    assert house.refusal(house.amend("bo", mid, "x")) == "forbidden"
    assert house.refusal(house.amend("bo", mid)) == "forbidden"
    assert house.refusal(house.amend("ada", "m9", "x")) == "not_found"
    house.wait(AMENDABLE_SECONDS + 0.1)
    assert house.refusal(house.amend("ada", mid, "x")) == "expired"
    assert house.guests["bo"].heard == heard
    for number in range(50):
        house.amend("bo", mid, emoji=chr(0x1F400 + number))
    assert house.refusal(house.amend("bo", mid, emoji=THUMB)) == "too_large"


def test_what_is_deleted_does_not_come_back(house: House) -> None:
    """Neither in a page nor in what was missed."""
    epoch = house.enter(v1("ada")).epoch
    mid = house.say("ada", "secret", key="k1").mid
    house.amend("ada", mid, "secret!")
    house.amend("ada", mid)
    page = house.ask(house.engine.fetch, Fetch("public", None, None, 50))
    assert isinstance(page, Page)
    assert page.messages[0].message.deleted
    seat = house.join("bo", since=Position("public", epoch, 0))
    assert kinds(seat.missed) == ["Message", "Edited", "Deleted"]
    assert "secret" not in repr((page, seat))


def test_moderators_delete_what_others_said(house: House) -> None:
    """However long ago, and lines too; but they put no words into anybody's mouth. Booths are not theirs to see to."""
    house.enter(v1("ada"))
    house.join("bo")
    house.enter(Member("mo", MODERATOR))
    said = [house.say("ada", "one", key="k1").mid, house.say("bo", "two").mid]
    house.wait(AMENDABLE_SECONDS + 1)
    assert house.refusal(house.amend("mo", said[0], "better")) == "forbidden"
    for off, mid in enumerate(said, 3):
        assert house.amend("mo", mid) == Changed(house.guests["mo"].seats["public"].epoch, off)
    deleted = house.guests["ada"].heard[-1]
    assert isinstance(deleted, Deleted)
    assert (deleted.mid, deleted.sender) == (said[1], MODERATOR)
    house.guest(Member("mo/2", MODERATOR))
    booth = house.meet("cy", "mo/2")
    mid = house.say("cy", "ours", key="k2").mid
    assert house.refusal(house.amend("mo/2", mid, room=booth)) == "forbidden"


# For those who have no seat


def test_the_host_speaks_without_a_seat(house: House) -> None:
    """All members hear it, and nobody comes in by it."""
    house.join("ada")
    answer = house.order(partial(house.engine.say, "public", MODERATOR, "dinner is ready"))
    (message,) = house.guests["ada"].messages
    assert answer == Published("public", message.epoch, 1, message.mid, message.ts, kept=house.kept)
    assert (message.sender, message.text, message.key) == (MODERATOR, "dinner is ready", None)
    assert house.ask(house.engine.look, Look("public")) == Here("public", 1, [ADA])
    assert house.page() == (["dinner is ready"], False)
    for room in ("nowhere", house.find("bo").room):
        assert house.refusal(house.order(partial(house.engine.say, room, MODERATOR, "hello"))) == "not_found"
    assert house.guests["bo"].messages == []


def test_operators_delete_without_a_seat(house: House) -> None:
    """In public rooms, what was said there."""
    house.join("ada")
    published = house.say("ada", "secret")

    def remove(mid: str, room: str = "public") -> Answer | Refusal:
        return house.order(partial(house.engine.remove, room, mid, MODERATOR))

    for refused in (remove(published.mid, "tea"), remove(published.mid, "nowhere"), remove("m9")):
        assert house.refusal(refused) == "not_found"
    assert remove(published.mid) == Changed(published.epoch, 2)
    assert house.guests["ada"].heard[-1] == Deleted(
        "public", published.epoch, 2, published.mid, house.utc_ms, MODERATOR
    )
    assert house.refusal(remove(published.mid)) == "not_found"
    assert house.page() == ([""], False)
    booth = house.find("bo").room
    assert house.refusal(remove(house.say("bo", "ours").mid, booth)) == "not_found"


def found(house: House, text: str, room: str | None = None, limit: int = 50) -> tuple[list[str], bool]:
    matches = house.ask(house.engine.search, Search(text, room, limit))
    assert isinstance(matches, Matches), matches
    return [one.message.text for one in matches.messages], matches.more


def test_public_rooms_are_searched(house: House) -> None:
    """For every word, in any case; the newest first, as things are now. Booths are not."""
    house.enter(v1("ada"))
    house.enter(v1("ada"), "tea")
    house.post("ada", "Green tea", "green", "black tea?", room="public")
    house.wait(1.0)
    house.post("ada", "tea, GREEN tea", room="tea")
    gone = house.say("ada", "no green tea", room="public", key="k1").mid
    changed = house.say("ada", "coffee", room="public", key="k2").mid
    house.amend("ada", gone, room="public")
    house.amend("ada", changed, "greener tea", room="public")
    booth = house.find("bo").room
    house.say("bo", "green tea for two")
    assert found(house, "green tea") == (["tea, GREEN tea", "Green tea"], False)
    assert found(house, "tea GREEN", "public") == (["Green tea"], False)
    assert found(house, "green", limit=1) == (["tea, GREEN tea"], True)
    assert found(house, "greener") == (["greener tea"], False)
    assert found(house, "coffee") == found(house, "!") == ([], False)
    for room in ("nowhere", booth):
        assert house.refusal(house.ask(house.engine.search, Search("green", room, 50))) == "not_found"


def test_one_message_is_found_by_its_id(house: House) -> None:
    """If it was said in public, and is not deleted."""
    house.enter(v1("ada"))
    mid = house.say("ada", "helo", key="k1").mid
    house.amend("ada", mid, "hello")
    matches = house.order(partial(house.engine.message, mid))
    assert isinstance(matches, Matches)
    assert [(one.message.text, one.message.off) for one in matches.messages] == [("hello", 1)]
    house.find("bo")
    for other in ("m9", house.say("bo", "ours").mid):
        assert house.refusal(house.order(partial(house.engine.message, other))) == "not_found"
    house.amend("ada", mid, room="public")
    assert house.refusal(house.order(partial(house.engine.message, mid))) == "not_found"


def test_who_was_met_is_known_by_the_id_of_the_booth(house: House) -> None:
    """To the other one, and for ten minutes."""
    booth = house.meet("ada", "bo")
    met = partial(house.engine.met, booth)
    assert house.order(partial(met, "p-ada", local(booth, "bo"))) == Whom("p-bo")
    house.leave("ada")
    house.wait(PARTED_SECONDS - 0.1)
    assert house.order(partial(met, "p-bo", local(booth, "ada"))) == Whom("p-ada")
    for person, other in (("p-cy", local(booth, "bo")), ("p-ada", local(booth, "ada")), ("p-ada", "p-bo")):
        assert house.refusal(house.order(partial(met, person, other))) == "not_found"
    house.wait(0.1)
    assert house.refusal(house.order(partial(met, "p-bo", local(booth, "ada")))) == "not_found"


def test_a_room_is_changed(house: House) -> None:
    """Its members are told, once, and lists tell it."""
    house.join("ada", "tea")
    shown = RoomShown("tea", 0, "Tea time", locked=True, slow_ms=5_000)
    for _ in range(2):
        house.order_nothing(partial(house.engine.open_room, shown))
    assert house.guests["ada"].heard == [RoomChanged("tea", "Tea time", locked=True, slow_ms=5_000)]
    assert house.ask(house.engine.look, Look(None)) == RoomList([RoomShown("public", 0), replace(shown, count=1)])


def test_a_room_that_was_closed_is_not_there(house: House) -> None:
    """Its members are told, and lose their seats; nobody enters, reads or finds it."""
    for name in ("ada", "bo"):
        house.join(name, "tea")
    house.join("bo", "public")
    mid = house.say("ada", "tea?").mid
    for _ in range(2):
        house.order_nothing(partial(house.engine.close_room, "tea"))
    for name in ("ada", "bo"):
        assert house.guests[name].heard[-1] == RoomChanged("tea", "", archived=True)
        assert house.guests[name].closed == ["tea"]
    assert house.guests["ada"].seats == {}
    assert house.refusal(house.publish("ada", "still here?", "tea")) == "not_member"
    assert house.refusal(house.try_to_enter(plain("cy"), "tea")) == "not_found"
    for refused in (
        house.ask(house.engine.fetch, Fetch("tea", None, None, 50)),
        house.ask(house.engine.look, Look("tea")),
        house.ask(house.engine.search, Search("tea", "tea", 50)),
        house.order(partial(house.engine.say, "tea", MODERATOR, "hello")),
        house.order(partial(house.engine.remove, "tea", mid, MODERATOR)),
        house.order(partial(house.engine.message, mid)),
    ):
        assert house.refusal(refused) == "not_found"
    assert house.ask(house.engine.look, Look(None)) == RoomList([RoomShown("public", 1)])
    house.order_nothing(partial(house.engine.close_room, "nowhere"))
    house.order_nothing(partial(house.engine.close_room, house.find("di").room))
    assert house.say("di", "hello").off == 1


def test_a_room_that_was_closed_can_be_opened_again(house: House) -> None:
    """It goes on where it was, without the members that it had."""
    epoch = house.join("ada", "tea").epoch
    house.say("ada", "one")
    house.order_nothing(partial(house.engine.close_room, "tea"))
    house.order_nothing(partial(house.engine.open_room, RoomShown("tea", 0, "Tea")))
    seat = house.join("bo", "tea", Position("tea", epoch, 0))
    assert (seat.count, seat.recovered, kinds(seat.missed)) == (1, True, ["Message"])
    assert house.say("bo", "two").off == 2
    assert house.page(room="tea") == (["one", "two"], False)
    assert house.guests["ada"].texts == ["one"]


# In passing, pages, presence, names


def test_what_passes_is_told_to_the_room(house: House) -> None:
    """By those who sit there, and it has no place in the order."""
    house.join("ada")
    house.join("bo")
    house.show("ada", "public", on=True)
    assert house.guests["bo"].heard == [TypingShown("public", ADA, on=True)]
    house.guest(plain("cy"))
    house.show("cy", "public", on=True)
    house.show("ada", "tea", on=True)
    house.show("ada", "nowhere", on=True)
    assert len(house.guests["bo"].heard) == 1
    assert house.say("ada").off == 1


def test_a_page_is_read_from_a_room(house: House) -> None:
    """On the side that was asked for; there is none of a room that is not there."""
    epoch = house.join("ada").epoch
    for number in range(1, 6):
        house.say("ada", f"{number}")

    def texts(before: int | None, after: int | None, limit: int) -> tuple[list[str], bool]:
        page = house.ask(house.engine.fetch, Fetch("public", before, after, limit))
        assert isinstance(page, Page)
        assert (page.room, page.epoch) == ("public", epoch)
        return [one.message.text for one in page.messages], page.more

    assert texts(None, None, 3) == (["3", "4", "5"], True)
    assert texts(3, None, 3) == (["1", "2"], False)
    assert texts(None, 1, 3) == (["2", "3", "4"], True)
    assert house.refusal(house.ask(house.engine.fetch, Fetch("nowhere", None, None, 3))) == "not_found"


def test_one_may_ask_who_is_there(house: House) -> None:
    """In a room, and how many in each public one; booths are in no list."""
    house.join("ada")
    house.join("bo")
    booth = house.meet("cy", "di")
    assert house.ask(house.engine.look, Look("public")) == Here("public", 2, [ADA, BO])
    assert house.ask(house.engine.look, Look("tea")) == Here("tea", 0, [])
    assert house.refusal(house.ask(house.engine.look, Look("nowhere"))) == "not_found"
    assert house.ask(house.engine.look, Look(None)) == RoomList([RoomShown("public", 2), RoomShown("tea", 0)])
    here = house.ask(house.engine.look, Look(booth))
    assert here == Here(booth, 2, [Sender(local(booth, "cy"), "Cy"), Sender(local(booth, "di"), "Di")])


def test_a_crowd_is_told_how_many_they_are_once_a_second(house: House) -> None:
    """Up to fifty members, who comes and goes; above, their number, and nobody's name or writing."""
    for number in range(INTIMATE):
        house.enter(v1(f"m{number}"))
    heard = house.guests["m0"].heard
    assert kinds(heard) == ["MemberJoined"] * (INTIMATE - 1)
    heard.clear()
    house.enter(v1("ada"))
    house.enter(v1("bo"))
    house.rename("ada", "Ada L.")
    house.show("ada", "public", on=True)
    house.lose("bo")
    house.enter(v1("cy"))
    house.wait(0.9)
    assert heard == []
    house.wait(0.1)
    assert heard == [Counted("public", INTIMATE + 2)]
    house.wait(10.0)
    assert len(heard) == 1
    house.leave("ada")
    house.wait(1.0)
    assert heard[1:] == [Counted("public", INTIMATE + 1)]
    house.leave("cy")
    assert heard[2:] == [MemberLeft("public", v1("cy").sender, INTIMATE)]
    house.wait(10.0)
    assert len(heard) == 3


def test_a_name_that_looks_like_anothers_is_refused(house: House) -> None:
    """To one who comes, and to one who is there."""
    house.enter(v1("ada"))
    assert house.refusal(house.try_to_enter(v1("\u0410da"), "public")) == "bad_name"
    house.enter(v1("bo"))
    assert house.refusal(house.rename("bo", "ADA")) == "bad_name"
    assert house.guests["ada"].heard == [MemberJoined("public", v1("bo").sender, 2)]


def test_a_name_is_taken_in_all_rooms_or_in_none(house: House) -> None:
    """Also where going back would be refused: a user of the same name came meanwhile."""
    for room in ("public", "tea"):
        house.enter(v1("ada"), room)
    house.enter(v1("bo"), "tea")
    house.enter(Member("user", Sender("u-ada", "Ada", "user")))
    assert house.refusal(house.rename("ada", "Bo")) == "bad_name"
    assert kinds(house.guests["ada"].heard) == ["MemberJoined", "MemberJoined"]
    assert house.rename("ada", "Ada L.") == Named("Ada L.")
    renamed = Sender("p-ada", "Ada L.")
    assert house.guests["ada"].heard[2:] == [MemberRenamed("public", renamed), MemberRenamed("tea", renamed)]
    assert house.guests["bo"].heard == [MemberRenamed("tea", renamed)]
    house.leave("ada", "public")
    house.leave("ada", "tea")
    house.enter(v1("ada/2"), "tea")


# Sessions


def test_a_newer_connection_of_a_session_displaces_the_older(house: House) -> None:
    """Once, and its seats are free; what it still says comes from nobody."""
    house.claim("ada", "s1")
    house.enter(v1("ada"))
    house.enter(v1("bo"))
    assert house.claim("ada/2", "s1") is None
    assert house.guests["ada"].displaced
    assert house.guests["bo"].heard == [MemberLeft("public", v1("ada").sender, 1, "lost")]
    house.claim("ada/2", "s1")
    assert not house.guests["ada/2"].displaced
    assert house.refusal(house.publish("ada", room="public")) == "not_member"


def test_sessions_do_not_displace_each_other(house: House) -> None:
    """One person may have several: two devices."""
    house.claim("ada", "s1")
    house.claim("ada/2", "s2")
    assert not house.guests["ada"].displaced


def test_a_released_session_displaces_nobody(house: House) -> None:
    """And an old connection does not release what a newer one has."""
    house.claim("ada", "s1")
    house.lose("ada")
    house.claim("ada/2", "s1")
    assert not house.guests["ada"].displaced
    house.engine.release("s1", "ada")
    house.engine.release("s1", "nobody")
    house.claim("ada/3", "s1")
    assert house.guests["ada/2"].displaced


# Booths, for plain clients


def test_strangers_meet_in_a_booth(house: House) -> None:
    """The first opens it, the second takes the free seat, the third opens another one."""
    first, second, third = (house.find(name) for name in ("ada", "bo", "cy"))
    assert (first.count, second.count, third.count) == (1, 2, 1)
    assert (second.room, second.epoch) == (first.room, first.epoch)
    assert third.room != first.room
    assert third.epoch != first.epoch
    assert house.guests["ada"].heard == [MemberJoined(first.room, BO, 2, in_booth=True)]
    assert house.engine.counts() == (2, 1)


def test_what_is_said_in_a_booth_stays_there(house: House) -> None:
    """Both members hear it, nobody else; one who is alone hears themselves."""
    house.join("di")
    for name in ("ada", "bo", "cy"):
        house.find(name)
    house.say("ada", "hello")
    house.say("cy", "anybody?")
    house.say("di", "everybody!")
    assert [house.guests[name].texts for name in ("ada", "bo", "cy", "di")] == [
        ["hello"],
        ["hello"],
        ["anybody?"],
        ["everybody!"],
    ]


def test_who_was_left_keeps_the_booth(house: House) -> None:
    """They are told, and the next one meets them there, hearing nothing of what was said before."""
    first = house.find("ada")
    house.find("bo")
    house.say("ada", "goodbye")
    house.leave("ada")
    gone = Sender("p-ada", "ada", plain=True)
    assert house.guests["bo"].heard[-1] == MemberLeft(first.room, gone, 1, in_booth=True)
    assert house.engine.counts() == (1, 1)
    assert house.find("cy") == Seat(first.room, first.epoch, 1, 2)
    assert house.guests["cy"].heard == []
    assert house.say("cy", "hello").off == 2
    assert house.guests["bo"].texts == ["goodbye", "hello"]


def test_an_empty_booth_is_gone(house: House) -> None:
    """Nobody is sent there any more, and its name is not used again."""
    first = house.find("ada")
    house.leave("ada")
    assert house.engine.counts() == (0, 0)
    assert house.find("bo").room != first.room
    assert house.asked == []
    assert house.refusal(house.publish("ada", room=first.room)) == "not_member"
    assert house.refusal(house.ask(house.engine.look, Look(first.room))) == "not_found"


@pytest.mark.parametrize("number", [1, 2, 7])
def test_every_one_who_waits_can_be_met(house: House, number: int) -> None:
    """`choose` decides, asked once and from as many as wait; the answers are as many different booths."""
    met = set()
    for pair in range(number):
        house.find(f"w{pair}")
        house.find(f"x{pair}")
    for pair in range(number):
        house.leave(f"x{pair}")
    house.asked.clear()
    for luck in range(number):
        met.add(house.find(f"y{luck}", 0).room)
        assert house.engine.counts() == (number, number - luck - 1)
    assert house.asked == list(range(number, 0, -1))
    assert met == {house.guests[f"w{pair}"].room for pair in range(number)}


def test_leaving_a_room_leaves_no_booth(house: House) -> None:
    """A seat is given up where it is named, not elsewhere."""
    booth = house.find("ada")
    house.engine.leave("public", "ada")
    house.engine.leave("booth-of-nobody", "ada")
    assert house.find("bo").room == booth.room
    assert house.say("bo", "hello").room == booth.room
    assert house.guests["ada"].texts == ["hello"]


@pytest.mark.parametrize("is_prompt", [True, False])
def test_a_person_sits_in_one_booth(house: House, is_prompt: bool) -> None:
    """Coming again they lose the seat they had, whether the hub gives it up or not: its connection and its partner are
    told, once, and the new one is seated."""
    house.is_prompt = is_prompt
    first = house.find("ada")
    house.find("bo")
    house.find("cy")
    second = house.find("ada/2")
    assert house.guests["ada"].displaced
    assert house.guests["bo"].heard[0] == MemberLeft(first.room, ADA, 1, in_booth=True)
    house.guests["ada"].seats.clear()
    assert house.guests["ada/2"].room == second.room
    assert house.engine.counts() == (2, 1)
    house.say("ada/2", "here I am")
    partner = "bo" if second.room == first.room else "cy"
    assert house.guests[partner].texts == house.guests["ada/2"].texts == ["here I am"]


@pytest.mark.parametrize("is_prompt", [True, False])
def test_coming_again_back_to_the_same_partner(house: House, is_prompt: bool) -> None:
    """Only one booth has a free seat: the one that the person just lost."""
    house.is_prompt = is_prompt
    first = house.find("ada")
    house.find("bo")
    second = house.find("ada/2")
    assert house.guests["ada"].displaced
    assert (second.room, second.count) == (first.room, 2)
    assert house.guests["bo"].heard == [
        MemberLeft(first.room, ADA, 1, in_booth=True),
        MemberJoined(first.room, ADA, 2, in_booth=True),
    ]


def test_nobody_meets_themselves(house: House) -> None:
    """One who waits alone and comes again waits in a new booth, and the old one is gone."""
    first = house.find("ada")
    second = house.find("ada/2")
    assert house.guests["ada"].displaced
    assert second.room != first.room
    assert second.count == 1
    assert house.engine.counts() == (1, 1)


def test_a_person_may_sit_in_a_room_and_in_a_booth(house: House) -> None:
    """One booth a person, but the public room is none."""
    house.join("ada")
    house.find("ada/2")
    assert not house.guests["ada"].displaced
    house.say("ada", "hello")
    house.say("ada/2", "psst")
    assert house.guests["ada"].texts == ["hello"]
    assert house.guests["ada/2"].texts == ["psst"]


def test_counts_begin_at_nothing(house: House) -> None:
    """The public room is no booth."""
    house.join("ada")
    assert house.engine.counts() == (0, 0)


def test_one_who_comes_again_is_not_told_of_the_booth_that_was_left(house: House) -> None:
    """A v1 client that waits takes the seat that became free, in the same act: the answer is one's own seat."""
    house.find("ada")
    house.find("bo")
    house.seek("cy", Wanted())
    seat = house.find("ada/2")
    bo, cy = house.guests["bo"], house.guests["cy"]
    assert bo.booth == cy.booth != seat.room
    assert seat.count == 1
    house.say("cy", "hello bo", key="k1")
    assert bo.texts == ["hello bo"]
    assert house.guests["ada/2"].texts == []


# Strangers with a session


def test_one_who_searches_waits_in_no_room(house: House) -> None:
    """It has a ticket, and is told that it waits; it counts as a booth with a free seat."""
    ticket = house.seek("ada")
    assert house.guests["ada"].letters == [MatchWaiting(ticket, house.utc_ms)]
    assert house.guests["ada"].seats == {}
    assert house.engine.counts() == (1, 1)


def test_two_who_search_meet(house: House) -> None:
    """Each is told who the other one is, in this booth alone, what they share, and where it begins."""
    first = house.seek("ada", Wanted(interests=frozenset({"tea", "go", "ski"})))
    second = house.seek("bo", Wanted(interests=frozenset({"tea", "ski", "sea"})))
    assert first != second
    ada, bo = house.guests["ada"], house.guests["bo"]
    booth = ada.booth
    assert booth is not None
    seat = ada.seats[booth]
    assert seat == bo.seats[booth] == Seat(booth, seat.epoch, 0, 2)
    assert ada.letters[1:] == [MatchFound(booth, seat.epoch, 0, Sender(local(booth, "bo"), "Bo"), ("ski", "tea"))]
    assert bo.letters == [MatchFound(booth, seat.epoch, 0, Sender(local(booth, "ada"), "Ada"), ("ski", "tea"))]
    assert house.engine.counts() == (1, 0)


def test_a_ticket_comes_before_what_becomes_of_the_search(house: House) -> None:
    """Else the client could not know what it is told of."""
    house.seek("ada")
    house.seek("bo")
    told = [type(one[1] if isinstance(one, tuple) else one).__name__ for one in house.log]
    assert told[:2] == ["Ticket", "MatchWaiting"]
    assert told[2] == "Ticket"
    assert sorted(told[3:]) == ["MatchFound", "MatchFound", "MemberJoined", "MemberJoined"]


def test_the_two_talk_under_ids_of_the_booth(house: House) -> None:
    """Each message has a stamp; what is read and written is told; lasting ids are nowhere."""
    booth = house.meet("ada", "bo")
    ada = Sender(local(booth, "ada"), "Ada")
    published = house.say("ada", "hello", key="k1")
    house.show("ada", booth, on=True)
    house.show("ada", booth, off=99)
    stamp = KEYRING.stamp(booth, ("p-ada", "p-bo"), published.mid, 1, "p-ada", published.ts, "hello", "")
    heard = [event for event in house.guests["bo"].heard if not isinstance(event, MemberJoined)]
    assert heard == [
        Message(booth, published.epoch, 1, published.mid, published.ts, ada, "hello", None, "k1", stamp),
        TypingShown(booth, ada, on=True),
        ReadShown(booth, ada, 1),
    ]
    assert "p-ada" not in repr(house.guests["bo"].heard)
    assert "p-ada" not in repr(house.guests["bo"].letters)
    assert isinstance(house.rename("ada", "Ada L."), Named)
    assert house.guests["bo"].heard[-1] == MemberRenamed(booth, Sender(local(booth, "ada"), "Ada L."))


def test_a_new_name_is_told_to_who_comes_later(house: House) -> None:
    """Whether it was taken while one searched, or beside somebody who is away."""
    house.seek("ada")
    house.rename("ada", "Ada L.")
    house.claim("bo", "s-bo")
    house.seek("bo")
    booth = house.guests["bo"].booth
    assert booth is not None
    (found,) = house.guests["bo"].letters
    assert isinstance(found, MatchFound)
    assert found.peer.name == "Ada L."
    house.lose("bo")
    house.rename("ada", "Countess")
    house.claim("bo/2", "s-bo")
    seat = house.enter(v1("bo/2"), booth)
    assert seat.peer == Sender(local(booth, "ada"), "Countess")


def test_the_same_search_under_the_same_key(house: House) -> None:
    """One ticket; a search under another key, or none, is a new one, without a word about the old."""
    first = house.seek("ada", Wanted(key="k1"))
    assert house.seek("ada", Wanted(key="k1")) == first
    assert len(house.guests["ada"].letters) == 1
    second = house.seek("ada", Wanted(key="k2"))
    assert second != first
    assert house.seek("ada") != second
    assert kinds(house.guests["ada"].letters) == ["MatchWaiting"] * 3
    assert house.engine.counts() == (1, 1)


def test_a_search_can_be_cancelled(house: House) -> None:
    """Nobody meets that person then; without one it is fine as well, and it leaves no booth."""
    house.seek("ada")
    house.cancel("ada")
    house.cancel("ada")
    assert house.engine.counts() == (0, 0)
    house.meet("bo", "cy")
    house.cancel("bo")
    assert house.engine.counts() == (1, 0)
    assert house.say("bo", key="k1").off == 1


def test_a_search_ends_with_its_connection(house: House) -> None:
    """Not with another one of the same person."""
    house.seek("ada")
    house.guest(v1("ada/2"))
    house.lose("ada/2")
    assert house.engine.counts() == (1, 1)
    house.lose("ada")
    assert house.engine.counts() == (0, 0)


def test_a_search_elsewhere_ends_the_search(house: House) -> None:
    """Of the same person: its client is told, and stays connected."""
    house.seek("ada")
    house.seek("ada/2")
    assert house.guests["ada"].letters[-1] == MatchEnded(None, "you")
    assert not house.guests["ada"].displaced
    assert house.engine.counts() == (1, 1)


def test_a_search_elsewhere_ends_the_booth(house: House) -> None:
    """Of the same person: both are told."""
    booth = house.meet("ada", "bo")
    house.seek("ada/2")
    assert house.guests["ada"].letters[-1] == MatchEnded(booth, "you")
    assert house.guests["bo"].letters[-1] == MatchEnded(booth, "peer")
    assert house.engine.counts() == (1, 1)


def test_leaving_ends_the_booth_for_both(house: House) -> None:
    """The one who stays is told, has no seat any more, and does not search."""
    booth = house.meet("ada", "bo")
    house.leave("ada")
    assert house.guests["bo"].letters[-1] == MatchEnded(booth, "peer")
    assert house.engine.counts() == (0, 0)
    assert house.refusal(house.publish("bo", room=booth)) == "not_member"
    assert house.refusal(house.try_to_enter(v1("bo"), booth)) == "not_found"


def test_next_leaves_for_another(house: House) -> None:
    """In one act; the one who is left is told, and the two don't meet again for a while, though both search."""
    booth = house.meet("ada", "bo")
    house.seek("ada")
    assert house.guests["bo"].letters[-1] == MatchEnded(booth, "peer")
    house.seek("bo")
    assert house.engine.counts() == (2, 2)
    house.wait(AVOID - 0.1)
    assert house.engine.counts() == (2, 2)
    house.wait(0.1)
    assert house.engine.counts() == (1, 0)
    assert house.guests["ada"].booth == house.guests["bo"].booth != booth


def test_demands_relax_with_time(house: House) -> None:
    """Interests first, then languages; the client is told each time, or meets somebody."""
    wish = Wanted(frozenset({"tea"}), frozenset({"en"}))
    ticket = house.seek("ada", wish)
    since = house.utc_ms
    house.wait(RELAX_INTERESTS)
    house.wait(RELAX_LANGS - RELAX_INTERESTS - 0.1)
    house.seek("bo", Wanted(langs=frozenset({"fr"}), relaxes=False))
    assert house.guests["ada"].letters == [MatchWaiting(ticket, since), MatchWaiting(ticket, since, ("interests",))]
    house.wait(1.0)
    assert house.guests["ada"].letters[-1] == MatchWaiting(ticket, since, ("interests", "langs"))
    house.seek("cy", Wanted(langs=frozenset({"de"})))
    house.wait(RELAX_LANGS)
    assert house.guests["ada"].booth == house.guests["cy"].booth
    assert house.guests["bo"].booth is None


def test_demands_that_do_not_relax_stay(house: House) -> None:
    """For ever, if need be; one who shares them is met at once."""
    house.seek("ada", TEA)
    house.find("bo")
    house.seek("cy")
    house.wait(10_000.0)
    assert house.guests["ada"].booth is None
    assert house.guests["cy"].booth == house.guests["bo"].booth
    house.seek("di", TEA)
    assert house.guests["di"].booth == house.guests["ada"].booth


def test_plain_and_v1_clients_meet(house: House) -> None:
    """Whoever came first. The v1 client is told by a letter, and sees what the other one is."""
    seat = house.find("ada")
    house.say("ada", "anybody?")
    house.seek("bo")
    bo = house.guests["bo"]
    found = MatchFound(seat.room, seat.epoch, 1, Sender(local(seat.room, "ada"), "ada", plain=True), ())
    assert bo.letters == [found]
    assert bo.seats == {seat.room: Seat(seat.room, seat.epoch, 1, 2)}
    joined = house.guests["ada"].heard[-1]
    assert joined == MemberJoined(seat.room, Sender(local(seat.room, "bo"), "Bo"), 2, in_booth=True)
    house.seek("cy")
    other = house.find("di")
    assert (other.count, other.room) == (2, house.guests["cy"].booth)
    (_, found_di) = house.guests["cy"].letters
    assert isinstance(found_di, MatchFound)
    assert found_di.peer == Sender(local(other.room, "di"), None, plain=True)
    house.say("di", "hello")
    assert house.guests["cy"].messages[0].stamp is not None


def test_a_plain_client_keeps_the_booth_that_a_v1_client_left(house: House) -> None:
    """Whoever comes next hears nothing of before, and can't page back to it."""
    seat = house.find("ada")
    house.seek("bo")
    house.say("bo", "secret", key="k1")
    house.leave("bo")
    assert house.engine.counts() == (1, 1)
    assert house.guests["ada"].heard[-1] == MemberLeft(
        seat.room, Sender(local(seat.room, "bo"), "Bo"), 1, in_booth=True
    )
    house.seek("cy")
    assert house.guests["cy"].seats == {seat.room: Seat(seat.room, seat.epoch, 1, 2)}
    page = house.ask(house.engine.fetch, Fetch(seat.room, None, None, 50))
    assert isinstance(page, Page)
    assert page.messages == []


def test_a_v1_client_loses_the_booth_with_its_plain_partner(house: House) -> None:
    """There is no grace where one is plain."""
    for lost in (True, False):
        house.seek("ada")
        house.find("bo")
        booth = house.guests["ada"].booth
        if lost:
            house.lose("bo")
        else:
            house.leave("bo")
        assert house.guests["ada"].letters[-1] == MatchEnded(booth, "lost" if lost else "peer")
        assert house.engine.counts() == (0, 0)
        house.guests.pop("bo")
        house.wait(AVOID)


def test_a_v1_client_that_is_lost_frees_the_seat_beside_a_plain_one(house: House) -> None:
    """At once."""
    house.claim("ada", "s1")
    house.seek("ada")
    house.find("bo")
    house.lose("ada")
    assert house.engine.counts() == (1, 1)
    assert house.claim("ada/2", "s1") is None


# Grace


def absent(house: House) -> str:
    """Ada lost her connection in a booth with Bo."""
    house.claim("ada", "s-ada")
    house.claim("bo", "s-bo")
    booth = house.meet("ada", "bo")
    house.say("ada", "one", key="k1")
    house.lose("ada")
    return booth


def test_the_seat_of_one_who_was_lost_is_kept(house: House) -> None:
    """The partner is told, may speak, and is told when the other one is back; nobody else gets the seat."""
    booth = absent(house)
    assert kinds(house.guests["bo"].letters) == ["MatchFound", "MatchAway"]
    assert MatchAway(booth, 60_000) in house.guests["bo"].letters
    assert house.engine.counts() == (1, 0)
    house.say("bo", "two", key="k2")
    house.find("cy")
    house.wait(GRACE - 0.1)
    assert house.claim("ada/2", "s-ada") == booth
    seat = house.enter(v1("ada/2"), booth, Position(booth, house.guests["bo"].seats[booth].epoch, 1))
    assert seat.peer == Sender(local(booth, "bo"), "Bo")
    assert (seat.count, seat.recovered, kinds(seat.missed)) == (2, True, ["Message"])
    assert house.guests["bo"].letters[2:] == [MatchBack(booth)]
    house.say("ada/2", "three", key="k3")
    assert house.guests["bo"].texts == ["one", "two", "three"]
    assert house.guests["ada/2"].texts == ["two", "three"]
    house.wait(10 * GRACE)
    assert house.engine.counts() == (2, 1)


def test_after_a_minute_the_booth_is_over(house: House) -> None:
    """For the one who stayed, and for the one who comes too late."""
    booth = absent(house)
    house.wait(GRACE)
    assert house.guests["bo"].letters[-1] == MatchEnded(booth, "lost")
    assert house.engine.counts() == (0, 0)
    assert house.claim("ada/2", "s-ada") is None
    assert house.refusal(house.try_to_enter(v1("ada/2"), booth)) == "not_found"


def test_the_one_who_stayed_need_not_wait(house: House) -> None:
    """It looks for another, and the kept seat is gone."""
    booth = absent(house)
    house.seek("bo")
    assert house.claim("ada/2", "s-ada") is None
    assert house.refusal(house.try_to_enter(v1("ada/2"), booth)) == "not_found"
    house.wait(10 * GRACE)
    assert kinds(house.guests["bo"].letters).count("MatchEnded") == 0


def test_both_may_be_away(house: House) -> None:
    """Each comes back for its own seat, or the booth is over when the first grace is."""
    booth = absent(house)
    house.wait(10.0)
    house.lose("bo")
    assert house.claim("ada/2", "s-ada") == booth
    seat = house.enter(v1("ada/2"), booth)
    assert (seat.count, seat.peer) == (1, Sender(local(booth, "bo"), "Bo"))
    assert house.claim("bo/2", "s-bo") == booth
    assert house.enter(v1("bo/2"), booth).count == 2
    house.lose("ada/2")
    house.lose("bo/2")
    house.wait(GRACE)
    assert house.engine.counts() == (0, 0)


def test_a_kept_seat_is_its_sessions(house: House) -> None:
    """Another session of the same person does not find it, nor may it take it by the booth's name."""
    booth = absent(house)
    assert house.claim("ada/2", "s-other") is None
    assert house.refusal(house.try_to_enter(v1("ada/2"), booth)) == "not_found"
    assert house.claim("ada/3", "s-ada") == booth


def test_a_seat_that_is_taken_is_not_entered_again(house: House) -> None:
    """By no other connection of the person, and by nobody else."""
    house.claim("ada", "s-ada")
    house.claim("ada/2", "s-2")
    booth = house.meet("ada", "bo")
    for name in ("ada/2", "cy"):
        assert house.refusal(house.try_to_enter(v1(name), booth)) == "not_found"
    assert house.say("ada", "still here", key="k1").off == 1


def test_a_newer_connection_of_the_session_sits_where_the_older_sat(house: House) -> None:
    """Though that one was not lost yet."""
    house.claim("ada", "s-ada")
    booth = house.meet("ada", "bo")
    assert house.claim("ada/2", "s-ada") == booth
    assert house.guests["ada"].displaced
    house.enter(v1("ada/2"), booth)
    assert kinds(house.guests["bo"].letters)[-2:] == ["MatchAway", "MatchBack"]
    house.say("bo", "hello", key="k1")
    assert house.guests["ada/2"].texts == ["hello"]


def test_who_has_no_session_does_not_come_back(house: House) -> None:
    """The booth waits all the same: the partner can't know."""
    house.meet("ada", "bo")
    house.lose("ada")
    assert house.claim("ada/2", "s-ada") is None
    house.wait(GRACE)
    assert house.engine.counts() == (0, 0)


def test_a_booth_brings_back_the_last_fifty_events(house: House) -> None:
    """What is more than that is not told."""
    house.claim("ada", "s-ada")
    booth = house.meet("ada", "bo")
    epoch = house.guests["bo"].seats[booth].epoch
    house.lose("ada")
    for number in range(RECENT_IN_BOOTH + 1):
        house.say("bo", key=f"k{number}")
    for since, recovered in ((0, False), (1, True)):
        house.claim(f"ada/{since}", "s-ada")
        seat = house.enter(v1(f"ada/{since}"), booth, Position(booth, epoch, since))
        assert seat.recovered is recovered
        house.lose(f"ada/{since}")


# Blocks


def test_people_who_were_blocked_are_not_met(house: House) -> None:
    """Whoever of the two searches, and however; until that is taken back."""
    house.seek("ada")
    assert house.block("ada", "p-bo") == Done()
    assert house.block("ada", "p-bo") == Done()
    house.seek("bo")
    house.wait(1_000.0)
    assert house.engine.counts() == (2, 2)
    assert house.block("ada", "p-bo", on=False) == Done()
    assert house.block("ada", "p-bo", on=False) == Done()
    assert house.engine.counts() == (1, 0)


def test_blocking_in_a_booth_ends_it(house: House) -> None:
    """By the id that the other one has there; the answer comes first."""
    booth = house.meet("ada", "bo")
    house.log.clear()
    assert house.block("ada", local(booth, "bo"), booth) == Done()
    assert house.log[0] == Done()
    assert house.guests["ada"].letters[-1] == MatchEnded(booth, "you")
    assert house.guests["bo"].letters[-1] == MatchEnded(booth, "peer")
    house.seek("ada")
    house.seek("bo")
    house.wait(1_000.0)
    assert house.engine.counts() == (2, 2)


def test_a_plain_partner_is_blocked_as_well(house: House) -> None:
    """It keeps the booth, the one who blocks loses it."""
    seat = house.find("bo")
    house.seek("ada")
    house.block("ada", local(seat.room, "bo"), seat.room)
    assert house.guests["ada"].letters[-1] == MatchEnded(seat.room, "you")
    assert house.guests["bo"].room == seat.room
    house.seek("ada")
    house.wait(1_000.0)
    assert house.engine.counts() == (2, 2)


def test_one_can_be_blocked_for_ten_minutes_after_the_booth(house: House) -> None:
    """By both, by nobody else, and no longer."""
    booth = house.meet("ada", "bo")
    house.leave("ada")
    house.guest(v1("cy"))
    house.wait(PARTED_SECONDS - 0.1)
    assert house.block("ada", local(booth, "bo"), booth) == Done()
    assert house.block("bo", local(booth, "ada"), booth) == Done()
    assert house.refusal(house.block("cy", local(booth, "bo"), booth)) == "not_found"
    house.wait(0.1)
    assert house.refusal(house.block("ada", local(booth, "bo"), booth)) == "not_found"


def test_ids_are_understood_where_they_belong(house: House) -> None:
    """Neither a lasting id in a booth, nor one's own, nor that of another booth, nor of those who sat there before."""
    booth = house.find("bo").room
    house.seek("ada")
    house.leave("ada")
    house.seek("cy")
    for id in ("p-bo", "", local(booth, "cy"), local("booth-x", "bo"), local(booth, "ada")):
        assert house.refusal(house.block("cy", id, booth)) == "not_found"
    assert house.refusal(house.block("cy", local(booth, "bo"), "public")) == "not_found"
    assert house.block("ada", local(booth, "bo"), booth) == Done()
    assert house.block("cy", local(booth, "bo"), booth) == Done()


def test_one_can_block_a_thousand_people(house: House) -> None:
    """More must wait until one is let go; one of them again is fine."""
    house.guest(v1("ada"))
    for number in range(BLOCKS_LIMIT):
        assert house.block("ada", f"p{number}") == Done()
    assert house.refusal(house.block("ada", "p-bo")) == "too_large"
    assert house.block("ada", "p7") == Done()
    assert house.block("ada", "p0", on=False) == Done()
    assert house.block("ada", "p-bo") == Done()


# Those who act while they are told


def test_one_who_is_lost_on_being_told_leaves_no_ghost(house: House) -> None:
    """Its connection ends while it hears that somebody was found."""
    house.act = lambda name, letter: house.lose(name) if isinstance(letter, MatchFound) and name == "ada" else None
    house.seek("ada")
    house.seek("bo")
    booth = house.guests["bo"].booth
    assert kinds(house.guests["bo"].letters) == ["MatchFound", "MatchAway"]
    assert house.ask(house.engine.look, Look(booth)) == Here(booth or "", 1, [Sender(local(booth or "", "bo"), "Bo")])
    house.wait(GRACE)
    assert house.guests["bo"].seats == {}
    assert house.engine.counts() == (0, 0)


def test_both_are_lost_on_being_told(house: House) -> None:
    """Nobody waits for the other one longer than a minute."""
    house.act = lambda name, letter: house.lose(name) if isinstance(letter, MatchFound) else None
    house.seek("ada")
    house.seek("bo")
    house.wait(GRACE)
    assert house.engine.counts() == (0, 0)


def test_one_who_leaves_on_being_told_leaves_no_ghost(house: House) -> None:
    """The booth is over before the other one was told of it: that one hears of its end at least."""
    house.act = lambda name, letter: house.leave(name) if isinstance(letter, MatchFound) and name == "ada" else None
    house.seek("ada")
    house.seek("bo")
    assert kinds(house.guests["bo"].letters) == ["MatchFound", "MatchEnded"]
    assert house.guests["bo"].seats == {}
    assert house.engine.counts() == (0, 0)


def test_one_who_searches_again_on_being_told_meets_others(house: House) -> None:
    """The end of a booth begins another search at once; the calls are carried out in their order."""

    def search_again(name: str, letter: Letter) -> None:
        if isinstance(letter, MatchEnded):
            house.seek(name)

    house.act = search_again
    house.meet("ada", "bo")
    house.seek("cy")
    house.leave("ada")
    booth = house.guests["bo"].booth
    assert booth == house.guests["cy"].booth is not None
    house.seek("ada")
    house.leave("cy")
    assert house.engine.counts() == (2, 2)
    house.wait(AVOID)
    assert house.guests["bo"].booth == house.guests["ada"].booth is not None
    assert house.engine.counts() == (1, 0)


def test_one_who_is_lost_on_hearing_that_the_other_is_back(house: House) -> None:
    """The one who came back is answered first, and told then."""
    booth = absent(house)
    house.act = lambda name, letter: house.lose(name) if isinstance(letter, MatchBack) else None
    house.claim("ada/2", "s-ada")
    house.enter(v1("ada/2"), booth)
    assert house.guests["ada/2"].letters == [MatchAway(booth, 60_000)]
    assert house.engine.counts() == (1, 0)
    house.wait(GRACE)
    assert house.guests["ada/2"].seats == {}
    assert house.engine.counts() == (0, 0)


def test_one_who_leaves_on_hearing_that_the_other_is_back(house: House) -> None:
    """As above: the seat is answered, and then is over."""
    booth = absent(house)
    house.act = lambda name, letter: house.leave(name) if isinstance(letter, MatchBack) else None
    house.claim("ada/2", "s-ada")
    house.enter(v1("ada/2"), booth)
    assert house.guests["ada/2"].letters == [MatchEnded(booth, "peer")]
    assert house.guests["ada/2"].seats == {}
    assert house.engine.counts() == (0, 0)


def test_a_displaced_connection_takes_others_with_it(house: House) -> None:
    """Its end cuts its partner off as well: the one who waits beside that is told what became of it, and nobody is left
    in a booth that is gone."""
    booth = house.find("ada").room
    house.find("bo")
    house.seek("cy")
    house.cut_with["ada"] = "bo"
    house.find("ada/2")
    assert house.guests["cy"].seats == {}
    assert house.guests["cy"].letters[1:] == [MatchEnded(booth, "lost")]
    assert house.engine.counts() == (1, 1)


# Time


def test_nothing_is_planned_where_nothing_is_due(house: House) -> None:
    """An idle engine wakes nobody up, and one call is planned for all that is."""
    house.join("ada")
    house.find("bo")
    house.seek("cy", TEA)
    assert house.scheduler.planned == 0
    house.seek("di", Wanted(interests=frozenset({"go"}), langs=frozenset({"en"})))
    house.seek("ed", Wanted(interests=frozenset({"ski"}), langs=frozenset({"fr"})))
    assert house.scheduler.planned == 1
    house.wait(1_000.0)
    assert house.scheduler.planned == 0


def test_one_who_left_shows_nothing(house: House) -> None:
    """What it did before may come late."""
    house.join("ada")
    house.join("bo")
    house.leave("bo")
    house.engine.show(Show("public", plain("bo"), on=True))
    assert kinds(house.guests["ada"].heard) == ["MemberJoined", "MemberLeft"]
