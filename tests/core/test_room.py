"""A room: who is in it, the numbering of what happens, and how much of it is remembered; and booths."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from itertools import count
from typing import Final

import pytest

from parlour.core.events import (
    Amend,
    Changed,
    Deleted,
    Edited,
    Here,
    Member,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Message,
    Numbered,
    Page,
    Position,
    Publish,
    Published,
    Reacted,
    ReadShown,
    Remembered,
    Seat,
    Sender,
    Show,
    TypingShown,
)
from parlour.core.keys import Keyring
from parlour.core.records import Found, KnownKey, StoredRoom
from parlour.core.room import (
    AMENDABLE_SECONDS,
    INTIMATE,
    KEYS_LIMIT,
    KEYS_SECONDS,
    LISTED,
    MISSED_CHARACTERS,
    PAGE_CHARACTERS,
    REACTIONS_LIMIT,
    RECENT,
    RECENT_CHARACTERS,
    RECENT_IN_BOOTH,
    Booth,
    Room,
    joined,
    published,
    words_of,
)
from parlour.errors import Refusal

ADA: Final = Member("c-ada", Sender("p-ada", "Ada"))
BO: Final = Member("c-bo", Sender("p-bo", "Bo"))
CY: Final = Member("c-cy", Sender("p-cy", None, plain=True))
DI: Final = Member("c-di", Sender("p-di", "di", plain=True))
THUMB: Final = "\U0001f44d"
SECRET: Final = bytes(range(32))
KEYRING: Final = Keyring({"k1": SECRET}, "k1")


class World:
    """A room with ada and bo in it, a clock, and what is said there: each message has the next mid."""

    def __init__(self, room: Room | None = None, members: Sequence[Member] = (ADA, BO)) -> None:
        self.room = room or Room("tea", "e1")
        self.now = 5_000.0
        self._mids = count(1)
        for member in members:
            assert isinstance(self.room.join(member), MemberJoined)

    @property
    def ts(self) -> int:
        return 1_700_000_000_000 + round(1000 * self.now)

    def say(self, text: str = "hi", member: Member = ADA, key: str | None = None, reply_to: str | None = None) -> str:
        """The mid."""
        answer = self.send(text, member, key or f"key {self.room.off + 1}", reply_to)
        assert isinstance(answer, Published), answer
        assert not answer.dup
        return answer.mid

    def send(
        self, text: str, member: Member = ADA, key: str = "k1", reply_to: str | None = None
    ) -> Published | Refusal:
        """As an engine does."""
        publish = Publish(self.room.name, member, text, reply_to, key)
        before = self.room.said_before(publish, key, self.now)
        if before is not None:
            return before
        message = self.room.publish(publish, f"m{next(self._mids)}", self.ts)
        answer = Published(self.room.name, self.room.epoch, message.off, message.mid, message.ts)
        self.room.keep_key(publish, key, answer, self.now)
        return answer

    def amend(self, amend: Amend) -> Numbered | None:
        outcome = self.room.amend(amend, self.ts, self.now)
        assert not isinstance(outcome, Refusal), outcome
        event, answer = outcome
        assert answer == Changed(self.room.epoch, self.room.off)
        assert event is None or event.off == self.room.off
        return event

    def edit(self, mid: str, text: str, member: Member = ADA) -> Numbered | None:
        return self.amend(Amend("tea", member, mid, text=text))

    def delete(self, mid: str, member: Member = ADA) -> Numbered | None:
        return self.amend(Amend("tea", member, mid))

    def react(self, mid: str, member: Member = ADA, emoji: str = THUMB, *, on: bool = True) -> Numbered | None:
        return self.amend(Amend("tea", member, mid, emoji=emoji, on=on))

    def refusal(self, amend: Amend) -> str:
        off = self.room.off
        outcome = self.room.amend(amend, self.ts, self.now)
        assert isinstance(outcome, Refusal)
        assert self.room.off == off, "a refusal took a number"
        return outcome.code

    def missed(self, off: int, epoch: str = "e1") -> Sequence[Numbered] | None:
        """What one who comes back from there missed; None if that can't be told."""
        seat = self.room.seat(Position(self.room.name, epoch, off))
        if not seat.recovered:
            assert (seat.off, seat.missed) == (self.room.off, ())
            return None
        assert seat.off == off
        assert [event.off for event in seat.missed] == list(range(off + 1, self.room.off + 1))
        return list(seat.missed)

    def page(self, before: int | None = None, after: int | None = None, limit: int = 50) -> tuple[list[str], bool]:
        """The mids, and whether there is more."""
        page = self.room.page(before, after, limit)
        assert (page.room, page.epoch) == (self.room.name, self.room.epoch)
        return [one.message.mid for one in page.messages], page.more

    def now_is(self, mid: str) -> Remembered:
        """The message as it is now."""
        (one,) = (one for one in self.room.page(None, None, 1_000).messages if one.message.mid == mid)
        return one


# Members


def test_members_come_and_go() -> None:
    """Each event tells how many there are then; members stand in the order of their coming."""
    room = Room("tea", "e1")
    assert room.join(ADA) == MemberJoined("tea", ADA.sender, 1)
    assert room.join(CY) == MemberJoined("tea", CY.sender, 2)
    assert list(room.members.values()) == [ADA, CY]
    assert room.leave("c-ada") == MemberLeft("tea", ADA.sender, 1)
    assert room.leave("c-cy", lost=True) == MemberLeft("tea", CY.sender, 0, "lost")


def test_to_join_twice_is_to_join_once() -> None:
    """One connection has one seat, and one claim to its name."""
    room = Room("tea", "e1")
    room.join(ADA)
    assert room.join(ADA) is None
    assert len(room.members) == 1
    room.leave("c-ada")
    assert isinstance(room.join(Member("c-2", Sender("p-2", "Ada"))), MemberJoined)


