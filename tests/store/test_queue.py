"""The queue before the database, in virtual time."""

import pytest

from parlour.core.events import Message
from parlour.store import CONFIRM_SECONDS, QUEUE_BYTES, QUEUE_LIMIT, Kept
from parlour.store.queue import Queue
from tests.store.world import Clock, edited, said


def add(queue: Queue, event: Message, told: list[tuple[int, Kept]]) -> bool:
    return queue.add(event, lambda kept: told.append((event.off, kept)))


def test_stored_in_time() -> None:
    clock, told = Clock(), list[tuple[int, Kept]]()
    queue = Queue(clock)
    assert add(queue, said(1), told)
    clock.advance(CONFIRM_SECONDS - 0.01)
    queue.settle(queue.all(), {})
    clock.advance(60)
    assert told == [(1, Kept.STORED)]
    assert (len(queue), queue.bytes) == (0, 0)


def test_shown_but_not_yet_confirmed() -> None:
    """After five seconds each hears WAITING, in order, and LATE once it is there after all."""
    clock, told = Clock(), list[tuple[int, Kept]]()
    queue = Queue(clock)
    for off in (1, 2, 3):
        add(queue, said(off), told)
        clock.advance(1)
    clock.advance(CONFIRM_SECONDS - 3)
    assert told == [(1, Kept.WAITING)]
    clock.advance(1)
    assert told == [(1, Kept.WAITING), (2, Kept.WAITING)]
    queue.settle(queue.all(), {2: Kept.REFUSED})
    clock.advance(60)
    assert told[2:] == [(1, Kept.LATE), (2, Kept.LATE), (3, Kept.REFUSED)]


def test_two_wait_for_the_same_event() -> None:
    """One who asks again while it waits has its own five seconds; it takes no second place."""
    clock, told = Clock(), list[tuple[int, Kept]]()
    queue = Queue(clock)
    add(queue, said(1), told)
    clock.advance(4)
    assert add(queue, said(1), told)
    assert len(queue) == 1
    clock.advance(2)
    assert told == [(1, Kept.WAITING)]
    queue.settle(queue.all(), {})
    assert told[1:] == [(1, Kept.LATE), (1, Kept.STORED)]
    assert queue.bytes == 0


def test_another_event_at_the_same_place() -> None:
    queue = Queue(Clock())
    assert queue.add(said(1, "one"), print)
    assert not queue.add(said(1, "two"), print)


def test_entries_are_limited() -> None:
    queue = Queue(Clock())
    assert all(queue.add(said(off), lambda _: None) for off in range(1, QUEUE_LIMIT + 1))
    assert not queue.add(said(QUEUE_LIMIT + 1), print)
    assert queue.add(said(1), lambda _: None)  # has its place already
    queue.settle(queue.all(), {})
    assert queue.add(said(QUEUE_LIMIT + 1), print)


@pytest.mark.parametrize("character", ["a", "ä", "茶", "🍵"])
def test_bytes_are_limited(character: str) -> None:
    """Counted as they lie in memory, whatever the script."""
    queue = Queue(Clock())
    off = 1
    while queue.add(edited(off, 1, character * 10_000), lambda _: None):
        off += 1
    width = {"a": 1, "ä": 1, "茶": 2, "🍵": 4}[character]
    assert QUEUE_BYTES / (10_000 * width) * 0.9 < off <= QUEUE_BYTES / (10_000 * width) + 1
    assert queue.bytes <= QUEUE_BYTES


def test_a_callback_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clock, told = Clock(), list[tuple[int, Kept]]()
    queue = Queue(clock)
    queue.add(said(1), lambda _: 1 / 0)
    add(queue, said(2), told)
    clock.advance(6)
    queue.settle(queue.all(), {})
    assert told == [(2, Kept.WAITING), (2, Kept.LATE)]
    assert caplog.text.count("failed while being told") == 2


def test_a_callback_may_keep_more() -> None:
    clock, told = Clock(), list[tuple[int, Kept]]()
    queue = Queue(clock)
    queue.add(said(1), lambda _: add(queue, said(2), told))
    queue.settle(queue.all(), {})
    assert [event.off for event in queue.all()] == [2]
    clock.advance(CONFIRM_SECONDS)
    assert told == [(2, Kept.WAITING)]


def test_given_up() -> None:
    """Who knows nothing yet is told to wait, which is the last word."""
    clock, told = Clock(), list[tuple[int, Kept]]()
    queue = Queue(clock)
    add(queue, said(1), told)
    clock.advance(CONFIRM_SECONDS)
    add(queue, said(2), told)
    assert queue.give_up() == 2
    clock.advance(60)
    assert told == [(1, Kept.WAITING), (2, Kept.WAITING)]
