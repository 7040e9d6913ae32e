"""The client's rules, without a network: what is said again, what is heard once, what was missed, when to come back."""

import json
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parlour.client.session import (
    BOOTHS_LIMIT,
    FRAME_LIMIT,
    GRACE,
    IN_FLIGHT,
    KEYS_LIMIT,
    LONGEST_WAIT,
    MOVED,
    REPORTED_LIMIT,
    RESUME_LIMIT,
    SILENT,
    WINDOW,
    Answer,
    Backoff,
    Event,
    NonsenseError,
    Outcome,
    Session,
    sender_of,
)
from parlour.core.events import Sender
from parlour.errors import Close

ADA: dict[str, Any] = {"id": "p1", "name": "ada", "role": "guest"}
BO: dict[str, Any] = {"id": "p2", "name": "bo", "role": "guest"}
LIMITS = {"text": 10_000, "frame": 131_072, "page": 100, "burst": 30}
CUT = Close(1006, "cut")


def make(**more: Any) -> Session:
    return Session(**{"name": "ada", "random": lambda: 0.5, **more})


def public(*, off: int = 0, epoch: str = "e1", **more: Any) -> dict[str, Any]:
    return {"room": "public", "epoch": epoch, "off": off, "upto": off, "recovered": False, "count": 1, **more}


class Desk:
    """A session, and a test in the place of its server."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or make()
        self.now = 100.0

    def hello(self, *, seeks: bool = False) -> dict[str, Any]:
        hello = json.loads(self.session.hello(self.now, seeks=seeks))
        assert hello["op"] == "hello"
        assert isinstance(hello, dict)
        return hello

    def welcome(self, *rooms: Mapping[str, Any], seeks: bool = False, **more: Any) -> list[Outcome]:
        """Hello, and its answer."""
        fields: dict[str, Any] = {"session": "token", "person": ADA, "limits": LIMITS, "ping_ms": 20_000, **more}
        return self.answer(self.hello(seeks=seeks), **fields, rooms=list(rooms))

    def hear(self, **frame: Any) -> list[Outcome]:
        return self.session.receive(json.dumps(frame), self.now)

    def answer(self, command: Mapping[str, Any], **fields: Any) -> list[Outcome]:
        return self.hear(re=command["id"], ok=True, **fields)

    def refuse(self, command: Mapping[str, Any], code: str, **more: Any) -> list[Outcome]:
        error = {"code": code, "message": "no", "retry": False, **more}
        return self.hear(re=command["id"], ok=False, error=error)

    def message(self, off: int, text: str = "hi", room: str = "public", **more: Any) -> list[Outcome]:
        return self.hear(
            **{"ev": "message", "room": room, "off": off, "mid": "m", "ts": 1, "from": BO}, text=text, **more
        )

    def outgoing(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.session.outgoing(self.now)]

    def lose(self, close: Close = CUT) -> list[Outcome]:
        return list(self.session.lost(close, self.now).outcomes)


def kinds(outcomes: list[Outcome]) -> list[str]:
    return [outcome.kind for outcome in outcomes if isinstance(outcome, Event)]


def where(desk: Desk) -> tuple[str | None, Sender | None, bool]:
    """The room where one talks, the other one in the booth, and whether one looks for another."""
    booth = desk.session.booth
    return desk.session.room, None if booth is None else booth.peer, desk.session.searching


def send(desk: Desk, text: str, *, key: str | None = None, room: str = "public") -> int:
    return desk.session.ask("send", {"room": room, "key": key or f"key of {text}", "text": text})


# When to come back


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 60))
def test_waits_grow_and_are_bounded(dice: list[float], at_least: float) -> None:
    """Anything up to 1, 2, 4 ... 30 seconds, beyond what the server asked for."""
    backoff = Backoff(iter(dice).__next__)
    for tries in range(len(dice)):
        wait = backoff.next(at_least)
        assert at_least <= wait <= at_least + min(LONGEST_WAIT, 2.0**tries)
        assert wait == at_least + dice[tries] * min(LONGEST_WAIT, 2.0**tries)


def test_waits_begin_anew_when_all_is_well() -> None:
    """Being let in is not enough: a server may fail on what it is told then. A ping comes after a while."""
    desk = Desk(make(random=lambda: 1.0))
    backoff = desk.session.backoff
    assert [backoff.next() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    desk.welcome(public())
    assert backoff.next() == 30
    desk.hear(ev="ping")
    assert backoff.next() == 1


@pytest.mark.parametrize(
    ("bye", "code", "again", "at_least"),
    [
        (None, 1006, True, 0.0),
        (None, 4000, True, 0.0),
        (None, 4506, False, 0.0),
        (None, 1002, False, 0.0),
        (None, 1001, True, 0.0),
        ({"code": 4000, "reason": "restart", "reconnect": True, "after_ms": 1500}, 4000, True, 1.5),
        ({"code": 4000, "reason": "restart", "reconnect": True, "after_ms": 1500}, 1006, True, 1.5),
        ({"code": 4506, "reason": "kicked", "reconnect": False}, 1006, False, 0.0),
        ({"code": 4999, "reason": "odd", "reconnect": True}, 4999, True, 0.0),
    ],
)
def test_the_end_says_whether_to_come_back(bye: dict[str, Any] | None, code: int, again: bool, at_least: float) -> None:
    """The close code decides, unless a bye said more; it also stands for a code that never came."""
    desk = Desk()
    desk.welcome(public())
    if bye is not None:
        assert kinds(desk.hear(ev="bye", **bye)) == ["bye"]
    lost = desk.session.lost(Close(code, "gone"), desk.now)
    assert (lost.again, lost.at_least) == (again, at_least)
    assert lost.close.code == (code if bye is None else bye["code"])


def test_a_server_that_restarts_spreads_its_clients() -> None:
    """The time that `reconnect` chose holds when the server closes before."""
    desk = Desk()
    desk.welcome(public())
    desk.hear(ev="reconnect", after_ms=1000, jitter_ms=5000)
    desk.hear(ev="bye", code=4000, reason="restart", reconnect=True, after_ms=1000)
    desk.now += 0.5
    assert desk.session.lost(Close(4000), desk.now).at_least == 3.0
    desk.welcome(public())
    assert desk.session.lost(CUT, desk.now).at_least == 0.0


def test_a_wish_to_reconnect_comes_due() -> None:
    desk = Desk()
    desk.welcome(public())
    desk.hear(ev="reconnect", after_ms=1000, jitter_ms=5000)
    assert desk.session.deadline == desk.now + 1 + 0.5 * 5
    assert desk.session.verdict(desk.session.deadline) == MOVED
    assert MOVED.reconnect


def test_silence_is_noticed() -> None:
    """The server's sign of life is late by ten seconds."""
    desk = Desk()
    desk.welcome(public(), ping_ms=5000)
    assert desk.session.deadline == desk.now + 5 + GRACE
    desk.now += 7
    desk.message(1)
    assert desk.session.deadline == desk.now + 5 + GRACE
    assert desk.session.verdict(desk.session.deadline) == SILENT
    assert SILENT.reconnect