def test_to_leave_twice_is_to_leave_once() -> None:
    """The second time there is no seat, and nothing to tell."""
    room = Room("tea", "e1")
    room.join(ADA)
    room.leave("c-ada")
    assert room.leave("c-ada") is None
    assert room.leave("c-bo") is None


def test_two_connections_of_one_person_are_two_members() -> None:
    """In a room, unlike in the booths; who asks for a list sees one person."""
    room = World(members=(ADA, Member("c-ada-2", ADA.sender), BO)).room
    assert len(room.members) == 3
    assert room.here() == Here("tea", 3, [ADA.sender, BO.sender])


def test_a_list_has_at_most_a_hundred_members() -> None:
    """In a larger room only their number is told; one who asks not to be told it is not."""
    members = [Member(f"c{number}", Sender(f"p{number}", None, plain=True)) for number in range(LISTED)]
    room = World(members=members).room
    assert room.here() == Here("tea", 100, [member.sender for member in members])
    assert room.seat().members == room.here().members
    assert room.seat(listed=False).members == ()
    room.join(ADA)
    assert room.here() == Here("tea", 101, ())
    assert (room.seat().count, room.seat().members) == (101, ())


def test_a_seat_says_where_one_stands() -> None:
    """The epoch, the newest offset, the number of members, and who they are."""
    world = World(members=(ADA,))
    assert world.room.seat() == Seat("tea", "e1", 0, 1, [ADA.sender])
    world.say()
    world.room.join(BO)
    assert world.room.seat() == Seat("tea", "e1", 1, 2, [ADA.sender, BO.sender])


# Names


@pytest.mark.parametrize("name", ["Ada", "ada", "ADA", "\u0410da", "Ad\u0430", " Ada", "Ad\u200da"])
def test_nobody_takes_a_name_that_looks_like_anothers(name: str) -> None:
    """In any case, and in letters of another script."""
    room = World(members=(ADA,)).room
    refusal = room.join(Member("c-x", Sender("p-x", name)))
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("bad_name", "name")
    assert len(room.members) == 1


def test_one_may_have_ones_name_twice() -> None:
    """On two connections; it is free when the last one left."""
    room = World(members=(ADA, Member("c-ada-2", Sender("p-ada", "\u0410da")))).room
    other = Member("c-x", Sender("p-x", "Ada"))
    room.leave("c-ada")
    assert isinstance(room.join(other), Refusal)
    room.leave("c-ada-2")
    assert isinstance(room.join(other), MemberJoined)


def test_plain_names_are_anyones() -> None:
    """They neither take nor guard one: a label on each line."""
    room = World(members=(ADA, Member("c-x", Sender("p-x", "Ada", plain=True)))).room
    assert len(room.members) == 2
    room.leave("c-ada")
    assert isinstance(room.join(Member("c-y", Sender("p-y", "Ada"))), MemberJoined)


def test_a_name_that_the_host_app_proved_is_never_refused() -> None:
    """It is not for its owner to choose; but it is guarded against guests."""
    room = World(members=(ADA,)).room
    assert isinstance(room.join(Member("c-u", Sender("u-ada", "Ada", "user"))), MemberJoined)
    room.leave("c-ada")
    assert isinstance(room.join(ADA), Refusal)
    room.leave("c-u")
    assert isinstance(room.join(ADA), MemberJoined)


def named(name: str, member: Member = ADA) -> Member:
    return Member(member.connection, Sender(member.person, name))


def test_one_may_take_another_name() -> None:
    """The old one is free then, the new one is not."""
    room = World(members=(ADA,)).room
    assert room.objection(named("Ada L.")) is None
    assert room.rename(named("Ada L.")) == MemberRenamed("tea", Sender("p-ada", "Ada L."))
    assert room.here().members == [Sender("p-ada", "Ada L.")]
    assert isinstance(room.join(Member("c-x", Sender("p-x", "Ada L."))), Refusal)
    assert isinstance(room.join(Member("c-y", Sender("p-y", "Ada"))), MemberJoined)


def test_one_may_go_back_to_the_old_name() -> None:
    """And write it in another way: nobody is in one's own way."""
    room = World(members=(ADA,)).room
    for name in ("Ada L.", "Ada", "ada", "\u0410da", "Ada"):
        assert room.objection(named(name)) is None
        room.rename(named(name))
    room.leave("c-ada")
    assert isinstance(room.join(Member("c-x", Sender("p-x", "Ada"))), MemberJoined)


def test_one_may_not_take_anothers() -> None:
    """Then all stays as it was."""
    room = World().room
    assert room.objection(named("bo")) is not None
    assert room.here().members == [ADA.sender, BO.sender]


def test_a_guest_whose_name_a_user_brought_along_can_come_and_go() -> None:
    """Both have the name then, and each lets go of it once: also after the guest was refused another one."""
    room = World().room
    room.join(Member("c-u", Sender("u-ada", "Ada", "user")))
    assert room.objection(named("Bo")) is not None
    assert room.objection(named("Ada")) is not None
    assert isinstance(room.leave("c-ada"), MemberLeft)
    assert isinstance(room.leave("c-u"), MemberLeft)
    assert isinstance(room.join(Member("c-x", Sender("p-x", "Ada"))), MemberJoined)


# Numbering


