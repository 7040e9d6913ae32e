"""A hub of the tests: it calls an engine, and notes who sits where and what each one hears."""

import asyncio
import heapq
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from parlour.core.events import (
    Amend,
    Answer,
    Avoid,
    CallMe,
    Cancel,
    Claim,
    Claimed,
    Done,
    Enter,
    Event,
    Fetch,
    Find,
    Letter,
    Look,
    MatchEnded,
    MatchFound,
    Member,
    Message,
    Named,
    Page,
    Position,
    Publish,
    Published,
    Search,
    Seat,
    Sender,
    Show,
    Ticket,
    Wanted,
)
from parlour.core.keys import Keyring
from parlour.engine import Answered, Engine, Handler, Scheduler, Timer
from parlour.engine.memory import MemoryEngine
from parlour.errors import ERROR_CODES, Refusal
from parlour.store import Store
from parlour.store.sql import SqlStore
from tests.store.world import Clock

_Asked = TypeVar("_Asked", Claim, Enter, Publish, Amend, Fetch, Look, CallMe, Find, Cancel, Avoid, Search)
_Given = TypeVar("_Given")

KEYRING: Final = Keyring({"k1": bytes(32)}, "k1")


class Factory(Protocol):
    """What makes an engine."""

    def __call__(
        self,
        handler: Handler,
        *,
        scheduler: Scheduler,
        keyring: Keyring,
        choose: Callable[[int], int],
        new_id: Callable[[], str],
        utc_ms: Callable[[], int],
        public: Sequence[str],
        store: Store | None = None,
    ) -> Engine: ...


ENGINES: dict[str, Factory] = {"memory": MemoryEngine}
"""Every engine that the contract is held to. A new one adds its row."""

STORES: dict[str, type[SqlStore] | None] = {"no store": None, "sqlite": SqlStore}
"""With what each of them is held to it."""


class FakeTimer:
    """See `Timer`."""

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeScheduler:
    """A `Scheduler` whose time passes only when a test says so."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self._entries = count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], object], /) -> Timer:
        return self.call_at(self.now, callback)

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        timer = FakeTimer(when, callback)
        heapq.heappush(self._timers, (when, next(self._entries), timer))
        return timer

    @property
    def planned(self) -> int:
        """How many calls are planned."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def step(self, until: float) -> bool:
        """Make the next call that is due until then; False if there is none."""
        if not self._timers or self._timers[0][0] > until:
            return False
        when, _, timer = heapq.heappop(self._timers)
        self.now = max(self.now, when)
        if timer.callback is not None:
            timer.callback()
        return True


def plain(name: str) -> Member:
    """`ada/2` is another connection of ada's."""
    return Member(name, Sender(f"p-{name.partition('/')[0]}", None, plain=True))


def v1(name: str) -> Member:
    return Member(name, Sender(f"p-{name.partition('/')[0]}", name.partition("/")[0].capitalize()))


def local(booth: str, name: str) -> str:
    """The id by which somebody goes in a booth."""
    return KEYRING.local_id(booth, f"p-{name}")


@dataclass
class Guest:
    """One connection: its seats, what it heard since it has them, and what the engine told it."""

    member: Member
    session: str | None = None
    closed: list[str] = field(default_factory=list)  # rooms that were closed while it sat there
    seats: dict[str, Seat] = field(default_factory=dict)
    heard: list[Event] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    displaced: bool = False
    is_over: bool = False

    @property
    def messages(self) -> list[Message]:
        return [event for event in self.heard if isinstance(event, Message)]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    @property
    def room(self) -> str | None:
        """Where it sits, if that is one room."""
        (room,) = self.seats or (None,)
        return room

    @property
    def booth(self) -> str | None:
        return next((room for room in self.seats if room.startswith("booth")), None)


Told: TypeAlias = Event | tuple[str, Letter] | Answer | Refusal
Answers: TypeAlias = list[Answer | Refusal]