# Hello


def test_the_first_hello_asks_for_little() -> None:
    assert {name: value for name, value in Desk().hello().items() if name != "id"} == {"op": "hello", "name": "ada"}
    assert "match" not in Desk(make(match={"interests": ["tea"]})).hello()
    hello = Desk(make(name=None, token="t", match={"interests": ["tea"]}, program={"name": "x"})).hello(seeks=True)
    assert hello == {"id": 1, "op": "hello", "session": "t", "match": {"interests": ["tea"]}, "client": {"name": "x"}}


def test_hello_comes_back_with_all_that_is_known() -> None:
    """The token, the name as accepted, and the last event of each room."""
    desk = Desk()
    assert kinds(desk.welcome(public(off=3), person={**ADA, "name": "Ada"})) == ["client.connected"]
    desk.message(4)
    desk.hear(ev="match.found", room="b", epoch="e9", off=0, peer=BO, common=[])
    desk.message(1, room="b")
    desk.hear(ev="message.edited", room="b", off=2, mid="m", ts=1, text="ho", **{"from": BO})
    desk.lose()
    hello = desk.hello()
    assert (hello["session"], hello["name"]) == ("token", "Ada")
    assert hello["resume"] == [
        {"room": "public", "epoch": "e1", "off": 4},
        {"room": "b", "epoch": "e9", "off": 2},
    ]


def test_no_more_rooms_are_resumed_than_hello_takes() -> None:
    desk = Desk()
    desk.welcome(*(public() | {"room": f"r{number}"} for number in range(RESUME_LIMIT + 5)))
    desk.lose()
    assert [entry["room"] for entry in desk.hello()["resume"]] == [
        f"r{number}" for number in range(5, RESUME_LIMIT + 5)
    ]


def test_a_session_that_expired_is_let_go() -> None:
    desk = Desk(make(token="old"))
    hello = desk.hello()
    assert desk.refuse(hello, "expired") == []
    (again,) = desk.outgoing()
    assert (again["op"], again.get("session")) == ("hello", None)
    assert again["id"] != hello["id"]
    assert kinds(desk.answer(again, session="new", person=ADA, limits=LIMITS, ping_ms=1, rooms=[])) == [
        "client.connected"
    ]
    assert desk.session.token == "new"