def test_messages_are_numbered_from_one() -> None:
    """Without a gap, within the epoch; joining takes no number."""
    room = Room("tea", "e1")
    room.join(CY)
    said = Publish("tea", Member("c-cy", Sender("p-cy", "cy", plain=True)), "hello")
    assert room.publish(said, "m1", 1_000) == Message("tea", "e1", 1, "m1", 1_000, said.member.sender, "hello")
    room.join(ADA)
    reply = Publish("tea", ADA, "hi", "m1", "k1")
    assert room.publish(reply, "m2", 1_001) == Message(
        "tea", "e1", 2, "m2", 1_001, ADA.sender, "hi", reply_to="m1", key="k1"
    )


def test_a_plain_member_goes_by_the_name_of_its_last_line() -> None:
    """None before the first one."""
    room = World(members=(CY,)).room
    assert room.here().members == [Sender("p-cy", None, plain=True)]
    room.publish(Publish("tea", Member("c-cy", Sender("p-cy", "cy", plain=True)), "hello"), "m1", 1)
    assert room.here().members == [Sender("p-cy", "cy", plain=True)]


def test_changes_are_numbered_with_the_messages() -> None:
    """Edits, reactions and deletions are events of the room like any other."""
    world = World()
    mid = world.say("helo")
    assert world.edit(mid, "hello") == Edited("tea", "e1", 2, mid, world.ts, ADA.sender, "hello")
    assert world.react(mid, BO) == Reacted("tea", "e1", 3, mid, world.ts, BO.sender, THUMB, on=True)
    assert world.react(mid, BO, on=False) == Reacted("tea", "e1", 4, mid, world.ts, BO.sender, THUMB, on=False)
    assert world.delete(mid) == Deleted("tea", "e1", 5, mid, world.ts, ADA.sender)
    missed = world.missed(0)
    assert missed is not None
    assert [type(event) for event in missed] == [Message, Edited, Reacted, Reacted, Deleted]


# What was missed


def test_one_who_comes_back_gets_what_was_missed() -> None:
    """Everything after the last event that was seen, or nothing if that was the newest."""
    world = World()
    for number in range(1, 6):
        world.say(f"{number}")
    for off in range(6):
        missed = world.missed(off)
        assert missed is not None
        assert [event.text for event in missed if isinstance(event, Message)] == [f"{n}" for n in range(off + 1, 6)]


def test_a_position_ahead_of_the_room_is_not_known() -> None:
    """It belongs to something else."""
    world = World()
    world.say()
    assert world.missed(1) == []
    assert world.missed(2) is None
    assert world.missed(2**53) is None


def test_a_position_in_another_epoch_is_not_known() -> None:
    """Though there is an event of that number."""
    world = World()
    world.say()
    assert world.missed(0, "e0") is None
    assert world.missed(1, "e0") is None


def test_what_is_not_remembered_any_more_is_not_told() -> None:
    """All or nothing: a gap is never hidden."""
    world = World()
    for _ in range(RECENT + 10):
        world.say()
    missed = world.missed(10)
    assert missed is not None
    assert len(missed) == RECENT
    assert world.missed(9) is None
    assert world.missed(0) is None
    assert world.page(limit=RECENT + 10)[0][0] == "m11"