class House:
    """All connections of a hub, by name, and the engine that they are guests of."""

    def __init__(
        self,
        make: Factory,
        file: Path | None = None,
        store: Callable[..., SqlStore] | None = None,
        *,
        opens: bool = True,
    ) -> None:
        """`file` is the database that `store` makes a store of; the rooms are there with the house, or, if it does not
        open at once, once `open` was called."""
        self.guests: dict[str, Guest] = {}
        self.luck = 0  # what `choose` answers, within its range
        self.asked: list[int] = []  # from how many it had to choose
        self.is_prompt = True  # whether a displaced connection gives up its seats from within the call
        self.log: list[Told] = []  # what the engine told, in order
        self.cut_with: dict[str, str] = {}  # whose end is another one's end as well
        self.act: Callable[[str, Letter], None] | None = None  # what a connection does when it is told something
        self.scheduler = FakeScheduler()
        self.utc_shift = 0  # by which the time of day was set forward
        self.clock = Clock()  # the store's: how long who waits for it waits
        self.file = file
        self._make, self._make_store = make, store
        self._ids, self._numbers = count(1), count(1)
        self._loop = None if store is None else asyncio.new_event_loop()
        self._begin(opens=opens)

    def _begin(self, *, opens: bool = True) -> None:
        self.store: SqlStore | None = None
        if self._make_store is not None:
            self.store = self._make_store(self.file, utc_ms=lambda: self.utc_ms, scheduler=self.clock)
        self.engine = self._make(
            self,
            scheduler=self.scheduler,
            keyring=KEYRING,
            choose=self._choose,
            new_id=lambda: f"{next(self._ids)}",
            utc_ms=lambda: self.utc_ms,
            public=("public", "tea"),
            store=self.store,
        )
        if self.store is not None and opens:
            self.open()

    # The store

    @property
    def kept(self) -> Literal["relayed", "stored"]:
        """What an answer says of what was said in public."""
        return "relayed" if self.store is None else "stored"

    def open(self) -> None:
        assert isinstance(self.engine, MemoryEngine)
        self.run(self.engine.open())

    def run(self, work: Awaitable[_Given]) -> _Given:
        """What it gives."""
        assert self._loop is not None

        async def awaited() -> _Given:
            return await work

        return self._loop.run_until_complete(awaited())

    def until(self, condition: Callable[[], bool], *, advancing: float = 0.0) -> None:
        """Wait for what the store brings about; see `Clock.until`."""
        self.run(self.clock.until(condition, advancing=advancing))

    def restart(self) -> None:
        """The server is started again, after it was stopped."""
        self.stop()
        self._begin()

    def stop(self) -> None:
        """The server stops, and all connections with it. What can't be stored in five seconds, by the store's clock, is
        lost. To stop twice is to stop once."""
        for guest in self.guests.values():
            guest.is_over = True
            guest.seats.clear()
        if self.store is not None:
            stopping = asyncio.ensure_future(self.store.close(), loop=self._loop)
            self.until(stopping.done, advancing=0.1)

    def end(self) -> None:
        self.stop()
        if self._loop is not None:
            self._loop.close()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another process writes: nothing can be stored."""
        assert self.file is not None
        with closing(sqlite3.connect(self.file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    @property
    def utc_ms(self) -> int:
        return 1_700_000_000_000 + self.utc_shift + round(1000 * self.scheduler.now)

    def wait(self, seconds: float) -> None:
        until = self.scheduler.now + seconds
        while self.scheduler.step(until):
            pass
        self.scheduler.now = until

    # Handler

    def published(self, event: Event) -> None:
        self.log.append(event)
        for guest in self.guests.values():
            if event.room in guest.seats:
                guest.heard.append(event)

    def told(self, connection: str, letter: Letter, seat: Seat | None = None) -> None:
        self.log.append((connection, letter))
        guest = self.guests[connection]
        assert (seat is not None) is isinstance(letter, MatchFound)
        if guest.is_over:
            if seat is not None:
                self.engine.leave(seat.room, connection, lost=True)
            return
        guest.letters.append(letter)
        if seat is not None:
            assert seat.room not in guest.seats
            guest.seats[seat.room] = seat
        if isinstance(letter, MatchEnded) and letter.room is not None:
            guest.seats.pop(letter.room, None)
        if self.act is not None:
            self.act(connection, letter)

    def displaced(self, member: Member) -> None:
        guest = self.guests[member.connection]
        assert not guest.displaced, "displaced twice"
        guest.displaced = True
        if self.is_prompt:
            self.lose(member.connection)

    def closed(self, room: str) -> None:
        for guest in self.guests.values():
            if guest.seats.pop(room, None) is not None:
                guest.closed.append(room)

    # What connections do

    def guest(self, member: Member) -> Guest:
        return self.guests.setdefault(member.connection, Guest(member))

    def join(self, name: str, room: str = "public", since: Position | None = None) -> Seat:
        """A plain client comes."""
        return self.enter(plain(name), room, since)

    def enter(self, member: Member, room: str = "public", since: Position | None = None) -> Seat:
        answer = self.try_to_enter(member, room, since)
        assert isinstance(answer, Seat), answer
        return answer

    def try_to_enter(self, member: Member, room: str, since: Position | None = None) -> Answer | Refusal:
        guest = self.guest(member)
        answer = self.ask(self.engine.enter, Enter(room, guest.member, since), guest)
        if isinstance(answer, Seat) and not guest.is_over:
            guest.heard += answer.missed
        return answer

    def find(self, name: str, luck: int = 0) -> Seat:
        """A plain client looks for a booth."""
        self.luck = luck
        guest = self.guest(plain(name))
        guest.seats.pop(guest.booth or "", None)
        answer = self.ask(self.engine.find, Find(guest.member), guest)
        assert isinstance(answer, Seat), answer
        return answer

    def seek(self, name: str, wanted: Wanted | None = None, luck: int = 0) -> str:
        """A v1 client looks for somebody; the ticket."""
        self.luck = luck
        guest = self.guest(v1(name))
        booth = guest.booth
        if booth is not None:
            del guest.seats[booth]
        wanted = replace(wanted or Wanted(), leaving=booth)
        answer = self.ask(self.engine.find, Find(guest.member, wanted), guest)
        assert isinstance(answer, Ticket), answer
        return answer.ticket

    def meet(self, one: str, other: str) -> str:
        """Two v1 clients meet in a booth."""
        for name in (one, other):
            self.seek(name)
        booth = self.guests[one].booth
        assert booth is not None
        assert booth == self.guests[other].booth
        return booth

    def claim(self, name: str, session: str) -> str | None:
        """The booth where a seat is kept."""
        guest = self.guest(v1(name))
        guest.session = session
        answer = self.ask(self.engine.claim, Claim(session, guest.member))
        assert isinstance(answer, Claimed), answer
        return answer.booth

    def leave(self, name: str, room: str | None = None) -> None:
        """Give up the seat there, or the only one, if there is one."""
        guest = self.guests[name]
        room = room or guest.room
        if room is not None:
            guest.seats.pop(room, None)
            self.engine.leave(room, name)

    def lose(self, name: str) -> None:
        """Its connection ends, as any that may come back."""
        guest = self.guests[name]
        if guest.is_over:
            return
        guest.is_over = True
        seats, guest.seats = guest.seats, {}
        for room in seats:
            self.engine.leave(room, name, lost=True)
        self.engine.cancel(Cancel(guest.member), lambda answer, re: None)
        if guest.session is not None:
            self.engine.release(guest.session, name)
        if name in self.cut_with:
            self.lose(self.cut_with[name])

    def say(self, name: str, text: str = "hi", room: str | None = None, key: str | None = None) -> Published:
        answer = self.publish(name, text, room, key)
        assert isinstance(answer, Published), answer
        return answer

    def publish(self, name: str, text: str = "hi", room: str | None = None, key: str | None = None) -> Answer | Refusal:
        return self.ask(self.engine.publish, self._publish(name, text, room, key))

    def post(self, name: str, *texts: str, room: str | None = None) -> list[Published]:
        """Say them all, each under its text as a key, and then wait until all are stored."""
        waiting = [self.call(self.engine.publish, self._publish(name, text, room, text)) for text in texts]
        if self._loop is not None:
            self.until(lambda: all(waiting))
        return [answer for answers in waiting for answer in answers if isinstance(answer, Published)]

    def _publish(self, name: str, text: str, room: str | None, key: str | None) -> Publish:
        guest = self.guests[name]
        room = room or guest.room
        assert room is not None
        member = guest.member
        if member.sender.plain:
            member = Member(name, replace(member.sender, name=name))
        return Publish(room, member, text, key=key)

    def amend(
        self,
        name: str,
        mid: str,
        text: str | None = None,
        emoji: str | None = None,
        *,
        room: str | None = None,
        on: bool = True,
    ) -> Answer | Refusal:
        guest = self.guests[name]
        room = room or guest.room
        assert room is not None
        return self.ask(self.engine.amend, Amend(room, guest.member, mid, text, emoji, on))

    def page(
        self, before: int | None = None, after: int | None = None, limit: int = 50, room: str = "public"
    ) -> tuple[list[str], bool]:
        """The texts, and whether there is more."""
        page = self.ask(self.engine.fetch, Fetch(room, before, after, limit))
        assert isinstance(page, Page), page
        assert page.room == room
        return [one.message.text for one in page.messages], page.more

    def show(self, name: str, room: str, on: bool | None = None, off: int | None = None) -> None:
        self.engine.show(Show(room, self.guests[name].member, on, off))

    def rename(self, name: str, new: str) -> Answer | Refusal:
        guest = self.guests[name]
        renamed = Member(name, replace(guest.member.sender, name=new))
        answer = self.ask(self.engine.rename, CallMe(renamed, tuple(guest.seats)))
        if isinstance(answer, Named):
            guest.member = renamed
        return answer

    def cancel(self, name: str) -> None:
        assert self.ask(self.engine.cancel, Cancel(self.guests[name].member)) == Done()

    def block(self, name: str, other: str, room: str | None = None, *, on: bool = True) -> Answer | Refusal:
        """`other` is an id."""
        return self.ask(self.engine.avoid, Avoid(self.guests[name].member, other, room, on))

    def ask(
        self, act: Callable[[_Asked, Answered], None], asked: _Asked, guest: Guest | None = None
    ) -> Answer | Refusal:
        """The answer, under its number, once. With a `guest`, a seat in it is the guest's from then on.

        Here is the one place to wait for engines that answer later.
        """
        return self._only(self.call(act, asked, guest))

    def order(self, act: Callable[[Answered], None]) -> Answer | Refusal:
        """The same for what bears no number: what operators do."""
        answers: Answers = []

        def done(answer: Answer | Refusal, re: int | None) -> None:
            assert re is None
            answers.append(answer)

        self._do(partial(act, done))
        return self._only(answers)

    def order_nothing(self, act: Callable[[], None]) -> None:
        """The same for what is not answered."""
        self._do(act)

    def call(self, act: Callable[[_Asked, Answered], None], asked: _Asked, guest: Guest | None = None) -> Answers:
        """Ask, and do not wait: a list that the answer will be in."""
        number = next(self._numbers)
        answers: Answers = []

        def done(answer: Answer | Refusal, re: int | None) -> None:
            assert re == number
            assert not answers, "answered twice"
            self.log.append(answer)
            answers.append(answer)
            if isinstance(answer, Seat) and guest is not None:
                if guest.is_over:
                    self.engine.leave(answer.room, guest.member.connection, lost=True)
                else:
                    guest.seats[answer.room] = answer

        self._do(partial(act, replace(asked, re=number), done))
        return answers

    def _do(self, act: Callable[[], None]) -> None:
        """Within the loop, as a hub does."""
        if self._loop is None or self._loop.is_running():
            act()
            return

        async def done() -> None:
            act()

        self._loop.run_until_complete(done())

    def _only(self, answers: Answers) -> Answer | Refusal:
        while not answers and self.scheduler.step(self.scheduler.now):
            pass
        if not answers and self._loop is not None:
            self.until(lambda: bool(answers))
        assert len(answers) == 1, f"answered {len(answers)} times, not once"
        return answers[0]

    def refusal(self, answer: Answer | Refusal) -> str:
        """Its code."""
        assert isinstance(answer, Refusal), answer
        assert answer.code in ERROR_CODES
        return answer.code

    def _choose(self, number: int) -> int:
        self.asked.append(number)
        return self.luck % number
