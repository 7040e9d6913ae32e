"""A clock that stands still, people who say things, and who notes what becomes of it."""

import asyncio
import heapq
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

from parlour.core.events import Deleted, Edited, Message, Numbered, Reacted, Sender
from parlour.store import Kept, Store
from parlour.store.sql import SqlStore

DEADLINE: Final = 30.0
"""Real seconds after which a test gives up waiting."""

DAY: Final = 86_400_000
NOW: Final = 1_700_000_000_000

ADA: Final = Sender("p-ada", "ada")
BO: Final = Sender("p-bo", "bo", plain=True)
CY: Final = Sender("p-cy", None, "user")


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """A `Scheduler`, and a time of day, that go on only when told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.utc = NOW
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = count()

    def time(self) -> float:
        return self.now

    def utc_ms(self) -> int:
        return self.utc

    def call_soon(self, callback: Callable[[], object], /) -> _Timer:
        return self.call_at(self.now, callback)

    def call_at(self, when: float, callback: Callable[[], object], /) -> _Timer:
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, and carry out what is due."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            when, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, when)
            if timer.callback is not None:
                timer.callback()
        self.now = until

    async def until(self, condition: Callable[[], bool], *, advancing: float = 0.0) -> None:
        """Wait for what a database brings about, which takes real time; meanwhile let this clock go on, if asked to, by
        so many seconds a turn."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.advance(advancing)
                await asyncio.sleep(0.002)  # the database's thread can't set an event of ours


class Listener:
    """Keeps events, and notes what it is told of them, by offset, in order."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.told: list[tuple[int, Kept]] = []

    def keep(self, *events: Numbered) -> list[bool]:
        return [self.store.keep(event, partial(self._hear, event.off)) for event in events]

    def _hear(self, off: int, kept: Kept) -> None:
        self.told.append((off, kept))

    async def keep_all(self, *events: Numbered) -> None:
        """Keep them, and wait until they are stored."""
        before = len(self.told)
        assert all(self.keep(*events))
        await self.clock.until(lambda: len(self.told) == before + len(events))
        assert [kept for _, kept in self.told[before:]] == [Kept.STORED] * len(events)


def opened(address: str, clock: Clock) -> SqlStore:
    return SqlStore(address, utc_ms=clock.utc_ms, scheduler=clock)


def said(
    off: int,
    text: str = "hi",
    *,
    by: Sender = ADA,
    key: str | None = None,
    room: str = "public",
    epoch: str = "a",
    ts: int = 0,
    reply_to: str | None = None,
) -> Message:
    """A message; its mid tells its room and offset."""
    return Message(room, epoch, off, f"{room}-{off}", NOW + (ts or off), by, text, reply_to, key)


def edited(off: int, of: int, text: str, *, room: str = "public", epoch: str = "a") -> Edited:
    return Edited(room, epoch, off, f"{room}-{of}", NOW + off, ADA, text)


def deleted(off: int, of: int, *, room: str = "public", epoch: str = "a") -> Deleted:
    return Deleted(room, epoch, off, f"{room}-{of}", NOW + off, ADA)


def reacted(off: int, of: int, emoji: str = "🍵", *, by: Sender = BO, on: bool = True, room: str = "public") -> Reacted:
    return Reacted(room, "a", off, f"{room}-{of}", NOW + off, by, emoji, on)
