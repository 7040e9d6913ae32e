"""This process's live connections: receive, deliver, close.

What one message passes through: a transport calls `Link.receive`; the wire decodes; the connection's rules answer with
effects; the engine gives the message its place and calls `Hub.published`; at the end of the loop's turn `Hub.flush`
makes one piece of bytes for each wire of the room and writes it to each member. Nothing on this way waits.

Invariants:
- A room's fan-out list (`_Audience.sends`) holds only members whose transport has taken all that it was given. The
  others have a queue of their own (`Link.queue`) and come back when that is empty.
- Membership of a room changes only after what is pending for it was flushed: nobody hears what was said before they
  came.
"""

import heapq
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from operator import length_hint
from time import perf_counter
from typing import Any, Final, Protocol

from parlour.core.connection import Connection, Pace
from parlour.core.events import (
    Accept,
    Accuse,
    Act,
    Amend,
    Answer,
    Avoid,
    CallMe,
    Cancel,
    Claim,
    Drop,
    Effect,
    End,
    Enter,
    Event,
    Fetch,
    Find,
    Leave,
    Letter,
    Look,
    MatchEnded,
    MatchFound,
    Member,
    MemberLeft,
    Message,
    Moderated,
    PauseReading,
    Person,
    Ping,
    Place,
    Publish,
    Published,
    Refuse,
    Release,
    Reply,
    ResumeReading,
    Role,
    Search,
    Seat,
    Sender,
    Show,
    Take,
    Tell,
    Verify,
    Wanted,
    Weigh,
)
from parlour.core.house import House
from parlour.core.names import mended_name
from parlour.core.plain import PlainConnection
from parlour.core.session import SessionConnection
from parlour.engine import Answered, Engine, Scheduler, Timer
from parlour.errors import INTERNAL, REPLACED, RESTART, SLOW, TOO_BIG, Close, Refusal
from parlour.logs import log_failure
from parlour.tally import Tally
from parlour.wire.contract import FRAME_LIMIT, Wire

logger = logging.getLogger("parlour")

FRAGMENTS_LIMIT: Final = 64
"""Fragments of one message."""

CLOSE_LIMIT: Final = 2.0
"""Seconds that a peer has to answer a close frame."""

BACKLOG_LIMIT: Final = 256 * 1024
"""Bytes that may wait for one slow reader."""

SLOW_LIMIT: Final = 5.0
"""Seconds in which a slow reader must take at least a byte."""

RESUME_PIECE: Final = 32 * 1024
"""Characters of what was missed that are written at once."""

ADDRESS_SECONDS: Final = 3600.0
ADDRESSES_LIMIT: Final = 10_000
"""How long, and of how many people who left, it is known from which address they came: who is reported has often
gone."""

_NO_DESK: Final = Refusal("unavailable", "there are no moderators here")
_SLOW_CHECK: Final = 0.5
_VOID_ENTRIES: Final = 64


class Batch:
    """Texts for one wire, to be written together. The frames are made once, on first use. What a resume brings is not
    `counted` against a slow reader."""

    __slots__ = ("_frames", "counted", "texts")

    def __init__(self, texts: Sequence[str], *, counted: bool = True) -> None:
        self.texts = texts
        self.counted = counted
        self._frames: bytes | None = None

    @property
    def size(self) -> int:
        """What counts of it, in bytes."""
        return len(self.frames) if self.counted else 0

    @property
    def frames(self) -> bytes:
        """Each text as one unmasked, final text frame (RFC 6455 5.2)."""
        if self._frames is None:
            self._frames = frame(self.texts[0]) if len(self.texts) == 1 else b"".join(map(frame, self.texts))
        return self._frames


def _size(payload: str | bytes) -> int:
    """Bytes on the wire. A lone surrogate, which only a test can send, has some too."""
    if isinstance(payload, str) and not payload.isascii():
        return len(payload.encode(errors="surrogatepass"))
    return len(payload)


