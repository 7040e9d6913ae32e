"""One connection: which command is legal when, how fast, and when silence means the end.

Data and time go in, effects come out. The hub calls `opened` once, then `handle` for each command,
`control` for other signs of life, `began` and `finished` around a message that arrives in pieces, `tick` when
`deadline` has come, and at last `lost`. Each returns what must be carried out now, in order.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum
from math import inf
from typing import Final

from parlour.core.events import (
    Command,
    Effect,
    End,
    Enter,
    Find,
    Leave,
    PauseReading,
    Ping,
    Publish,
    Refuse,
    ResumeReading,
    Send,
    Sender,
    value,
)
from parlour.core.moderation import Budget, checked_name, checked_text
from parlour.errors import NO_PONG, RATE, TOO_MANY_ERRORS, UNFINISHED, Close, Refusal

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
    `ping_timeout` (seconds) are inf where the transport can't ping."""

    rate: float | None
    burst: int
    ping: float
    ping_timeout: float


class State(Enum):
    """Where a connection stands in its life."""

    OPENING = "opening"  # asked for a seat
    SEATED = "seated"
    ENDED = "ended"


class Connection:
    """The state of one connection, for either wire.

    `place` is what it asks for when it opens. `name` is set where the host app proved who this is; it then overrides
    the names that the lines bring.
    """

    __slots__ = (
        "_began",
        "_budget",
        "_control",
        "_errors",
        "_held",
        "_held_bytes",
        "_name",
        "_pace",
        "_paused_at",
        "_ping_at",
        "_place",
        "_pong_by",
        "_resumed_at",
        "_room",
        "_said_as",
        "_sender",
        "_stalled",
        "_state",
        "person",
    )

    def __init__(self, person: str, place: Enter | Find, pace: Pace, name: str | None = None) -> None:
        self.person = person
        self._place = place
        self._pace = pace
        self._name = name
        self._state = State.OPENING
        self._room: str | None = None  # set while seated
        self._budget = None if pace.rate is None else Budget(pace.rate, pace.burst)
        self._control: Budget | None = None  # made at the first control frame: most idle connections see few
        self._errors = 0  # refusals since the last line that was fine
        self._held: deque[tuple[Command | Refusal, int]] | None = None  # lines over the rate, oldest first
        self._held_bytes = 0
        self._paused_at: float | None = None  # since when the peer is not read
        self._resumed_at = 0.0
        self._stalled = 0.0  # seconds not read since the last calm
        self._began: float | None = None  # since when a message in pieces is on its way
        self._ping_at = inf
        self._pong_by = inf
        # The last name as it came and the sender made from it: hardly anyone changes names from line to line.
        self._said_as: str | None = None
        self._sender: Sender | None = None

    @property
    def room(self) -> str | None:
        """The room it sits in, or None."""
        return self._room

    @property
    def ended(self) -> bool:
        return self._state is State.ENDED

    def opened(self, now: float) -> Sequence[Effect]:
        """The peer is there."""
        self._ping_at = now + self._pace.ping
        return (self._place,)

    def seated(self, room: str, now: float) -> Sequence[Effect]:
        """The engine gave it a seat. What was said meanwhile is said now."""
        if self._state is not State.OPENING:
            raise RuntimeError(f"expected a connection that is opening, got one that is {self._state.value}")
        self._state = State.SEATED
        self._room = room
        return self.tick(now) if self._held else ()

    def handle(self, said: Command | Refusal, size: int, now: float) -> Sequence[Effect]:
        """The peer said something, of `size` characters; a `Refusal` is what the wire could not decode.

        Whatever comes over the rate is held, in order, and said by `tick` at the rate.
        """
        self._pong_by = inf
        if self._state is State.SEATED and not self._held and (self._budget is None or self._budget.take(now)):
            return self._carry_out(said)
        if self._state is State.ENDED:
            return ()
        return self._hold(said, size, now)

    def control(self, now: float) -> Sequence[Effect]:
        """A ping or pong came. Too many in a row, and the peer is not read for a while."""
        self._pong_by = inf
        if self._control is None:
            self._control = Budget(CONTROL_RATE, CONTROL_BURST)
        if self._control.take(now) or self._state is State.ENDED:
            return ()
        return self._pause(now)

    def began(self, now: float) -> None:
        """The first piece of a message came, and not all of it."""
        self._pong_by = inf
        if self._began is None:
            self._began = now

    def finished(self) -> None:
        """The message that came in pieces is whole."""
        self._began = None

    def tick(self, now: float) -> Sequence[Effect]:
        """What is due at `now`: lines held, reading again, a ping, or an end."""
        if self._state is State.ENDED:
            return ()
        effects = self._release(now) if self._held else []
        if not self.ended and self._paused_at is not None:
            effects += self._unpause(self._paused_at, now)
        elif not self.ended:
            effects += self._check_life(now)
        return effects

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the earliest."""
        if self._state is State.ENDED:
            return inf
        due = inf
        if self._held and self._state is State.SEATED and self._budget is not None:
            due = self._budget.ready_at()
        if self._paused_at is not None:
            due = min(due, self._paused_at + STALL_LIMIT - self._stalled)
            if self._held_bytes < HOLD_LIMIT and self._control is not None:
                due = min(due, self._control.ready_at())
            return due
        due = min(due, self._ping_at, self._pong_by)
        return due if self._began is None else min(due, self._began + PIECES_LIMIT)

    def end(self, close: Close, *, abort: bool = False) -> Sequence[Effect]:
        """The server ends the connection: its seat is freed at once."""
        if self._state is State.ENDED:
            return ()
        return (*self.lost(), End(close, abort))

    def lost(self) -> Sequence[Effect]:
        """The peer is gone."""
        if self._state is State.ENDED:
            return ()
        self._state = State.ENDED
        self._held = None
        room, self._room = self._room, None
        return () if room is None else (Leave(room),)

    # Inside

    def _carry_out(self, said: Command | Refusal) -> Sequence[Effect]:
        if not isinstance(said, Send):
            return self._refuse(said)
        sender = self._sender if said.name == self._said_as and self._sender is not None else self._known_as(said.name)
        if not isinstance(sender, Sender):
            return self._refuse(sender)
        refusal = checked_text(said.text)
        if refusal is not None:
            return self._refuse(refusal)
        self._errors = 0
        if self._room is None:
            raise RuntimeError("expected a seat, got none")
        return (Publish(self._room, sender, said.text),)

    def _known_as(self, said_as: str | None) -> Sender | Refusal:
        if self._name is not None:
            sender = Sender(self.person, self._name, plain=False)
        else:
            name = checked_name(said_as or "")
            if isinstance(name, Refusal):
                return name
            sender = Sender(self.person, name, plain=True)
        self._said_as, self._sender = said_as, sender
        return sender

    def _refuse(self, refusal: Refusal) -> Sequence[Effect]:
        self._errors += 1
        if self._errors < ERRORS_LIMIT:
            return (Refuse(refusal),)
        return (Refuse(refusal), *self.end(TOO_MANY_ERRORS))

    def _hold(self, said: Command | Refusal, size: int, now: float) -> Sequence[Effect]:
        if self._held is None:
            self._held = deque()
        self._held.append((said, size + HOLD_OVERHEAD))
        self._held_bytes += size + HOLD_OVERHEAD
        return self._pause(now) if self._held_bytes >= HOLD_LIMIT else ()

    def _release(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._held and self._state is State.SEATED and (self._budget is None or self._budget.take(now)):
            said, size = self._held.popleft()
            self._held_bytes -= size
            effects += self._carry_out(said)
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
        return (Ping(),)
