"""What an engine promises with a store: what is answered survives, nobody waits who need not, and a restart is nothing
special."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from parlour.core.events import (
    Amend,
    Answer,
    Changed,
    Claim,
    Claimed,
    Deleted,
    Enter,
    Fetch,
    Here,
    Look,
    Matches,
    Member,
    Message,
    Page,
    Position,
    Publish,
    Published,
    RoomList,
    RoomShown,
    Search,
    Seat,
    Sender,
)
from parlour.core.records import Found
from parlour.core.room import AMENDABLE_SECONDS, KEYS_SECONDS, RECENT
from parlour.engine.memory import MemoryEngine
from parlour.errors import Refusal
from parlour.store import CONFIRM_SECONDS, QUEUE_BYTES, Confirmed, Unavailable
from parlour.store.sql import SqlStore
from tests.engine.conftest import Build
from tests.engine.house import Answers, House, plain, v1

THUMB = "\U0001f44d"
MODERATOR = Sender("p-mod", "Mo", "moderator")


@pytest.fixture
def house(build: Build) -> House:
    return build()


def refused(answers: Answers) -> tuple[str, bool]:
    """The code, and whether one may try again."""
    (answer,) = answers
    assert isinstance(answer, Refusal)
    return answer.code, answer.retry


def numbers(first: int, last: int) -> list[str]:
    return [f"{number}" for number in range(first, last + 1)]


# What was answered survives


def test_what_was_answered_is_there_after_a_restart(house: House) -> None:
    """Messages, and what became of them; the numbering goes on, under another name."""
    epoch = house.enter(v1("ada")).epoch
    first, second, third = house.post("ada", "one", "two", "three")
    assert {first.kept, second.kept, third.kept} == {"stored"}
    house.amend("ada", first.mid, "one!")
    house.amend("ada", second.mid)
    house.amend("ada", third.mid, emoji=THUMB)
    before = house.ask(house.engine.fetch, Fetch("public", None, None, 50))
    house.restart()
    seat = house.enter(v1("bo"))
    assert seat.epoch != epoch
    assert seat.off == 6
    after = house.ask(house.engine.fetch, Fetch("public", None, None, 50))
    assert isinstance(before, Page)
    assert isinstance(after, Page)
    assert after.messages == before.messages
    assert house.say("bo", "four", key="k").off == 7


def test_what_was_sent_before_a_restart_is_not_said_again(house: House) -> None:
    """Under the same key it is the same message, for ten minutes; another one is refused. One whose text was changed
    since is not compared."""
    house.enter(v1("ada"))
    one, two = house.post("ada", "one", "two")
    house.amend("ada", two.mid, "two!")
    house.wait(KEYS_SECONDS / 2)
    house.restart()
    house.wait(KEYS_SECONDS / 2)
    house.enter(v1("ada/2"))
    again = house.say("ada/2", "one", key="one")
    assert again == Published("public", one.epoch, one.off, one.mid, one.ts, dup=True, kept="stored")
    assert house.say("ada/2", "two", key="two").mid == two.mid
    assert house.refusal(house.publish("ada/2", "other", key="one")) == "conflict"
    assert house.guests["ada/2"].messages == []
    house.wait(0.1)
    late = house.say("ada/2", "one", key="one")
    assert (late.off, late.dup, late.kept) == (4, False, "stored")


def test_own_messages_can_be_changed_after_a_restart(house: House) -> None:
    """As long as before."""
    house.enter(v1("ada"))
    mid = house.say("ada", "helo", key="k").mid
    house.wait(AMENDABLE_SECONDS - 10)
    house.restart()
    for name in ("ada/2", "bo"):
        house.enter(v1(name))
    assert house.refusal(house.amend("bo", mid, "x")) == "forbidden"
    assert isinstance(house.amend("ada/2", mid, "hello"), Changed)
    house.wait(10.1)
    assert house.refusal(house.amend("ada/2", mid)) == "expired"


def test_the_time_of_day_may_jump(house: House) -> None:
    """An hour forward and back: nothing expires by it, and the order stays."""
    house.enter(v1("ada"))
    sent: dict[str, str] = {}  # mids by text
    for shift in (3_600_000, -3_600_000, 0):
        house.utc_shift = shift
        sent[f"{shift}"] = house.say("ada", f"{shift}", key=f"{shift}").mid
        assert [house.say("ada", text, key=text).mid for text in sent] == list(sent.values())
    assert isinstance(house.amend("ada", sent["-3600000"], "changed"), Changed)
    house.restart()
    house.enter(v1("ada/2"))
    assert house.page()[0] == ["3600000", "changed", "0"]
    assert house.say("ada/2", "3600000", key="3600000").mid == sent["3600000"]
    assert isinstance(house.amend("ada/2", sent["3600000"], "changed, too"), Changed)


# What was missed


def test_a_restart_is_nothing_special_to_who_comes_back(house: House) -> None:
    """It gets all that it missed, from before the restart and after it. Who saw nothing yet, too."""
    epoch = house.enter(v1("ada")).epoch
    house.post("ada", *numbers(1, 3))
    house.restart()
    house.enter(v1("bo"))
    house.post("bo", "4")
    for number, off in enumerate((0, 1, 3)):
        seat = house.enter(v1(f"cy/{number}"), since=Position("public", epoch, off))
        assert (seat.recovered, seat.off) == (True, off)
        assert [event.text for event in seat.missed if isinstance(event, Message)] == numbers(off + 1, 4)
    assert not house.enter(v1("di"), since=Position("public", "x", 2)).recovered


def test_who_saw_nothing_missed_all(house: House) -> None:
    """Also where nothing was said in the numbering that it came to."""
    epoch = house.enter(v1("ada")).epoch
    house.restart()
    house.enter(v1("bo"))
    house.post("bo", "1")
    seat = house.enter(v1("ada/2"), since=Position("public", epoch, 0))
    assert (seat.recovered, [event.off for event in seat.missed]) == (True, [1])


def test_who_saw_what_was_never_stored_is_told_so(house: House) -> None:
    """3 was shown, and the server killed before it was stored: another message has that place now. Nothing is pretended
    to who saw the first one; who did not missed only the other."""
    epoch = house.enter(v1("ada")).epoch
    house.post("ada", *numbers(1, 2))
    with house.locked():
        house.call(house.engine.publish, Publish("public", v1("ada"), "lost", key="lost"))
        assert house.guests["ada"].texts[-1] == "lost"
        house.stop()
    house.restart()
    house.enter(v1("bo"))
    assert house.post("bo", "3")[0].off == 3
    saw_two = house.enter(v1("cy"), since=Position("public", epoch, 2))
    assert (saw_two.recovered, [event.off for event in saw_two.missed]) == (True, [3])
    saw_three = house.enter(v1("di"), since=Position("public", epoch, 3))
    assert (saw_three.recovered, saw_three.off, saw_three.missed) == (False, 3, ())


def test_who_comes_back_after_several_restarts(house: House) -> None:
    """Its numbering led to the next one, and that to the last."""
    first = house.enter(v1("ada")).epoch
    house.post("ada", *numbers(1, 2))
    house.restart()
    second = house.enter(v1("ada/2"), since=Position("public", first, 1)).epoch
    house.post("ada/2", "3")
    house.restart()
    house.enter(v1("bo"))
    house.post("bo", "4")
    for number, (epoch, off) in enumerate([(first, 1), (first, 2), (second, 1), (second, 2), (second, 3)]):
        seat = house.enter(v1(f"cy/{number}"), since=Position("public", epoch, off))
        assert (seat.recovered, [event.off for event in seat.missed]) == (True, list(range(off + 1, 5)))
    assert not house.enter(v1("di"), since=Position("public", first, 3)).recovered


class Counting(SqlStore):
    """Counts what is read."""

    reads = 0

    async def page(self, *args: Any, **options: Any) -> Found:
        self.reads += 1
        return await super().page(*args, **options)

    async def recent(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        return await super().recent(*args, **options)

    async def missed(self, *args: Any, **options: Any) -> Any:
        self.reads += 1
        return await super().missed(*args, **options)


def test_nothing_is_read_for_who_comes_back(build: Build) -> None:
    """Once for each room, at the start; not for each client, nor for the newest page."""
    house = build(store=Counting)
    epoch = house.enter(v1("ada")).epoch
    house.post("ada", *numbers(1, 20))
    house.restart()
    assert isinstance(house.store, Counting)
    assert house.store.reads == 2
    for number in range(50):
        house.enter(v1(f"m{number}"), since=Position("public", epoch, number % 20))
    house.page(limit=10)
    assert house.store.reads == 2


# Acks


def test_nobody_who_hears_it_waits_for_the_store(house: House) -> None:
    """While it can't store, a message is heard at once. Who said it is told after five seconds that it is not
    confirmed, and hears of it by sending it again: it is not said twice."""
    house.enter(v1("ada"))
    house.enter(v1("bo"))
    send = partial(house.call, house.engine.publish, Publish("public", v1("ada"), "hello", key="k"))
    with house.locked():
        first = send()
        assert house.guests["bo"].texts == ["hello"]
        house.until(lambda: bool(first), advancing=0.1)
        assert house.clock.now >= CONFIRM_SECONDS
        assert refused(first) == ("unavailable", True)
        again = send()
        assert again == []
        house.until(lambda: bool(again), advancing=0.1)
        assert refused(again) == ("unavailable", True)
        last = send()
        assert last == []
    house.until(lambda: bool(last), advancing=0.1)
    (message,) = house.guests["bo"].messages
    assert last == [Published("public", message.epoch, 1, message.mid, message.ts, dup=True, kept="stored")]
    assert house.guests["ada"].messages == [message]
    assert send() == last
    assert house.refusal(house.publish("ada", "another", key="k")) == "conflict"


def test_a_repeat_waits_with_the_first_one(house: House) -> None:
    """As when the connection was lost meanwhile: both hear of it once it is stored."""
    house.enter(v1("ada"))
    send = partial(house.call, house.engine.publish, Publish("public", v1("ada"), "hello", key="k"))
    first, again = send(), send()
    assert first == again == []
    house.until(lambda: bool(first and again))
    assert [(one.off, one.dup, one.kept) for one in (*first, *again) if isinstance(one, Published)] == [
        (1, False, "stored"),
        (1, True, "stored"),
    ]


def test_changes_are_answered_like_messages(house: House) -> None:
    """Heard at once, confirmed once they are stored; a reaction that is there already is not confirmed sooner."""
    house.enter(v1("ada"))
    mid = house.say("ada", "helo", key="k").mid
    react = partial(house.call, house.engine.amend, Amend("public", v1("ada"), mid, emoji=THUMB))
    with house.locked():
        edit = house.call(house.engine.amend, Amend("public", v1("ada"), mid, text="hello"))
        first = react()
        assert [type(event).__name__ for event in house.guests["ada"].heard] == ["Message", "Edited", "Reacted"]
        house.until(lambda: bool(edit and first), advancing=0.1)
        assert refused(edit) == refused(first) == ("unavailable", True)
        again = react()
        assert again == []
    house.until(lambda: bool(again), advancing=0.1)
    epoch = house.guests["ada"].seats["public"].epoch
    assert again == react() == [Changed(epoch, 3)]
    delete = house.call(house.engine.amend, Amend("public", v1("ada"), mid))
    assert delete == []
    house.until(lambda: bool(delete))
    assert delete == [Changed(epoch, 4)]


def test_what_the_store_has_no_room_for_is_relayed(house: House) -> None:
    """And what it can't hold: the chat goes on, and the answer says so, also the second time."""
    house.enter(v1("ada"))
    for text in ("x" * QUEUE_BYTES, "lone \ud800"):
        for dup in (False, True):
            published = house.say("ada", text, key=text[:10])
            assert (published.kept, published.dup) == ("relayed", dup)
    assert house.say("ada", "fine", key="k").kept == "stored"
    assert [len(text) for text in house.guests["ada"].texts] == [QUEUE_BYTES, 6, 4]