def test_a_room_remembers_so_much_text() -> None:
    """Four million characters, edits included; what a deletion frees is free."""
    world = World()
    half = "x" * (RECENT_CHARACTERS // 2)

    def oldest() -> str:
        return world.page(after=0, limit=1)[0][0]

    first = world.say(half)
    world.say(half)
    assert oldest() == "m1"
    world.say("x")
    assert oldest() == "m2"
    assert world.refusal(Amend("tea", ADA, first)) == "not_found"
    world.delete("m2")
    world.say(half[1:])
    world.edit("m3", half)
    assert oldest() == "m2"
    world.edit("m3", "xx")
    assert world.page(after=0, limit=1)[0] == []


def test_a_resume_brings_so_much_text() -> None:
    """A million characters: it waits in memory for one who reads slowly. Who missed more is told so, and pages back."""
    world = World()
    for _ in range(5):
        world.say("x" * (MISSED_CHARACTERS // 5))
    assert world.missed(0) is not None
    world.say("x")
    assert world.missed(0) is None
    assert world.missed(1) is not None


# Keys


def test_the_same_key_is_the_same_message() -> None:
    """The answer is the same, but says that it was said before; nothing is said twice."""
    world = World()
    first = world.send("hello")
    assert first == Published("tea", "e1", 1, "m1", world.ts)
    world.say()
    world.now += 60
    assert isinstance(first, Published)
    assert world.send("hello") == Published("tea", "e1", 1, "m1", first.ts, dup=True)
    assert world.room.off == 2


@pytest.mark.parametrize(("text", "reply_to"), [("hello!", None), ("hello", "m0")])
def test_something_else_under_the_same_key_is_refused(text: str, reply_to: str | None) -> None:
    """It would be lost otherwise."""
    world = World()
    world.send("hello")
    refusal = world.send(text, reply_to=reply_to)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("conflict", "key")


def test_keys_are_each_persons_own() -> None:
    """On whatever connection."""
    world = World(members=(ADA, BO, Member("c-ada-2", ADA.sender)))
    world.send("hello")
    assert world.send("hello", BO) == Published("tea", "e1", 2, "m2", world.ts)
    again = world.send("hello", Member("c-ada-2", ADA.sender))
    assert isinstance(again, Published)
    assert (again.mid, again.dup) == ("m1", True)


def test_a_key_is_known_for_ten_minutes() -> None:
    """Then it is free for something else, which is known for as long again."""
    world = World()
    world.send("hello")
    world.now += KEYS_SECONDS
    assert isinstance(world.send("hello!"), Refusal)
    world.now += 0.1
    assert world.send("hello!") == Published("tea", "e1", 2, "m2", world.ts)
    world.now += KEYS_SECONDS
    again = world.send("hello!")
    assert isinstance(again, Published)
    assert again.dup


def test_a_key_may_come_again_after_others() -> None:
    """One that was forgotten, and then used anew, is as new as the message under it."""
    world = World()
    world.send("hello", key="k1")
    world.send("hello", key="k2")
    world.now += KEYS_SECONDS + 1
    world.send("hello", key="k1")
    again = world.send("hello", key="k1")
    assert isinstance(again, Published)
    assert (again.off, again.dup) == (3, True)


def test_a_room_knows_a_thousand_keys_of_each_person() -> None:
    """The oldest goes first; others are not touched by it."""
    world = World()
    world.send("hello", BO, "k0")
    for number in range(KEYS_LIMIT + 1):
        world.send(f"{number}", key=f"k{number}")
    first = world.send("0", key="k0")
    assert isinstance(first, Published)
    assert not first.dup
    second = world.send("2", key="k2")
    assert isinstance(second, Published)
    assert second.dup
    bos = world.send("hello", BO, "k0")
    assert isinstance(bos, Published)
    assert bos.dup


def test_people_who_were_quiet_for_long_are_forgotten() -> None:
    """With all their keys, when others speak; those who spoke since are not."""
    world = World()
    for number in range(5):
        member = Member(f"c{number}", Sender(f"p{number}", None))
        world.send("hello", member, "k1")
        world.send("hello", member, "k2")
    world.now += KEYS_SECONDS / 2
    world.send("hello", BO)
    world.now += KEYS_SECONDS / 2 + 1
    world.send("hello")
    assert set(world.room._keys) == {"p-bo", "p-ada"}


# Changing messages


def test_an_edited_message_says_something_else_now() -> None:
    """A page tells when it was edited last; what happened is remembered as it happened."""
    world = World()
    mid = world.say("helo")
    assert world.now_is(mid).edited is None
    world.edit(mid, "hell")
    world.now += 1
    world.edit(mid, "hello")
    one = world.now_is(mid)
    assert (one.message.text, one.message.off, one.edited) == ("hello", 1, world.ts)
    missed = world.missed(0)
    assert missed is not None
    assert [event.text for event in missed if isinstance(event, Message | Edited)] == ["helo", "hell", "hello"]


def test_a_deleted_message_has_no_text_any_more() -> None:
    """Neither in a page, nor in what a resume brings; nor has any of its edits."""
    world = World()
    mid = world.say("secret one")
    other = world.say("fine")
    world.react(mid, BO)
    world.edit(mid, "secret two")
    world.edit(mid, "secret three")
    world.edit(other, "very fine")
    world.delete(mid)
    one = world.now_is(mid)
    assert (one.message.text, one.message.deleted, one.edited, one.reactions) == ("", True, None, {})
    assert one.message.sender == ADA.sender
    missed = world.missed(0)
    assert missed is not None
    assert "secret" not in repr(missed)
    assert "secret" not in repr(world.room.page(None, None, 50))
    assert [event.text for event in missed if isinstance(event, Edited)] == ["", "", "very fine"]
    assert world.now_is(other).message.text == "very fine"
    assert [event.deleted for event in missed if isinstance(event, Message)] == [True, False]


def test_what_is_deleted_stays_so() -> None:
    """It is not there any more, for whatever is done to messages; to send it again is to have sent it."""
    world = World()
    mid = world.say("hello", key="k1")
    world.delete(mid)
    for amend in (Amend("tea", ADA, mid), Amend("tea", ADA, mid, text="x"), Amend("tea", BO, mid, emoji=THUMB)):
        assert world.refusal(amend) == "not_found"
    again = world.send("hello")
    assert isinstance(again, Published)
    assert again.dup


@pytest.mark.parametrize("text", ["hello", None])
def test_messages_of_others_are_not_to_change(text: str | None) -> None:
    """Nor are they to delete; but on another connection one is the same person."""
    world = World(members=(ADA, BO, Member("c-ada-2", ADA.sender)))
    mid = world.say()
    assert world.refusal(Amend("tea", BO, mid, text=text)) == "forbidden"
    world.amend(Amend("tea", Member("c-ada-2", ADA.sender), mid, text=text))


@pytest.mark.parametrize("text", ["hello", None])
def test_messages_can_be_changed_for_a_quarter_of_an_hour(text: str | None) -> None:
    """Reactions have no end; an edit does not prolong it."""
    world = World()
    mid = world.say()
    world.now += AMENDABLE_SECONDS
    world.edit(mid, "hi!")
    world.now += 0.1
    assert world.refusal(Amend("tea", ADA, mid, text=text)) == "expired"
    world.react(mid)


def test_lines_are_nobodys_to_change() -> None:
    """A plain client has no word for it, and its person is gone with the connection."""
    world = World(members=(DI, ADA))
    world.room.publish(Publish("tea", DI, "hello"), "m0", world.ts)
    assert world.refusal(Amend("tea", DI, "m0", text="x")) == "expired"
    world.react("m0", ADA)


@pytest.mark.parametrize("amend", [Amend("tea", ADA, "m9"), Amend("tea", ADA, "m9", emoji=THUMB)])
def test_what_was_never_said_is_not_found(amend: Amend) -> None:
    """Nor what is not remembered any more."""
    world = World()
    world.say()
    assert world.refusal(amend) == "not_found"


def test_what_is_not_remembered_any_more_is_not_found() -> None:
    """Neither the message, nor what became of it."""
    world = World()
    mid = world.say()
    world.edit(mid, "hello")
    for _ in range(RECENT - 1):
        world.say()
    assert world.refusal(Amend("tea", ADA, mid, emoji=THUMB)) == "not_found"
    assert not world.room._amended


def test_reactions_are_counted_by_person() -> None:
    """Of each emoji, those who put it, in their order; the last one takes it away with theirs."""
    world = World()
    mid = world.say()
    world.react(mid, BO)
    world.react(mid, ADA)
    world.react(mid, ADA, "\u2764\ufe0f")
    assert world.now_is(mid).reactions == {THUMB: ("p-bo", "p-ada"), "\u2764\ufe0f": ("p-ada",)}
    world.react(mid, BO, on=False)
    world.react(mid, ADA, "\u2764\ufe0f", on=False)
    assert world.now_is(mid).reactions == {THUMB: ("p-ada",)}


def test_to_react_twice_is_to_react_once() -> None:
    """No event, no number; so is to take away what is not there."""
    world = World()
    mid = world.say()
    assert world.react(mid, on=False) is None
    world.react(mid)
    assert world.react(mid) is None
    assert world.room.off == 2
    assert world.now_is(mid).reactions == {THUMB: ("p-ada",)}


def test_a_message_bears_fifty_kinds_of_emoji() -> None:
    """More of the same are fine, and so is another one where one was taken away."""
    world = World()
    mid = world.say()
    kinds = [chr(0x1F400 + number) for number in range(REACTIONS_LIMIT + 1)]
    for kind in kinds[:-1]:
        world.react(mid, emoji=kind)
    assert world.refusal(Amend("tea", BO, mid, emoji=kinds[-1])) == "too_large"
    world.react(mid, BO, kinds[0])
    world.react(mid, ADA, kinds[1], on=False)
    world.react(mid, BO, kinds[-1])


def test_moderators_delete_whatever_was_said_in_public() -> None:
    """At any time, also lines. They edit nothing; nor is a booth theirs."""
    mo = Member("c-mo", Sender("p-mo", "Mo", "moderator"))
    world = World(members=(ADA, DI, mo))
    mid = world.say()
    world.room.publish(Publish("tea", DI, "hello"), "m0", world.ts)
    world.now += AMENDABLE_SECONDS + 1
    assert world.refusal(Amend("tea", mo, mid, text="x")) == "forbidden"
    assert world.delete(mid, mo) == Deleted("tea", "e1", 3, mid, world.ts, mo.sender)
    world.delete("m0", mo)
    assert [world.now_is(one).message.deleted for one in (mid, "m0")] == [True, True]
    assert world.refusal(Amend("tea", mo, mid)) == "not_found"


def test_who_has_no_seat_removes_what_was_said() -> None:
    """Once."""
    world = World()
    mid = world.say("secret")
    by = Sender("op", "Operator", "admin")
    assert world.room.remove(mid, by, world.ts) == (Deleted("tea", "e1", 2, mid, world.ts, by), Changed("e1", 2))
    for gone in (mid, "m9"):
        refusal = world.room.remove(gone, by, world.ts)
        assert isinstance(refusal, Refusal)
        assert refusal.code == "not_found"
    assert "secret" not in repr(world.missed(0))


# What a store brings back


def stored(off: int, text: str = "hi", *, key: str | None = "k", ts: int = 0, epoch: str = "e0") -> Message:
    return Message("tea", epoch, off, f"s{off}", ts, ADA.sender, text, None, key)


def restored(world: World, *events: Numbered, off: int = 0, keys: Sequence[KnownKey] = ()) -> None:
    off = off or events[-1].off
    world.room.restore(StoredRoom("tea", "Tea", off=off, keys=keys), events, world.ts, world.now)


def test_a_room_goes_on_where_it_was() -> None:
    """With what became of the messages, also of those that came before what it remembers."""
    world = World(Room("tea", "e1"))
    gone = Message("tea", "e0", 6, "s6", world.ts, ADA.sender, "", key="k6", deleted=True)
    changes: list[Numbered] = [
        Edited("tea", "e0", 7, "s5", world.ts, ADA.sender, "five!"),
        Reacted("tea", "e0", 8, "s5", world.ts, BO.sender, THUMB, on=True),
        Reacted("tea", "e0", 9, "s5", world.ts, ADA.sender, THUMB, on=True),
        Reacted("tea", "e0", 10, "s5", world.ts, BO.sender, THUMB, on=False),
        Deleted("tea", "e0", 11, "s6", world.ts, ADA.sender),
        Edited("tea", "e0", 12, "s1", world.ts, ADA.sender, "of long ago"),
    ]
    restored(world, stored(5, "five!", ts=world.ts), gone, *changes)
    assert world.room.first_off == 5
    assert world.now_is("s5").message.text == "five!"
    assert (world.now_is("s5").edited, world.now_is("s5").reactions) == (world.ts, {THUMB: ("p-ada",)})
    assert world.now_is("s6") == Remembered(gone, None, {})
    assert world.say() == "m1"
    assert world.room.off == 13
    assert world.missed(4) == world.missed(4, "e0")
    assert set(world.room._amended) == {"s5"}


def test_what_was_said_before_a_restart_is_as_old_as_it_was() -> None:
    """By the time of day; one that is said to come from the future was said now."""
    world = World(Room("tea", "e1"))
    old, new, future = (world.ts - round(1000 * age) for age in (AMENDABLE_SECONDS + 1, AMENDABLE_SECONDS - 1, -3_600))
    restored(world, stored(1, ts=old), stored(2, ts=new), stored(3, ts=future), stored(4, key=None, ts=future))
    assert world.refusal(Amend("tea", ADA, "s1", text="x")) == "expired"
    assert world.refusal(Amend("tea", ADA, "s4", text="x")) == "expired"
    world.edit("s2", "x")
    world.now += 2
    assert world.refusal(Amend("tea", ADA, "s2", text="x")) == "expired"
    world.edit("s3", "x")
    world.now += AMENDABLE_SECONDS
    assert world.refusal(Amend("tea", ADA, "s3", text="x")) == "expired"


def test_keys_are_known_again() -> None:
    """For the rest of their ten minutes. Where the text was changed, none can be told from another."""
    world = World(Room("tea", "e1"))
    ts = world.ts - 60_000
    said = hash(("hello", None))
    keys = [KnownKey("p-ada", key, "e0", off, f"s{off}", ts, said) for off, key in ((1, "k1"), (2, "k2"))]
    restored(world, off=2, keys=[keys[0], KnownKey("p-ada", "k2", "e0", 2, "s2", ts, None)])
    world.room.join(ADA)
    assert world.send("hello") == Published("tea", "e0", 1, "s1", ts, dup=True, kept="stored")
    assert isinstance(world.send("other"), Refusal)
    again = world.send("whatever", key="k2")
    assert isinstance(again, Published)
    assert again.mid == "s2"
    world.now += KEYS_SECONDS - 59
    assert world.send("hello") == Published("tea", "e1", 3, "m1", world.ts)


@pytest.mark.parametrize(
    ("epoch", "off", "is_known"),
    [
        *(("a", 47, True), ("a", 48, True), ("a", 49, False), ("a", 50, False), ("b", 48, True), ("b", 50, True)),
        *(("b", 52, False), ("c", 48, True), ("c", 51, True), ("c", 52, False), ("d", 48, False), ("d", 0, False)),
    ],
)
def test_positions_of_earlier_numberings(epoch: str, off: int, is_known: bool) -> None:
    """49 and 50 were shown in epoch a, and not stored; nor was 52, in b. c is this one."""
    world = World(Room("tea", "c"), members=())
    restored(world, *(stored(n, epoch="a") for n in (47, 48)), *(stored(n, epoch="b") for n in (49, 50, 51)))
    missed = world.missed(off, epoch)
    assert (missed is not None) is is_known


def test_who_saw_nothing_saw_nothing_else() -> None:
    """In whatever numbering, if all that was said is there: which a store alone can tell."""
    world = World(Room("tea", "c"), members=())
    restored(world, stored(1, epoch="b"), stored(2, epoch="b"))
    assert world.missed(0, "a") == world.missed(0, "c") == [stored(1, epoch="b"), stored(2, epoch="b")]


def test_messages_of_long_ago_are_changed_as_the_store_has_them() -> None:
    """And as they became since; they are not remembered by that."""
    world = World(Room("tea", "e1"))
    restored(world, off=40)
    world.room.join(ADA)
    old = Remembered(stored(5, "old", ts=world.ts - 1000), None, {"x": ["p-bo"]})
    edit, react, delete = (
        Amend("tea", ADA, "s5", text="new"),
        Amend("tea", ADA, "s5", emoji="x"),
        Amend("tea", ADA, "s5"),
    )
    assert world.refusal(edit) == "not_found"
    for number, amend in enumerate((edit, react, react, delete)):
        outcome = world.room.amend(amend, world.ts, world.now, old)
        assert not isinstance(outcome, Refusal)
        assert (outcome[0] is None) is (number == 2)
        if number == 1:
            assert world.room.as_now([old]) == [
                Remembered(stored(5, "new", ts=world.ts - 1000), world.ts, {"x": ("p-bo", "p-ada")})
            ]
    assert world.room.off == 43
    (now,) = world.room.as_now([old])
    assert (now.message.text, now.message.deleted, now.reactions) == ("", True, {})
    outcome = world.room.amend(react, world.ts, world.now, old)
    assert isinstance(outcome, Refusal)
    assert "new" not in repr(world.missed(40))
    elsewhere = Remembered(Message("go", "e0", 1, "s5", world.ts, ADA.sender, "old", key="k"), None, {})
    assert isinstance(world.room.amend(edit, world.ts, world.now, elsewhere), Refusal)
    assert not world.room._amended


def test_it_is_told_what_is_stored() -> None:
    """To who sends it again; of a later message under the key it says nothing."""
    world = World()
    message = world.room.publish(Publish("tea", ADA, "hello", key="k1"), "m0", world.ts)
    world.room.keep_key(Publish("tea", ADA, "hello", key="k1"), "k1", published(message), world.now)
    world.room.note_stored(Message("tea", "e0", 9, "other", 1, ADA.sender, "hello", key="k1"))
    world.room.note_stored(Message("tea", "e1", 9, "line", 1, DI.sender, "hello"))
    again = world.send("hello")
    assert isinstance(again, Published)
    assert (again.kept, again.dup) == ("relayed", True)
    world.room.note_stored(message)
    assert world.send("hello") == Published("tea", "e1", 1, "m0", world.ts, dup=True, kept="stored")


def test_words() -> None:
    """Whatever stands between them."""
    assert words_of("Tea,  TEA & Crème-brûlée!") == {"tea", "crème", "brûlée"}
    world = World()
    for text in ("Green tea", "teapot, green", "tea"):
        world.say(text)
    found = [one.message.text for one in world.room.matching(words_of("TEA green"))]
    assert found == ["Green tea"]
    world.delete("m1")
    assert list(world.room.matching(words_of("green"))) == [world.now_is("m2")]


def test_a_page_is_joined_with_what_is_stored_before_it() -> None:
    """At the offset from which on the room remembers; what is stored after that comes once."""
    one, two, three, four = (Remembered(stored(off), None, {}) for off in range(1, 5))
    page = Page("tea", "e1", [three, four], False)
    back = joined(page, 3, Found([one, two], False), 3, forward=False)
    assert (back.messages, back.more) == ([two, three, four], True)
    back = joined(page, 3, Found([one, two], True), 4, forward=False)
    assert (back.messages, back.more) == ([one, two, three, four], True)
    on = joined(page, 3, Found([one, two, three], True), 3, forward=True)
    assert (on.messages, on.more) == ([one, two, three], True)
    on = joined(page, 3, Found([one, two, three, four], False), 4, forward=True)
    assert (on.messages, on.more) == ([one, two, three, four], False)
    on = joined(page, 3, Found([one], True), 4, forward=True)
    assert (on.messages, on.more) == ([one], True)


# Pages


def test_a_page_has_the_newest_messages_oldest_first() -> None:
    """Of the ten, those before an offset or after one; `more` is about that side."""
    world = World()
    for _ in range(10):
        world.say()
    assert world.page(limit=3) == (["m8", "m9", "m10"], True)
    assert world.page(limit=10) == ([f"m{n}" for n in range(1, 11)], False)
    assert world.page(before=8, limit=3) == (["m5", "m6", "m7"], True)
    assert world.page(before=3, limit=3) == (["m1", "m2"], False)
    assert world.page(before=4, limit=3) == (["m1", "m2", "m3"], False)
    assert world.page(before=1) == ([], False)
    assert world.page(after=0, limit=3) == (["m1", "m2", "m3"], True)
    assert world.page(after=7, limit=3) == (["m8", "m9", "m10"], False)
    assert world.page(after=10) == ([], False)
    assert world.page(after=2**53) == ([], False)


def test_a_page_counts_messages_not_events() -> None:
    """Changes are folded into what they change."""
    world = World()
    for _ in range(3):
        world.react(world.say())
    assert world.page(limit=2) == (["m2", "m3"], True)
    assert world.page(before=5, limit=2) == (["m1", "m2"], False)
    assert world.page(before=6, limit=2) == (["m2", "m3"], True)
    assert world.page(after=1, limit=5) == (["m2", "m3"], False)


def test_a_page_holds_only_so_much_text() -> None:
    """As the messages are now, edited ones included; at least one, however long."""
    world = World()
    fifth = "x" * (PAGE_CHARACTERS // 5)
    for _ in range(7):
        world.say(fifth)
    assert world.page(limit=100) == (["m3", "m4", "m5", "m6", "m7"], True)
    assert world.page(after=0, limit=100) == (["m1", "m2", "m3", "m4", "m5"], True)
    world.edit("m7", fifth + "x")
    assert world.page(limit=100) == (["m4", "m5", "m6", "m7"], True)
    world.edit("m7", "x" * 2 * PAGE_CHARACTERS)
    assert world.page(limit=100) == (["m7"], True)
    world.delete("m7")
    assert world.page(limit=100) == (["m2", "m3", "m4", "m5", "m6", "m7"], True)


def test_a_page_of_an_empty_room_is_empty() -> None:
    """And there is no more."""
    assert World().page() == ([], False)


# In passing


def test_a_crowd_is_not_told_who_writes() -> None:
    """Up to fifty members are."""
    crowd = [Member(f"c{number}", Sender(f"p{number}", None, plain=True)) for number in range(INTIMATE - 1)]
    room = World(members=(ADA, *crowd)).room
    assert room.is_intimate
    assert room.show(Show("tea", ADA, on=True)) == TypingShown("tea", ADA.sender, on=True)
    assert room.show(Show("tea", ADA, on=False)) == TypingShown("tea", ADA.sender, on=False)
    room.join(BO)
    assert room.show(Show("tea", ADA, on=True)) is None


def test_nobody_has_read_more_than_was_said() -> None:
    """Whatever a client says."""
    world = World()
    world.say()
    assert world.room.show(Show("tea", BO, off=1)) == ReadShown("tea", BO.sender, 1)
    assert world.room.show(Show("tea", BO, off=2**53)) == ReadShown("tea", BO.sender, 1)


# Booths


def booth(*members: Member, stamps: bool = True) -> World:
    """Where two have met."""
    world = World(Booth("b1", "e1", KEYRING), ())
    meet(world, *members, stamps=stamps)
    return world


def meet(world: World, one: Member = ADA, other: Member = BO, *, stamps: bool = True) -> None:
    """As an engine does: those who were there stay."""
    assert isinstance(world.room, Booth)
    world.room.begin((one.person, other.person), stamps=stamps)
    for member in (one, other):
        world.room.join(member)


def local(person: str, booth: str = "b1") -> str:
    return KEYRING.local_id(booth, person)


def test_nobody_has_a_lasting_id_in_a_booth() -> None:
    """Nor is told apart by who the host app says they are: events, lists and pages know the ids of this booth alone."""
    user = Member("c-u", Sender("u-ada", "Ada", "user"))
    world = booth(user, BO)
    ada, bo = Sender(local("u-ada"), "Ada"), Sender(local("p-bo"), "Bo")
    room = world.room
    assert room.here() == Here("b1", 2, [ada, bo])
    mid = world.say("hello", user)
    assert world.react(mid, BO) == Reacted("b1", "e1", 2, mid, world.ts, bo, THUMB, on=True)
    assert world.now_is(mid).message.sender == ada
    assert world.now_is(mid).reactions == {THUMB: (local("p-bo"),)}
    assert room.show(Show("b1", BO, on=True)) == TypingShown("b1", bo, on=True)
    assert room.show(Show("b1", BO, off=1)) == ReadShown("b1", bo, 1)
    assert room.rename(named("B.", BO)) == MemberRenamed("b1", Sender(local("p-bo"), "B."))
    assert room.leave("c-u", lost=True) == MemberLeft("b1", ada, 1, "lost", in_booth=True)


def test_messages_in_a_booth_are_changed_by_who_said_them() -> None:
    """Under the ids of the booth."""
    world = booth()
    mid = world.say("helo")
    assert world.refusal(Amend("b1", BO, mid, text="x")) == "forbidden"
    event = world.edit(mid, "hello")
    assert isinstance(event, Edited)
    assert event.sender == Sender(local("p-ada"), "Ada")


def test_two_of_the_same_name_may_meet() -> None:
    """Nobody chose whom they meet."""
    assert len(booth(ADA, Member("c-x", Sender("p-x", "Ada"))).room.members) == 2


def test_a_plain_member_of_a_booth_is_shown_as_such() -> None:
    """To one who can see it."""
    world = booth(DI, ADA)
    assert world.room.here().members[0] == Sender(local("p-di"), "di", plain=True)


def test_a_booth_remembers_fifty_events() -> None:
    """While its two are together."""
    world = booth()
    for _ in range(RECENT_IN_BOOTH + 1):
        world.say()
    missed = world.missed(1)
    assert missed is not None
    assert len(missed) == RECENT_IN_BOOTH
    assert world.missed(0) is None


def test_nothing_of_those_before_is_left_when_others_meet() -> None:
    """Numbers go on, and that is all: no text, no key, no reaction, no id."""
    world = booth(DI, ADA)
    mid = world.say("secret", ADA, "k1")
    world.edit(mid, "secret!")
    world.react(mid)
    room = world.room
    assert isinstance(room, Booth)
    room.leave("c-ada")
    room.part()
    meet(world, DI, BO)
    assert room.off == 3
    assert room.seat(listed=False) == Seat("b1", "e1", 3, 2)
    assert room.page(None, None, 50).messages == []
    assert world.missed(0) is None
    assert world.missed(3) == []
    assert world.refusal(Amend("b1", ADA, mid, text="x")) == "not_found"
    assert room.ids.keys() == {"p-di", "p-bo"}
    meet(world, DI, ADA)
    answer = world.send("another", ADA, "k1")
    assert isinstance(answer, Published)
    assert not answer.dup


def test_what_one_says_alone_is_not_remembered() -> None:
    """Whoever comes did not hear it."""
    world = World(Booth("b1", "e1", KEYRING), (DI,))
    world.say("anybody?", DI)
    assert world.room.page(None, None, 50).messages == []
    meet(world, DI, ADA)
    assert world.room.page(None, None, 50).messages == []
    assert world.missed(1) == []


def chained(message: Message | Edited, members: tuple[str, str], sender: str, previous: str) -> str:
    """The stamp, from the secret and HMAC-SHA256 alone."""
    digest = hashlib.sha256(message.text.encode()).hexdigest()
    parts = ["b1", *sorted(members), message.mid, f"{message.off}", sender, f"{message.ts}", digest, previous]
    data = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    key = hmac.digest(SECRET, b"parlour stamp", "sha256")
    return "k1." + base64.urlsafe_b64encode(hmac.digest(key, data, "sha256")[:24]).decode().rstrip("=")


def test_each_message_proves_all_before_it() -> None:
    """Edits as well; with the lasting ids, so that the server can tell later who it was."""
    world = booth()
    first = world.say("hello")
    world.react(first, BO)
    world.say("h\u00e9", BO)
    world.edit(first, "hello!")
    missed = world.missed(0)
    assert missed is not None
    previous = ""
    for event, sender in zip(missed, ["p-ada", "p-bo", "p-bo", "p-ada"], strict=True):
        if isinstance(event, Message | Edited):
            assert event.stamp == chained(event, ("p-ada", "p-bo"), sender, previous)
            previous = event.stamp
    assert previous


def test_the_chain_begins_anew_with_each_pair() -> None:
    """What others said before is no part of it."""
    world = booth(DI, ADA)
    world.say("before")
    room = world.room
    assert isinstance(room, Booth)
    room.leave("c-ada")
    room.part()
    meet(world, DI, BO)
    world.say("hello", BO)
    missed = world.missed(1)
    assert missed is not None
    (message,) = missed
    assert isinstance(message, Message)
    assert message.stamp == chained(message, ("p-di", "p-bo"), "p-bo", "")


def test_a_deleted_message_has_no_stamp() -> None:
    """With it, a guess at the text could be checked. The next one goes on from it all the same."""
    world = booth()
    first = world.say("secret")
    missed = world.missed(0)
    assert missed is not None
    (before,) = missed
    assert isinstance(before, Message)
    world.edit(first, "secret!")
    world.delete(first)
    missed = world.missed(0)
    assert missed is not None
    assert [event.stamp for event in missed if isinstance(event, Message | Edited)] == [None, None]


def test_where_nobody_can_see_stamps_none_are_made() -> None:
    """Between two plain clients, and where one is alone; nothing is remembered either."""
    world = World(Booth("b1", "e1", KEYRING), (DI,))
    room = world.room
    assert isinstance(room, Booth)
    alone = room.publish(Publish("b1", DI, "anybody?"), "m1", 1)
    assert alone == Message("b1", "e1", 1, "m1", 1, DI.sender, "anybody?")
    meet(world, DI, CY, stamps=False)
    together = room.publish(Publish("b1", DI, "hello"), "m2", 2)
    assert together == Message("b1", "e1", 2, "m2", 2, DI.sender, "hello")
    assert room.ids == {}
    assert room.page(None, None, 50).messages == []


def test_the_members_of_a_booth_come_and_go_as_such() -> None:
    """A client that is told by letters need not be told twice."""
    room = Booth("b1", "e1", KEYRING)
    assert room.join(DI) == MemberJoined("b1", DI.sender, 1, in_booth=True)
    assert room.leave("c-di") == MemberLeft("b1", DI.sender, 0, in_booth=True)
