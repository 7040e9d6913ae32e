"""What every engine promises, in the words of `parlour.engine.Engine`."""

import pytest

from parlour.core.events import MemberJoined, MemberLeft, Message, Published, Seat, Sender
from parlour.errors import ERROR_CODES, Refusal
from tests.engine.house import Guest, House, member

# Rooms


def test_a_seat_says_where_one_stands(house: House) -> None:
    """Room, epoch, the newest offset, and the number of members, oneself included."""
    first = house.join("ada")
    assert first == Seat("public", first.epoch, 0, 1)
    house.say("ada", "one")
    house.say("ada", "two")
    assert house.join("bo") == Seat("public", first.epoch, 2, 2)


def test_those_who_were_there_are_told_who_comes(house: House) -> None:
    """The one who comes is not."""
    for name in ("ada", "bo", "cy"):
        house.join(name)
    assert house.guests["ada"].heard == [
        MemberJoined("public", member("bo"), 2),
        MemberJoined("public", member("cy"), 3),
    ]
    assert house.guests["bo"].heard == [MemberJoined("public", member("cy"), 3)]
    assert house.guests["cy"].heard == []


def test_those_who_stay_are_told_who_leaves(house: House) -> None:
    """With the number of those who remain."""
    for name in ("ada", "bo"):
        house.join(name)
    house.leave("ada")
    assert house.guests["bo"].heard == [MemberLeft("public", member("ada"), 1)]
    assert [type(event) for event in house.guests["ada"].heard] == [MemberJoined]


def test_a_message_reaches_every_member_once(house: House) -> None:
    """Its sender as well, with all that was said, the time, and its place."""
    for name in ("ada", "bo", "cy"):
        house.join(name)
    published = house.say("bo", "hello")
    expected = Message(
        "public",
        published.epoch,
        1,
        published.mid,
        1_700_000_000_000,
        Sender("p-bo", "bo", plain=True),
        "hello",
    )
    assert published == Published("public", expected.epoch, 1, expected.mid, expected.ts)
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
    assert bo.seat is not None
    assert bo.messages[0].off == bo.seat.off + 1
    assert {message.epoch for message in ada.messages} == {bo.seat.epoch}
    assert len({message.mid for message in ada.messages}) == 6


def test_an_answer_never_overtakes_what_it_answers(house: House) -> None:
    """A message is told to the room before its sender learns its place."""
    house.join("ada")
    house.say("ada", "one")
    house.say("ada", "two")
    assert [type(told) for told in house.log] == [MemberJoined, Message, Published, Message, Published]


def test_nobody_speaks_where_nobody_is(house: House) -> None:
    """A room without members does not exist: refused, and told to nobody."""
    for _ in range(2):
        refusal = house.publish("public", "ada")
        assert isinstance(refusal, Refusal)
        assert refusal.code == "not_member"
        assert refusal.code in ERROR_CODES
        house.join("bo")
        house.leave("bo")
    assert not any(isinstance(told, Message) for told in house.log)


def test_to_leave_twice_is_to_leave_once(house: House) -> None:
    """Nor does one leave where one never sat."""
    for name in ("ada", "bo"):
        house.join(name)
    for _ in range(2):
        house.engine.leave("public", "ada")
        house.engine.leave("public", "cy")
        house.engine.leave("tea", "bo")
    assert house.guests["bo"].heard == [MemberLeft("public", member("ada"), 1)]


def test_to_join_twice_is_to_join_once(house: House) -> None:
    """The second time one is told where one stands, and the others nothing."""
    house.join("ada")
    house.join("bo")
    house.say("ada", "hello")
    assert house.join("bo").off == 1
    assert house.guests["ada"].heard[0] == MemberJoined("public", member("bo"), 2)
    assert len(house.guests["ada"].heard) == 2
    house.leave("bo")
    assert house.join("cy").count == 2