def test_a_line_that_nobody_waits_for_takes_no_object(house: House) -> None:
    """One callback serves all lines of a room; they are stored like everything else."""
    taken: list[Confirmed] = []

    class Noting(SqlStore):
        def keep(self, event: Any, done: Confirmed) -> bool:
            taken.append(done)
            return super().keep(event, done)

    house._make_store = Noting
    house.restart()
    house.join("bo")
    answers: list[Answer | Refusal] = []
    for number in range(10):
        line = Publish("public", Member("bo", Sender("p-bo", "bo", plain=True)), f"{number}")
        house.engine.publish(line, lambda answer, re: answers.append(answer))
    assert len(answers) == 10
    assert len(taken) == 10
    assert len(set(map(id, taken))) == 1
    house.restart()
    assert house.page() == (numbers(0, 9), False)


def test_who_waits_when_the_server_stops_is_told(house: House) -> None:
    """Nobody knows whether it will be stored; nor when it is sent once more."""
    house.enter(v1("ada"))
    publish = Publish("public", v1("ada"), "hello", key="k")
    with house.locked():
        first = house.call(house.engine.publish, publish)
        house.stop()
    assert refused(first) == ("unavailable", True)
    house.enter(v1("ada/2"))
    assert refused(house.call(house.engine.publish, replace(publish, member=v1("ada/2")))) == ("unavailable", True)
    assert house.say("ada/2", "more", key="k2").kept == "relayed"


