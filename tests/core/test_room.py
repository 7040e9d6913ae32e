"""A room: who is in it, and the numbering of what is said."""

from parlour.core.events import Member, MemberJoined, MemberLeft, Message, Publish, Seat, Sender
from parlour.core.room import Room

ADA = Member("c-ada", "p-ada", None, plain=True)
BO = Member("c-bo", "p-bo", "bo", plain=False)
HELLO = Publish("tea", Sender("p-ada", "ada", plain=True), "hello")


def test_members_come_and_go() -> None:
    """Each event tells how many there are then; members stand in the order of their coming."""
    room = Room("tea", "e1")
    assert room.join(ADA) == MemberJoined("tea", ADA, 1)
    assert room.join(BO) == MemberJoined("tea", BO, 2)
    assert list(room.members.values()) == [ADA, BO]
    assert room.leave("c-ada") == MemberLeft("tea", ADA, 1)
    assert room.leave("c-bo") == MemberLeft("tea", BO, 0)


def test_to_join_twice_is_to_join_once() -> None:
    """One connection has one seat."""
    room = Room("tea", "e1")
    room.join(ADA)
    assert room.join(ADA) is None
    assert len(room.members) == 1


def test_to_leave_twice_is_to_leave_once() -> None:
    """The second time there is no seat, and nothing to tell."""
    room = Room("tea", "e1")
    room.join(ADA)
    room.leave("c-ada")
    assert room.leave("c-ada") is None
    assert room.leave("c-bo") is None


def test_two_connections_of_one_person_are_two_members() -> None:
    """In a room, unlike in the booths."""
    room = Room("tea", "e1")
    room.join(ADA)
    room.join(Member("c-ada-2", "p-ada", None, plain=True))
    assert len(room.members) == 2


def test_messages_are_numbered_from_one() -> None:
    """Without a gap, within the epoch; joining takes no number."""
    room = Room("tea", "e1")
    room.join(ADA)
    assert room.publish(HELLO, "m1", 1_000) == Message("tea", "e1", 1, "m1", 1_000, HELLO.sender, "hello")
    room.join(BO)
    assert room.publish(HELLO, "m2", 1_000) == Message("tea", "e1", 2, "m2", 1_000, HELLO.sender, "hello")


def test_a_seat_says_where_one_stands() -> None:
    """The epoch, the newest offset and the number of members."""
    room = Room("tea", "e1")
    room.join(ADA)
    assert room.seat() == Seat("tea", "e1", 0, 1)
    room.publish(HELLO, "m1", 1_000)
    room.join(BO)
    assert room.seat() == Seat("tea", "e1", 1, 2)
