"""One side of a v1 conversation, without I/O: what was asked and not answered, where one sits and what one saw there.

Text and time go in, events, answers and frames come out. Its owner does, for each connection:

1. send what `hello` gives, and hand all that comes to `receive`;
2. send what `outgoing` gives: after each call of `ask`, `tell` and `receive`, and at `wake_at`;
3. give the connection up at `deadline`, however it looks;
4. when it is over, call `lost`, wait as long as `Backoff` says, and begin again.

Times are seconds of any clock that never goes back.
"""

import heapq
import json
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple, TypeAlias, get_args

from parlour.core.events import Role, Sender
from parlour.core.moderation import Budget
from parlour.errors import Close, Refusal

FRAME_LIMIT: Final = 128 * 1024
"""Bytes of a frame that a server takes, if its hello does not say."""

IN_FLIGHT: Final = 64
"""Commands on their way without a reply, at most; fewer where the server has a small burst."""

WINDOW: Final = 64 * 1024
"""Bytes on their way without a reply, at most: what comes back for them must find room on its way as well."""

GRACE: Final = 10.0
"""Seconds beyond `ping_ms` without a word after which the line is dead."""

RESUME_LIMIT: Final = 20
"""Rooms of one hello's `resume`."""

KEYS_LIMIT: Final = 1_000
"""Own messages that are known as such when they come back."""

REPORTED_LIMIT: Final = 100
"""Messages in one report."""

_REPORT_SPACE: Final = 16 * 1024
"""Bytes of a report beside its messages."""

BOOTHS_LIMIT: Final = 3
"""Booths of which it is known what was said there, the newest: one may be reported after it ended."""

LONGEST_WAIT: Final = 30.0
"""Seconds: where the growing waits between tries end, if the server does not ask for more."""

REPEATABLE: Final = frozenset(
    {
        *("send", "edit", "delete", "react"),
        *("join", "name", "history", "presence", "rooms", "block", "unblock", "ping"),
        *("search", "terms", "report"),
    }
)
"""Commands that do no more twice than once. The others leave a booth or look for one; what they meant is over when the
connection is."""

_ROLES: Final[Collection[Role]] = get_args(Role)
_NUMBERED: Final = frozenset({"message", "message.edited", "message.deleted", "message.reaction"})

NOT_UNDERSTOOD: Final = Close(1002, "the server sent what is not understood here")
SILENT: Final = Close(1006, "the server stopped answering")
MOVED: Final = Close(1001, "the server asked to connect anew")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `kind` is its `ev` and `fields` the whole object, as docs/protocol.md has them; kinds
    that this client does not know are handed on.

    `own` marks a message that this client said. `local` marks what the server did not send in these words:

    - `gap` (`room`, `epoch`, `off`): events of the room were lost, live ones follow from the one after `off` on;
    - `match.found` and `match.ended`: a booth that hello told of, or one that is no more;
    - `client.connected` (`person`, `rooms`, `again`, `resumed`): hello was answered, `again` after a reconnect, and
      `resumed` if `client.back` will follow;
    - `client.lost` (`code`, `reason`, `after_ms`): the connection is over, the next try is in `after_ms`;
    - `client.retry` (`reason`, `after_ms`): that try failed;
    - `client.back` (`caught_up`, `missed`): all that hello promised has come: how many messages of others, and whether
      some may be missing;
    - `client.gone` (`room`): the seat in this room is no more;
    - `client.refused` (`code`, `message`): the server did not do what this client did not ask for by a command, such as
      the search that hello begins, or could not read what it got;
    - `client.dropped` (`count`): so many events were not fetched in time and thrown away.
    """

    kind: str
    fields: Mapping[str, Any]
    own: bool = False
    local: bool = False

    @property
    def room(self) -> str:
        """The room, "" if it names none."""
        return _text_of(self.fields, "room")

    @property
    def text(self) -> str:
        """What was said, "" where nothing was."""
        return _text_of(self.fields, "text")

    @property
    def sender(self) -> Sender | None:
        """Whom it is about: `from`, `member` or `peer`."""
        for field in ("from", "member", "peer"):
            if field in self.fields:
                return sender_of(self.fields[field])
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of the command `id`: the reply's fields; or why it was refused; or that the connection was `lost`
    before the reply, and the command will not be said again."""

    id: int
    fields: Mapping[str, Any]
    refusal: Refusal | None = None
    lost: Close | None = None


