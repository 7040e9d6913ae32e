"""The hub's promises, in virtual time, for connections that were taken over (`frames`) and for plain ASGI ones.

`kit` tests look from outside, through the simulated network; `desk` tests hold the hub's other ends in their hands.
"""

import asyncio
import gc
import inspect
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from math import inf
from types import CodeType, FrameType
from typing import Any, cast

import pytest

from parlour import Person, Settings
from parlour.core.connection import Connection, Pace
from parlour.core.events import Amend, Effect, Event, Fetch, Here, Letter, Look, Page, Place, Publish, Seat
from parlour.core.house import House
from parlour.core.keys import Keyring
from parlour.core.names import NameRules
from parlour.core.plain import PlainConnection
from parlour.engine import Answered, Engine, Scheduler
from parlour.engine.memory import MemoryEngine
from parlour.errors import Close
from parlour.hub import BACKLOG_LIMIT, RESUME_PIECE, Batch, Hub, Link, frame
from parlour.testing import Client, Kit
from parlour.transport.uvicorn import TakenConnection
from parlour.wire import V1, Plain, Wire

PING, TIMEOUT = 20.0, 10.0
PUBLIC, BOOTH, NOWHERE = Place(room="public"), Place(booth=True), Place()
KINDS = pytest.mark.parametrize("frames", [True, False], ids=["frames", "texts"])


def line(text: str, name: str = "ada") -> str:
    return f'{{"username": "{name}", "message": "{text}"}}'


def command(op: str, id: int = 1, **fields: Any) -> str:
    return json.dumps({"id": id, "op": op, **fields})


def send(text: str, room: str = "public", id: int = 7) -> str:
    return command("send", id, room=room, key=text[:20], text=text)


class Wall:
    """A socket that writes down what the hub does to it. It can be stuck, or broken."""

    pings = True

    def __init__(self, frames: bool) -> None:
        self.frames = frames
        self.link: Link | None = None
        self.acts: list[str] = []  # what the hub did, in order: lines, "close 4000", "abort", ...
        self.sent: list[Any] = []  # what `send` was given
        self.is_stuck = False
        self.is_broken = False
        self.waiting = 0
        self.session = ""  # the token, once hello was answered

    def send(self, data: Any) -> None:
        if self.is_broken:
            raise RuntimeError("the transport is closed")
        self.sent.append(data)
        self.acts += texts_of(data) if self.frames else data
        if self.is_stuck:
            self.waiting += len(data) if self.frames else sum(map(len, data))
            assert self.link is not None
            self.link.paused()

    @property
    def heard(self) -> list[dict[str, Any]]:
        """All that came in v1."""
        return [json.loads(act) for act in self.acts if act.startswith("{")]

    def kinds(self) -> list[str]:
        """What the hub did, in order: the kinds of events, `reply` or `refused`, "close 4000", ..."""
        return [kind_of(json.loads(act)) if act.startswith("{") else act for act in self.acts]

    def drain(self) -> None:
        self.is_stuck = False
        self.waiting = 0
        assert self.link is not None
        self.link.drained()

    def buffered(self) -> int:
        return self.waiting

    def ping(self) -> None:
        self.acts.append("ping")

    def pause_reading(self) -> None:
        self.acts.append("pause")

    def resume_reading(self) -> None:
        self.acts.append("resume")

    def close(self, close: Close) -> None:
        self.acts.append(f"close {close.code}")

    def abort(self) -> None:
        self.acts.append("abort")


def kind_of(came: dict[str, Any]) -> str:
    return str(came["ev"]) if "ev" in came else "reply" if came["ok"] else "refused"


def texts_of(frames: bytes) -> list[str]:
    """The payloads of small text frames."""
    texts = []
    while frames:
        assert frames[0] == 0x81
        size, start = frames[1], 2
        if size == 126:
            size, start = int.from_bytes(frames[2:4]), 4
        texts.append(frames[start : start + size].decode())
        frames = frames[start + size :]
    return texts