def test_a_name_that_is_refused() -> None:
    """It is the end of the first hello, unless any name will do; nobody is kept out by it later."""
    desk = Desk()
    desk.refuse(desk.hello(), "bad_name")
    assert desk.session.refusal is not None
    assert desk.outgoing() == []

    easy = Desk(make(insist=False))
    easy.refuse(easy.hello(), "bad_name")
    assert ["name" in hello for hello in easy.outgoing()] == [False]

    later = Desk()
    later.welcome(public())
    later.lose()
    later.refuse(later.hello(), "bad_name")
    (again,) = later.outgoing()
    assert ("name" in again, "session" in again, "resume" in again) == (False, True, True)
    later.refuse(again, "bad_name")
    assert later.session.refusal is not None


def test_who_one_is() -> None:
    desk = Desk()
    desk.welcome(public())
    assert desk.session.person == Sender("p1", "ada")
    number = desk.session.ask("name", {"name": "eva"})
    (command,) = desk.outgoing()
    assert desk.answer(command, name="Eva") == [Answer(number, {"re": command["id"], "ok": True, "name": "Eva"})]
    assert desk.session.name == "Eva"
    desk.hear(ev="member.renamed", room="public", member={**ADA, "name": "Ada"})
    assert desk.session.name == "Ada"


# Where one sits, and what was seen


def test_each_event_is_told_once_and_in_order() -> None:
    desk = Desk()
    desk.welcome(public(off=7))
    assert desk.message(7) == []
    assert kinds(desk.message(8)) == ["message"]
    assert desk.message(8) == []
    assert desk.message(3) == []
    (gap, message) = desk.message(12)
    assert isinstance(gap, Event)
    assert (gap.kind, gap.local, gap.fields["off"]) == ("gap", True, 11)
    assert kinds([message]) == ["message"]
    assert desk.session.seats["public"].off == 12


def test_the_servers_own_gap_sets_the_place() -> None:
    desk = Desk()
    desk.welcome(public(off=7))
    (gap,) = desk.hear(ev="gap", room="public", epoch="e2", off=90)
    assert isinstance(gap, Event)
    assert not gap.local
    assert kinds(desk.message(91)) == ["message"]
    desk.lose()
    assert desk.hello()["resume"] == [{"room": "public", "epoch": "e2", "off": 91}]


def test_what_was_missed_is_counted() -> None:
    """Messages of others, once all that hello promised has come."""
    desk = Desk()
    desk.welcome(public(off=1))
    send(desk, "mine")
    desk.outgoing()
    desk.lose()
    assert kinds(desk.welcome(public(off=1, upto=5, recovered=True))) == ["client.connected"]
    assert kinds(desk.message(2)) == ["message"]
    assert kinds(desk.message(3, key="key of mine")) == ["message"]
    assert kinds(desk.hear(ev="message.deleted", room="public", off=4, mid="m", ts=1, **{"from": BO})) == [
        "message.deleted"
    ]
    (_, back) = desk.message(5)
    assert isinstance(back, Event)
    assert back.fields == {"ev": "client.back", "caught_up": 2, "missed": False}
    assert kinds(desk.message(6)) == ["message"]


def test_what_was_missed_is_counted_across_two_losses() -> None:
    desk = Desk()
    desk.welcome(public())
    desk.lose()
    desk.welcome(public(upto=2, recovered=True))
    desk.message(1)
    desk.lose()
    desk.welcome(public(off=1, upto=3, recovered=True))
    desk.message(2)
    (_, back) = desk.message(3)
    assert isinstance(back, Event)
    assert (back.fields["caught_up"], back.fields["missed"]) == (3, False)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (public(off=1, recovered=True), ["client.back"]),
        (public(off=9, epoch="e2"), ["gap", "client.back"]),
        ({"room": "public", "gone": True}, ["client.gone"]),
        (None, ["client.gone"]),
    ],
)
def test_hello_is_taken_at_its_word(entry: dict[str, Any] | None, expected: list[str]) -> None:
    """Nothing missed; something missed; no such room any more, said or not."""
    desk = Desk()
    desk.welcome(public(off=1))
    desk.lose()
    outcomes = desk.welcome(*([] if entry is None else [entry]))
    assert kinds(outcomes) == ["client.connected", *expected]
    back = outcomes[-1]
    assert isinstance(back, Event)
    assert back.fields.get("missed", False) is ("gap" in expected)
    assert ("public" in desk.session.seats) is (expected[0] != "client.gone")
    if "gap" in expected:
        assert kinds(desk.message(10)) == ["message"]


def test_a_server_that_brings_too_much_is_not_heard_twice() -> None:
    desk = Desk()
    desk.welcome(public(off=4))
    desk.message(5)
    desk.lose()
    assert kinds(desk.welcome(public(off=3, upto=6, recovered=True))) == ["client.connected"]
    assert desk.message(4) == desk.message(5) == []
    assert kinds(desk.message(6)) == ["message", "client.back"]


