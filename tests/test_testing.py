"""The test kit: what it promises to those who test their own app with it."""

import doctest
import json
import math
import subprocess
import sys

import pytest

import parlour.testing
from parlour import Close, ConnectError, Disconnected, Guest, Person, Settings
from parlour.testing import Client, Happening, Kit

KINDS = pytest.mark.parametrize("frames", [True, False], ids=["frames", "texts"])


def test_the_examples_run() -> None:
    done = doctest.testmod(parlour.testing)
    assert done.attempted > 25
    assert done.failed == 0


def test_it_needs_no_loop_no_thread_and_no_pytest() -> None:
    code = "import sys, parlour.testing; print(*{'asyncio', 'pytest', 'starlette', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# What a test expects


@KINDS
def test_expect_takes_the_lines_one_by_one(frames: bool) -> None:
    kit = Kit()
    ada = kit.public("ada", frames=frames)
    ada.say("one")
    ada.say("two")
    ada.expect("ada> one")
    with pytest.raises(AssertionError, match=r"ada at 0 s \(seed 0\): expected 'ada> one' within 1 s; 'ada> two' came"):
        ada.expect("ada> one")
    ada.expect("ada> two")
    assert ada.lines == ["ada> one", "ada> two"]


def test_expect_passes_no_more_time_than_it_must() -> None:
    kit = Kit()
    ada = kit.public("ada", latency=0.25)
    ada.say("one")
    ada.expect("ada> one", within=10)
    assert kit.now == 0.5
    with pytest.raises(AssertionError, match="expected 'ada> two' within 2 s; nothing came, and it is connected"):
        ada.expect("ada> two", within=2)
    assert kit.now == 2.5


def test_expect_says_why_nothing_can_come() -> None:
    kit = Kit()
    clients = {name: kit.public(name) for name in ("frozen", "stalled", "half-open")}
    clients["frozen"].freeze()
    clients["stalled"].stall()
    clients["half-open"].half_open()
    kit.public("bo").say("hello")
    for fault, client in clients.items():
        with pytest.raises(AssertionError, match=f"nothing came, and it is {fault}"):
            client.expect("bo> hello")
        assert repr(client) == f"<{fault}: {fault}>"
    cy = kit.public("cy")
    kit.drain()
    with pytest.raises(AssertionError, match="nothing came, and it is closed with 4000 the server restarts"):
        cy.expect("bo> hello", within=60)
    assert kit.now < 60, "who is closed waits for nothing"
    assert repr(cy) == "<cy: closed with 4000>"


def test_expect_nothing() -> None:
    kit = Kit()
    ada, bo = kit.private("ada"), kit.private("bo")
    ada.expect_nothing(for_=5)
    assert kit.now == 5
    bo.say("boo")
    with pytest.raises(AssertionError, match=r"expected nothing for 5 s; 'bo> boo' came"):
        ada.expect_nothing()
    ada.expect("bo> boo")
    ada.expect_nothing()


def test_expect_close() -> None:
    kit = Kit()
    ada = kit.public("ada")
    with pytest.raises(AssertionError, match="expected close 4510 within 3 s; it is connected"):
        ada.expect_close(4510, within=3)
    for _ in range(10):
        ada.send_raw("not JSON")
    assert ada.expect_close(4510) == Close(4510, "too many errors")
    with pytest.raises(AssertionError, match="expected close 4000 within 1 s; it is closed with 4510"):
        ada.expect_close(4000)
    assert len(ada.lines) == 10
    with pytest.raises(Disconnected, match="4510"):
        ada.say("too late")
    with pytest.raises(Disconnected):
        ada.ping()


def test_run_until() -> None:
    kit = Kit(seed=7)
    kit.run_until(lambda: kit.now >= 0, within=1)
    assert kit.now == 0
    with pytest.raises(AssertionError, match=r"not so within 1.5 s \(at 1.5 s, seed 7\)"):
        kit.run_until(lambda: False, within=1.5)


def test_time_that_stands_still_is_an_error() -> None:
    """Rather than a test that never ends."""
    kit = Kit()

    def again() -> None:
        kit.hub.scheduler.call_soon(again)

    again()
    with pytest.raises(RuntimeError, match="time stands still at 0 s"):
        kit.advance(1)