def frame(text: str) -> bytes:
    """One unmasked, final text frame (RFC 6455 5.2)."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


class Socket(Protocol):
    """What a transport gives the hub for one connection. No call waits.

    The transport tells the hub with `Link.paused` that it has not taken all that was sent, from within `send` or later,
    and with `Link.drained` when it has.
    """

    @property
    def frames(self) -> bool:
        """Whether `send` takes frames as bytes; if not, it takes a sequence of texts."""
        ...

    @property
    def pings(self) -> bool:
        """Whether `ping` reaches the peer."""
        ...

    @property
    def send(self) -> Callable[[Any], object]:
        """Writes what the hub gives it: frames or texts. Looked up once, when the connection takes a seat."""
        ...

    def buffered(self) -> int:
        """Bytes, or characters where there are no frames, that were sent and not yet taken."""
        ...

    def ping(self) -> None:
        """Send a ping frame; the answer shows as `Link.control`."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the peer, and hand nothing more to the link."""
        ...

    def resume_reading(self) -> None:
        """Take from the peer again, in a later turn; what was taken before first."""
        ...

    def close(self, close: Close) -> None:
        """Send what is due, then the close frame; cut the connection if the peer has not answered in two seconds."""
        ...

    def abort(self) -> None:
        """Cut the connection now."""
        ...


class Desk(Protocol):
    """Who knows what no engine does: what moderators decided, what may be said, whose a token is. The effects of the
    same names tell what each method does; `done` is called exactly once, at once or later."""

    @property
    def listens(self) -> bool:
        """Whether `said` and `came` are to be called."""
        ...

    def weigh(self, weigh: Weigh, done: Answered) -> None: ...
    def verify(self, verify: Verify, done: Answered) -> None: ...
    def accuse(self, accuse: Accuse, done: Answered) -> None: ...
    def act(self, act: Act, done: Answered) -> None: ...
    def accept(self, accept: Accept) -> None: ...
    def avoid(self, avoid: Avoid, done: Answered) -> None: ...
    def amend(self, amend: Amend, done: Answered) -> None: ...

    def said(self, message: Message) -> None:
        """Something was said in a room, or in a booth."""
        ...

    def came(self, who: Sender, room: str) -> None:
        """Somebody took a seat in a room, or in a booth."""
        ...