class LateEngine:
    """Answers when it is told to: as one does that asks over the network."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._later: list[Callable[[], object]] = []

    def answer(self) -> None:
        later, self._later = self._later, []
        for call in later:
            call()

    def counts(self) -> tuple[int, int]:
        return self._engine.counts()

    def __getattr__(self, name: str) -> Callable[..., None]:
        act = getattr(self._engine, name)
        return lambda *args, **options: self._later.append(partial(act, *args, **options))


def late_engine(engine: Engine) -> Engine:
    return cast(Engine, LateEngine(engine))


def made_hub(scheduler: Scheduler, new_id: Callable[[], str], wrap: Callable[[Engine], Engine]) -> Hub:
    """A hub where the first of all who wait is chosen, and where it is midnight."""
    keyring = Keyring({"desk": b"a secret that lies on a desk, open to all"}, "desk")

    def engine(hub: Hub) -> Engine:
        return wrap(
            MemoryEngine(hub, scheduler=scheduler, keyring=keyring, choose=lambda n: 0, new_id=new_id, utc_ms=lambda: 0)
        )

    return Hub(scheduler, engine, House(NameRules(), keyring, new_id, lambda: 0))


class Desk:
    """A hub on the clock of a kit, with walls for sockets."""

    def __init__(self, wrap: Callable[[Engine], Engine] = lambda engine: engine) -> None:
        self._kit = Kit()
        ids = count(1)
        self.clock = self._kit.hub.scheduler
        self.plain, self.v1 = Plain(), V1()
        self.gone: list[str] = []
        self.hub = made_hub(self.clock, lambda: f"c{next(ids)}", wrap)

    def connect(
        self, wall: Wall, place: Place = PUBLIC, rate: float | None = None, wire: Wire | None = None, burst: int = 1
    ) -> Link:
        pace = Pace(rate=rate, burst=burst, ping=PING, ping_timeout=TIMEOUT)
        wire = wire or self.plain
        wall.link = self.hub.connect(wall, wire, place, pace, gone=lambda: self.gone.append("gone"))
        return wall.link

    def turn(self) -> None:
        self._kit.advance(0)

    def wait(self, seconds: float) -> None:
        self._kit.advance(seconds)

    def run_until(self, condition: Callable[[], object]) -> None:
        self._kit.run_until(condition, within=60)


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
def test_a_frame_says_its_length(size: int) -> None:
    """RFC 6455 5.2: 7, 16 or 64 bits of length, in the fewest bytes."""
    made = frame("x" * size)
    head = {0: 2, 126: 4, 65_536: 10}[max(limit for limit in (0, 126, 65_536) if limit <= size)]
    assert made[0] == 0x81
    assert len(made) == head + size
    assert (made[1] if head == 2 else int.from_bytes(made[2:head])) == size


def test_a_batch_makes_its_frames_once() -> None:
    batch = Batch(["a", "é"])
    assert batch.frames == b"\x81\x01a\x81\x02\xc3\xa9"
    assert batch.frames is batch.frames


# The end of a turn


@KINDS
def test_what_one_turn_brings_is_written_at_once(desk: Desk, frames: bool) -> None:
    """One `send` for each member, with the very same object: made once, however many members there are."""
    walls = [Wall(frames) for _ in range(3)]
    links = [desk.connect(wall) for wall in walls]
    for link, text in zip(links, ("one", "two", "three"), strict=True):
        link.receive(line(text))
    assert [wall.sent for wall in walls] == [[], [], []]
    desk.turn()
    assert [wall.acts for wall in walls] == [["ada> one", "ada> two", "ada> three"]] * 3
    assert [len(wall.sent) for wall in walls] == [1, 1, 1]
    assert all(wall.sent[0] is walls[0].sent[0] for wall in walls)
    assert desk.hub.tally.messages == 3


def test_both_kinds_share_a_room(desk: Desk) -> None:
    taken, plain = Wall(True), Wall(False)
    desk.connect(taken).receive(line("one"))
    desk.connect(plain).receive(line("two"))
    desk.turn()
    assert (taken.acts, plain.acts) == (["ada> one", "ada> two"], ["ada> two"])


@KINDS
def test_an_answer_never_overtakes_an_event(desk: Desk, frames: bool) -> None:
    """Rooms first, then what is for one alone, whatever came first in the turn."""
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada)
    desk.connect(bo)
    link.receive("not JSON")
    link.receive(line("hello"))
    desk.turn()
    assert [act[:10] for act in ada.acts] == ["ada> hello", "! bad_fram"]
    assert bo.acts == ["ada> hello"]


# Barriers


@KINDS
@pytest.mark.parametrize("place", [PUBLIC, BOOTH], ids=["public", "booth"])
def test_a_newcomer_hears_nothing_said_before_it_came(desk: Desk, frames: bool, place: Place) -> None:
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada, place)
    link.receive(line("before"))
    desk.connect(bo, place)
    link.receive(line("after"))
    desk.turn()
    assert (ada.acts, bo.acts) == (["ada> before", "ada> after"], ["ada> after"])


@KINDS
@pytest.mark.parametrize("place", [PUBLIC, BOOTH], ids=["public", "booth"])
def test_who_is_closed_heard_all_that_was_said_until_then(desk: Desk, frames: bool, place: Place) -> None:
    ada, bo = Wall(frames), Wall(frames)
    ada_link, bo_link = desk.connect(ada, place), desk.connect(bo, place)
    ada_link.receive(line("before"))
    bo_link.receive("not JSON")
    bo_link.end(Close(4506))
    ada_link.receive(line("after"))
    desk.turn()
    assert [act[:11] for act in bo.acts] == ["ada> before", "! bad_frame", "close 4506"]
    assert ada.acts == ["ada> before", "ada> after"]


@KINDS
@pytest.mark.parametrize("place", [PUBLIC, BOOTH], ids=["public", "booth"])
def test_last_words_are_heard(desk: Desk, frames: bool, place: Place) -> None:
    """Who speaks and is lost in the same turn was heard by the others."""
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada, place)
    desk.connect(bo, place)
    link.receive(line("farewell"))
    link.lost()
    desk.turn()
    assert bo.acts == ["ada> farewell"]


@KINDS
def test_who_follows_into_a_booth_hears_nothing_of_it(desk: Desk, frames: bool) -> None:
    """One leaves and another takes the seat, all in the turn in which something was said."""
    ada, bo, cy = Wall(frames), Wall(frames), Wall(frames)
    ada_link, bo_link = desk.connect(ada, BOOTH), desk.connect(bo, BOOTH)
    ada_link.receive(line("for bo"))
    bo_link.lost()
    desk.connect(cy, BOOTH)
    ada_link.receive(line("for cy"))
    desk.turn()
    assert (bo.acts, cy.acts) == (["ada> for bo"], ["ada> for cy"])


@KINDS
def test_ten_errors_are_answered_before_the_close(desk: Desk, frames: bool) -> None:
    ada = Wall(frames)
    link = desk.connect(ada)
    for _ in range(12):
        link.receive("not JSON")
    desk.turn()
    assert [act[:11] for act in ada.acts] == ["! bad_frame"] * 10 + ["close 4510"]
    assert (len(desk.hub), desk.gone) == (0, ["gone"])


@KINDS
def test_a_lagging_client_is_closed_after_all_that_waits(desk: Desk, frames: bool) -> None:
    """It reads slowly, but it reads: what was said until its end comes before the close frame."""
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada)
    bo_link = desk.connect(bo)
    bo.is_stuck = True
    for text in ("one", "two", "three"):
        link.receive(line(text))
        desk.turn()
    bo_link.end(Close(4506))
    assert bo.acts == ["ada> one", "ada> two", "ada> three", "close 4506"]


# Lagging members


def fan_out(hub: Hub, room: str = "public") -> tuple[int, int]:
    """Members in the fan-out lists of a room, and members outside of them."""
    audiences = hub._rooms[room].values()
    return sum(len(audience._sends) for audience in audiences), sum(len(audience._lagging) for audience in audiences)


@KINDS
def test_a_lagging_member_leaves_the_fan_out_and_comes_back(desk: Desk, frames: bool) -> None:
    """Its queue keeps the order, of rooms and its own, and the others hear at once."""
    ada, bo = Wall(frames), Wall(frames)
    link, bo_link = desk.connect(ada), desk.connect(bo)
    bo.is_stuck = True
    link.receive(line("one"))
    desk.turn()
    assert fan_out(desk.hub) == (1, 1)
    link.receive(line("two"))
    bo_link.receive("not JSON")
    desk.turn()
    link.receive(line("three"))
    desk.turn()
    assert ada.acts == ["ada> one", "ada> two", "ada> three"]
    assert bo.acts == ["ada> one"]
    bo.drain()
    assert [act[:11] for act in bo.acts] == ["ada> one", "ada> two", "! bad_frame", "ada> three"]
    assert fan_out(desk.hub) == (2, 0)
    link.receive(line("four"))
    desk.turn()
    assert bo.acts[-1] == "ada> four"


@KINDS
def test_a_member_that_drains_in_part_keeps_the_order(desk: Desk, frames: bool) -> None:
    """Stuck again at the first of what waited: the rest waits on, and what is said meanwhile behind it."""
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada)
    bo_link = desk.connect(bo)
    bo.is_stuck = True
    for text in ("one", "two", "three"):
        link.receive(line(text))
        desk.turn()
    bo_link.drained()  # takes "two", and is stuck again
    assert bo.acts == ["ada> one", "ada> two"]
    link.receive(line("four"))
    desk.turn()
    assert fan_out(desk.hub) == (1, 1)
    bo.drain()
    assert bo.acts == ["ada> one", "ada> two", "ada> three", "ada> four"]
    assert fan_out(desk.hub) == (2, 0)


@KINDS
def test_many_fall_behind_in_one_turn_and_nobody_is_skipped(desk: Desk, frames: bool) -> None:
    """The lists stay as they are while they are walked."""
    walls = [Wall(frames) for _ in range(40)]
    links = [desk.connect(wall) for wall in walls]
    stuck = walls[::3] + walls[-2:]
    for wall in stuck:
        wall.is_stuck = True
    links[1].receive(line("one"))
    desk.turn()
    links[1].receive(line("two"))
    desk.turn()
    for wall in walls:
        assert wall.acts == (["ada> one"] if wall in stuck else ["ada> one", "ada> two"])
    for wall in stuck:
        wall.drain()
    assert [wall.acts for wall in walls] == [["ada> one", "ada> two"]] * 40


@KINDS
def test_a_stalled_reader_gets_everything_in_order_afterwards(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames, buffer=50)
    bo.stall()
    said = [f"line {number}" for number in range(40)]
    for text in said:
        ada.say(text)
        kit.advance(0.1)
    assert fan_out(kit.hub) == (1, 1)
    assert ada.lines == [f"ada> {text}" for text in said]
    bo.unstall()
    kit.run_until(lambda: len(bo.lines) == 40, within=1)
    assert bo.lines == ada.lines
    assert fan_out(kit.hub) == (2, 0)


@KINDS
def test_who_joins_while_it_lags_is_no_exception(desk: Desk, frames: bool) -> None:
    """A socket that is stuck before its seat: what the room says is queued from the start."""
    late = LateEngine(desk.hub.engine)
    desk.hub.engine = cast(Engine, late)
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada)
    late.answer()
    bo_link = desk.connect(bo)
    bo.is_stuck = True
    bo_link.paused()
    late.answer()
    link.receive(line("one"))
    late.answer()
    desk.turn()
    assert (ada.acts, bo.acts) == (["ada> one"], [])
    bo.drain()
    assert bo.acts == ["ada> one"]


# The slow rule


@KINDS
def test_five_seconds_without_a_byte_are_the_end(frames: bool) -> None:
    """The stuck one is aborted; the others get everything, without a pause."""
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames)
    cy = kit.public("cy", frames=frames, buffer=100)
    cy.stall()
    for number in range(200):
        ada.say(f"{number:3} {'x' * 96}")
        kit.advance(0.05)
        if kit.now < 5:
            assert cy.is_connected
    assert not cy.is_connected
    gone = next(happening.at for happening in kit.trace if (happening.who, happening.what) == ("cy", "gone"))
    assert 5 <= gone <= 5.6
    assert len(bo.lines) == 200
    assert bo.lines == ada.lines


@pytest.mark.parametrize(("frames", "piece", "every"), [(True, 1, 4.0), (False, 27, 4.0)], ids=["frames", "texts"])
def test_a_reader_that_takes_a_little_is_kept(frames: bool, piece: int, every: float) -> None:
    """Slow is not stuck: a byte now and then, and less than 256 KiB behind. A plain ASGI server does not show bytes:
    there it must be a whole line."""
    kit = Kit(Settings(ping=3600))
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames, buffer=27)
    bo.trickle(piece, every)
    for number in range(20):
        ada.say(f"{number:20}")
        kit.advance(0.1)
    assert fan_out(kit.hub) == (1, 1)
    kit.run_until(lambda: len(bo.lines) == 20, within=3000)
    assert kit.now > 60
    assert bo.lines == ada.lines


@KINDS
def test_more_than_256_kib_waiting_is_the_end(frames: bool) -> None:
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames, buffer=100)
    bo.stall()
    size = 8192
    fit = 256 * 1024 // size
    for _ in range(fit - 2):
        ada.say("x" * size)
        kit.advance(0)
    assert len(kit.hub) == 2
    for _ in range(3):
        ada.say("x" * size)
        kit.advance(0)
    assert not bo.is_connected
    assert kit.now == 0
    assert len(ada.lines) == fit + 1


@KINDS
def test_less_than_256_kib_waiting_is_delivered(frames: bool) -> None:
    """Again and again: what was delivered counts no more."""
    kit = Kit()
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames, buffer=100)
    for _ in range(3):
        bo.stall()
        for _ in range(30):
            ada.say("x" * 8000)
            kit.advance(0.1)
        bo.unstall()
        kit.run_until(lambda: len(bo.lines) == len(ada.lines), within=1)
    assert len(bo.lines) == 90


# A transport that raises


@KINDS
def test_a_broken_transport_harms_nobody(desk: Desk, frames: bool) -> None:
    """Wherever it stands in the list: the others get the line, and its seat is freed."""
    walls = [Wall(frames) for _ in range(7)]
    links = [desk.connect(wall) for wall in walls]
    broken = [walls[place] for place in (0, 3, 4, 6)]
    for wall in broken:
        wall.is_broken = True
    links[1].receive(line("one"))
    desk.turn()
    links[1].receive(line("two"))
    desk.turn()
    for wall in walls:
        assert wall.acts == (["abort"] if wall in broken else ["ada> one", "ada> two"])
    assert (len(desk.hub), fan_out(desk.hub)) == (3, (3, 0))


@KINDS
def test_a_transport_that_breaks_on_an_answer(desk: Desk, frames: bool) -> None:
    ada, bo = Wall(frames), Wall(frames)
    desk.connect(ada)
    bo_link = desk.connect(bo)
    bo.is_broken = True
    bo_link.receive("not JSON")
    desk.turn()
    assert bo.acts == ["abort"]
    assert len(desk.hub) == 1


@KINDS
def test_a_transport_that_breaks_while_it_drains(desk: Desk, frames: bool) -> None:
    ada, bo = Wall(frames), Wall(frames)
    link = desk.connect(ada)
    desk.connect(bo)
    bo.is_stuck = True
    for text in ("one", "two", "three"):
        link.receive(line(text))
        desk.turn()
    bo.is_broken = True
    bo.drain()
    assert bo.acts == ["ada> one", "abort"]
    assert fan_out(desk.hub) == (1, 0)


@KINDS
def test_the_last_member_breaks_as_another_comes(desk: Desk, frames: bool) -> None:
    """The newcomer's flush lets go of the last member, and with it of the room: the newcomer's room is a new one."""
    ada, bo = Wall(frames), Wall(frames)
    ada.is_broken = True
    desk.connect(ada).receive(line("one"))
    link = desk.connect(bo)
    link.receive(line("two"))
    desk.turn()
    assert (ada.acts, bo.acts) == (["abort"], ["ada> two"])
    link.lost()
    assert len(desk.hub) == 0


@KINDS
def test_breaking_in_one_room_and_falling_behind_in_the_next(desk: Desk, frames: bool) -> None:
    """Both in one flush: the second room's list stays as it is while it is walked."""
    broken, partner = Wall(frames), Wall(frames)
    links = [desk.connect(broken, BOOTH), desk.connect(partner, BOOTH)]
    walls = [Wall(frames) for _ in range(5)]
    members = [desk.connect(wall) for wall in walls]
    broken.is_broken = True
    walls[0].is_stuck = walls[1].is_stuck = True
    links[1].receive(line("in the booth"))
    members[4].receive(line("in public"))
    desk.turn()
    assert broken.acts == ["abort"]
    assert partner.acts == ["ada> in the booth"]
    assert [wall.acts for wall in walls] == [["ada> in public"]] * 5
    assert fan_out(desk.hub) == (3, 2)


