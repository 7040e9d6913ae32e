"""One connection: how fast it may speak, and when silence means the end.

Data and time go in, effects come out. The hub calls `opened` once, then `handle` for each command, `answered` with
what the engine says to it, `told` with what concerns this client alone, `control` for other signs of life, `began` and
`finished` around a message that arrives in pieces, `tick` when `deadline` has come, and at last `lost`. Each returns
what must be carried out now, in order.

What a command means is decided by its children: `plain.PlainConnection` for clients that say lines in one room, and
`session.SessionConnection` for those that say hello.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Final

from parlour.core.commands import Command, Line
from parlour.core.events import (
    Answer,
    Effect,
    End,
    Letter,
    PauseReading,
    Ping,
    Publish,
    Refuse,
    ResumeReading,
    Seat,
    Sender,
    Weigh,
    value,
)
from parlour.core.house import House
from parlour.core.moderation import Budget
from parlour.errors import NO_PONG, RATE, REPLACED, TOO_MANY_ERRORS, UNFINISHED, Close, Refusal

HOLD_LIMIT: Final = 64 * 1024
"""Characters of lines held for a client that speaks faster than its rate."""

HOLD_OVERHEAD: Final = 64
"""Characters counted for each held line beside its text, so that empty lines can't be held without end."""

STALL_LIMIT: Final = 60.0
"""Seconds of not being read after which a client that keeps pressing is let go (4013)."""

CALM: Final = 1.0
"""Seconds of being read without a break after which the stalls before are forgotten."""

PIECES_LIMIT: Final = 10.0
"""Seconds for a message that arrives in pieces."""

ERRORS_LIMIT: Final = 10
"""Refusals in a row that end a connection."""

CONTROL_RATE: Final = 10.0
CONTROL_BURST: Final = 30
"""Pings and pongs a second, and at once. RFC 6455 sets no limit; a heartbeat needs one in some seconds."""


@value
class Pace:
    """What a connection is held to. `rate` (messages a second) is None for one without limit; `ping` and
    `ping_timeout` (seconds) are inf where the peer can't be asked."""

    rate: float | None
    burst: int
    ping: float
    ping_timeout: float