class Link:
    """One live connection: its transport's `socket`, its rules, and what waits to be written."""

    __slots__ = (
        "_checked_at",
        "_hub",
        "_level",
        "_progress_at",
        "_stuck",
        "address",
        "audiences",
        "connection",
        "due",
        "gone",
        "id",
        "lagging",
        "queue",
        "queued",
        "seeking_since",
        "socket",
        "tail",
        "wire",
    )

    def __init__(
        self,
        hub: "Hub",
        socket: Socket,
        wire: Wire,
        connection: Connection,
        gone: Callable[[], object] | None,
        address: str | None,
    ) -> None:
        self._hub = hub
        self.id = connection.id
        self.address = address  # a keyed hash of where it comes from, for bans
        self.socket = socket
        self.wire = wire
        self.connection = connection
        self.gone = gone  # called once, when the hub forgets this link
        self.audiences: list[_Audience] = []  # those that it is in
        self.due = inf  # the time of its earliest valid entry in the hub's timers
        self.tail: list[str] | None = None  # texts for this client alone, to be written at the end of the turn
        self.lagging = False  # it is outside the fan-out lists, and `queue` takes what it is to get
        self.queue: deque[Batch] | None = None
        self.queued = 0  # bytes in `queue`
        self.seeking_since: float | None = None  # it looks for a stranger, and will be told when there is one
        self._stuck = False  # the transport has not written all that it was given
        self._level = 0  # bytes in the transport at the last look, while lagging
        self._progress_at = 0.0  # when bytes were last seen to leave it
        self._checked_at = 0.0

    # What a transport calls

    def receive(self, text: str) -> None:
        """A whole text message came."""
        hub = self._hub
        said, re = self.wire.decode(text)
        hub.carry_out(self, self.connection.handle(said, re, len(text), hub.scheduler.time()))

    def receive_binary(self, data: bytes) -> None:
        """A whole binary message came."""
        text = self.wire.text_of(data)
        if isinstance(text, str):
            self.receive(text)
        elif isinstance(text, Close):
            self.end(text)
        else:
            self._hub.carry_out(self, self.connection.handle(text, None, len(data), self._hub.scheduler.time()))

    def receive_unmeasured(self, text: str | None, data: bytes | None) -> None:
        """A whole message came, text or binary, from a server that lets larger ones pass. Raises nothing."""
        try:
            if _size(data or b"" if text is None else text) > FRAME_LIMIT:
                self.end(TOO_BIG)
            elif text is not None:
                self.receive(text)
            elif data is not None:
                self.receive_binary(data)
        except Exception as error:
            self.failed(error)

    def control(self) -> None:
        """A ping or a pong came."""
        self._hub.carry_out(self, self.connection.control(self._hub.scheduler.time()))

    def began(self) -> None:
        """A part of a message came, and the rest must follow in time."""
        self.connection.began(self._hub.scheduler.time())
        self._hub.watch(self)

    def finished(self) -> None:
        """The message that came in parts is whole."""
        self.connection.finished()

    def end(self, close: Close) -> None:
        """The transport, or who mounts it, wants the connection closed."""
        self._hub.carry_out(self, self.connection.end(close))

    def failed(self, error: Exception) -> None:
        """Something of ours broke while it was served. Nobody else notices; its client is told the id in the log."""
        log_failure("a connection", self.id, error)
        if self.connection.ended:  # what broke may have been the end itself
            self.socket.abort()
            self._hub.forget(self)
        else:
            self.end(Close(INTERNAL.code, f"{INTERNAL.reason} {self.id}"))

    def parted(self) -> None:
        """The peer closes, or broke the protocol: what is due to it goes out before the transport answers."""
        self._hub.carry_out(self, self.connection.lost())
        self._hub.write_rest(self)
        self._hub.forget(self)

    def lost(self) -> None:
        """The connection is gone."""
        try:
            self._hub.carry_out(self, self.connection.lost())
        finally:
            self._hub.forget(self)

    def paused(self) -> None:
        """The transport has not written all that it was given."""
        self._stuck = True
        if not self.lagging:
            self._progressed()
            self._hub.fell_behind(self)

    def drained(self) -> None:
        """The transport has written all that it was given."""
        self._stuck = False
        while self.queue and not self._stuck:
            batch = self.queue.popleft()
            self.queued -= batch.size
            self.write(batch)
        self._progressed()
        if self.lagging and not self._stuck:
            self._hub.caught_up(self)

    # What the engine calls

    def answered(self, answer: Answer | Refusal, re: int | None) -> None:
        """The engine's answer to an effect."""
        if type(answer) is Published and re is None:  # of a line: its coming back is answer enough
            return
        if self.connection.ended:
            if isinstance(answer, Seat):
                self._hub.engine.leave(answer.room, self.id, lost=True)
            return
        try:
            self._hub.carry_out(self, self.connection.answered(answer, re, self._hub.scheduler.time()))
        except Exception as error:  # it may come from the store or the desk, who know no connections
            self.failed(error)

    # What the hub calls

    def write(self, batch: Batch) -> None:
        """Hand the batch to the transport at once. One that raises is closed, and the loop has yet to say so."""
        try:
            self.socket.send(batch.frames if self.socket.frames else batch.texts)
        except Exception:
            self._hub.carry_out(self, self.connection.end(INTERNAL, abort=True))

    def write_queue(self) -> None:
        """Hand all that waits to the transport, which must then hold it: the connection closes."""
        self.queued = 0
        while self.queue:
            self.write(self.queue.popleft())

    def put(self, batch: Batch) -> None:
        """Queue the batch behind what waits."""
        if self.queue is None:
            self.queue = deque()
        self.queue.append(batch)
        self.queued += batch.size

    def write_in_turn(self, batch: Batch) -> None:
        """Hand the batch to the transport, or queue it behind what waits."""
        if self.lagging:
            self.put(batch)
        else:
            self.write(batch)

    @property
    def is_overfull(self) -> bool:
        """Whether more waits for it than we keep for anyone."""
        return self.queued + self.socket.buffered() > BACKLOG_LIMIT

    def is_slow(self, now: float) -> bool:
        """Whether it has taken no byte for too long. While stuck, nothing is added to the transport's buffer: any fall
        is progress."""
        self._checked_at = now
        if self.socket.buffered() < self._level:
            self._progressed()
        return now - self._progress_at >= SLOW_LIMIT

    @property
    def deadline(self) -> float:
        """When the hub must look at it at the latest."""
        due = self.connection.deadline
        return min(due, self._checked_at + _SLOW_CHECK) if self.lagging and not self.connection.ended else due

    def _progressed(self) -> None:
        self._progress_at = self._checked_at = self._hub.scheduler.time()
        self._level = self.socket.buffered()