def test_a_jump_while_catching_up_is_no_full_return() -> None:
    desk = Desk()
    desk.welcome(public())
    desk.lose()
    desk.welcome(public(upto=3, recovered=True))
    desk.message(1)
    (gap, _, back) = desk.message(3)
    assert kinds([gap]) == ["gap"]
    assert isinstance(back, Event)
    assert (back.fields["caught_up"], back.fields["missed"]) == (2, True)


def test_a_booth_comes_and_goes() -> None:
    desk = Desk()
    desk.welcome(seeks=True)
    assert where(desk) == (None, None, True)
    desk.hear(ev="match.waiting", ticket="t", since=1, relaxed=[])
    desk.hear(ev="match.found", room="b", epoch="e", off=0, peer=BO, common=[])
    assert where(desk) == ("b", Sender("p2", "bo"), False)
    desk.hear(ev="match.ended", room="b", by="peer")
    assert where(desk) == (None, None, False)


def test_the_booth_is_where_one_talks() -> None:
    desk = Desk()
    desk.welcome(public())
    assert desk.session.room == "public"
    desk.hear(ev="match.found", room="b", epoch="e", off=0, peer=BO, common=[])
    assert desk.session.room == "b"


def test_a_booth_that_outlived_a_lost_connection() -> None:
    """The same one is resumed; one that hello brings as news is as if it was found; one that is gone has ended."""
    booth = {"room": "b", "epoch": "e", "off": 0, "upto": 0, "recovered": True, "count": 2, "peer": BO}
    desk = Desk()
    desk.welcome(seeks=True)
    desk.hear(ev="match.found", room="b", epoch="e", off=0, peer=BO, common=[])
    desk.lose()
    assert kinds(desk.welcome(booth)) == ["client.connected", "client.back"]
    assert desk.session.booth is not None
    desk.lose()
    outcomes = desk.welcome({"room": "b", "gone": True}, {**booth, "room": "c", "recovered": False})
    assert kinds(outcomes) == ["client.connected", "match.found", "match.ended"]
    (found, ended) = outcomes[1:]
    assert isinstance(found, Event)
    assert isinstance(ended, Event)
    assert (found.room, found.sender, found.local) == ("c", Sender("p2", "bo"), True)
    assert (ended.room, ended.fields["by"], ended.local) == ("b", "lost", True)


def test_next_leaves_and_looks() -> None:
    """Whether or not the server tells of the end of the old booth."""
    desk = Desk()
    desk.welcome(seeks=True)
    desk.hear(ev="match.found", room="b", epoch="e", off=0, peer=BO, common=[])
    desk.session.ask("match.next", {})
    (command,) = desk.outgoing()
    desk.answer(command, ticket="t")
    assert (desk.session.booth, desk.session.searching) == (None, True)
    desk.hear(ev="match.ended", room="b", by="you")
    assert desk.session.searching
    desk.session.ask("match.cancel", {})
    desk.answer(desk.outgoing()[0])
    assert not desk.session.searching


def test_rooms_are_joined_and_left() -> None:
    desk = Desk()
    desk.welcome()
    desk.session.ask("join", {"room": "tea"})
    desk.answer(desk.outgoing()[0], room="tea", epoch="e5", off=4, count=1)
    assert kinds(desk.message(5, room="tea")) == ["message"]
    desk.session.ask("leave", {"room": "tea"})
    desk.answer(desk.outgoing()[0])
    assert desk.session.seats == {}


def test_a_room_that_is_closed_is_left() -> None:
    desk = Desk()
    desk.welcome(public())
    assert kinds(desk.hear(ev="room.changed", room="public", title="", locked=True, slow_ms=0)) == ["room.changed"]
    (changed, gone) = desk.hear(ev="room.changed", room="public", title="", locked=False, slow_ms=0, archived=True)
    assert isinstance(gone, Event)
    assert (kinds([changed]), gone.kind, gone.room, gone.local) == (["room.changed"], "client.gone", "public", True)
    assert desk.session.seats == {}
    archived = desk.hear(ev="room.changed", room="public", title="", locked=False, slow_ms=0, archived=True)
    assert kinds(archived) == ["room.changed"]


# What is reported


class Booth(Desk):
    """A session that met bo in a booth, where each message has the stamp `s` and its offset."""

    def __init__(self) -> None:
        super().__init__()
        self.welcome(seeks=True)
        self.find("b")

    def find(self, room: str, off: int = 0) -> None:
        self.hear(ev="match.found", room=room, epoch="e", off=off, peer=BO, common=[])

    def say(self, off: int, text: str = "hi", kind: str = "message", room: str = "b") -> None:
        event = {"ev": kind, "room": room, "off": off, "mid": f"m{off}", "ts": 1, "from": BO, "text": text}
        self.hear(**event, stamp=f"s{off}")

    def told(self, *mids: str, room: str = "b") -> tuple[list[int | str], str]:
        """The offsets of the messages of a report, the stamps of gaps; and the stamp before."""
        messages, prev = self.session.evidence(room, mids)
        for message in messages:
            assert "text" not in message or message["stamp"] == f"s{message['off']}"
        return [message["off"] if "text" in message else message["stamp"] for message in messages], prev