def test_booths_never_reach_the_store(house: House) -> None:
    """Neither what is said there, nor what becomes of it."""
    booth = house.meet("ada", "bo")
    mid = house.say("ada", "ours", key="k").mid
    house.amend("ada", mid, "ours alone")
    house.amend("bo", mid, emoji=THUMB)
    house.find("cy")
    assert house.say("cy", "anybody?").kept == "relayed"
    assert house.store is not None
    assert house.store.stats().queued == 0
    house.order_nothing(partial(house.engine.open_room, RoomShown("tea", 0, "Tea")))
    house.stop()
    assert house.file is not None
    with closing(sqlite3.connect(house.file)) as database:
        assert database.execute("SELECT count(*) FROM events").fetchone() == (0,)
    assert booth.encode() not in house.file.read_bytes()


# History


@pytest.fixture
def long(build: Build) -> House:
    """A house where more was said in public than the room remembers: 1 to 1,100, by ada."""
    house = build()
    house.enter(v1("ada"))
    house.post("ada", *numbers(1, RECENT + 100))
    return house


@pytest.mark.parametrize("restarts", [False, True])
def test_pages_go_back_to_the_beginning(long: House, restarts: bool) -> None:
    """Whatever part the room remembers: no message is missing, none comes twice, and `more` is right at both ends."""
    if restarts:
        long.restart()
    last = RECENT + 100
    everything = numbers(1, last)
    dice = random.Random(5)
    edges = [1, 2, 99, 100, 101, 102, 103, 150, last - 1, last, last + 1, *(dice.randint(1, last) for _ in range(10))]
    for off in edges:
        for limit in (1, 2, 50, 100):
            older = everything[: off - 1]
            assert long.page(before=off, limit=limit) == (older[-limit:], len(older) > limit)
            newer = everything[off:]
            assert long.page(after=off, limit=limit) == (newer[:limit], len(newer) > limit)
    assert long.page(limit=100) == (everything[-100:], True)
    assert long.page(after=0, limit=2) == long.page(after=-5, limit=2) == (["1", "2"], True)
    assert long.page(before=1) == long.page(before=-5) == ([], False)