# Settings, and who comes in


def test_settings_are_the_server_s() -> None:
    kit = Kit(Settings(rate=5, burst=1, ping=2, ping_timeout=1, notices=True))
    ada = kit.public("ada")
    kit.public("bo")
    ada.expect("! joined: someone came in")
    ada.say("one")
    ada.say("two")
    ada.expect("ada> one")
    ada.expect_nothing(for_=0.19)
    ada.expect("ada> two", within=0.02)
    ada.freeze()
    kit.run_until(lambda: not ada.is_connected, within=5)


def test_without_a_rate_there_is_no_limit() -> None:
    kit = Kit()
    ada = kit.public("ada")
    for number in range(500):
        ada.say(str(number))
    kit.advance(0)
    assert len(ada.lines) == 500
    unlimited = Kit(Settings(rate=math.inf)).public("ada")
    unlimited.say("one")
    unlimited.expect("ada> one")


def test_who_is_refused_before_the_connection_opens() -> None:
    with pytest.raises(ConnectError, match="/chat/private: there are no booths here"):
        Kit(Settings(booths=False)).private("ada")
    kit = Kit()
    with pytest.raises(ConnectError, match="sign in first"):
        kit.public("ada", identity=None)
    kit.drain()
    with pytest.raises(ConnectError, match="restarts"):
        kit.public("ada")
    assert kit.clients == []


def test_an_identity_proves_the_name() -> None:
    kit = Kit()
    ada, bo = kit.public("mallory", identity=Person("user-1", "Ada> \u202e")), kit.public("bo", identity=Guest())
    ada.say("me", name="bo")
    bo.expect("Ada> me")
    bo.say("and me", name="cy")
    bo.expect("cy> and me")


def test_labels_tell_clients_apart() -> None:
    kit = Kit()
    clients = [kit.public("ada"), kit.public(), kit.public("ada")]
    assert [client.label for client in clients] == ["ada", "guest2", "ada/2"]
    assert [client.name for client in clients] == ["ada", "guest2", "ada"]
    assert kit.clients == clients


def test_rooms_are_shown() -> None:
    kit = Kit()
    ada, bo, cy = kit.private("ada"), kit.private("bo"), kit.public("cy")
    assert ada.room == bo.room != "public" == cy.room
    bo.close()
    bo.expect_close(1000)
    assert (bo.room, bo.is_connected) == (None, False)


# What a client does


@KINDS
def test_frames_of_all_sizes_and_kinds(frames: bool) -> None:
    kit = Kit()
    ada = kit.public("ada", frames=frames)
    for size in (0, 119, 120, 121, 9000):
        ada.say("x" * size)
        ada.expect("ada> " + "x" * size)
    ada.say("é😀" * 4000)
    ada.expect("ada> " + "é😀" * 4000)
    ada.send_raw(b'{"username": "ada", "message": "binary"}')
    ada.expect("ada> binary")
    ada.send_raw("[" * 131_073)
    ada.expect_close(1009)


@KINDS
def test_text_that_is_not_utf_8(frames: bool) -> None:
    ada = Kit().public("ada", frames=frames)
    ada.send_raw("\ud800")
    ada.expect_close(1007)


@KINDS
def test_pings_are_answered(frames: bool) -> None:
    kit = Kit()
    ada = kit.public("ada", frames=frames, latency=0.1)
    ada.ping()
    kit.advance(0.19)
    assert ada.pongs == 0
    kit.advance(0.02)
    assert ada.pongs == 1


