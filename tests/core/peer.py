"""Peers at connections, in virtual time: `PlainPeer` says lines, `SessionPeer` says commands."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import count
from math import inf, nextafter
from typing import Final, TypeAlias

from parlour.core import commands
from parlour.core.commands import Command, Line
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
    Claimed,
    Drop,
    Effect,
    End,
    Enter,
    Fetch,
    Find,
    Leave,
    Letter,
    Look,
    MatchEnded,
    MatchFound,
    Member,
    PauseReading,
    Ping,
    Place,
    Publish,
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
    Weigh,
    Welcome,
)
from parlour.core.house import House
from parlour.core.keys import Keyring
from parlour.core.names import NameRules
from parlour.core.plain import PlainConnection
from parlour.core.policy import Policy
from parlour.core.session import SessionConnection
from parlour.errors import Close, Refusal

PACE: Final = Pace(rate=10.0, burst=30, ping=20.0, ping_timeout=10.0)
"""What a client on the open internet is held to by default."""

UNPINGED: Final = Pace(rate=10.0, burst=30, ping=inf, ping_timeout=inf)
"""The same on a transport that can't ping: time passes without a word."""

FREE: Final = Pace(rate=None, burst=1, ping=inf, ping_timeout=inf)
"""No limit, no ping."""

UNASKED: Final = Pace(rate=10.0, burst=30, ping=1e7, ping_timeout=10.0)
"""As `UNPINGED`, for a client with a session: that one can always be asked, here after months."""

TRUSTED: Final = Pace(rate=None, burst=1, ping=1e7, ping_timeout=10.0)
"""The same without a limit."""

WRONG: Final = Refusal("bad_frame", "send a JSON object")

KEYS: Final = Keyring({"k1": bytes(32)}, "k1")
UTC_MS: Final = 1_700_000_000_000

PUBLIC: Final = Place("public")
BOOTHS: Final = Place(booth=True)
NOWHERE: Final = Place()


class Peer(ABC):
    """Drives a `Connection` as the hub does, and keeps what came of it.

    Every call checks that its effects can be carried out in their order; `wait` that `deadline` is honest.
    """

    connection: Connection

    def __init__(self, now: float) -> None:
        self.now = now
        self.pings: list[float] = []  # when it was pinged
        self._is_read = True
        self.left: list[str] = []  # rooms whose seat was given up
        self.ended: End | None = None
        self._is_over = False

    @property
    def close(self) -> Close | None:
        """Why the server ended the connection."""
        return None if self.ended is None else self.ended.close

    def is_read(self) -> bool:
        """Whether the hub takes anything from it."""
        return self._is_read

    # What happens to it

    def hand(self, said: Command | Line | Refusal, re: int | None = None, *, size: int = 0) -> list[Effect]:
        return self.carry_out(self.connection.handle(said, re, size, self.now))

    def control(self) -> None:
        self.carry_out(self.connection.control(self.now))

    def begin(self) -> None:
        self.connection.began(self.now)

    def end(self, close: Close, *, abort: bool = False) -> list[Effect]:
        return self.carry_out(self.connection.end(close, abort=abort))

    def lose(self) -> list[Effect]:
        return self.carry_out(self.connection.lost())

    def tick(self) -> list[Effect]:
        return self.carry_out(self.connection.tick(self.now))

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

    def carry_out(self, effects: Sequence[Effect]) -> list[Effect]:
        assert not (self._is_over and effects), f"{effects} after the end"
        self._is_over = self.connection.ended
        for at, effect in enumerate(effects):
            assert self.ended is None, f"{effect} after the end"
            match effect:
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
                case End():
                    self.ended = effect
                case _:
                    self._do(effect)
        return list(effects)

    @abstractmethod
    def _do(self, effect: Effect) -> None:
        """Any other effect."""