def test_a_page_holds_so_much_text(build: Build) -> None:
    """Also where a part of it comes from the store; one message always fits."""
    house = build()
    house.enter(v1("ada"))
    house.post("ada", *(f"{number} " + 30_000 * "x" for number in range(2)), "2 x", *numbers(1, RECENT - 1))
    texts, more = house.page(before=4, limit=10)
    assert ([text[0] for text in texts], more) == (["1", "2"], True)
    texts, more = house.page(after=0, limit=10)
    assert ([text[0] for text in texts], more) == (["0"], True)


def test_what_was_not_stored_leaves_a_gap_and_nothing_else(house: House) -> None:
    """After a restart the room remembers what comes after it, and pages go on before it."""
    epoch = house.enter(v1("ada")).epoch
    house.post("ada", *numbers(1, 2))
    assert house.say("ada", "lone \ud800", key="odd").kept == "relayed"
    house.post("ada", *numbers(4, 5))
    house.restart()
    assert house.page() == (["1", "2", "4", "5"], False)
    assert house.page(limit=3) == (["2", "4", "5"], True)
    assert house.page(after=1, limit=2) == (["2", "4"], True)
    assert house.enter(v1("bo"), since=Position("public", epoch, 3)).recovered
    assert not house.enter(v1("cy"), since=Position("public", epoch, 2)).recovered


