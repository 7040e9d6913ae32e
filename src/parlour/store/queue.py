"""What waits to be stored, and who waits for word of it. Knows no database; time comes from a scheduler."""

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from parlour.core.events import Edited, Message, Numbered
from parlour.engine import Scheduler, Timer
from parlour.store import CONFIRM_SECONDS, QUEUE_BYTES, QUEUE_LIMIT, Confirmed, Kept

logger = logging.getLogger("parlour")

_EVENT_BYTES: Final = 512
"""What an event takes in memory beside its text, about."""


class _Waiter:
    """Somebody who wants to know."""

    __slots__ = ("done", "due", "is_settled", "was_told")

    def __init__(self, done: Confirmed, due: float) -> None:
        self.done = done
        self.due = due
        self.was_told = False  # that it must wait
        self.is_settled = False

    def tell(self, kept: Kept) -> None:
        if kept is Kept.WAITING:
            self.was_told = True
        else:
            self.is_settled = True
            if self.was_told and kept is Kept.STORED:
                kept = Kept.LATE
        try:
            self.done(kept)
        except Exception:  # whatever a callback does, others wait behind it
            logger.exception("failed while being told what became of an event")


class _Entry:
    """One event, its bytes of memory, and who waits for it."""

    __slots__ = ("event", "size", "waiters")

    def __init__(self, event: Numbered, size: int, waiter: _Waiter) -> None:
        self.event = event
        self.size = size
        self.waiters = [waiter]


class Queue:
    """Events in the order in which they came.

    Invariants: an event stays until it is settled, so what is being written counts as waiting; `_unsettled` holds, the
    oldest first, all who were told nothing yet (and some who were).
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._entries: dict[tuple[str, int], _Entry] = {}  # by room and offset
        self._bytes = 0
        self._unsettled: deque[_Waiter] = deque()
        self._timer: Timer | None = None
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        return self._bytes

    def add(self, event: Numbered, done: Confirmed) -> bool:
        """Wait with the event; False if there is no room left, or another event has its place here."""
        waiter = _Waiter(done, self._scheduler.time() + CONFIRM_SECONDS)
        place = event.room, event.off
        known = self._entries.get(place)
        if known is not None:
            if known.event != event:
                return False
            known.waiters.append(waiter)
        else:
            size = _EVENT_BYTES + (sys.getsizeof(event.text) if isinstance(event, Message | Edited) else 0)
            if len(self._entries) >= QUEUE_LIMIT or self._bytes + size > QUEUE_BYTES:
                return False
            self._entries[place] = _Entry(event, size, waiter)
            self._bytes += size
        self._unsettled.append(waiter)
        if self._timer is None:
            self._timer = self._scheduler.call_at(waiter.due, self._remind)
        self._filled.set()
        return True

    async def wait_filled(self) -> None:
        """Return once there is something to store. All that was added in the same turn of the loop is there then."""
        while not self._entries:
            self._filled.clear()
            await self._filled.wait()

    async def wait_empty(self) -> None:
        """Return once all is settled."""
        while self._entries:
            self._emptied.clear()
            await self._emptied.wait()

    def all(self) -> list[Numbered]:
        return [entry.event for entry in self._entries.values()]

    def settle(self, events: Sequence[Numbered], others: Mapping[int, Kept]) -> None:
        """These events are STORED, but those whose index `others` names. Tell all who wait for them, in order."""
        settled = []
        for event in events:
            entry = self._entries.pop((event.room, event.off))
            self._bytes -= entry.size
            settled.append(entry)
        for index, entry in enumerate(settled):
            for waiter in entry.waiters:
                waiter.tell(others.get(index, Kept.STORED))
        while self._unsettled and self._unsettled[0].is_settled:
            self._unsettled.popleft()
        if not self._entries:
            self._emptied.set()

    def give_up(self) -> int:
        """Forget all that waits, and give its number; whoever was not told to wait is told now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lost = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        unsettled, self._unsettled = self._unsettled, deque()
        for waiter in unsettled:
            if not waiter.is_settled:
                waiter.tell(Kept.WAITING)
        return lost

    def _remind(self) -> None:
        """Tell those whose time is over that they must wait. One timer serves all: it is set for the oldest."""
        self._timer = None
        now = self._scheduler.time()
        while self._unsettled:
            waiter = self._unsettled[0]
            if not waiter.is_settled and waiter.due > now:
                self._timer = self._scheduler.call_at(waiter.due, self._remind)
                return
            self._unsettled.popleft()
            if not waiter.is_settled:
                waiter.tell(Kept.WAITING)