Outcome: TypeAlias = Event | Answer


class Lost(NamedTuple):
    """The end of a connection: whether to connect `again`, after how many seconds `at_least`, and what became of
    commands on their way."""

    close: Close
    again: bool
    at_least: float
    outcomes: Sequence[Outcome]


class NonsenseError(Exception):
    """What came is not v1. The connection must end, and there is no use in coming back."""


@dataclass(slots=True)
class Seat:
    """A place in a room, and the last event seen there. `peer` is the other one in a booth. `upto` is where catching up
    ends, None once it has."""

    room: str
    epoch: str
    off: int
    peer: Sender | None = None
    booth: bool = False
    upto: int | None = None


class _Stamped(NamedTuple):
    """What was said in a booth, as a report brings it back. `fits` says that it came right after the one before: it can
    be proved only with that one's stamp."""

    message: Mapping[str, Any]
    fits: bool


class _Heard:
    """What was said in a booth since the two met, or the last of it, with its stamps."""

    def __init__(self, *, from_start: bool) -> None:
        self._messages: deque[_Stamped] = deque()
        self._prev = ""  # the stamp before the first of them
        self._fits = from_start  # whether the stamp before the next one is known

    def take(self, frame: Mapping[str, Any]) -> None:
        """A message came, or an edit of one."""
        stamp, sender = frame.get("stamp"), sender_of(frame.get("from"))
        if not isinstance(stamp, str) or sender is None:
            self.miss()  # it was deleted, and its stamp with it
            return
        said = {"from": sender.id, **{name: frame.get(name) for name in ("mid", "off", "ts", "text", "stamp")}}
        self._messages.append(_Stamped(said, self._fits))
        self._fits = True
        if len(self._messages) > REPORTED_LIMIT:
            self._prev = self._messages.popleft().message["stamp"]

    def miss(self) -> None:
        """Something that bore a stamp may be missing here."""
        self._fits = False

    def told(self, mids: Collection[str], size: int) -> tuple[Sequence[Mapping[str, Any]], str]:
        """The messages with these mids, or all, and the stamp before the first of them: the newest ones that have room
        in `size` bytes. Of those between that are not told, or can't be proved, only the last stamp is."""
        told: deque[Mapping[str, Any]] = deque()
        for message, fits in self._messages:
            if fits and (not mids or message["mid"] in mids):
                told.append(message)
            else:
                if told and "text" not in told[-1]:
                    told.pop()
                told.append({"mid": message["mid"], "stamp": message["stamp"]})
        if told and "text" not in told[-1]:
            told.pop()
        prev, space = self._prev, size - sum(map(_size_of, told))
        while told and (space < 0 or "text" not in told[0]):
            space += _size_of(told[0])
            prev = told.popleft()["stamp"]
        return list(told), prev


@dataclass(slots=True)
class _Asked:
    """A command without an answer; `size` is its frame's in bytes. `wanted` until its owner gives it up; `echo` is the
    event that it led to."""

    op: str
    fields: Mapping[str, Any]
    frame: str
    size: int
    wanted: bool = True
    echo: Mapping[str, Any] | None = None