class _Audience:
    """The members of one room who get the same bytes: those of one wire, on transports of one kind."""

    __slots__ = ("_frames", "_lagging", "_links", "_places", "_sends", "encode", "key", "pending")

    def __init__(self, key: "_Kind") -> None:
        self.key = key
        wire, self._frames = key
        self.encode = wire.encode
        self.pending: list[str] = []  # texts of this turn
        self._sends: list[Callable[[Any], object]] = []  # of the members whose transport is empty
        self._links: list[Link] = []  # beside `_sends`
        self._places: dict[Link, int] = {}  # in both
        self._lagging: dict[Link, None] = {}  # the other members

    def __len__(self) -> int:
        return len(self._links) + len(self._lagging)

    def links(self) -> list[Link]:
        """All members."""
        return [*self._links, *self._lagging]

    def add(self, link: Link) -> None:
        if link.lagging:
            self._lagging[link] = None
        else:
            self._place(link)

    def remove(self, link: Link) -> None:
        if link not in self._places:
            del self._lagging[link]
            return
        place = self._places.pop(link)
        last, send = self._links.pop(), self._sends.pop()
        if last is not link:
            self._links[place], self._sends[place] = last, send
            self._places[last] = place

    def lag(self, link: Link) -> None:
        """The link fell behind: take it out of the fan-out list."""
        self.remove(link)
        self._lagging[link] = None

    def catch_up(self, link: Link) -> None:
        """Nothing waits for the link any more: take it back into the fan-out list."""
        del self._lagging[link]
        self._place(link)

    def flush(self) -> list[tuple[Link, Close]]:
        """Write what is pending to every member. The answer names those to be cut off now, and why.

        Nothing is asked and nothing looked up for a member whose transport is empty: 1,000 bound methods are called in
        a row. A `send` only marks a link that fell behind, so the lists stay as they are meanwhile.
        """
        batch = Batch(self.pending)
        self.pending = []
        data = batch.frames if self._frames else batch.texts
        sends = iter(self._sends)
        cut: list[tuple[Link, Close]] = []
        while True:
            try:
                for send in sends:
                    send(data)
                break
            except Exception:  # the transport is closed; the iterator stands behind it
                cut.append((self._links[len(self._sends) - length_hint(sends) - 1], INTERNAL))
        for link in self._lagging:
            link.put(batch)
            if link.is_overfull:
                cut.append((link, SLOW))
        return cut

    def _place(self, link: Link) -> None:
        self._places[link] = len(self._links)
        self._links.append(link)
        self._sends.append(link.socket.send)


def _missed(wire: Wire, seat: Seat) -> Iterator[Batch]:
    """What the seat brings, in pieces that a reader takes one by one."""
    texts: list[str] = []
    size = 0
    for event in seat.missed:
        text = wire.encode(event)
        if text is None:
            continue
        texts.append(text)
        size += len(text)
        if size >= RESUME_PIECE:
            yield Batch(texts, counted=False)
            texts, size = [], 0
    if texts:
        yield Batch(texts, counted=False)


_Kind = tuple[Wire, bool]
"""A wire, and whether the transport takes frames: what decides which bytes a member gets."""