@KINDS
def test_goodbye_frees_the_seat_at_once(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.private("ada", frames=frames, latency=0.2), kit.private("bo", frames=frames)
    ada.say("bye")
    ada.close()
    ada.close()
    bo.expect("ada> bye")
    assert ada.room is None
    ada.expect_close(1000)
    assert kit.now == pytest.approx(0.4)
    # What is due goes out before the answer to a close; a plain ASGI server answers by itself, and takes no more.
    assert ada.lines == (["ada> bye"] if frames else [])


# What the network does


@KINDS
def test_bytes_never_overtake_each_other(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames, latency=2), kit.public("bo", frames=frames)
    ada.say("slow")
    ada.latency = 0
    ada.say("fast")
    bo.expect_nothing(for_=1.9)
    bo.expect("ada> slow")
    bo.expect("ada> fast")


@KINDS
def test_trickle_delivers_in_pieces(frames: bool) -> None:
    """58 bytes, seven at a time, one piece each tenth of a second, both ways."""
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames)
    bo.trickle(7, every=0.1)
    ada.say("x" * 51)
    ada.expect("ada> " + "x" * 51)
    bo.expect_nothing(for_=0.7)
    bo.expect("ada> " + "x" * 51, within=0.2)
    bo.say("y")
    ada.expect_nothing(for_=0.4)
    ada.expect("bo> y", within=0.4)


@KINDS
def test_a_stalled_client_still_speaks(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames)
    bo.stall()
    bo.say("I hear nothing")
    ada.expect("bo> I hear nothing")
    assert bo.lines == []
    bo.unstall()
    bo.expect("bo> I hear nothing")


@KINDS
def test_a_frozen_client_goes_on_where_it_was(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames)
    bo.freeze()
    bo.say("later")
    ada.say("now")
    ada.expect("ada> now")
    ada.expect_nothing(for_=3)
    bo.thaw()
    ada.expect("bo> later")
    bo.expect("ada> now")
    bo.expect("bo> later")


@KINDS
def test_a_client_frozen_for_too_long_finds_itself_cut(frames: bool) -> None:
    kit = Kit()
    ada = kit.public("ada", frames=frames)
    ada.freeze()
    kit.advance(40)
    assert (ada.is_connected, ada.closed) == (False, None)
    ada.thaw()
    ada.expect_close(1006)


@KINDS
def test_a_drop_is_noticed_after_what_was_said(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames, latency=0.3), kit.public("bo", frames=frames)
    ada.say("last words")
    ada.drop()
    ada.drop()
    assert ada.closed == Close(1006, "the connection was cut")
    assert len(kit.hub) == 2
    bo.expect("ada> last words")
    kit.advance(0)
    assert len(kit.hub) == 1
    assert kit.now == pytest.approx(0.3)


@KINDS
def test_a_drop_is_noticed_by_writing_where_it_is_not_read(frames: bool) -> None:
    """A server that does not read, because the client was too fast, learns of the end when it writes."""
    kit = Kit(Settings(rate=1, burst=1))
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames)
    for _ in range(20):
        ada.say("x" * 8000)
    kit.advance(0.1)
    ada.drop()
    kit.advance(0.1)
    assert len(kit.hub) == 2
    bo.say("anyone?")
    kit.advance(0.1)
    assert len(kit.hub) == 1


@KINDS
def test_on_a_half_open_line_nobody_learns_anything(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames, latency=0.1), kit.public("bo", frames=frames)
    ada.say("on its way")
    ada.half_open()
    ada.say("into the void")
    bo.say("hello?")
    bo.expect("bo> hello?")
    bo.expect_nothing(for_=50)
    assert (ada.is_connected, ada.closed, ada.lines) == (False, None, [])


@KINDS
def test_a_close_that_is_not_answered_is_cut_in_two_seconds(frames: bool) -> None:
    """The seat is free at once; the connection ends later, and nothing of it stays behind."""
    kit = Kit()
    ada = kit.public("ada", frames=frames, buffer=4)
    ada.stall()
    kit.drain()
    assert not ada.is_connected
    kit.advance(1.9)
    ada.unstall()
    ada.expect_close(4000)
    kit = Kit()
    bo = kit.public("bo", frames=frames, buffer=4)
    bo.stall()
    kit.drain()
    kit.advance(2.1)
    bo.unstall()
    bo.expect_close(1006)
    kit.advance(20)
    assert kit.next_due == math.inf


@KINDS
def test_nothing_is_planned_when_all_are_gone(frames: bool) -> None:
    kit = Kit()
    clients = [kit.private(frames=frames, latency=0.1) for _ in range(4)]
    for client in clients:
        client.say("hello")
        client.close()
    kit.advance(60)
    assert kit.next_due == math.inf


