"""A peer at a connection, in virtual time."""

from collections.abc import Sequence
from math import inf, nextafter
from typing import Final

from parlour.core.connection import Connection, Pace
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
)
from parlour.errors import Close, Refusal

PACE: Final = Pace(rate=10.0, burst=30, ping=20.0, ping_timeout=10.0)
"""What a client on the open internet is held to by default."""

UNPINGED: Final = Pace(rate=10.0, burst=30, ping=inf, ping_timeout=inf)
"""The same on a transport that can't ping: time passes without a word."""

FREE: Final = Pace(rate=None, burst=1, ping=inf, ping_timeout=inf)
"""No limit, no ping."""

WRONG: Final = Refusal("bad_frame", "send a JSON object")


class Peer:
    """Drives a `Connection` as the hub does, and keeps what came of it.

    Every call checks that its effects can be carried out in their order; `wait` that `deadline` is honest.
    """

    def __init__(
        self,
        pace: Pace = PACE,
        *,
        place: Enter | Find | None = None,
        name: str | None = None,
        now: float = 0.0,
        seated: bool = True,
    ) -> None:
        self.now = now
        self.connection = Connection("p-ada", place or Enter("public"), pace, name)
        self.answers: list[Publish | Refusal] = []  # what became of its lines, in order
        self.answered_at: list[float] = []  # beside `answers`
        self.pings: list[float] = []  # when it was pinged
        self._is_read = True
        self.left: list[str] = []  # rooms whose seat was given up
        self.ended: End | None = None
        self.asked = self.connection.opened(now)
        if seated:
            self.sit()

    @property
    def said(self) -> list[str]:
        """The texts that were published."""
        return [answer.text for answer in self.answers if isinstance(answer, Publish)]

    @property
    def refused(self) -> list[str]:
        """The codes of the refusals."""
        return [answer.code for answer in self.answers if isinstance(answer, Refusal)]

    @property
    def close(self) -> Close | None:
        """Why the server ended the connection."""
        return None if self.ended is None else self.ended.close

    def is_read(self) -> bool:
        """Whether the hub takes anything from it."""
        return self._is_read

    # What happens to it

    def sit(self, room: str = "public") -> None:
        self.carry_out(self.connection.seated(room, self.now))

    def say(self, text: str, name: str | None = "ada", *, size: int | None = None) -> None:
        self.hand(Send(text, name), len(text) if size is None else size)

    def hand(self, said: Command | Refusal, size: int = 0) -> None:
        self.carry_out(self.connection.handle(said, size, self.now))

    def control(self) -> None:
        self.carry_out(self.connection.control(self.now))

    def begin(self) -> None:
        self.connection.began(self.now)

    def end(self, close: Close) -> None:
        self.carry_out(self.connection.end(close))

    def lose(self) -> None:
        self.carry_out(self.connection.lost())

    def tick(self) -> Sequence[Effect]:
        effects = self.connection.tick(self.now)
        self.carry_out(effects)
        return effects

    def wait(self, seconds: float) -> None:
        """Let time pass, and call `tick` at every deadline; just before it, there must be nothing to do."""
        self._wait_until(self.now + seconds)

    def wait_for_deadline(self) -> None:
        """Let time pass up to the next deadline, and what is due then be done."""
        assert self.connection.deadline < inf, "nothing will ever be due"
        self._wait_until(max(self.now, self.connection.deadline))

    def _wait_until(self, until: float) -> None:
        while (due := self.connection.deadline) <= until:
            early = nextafter(due, -inf)
            if early >= self.now:
                assert not self.connection.tick(early), "something was done before the deadline"
                assert self.connection.deadline == due, "nothing happened, and the deadline moved"
            self.now = max(self.now, due)
            effects = self.tick()
            assert effects or self.connection.deadline > self.now, "due, and nothing done: the hub would spin"
        self.now = until

    def carry_out(self, effects: Sequence[Effect]) -> None:
        for at, effect in enumerate(effects):
            assert self.ended is None, f"{effect} after the end"
            match effect:
                case Publish(room):
                    assert room == self.connection.room or self.connection.ended
                    assert not self.left, "said without a seat"
                    self._answer(effect)
                case Refuse(refusal):
                    self._answer(refusal)
                case Ping():
                    assert self._is_read, "pinged, but the answer would not be read"
                    self.pings.append(self.now)
                case PauseReading():
                    assert self._is_read, "paused twice"
                    self._is_read = False
                case ResumeReading():
                    assert not self._is_read, "resumed twice"
                    assert at == len(effects) - 1, "resumed before all was carried out"
                    self._is_read = True
                case Leave(room):
                    assert not self.left, "left twice"
                    self.left.append(room)
                case End():
                    self.ended = effect
                case _:
                    raise AssertionError(f"{effect} after opening")

    def _answer(self, answer: Publish | Refusal) -> None:
        self.answers.append(answer)
        self.answered_at.append(self.now)