class Hub:
    """All live connections of this process, and the rooms that they are in."""

    def __init__(
        self,
        scheduler: Scheduler,
        engine: Callable[["Hub"], Engine],
        house: House,
        tally: Tally | None = None,
        desk: Callable[["Hub"], Desk] | None = None,
    ) -> None:
        """`engine` makes the engine that calls this hub back, and `desk` then the desk; `house` has what all
        connections share; `tally` counts what happens."""
        self.scheduler = scheduler
        self.engine = engine(self)
        self.desk = None if desk is None else desk(self)
        self.draining = False
        self.tally = tally or Tally()
        self._house = house
        self._links: dict[str, Link] = {}  # by connection
        self._rooms: dict[str, dict[_Kind, _Audience]] = {}
        self._staff: dict[str, Role] = {}  # moderators who left: nobody of a lower role may act on them meanwhile
        self._left: OrderedDict[str, tuple[float, str]] = OrderedDict()  # when people left, and from which address
        self._pending: list[_Audience] = []  # with something to write at the end of this turn
        self._tails: list[Link] = []  # the same
        self._planned = False  # the flush of this turn is planned
        self._flushing = False  # fan-out lists are being walked and must stay as they are
        self._behind: list[Link] = []  # links that fell behind meanwhile
        self._timers: list[tuple[float, int, Link]] = []  # a heap; entries whose time is not the link's `due` are void
        self._timer: Timer | None = None
        self._timer_at = inf
        self._entries = 0  # ever made: they break ties between equal times
        self._void = 0

    def __len__(self) -> int:
        return len(self._links)

    @property
    def rooms(self) -> int:
        """How many rooms have members here, booths among them."""
        return len(self._rooms)

    def members(self, room: str) -> int:
        """How many connections of this process are in the room."""
        return sum(map(len, tuple(self._rooms.get(room, {}).values())))

    def backlog(self) -> int:
        """Bytes that wait for slow readers, here and in their transports. It looks at every connection."""
        return sum(link.queued + link.socket.buffered() for link in tuple(self._links.values()) if link.lagging)

    def connect(
        self,
        socket: Socket,
        wire: Wire,
        place: Place,
        pace: Pace,
        *,
        person: Person | None = None,
        address: str | None = None,
        is_shared: bool = False,
        may_meet: Callable[[], bool] = lambda: True,
        gone: Callable[[], object] | None = None,
    ) -> Link:
        """A WebSocket opened; `place` is where its address leads.

        `person` is set where the host app proved one; else each plain connection is a person of its own, and one that
        says hello tells. `address` is what can be banned of where it comes from (`penalties.address_prefix`).
        `may_meet` says whether a connection that leads elsewhere may look for strangers, too. `gone` is called once,
        when the connection is over.
        """
        house = self._house
        id = house.new_id()
        hashed = None if address is None else house.keys.address_hash(address)
        who = None if person is None else house.keys.person_id(person.id)
        name = None if person is None else mended_name(person.name)
        role: Role = "guest" if person is None else person.role  # what a hello's token says comes later
        connection: Connection
        if wire.has_sessions:
            connection = SessionConnection(
                id, pace, house, place, person=who, name=name, role=role, may_meet=may_meet, address=hashed
            )
        else:
            pace = pace if socket.pings else replace(pace, ping=inf)
            connection = PlainConnection(
                id, pace, house, place, person=who or house.new_id(), name=name, role=role, address=hashed
            )
        link = Link(self, socket, wire, connection, gone, None if is_shared else hashed)
        self._links[id] = link
        self.tally.opened[wire.name] += 1
        logger.debug("connection %s opened; %s live", id, len(self._links))
        try:
            self.carry_out(link, connection.opened(self.scheduler.time()))
        except Exception as error:
            link.failed(error)
        if self.draining:
            link.end(RESTART)
        return link

    # What the desk calls

    def end_person(self, person: str, close: Close, letter: Moderated | None = None) -> int:
        """End all connections of the person, after the letter, and say how many there were."""
        return self._end_links(
            [link for link in self._links.values() if link.connection.person == person], close, letter
        )

    def end_address(self, address: str, close: Close, letter: Moderated | None = None) -> int:
        """End all connections from the address, given by its keyed hash."""
        return self._end_links([link for link in self._links.values() if link.address == address], close, letter)

    def tell_person(self, person: str, letter: Letter) -> bool:
        """Tell all connections of the person; False if there is none."""
        links = [link for link in self._links.values() if link.connection.person == person]
        for link in links:
            self.told(link.id, letter)
        return bool(links)

    def role_of(self, person: str) -> Role | None:
        """The role of a person who is connected, or was a moderator when they left."""
        here = next(
            (link.connection.sender.role for link in self._links.values() if link.connection.person == person), None
        )
        return here or self._staff.get(person)

    def addresses_of(self, person: str) -> Sequence[str]:
        """The keyed hashes of the addresses that the person uses, or used within `ADDRESS_SECONDS`."""
        found = {link.address for link in self._links.values() if link.connection.person == person}
        when, address = self._left.get(person, (-inf, None))
        if when > self.scheduler.time() - ADDRESS_SECONDS:
            found.add(address)
        return sorted(address for address in found if address is not None)

    def _end_links(self, links: Sequence[Link], close: Close, letter: Moderated | None) -> int:
        for link in links:
            if letter is not None:
                self.told(link.id, letter)
            link.end(close)
        return len(links)

    def _note_address(self, link: Link) -> None:
        person, now = link.connection.person, self.scheduler.time()
        if link.address is None or not person:
            return
        self._left.pop(person, None)
        self._left[person] = now, link.address
        while len(self._left) > ADDRESSES_LIMIT or next(iter(self._left.values()))[0] <= now - ADDRESS_SECONDS:
            self._left.popitem(last=False)

    def drain(self) -> None:
        """The server stops: every connection is told to come back later (4000), and no seat is given any more."""
        self.draining = True
        for link in list(self._links.values()):
            link.end(RESTART)

    def carry_out(self, link: Link, effects: Sequence[Effect]) -> None:
        """Do what a connection's rules ask for, in order."""
        deadline_stays = len(effects) == 1 and type(effects[0]) is Publish
        # One of several may end the connection, by writing to it; the effects of an end come when it is over already.
        may_end = len(effects) > 1 and not link.connection.ended
        for effect in effects:
            if type(effect) is Publish:  # first, for it is what nearly all of them are
                self.engine.publish(effect, link.answered)
            elif may_end and link.connection.ended:
                self._give_up(link, effect)
            else:
                self._carry_out(link, effect)
        if not deadline_stays:
            self.watch(link)

    def _carry_out(self, link: Link, effect: Effect) -> None:
        engine, done = self.engine, link.answered
        match effect:
            case Reply(answer, re):
                self._write_later(link, link.wire.reply(answer, re))
            case Refuse(refusal, re):
                self.tally.refusals[refusal.code] += 1
                self._write_later(link, link.wire.refuse(refusal, re))
            case Tell(letter):
                self._write_later(link, link.wire.tell(letter))
            case Ping():
                link.socket.ping()
            case PauseReading():
                link.socket.pause_reading()
            case ResumeReading():
                link.socket.resume_reading()
            case Take(seat):
                self._enter(link, seat)
            case Drop(room):
                self._leave(link, room)
            case Leave(room, lost):
                self._leave(link, room)
                engine.leave(room, link.id, lost=lost)
            case End(close, abort):
                self._end(link, close, abort)
            case Claim():
                engine.claim(effect, done)
            case Release(session):
                engine.release(session, link.id)
            case Enter(since=since):
                engine.enter(effect, done if since is None else partial(self._note_resume, done))
            case Find():
                if link.wire.has_sessions and link.seeking_since is None:
                    link.seeking_since = self.scheduler.time()
                engine.find(effect, done)
            case Cancel():
                link.seeking_since = None
                engine.cancel(effect, done)
            case Amend():
                (engine if self.desk is None else self.desk).amend(effect, done)
            case Show():
                engine.show(effect)
            case Fetch():
                engine.fetch(effect, done)
            case Look():
                engine.look(effect, done)
            case Search():
                engine.search(effect, done)
            case CallMe():
                engine.rename(effect, done)
            case Avoid():
                (engine if self.desk is None else self.desk).avoid(effect, done)
            case Weigh() | Verify() | Accuse() | Act() | Accept():
                self._bring_to_desk(effect, done)

    def _bring_to_desk(self, effect: Weigh | Verify | Accuse | Act | Accept, done: Answered) -> None:
        desk = self.desk
        match effect:
            case Accept():
                if desk is not None:
                    desk.accept(effect)
            case Weigh(publish):
                done(_NO_DESK, publish.re) if desk is None else desk.weigh(effect, done)
            case _ if desk is None:
                done(_NO_DESK, effect.re)
            case Verify():
                desk.verify(effect, done)
            case Accuse():
                desk.accuse(effect, done)
            case Act():
                desk.act(effect, done)

    def _give_up(self, link: Link, effect: Effect) -> None:
        """The connection ended before this was carried out: it gets nothing more, and what it left is left."""
        match effect:
            case Leave(room, lost):
                self.engine.leave(room, link.id, lost=lost)
            case Take(seat):
                self.engine.leave(seat.room, link.id, lost=True)
            case Find(wish=Wanted(leaving=str(booth))):
                self.engine.leave(booth, link.id)
            case Release(session):
                self.engine.release(session, link.id)

    # What the engine calls

    def published(self, event: Event) -> None:
        """See `Handler.published`: the event is written to the room's members at the end of this turn."""
        audiences = self._rooms.get(event.room)
        if audiences is None or (self.draining and isinstance(event, MemberLeft)):  # nobody leaves: the server does
            return
        if type(event) is Message:
            self.tally.messages += 1
            if self.desk is not None and self.desk.listens:
                self.desk.said(event)
        for audience in audiences.values():
            text = audience.encode(event)
            if text is None:
                continue
            if not audience.pending:
                self._pending.append(audience)
                self._plan_flush()
            audience.pending.append(text)

    def told(self, connection: str, letter: Letter, seat: Seat | None = None) -> None:
        """See `Handler.told`."""
        link = self._links.get(connection)
        if link is not None and not link.connection.ended:
            self._note_pairing(link, letter)
            self.carry_out(link, link.connection.told(letter, seat))
        elif seat is not None:
            self.engine.leave(seat.room, connection, lost=True)

    def displaced(self, member: Member) -> None:
        """See `Handler.displaced`."""
        link = self._links.get(member.connection)
        if link is not None:
            self.carry_out(link, link.connection.end(REPLACED))

    def closed(self, room: str) -> None:
        """See `Handler.closed`."""
        members = {link for audience in self._rooms.get(room, {}).values() for link in audience.links()}
        for link in members:
            self.carry_out(link, link.connection.closed(room))

    def _note_resume(self, done: Answered, answer: Answer | Refusal, re: int | None) -> None:
        self.tally.resumes[isinstance(answer, Seat) and answer.recovered] += 1
        done(answer, re)

    def _note_pairing(self, link: Link, letter: Letter) -> None:
        if isinstance(letter, MatchFound) and link.seeking_since is not None:
            self.tally.pairing.observe(self.scheduler.time() - link.seeking_since)
        if isinstance(letter, MatchFound | MatchEnded):
            link.seeking_since = None

    # Membership

    def _enter(self, link: Link, seat: Seat) -> None:
        """The link hears the room from this seat on: first what it missed, not counted, then live."""
        self._flush_room(seat.room)  # it may end others, and with them the room
        self._flush_tail(link)  # the answer that tells of the seat comes before anything of the room
        for batch in _missed(link.wire, seat):
            link.write_in_turn(batch)
        if link.connection.ended:
            return
        audiences = self._rooms.setdefault(seat.room, {})
        kind = (link.wire, link.socket.frames)
        audience = audiences.get(kind)
        if audience is None:
            audience = audiences[kind] = _Audience(kind)
        audience.add(link)
        link.audiences.append(audience)
        if self.desk is not None and self.desk.listens:
            self.desk.came(link.connection.sender, seat.room)

    def _leave(self, link: Link, room: str) -> None:
        """The link hears the room no more; what was said until now it still gets. To leave twice is to leave once."""
        self._flush_room(room)
        audiences = self._rooms.get(room, {})
        audience = audiences.get((link.wire, link.socket.frames))
        if audience is None or audience not in link.audiences:
            return
        audience.remove(link)
        link.audiences.remove(audience)
        if not audience:
            del audiences[audience.key]
        if not audiences:
            del self._rooms[room]

    # What links call

    def fell_behind(self, link: Link) -> None:
        """The link's transport could not write all that it was given."""
        link.lagging = True
        self._behind.append(link)
        if not self._flushing:
            self._settle()

    def caught_up(self, link: Link) -> None:
        """The link's transport has written everything, and nothing waits for it."""
        link.lagging = False
        for audience in link.audiences:
            audience.catch_up(link)

    def forget(self, link: Link) -> None:
        """The connection is over. To forget twice is to forget once."""
        if self._links.pop(link.id, None) is None:
            return
        self.tally.ended[link.wire.name] += 1
        self._note_address(link)
        if link.connection.sender.role in ("moderator", "admin"):
            self._staff[link.connection.person] = link.connection.sender.role
        link.queue = link.tail = None
        self._void_entry(link)
        logger.debug("connection %s ended; %s live", link.id, len(self._links))
        if link.gone is not None:
            link.gone()

    def _write_later(self, link: Link, text: str | None) -> None:
        """Write the text to this client alone, after what its rooms get in this turn."""
        if text is None or link.id not in self._links:
            return
        if link.tail is None:
            link.tail = []
            self._tails.append(link)
            self._plan_flush()
        link.tail.append(text)

    # The end of a turn

    def _plan_flush(self) -> None:
        if not self._planned:
            self._planned = True
            self.scheduler.call_soon(self.flush)

    def flush(self) -> None:
        """Write all that this turn brought: rooms first, then what is for one client alone, so that no answer overtakes
        the event that it answers."""
        self._planned = False
        pending, self._pending = self._pending, []
        self._flush_all(pending)
        tails, self._tails = self._tails, []
        for link in tails:
            try:
                self._flush_tail(link)
            except Exception as error:
                link.failed(error)

    def _flush_room(self, room: str) -> None:
        self._flush_all(tuple(self._rooms.get(room, {}).values()))

    def _flush_all(self, audiences: Iterable[_Audience]) -> None:
        cut: list[tuple[Link, Close]] = []
        deliveries = 0
        self._flushing = True
        began = perf_counter()  # the loop's own clock stands still for a turn
        try:
            for audience in audiences:
                if audience.pending:
                    deliveries += len(audience) * len(audience.pending)
                    cut += audience.flush()
        finally:
            self._flushing = False
        if deliveries:
            self.tally.deliveries += deliveries
            self.tally.fan_out.observe(perf_counter() - began)
        self._settle()
        for link, close in cut:
            try:
                self.carry_out(link, link.connection.end(close, abort=True))
            except Exception as error:
                link.failed(error)

    def _flush_tail(self, link: Link) -> None:
        if not link.tail:
            return
        batch = Batch(link.tail)
        link.tail = None
        was_lagging = link.lagging
        link.write_in_turn(batch)
        if was_lagging and link.is_overfull:
            self.carry_out(link, link.connection.end(SLOW, abort=True))

    def _settle(self) -> None:
        behind, self._behind = self._behind, []
        for link in behind:
            for audience in link.audiences:
                audience.lag(link)
            self.watch(link)

    def _end(self, link: Link, close: Close, abort: bool) -> None:
        self.tally.closes[close.code] += 1
        if abort:
            link.socket.abort()
        else:
            self.write_rest(link)
            link.socket.close(close)
        self.forget(link)

    def write_rest(self, link: Link) -> None:
        """Write all that is due to the link: a close frame comes next."""
        self._flush_tail(link)
        link.write_queue()

    # Timers: one for the whole hub

    def watch(self, link: Link) -> None:
        """Make sure that `look_after` comes when the link is due. Its deadline may have become earlier or later."""
        due = link.deadline
        if due < link.due:
            self._void_entry(link)
            link.due = due
            self._entries += 1
            heapq.heappush(self._timers, (due, self._entries, link))
            self._set_timer()

    def _void_entry(self, link: Link) -> None:
        """Void entries are few: a link that is gone must not be kept by the time of its next ping."""
        if link.due == inf:
            return
        link.due = inf
        self._void += 1
        if self._void > _VOID_ENTRIES and 2 * self._void > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[0] == entry[2].due]
            heapq.heapify(self._timers)
            self._void = 0

    def _set_timer(self) -> None:
        if not self._timers or self._timers[0][0] >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._timers[0][0]
        self._timer = self.scheduler.call_at(self._timer_at, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, inf
        now = self.scheduler.time()
        due_now: list[Link] = []
        while self._timers and self._timers[0][0] <= now:
            due, _, link = heapq.heappop(self._timers)
            if due == link.due:
                link.due = inf
                due_now.append(link)
            else:
                self._void -= 1
        # Once each: whoever is due again at once waits for the next turn, so that others are heard between.
        for link in due_now:
            self._look_after(link, now)
        self._set_timer()

    def _look_after(self, link: Link, now: float) -> None:
        try:
            self.carry_out(link, link.connection.tick(now))
            if link.lagging and link.is_slow(now):
                self.carry_out(link, link.connection.end(SLOW, abort=True))
        except Exception as error:
            link.failed(error)
        self.watch(link)