def test_all_that_was_said_in_a_booth_is_told() -> None:
    """Edits bear stamps as well, what was taken back is known still, and a reaction was never missed."""
    booth = Booth()
    booth.say(1)
    booth.say(2, "ho", "message.edited")
    booth.hear(ev="message.reaction", room="b", off=3, mid="m1", ts=1, emoji="x", on=True, **{"from": BO})
    booth.say(4)
    booth.hear(ev="message.deleted", room="b", off=5, mid="m4", ts=1, **{"from": BO})
    assert booth.told() == ([1, 2, 4], "")
    assert booth.session.evidence("b")[0][1] == {
        "mid": "m2",
        "off": 2,
        "ts": 1,
        "from": "p2",
        "text": "ho",
        "stamp": "s2",
    }
    booth.hear(ev="match.ended", room="b", by="peer")
    assert booth.told() == ([1, 2, 4], "")
    assert booth.told(room="another") == ([], "")


def test_what_is_kept_back_is_a_gap() -> None:
    """One for all of a kind; none at the ends."""
    booth = Booth()
    for off in range(1, 9):
        booth.say(off)
    assert booth.told("m3", "m4", "m7") == ([3, 4, "s6", 7], "s2")
    assert booth.told("m1", "m8") == ([1, "s7", 8], "")
    assert booth.told("another") == ([], "")


def test_what_follows_a_gap_cannot_be_proved() -> None:
    """The stamp before it is not known; what follows that can be again."""
    booth = Booth()
    booth.say(1)
    booth.say(3)
    booth.say(4)
    assert booth.told() == ([1, "s3", 4], "")
    booth.hear(ev="gap", room="b", epoch="e", off=6)
    booth.say(7)
    booth.say(8)
    assert booth.told() == ([1, "s3", 4, "s7", 8], "")


def test_what_was_deleted_while_away_has_no_stamp() -> None:
    """Nor can what came right after it be proved."""
    booth = Booth()
    booth.say(1)
    booth.lose()
    seat = {"room": "b", "epoch": "e", "off": 1, "upto": 4, "recovered": True, "count": 2, "peer": BO}
    booth.welcome(seat)
    booth.message(2, "", room="b", deleted=True)
    booth.say(3)
    booth.say(4)
    assert booth.told() == ([1, "s3", 4], "")


def test_a_booth_that_hello_tells_of_begins_in_the_middle() -> None:
    desk = Booth()
    desk.lose()
    desk.welcome({"room": "c", "epoch": "e", "off": 6, "upto": 6, "recovered": False, "count": 2, "peer": BO})
    for off in (7, 8, 9):
        desk.say(off, room="c")
    assert desk.told(room="c") == ([8, 9], "s7")


def test_the_newest_of_a_booth_and_the_newest_booths_are_known() -> None:
    booth = Booth()
    for off in range(1, REPORTED_LIMIT + 3):
        booth.say(off)
    assert booth.told() == ([*range(3, REPORTED_LIMIT + 3)], "s2")
    for number in range(BOOTHS_LIMIT):
        assert booth.told()[0]
        booth.find(f"b{number}")
    assert booth.told() == ([], "")


def test_another_stranger_in_the_same_booth_is_another_story() -> None:
    booth = Booth()
    booth.say(1)
    booth.find("b", off=1)
    booth.say(2)
    assert booth.told() == ([2], "")


def test_a_report_is_no_larger_than_a_frame() -> None:
    booth = Booth()
    for off in range(1, 21):
        booth.say(off, "\u2615" * 9_000)
    (told, prev) = booth.told()
    assert told == [17, 18, 19, 20]
    assert prev == "s16"
    messages, prev = booth.session.evidence("b")
    fields = {"room": "b", "reason": "\u2615" * 200, "note": "\x01" * 1_000, "messages": messages, "prev": prev}
    booth.session.ask("report", fields)
    (frame,) = booth.session.outgoing(booth.now)
    assert len(frame.encode()) <= FRAME_LIMIT


# What is asked


def test_commands_wait_for_the_welcome() -> None:
    desk = Desk()
    send(desk, "before")
    hello = desk.hello()
    send(desk, "between")
    assert desk.outgoing() == []
    desk.answer(hello, session="t", person=ADA, limits=LIMITS, ping_ms=1, rooms=[public()])
    assert [command["text"] for command in desk.outgoing()] == ["before", "between"]
    assert desk.outgoing() == []


def test_fields_that_are_none_are_left_out() -> None:
    desk = Desk()
    desk.welcome(public())
    desk.session.ask("history", {"room": "public", "before": None, "limit": 3})
    (command,) = desk.outgoing()
    assert command == {"id": command["id"], "op": "history", "room": "public", "limit": 3}