def test_one_kind_breaks_as_the_other_flushes(desk: Desk) -> None:
    """Letting go of the only member of a kind, in a barrier of the same room."""
    ada, bo, cy = Wall(True), Wall(False), Wall(True)
    link = desk.connect(ada)
    desk.connect(bo)
    bo.is_broken = True
    link.receive(line("one"))
    desk.connect(cy)
    link.receive(line("two"))
    desk.turn()
    assert (ada.acts, bo.acts, cy.acts) == (["ada> one", "ada> two"], ["abort"], ["ada> two"])


# Deadlines


def is_gone(client: Client) -> Callable[[], bool]:
    return lambda: not client.is_connected


@KINDS
def test_a_quiet_client_lives_on(frames: bool) -> None:
    kit = Kit()
    ada = kit.public("ada", frames=frames, latency=0.3)
    kit.advance(3600)
    assert ada.is_connected
    ada.say("still here")
    ada.expect("ada> still here")


@KINDS
@pytest.mark.parametrize("fault", ["freeze", "half_open"])
@pytest.mark.parametrize("settings", [Settings(), Settings(ping=1, ping_timeout=1)], ids=["defaults", "scaled"])
def test_the_partner_of_a_ghost_is_free_in_time(frames: bool, fault: str, settings: Settings) -> None:
    """Fault 8: within ping + timeout + 2 s, whenever it happened. The next one who comes takes the seat."""
    for after in (0.0, 0.3, settings.ping - 0.1, settings.ping + 0.1):
        kit = Kit(settings)
        ghost, bo = kit.private("ghost", frames=frames), kit.private("bo", frames=frames)
        kit.advance(after)
        getattr(ghost, fault)()
        bo.say("hello?")
        kit.advance(settings.ping_timeout - 0.01)
        assert ghost.is_connected
        kit.run_until(is_gone(ghost), within=settings.ping + 2)
        cy = kit.private("cy", frames=frames)
        assert cy.room == bo.room
        cy.say("here")
        bo.expect("bo> hello?")
        bo.expect("cy> here")


@KINDS
def test_both_ends_of_a_half_open_line(frames: bool) -> None:
    """Fault 9, the server's side: gone within 35 s at defaults, with nothing said."""
    kit = Kit()
    ada = kit.public("ada", frames=frames)
    kit.advance(7)
    ada.half_open()
    kit.run_until(is_gone(ada), within=35)


def test_a_message_that_is_never_finished() -> None:
    """10 seconds, and not less; where the transport sees pieces at all."""
    kit = Kit()
    ada = kit.public("ada")
    ada.trickle(1, every=0.5)
    ada.say("too slow for anyone")
    kit.advance(9.9)
    assert ada.is_connected
    kit.run_until(is_gone(ada), within=1)
    ada.expect_close(1008, within=30)


def test_a_message_in_pieces_is_one_message() -> None:
    kit = Kit()
    ada, bo = kit.public("ada"), kit.public("bo")
    ada.trickle(3, every=0.2)
    ada.say("slow")
    bo.expect("ada> slow", within=5)
    kit.advance(60)
    assert ada.is_connected