class Backoff:
    """How long to wait before each try to connect: a random time up to 1, 2, 4 ... 30 seconds (full jitter), so that
    the clients of a server that restarts do not come all at once. `random` gives numbers from 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._tries = 0

    def next(self, at_least: float = 0.0) -> float:
        """Seconds to wait now; beyond `at_least`, if the server named a time."""
        ceiling = min(LONGEST_WAIT, 2.0 ** min(self._tries, 10))
        self._tries += 1
        return at_least + self._random() * ceiling

    def reset(self) -> None:
        """All is well again."""
        self._tries = 0


class Session:
    """The state of one client, over any number of connections."""

    def __init__(
        self,
        *,
        name: str | None = None,
        insist: bool = True,
        token: str | None = None,
        match: Mapping[str, Any] | None = None,
        program: Mapping[str, str] | None = None,
        random: Callable[[], float],
        grace: float = GRACE,
        passport: str | None = None,
        terms: str | None = None,
        age: int | None = None,
    ) -> None:
        """`name` is a wish; with `insist` the first hello fails without it. `token` is an earlier session's. `match`
        are the fields of `match.find` for a search that begins with hello. `random` gives numbers from 0 to 1; `grace`
        is in seconds, see `GRACE`. `passport` is the token of another issuer, by which the server knows who this is;
        `terms` is the version of the terms that the person accepts, and `age` is in years."""
        self.token = token  # what resumes this session, from the first welcome on
        self.name = name  # what others call this client: wished for, then as accepted
        self.person = Sender("", None)  # who this client is, from the first welcome on
        self.limits: Mapping[str, float] = {}  # as hello told them
        self.required: Mapping[str, Any] | None = None  # what hello wants to be accepted before a search
        self.seats: dict[str, Seat] = {}
        self.searching = False  # whether a search for a stranger goes on, or does after a reconnect
        self.welcomed = False  # whether this connection's hello was answered
        self.refusal: Refusal | None = None  # why it was refused for good
        self.backoff = Backoff(random)
        self._random = random
        self._grace = grace
        self._insist = insist
        self._match = match
        self._program = program
        self._passport = passport
        self._accepted: dict[str, Any] = {"terms": terms, "age": age}
        self._heard: dict[str, _Heard] = {}  # by booth, the newest last
        self._ids = count(1)
        self._hello = 0  # the id of the last hello
        self._seeks = False  # whether that hello looks for a stranger
        self._asked: dict[int, _Asked] = {}  # by id, so in the order of asking
        self._outbox: list[int] = []  # those to be sent, a heap
        self._flying: dict[int, int] = {}  # those on their way, with their size in bytes
        self._urgent: list[str] = []  # frames that wait for nothing
        self._keys: dict[str, int] = {}  # of own messages, with the command's id, the newest last
        self._budget: Budget | None = None  # None: no limit
        self._most = IN_FLIGHT
        self._held_until = -inf  # the server said to wait
        self._ping = 20.0
        self._heard_at = 0.0
        self._move_at = inf  # when the server wants this client to connect anew
        self._bye: Mapping[str, Any] | None = None
        self._resumed = False  # whether a resume is going on that must be told of
        self._caught_up = 0
        self._missed = False

    @property
    def booth(self) -> Seat | None:
        """The booth, if this client sits in one."""
        return next((seat for seat in self.seats.values() if seat.booth), None)

    @property
    def room(self) -> str | None:
        """Where one talks if no room is named: the booth, else the room entered first."""
        seat = self.booth or next(iter(self.seats.values()), None)
        return None if seat is None else seat.room

    # A connection begins and ends

    def hello(self, now: float, *, seeks: bool = False) -> str:
        """The first frame of a connection; `seeks` says that the address it goes to looks for a stranger."""
        self.welcomed = False
        self.refusal = None
        self._seeks = seeks
        self._urgent.clear()
        self._flying.clear()
        self._bye = None
        self._move_at = inf
        self._held_until = -inf
        self._heard_at = now
        return self._hello_frame()

    def lost(self, close: Close, now: float) -> Lost:
        """The connection is over; the server may have said more about it in its `bye`.

        The outcomes tell what became of commands on their way: those that can't be repeated fail, and a message that
        was seen in its room was said. The rest goes out again, in order, after the next hello.
        """
        outcomes: list[Outcome] = []
        for number in sorted(self._flying):
            asked = self._asked[number]
            if asked.echo is not None:
                outcomes.append(Answer(number, self._said(asked.echo)))
            elif not asked.wanted:
                pass
            elif asked.op in REPEATABLE:
                continue
            else:
                outcomes.append(Answer(number, {}, lost=close))
            del self._asked[number]
        self.welcomed = False
        self._flying.clear()
        self._outbox = []
        bye = self._bye or {}
        code, again, after = bye.get("code"), bye.get("reconnect"), bye.get("after_ms")
        if close.code == 1006 and isinstance(code, int):
            close = Close(code, _text_of(bye, "reason"))
        return Lost(
            close=close,
            again=again if isinstance(again, bool) else close.reconnect,
            at_least=max(
                after / 1000 if isinstance(after, int) else 0.0, 0.0 if self._move_at == inf else self._move_at - now
            ),
            outcomes=outcomes,
        )

    @property
    def deadline(self) -> float:
        """When to give the connection up: the line is dead then, or the server wants it."""
        return min(self._heard_at + self._ping + self._grace, self._move_at)

    def verdict(self, now: float) -> Close:
        """Why the connection is given up at its `deadline`."""
        return MOVED if self._move_at <= now else SILENT

    def farewell(self, booth: str) -> str:
        """A last frame, for one who will not read the reply: without it the other one would wait for a return."""
        return _frame({"id": next(self._ids), "op": "leave", "room": booth})

    def evidence(self, room: str, mids: Collection[str] = ()) -> tuple[Sequence[Mapping[str, Any]], str]:
        """`messages` and `prev` of a report: of a booth what was said there, all of it or the messages with these mids,
        as far as it is known and has room in a frame. In public rooms the server knows it itself."""
        heard = self._heard.get(room)
        if heard is None:
            return [{"mid": mid} for mid in mids], ""
        return heard.told(mids, int(self.limits.get("frame", FRAME_LIMIT)) - _REPORT_SPACE)

    # What this client wants

    def ask(self, op: str, fields: Mapping[str, Any]) -> int:
        """A command that gets an `Answer`, now or after the next hello. Gives its id.

        Raises `ValueError` if its frame would be too large, or is no Unicode (a lone surrogate).
        """
        number = next(self._ids)
        frame = _frame({"id": number, "op": op, **{name: value for name, value in fields.items() if value is not None}})
        limit = int(self.limits.get("frame", FRAME_LIMIT))
        size = len(frame.encode())
        if size > limit:
            raise ValueError(f"the command is larger than {limit} bytes; shorten it")
        self._asked[number] = _Asked(op, fields, frame, size)
        if self.welcomed:
            heapq.heappush(self._outbox, number)
        return number

    def tell(self, op: str, fields: Mapping[str, Any]) -> None:
        """A command without an answer, which has a meaning now or never (`typing`, `read`). Raises `ValueError` for
        what is no Unicode (a lone surrogate)."""
        if self.welcomed:
            self._urgent.append(_frame({"op": op, **fields}))

    def drop(self, number: int) -> None:
        """Nobody waits for this answer any longer: what was not sent is not sent."""
        asked = self._asked.get(number)
        if asked is None:
            return
        asked.wanted = False
        if number not in self._flying:
            del self._asked[number]
            if number in self._outbox:
                self._outbox.remove(number)
                heapq.heapify(self._outbox)

    def outgoing(self, now: float) -> list[str]:
        """The frames to send at this moment, in order. See `wake_at` for the rest."""
        frames, self._urgent = self._urgent, []
        while self._may_send and now >= self._held_until and (self._budget is None or self._budget.take(now)):
            number = heapq.heappop(self._outbox)
            asked = self._asked[number]
            self._flying[number] = asked.size
            self._remember(number, asked)
            frames.append(asked.frame)
        return frames

    def _remember(self, number: int, asked: _Asked) -> None:
        """So that the message is known as one's own when it comes back."""
        key = asked.fields.get("key")
        if asked.op == "send" and isinstance(key, str):
            self._keys.pop(key, None)
            self._keys[key] = number
            if len(self._keys) > KEYS_LIMIT:
                del self._keys[next(iter(self._keys))]

    @property
    def wake_at(self) -> float:
        """When `outgoing` will have more, if nothing happens before; inf if never."""
        if not self._may_send:
            return inf
        return max(self._held_until, -inf if self._budget is None else self._budget.ready_at())

    @property
    def _may_send(self) -> bool:
        if not self.welcomed or not self._outbox:
            return False
        if not self._flying:
            return True
        size = sum(self._flying.values()) + self._asked[self._outbox[0]].size
        return len(self._flying) < self._most and size <= WINDOW

    # What comes

    def receive(self, text: str, now: float) -> list[Outcome]:
        """A frame came. Raises `NonsenseError` if it is none of v1."""
        self._heard_at = now
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            raise NonsenseError from None
        if not isinstance(frame, dict):
            raise NonsenseError
        if "ev" in frame:
            return self._happened(_text(frame, "ev"), frame, now)
        return self._answered(frame, now) if "re" in frame else []

    def _happened(self, kind: str, frame: Mapping[str, Any], now: float) -> list[Outcome]:
        if kind in _NUMBERED:
            return self._numbered(kind, frame)
        match kind:
            case "ping":
                self.backoff.reset()  # it has stood for a while
                self._urgent.append(_frame({"op": "pong"}))
                return []
            case "bye":
                self._bye = frame
            case "reconnect":
                after, jitter = _number(frame, "after_ms"), _number(frame, "jitter_ms")
                self._move_at = now + (after + self._random() * jitter) / 1000
            case "gap":
                seat = self.seats.get(_text(frame, "room"))
                if seat is not None:
                    self._miss(seat.room)
                    seat.epoch, seat.off, seat.upto = _text(frame, "epoch"), _number(frame, "off"), None
                    self._missed = self._missed or self._resumed
                    return [Event(kind, frame), *self._came_back()]
            case "match.waiting":
                self.searching = True
            case "match.found":
                self.searching = False
                room = _text(frame, "room")
                peer = sender_of(frame.get("peer"))
                self.seats[room] = Seat(room, _text(frame, "epoch"), _number(frame, "off"), peer, booth=True)
                self._listen(room, from_start=True)
            case "room.changed" if frame.get("archived") is True:
                gone = self.seats.pop(_text(frame, "room"), None)
                ended = [] if gone is None else [_local("client.gone", room=gone.room)]
                return [Event(kind, frame), *ended, *self._came_back()]
            case "match.ended":
                self.seats.pop(_text_of(frame, "room"), None)
                self.searching = self.searching and "room" in frame
                return [Event(kind, frame), *self._came_back()]
            case "member.renamed":
                member = sender_of(frame.get("member"))
                if member is not None and member.id == self.person.id:
                    self.name = member.name
        return [Event(kind, frame)]

    def _numbered(self, kind: str, frame: Mapping[str, Any]) -> list[Outcome]:
        """An event with a place in its room: each is told once, and a jump is told before it."""
        room, off = _text(frame, "room"), _number(frame, "off")
        key = frame.get("key")
        own = kind == "message" and isinstance(key, str) and key in self._keys
        seat = self.seats.get(room)
        if own and (asked := self._asked.get(self._keys[frame["key"]])) is not None:
            asked.echo = frame  # whatever happens to the reply, it was said
        if seat is None:
            return [Event(kind, frame, own)]
        if off <= seat.off:
            return []
        outcomes: list[Outcome] = []
        if off > seat.off + 1:
            self._miss(room)
            outcomes.append(_local("gap", room=room, epoch=seat.epoch, off=off - 1))
            self._missed = self._missed or seat.upto is not None
        if seat.upto is not None and kind == "message" and not own:
            self._caught_up += 1
        seat.off = off
        if room in self._heard and kind in ("message", "message.edited"):
            self._heard[room].take(frame)
        outcomes.append(Event(kind, frame, own))
        return [*outcomes, *self._came_back()]

    def _listen(self, booth: str, *, from_start: bool) -> None:
        """Remember what is said there, for a report."""
        self._heard.pop(booth, None)
        self._heard[booth] = _Heard(from_start=from_start)
        if len(self._heard) > BOOTHS_LIMIT:
            del self._heard[next(iter(self._heard))]

    def _miss(self, room: str) -> None:
        if room in self._heard:
            self._heard[room].miss()

    def _said(self, echo: Mapping[str, Any]) -> Mapping[str, Any]:
        seat = self.seats.get(_text(echo, "room"))
        epoch = "" if seat is None else seat.epoch
        return {"mid": echo.get("mid"), "epoch": epoch, "off": echo.get("off"), "ts": echo.get("ts"), "kept": "relayed"}

    def _answered(self, frame: Mapping[str, Any], now: float) -> list[Outcome]:
        number = frame["re"]
        refusal = None if frame.get("ok") is True else _refusal_of(frame.get("error"))
        if number == self._hello and not self.welcomed:
            return self._welcome(frame) if refusal is None else self._unwelcome(refusal)
        asked = self._asked.get(number) if isinstance(number, int) else None
        if asked is None or self._flying.pop(number, None) is None:
            unread = refusal is not None and number is None
            return [_local("client.refused", code=refusal.code, message=refusal.message)] if refusal and unread else []
        if refusal is not None and refusal.code == "rate_limited" and asked.wanted:
            # Nothing was done. It keeps its place before whatever was asked later.
            heapq.heappush(self._outbox, number)
            self._held_until = now + (refusal.retry_after_ms or 1000) / 1000
            return []
        del self._asked[number]
        if refusal is not None and refusal.code == "unavailable" and asked.echo is not None:
            # It was shown, and is not confirmed to be stored.
            return [Answer(number, self._said(asked.echo))]
        if refusal is not None:
            return [Answer(number, frame, refusal)]
        return [*self._done(asked, frame), Answer(number, frame)]

    def _done(self, asked: _Asked, reply: Mapping[str, Any]) -> list[Outcome]:
        match asked.op:
            case "join":
                room = _text(reply, "room")
                self.seats[room] = Seat(room, _text(reply, "epoch"), _number(reply, "off"))
            case "leave":
                self.seats.pop(asked.fields["room"], None)
                return list(self._came_back())
            case "name":
                self.name = _text(reply, "name")
            case "match.cancel":
                self.searching = False
            case "terms":
                self.required = None
                self._accepted = {"terms": asked.fields["version"], "age": asked.fields.get("age")}
            case "match.find" | "match.next":
                # A booth that was left for this: match.found, which names another, comes after the reply.
                if (booth := self.booth) is not None and asked.op == "match.next":
                    del self.seats[booth.room]
                self.searching = True
        return []

    def _hello_frame(self) -> str:
        self._hello = next(self._ids)
        seats = list(self.seats.values())[-RESUME_LIMIT:]
        fields = {
            "token": self._passport,
            "session": self.token,
            "name": self.name,
            **self._accepted,
            "resume": [{"room": seat.room, "epoch": seat.epoch, "off": seat.off} for seat in seats] or None,
            "match": self._match if self._seeks else None,
            "client": self._program,
        }
        return _frame({"id": self._hello, "op": "hello", **{name: value for name, value in fields.items() if value}})

    def _unwelcome(self, refusal: Refusal) -> list[Outcome]:
        """Hello was refused. Without what was wrong it may be said again."""
        if refusal.code in ("expired", "unauthorized") and self.token is not None:
            self.token = None
        elif refusal.code == "bad_name" and self.name is not None and not self._insist:
            self.name = None
        else:
            self.refusal = refusal
            return []
        self._urgent.append(self._hello_frame())
        return []

    def _welcome(self, reply: Mapping[str, Any]) -> list[Outcome]:
        person = sender_of(reply.get("person"))
        if person is None:
            raise NonsenseError
        again = self.person.id != ""
        self.person = person
        self.welcomed = True
        self._insist = False
        self.token = _text(reply, "session")
        self.name = person.name
        self._ping = _number(reply, "ping_ms") / 1000
        limits = reply.get("limits")
        if not isinstance(limits, dict):
            raise NonsenseError
        self.limits = {name: value for name, value in limits.items() if type(value) in (int, float)}
        self._pace()
        self._outbox = sorted(self._asked)
        rooms = reply.get("rooms")
        if not isinstance(rooms, list) or not all(isinstance(entry, dict) for entry in rooms):
            raise NonsenseError
        changes = self._sit(rooms)
        required = reply.get("required")
        self.required = required if isinstance(required, dict) else None
        self.searching = self._seeks and self.booth is None and self.required is None
        fields = {"person": reply["person"], "rooms": rooms, "again": again, "resumed": self._resumed}
        return [_local("client.connected", **fields), *changes, *self._came_back()]

    def _pace(self) -> None:
        """Half of the burst is kept for what the network makes arrive at once, or the order of what was asked would
        depend on which commands the server refuses."""
        rate, half = self.limits.get("rate", 0), max(1, int(self.limits.get("burst", 1)) // 2)
        self._budget = Budget(rate, half) if rate > 0 else None
        self._most = IN_FLIGHT if self._budget is None else min(IN_FLIGHT, half)

    def _sit(self, rooms: list[Mapping[str, Any]]) -> list[Outcome]:
        """Take hello's word for where one sits now."""
        outcomes: list[Outcome] = []
        known, self.seats = self.seats, {}
        for entry in rooms:
            if entry.get("gone") is True:
                continue
            room, epoch, off = _text(entry, "room"), _text(entry, "epoch"), _number(entry, "off")
            before = known.pop(room, None)
            peer = sender_of(entry.get("peer"))
            seat = self.seats[room] = Seat(room, epoch, off, peer, booth=peer is not None)
            if before is None and peer is not None:
                self._listen(room, from_start=False)
                fields = {"room": room, "epoch": epoch, "off": off, "peer": entry["peer"], "common": []}
                outcomes.append(_local("match.found", **fields))
            if before is None:
                continue
            self._resumed = True
            if entry.get("recovered") is True:
                seat.upto = _number(entry, "upto")
                if before.epoch == epoch:
                    seat.off = max(off, before.off)
            else:
                self._missed = True
                self._miss(room)
                outcomes.append(_local("gap", room=room, epoch=epoch, off=off))
        for gone in known.values():
            kind, more = ("match.ended", {"by": "lost"}) if gone.booth else ("client.gone", {})
            outcomes.append(_local(kind, room=gone.room, **more))
        return outcomes

    def _came_back(self) -> list[Event]:
        """What to tell once the last room has caught up."""
        for seat in self.seats.values():
            if seat.upto is not None and seat.off >= seat.upto:
                seat.upto = None
        if not self._resumed or any(seat.upto is not None for seat in self.seats.values()):
            return []
        event = _local("client.back", caught_up=self._caught_up, missed=self._missed)
        self._resumed, self._caught_up, self._missed = False, 0, False
        return [event]


def sender_of(value: object) -> Sender | None:
    """Somebody, as the wire has it; None if it is nobody."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return None
    name = value.get("name")
    return Sender(
        id=value["id"],
        name=name if isinstance(name, str) else None,
        role=next((role for role in _ROLES if role == value.get("role")), "guest"),
        plain=value.get("plain") is True,
    )


def _refusal_of(error: object) -> Refusal:
    if not isinstance(error, dict):
        raise NonsenseError
    field, after = error.get("field"), error.get("retry_after_ms")
    return Refusal(
        code=_text(error, "code"),
        message=_text_of(error, "message"),
        field=field if isinstance(field, str) else None,
        retry=error.get("retry") is True,
        retry_after_ms=after if isinstance(after, int) else None,
    )


def _size_of(message: Mapping[str, Any]) -> int:
    return len(_frame(message).encode()) + 1


def _local(kind: str, **fields: Any) -> Event:
    return Event(kind, {"ev": kind, **fields}, local=True)


def _frame(fields: Mapping[str, Any]) -> str:
    """Raises `ValueError` for what is no Unicode (a lone surrogate)."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    text.encode()
    return text


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise NonsenseError
    return value


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int):
        raise NonsenseError
    return value


def _text_of(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""