# A client of v1


@KINDS
def test_a_hello_is_said_and_answered(frames: bool) -> None:
    kit = Kit(Settings(welcome="be kind"))
    ada = kit.v1("ada", frames=frames, latency=0.7)
    assert kit.now == pytest.approx(1.4)
    assert ada.person == {"id": ada.person["id"], "name": "ada", "role": "guest"}
    assert ada.rooms == ["public"]
    assert ada.positions["public"][1] == 0
    assert ada.session == ada.replies[1]["session"]
    ada.assert_event("notice", text="be kind")


def test_a_hello_in_the_test_s_own_words() -> None:
    kit = Kit()
    ada = kit.v1("ada", "/chat", hello=False)
    ada.send_command("rooms")
    ada.assert_refused("required", field="op")
    ada.say_hello(session="no token")
    ada.assert_refused("expired", field="session")
    assert ada.hello(name="Ada Lovelace")["rooms"] == []
    assert ada.name == "Ada Lovelace"
    ada.send_command("join", room="public")
    ada.assert_reply(count=1, members=[{"name": "Ada Lovelace", "plain": None}])
    assert ada.rooms == ["public"]


def test_a_hello_that_is_refused() -> None:
    kit = Kit()
    kit.v1("ada")
    with pytest.raises(AssertionError, match=r'ada/2 at 0 s \(seed 0\): expected a reply; .*"bad_name"'):
        kit.v1("ada")
    with pytest.raises(ConnectError, match="/chat/rooms/tea: there is nothing at this address"):
        kit.v1("bo", "/chat/rooms/tea")
    with pytest.raises(ConnectError, match="no booths"):
        Kit(Settings(booths=False)).v1("ada", "/chat/private")