def test_messages_of_long_ago_can_be_changed(long: House) -> None:
    """Their senders' within a quarter of an hour; reactions, and deletions by moderators, at any time."""
    long.enter(v1("bo"))
    long.enter(Member("mo", MODERATOR))
    mids = [one.mid for one in _all(long, 1, 4)]
    epoch = long.guests["bo"].seats["public"].epoch
    assert long.amend("ada", mids[0], "one") == Changed(epoch, RECENT + 101)
    assert long.refusal(long.amend("bo", mids[1], "two")) == "forbidden"
    assert long.refusal(long.amend("bo", "m-never", "two")) == "not_found"
    assert long.amend("bo", mids[1], emoji=THUMB) == Changed(epoch, RECENT + 102)
    assert long.amend("bo", mids[1], emoji=THUMB) == Changed(epoch, RECENT + 102)
    assert long.amend("ada", mids[1], emoji=THUMB) == Changed(epoch, RECENT + 103)
    assert long.amend("ada", mids[2]) == Changed(epoch, RECENT + 104)
    long.wait(AMENDABLE_SECONDS + 1)
    assert long.refusal(long.amend("ada", mids[3], "four")) == "expired"
    assert long.amend("mo", mids[3]) == Changed(epoch, RECENT + 105)
    assert isinstance(long.guests["bo"].heard[-1], Deleted)
    assert long.page(after=0, limit=4) == (["one", "2", "", ""], True)
    assert [one.text for one in _all(long, 1, 4)] == ["one", "2", "", ""]
    reactions = long.order(partial(long.engine.message, mids[1]))
    assert isinstance(reactions, Matches)
    assert {emoji: list(people) for emoji, people in reactions.messages[0].reactions.items()} == {
        THUMB: ["p-bo", "p-ada"]
    }
    for mid in mids[2:]:
        assert long.refusal(long.amend("mo", mid)) == "not_found"
        assert long.refusal(long.amend("bo", mid, emoji=THUMB)) == "not_found"
        assert long.refusal(long.order(partial(long.engine.remove, "public", mid, MODERATOR))) == "not_found"
    assert isinstance(long.order(partial(long.engine.remove, "public", mids[1], MODERATOR)), Changed)
    assert long.refusal(long.order(partial(long.engine.remove, "tea", mids[0], MODERATOR))) == "not_found"


def _all(house: House, first: int, last: int) -> list[Message]:
    page = house.ask(house.engine.fetch, Fetch("public", None, first - 1, last - first + 1))
    assert isinstance(page, Page)
    return [one.message for one in page.messages]


def test_a_change_counts_before_it_is_stored(long: House) -> None:
    """While nothing can be stored, a message of long ago that was deleted has no text, for whoever asks for it."""
    long.enter(v1("bo"))
    secret, other = (one.mid for one in _all(long, 1, 2))
    with long.locked():
        changes = [
            long.call(long.engine.amend, amend)
            for amend in (
                Amend("public", v1("ada"), secret),
                Amend("public", v1("ada"), other, text="other"),
                Amend("public", v1("ada"), other, emoji=THUMB),
            )
        ]
        long.until(lambda: len(long.guests["bo"].heard) == 3)
        assert long.page(after=0, limit=2) == (["", "other"], True)
        assert long.page(before=3) == (["", "other"], False)
        assert long.refusal(long.amend("ada", secret, "x")) == "not_found"
        assert long.refusal(long.order(partial(long.engine.message, secret))) == "not_found"
        found = long.ask(long.engine.search, Search("1", "public", 100))
        assert isinstance(found, Matches)
        assert [one.message.mid for one in found.messages] == []
        again = long.ask(long.engine.search, Search("2", "public", 100))
        assert isinstance(again, Matches)
        assert [one.message.text for one in again.messages] == ["other"]
    long.until(lambda: all(changes), advancing=0.1)