def test_answers_find_their_commands() -> None:
    desk = Desk()
    desk.welcome(public())
    first, second = send(desk, "a"), send(desk, "b")
    a, b = desk.outgoing()
    (refused,) = desk.refuse(b, "too_large", field="text", retry_after_ms=5)
    assert isinstance(refused, Answer)
    assert refused.id == second
    assert refused.refusal is not None
    assert (refused.refusal.code, refused.refusal.field, refused.refusal.retry_after_ms) == ("too_large", "text", 5)
    (done,) = desk.answer(a, mid="m")
    assert isinstance(done, Answer)
    assert (done.id, done.refusal, done.fields["mid"]) == (first, None, "m")
    assert desk.answer(a, mid="m") == []


def test_what_the_server_could_not_read_is_told() -> None:
    desk = Desk()
    desk.welcome(public())
    outcomes = desk.hear(re=None, ok=False, error={"code": "bad_frame", "message": "no", "retry": False})
    assert kinds(outcomes) == ["client.refused"]


def test_what_has_no_answer_is_said_again_in_order() -> None:
    """Once in each connection, with its key; whatever can't be repeated fails."""
    desk = Desk()
    desk.welcome(public())
    a, _, c = (send(desk, text) for text in "abc")
    left = desk.session.ask("match.next", {})
    first = desk.outgoing()
    desk.answer(first[1], mid="m")
    assert [(answer.id, answer.lost) for answer in desk.lose() if isinstance(answer, Answer)] == [(left, CUT)]
    d = send(desk, "d")
    for _ in range(2):
        desk.welcome(public(recovered=True))
        again = desk.outgoing()
        assert [command["id"] for command in again] == [a, c, d]
        assert again[:2] == [first[0], first[2]]
        assert desk.outgoing() == []
        assert desk.lose() == []


def test_a_message_that_was_seen_was_said() -> None:
    """A server that was killed knows no keys: saying it again would say it twice."""
    desk = Desk()
    desk.welcome(public())
    seen, unseen = send(desk, "seen"), send(desk, "unseen")
    desk.outgoing()
    (event,) = desk.message(1, "seen", key="key of seen")
    assert isinstance(event, Event)
    assert event.own
    (answer,) = desk.lose()
    assert isinstance(answer, Answer)
    assert answer.id == seen
    assert answer.fields == {"mid": "m", "epoch": "e1", "off": 1, "ts": 1, "kept": "relayed"}
    desk.welcome(public(epoch="e2"))
    assert [command["id"] for command in desk.outgoing()] == [unseen]


def test_only_ones_own_keys_are_ones_own() -> None:
    desk = Desk()
    desk.welcome(public())
    for number in range(KEYS_LIMIT + 1):
        send(desk, str(number))
        desk.answer(desk.outgoing()[0], mid="m")
    (event,) = desk.message(1, key="key of 1")
    assert isinstance(event, Event)
    assert event.own
    for off, key in ((2, "key of 0"), (3, "another"), (4, 5)):
        (event,) = desk.message(off, key=key)
        assert isinstance(event, Event)
        assert not event.own


def test_what_nobody_waits_for_is_not_sent() -> None:
    desk = Desk()
    first = send(desk, "a")
    desk.session.drop(first)
    desk.welcome(public())
    second = send(desk, "b")
    desk.session.drop(second)
    third = send(desk, "c")
    assert [command["id"] for command in desk.outgoing()] == [third]
    desk.session.drop(third)
    assert desk.lose() == []
    desk.welcome(public())
    assert desk.outgoing() == []


def test_what_nobody_waits_for_still_counts() -> None:
    """A leave whose caller gave up was a leave."""
    desk = Desk()
    desk.welcome(public())
    desk.session.drop(desk.session.ask("leave", {"room": "public"}))
    number = desk.session.ask("leave", {"room": "public"})
    (command,) = desk.outgoing()
    desk.session.drop(number)
    desk.answer(command)
    assert desk.session.seats == {}


def test_signs_of_life_wait_for_nothing() -> None:
    desk = Desk()
    desk.hello()
    assert desk.hear(ev="ping") == []
    assert desk.outgoing() == [{"op": "pong"}]


def test_what_is_told_in_passing_is_told_now_or_never() -> None:
    desk = Desk()
    desk.session.tell("typing", {"room": "public"})
    desk.welcome(public())
    assert desk.outgoing() == []
    desk.session.tell("typing", {"room": "public"})
    assert desk.outgoing() == [{"op": "typing", "room": "public"}]


def test_a_command_that_cannot_be_a_frame_is_refused_here() -> None:
    desk = Desk()
    for text, words in (("x" * 131_072, "larger than"), ("\ud800", "surrogates")):
        with pytest.raises(ValueError, match=words):
            send(desk, text)
    desk.welcome(public(), limits={**LIMITS, "frame": 100})
    with pytest.raises(ValueError, match="larger than 100 bytes"):
        send(desk, "x" * 100)
    assert desk.outgoing() == []