@KINDS
def test_an_answer_to_a_ping_stops_the_clock_once(desk: Desk, frames: bool) -> None:
    """A ping each 20 s, never two at once; one that is not answered ends it 10 s later, by abort."""
    ada = Wall(frames)
    link = desk.connect(ada)
    desk.wait(20)
    assert ada.acts == ["ping"]
    link.control()
    desk.wait(20)
    assert ada.acts == ["ping"] * 2
    desk.wait(9.9)
    assert len(desk.hub) == 1
    desk.wait(0.2)
    assert ada.acts == ["ping", "ping", "abort"]


@KINDS
def test_a_socket_without_pings_is_not_pinged(desk: Desk, frames: bool) -> None:
    ada = Wall(frames)
    ada.pings = False
    desk.connect(ada)
    desk.wait(3600)
    assert ada.acts == []
    assert len(desk.hub) == 1


# Rates


@KINDS
def test_lines_over_the_rate_are_held_and_pings_answered(frames: bool) -> None:
    """Fault 43: every line arrives, in order, later."""
    kit = Kit(Settings(rate=10, burst=30))
    ada, bo = kit.public("ada", frames=frames), kit.public("bo", frames=frames)
    for number in range(300):
        ada.say(str(number))
    ada.ping()
    kit.advance(1)
    assert ada.pongs == 1
    assert 30 <= len(bo.lines) <= 41
    kit.advance(27)
    assert bo.lines == ada.lines == [f"ada> {number}" for number in range(300)]


@KINDS
def test_a_minute_of_flood_is_the_end(frames: bool) -> None:
    """Fault 13: held, then not read, then closed with 4013; the others don't notice."""
    kit = Kit(Settings(rate=10, burst=30))
    ada, bo, cy = (kit.public(name, frames=frames) for name in ("ada", "bo", "cy"))
    for number in range(20_000):
        ada.say(f"{number} {'x' * 100}")
    for number in range(70):
        bo.say(str(number))
        kit.advance(1)
        assert f"bo> {number}" in cy.lines[-12:]
        assert ada.is_connected == (number < 60), number
    ada.expect_close(4013, within=0)
    flooded = [line for line in cy.lines if line.startswith("ada>")]
    assert flooded == [f"ada> {number} {'x' * 100}" for number in range(len(flooded))]
    assert 600 <= len(flooded) <= 640


def test_a_flood_of_pings_is_not_read() -> None:
    """The rest waits, and none is answered twice."""
    kit = Kit()
    ada, bo = kit.public("ada"), kit.public("bo")
    for _ in range(330):
        ada.ping()
    kit.advance(1)
    assert 30 <= ada.pongs <= 60
    bo.say("calm")
    bo.expect("bo> calm")
    kit.advance(31)
    assert ada.pongs == 330
    assert ada.is_connected


# Draining


@KINDS
def test_draining_closes_everyone_with_4000(frames: bool) -> None:
    """After what was said; who is stuck is cut two seconds later."""
    kit = Kit()
    clients = [kit.public(f"p{number}", frames=frames) for number in range(5)]
    clients += [kit.private(f"q{number}", frames=frames) for number in range(5)]
    stuck = kit.public("stuck", frames=frames, buffer=10)
    stuck.stall()
    clients[0].say("last words")
    kit.run_until(lambda: clients[1].lines, within=1)
    kit.drain()
    assert len(kit.hub) == 0
    for client in clients:
        client.expect_close(4000, within=0.1)
    assert [client.lines for client in clients] == [["p0> last words"]] * 5 + [[]] * 5
    kit.advance(2)
    stuck.unstall()
    kit.advance(0)
    assert stuck.closed is not None
    assert stuck.closed.code == 1006
    assert kit.engine.counts() == (0, 0)


@KINDS
def test_who_comes_while_it_drains_is_sent_away(desk: Desk, frames: bool) -> None:
    """The door refuses before; one that was already on its way in gets a close."""
    desk.hub.drain()
    ada = Wall(frames)
    desk.connect(ada)
    assert ada.acts == ["close 4000"]
    assert (len(desk.hub), desk.gone) == (0, ["gone"])


# Failures inside