def test_two_connections_of_one_person_are_two_members_of_a_room(house: House) -> None:
    """A person may have the public room open in two tabs."""
    house.join("ada")
    house.guests["ada-2"] = Guest(member("ada-2", "p-ada"))
    assert house.join("ada-2").count == 2
    house.say("ada", "hello")
    assert house.guests["ada-2"].texts == ["hello"]


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


def test_an_empty_room_is_forgotten(house: House) -> None:
    """Its numbers start anew under another epoch, so that nobody takes them for the old ones."""
    first = house.join("ada")
    house.say("ada", "hello")
    house.leave("ada")
    second = house.join("bo")
    assert (second.off, second.count) == (0, 1)
    assert second.epoch != first.epoch
    assert house.say("bo", "hello").off == 1


def test_a_room_lives_on_with_its_last_member(house: House) -> None:
    """Its numbering, too."""
    first = house.join("ada")
    house.say("ada", "hello")
    house.join("bo")
    house.leave("ada")
    assert house.join("cy") == Seat("public", first.epoch, 1, 2)


# Booths


def test_strangers_meet_in_a_booth(house: House) -> None:
    """The first opens it, the second takes the free seat, the third opens another one."""
    first, second, third = (house.find(name) for name in ("ada", "bo", "cy"))
    assert (first.count, second.count, third.count) == (1, 2, 1)
    assert (second.room, second.epoch) == (first.room, first.epoch)
    assert third.room != first.room
    assert third.epoch != first.epoch
    assert house.guests["ada"].heard == [MemberJoined(first.room, member("bo"), 2)]
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
    assert house.guests["bo"].heard[-1] == MemberLeft(first.room, member("ada"), 1)
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
    assert isinstance(house.publish(first.room, "ada"), Refusal)


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
    second = house.find("ada-again", person="p-ada")
    assert house.guests["ada"].displaced
    assert house.guests["bo"].heard[0] == MemberLeft(first.room, member("ada"), 1)
    house.guests["ada"].seat = None
    assert house.guests["ada-again"].room == second.room
    assert house.engine.counts() == (2, 1)
    house.say("ada-again", "here I am")
    partner = "bo" if second.room == first.room else "cy"
    assert house.guests[partner].texts == house.guests["ada-again"].texts == ["here I am"]
    assert house.guests["ada"].texts == []
    house.engine.leave(first.room, "ada")
    assert house.say("ada-again", "still here").room == second.room
    assert sum(isinstance(told, MemberLeft) for told in house.log) == 1


def test_one_who_comes_again_may_draw_the_booth_they_left(house: House) -> None:
    """It has a free seat then, like any other; the partner hears of one who left and one who came."""
    first = house.find("ada")
    house.find("bo")
    house.guests["bo"].heard.clear()
    assert house.find("ada-again", person="p-ada") == Seat(first.room, first.epoch, 0, 2)
    assert house.guests["bo"].heard == [
        MemberLeft(first.room, member("ada"), 1),
        MemberJoined(first.room, member("ada-again", "p-ada"), 2),
    ]


def test_nobody_meets_themselves(house: House) -> None:
    """One who waits alone and comes again waits in a new booth, and the old one is gone."""
    first = house.find("ada")
    second = house.find("ada-again", person="p-ada")
    assert house.guests["ada"].displaced
    assert second.room != first.room
    assert second.count == 1
    assert house.engine.counts() == (1, 1)


def test_a_person_may_sit_in_a_room_and_in_a_booth(house: House) -> None:
    """One booth a person, but the public room is none."""
    house.join("ada")
    house.find("ada-2", person="p-ada")
    assert not house.guests["ada"].displaced
    house.say("ada", "hello")
    house.say("ada-2", "psst")
    assert house.guests["ada"].texts == ["hello"]
    assert house.guests["ada-2"].texts == ["psst"]


def test_counts_begin_at_nothing(house: House) -> None:
    """The public room is no booth."""
    house.join("ada")
    assert house.engine.counts() == (0, 0)
