"""The engine of a single process: rooms and booths in memory. Every call is carried out, and answered, before it
returns."""

from collections.abc import Callable

from parlour.core.events import Member, Publish, Published, Seat
from parlour.core.pairing import Pairing
from parlour.core.room import Room
from parlour.engine import Handler
from parlour.errors import Refusal

_NOT_MEMBER = Refusal("not_member", "you have no seat in this room; connect again")


class MemoryEngine:
    """See `Engine`.

    `choose(n)` gives a number from 0 to n - 1, each equally likely; `new_id` an id never used before; `utc_ms` the time
    of day in milliseconds.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        choose: Callable[[int], int],
        new_id: Callable[[], str],
        utc_ms: Callable[[], int],
    ) -> None:
        self._handler = handler
        self._new_id = new_id
        self._utc_ms = utc_ms
        self._rooms: dict[str, Room] = {}  # public rooms and booths alike
        self._pairing = Pairing(choose, lambda: f"booth-{new_id()}")

    def join(self, room: str, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        self._seat(room, member, done)

    def find(self, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        paired = self._pairing.find(member)
        if paired.displaced is not None:
            booth, old = paired.displaced
            self._handler.displaced(old)
            self._vacate(booth, old.connection)
        self._seat(paired.booth, member, done)

    def leave(self, room: str, connection: str) -> None:
        self._pairing.leave(room, connection)
        self._vacate(room, connection)

    def publish(self, publish: Publish, done: Callable[[Published | Refusal], None]) -> None:
        room = self._rooms.get(publish.room)
        if room is None:
            done(_NOT_MEMBER)
            return
        message = room.publish(publish, self._new_id(), self._utc_ms())
        self._handler.published(message)
        done(Published(room.name, room.epoch, message.off, message.mid, message.ts))

    def counts(self) -> tuple[int, int]:
        return len(self._pairing), self._pairing.waiting

    def _seat(self, name: str, member: Member, done: Callable[[Seat | Refusal], None]) -> None:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Room(name, self._new_id())
        joined = room.join(member)
        if joined is not None:
            self._handler.published(joined)
        done(room.seat())

    def _vacate(self, name: str, connection: str) -> None:
        room = self._rooms.get(name)
        left = None if room is None else room.leave(connection)
        if room is None or left is None:
            return
        if room.members:
            self._handler.published(left)
        else:
            del self._rooms[name]