@KINDS
def test_a_failure_is_logged_without_what_people_say(
    frames: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it happened and on which connection, but neither text nor name; nobody else notices."""
    kit = Kit()
    name, text = "Canary" + "Name", "canary" + "text"
    ada, bo, cy = kit.public(name, frames=frames), kit.public("bo", frames=frames), kit.public("cy", frames=frames)
    connection = next(iter(kit.hub._links))

    def fail(publish: Publish, done: Answered) -> None:
        raise ValueError(f"{publish.member.sender.name} said {publish.text}")

    with monkeypatch.context() as patch, caplog.at_level(logging.DEBUG):
        patch.setattr(kit.hub.engine, "publish", fail)
        ada.say(text)
        ada.expect_close(4003)
    bo.say("fine")
    cy.expect("bo> fine")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    logged = errors[0].getMessage()
    assert connection in logged
    assert "ValueError" in logged
    assert "in fail" in logged
    for canary in (name, text):
        assert all(canary not in record.getMessage() for record in caplog.records)
        assert canary not in caplog.text


def test_a_failure_in_a_timer_ends_one_connection(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    class Pingless(Wall):
        def ping(self) -> None:
            raise OSError

    ada, bo = Pingless(True), Wall(True)
    desk.connect(ada)
    link = desk.connect(bo)
    desk.wait(20)
    assert (ada.acts, bo.acts) == (["close 4003"], ["ping"])
    assert "OSError" in caplog.text
    link.control()
    desk.wait(20)
    assert bo.acts == ["ping", "ping"]


@KINDS
def test_an_end_that_fails_half_way_is_an_end(
    desk: Desk, frames: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine breaks while seats are given up: those connections are cut and forgotten, and the turn goes on."""

    def fail(room: str, connection: str, *, lost: bool) -> None:
        raise OSError

    monkeypatch.setattr(desk.hub.engine, "leave", fail)
    walls = [Wall(frames) for _ in range(4)]
    links = [desk.connect(wall) for wall in walls]
    walls[0].is_broken = walls[1].is_broken = True
    for text in ("not JSON", line("one")):
        links[0].receive(text)
        links[3].receive(text)
    desk.turn()
    assert [wall.acts for wall in walls[:3]] == [["abort"], ["abort"], ["ada> one", "ada> one"]]
    assert [act[:11] for act in walls[3].acts] == ["ada> one", "ada> one", "! bad_frame"]
    assert (len(desk.hub), desk.gone) == (2, ["gone"] * 2)
    assert caplog.text.count("OSError") >= 2
    desk.wait(30)
    assert [wall.acts[-1] for wall in walls] == ["abort"] * 4
    assert (len(desk.hub), desk.hub._rooms) == (0, {})


def test_rules_that_are_due_for_ever_stop_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose deadline never moves is looked after once a turn, and the others are served between."""
    looks = 0

    def idle(connection: Connection, now: float) -> Sequence[Effect]:
        nonlocal looks
        looks += 1
        assert looks < 100, "the timer does not let go"
        return ()

    monkeypatch.setattr(PlainConnection, "tick", idle)
    ada, bo = Wall(True), Wall(True)
    link = desk.connect(ada)
    desk.wait(1)
    desk.connect(bo)
    desk.clock.call_at(20.0, lambda: link.receive(line("hello")))
    desk.run_until(lambda: bo.acts)
    assert bo.acts == ["ada> hello"]
    assert 1 <= looks < 10


# Persons


@KINDS
def test_a_person_sits_in_one_booth_and_the_newcomer_wins(frames: bool) -> None:
    """4504 for the older connection; its partner's booth has a free seat, and the newcomer a whole one."""
    kit = Kit()
    person = Person("user-1", "Ada")
    old, bo = kit.private(identity=person, frames=frames), kit.private("bo", frames=frames)
    assert old.room == bo.room
    new = kit.private(identity=person, frames=frames)
    old.expect_close(4504)
    assert (old.room, new.room) == (None, bo.room)  # the only booth with a free seat
    new.say("again")
    bo.expect("Ada> again")
    new.drop()
    kit.advance(1)
    cy = kit.private("cy", frames=frames)
    assert cy.room == bo.room
    for client in (bo, cy):
        client.drop()
    kit.advance(1)
    assert kit.engine.counts() == (0, 0)
    assert set(kit.engine._rooms) == {"public"}


@KINDS
def test_a_person_may_be_in_public_twice(frames: bool) -> None:
    kit = Kit()
    person = Person("user-1", "Ada")
    one, two = kit.public(identity=person, frames=frames), kit.public(identity=person, frames=frames)
    one.say("me")
    two.expect("Ada> me")
    assert one.is_connected


# An engine that answers later


@KINDS
def test_what_is_said_before_the_seat_comes_is_said_after(frames: bool) -> None:
    desk = Desk(late_engine)
    late = cast(LateEngine, desk.hub.engine)
    ada = Wall(frames)
    link = desk.connect(ada)
    for text in ("one", "two"):
        link.receive(line(text))
    desk.turn()
    assert ada.acts == []
    late.answer()
    late.answer()
    desk.turn()
    assert ada.acts == ["ada> one", "ada> two"]


@KINDS
def test_a_seat_that_comes_too_late_is_given_back(frames: bool) -> None:
    desk = Desk(late_engine)
    late = cast(LateEngine, desk.hub.engine)
    link = desk.connect(Wall(frames), BOOTH)
    link.lost()
    late.answer()
    late.answer()
    assert late.counts() == (0, 0)
    assert desk.hub._rooms == {}
    assert desk.gone == ["gone"]


# Clients with a session


def entered(desk: Desk, wall: Wall, place: Place = PUBLIC, **hello: Any) -> Link:
    """A v1 client that said hello; what came of that is forgotten."""
    link = desk.connect(wall, place, wire=desk.v1)
    link.receive(command("hello", **hello))
    desk.turn()
    assert wall.heard[0]["ok"], wall.heard
    wall.session = wall.heard[0]["session"]
    wall.acts.clear()
    wall.sent.clear()
    return link


def booth_of(wall: Wall) -> str:
    """Where the last `match.found` leads."""
    return next(str(came["room"]) for came in reversed(wall.heard) if came.get("ev") == "match.found")


def met(desk: Desk, ada: Wall, bo: Wall) -> tuple[Link, Link, str]:
    """Two who sit in a booth; what came until then is forgotten."""
    links = entered(desk, ada, NOWHERE), entered(desk, bo, NOWHERE)
    for link in links:
        link.receive(command("match.find"))
    desk.turn()
    booth = booth_of(ada)
    assert booth == booth_of(bo)
    for wall in (ada, bo):
        wall.acts.clear()
    return *links, booth


@KINDS
@pytest.mark.parametrize("is_stuck", [False, True], ids=["reads", "lags"])
def test_a_reply_never_overtakes_the_event_it_answers(desk: Desk, frames: bool, is_stuck: bool) -> None:
    """Whatever else came first in the turn, and also through the queue of one that lags."""
    ada, bo = Wall(frames), Wall(frames)
    link, other = entered(desk, ada), entered(desk, bo)
    ada.is_stuck = is_stuck
    link.receive(command("ping", 2))
    link.receive(send("one", id=3))
    other.receive(send("two", id=2))
    desk.turn()
    link.receive(command("rooms", 4))
    link.receive(send("three", id=5))
    desk.turn()
    ada.drain()
    came = [act for act in ada.heard if act.get("ev") != "member.joined"]
    assert [act.get("text") or act["re"] for act in came] == ["one", "two", 2, 3, "three", 4, 5]
    said = {act["mid"]: act["off"] for act in came if "text" in act}
    assert all(said[act["mid"]] == act["off"] for act in came if "mid" in act)
    link.receive(command("edit", 6, room="public", mid=came[0]["mid"], text="ONE"))
    link.receive(command("react", 7, room="public", mid=came[1]["mid"], emoji="👍"))
    link.receive(command("delete", 8, room="public", mid=came[4]["mid"]))
    desk.turn()
    assert ada.kinds()[-6:] == ["message.edited", "message.reaction", "message.deleted", "reply", "reply", "reply"]


@KINDS
@pytest.mark.parametrize("by", ["hello", "join"])
def test_the_answer_that_tells_of_a_seat_comes_before_anything_of_the_room(desk: Desk, frames: bool, by: str) -> None:
    """Also where others speak in the same turn, before and after."""
    ada, bo, cy = Wall(frames), Wall(frames), Wall(frames)
    link, line_link = entered(desk, ada), desk.connect(cy)
    newcomer = desk.connect(bo, PUBLIC, wire=desk.v1) if by == "hello" else entered(desk, bo, NOWHERE)
    link.receive(send("before"))
    line_link.receive(line("before, too", "cy"))
    newcomer.receive(command("hello") if by == "hello" else command("join", room="public"))
    link.receive(send("after"))
    line_link.receive(line("after, too", "cy"))
    desk.turn()
    assert bo.kinds() == ["reply", "message", "message"]
    answer, *said = bo.heard
    seat = answer["rooms"][0] if by == "hello" else answer
    assert seat["room"] == "public"
    assert [(one["off"], one["text"]) for one in said] == [(seat["off"] + 1, "after"), (seat["off"] + 2, "after, too")]


@KINDS
def test_match_found_comes_before_anything_of_the_booth(desk: Desk, frames: bool) -> None:
    """For both, whoever speaks first in the same turn."""
    ada, bo = Wall(frames), Wall(frames)
    links = [entered(desk, ada, NOWHERE), entered(desk, bo, NOWHERE)]
    found: list[str] = []
    tell = desk.hub.told

    def told(connection: str, letter: Letter, seat: Seat | None = None) -> None:
        """The first one of whom a seat is told speaks at once."""
        tell(connection, letter, seat)
        if seat is not None:
            found.append(seat.room)
            links[0 if connection == links[0].id else 1].receive(send(f"word {len(found)}", seat.room))

    desk.hub.told = told  # type: ignore[method-assign]
    for link in links:
        link.receive(command("match.find"))
    desk.turn()
    for wall in (ada, bo):
        kinds = [kind for kind in wall.kinds() if kind not in ("reply", "match.waiting")]
        assert kinds[0] == "match.found"
        assert set(kinds[1:]) == {"message"}
        assert {one["room"] for one in wall.heard if one.get("ev") == "message"} == {booth_of(wall)}
    offsets = [one["off"] for one in bo.heard if one.get("ev") == "message"]
    first = next(one["off"] for one in bo.heard if one.get("ev") == "match.found")
    assert offsets == list(range(first + 1, 3))


@KINDS
def test_beside_a_plain_client_too(desk: Desk, frames: bool) -> None:
    """What it said alone, in the same turn, stays its own; what it says next is heard."""
    ada, bo = Wall(frames), Wall(frames)
    link, other = desk.connect(ada, BOOTH), entered(desk, bo, NOWHERE)
    link.receive(line("alone"))
    other.receive(command("match.find"))
    link.receive(line("together"))
    desk.turn()
    assert ada.acts == ["ada> alone", "ada> together"]
    assert bo.kinds() == ["reply", "match.found", "message"]
    assert bo.heard[2]["text"] == "together"
    assert bo.heard[2]["off"] == bo.heard[1]["off"] + 1


# What was missed


def absent(desk: Desk, bo: Wall, link: Link, texts: Sequence[str]) -> dict[str, Any]:
    """The hello with which bo comes back, after all this was said without it."""
    assert bo.link is not None
    bo.link.lost()
    for text in texts:
        link.receive(send(text))
    desk.turn()
    pages: list[Page] = []
    desk.hub.engine.fetch(Fetch("public", None, None, 1), lambda page, re: pages.append(cast(Page, page)))
    return {"session": bo.session, "resume": [{"room": "public", "epoch": pages[0].epoch, "off": 0}]}


@KINDS
def test_what_was_missed_comes_between_the_answer_and_live_events(desk: Desk, frames: bool) -> None:
    """In order and without a gap, though others speak in the turn of the hello."""
    ada, bo = Wall(frames), Wall(frames)
    link = entered(desk, ada)
    entered(desk, bo)
    hello = absent(desk, bo, link, [f"{number} {'x' * 300}" for number in range(300)])
    again = Wall(frames)
    newcomer = desk.connect(again, NOWHERE, wire=desk.v1)
    link.receive(send("before"))
    newcomer.receive(command("hello", **hello))
    link.receive(send("after"))
    desk.turn()
    link.receive(send("later"))
    desk.turn()
    welcome, *said = again.heard
    seat = welcome["rooms"][0]
    assert (seat["recovered"], seat["off"], seat["upto"]) == (True, 0, 301)
    assert [one["off"] for one in said] == list(range(1, 304))
    assert [one["text"].split()[0] for one in said] == [*map(str, range(300)), "before", "after", "later"]


@KINDS
def test_what_was_missed_is_not_counted_against_a_slow_reader(desk: Desk, frames: bool) -> None:
    """Though it is more than 256 KiB; what is said from now on is."""
    ada, bo = Wall(frames), Wall(frames)
    link = entered(desk, ada)
    entered(desk, bo)
    hello = absent(desk, bo, link, [f"{number:3} {'x' * 1000}" for number in range(600)])
    again = Wall(frames)
    newcomer = desk.connect(again, NOWHERE, wire=desk.v1)
    again.is_stuck = True
    newcomer.receive(command("hello", **hello))
    desk.turn()
    assert sum(batch.size for batch in newcomer.queue or ()) == newcomer.queued
    live = 0
    while newcomer.queued + again.waiting + 11_000 < BACKLOG_LIMIT:
        link.receive(send(f"live {live:3} {'x' * 9_900}"))
        desk.turn()
        live += 1
    assert live > 20
    assert again.kinds() == ["reply"]
    again.drain()
    assert [one["off"] for one in again.heard[1:]] == list(range(1, 601 + live))
    again.is_stuck = True
    for number in range(30):
        link.receive(send(f"more {number:3} {'x' * 9_900}"))
        desk.turn()
    assert again.acts[-1] == "abort"


@KINDS
def test_one_who_misses_too_much_to_take_it_at_once_takes_it_in_pieces(desk: Desk, frames: bool) -> None:
    """Each piece only when the one before was taken, and live events behind them all."""
    ada, bo = Wall(frames), Wall(frames)
    link = entered(desk, ada)
    entered(desk, bo)
    hello = absent(desk, bo, link, [f"{number:3} {'x' * 1000}" for number in range(200)])
    again = Wall(frames)
    newcomer = desk.connect(again, NOWHERE, wire=desk.v1)
    again.is_stuck = True
    newcomer.receive(command("hello", **hello))
    link.receive(send("live"))
    desk.turn()
    pieces = [1]
    while newcomer.lagging:
        again.waiting = 0
        newcomer.drained()  # takes a piece, and is stuck again
        if newcomer.lagging:
            assert 0 < len(again.sent[-1] if frames else "".join(again.sent[-1])) <= RESUME_PIECE + 2_000
        if len(again.sent) == pieces[-1]:
            again.is_stuck = False
        pieces.append(len(again.sent))
    assert len(pieces) > 200 * 1000 // RESUME_PIECE
    assert [one["off"] for one in again.heard[1:]] == list(range(1, 202))


@KINDS
def test_19_a_reader_that_takes_a_byte_at_a_time_misses_nothing(frames: bool) -> None:
    """What it missed, and what is said while it takes that: all comes, without a gap, and nobody waits for it."""
    kit = Kit(Settings(ping=3600))
    ada = kit.v1("ada", frames=frames)
    bo = kit.v1("bo", frames=frames, buffer=200)
    bo.drop()
    kit.advance(0)
    for number in range(60):
        ada.send("public", f"missed {number} {'x' * 600}")
        kit.advance(0)
    again = bo.resume(hello=False)
    again.trickle(1, every=0.001)
    again.say_hello()
    for number in range(60):
        ada.send("public", f"live {number}")
        kit.advance(0.25)
    kit.run_until(lambda: len(again.events) == 120, within=300)
    assert kit.now > 30
    seat = again.replies[1]["rooms"][0]
    assert (seat["recovered"], seat["off"]) == (True, 0)
    assert [event["off"] for event in again.events] == list(range(1, 121))
    assert again.is_connected
    assert len([event for event in ada.events if event["ev"] == "message"]) == 120


# Two wires in one room


class Counting:
    """A wire that counts how often it makes text of an event."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.encoded = 0

    def encode(self, event: Event) -> str | None:
        self.encoded += 1
        return self._wire.encode(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)


def test_a_mixed_room_costs_one_frame_a_wire(desk: Desk) -> None:
    """However many members there are: text is made once for each wire, and all its members get the same bytes."""
    plain, v1 = Counting(Plain()), Counting(V1())
    desk.plain, desk.v1 = cast(Any, plain), cast(Any, v1)
    lines, sessions = [Wall(True) for _ in range(20)], [Wall(True) for _ in range(20)]
    links = [desk.connect(wall) for wall in lines] + [entered(desk, wall) for wall in sessions]
    for wall in sessions:
        wall.acts.clear()
        wall.sent.clear()
    plain.encoded = v1.encoded = 0
    links[0].receive(line("one"))
    links[-2].receive(send("two"))
    desk.turn()
    assert (plain.encoded, v1.encoded) == (2, 2)
    assert all(wall.sent[0] is lines[0].sent[0] for wall in lines)
    assert all(wall.sent[0] is sessions[0].sent[0] for wall in sessions)
    name = sessions[0].heard[1]["from"]["name"]
    assert {tuple(wall.acts) for wall in lines} == {("ada> one", f"{name}> two")}
    assert [one["text"] for one in sessions[0].heard] == ["one", "two"]
    assert sessions[0].heard[0]["from"]["plain"] is True


# No ghosts


def members(desk: Desk, room: str = "public") -> int:
    """How many seats the engine holds there."""
    found: list[Here] = []
    desk.hub.engine.look(Look(room), lambda here, re: found.append(cast(Here, here)))
    return found[0].count


@KINDS
@pytest.mark.parametrize("how", ["breaks", "overfull"])
@pytest.mark.parametrize("by", ["hello", "join"])
def test_one_that_ends_while_it_is_told_of_a_seat_has_none(desk: Desk, frames: bool, by: str, how: str) -> None:
    """Its transport breaks on that answer, or too much waits for it already."""
    ada, bo = Wall(frames), Wall(frames)
    link = entered(desk, ada)
    newcomer = desk.connect(bo, PUBLIC, wire=desk.v1) if by == "hello" else entered(desk, bo, NOWHERE)
    if how == "breaks":
        bo.is_broken = True
    else:
        bo.is_stuck = True
        newcomer.receive(command("ping", 2))
        desk.turn()
        bo.waiting = BACKLOG_LIMIT
    newcomer.receive(command("hello") if by == "hello" else command("join", room="public"))
    link.receive(send("fine"))
    desk.turn()
    assert bo.acts[-1] == "abort"
    assert (len(desk.hub), members(desk), desk.gone) == (1, 1, ["gone"])
    assert fan_out(desk.hub) == (1, 0)
    assert [kind for kind in ada.kinds() if kind.startswith("member")] == ["member.joined", "member.left"]
    assert [one["text"] for one in ada.heard if one.get("ev") == "message"] == ["fine"]


@KINDS
@pytest.mark.parametrize("broken", ["waits", "finds", "both"])
def test_one_that_ends_while_it_is_told_of_a_stranger_keeps_no_seat(desk: Desk, frames: bool, broken: str) -> None:
    """The other one hears that it is away, and that the booth is over when it did not come back for a minute."""
    ada, bo = Wall(frames), Wall(frames)
    waits, finds = entered(desk, ada, NOWHERE), entered(desk, bo, NOWHERE)
    waits.receive(command("match.find"))
    desk.turn()
    ada.acts.clear()
    ada.is_broken, bo.is_broken = broken != "finds", broken != "waits"
    finds.receive(command("match.find"))
    desk.turn()
    left = {"waits": bo, "finds": ada, "both": None}[broken]
    assert len(desk.hub) == (left is not None)
    if left is not None:
        assert [kind for kind in left.kinds() if kind != "reply"] == ["match.found", "match.away"]
        booth = booth_of(left)
        link = left.link
        assert link is not None
        link.receive(send("anyone?", booth))
        for _ in range(7):
            desk.wait(9)
            link.control()
        assert [one["by"] for one in left.heard if one.get("ev") == "match.ended"] == ["lost"]
        link.receive(send("anyone?", booth))
        desk.turn()
        assert left.heard[-1]["error"]["code"] == "not_member"
    desk.wait(61)
    assert desk.hub.engine.counts() == (0, 0)
    assert desk.hub._rooms == {}


@KINDS
def test_one_that_ends_while_it_is_told_of_a_seat_looks_for_nobody(desk: Desk, frames: bool) -> None:
    """Its hello resumes a room and looks for a stranger: with the first seat it breaks, and must not wait for one."""
    ada, bo = Wall(frames), Wall(frames)
    newcomer = desk.connect(ada, BOOTH, wire=desk.v1)
    ada.is_broken = True
    newcomer.receive(command("hello", resume=[{"room": "public", "epoch": "e", "off": 3}]))
    desk.turn()
    assert (len(desk.hub), members(desk)) == (0, 0)
    assert desk.hub.engine.counts() == (0, 0)
    entered(desk, bo, NOWHERE).receive(command("match.find"))
    desk.turn()
    assert bo.kinds() == ["reply", "match.waiting"]


@KINDS
def test_one_that_ends_as_it_leaves_for_the_next_looks_for_nobody(desk: Desk, frames: bool) -> None:
    """What was said in the booth breaks it, at the moment when it says `match.next`: the booth is over all the same."""
    ada, bo = Wall(frames), Wall(frames)
    link, other, booth = met(desk, ada, bo)
    ada.is_broken = True
    other.receive(send("hi", booth))
    link.receive(command("match.next", 3))
    desk.turn()
    assert ada.acts == ["abort"]
    assert bo.kinds() in (["message", "reply", "match.ended"], ["message", "reply", "match.away"])
    for _ in range(7):
        desk.wait(9)
        other.control()
    assert "match.ended" in bo.kinds()
    assert desk.hub.engine.counts() == (0, 0)


@KINDS
def test_one_that_comes_back_and_ends_at_once_leaves_no_ghost(desk: Desk, frames: bool) -> None:
    """It lost its connection in a booth and comes back; the new connection breaks on the welcome. The seat is kept from
    then on, and no longer."""
    ada, bo, again = Wall(frames), Wall(frames), Wall(frames)
    link, other, _ = met(desk, ada, bo)
    link.lost()
    desk.turn()
    assert bo.kinds() == ["match.away"]
    newcomer = desk.connect(again, NOWHERE, wire=desk.v1)
    again.is_broken = True
    newcomer.receive(command("hello", session=ada.session))
    desk.turn()
    assert bo.kinds() == ["match.away", "match.back", "match.away"]
    for _ in range(7):
        desk.wait(9)
        other.control()
    assert "match.ended" in bo.kinds()
    assert desk.hub.engine.counts() == (0, 0)
    assert desk.hub._rooms == {}


@KINDS
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "later"])
def test_joining_twice_is_joining_once(frames: bool, is_late: bool) -> None:
    """Each has its reply; others hear of one newcomer, each line comes once, and leaving once is enough."""
    desk = Desk(late_engine if is_late else lambda engine: engine)

    def settle() -> None:
        for _ in range(4):
            if is_late:
                cast(LateEngine, desk.hub.engine).answer()
            desk.turn()

    ada, bo = Wall(frames), Wall(frames)
    links = [desk.connect(ada, wire=desk.v1), desk.connect(bo, NOWHERE, wire=desk.v1)]
    for link in links:
        link.receive(command("hello"))
    settle()
    ada.acts.clear()
    bo.acts.clear()
    for number in (2, 3):
        links[1].receive(command("join", number, room="public"))
    settle()
    links[1].receive(command("join", 4, room="public"))
    links[0].receive(send("hi"))
    settle()
    assert [one["re"] for one in bo.heard if one.get("ok")] == [2, 3, 4]
    assert [one["text"] for one in bo.heard if one.get("ev") == "message"] == ["hi"]
    assert [kind for kind in ada.kinds() if kind != "reply"] == ["member.joined", "message"]
    links[1].receive(command("leave", 5, room="public"))
    settle()
    links[0].receive(send("hello?"))
    settle()
    assert bo.heard[-1] == {"re": 5, "ok": True}
    assert ada.kinds()[-3:] == ["member.left", "message", "reply"]


@KINDS
def test_match_ended_stops_the_booths_lines(desk: Desk, frames: bool) -> None:
    """What the other one said until then comes before it, and nothing of the booth after; nor can one speak there."""
    ada, bo = Wall(frames), Wall(frames)
    link, other, booth = met(desk, ada, bo)
    link.receive(send("last words", booth, 2))
    link.receive(command("leave", 3, room=booth))
    other.receive(send("too late", booth, 2))
    link.receive(send("too late", booth, 4))
    desk.turn()
    assert bo.kinds() == ["message", "match.ended", "refused"]
    assert (bo.heard[1]["by"], bo.heard[2]["error"]["code"]) == ("peer", "not_member")
    assert ada.kinds() == ["message", "reply", "reply", "refused"]
    assert desk.hub._rooms == {}


@KINDS
def test_a_plain_client_stays_where_match_ended_came(desk: Desk, frames: bool) -> None:
    """It keeps the booth, and what it says there is no longer heard by the one who left."""
    ada, bo = Wall(frames), Wall(frames)
    link, other = desk.connect(ada, BOOTH), entered(desk, bo, NOWHERE)
    other.receive(command("match.find"))
    desk.turn()
    other.receive(command("leave", 3, room=booth_of(bo)))
    link.receive(line("alone"))
    desk.turn()
    assert ada.acts == ["ada> alone"]
    assert bo.kinds() == ["reply", "match.found", "reply"]


# The end of a connection with a session


@KINDS
def test_draining_says_when_to_come_back(desk: Desk, frames: bool) -> None:
    """`reconnect` and `bye` before the close frame, behind all that was said; also to one who has not said hello, and
    to one that lags."""
    ada, bo, cy = Wall(frames), Wall(frames), Wall(frames)
    link = entered(desk, ada)
    entered(desk, bo)
    desk.connect(cy, wire=desk.v1)
    ada.acts.clear()
    bo.is_stuck = True
    link.receive(send("one"))
    desk.turn()
    link.receive(send("two"))
    desk.hub.drain()
    assert ada.kinds() == ["message", "reply", "message", "reply", "reconnect", "bye", "close 4000"]
    assert bo.kinds() == ["message", "message", "reconnect", "bye", "close 4000"]
    assert cy.kinds() == ["reconnect", "bye", "close 4000"]
    for wall in (ada, bo, cy):
        reconnect, bye = wall.heard[-2:]
        assert reconnect["after_ms"] > 0
        assert reconnect["jitter_ms"] > 0
        assert (bye["code"], bye["reconnect"], bye["after_ms"]) == (4000, True, reconnect["after_ms"])
    assert (len(desk.hub), members(desk)) == (0, 0)


@KINDS
def test_the_newest_connection_of_a_session_wins(desk: Desk, frames: bool) -> None:
    """The older one is told that it must not come back (4504), and others hear one person leave and come."""
    ada, bo, again = Wall(frames), Wall(frames), Wall(frames)
    entered(desk, ada)
    entered(desk, bo)
    newcomer = desk.connect(again, PUBLIC, wire=desk.v1)
    newcomer.receive(command("hello", session=bo.session))
    desk.turn()
    assert bo.kinds() == ["bye", "close 4504"]
    assert bo.heard[0]["reconnect"] is False
    assert [kind for kind in ada.kinds() if kind != "reply"] == ["member.joined", "member.left", "member.joined"]
    assert len({one["member"]["id"] for one in ada.heard}) == 1
    assert members(desk) == 2


@KINDS
def test_heartbeats_where_the_server_has_no_pings(desk: Desk, frames: bool) -> None:
    """A v1 client is asked by an event; whatever it says keeps it, and silence is the end."""
    ada = Wall(frames)
    ada.pings = False
    link = entered(desk, ada, NOWHERE)
    for beat in range(1, 4):
        desk.wait(PING)
        assert ada.kinds() == ["ping", "ping"] * beat
        link.receive('{"op": "pong"}')
    desk.wait(PING + TIMEOUT)
    assert ada.acts[-1] == "abort"
    assert len(desk.hub) == 0


@KINDS
def test_a_failure_that_concerns_one_with_a_session(
    desk: Desk, frames: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told to come back (4003); the log has no value, and nobody else notices."""
    ada, bo = Wall(frames), Wall(frames)
    link, other = entered(desk, ada), entered(desk, bo)
    ada.acts.clear()
    said = command("edit", 2, room="public", mid="m", text="canary")

    def fail(amend: Amend, done: Answered) -> None:
        raise LookupError(amend.text)

    monkeypatch.setattr(desk.hub.engine, "amend", fail)
    try:
        link.receive(said)
    except LookupError as error:  # a transport does it
        link.failed(error)
    other.receive(send("fine"))
    desk.turn()
    assert ada.kinds() == ["bye", "close 4003"]
    assert [kind for kind in bo.kinds() if kind != "reply"] == ["member.left", "message"]
    assert "LookupError" in caplog.text
    assert "canary" not in caplog.text


@KINDS
def test_when_all_with_sessions_are_gone_nothing_is_left(frames: bool) -> None:
    """No room, no search, no timer; a booth's grace and the time in which two don't meet again are over by then."""
    kit = Kit()
    clients = [kit.v1(f"p{number}", frames=frames) for number in range(10)]
    clients += [kit.v1(f"q{number}", "/chat/private", frames=frames) for number in range(9)]
    kit.advance(1)
    for client in clients:
        client.drop()
    kit.advance(0)
    assert len(kit.hub) == 0
    assert kit.hub._rooms == {}
    ticks = 0
    while kit.next_due < inf:
        kit.advance(kit.next_due - kit.now)
        ticks += 1
    assert ticks <= 10
    assert kit.now <= 120
    assert kit.engine.counts() == (0, 0)
    assert set(kit.engine._rooms) == {"public"}
    assert kit.hub._timers == []


# Nothing is left behind


@KINDS
def test_when_all_are_gone_no_timer_spins(frames: bool) -> None:
    """Not one entry for each message ever said, and nothing planned for later."""
    kit = Kit(Settings(rate=50, burst=5))
    clients = [kit.public(f"p{number}", frames=frames) for number in range(10)]
    clients += [kit.private(f"q{number}", frames=frames) for number in range(10)]
    for _ in range(50):
        for client in clients:
            client.say("hello")
            client.ping()
        kit.advance(0.5)
    assert len(kit.hub._timers) <= 3 * len(clients) + 64
    for client in clients:
        client.drop()
    kit.advance(0)
    assert len(kit.hub) == 0
    assert kit.hub._rooms == {}
    ticks = 0
    while kit.next_due < inf:
        kit.advance(kit.next_due - kit.now)
        ticks += 1
    assert ticks <= 4
    assert kit.now <= 60
    assert kit.hub._timers == []


def test_who_is_gone_is_not_kept_by_a_timer() -> None:
    """Thousands may come and go between two pings."""
    kit = Kit()
    for _ in range(1000):
        kit.public().drop()
        kit.advance(0)
    assert len(kit.hub._timers) < 200


@KINDS
def test_gone_is_told_once(desk: Desk, frames: bool) -> None:
    """However a connection ends, and however often it is said."""
    link = desk.connect(Wall(frames))
    link.end(Close(4506))
    link.end(Close(4506))
    link.lost()
    link.lost()
    assert desk.gone == ["gone"]


# The way of one message


class Turn:
    """A scheduler for one turn."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []

    def time(self) -> float:
        return 1.0

    def call_soon(self, callback: Callable[[], object], /) -> None:
        self.due.append(callback)

    def call_at(self, when: float, callback: Callable[[], object], /) -> "Turn":
        return self

    def cancel(self) -> None: ...

    def end(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Transport(asyncio.Transport):
    """Takes everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.last: bytes | bytearray | memoryview = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        self.last = data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def is_closing(self) -> bool:
        return False


class Way:
    """All calls on the way of `messages` through a taken-over connection to `members`."""

    def __init__(self, members: int, messages: int) -> None:
        self.codes: list[CodeType] = []  # of Python functions, in order
        self.calls = 0  # of Python and C functions
        self.tasks: Sequence[asyncio.Task[Any]] = ()
        asyncio.run(self._go(members, messages))

    async def _go(self, members: int, messages: int) -> None:
        turn = Turn()
        ids = count()

        hub = made_hub(turn, lambda: str(next(ids)), lambda engine: engine)
        wire = Plain()
        self.transports = [Transport() for _ in range(members)]
        taken = [TakenConnection(transport, set(), lambda: None) for transport in self.transports]
        for connection in taken:
            pace = Pace(rate=10, burst=100, ping=20, ping_timeout=10)
            connection.serve(hub.connect(connection, wire, PUBLIC, pace))
        payload = line("hello").encode()
        said = (bytes((0x81, 0x80 | len(payload), 0, 0, 0, 0)) + payload) * messages
        self._hear(turn, taken[0], said)  # the first line of a name takes a longer way
        for transport in self.transports:
            transport.writes = 0
        gc.disable()  # its callbacks, which Hypothesis has some of, would be counted
        sys.setprofile(self._note)
        try:
            self._hear(turn, taken[0], said)
        finally:
            sys.setprofile(None)
            gc.enable()
        self.tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    def _hear(self, turn: Turn, connection: TakenConnection, said: bytes) -> None:
        connection.data_received(said)
        turn.end()

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1
        if event == "call":
            self.codes.append(frame.f_code)


@pytest.mark.parametrize("messages", [1, 4, 32])
def test_no_member_is_looked_up_on_the_way(messages: int) -> None:
    """500 members more are 500 calls more, all of them `transport.write`: the hub asks nothing for a member."""
    few, many = Way(10, messages), Way(510, messages)
    assert many.calls - few.calls == 500
    for way in (few, many):
        writes = [code for code in way.codes if code is Transport.write.__code__]
        assert len(writes) == len(way.transports)
        assert {transport.writes for transport in way.transports} == {1}
        assert all(transport.last is way.transports[0].last for transport in way.transports)


def test_nothing_waits_on_the_way() -> None:
    """From `data_received` to `transport.write` there is no coroutine, no task, and nothing of asyncio's."""
    way = Way(3, 4)
    names = {code.co_qualname for code in way.codes}
    assert names >= {
        "TakenConnection.data_received",
        "Link.receive",
        "Plain.decode",
        "Connection.handle",
        "Hub.carry_out",
        "MemoryEngine.publish",
        "Hub.published",
        "Hub.flush",
        "_Audience.flush",
        "Transport.write",
    }
    waiting = inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR
    for code in way.codes:
        assert not code.co_flags & waiting, code.co_qualname
        assert "asyncio" not in code.co_filename, code.co_qualname
    assert way.tasks == []


def test_the_calls_for_a_message_are_few() -> None:
    """Guards the way's length: 40 calls for each further message of a turn, some more in other versions of Python."""
    one, more = Way(100, 1), Way(100, 21)
    assert (more.calls - one.calls) / 20 <= 60


def test_clients_are_told_apart() -> None:
    """Kit, hub and engine agree on who is who."""
    kit = Kit()
    clients: list[Client] = [kit.public("ada"), kit.private("ada"), kit.private("ada")]
    assert [client.label for client in clients] == ["ada", "ada/2", "ada/3"]
    assert [client.room for client in clients] == ["public", clients[2].room, clients[1].room]