# How fast


def test_no_more_is_on_its_way_than_comes_back_well() -> None:
    desk = Desk()
    desk.welcome(public())
    for number in range(IN_FLIGHT + 1):
        send(desk, str(number))
    commands = desk.outgoing()
    assert len(commands) == IN_FLIGHT
    assert desk.session.wake_at == float("inf")
    desk.answer(commands[0], mid="m")
    assert len(desk.outgoing()) == 1

    large = Desk()
    large.welcome(public())
    for number in range(3):
        send(large, str(number) * (WINDOW // 2))
    assert len(large.outgoing()) == 1
    huge = Desk()
    huge.welcome(public())
    send(huge, "x" * (WINDOW + 1), key="k")
    assert len(huge.outgoing()) == 1


def test_the_servers_rate_is_kept() -> None:
    """Half of the burst at once, then one after the other; the rest is for what the network brings together."""
    desk = Desk()
    desk.welcome(public(), limits={**LIMITS, "rate": 10.0, "burst": 8})
    for number in range(20):
        send(desk, str(number))
    for command in desk.outgoing():
        desk.answer(command, mid="m")
    assert desk.session.wake_at == pytest.approx(desk.now + 0.1)
    sent = 4
    while desk.session.wake_at != float("inf"):
        desk.now = desk.session.wake_at
        (command,) = desk.outgoing()
        desk.answer(command, mid="m")
        sent += 1
    assert sent == 20
    assert desk.now == pytest.approx(101.6)


def test_too_fast_means_later() -> None:
    """It is said again before what came after it."""
    desk = Desk()
    desk.welcome(public(), limits={**LIMITS, "rate": 1000, "burst": 2})
    numbers = [send(desk, text) for text in "ab"]
    (command,) = desk.outgoing()
    assert desk.refuse(command, "rate_limited", retry=True, retry_after_ms=250) == []
    assert desk.outgoing() == []
    assert desk.session.wake_at == desk.now + 0.25
    desk.now += 0.25
    assert [each["id"] for each in desk.outgoing()] == numbers[:1]


# What is no v1


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "1", '"x"', "{", "[" * 100_000),
        '{"ev": 5}',
        '{"ev": "message", "room": "public", "off": "1"}',
        '{"ev": "message", "off": 1}',
        '{"ev": "match.found", "room": "b"}',
        '{"ev": "reconnect"}',
        '{"re": null, "ok": false}',
        '{"re": null, "ok": false, "error": {"code": 5}}',
    ],
)
def test_nonsense_ends_it(text: str) -> None:
    desk = Desk()
    desk.welcome(public())
    with pytest.raises(NonsenseError):
        desk.session.receive(text, desk.now)


@pytest.mark.parametrize(
    "more",
    [{"session": 5}, {"person": None}, {"limits": None}, {"ping_ms": "1"}, {"rooms": None}, {"rooms": [5]}],
)
def test_a_welcome_that_is_none(more: dict[str, Any]) -> None:
    desk = Desk()
    fields = {"session": "t", "person": ADA, "limits": LIMITS, "ping_ms": 1, "rooms": [], **more}
    with pytest.raises(NonsenseError):
        desk.answer(desk.hello(), **fields)


def test_what_is_not_known_is_handed_on_or_ignored() -> None:
    desk = Desk()
    desk.welcome(public())
    (event,) = desk.hear(ev="match.sparkle", room="public", colour="red")
    assert isinstance(event, Event)
    assert (event.kind, event.fields["colour"], event.room) == ("match.sparkle", "red", "public")
    assert desk.hear(hm=1) == []
    assert desk.hear(re=99, ok=True) == []


@pytest.mark.parametrize(
    ("value", "sender"),
    [
        (ADA, Sender("p1", "ada")),
        ({"id": "p", "name": None, "role": "user", "plain": True}, Sender("p", None, "user", True)),
        ({"id": "p", "name": "mo", "role": "moderator"}, Sender("p", "mo", "moderator")),
        ({"id": "p", "name": "al", "role": "admin"}, Sender("p", "al", "admin")),
        ({"id": "p", "name": 5, "role": "king", "plain": 1}, Sender("p", None)),
        ({"id": "p", "name": "bo", "role": ["admin"]}, Sender("p", "bo")),
        ({"name": "ada"}, None),
        (None, None),
    ],
)
def test_somebody(value: object, sender: Sender | None) -> None:
    assert sender_of(value) == sender


# All of it, with a network that loses what it likes