class Connection(ABC):
    """The life of one connection, on either wire.

    `address` is what bans know of where it comes from (`Keyring.address_hash`), None where that can't be banned.
    """

    __slots__ = (
        "_address",
        "_began",
        "_budget",
        "_control",
        "_ended",
        "_errors",
        "_held",
        "_held_bytes",
        "_house",
        "_pace",
        "_paused_at",
        "_ping_at",
        "_policy",
        "_pong_by",
        "_resumed_at",
        "_stalled",
        "id",
    )

    def __init__(self, id: str, pace: Pace, house: House, *, address: str | None = None) -> None:
        self.id = id
        self._house = house
        self._policy = house.policy  # it is asked for each line: one look less
        self._address = address
        self._ended = False
        self._budget = None if pace.rate is None else Budget(pace.rate, pace.burst)
        self._pace = pace
        self._control: Budget | None = None  # made at the first control frame: most idle connections see few
        self._errors = 0  # refusals since the last command that was fine
        # What can't be heard yet, oldest first: (what was said, its number, characters).
        self._held: deque[tuple[Command | Line | Refusal, int | None, int]] | None = None
        self._held_bytes = 0
        self._paused_at: float | None = None  # since when the peer is not read
        self._resumed_at = 0.0
        self._stalled = 0.0  # seconds not read since the last calm
        self._began: float | None = None  # since when a message in pieces is on its way
        self._ping_at = inf
        self._pong_by = inf

    @property
    def ended(self) -> bool:
        """Whether it is over, for the server or the peer."""
        return self._ended

    @property
    def person(self) -> str:
        """The lasting id of the person behind it; empty while that is not known."""
        return self.sender.id

    def opened(self, now: float) -> Sequence[Effect]:
        """The peer is there."""
        self._ping_at = now + self._pace.ping
        return self._begin(now)

    def handle(self, said: Command | Line | Refusal, re: int | None, size: int, now: float) -> Sequence[Effect]:
        """The peer said something, of `size` characters, and wants an answer that bears the number `re`; a `Refusal` is
        what the wire could not decode.

        What can't be heard now is held, in order, and heard by `tick`.
        """
        self._pong_by = inf
        if not self._held and self._hears(now):
            return self._carry_out(said, re, now)
        return () if self._ended else self._hold(said, re, size, now)

    @abstractmethod
    def answered(self, answer: Answer | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        """The engine's answer to an effect that bore the number `re`."""

    @abstractmethod
    def told(self, letter: Letter, seat: Seat | None) -> Sequence[Effect]:
        """Something concerns this client alone; with it may come a seat."""

    def control(self, now: float) -> Sequence[Effect]:
        """A ping or pong came. Too many in a row, and the peer is not read for a while."""
        self._pong_by = inf
        if self._control is None:
            self._control = Budget(CONTROL_RATE, CONTROL_BURST)
        return () if self._control.take(now) or self._ended else self._pause(now)

    def began(self, now: float) -> None:
        """The first piece of a message came, and not all of it."""
        self._pong_by = inf
        if self._began is None:
            self._began = now

    def finished(self) -> None:
        """The message that came in pieces is whole."""
        self._began = None

    def tick(self, now: float) -> Sequence[Effect]:
        """What is due at `now`: what was held, reading again, a ping, or an end."""
        if self._ended:
            return ()
        effects = [*self._due(now), *self._release(now)]
        if self.ended:
            return effects
        if self._paused_at is not None:
            effects += self._unpause(self._paused_at, now)
        else:
            effects += self._check_life(now)
        return effects

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the earliest."""
        if self._ended:
            return inf
        due = min(self._due_at(), self._hears_at()) if self._held else self._due_at()
        if self._paused_at is not None:
            due = min(due, self._paused_at + STALL_LIMIT - self._stalled)
            if self._held_bytes < HOLD_LIMIT and self._control is not None:
                due = min(due, self._control.ready_at())
            return due
        due = min(due, self._ping_at, self._pong_by)
        return due if self._began is None else min(due, self._began + PIECES_LIMIT)

    def end(self, close: Close, *, abort: bool = False) -> Sequence[Effect]:
        """The server ends the connection: its seats are freed at once, or kept where it may come back for them."""
        if self._ended:
            return ()
        comes_back = close.reconnect or close == REPLACED
        return (*self._part(comes_back=comes_back), *self._farewell(close, abort), End(close, abort))

    def lost(self) -> Sequence[Effect]:
        """The peer is gone."""
        return () if self._ended else self._part(comes_back=True)

    @abstractmethod
    def closed(self, room: str) -> Sequence[Effect]:
        """A public room that it sits in is over."""

    # What a child decides

    @property
    @abstractmethod
    def sender(self) -> Sender:
        """Who is behind it, as public rooms see them; the id is empty while that is not known."""

    @abstractmethod
    def _begin(self, now: float) -> Sequence[Effect]:
        """What to do first."""

    @abstractmethod
    def _hears(self, now: float) -> bool:
        """Whether something that the peer says can be heard now; if so, it takes what that costs."""

    def _hears_at(self) -> float:
        """When that is so again, as far as time alone decides."""
        return inf

    @abstractmethod
    def _carry_out(self, said: Command | Line | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        """The peer said something, and is heard."""

    @abstractmethod
    def _give_up_seats(self, *, comes_back: bool) -> Sequence[Effect]:
        """The connection ended; the client may come back for what it held."""

    def _farewell(self, close: Close, abort: bool) -> Sequence[Effect]:
        """What to tell a client before its connection is closed."""
        return ()

    def _due(self, now: float) -> Sequence[Effect]:
        """What else is due at `now`."""
        return ()

    def _due_at(self) -> float:
        """When something else is due."""
        return inf

    def _ask(self) -> Sequence[Effect]:
        """Ask for a sign of life."""
        return (Ping(),)

    # What a child asks

    def _barred(self, person: str | None) -> Refusal | None:
        """Why the person, or anyone from this address, may not be here, if so."""
        return self._policy.may_connect(person, self._address, self._house.utc_ms())

    def _judge(self, publish: Publish, now: float, *, in_booth: bool, opening: bool) -> Publish | Weigh | Refuse:
        """What becomes of a message where not everyone may say everything. See `Policy.judge`."""
        policy, now_ms = self._policy, self._house.utc_ms()
        member, room, text, key = publish.member, publish.room, publish.text, publish.key
        verdict = policy.judge(member, room, text, in_booth=in_booth, opening=opening, now=now, now_ms=now_ms, key=key)
        if isinstance(verdict, Refusal):
            return Refuse(verdict, publish.re)
        if verdict.kind == "refuse" and verdict.refusal is not None:
            return Refuse(verdict.refusal, publish.re)
        return publish if verdict.kind == "pass" and not policy.classifies else Weigh(publish, verdict, opening)

    # Inside

    def _refuse_unreadable(self, refusal: Refusal, re: int | None) -> Sequence[Effect]:
        """Refuse what should not have been sent; one who goes on like that is let go."""
        self._errors += 1
        if self._errors < ERRORS_LIMIT:
            return (Refuse(refusal, re),)
        return (Refuse(refusal, re), *self.end(TOO_MANY_ERRORS))

    def _part(self, *, comes_back: bool) -> Sequence[Effect]:
        self._ended = True
        self._held = None
        return self._give_up_seats(comes_back=comes_back)

    def _hold(self, said: Command | Line | Refusal, re: int | None, size: int, now: float) -> Sequence[Effect]:
        if self._held is None:
            self._held = deque()
        self._held.append((said, re, size + HOLD_OVERHEAD))
        self._held_bytes += size + HOLD_OVERHEAD
        return self._pause(now) if self._held_bytes >= HOLD_LIMIT else ()

    def _release(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._held and self._hears(now):
            said, re, size = self._held.popleft()
            self._held_bytes -= size
            effects += self._carry_out(said, re, now)
        return effects

    def _pause(self, now: float) -> Sequence[Effect]:
        if self._paused_at is not None:
            return ()
        if now - self._resumed_at >= CALM:
            self._stalled = 0.0
        self._paused_at = now
        return (PauseReading(),)

    def _unpause(self, since: float, now: float) -> Sequence[Effect]:
        """While not read, a peer can't be asked for a pong; it may stay so for a minute in all."""
        if self._held_bytes >= HOLD_LIMIT or (self._control is not None and self._control.ready_at() > now):
            return self.end(RATE) if now >= since + STALL_LIMIT - self._stalled else ()
        self._stalled += now - since
        self._resumed_at = now
        self._paused_at = None
        self._ping_at = now + self._pace.ping
        if self._began is not None:
            self._began = now
        return (ResumeReading(),)

    def _check_life(self, now: float) -> Sequence[Effect]:
        if now >= self._pong_by:
            return self.end(NO_PONG, abort=True)
        if self._began is not None and now >= self._began + PIECES_LIMIT:
            return self.end(UNFINISHED)
        if now < self._ping_at:
            return ()
        self._ping_at = now + self._pace.ping
        self._pong_by = min(self._pong_by, now + self._pace.ping_timeout)
        return self._ask()