def test_one_who_left_meanwhile_changes_nothing(long: House) -> None:
    """The store has found the message, and nobody is there who wants it changed."""
    mid = _all(long, 1, 1)[0].mid
    answers = long.call(long.engine.amend, Amend("public", v1("ada"), mid, text="x"))
    assert answers == []
    long.leave("ada")
    long.until(lambda: bool(answers))
    assert long.refusal(answers[0]) == "not_member"
    assert long.page(after=0, limit=1)[0] == ["1"]


def test_no_page_has_a_gap_where_the_store_is_behind(build: Build) -> None:
    """What the room does not remember any more, and the store not yet, is asked for again later."""
    house = build()
    house.enter(v1("ada"))
    first = house.say("ada", "0", key="0")
    with house.locked():
        waiting = [
            house.call(house.engine.publish, Publish("public", v1("ada"), text, key=text))
            for text in numbers(1, RECENT + 10)
        ]
        assert house.page(limit=2)[0] == numbers(RECENT + 9, RECENT + 10)
        for fetch in (Fetch("public", 20, None, 50), Fetch("public", None, 0, 50)):
            assert refused([house.ask(house.engine.fetch, fetch)]) == ("unavailable", True)
        assert refused([house.amend("ada", first.mid, emoji=THUMB)]) == ("unavailable", True)
        assert house.page(limit=2, room="tea") == ([], False)
    house.until(lambda: all(waiting), advancing=0.1)
    assert house.page(before=20)[0] == numbers(0, 18)
    assert isinstance(house.amend("ada", first.mid, emoji=THUMB), Changed)


class Blind(SqlStore):
    """Can't be read, and looks so only once it was opened."""

    async def page(self, *args: Any, **options: Any) -> Any:
        raise Unavailable("it is away")

    find = search = page


def test_what_can_not_be_read_is_refused(build: Build) -> None:
    """One may try again. What the room remembers is there all the same."""
    house = build(store=Blind)
    house.enter(v1("ada"))
    house.post("ada", *numbers(1, RECENT + 5))
    assert house.page(limit=1) == ([f"{RECENT + 5}"], True)
    for answer in (
        house.ask(house.engine.fetch, Fetch("public", 3, None, 50)),
        house.ask(house.engine.search, Search("1", None, 50)),
        house.amend("ada", "m-old", "x"),
        house.order(partial(house.engine.message, "m-old")),
        house.order(partial(house.engine.remove, "public", "m-old", MODERATOR)),
    ):
        assert refused([answer]) == ("unavailable", True)


def test_a_search_finds_nothing_of_archived_rooms(house: House) -> None:
    """Whose messages take no place from others' either."""
    house.enter(v1("ada"))
    house.enter(v1("ada"), "tea")
    house.post("ada", "green 1", room="public")
    house.wait(1.0)
    house.post("ada", *(f"green {number}" for number in range(2, 5)), room="tea")
    assert house.store is not None
    house.run(house.store.change_room("tea", archived=True))
    house.order_nothing(partial(house.engine.close_room, "tea"))
    found = house.ask(house.engine.search, Search("green", None, 2))
    assert isinstance(found, Matches)
    assert ([one.message.text for one in found.messages], found.more) == (["green 1"], False)


# Rooms


def test_rooms_are_those_of_the_store(house: House) -> None:
    """With their titles and modes; an archived one is not there, and comes back as it was."""
    house.join("ada", "tea")
    house.post("ada", "one")
    assert house.store is not None
    house.run(house.store.change_room("public", title="All", locked=True, slow_ms=2_000))
    house.run(house.store.change_room("tea", archived=True))
    house.restart()
    assert house.ask(house.engine.look, Look(None)) == RoomList([RoomShown("public", 0, "All", True, 2_000)])
    assert house.refusal(house.try_to_enter(plain("bo"), "tea")) == "not_found"
    house.run(house.store.change_room("tea", archived=False))
    entering = _opened_then(house, RoomShown("tea", 0, "Tea"), "bo")
    house.until(lambda: bool(entering))
    (seat,) = entering
    assert isinstance(seat, Seat)
    assert (seat.off, seat.count) == (1, 1)
    assert house.page(room="tea") == (["one"], False)
    assert house.post("bo", "two")[0].off == 2