class PlainPeer(Peer):
    """One that says lines."""

    connection: PlainConnection

    def __init__(
        self,
        pace: Pace = PACE,
        *,
        place: Place = PUBLIC,
        names: NameRules | None = None,
        name: str | None = None,
        role: Role = "user",
        now: float = 0.0,
        seated: bool = True,
        policy: Policy | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(now)
        house = House(names or NameRules(), KEYS, lambda: "id", lambda: UTC_MS, policy=policy or Policy())
        self.connection = PlainConnection(
            "c-ada", pace, house, place, person="p-ada", name=name, role=role, address=address
        )
        self.answers: list[Publish | Weigh | Refusal] = []  # what became of its lines, in order
        self.answered_at: list[float] = []  # beside `answers`
        self.asked = self.connection.opened(now)
        if seated:
            self.sit()

    @property
    def said(self) -> list[str]:
        """The texts that were published, and not weighed first."""
        return [answer.text for answer in self.answers if isinstance(answer, Publish)]

    @property
    def senders(self) -> list[Sender]:
        """As whom they were."""
        return [answer.member.sender for answer in self.answers if isinstance(answer, Publish)]

    @property
    def refused(self) -> list[str]:
        """The codes of the refusals."""
        return [answer.code for answer in self.answers if isinstance(answer, Refusal)]

    def sit(self, room: str = "public") -> list[Effect]:
        return self.answer(Seat(room, "e1", 0, 1))

    def answer(self, answer: Answer | Refusal) -> list[Effect]:
        return self.carry_out(self.connection.answered(answer, None, self.now))

    def say(self, text: str, name: str = "ada", *, size: int | None = None) -> None:
        self.hand(Line(text, name), size=len(text) if size is None else size)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Take(seat):
                assert self.connection.room == seat.room or self.connection.ended
                assert not self.answers, "said before it hears the room"
            case Publish(room) | Weigh(Publish(room)):
                assert room == self.connection.room or self.connection.ended
                assert not self.left, "said without a seat"
                self._answer(effect)
            case Refuse(refusal):
                self._answer(refusal)
            case Leave(room):
                assert not self.left, "left twice"
                self.left.append(room)
            case _:
                raise AssertionError(f"{effect} after opening")

    def _answer(self, answer: Publish | Weigh | Refusal) -> None:
        self.answers.append(answer)
        self.answered_at.append(self.now)


Asking: TypeAlias = (
    Claim
    | Enter
    | Find
    | Cancel
    | Publish
    | Amend
    | Fetch
    | Look
    | CallMe
    | Avoid
    | Search
    | Weigh
    | Verify
    | Accuse
    | Act
)
"""What an engine answers, or the desk."""


def number(asked: Asking) -> int | None:
    """Under which number the answer is to come."""
    return asked.publish.re if isinstance(asked, Weigh) else asked.re


class World:
    """What the sessions of one server share, with a time of day that is set by hand."""

    def __init__(
        self,
        *,
        has_booths: bool = True,
        welcome: str | None = None,
        reserved: Sequence[str] = (),
        policy: Policy | None = None,
        has_tokens: bool = False,
    ) -> None:
        self.utc_ms = UTC_MS
        ids = count(1)
        self.policy = policy or Policy()
        self.house = House(
            NameRules(reserved),
            KEYS,
            lambda: f"id-{next(ids)}",
            lambda: self.utc_ms,
            has_booths=has_booths,
            welcome=welcome,
            policy=self.policy,
            has_tokens=has_tokens,
        )


class SessionPeer(Peer):
    """One that says commands. The test is its engine, and answers by hand.

    Every command that bears a number must get exactly one answer; no effect may concern a room that it does not hear;
    and what it hears must be what the connection says.
    """

    connection: SessionConnection

    def __init__(
        self,
        pace: Pace = TRUSTED,
        *,
        place: Place = NOWHERE,
        world: World | None = None,
        person: str | None = None,
        name: str | None = None,
        role: Role = "user",
        may_meet: Callable[[], bool] = lambda: True,
        address: str | None = None,
        now: float = 0.0,
    ) -> None:
        super().__init__(now)
        self.world = world or World()
        self.connection = SessionConnection(
            "c-ada",
            pace,
            self.world.house,
            place,
            person=person,
            name=name,
            role=role,
            may_meet=may_meet,
            address=address,
        )
        self.waiting: set[int] = set()  # numbers of commands that have no answer yet
        self.answers: dict[int, Answer | Refusal] = {}  # by number
        self.unnumbered: list[Answer | Refusal] = []
        self.letters: list[Letter] = []
        self.hears: set[str] = set()
        self.seats: set[str] = set()  # those that the engine has given it
        self.lost: dict[str, bool] = {}  # seats given up: whether they were lost
        self._numbers = count(101)  # tests number by hand from 1 on
        self.asked: list[Asking] = []  # what is not answered yet, for tests where that is not done by hand
        self.said: list[Publish] = []  # also what is weighed first
        self.accepted: list[Accept] = []
        self._last: list[Effect] = []
        assert not self.carry_out(self.connection.opened(now))

    @property
    def sender(self) -> Sender:
        """As whom it came in."""
        (welcome,) = (answer for answer in self.answers.values() if isinstance(answer, Welcome))
        return welcome.person

    @property
    def member(self) -> Member:
        return Member("c-ada", self.sender)

    def hand(self, said: Command | Line | Refusal, re: int | None = None, *, size: int = 0) -> list[Effect]:
        if re is not None:
            assert re not in self.waiting
            assert re not in self.answers
            if not self.connection.ended:
                self.waiting.add(re)
        return super().hand(said, re, size=size)

    def do(self, command: Command | Refusal) -> list[Effect]:
        """Say it under a number that is new."""
        return self.hand(command, next(self._numbers))

    def ask(self, command: Command | Refusal) -> Answer | Refusal:
        """Say what is answered without the engine."""
        re = next(self._numbers)
        self.hand(command, re)
        return self.answers[re]

    def refusal(self, command: Command | Refusal) -> str:
        """The code of the refusal."""
        answer = self.ask(command)
        assert isinstance(answer, Refusal)
        return answer.code

    def pass_on(self, command: Command) -> Effect:
        """Say what leads to one effect, and to no answer yet."""
        (effect,) = self.do(command)
        return effect

    # What the engine does

    def answer(self, answer: Answer | Refusal, re: int | None) -> list[Effect]:
        if isinstance(answer, Seat) and not self.connection.ended:
            self.seats.add(answer.room)
        return self.carry_out(self.connection.answered(answer, re, self.now))

    def tell(self, letter: Letter, seat: Seat | None = None) -> list[Effect]:
        if isinstance(letter, MatchEnded) and letter.room is not None:
            self.seats.discard(letter.room)
        if seat is not None and not self.connection.ended:
            self.seats.add(seat.room)
        return self.carry_out(self.connection.told(letter, seat))

    def meet(self, booth: str = "booth-1") -> list[Effect]:
        """The engine found somebody."""
        return self.tell(found(booth), Seat(booth, "e-b", 0, 2))

    def come_in(self, hello: commands.Hello | None = None, *, booth: str | None = None) -> Welcome:
        """Say hello, with an engine that has all rooms that it is asked for but those whose name begins with `gone`."""
        re = next(self._numbers)
        effects = self.hand(hello or commands.Hello(), re)
        while not (answer := self.answers.get(re)):
            (asked,) = effects
            match asked:
                case Claim():
                    effects = self.answer(Claimed(booth), asked.re)
                case Enter(room) if room.startswith("gone"):
                    effects = self.answer(Refusal("not_found", "there is no such room"), asked.re)
                case Enter(room, _, since):
                    off = 0 if since is None else since.off
                    effects = self.answer(Seat(room, "e1", off, 1, recovered=since is not None), asked.re)
                case _:
                    raise AssertionError(f"{asked} in a hello")
        assert isinstance(answer, Welcome), answer
        self._last = effects
        return answer

    @property
    def after_hello(self) -> list[Effect]:
        """What followed the welcome."""
        return [effect for effect in self._last if not isinstance(effect, Reply | Take)]

    # What comes of it

    def carry_out(self, effects: Sequence[Effect]) -> list[Effect]:
        done = super().carry_out(effects)
        assert set(self.connection.rooms) == self.hears
        assert len(self.connection.rooms) == len(self.hears)
        if self.connection.ended:
            assert not self.hears
            assert not self.seats, "a seat that nobody gave up"
            assert self.connection.deadline == inf
        return done

    def _do(self, effect: Effect) -> None:
        match effect:
            case Reply(answer, re) | Refuse(answer, re):
                if re is None:
                    self.unnumbered.append(answer)
                else:
                    assert re in self.waiting, f"{answer} for {re}, which is answered or was never said"
                    self.waiting.remove(re)
                    self.answers[re] = answer
            case Tell(letter):
                self.letters.append(letter)
            case Take(seat):
                assert seat.room not in self.hears, "taken twice"
                assert seat.room in self.seats, "hears a room without a seat there"
                self.hears.add(seat.room)
            case Drop(room):
                self.hears.remove(room)
            case Leave(room, lost):
                self.seats.remove(room)
                self.hears.discard(room)
                self.left.append(room)
                self.lost[room] = lost
            case Show(room):
                assert room in self.hears
            case Release():
                assert not self.hears
            case Accept():
                self.accepted.append(effect)
            case PauseReading() | ResumeReading() | Ping() | End():
                raise AssertionError(f"{effect} for nobody")
            case _:
                self._ask(effect)

    def _ask(self, asking: "Asking") -> None:
        self.asked.append(asking)
        match asking:
            case Publish(room) | Weigh(Publish(room)):
                assert room in self.hears
                self.said.append(asking.publish if isinstance(asking, Weigh) else asking)
            case Amend(room) | Fetch(room):
                assert room in self.hears
            case Look(room):
                assert room is None or room in self.hears
            case CallMe(_, rooms):
                assert set(rooms) == self.hears
            case Find(_, wish):
                assert wish is not None
                if wish.leaving is not None:
                    assert wish.leaving not in self.hears
                    self.seats.discard(wish.leaving)


def found(booth: str = "booth-1") -> MatchFound:
    return MatchFound(booth, "e-b", 0, Sender("local-bo", "bo"), ())