class Network:
    """One session, one server that follows the protocol, and a line between them that can be cut at any moment."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.up: list[dict[str, Any]] = []
        self.down: list[dict[str, Any]] = []
        self.epoch = count(1)
        self.ids = count(1)
        self.log: list[dict[str, Any]] = []
        self.keys: dict[str, int] = {}
        self.name = f"e{next(self.epoch)}"
        self.in_room = False
        self.asked: list[int] = []
        self.answered: list[int] = []
        self.told: list[Event] = []
        self.connect()

    def connect(self) -> None:
        self.up, self.down, self.in_room = [self.desk.hello()], [], False
        self.sends: list[int] = []  # of this connection

    def take(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, Answer):
                assert (outcome.refusal, outcome.lost) == (None, None)
                self.answered.append(outcome.id)
            else:
                self.told.append(outcome)

    def ask(self) -> None:
        number = next(self.ids)
        self.asked.append(send(self.desk, f"mine {number}"))

    def pump(self) -> None:
        for command in self.desk.outgoing():
            self.up.append(command)
            self.sends.append(command["id"])
        assert self.sends == sorted(set(self.sends)), "once in a connection, in order"

    def number(self, event: dict[str, Any]) -> None:
        self.log.append(event | {"ev": "message", "room": "public", "off": len(self.log) + 1, "mid": "m", "ts": 1})
        if self.in_room:
            self.down.append(self.log[-1])

    def other(self) -> None:
        self.number({"from": BO, "text": f"theirs {next(self.ids)}"})

    def serve(self) -> None:
        """The server takes one command."""
        if not self.up:
            return
        command = self.up.pop(0)
        reply: dict[str, Any] = {"re": command["id"], "ok": True}
        if command["op"] == "hello":
            since = next(iter(command.get("resume", ())), None)
            recovered = since is not None and since["epoch"] == self.name
            off = since["off"] if since is not None and recovered else len(self.log)
            seat = public(off=off, upto=len(self.log), epoch=self.name, recovered=recovered)
            reply |= {"session": "t", "person": ADA, "limits": LIMITS, "ping_ms": 1, "rooms": [seat]}
            self.down += [reply, *self.log[off:]]
            self.in_room = True
        else:
            key = command["key"]
            if key not in self.keys:
                self.keys[key] = len(self.log) + 1
                self.number({"from": ADA, "text": command["text"], "key": key})
            self.down.append(reply | {"mid": "m", "epoch": self.name, "off": self.keys[key], "ts": 1})

    def deliver(self) -> None:
        if self.down:
            self.take(self.desk.session.receive(json.dumps(self.down.pop(0)), self.desk.now))

    def cut(self) -> None:
        self.take(self.desk.lose())
        self.connect()

    def kill(self) -> None:
        """A server that starts anew: no keys, another epoch."""
        self.log, self.keys, self.name = [], {}, f"e{next(self.epoch)}"
        self.cut()

    def calm_down(self) -> None:
        while True:
            self.pump()
            if not self.up and not self.down:
                return
            self.serve()
            self.deliver()

    @property
    def texts(self) -> Iterator[str]:
        return (event.text for event in self.told if event.kind == "message")


STEPS = st.lists(st.sampled_from(["ask", "pump", "other", "serve", "deliver", "cut"]), max_size=60)


@given(STEPS)
@example(["serve", "deliver", "ask", "pump", "serve", "cut"])
def test_a_line_that_is_cut_loses_nothing_and_repeats_nothing(steps: list[str]) -> None:
    """All is answered once, said once and in order, heard once and in order, and no gap is told of."""
    network = Network()
    for step in steps:
        getattr(network, step)()
    network.calm_down()
    assert sorted(network.answered) == network.asked
    mine = [event["text"] for event in network.log if "key" in event]
    assert mine == [f"mine {text.split()[1]}" for text in mine]
    assert len(mine) == len(set(mine)) == len(network.asked)
    assert [int(text.split()[1]) for text in mine] == sorted(int(text.split()[1]) for text in mine)
    told = list(network.texts)
    assert told == [event["text"] for event in network.log][len(network.log) - len(told) :]
    assert not any(event.kind == "gap" or event.fields.get("missed") for event in network.told)


@given(st.lists(st.sampled_from(["ask", "pump", "other", "serve", "deliver", "cut", "kill"]), max_size=60))
def test_a_server_that_is_killed_is_admitted(steps: list[str]) -> None:
    """All is answered once; nothing is heard twice that was seen; whoever sat in the room learns of the gap."""
    network = Network()
    sat = 0
    for step in steps:
        if step == "kill" and network.desk.session.seats:
            sat += 1
        getattr(network, step)()
    network.calm_down()
    assert sorted(network.answered) == network.asked
    told = list(network.texts)
    assert len(told) == len(set(told))
    gaps = [event for event in network.told if event.kind == "gap"]
    assert len(gaps) <= sat
    assert bool(gaps) is bool(sat)
    backs = [event for event in network.told if event.kind == "client.back"]
    assert bool(sat) is any(event.fields["missed"] for event in backs)