@KINDS
def test_events_are_asserted_one_by_one(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.v1("ada", frames=frames), kit.v1("bo", frames=frames)
    bo.send("public", "one", key="k")
    with pytest.raises(AssertionError, match=r'ada at 0 s .* expected message \{"text": "one"\} within 1 s; .*joined'):
        ada.assert_event("message", text="one")
    ada.assert_event("member.joined", member={"name": "bo"}, count=2)
    with pytest.raises(AssertionError, match=r"member.joined within"):
        ada.assert_event("member.joined")
    assert ada.assert_event("message", text="one", key="k", from_=bo.person)["off"] == 1
    with pytest.raises(AssertionError, match="message within 2 s; nothing came, and it is connected"):
        ada.assert_event("message", within=2)
    assert kit.now == 2


def test_some_kinds_of_events_can_be_ignored() -> None:
    kit = Kit()
    ada = kit.v1("ada")
    ada.ignored |= {"member.joined", "typing"}
    bo = kit.v1("bo")
    bo.send_command("typing", room="public")
    ada.assert_nothing(for_=60)
    assert [event["ev"] for event in ada.events] == ["member.joined", "typing", "ping", "ping", "ping"]
    bo.send("public", "now")
    with pytest.raises(AssertionError, match=r'expected nothing for 5 s; {"ev": "message"'):
        ada.assert_nothing()
    ada.assert_event("message")
    ada.assert_nothing()


def test_replies_are_asserted_by_their_command() -> None:
    kit = Kit()
    ada = kit.v1("ada")
    first, second = ada.send("public", "one"), ada.send_command("rooms")
    assert (first, second) == (2, 3)
    assert ada.assert_reply(rooms=[{"room": "public", "count": 1}])["re"] == second
    assert ada.assert_reply(first, off=1, dup=None)["kept"] == "relayed"
    with pytest.raises(AssertionError, match=r'expected a reply \{"off": 2\}; \{"re": 2, .*"off": 1'):
        ada.assert_reply(first, off=2)
    with pytest.raises(AssertionError, match=r"expected refusal conflict; .*true"):
        ada.assert_refused("conflict", first)
    ada.send("public", "other", key=ada.commands[first]["key"])
    assert ada.assert_refused("conflict", field="key")["retry"] is False
    with pytest.raises(AssertionError, match=r"expected a reply; .*conflict"):
        ada.assert_reply()
    ada.freeze()
    lost = ada.send("public", "later")
    with pytest.raises(AssertionError, match=r"a reply to 5 \(send\) within 3 s; nothing came, and it is frozen"):
        ada.assert_reply(lost, within=3)


def test_what_can_not_be_read_is_refused_without_a_number() -> None:
    ada = Kit().v1("ada")
    ada.send_raw("not JSON")
    ada.send_raw('{"op": "send"}')
    ada.assert_refused("bad_frame")
    ada.assert_refused("bad_field", field="id")
    with pytest.raises(AssertionError, match="refusal bad_frame to what had no id within 1 s; nothing came"):
        ada.assert_refused("bad_frame")
    ada.send_raw(b"{}")
    ada.expect_close(4500)
    ada.assert_event("bye", code=4500, reconnect=False)
    with pytest.raises(Disconnected):
        ada.send_command("rooms")


@KINDS
def test_pings_are_answered_unless_the_test_says_otherwise(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.v1("ada", frames=frames), kit.v1("bo", frames=frames)
    bo.answers_pings = False
    kit.advance(100)
    assert (ada.is_connected, bo.is_connected) == (True, False)


@KINDS
@pytest.mark.parametrize("fault", ["drop", "half_open", "freeze", "stall"])
def test_who_resumes_has_missed_nothing(frames: bool, fault: str) -> None:
    """The older connection, where it still stands, is closed by the server."""
    kit = Kit()
    ada, bo = kit.v1("ada", frames=frames), kit.v1("bo", frames=frames, latency=0.1)
    ada.send("public", "heard")
    bo.assert_event("message", text="heard")
    getattr(bo, fault)()
    kit.advance(1)
    ada.send("public", "missed")
    old, bo = bo, bo.resume()
    assert bo.label == "bo/2"
    assert bo.person == old.person
    assert bo.replies[1]["rooms"][0].items() >= {"recovered": True, "off": 1, "upto": 2}.items()
    bo.assert_event("message", text="missed", off=2)
    assert not old.is_connected
    ada.send("public", "new")
    bo.assert_event("message", text="new", off=3)
    for client in (old, ada):
        client.thaw()
        client.unstall()
    if fault in ("freeze", "stall"):
        old.expect_close(4504)


def test_a_client_knows_where_it_sits() -> None:
    kit = Kit()
    ada, bo = kit.v1("ada", "/chat/private"), kit.v1("bo", "/chat")
    bo.find()
    booth = bo.assert_event("match.found")["room"]
    assert (ada.booth, bo.booth) == (booth, booth)
    assert (ada.rooms, ada.positions[booth][1]) == ([booth], 0)
    bo.send_command("leave", room=booth)
    bo.assert_reply()
    kit.advance(0)
    assert (ada.booth, bo.booth, ada.positions, bo.positions) == (None, None, {}, {})
    cy = kit.private("cy")
    ada.next()
    ada.assert_reply()
    kit.advance(0)
    assert ada.booth == cy.room
    ada.next()
    ada.assert_reply()
    assert ada.booth is None


def test_resuming_at_another_address() -> None:
    kit = Kit()
    ada = kit.v1("ada", identity=Person("user-1", "Ada"))
    ada.drop()
    ada = ada.resume("/chat/private", hello=False)
    ada.hello(match={"langs": ["en"]})
    ada.assert_event("match.waiting")
    assert ada.rooms == ["public"]
    assert ada.person["role"] == "user"


@KINDS
def test_a_restart_takes_all_that_was_in_memory(frames: bool) -> None:
    """But not who somebody is; and what is not there any more is not pretended."""
    kit = Kit()
    ada, bo = kit.v1("ada", "/chat/private", frames=frames), kit.private("bo", frames=frames)
    ada.send_command("join", room="public")
    ada.send("public", "before")
    ada.assert_reply()
    booth = ada.booth
    kit.restart()
    bo.expect_close(1006)
    ada.expect_close(1006)
    assert len(kit.hub) == 0
    old, ada = ada, ada.resume(hello=False)
    ada.say_hello()
    public = {"room": "public", "recovered": False, "off": 0}
    ada.assert_reply(rooms=[{"room": booth, "gone": True}, public], person=old.person)
    assert ada.positions["public"] != old.positions["public"]
    ada.assert_event("match.waiting")
    ada.send("public", "after")
    ada.assert_event("message", off=1)
    kit.advance(100)
    assert ada.is_connected


def test_a_drained_server_can_be_started_again() -> None:
    kit = Kit()
    ada = kit.v1("ada")
    kit.drain()
    ada.assert_event("reconnect")
    ada.assert_event("bye", code=4000, reconnect=True)
    ada.expect_close(4000)
    with pytest.raises(ConnectError, match="restarts"):
        ada.resume()
    kit.restart()
    assert ada.resume().person == ada.person


# The trace


def story(seed: int, frames: bool) -> list[Happening]:
    kit = Kit(seed=seed)
    crowd = [kit.private(f"p{number}", frames=frames) for number in range(20)]
    for client in crowd[::2]:
        client.drop()
    kit.advance(1)
    late = [kit.private(f"q{number}", frames=frames, latency=0.1) for number in range(10)]
    for client in late:
        client.say("hello")
    kit.advance(1)
    return kit.trace


@KINDS
def test_the_same_seed_gives_the_same_trace(frames: bool) -> None:
    """And another seed another one: it decides who meets whom."""
    assert story(1, frames) == story(1, frames)
    assert story(1, frames) != story(2, frames)


def test_both_kinds_give_one_trace() -> None:
    """Where nothing is slow a room is the same for a connection taken over and one through ASGI."""
    assert story(1, True) == story(1, False)


def test_the_trace_tells_what_happened() -> None:
    kit = Kit()
    ada: Client = kit.private("ada")
    ada.say("hi")
    kit.advance(2)
    ada.latency = 0.5
    ada.drop()
    kit.advance(1)
    booth = kit.trace[1].room
    assert kit.trace == [
        Happening(0, "ada", "connect", "/chat/private", None),
        Happening(0, "ada", "seat", "", booth),
        Happening(0, "ada", "said", "ada> hi", booth),
        Happening(0, "ada", "line", "ada> hi", None),
        Happening(2, "ada", "latency", "0.5", None),
        Happening(2, "ada", "drop", "", None),
        Happening(2, "ada", "closed", "1006", None),
        Happening(2.5, "ada", "leave", "", booth),
        Happening(2.5, "ada", "gone", "", None),
    ]


def test_the_trace_tells_what_v1_clients_did() -> None:
    kit = Kit()
    ada = kit.v1("ada", "/chat/private")
    bo = kit.private("bo")
    booth = bo.room or ""
    mid = ada.assert_reply(ada.send(booth, "hi"))["mid"]
    ada.send_command("edit", room=booth, mid=mid, text="hello")
    ada.send_command("react", room=booth, mid=mid, emoji="\N{WAVING HAND SIGN}")
    ada.send_command("delete", room=booth, mid=mid)
    kit.advance(0)
    ada.drop()
    kit.advance(0)
    told = {"seat", "leave", "said", "edited", "reacted", "deleted"}
    assert [happening[1:] for happening in kit.trace if happening.what in told] == [
        ("ada", "seat", "", booth),
        ("bo", "seat", "", booth),
        ("ada", "said", "ada> hi", booth),
        ("ada", "edited", "hello", booth),
        ("ada", "reacted", "+\N{WAVING HAND SIGN}", booth),
        ("ada", "deleted", mid, booth),
        ("ada", "leave", "lost", booth),
    ]
    frames = [json.loads(happening.detail) for happening in kit.trace if happening.what in ("event", "reply")]
    assert [frame.get("ev", frame.get("re")) for frame in frames[:3]] == [1, "match.waiting", "match.found"]
    assert all(frame in (*ada.events, *ada.replies.values()) for frame in frames)


def test_a_failure_is_in_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server logs it and lives on; a test should know."""
    kit = Kit()
    ada = kit.public("ada")

    def fail(publish: object, done: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(kit.hub.engine, "publish", fail)
    ada.say("hi")
    ada.expect_close(4003)
    assert [happening.detail for happening in kit.trace if happening.what == "failed"] == ["ZeroDivisionError"]