def test_a_new_room_can_be_entered_at_once(house: House) -> None:
    """Who does so while it is looked up waits for that. What is said there is kept."""
    assert house.store is not None
    house.run(house.store.make_room("go", "Go"))
    entering = _opened_then(house, RoomShown("go", 0, "Go"), "ada")
    house.until(lambda: bool(entering))
    assert isinstance(entering[0], Seat)
    assert house.post("ada", "hello")[0].kept == "stored"
    house.restart()
    assert house.page(room="go") == (["hello"], False)


def test_a_room_is_closed_while_it_is_opened(house: House) -> None:
    """What was asked for last counts."""
    assert house.store is not None
    house.run(house.store.make_room("go", "Go"))

    def both() -> None:
        house.engine.open_room(RoomShown("go", 0, "Go"))
        house.engine.close_room("go")

    house.order_nothing(both)
    assert house.refusal(house.try_to_enter(plain("ada"), "go")) == "not_found"


def test_a_room_that_the_store_does_not_know_is_not_opened(house: House) -> None:
    """Nothing said there would survive, and nobody would know."""
    house.order_nothing(partial(house.engine.open_room, RoomShown("go", 0, "Go")))
    assert house.refusal(house.try_to_enter(plain("ada"), "go")) == "not_found"


def _opened_then(house: House, shown: RoomShown, name: str) -> Answers:
    house.order_nothing(partial(house.engine.open_room, shown))
    guest = house.guest(plain(name))
    return house.call(house.engine.enter, Enter(shown.room, guest.member), guest)


def test_what_waits_is_not_lost_where_a_room_is_closed(house: House) -> None:
    """And opened again: the numbers that it took are not given twice."""
    house.join("ada", "tea")
    with house.locked():
        said = house.call(house.engine.publish, Publish("tea", Member("ada", Sender("p-ada", "ada")), "one", key="k"))
        house.order_nothing(partial(house.engine.close_room, "tea"))
        house.order_nothing(partial(house.engine.open_room, RoomShown("tea", 0, "Tea")))
        house.join("bo", "tea")
        more = house.call(house.engine.publish, Publish("tea", Member("bo", Sender("p-bo", "bo")), "two", key="k"))
    house.until(lambda: bool(said and more), advancing=0.1)
    assert [one.off for one in (*said, *more) if isinstance(one, Published) and one.kept == "stored"] == [1, 2]


# Opening


def test_who_comes_before_the_store_is_open_waits(build: Build) -> None:
    """All are answered, in order, once it is. Sessions and booths do not wait."""
    house = build(opens=False)
    calls = [house.call(house.engine.enter, Enter("public", v1(name)), house.guest(v1(name))) for name in ("ada", "bo")]
    answers: dict[str, Answers] = {
        "fetch": house.call(house.engine.fetch, Fetch("public", None, None, 50)),
        "search": house.call(house.engine.search, Search("hello", None, 50)),
        "look": house.call(house.engine.look, Look(None)),
        "nowhere": house.call(house.engine.enter, Enter("nowhere", v1("di")), house.guest(v1("di"))),
    }
    said: Answers = []
    house.engine.say("public", MODERATOR, "hello", lambda answer, re: said.append(answer))
    house.engine.open_room(RoomShown("tea", 0, "Tea"))
    assert not any((*calls, *answers.values(), said))
    assert house.ask(house.engine.claim, Claim("s", v1("cy"))) == Claimed(None)
    booth = house.find("cy").room
    assert isinstance(house.ask(house.engine.look, Look(booth)), Here)
    assert house.say("cy", "anybody?").kept == "relayed"
    house.open()
    house.until(lambda: all((*calls, *answers.values(), said)))
    assert [answer.count for call in calls for answer in call if isinstance(answer, Seat)] == [1, 2]
    assert house.refusal(answers["nowhere"][0]) == "not_found"
    assert answers["look"] == [RoomList([RoomShown("public", 2), RoomShown("tea", 0)])]
    assert house.guests["ada"].texts == house.guests["bo"].texts == ["hello"]
    assert house.ask(house.engine.look, Look(None)) == RoomList([RoomShown("public", 2), RoomShown("tea", 0, "Tea")])
    house.open()
    assert house.page() == (["hello"], False)


class Late(SqlStore):
    """Can't be opened the first time, nor read the second."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.failures = ["open", "recent"]

    async def open(self) -> Any:
        self._fail("open")
        return await super().open()

    async def recent(self, *args: Any, **options: Any) -> Any:
        self._fail("recent")
        return await super().recent(*args, **options)

    def _fail(self, where: str) -> None:
        if where in self.failures:
            self.failures.remove(where)
            raise Unavailable("it is away")


def test_a_store_that_is_late_can_be_opened_again(build: Build) -> None:
    """Who waits goes on waiting."""
    house = build(store=Late, opens=False)
    entering = house.call(house.engine.enter, Enter("public", v1("ada")), house.guest(v1("ada")))
    for _ in range(2):
        with pytest.raises(Unavailable):
            house.open()
        assert entering == []
    house.open()
    assert isinstance(entering[0], Seat)
    assert house.say("ada", "hello", key="k").kept == "stored"


@pytest.mark.parametrize("was_open", [False, True])
def test_without_its_store_the_engine_goes_on(build: Build, was_open: bool) -> None:
    """In memory: nothing is kept, and every answer says so."""
    house = build(opens=was_open)
    entering = house.call(house.engine.enter, Enter("public", v1("ada")), house.guest(v1("ada")))
    assert bool(entering) is was_open
    assert isinstance(house.engine, MemoryEngine)
    house.engine.go_without_store()
    assert isinstance(entering[0], Seat)
    published = house.say("ada", "hello", key="k")
    assert (published.off, published.kept) == (1, "relayed")
    assert house.page() == (["hello"], False)
    assert house.amend("ada", published.mid, "hello!") == Changed(published.epoch, 2)
    found = house.ask(house.engine.search, Search("hello", None, 50))
    assert isinstance(found, Matches)
    assert [one.message.text for one in found.messages] == ["hello!"]


def test_an_empty_store_gets_the_first_rooms(tmp_path: Any) -> None:
    house = House(MemoryEngine, tmp_path / "new.db", SqlStore)
    assert house.ask(house.engine.look, Look(None)) == RoomList([RoomShown("public", 0), RoomShown("tea", 0)])
    house.join("ada")
    house.post("ada", "hello")
    house.restart()
    assert house.page() == (["hello"], False)
    house.end()


# Many crashes


@pytest.mark.parametrize("seed", range(5))
def test_no_number_and_no_message_is_lost_or_given_twice(build: Build, seed: int) -> None:
    """Over restarts, some of which kill what waits: what was answered is there, each once, and whoever comes back hears
    what was said since, whole or not at all."""
    dice = random.Random(seed)
    house = build()
    stored: dict[int, str] = {}
    seen: list[tuple[str, int, str]] = []  # epoch, offset and text of what was shown
    for life in range(8):
        name = f"ada/{life}"
        house.enter(v1(name))
        said = house.post(name, *(f"{life}.{number}" for number in range(dice.randint(0, 4))))
        assert all(one.off not in stored for one in said)
        if dice.random() < 0.5:
            with house.locked():
                for number in range(dice.randint(1, 3)):
                    lost = Publish("public", v1(name), f"lost {life}.{number}", key=f"lost {number}")
                    house.call(house.engine.publish, lost)
                house.stop()
        for message in house.guests[name].messages:
            seen.append((message.epoch, message.off, message.text))
            if not message.text.startswith("lost"):
                stored[message.off] = message.text
        house.restart()
        assert house.page(limit=100) == ([stored[off] for off in sorted(stored)], False)
        for number, (epoch, off, text) in enumerate(seen):
            seat = house.enter(v1(f"m{life}-{number}"), since=Position("public", epoch, off))
            assert seat.recovered is (stored.get(off) == text)
            assert [event.off for event in seat.missed] == [
                other for other in sorted(stored) if seat.recovered and other > off
            ]
