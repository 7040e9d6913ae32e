"""The engine of a single process: rooms and booths in memory.

Every call is carried out before it returns. It is answered then, too, unless the store must be asked or heard first:
then who called is answered later, and nobody else waits.
"""

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Final

from parlour.core.events import (
    Amend,
    Answer,
    Avoid,
    CallMe,
    Cancel,
    Changed,
    Claim,
    Claimed,
    Counted,
    Done,
    Enter,
    Fetch,
    Find,
    Look,
    MatchAway,
    MatchBack,
    MatchEnded,
    Matches,
    MatchFound,
    MatchWaiting,
    Member,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Message,
    Named,
    Numbered,
    Publish,
    Published,
    Reacted,
    Remembered,
    RoomChanged,
    RoomList,
    RoomShown,
    Search,
    Sender,
    Show,
    Ticket,
    Whom,
)
from parlour.core.keys import Keyring
from parlour.core.pairing import (
    GRACE,
    Away,
    Back,
    Displaced,
    Ended,
    Freed,
    Met,
    Outcome,
    Pairing,
    Seated,
    Waiting,
)
from parlour.core.records import StoredRoom
from parlour.core.room import (
    NO_MESSAGE,
    PAGE_CHARACTERS,
    RECENT,
    RECENT_CHARACTERS,
    Booth,
    Room,
    few,
    joined,
    published,
    words_of,
)
from parlour.engine import Answered, Handler, Scheduler, Timer
from parlour.errors import Refusal
from parlour.logs import log_failure
from parlour.store import Kept, Store, StoreError

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("parlour")

PARTED_SECONDS: Final = 600.0
"""How long after a booth ended its people can still be named by the ids that they had there."""

BLOCKS_LIMIT: Final = 1000
"""People whom one person can block."""

_PERSON_ID_LIMIT: Final = 32
"""Characters that an id of a person has at most: what is longer is nobody, and must not be kept."""

SEARCHES: Final = 4
"""Searches at a time: whoever reads anything else must not wait behind them."""

_COUNT_SECONDS: Final = 1.0

_BUSY: Final = Refusal("unavailable", "too many searches at this moment; try again", retry=True)
_NOT_MEMBER: Final = Refusal("not_member", "you have no seat in this room; join it", field="room")
_NO_ROOM: Final = Refusal("not_found", "there is no such room", field="room")
_NO_PERSON: Final = Refusal(
    "not_found", "there was nobody of this id in that booth, or it is too long ago", field="person"
)
_UNCONFIRMED: Final = Refusal(
    "unavailable", "it was shown, but is not stored yet; do it again, under the same key, to hear of it", retry=True
)
_UNREADABLE: Final = Refusal("unavailable", "what was said earlier can't be read now; ask again", retry=True)
_TOO_MANY_BLOCKS: Final = Refusal("too_large", f"you block {BLOCKS_LIMIT} people already; unblock some", field="person")


class MemoryEngine:
    """See `Engine`.

    `public` are the rooms that there are at first; with a `store` they are those that it has, once `open` was called.
    Until then who enters one waits. `choose(n)` gives a number from 0 to n - 1, each equally likely; `new_id` an
    id never used before; `utc_ms` the time of day in milliseconds.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        scheduler: Scheduler,
        keyring: Keyring,
        choose: Callable[[int], int],
        new_id: Callable[[], str],
        utc_ms: Callable[[], int],
        public: Sequence[str] = ("public",),
        store: Store | None = None,
    ) -> None:
        self._handler = handler
        self._scheduler = scheduler
        self._keyring = keyring
        self._new_id = new_id
        self._utc_ms = utc_ms
        self._rooms: dict[str, Room] = {}  # booths, too, while they last
        self._shown: dict[str, RoomShown] = {}  # the public ones, by name; what the `count` says there is of no meaning
        self._archived: dict[str, Room] = {}  # those that were public: their numbering goes on when they are again
        self._first = tuple(public)
        self._store = store
        self._stored: Sequence[StoredRoom] | None = None  # the store's rooms, once it is open
        # By room and offset: what is not stored yet, though somebody waits for that, or did.
        self._unconfirmed: dict[tuple[str, int], Numbered] = {}
        self._lines: dict[str, Callable[[Kept], None]] = {}  # by room: takes word of events that nobody waits for
        self._loading: dict[str | None, list[Callable[[], None]]] = {}  # what waits for a room, or for all (None)
        self._searches = 0  # under way in the store
        self._tasks: set[asyncio.Task[None]] = set()
        if store is None:
            self._make_first_rooms()
        else:
            self._loading[None] = []
        self._pairing = Pairing(choose, lambda: f"booth-{new_id()}", new_id)
        self._sessions: dict[str, Member] = {}
        self._session_of: dict[str, str] = {}  # by connection
        self._lost: dict[tuple[str, str], str] = {}  # seats that are kept, by booth and person: of which session
        # By booth and person, for those who left one: until when, and the ids that people had there.
        self._parted: OrderedDict[tuple[str, str], tuple[float, dict[str, str]]] = OrderedDict()
        self._counted: set[str] = set()  # crowded rooms whose members will be told how many they are
        # What the pairing decided, and answers, not carried out yet: whom one of them is told to may act at once.
        self._outcomes: deque[Outcome | Callable[[], None]] = deque()
        self._is_busy = False  # with the first of them
        self._timer: Timer | None = None
        self._timer_at = inf

    # The store

    async def open(self) -> None:
        """Open the store, and take up its rooms with what was said there last; then all who waited are answered, in
        order. Raises `StoreError`: it can be called again then. Once it is open, this does nothing."""
        store = self._store
        if store is None or None not in self._loading:
            return
        if self._stored is None:
            self._stored = await store.open()
        stored = self._stored or [await store.make_room(name, "") for name in self._first]
        loaded = [await self._loaded(store, room) for room in stored if not room.archived]
        for one in loaded:
            self._show(*one)
        self._release(None)

    async def close(self) -> None:
        """Wait for what reads from the store, which answers or fails in its own time."""
        import asyncio

        if self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def go_without_store(self) -> None:
        """The store can't be used: rooms live in memory, and from now on nothing is kept."""
        self._store = None
        if None in self._loading:
            self._make_first_rooms()
            self._release(None)

    def _make_first_rooms(self) -> None:
        for name in self._first:
            self._show(Room(name, self._new_id()), RoomShown(name, 0))

    @property
    def public(self) -> Sequence[str]:
        """The names of the public rooms."""
        return tuple(self._shown)

    def _show(self, room: Room, shown: RoomShown) -> None:
        self._rooms[room.name] = room
        self._shown[room.name] = shown

    async def _loaded(self, store: Store, stored: StoredRoom) -> tuple[Room, RoomShown]:
        recent = await store.recent(stored.name, limit=RECENT, characters=RECENT_CHARACTERS)
        room = Room(stored.name, self._new_id())
        room.restore(stored, recent, self._utc_ms(), self._scheduler.time())
        return room, RoomShown(stored.name, 0, stored.title, stored.locked, stored.slow_ms)

    def _waits(self, room: str | None, again: Callable[[], None]) -> bool:
        """Whether the room, or any for None, is not there yet; then it is done again once it is."""
        if not self._loading or (room is not None and room in self._rooms):
            return False
        waiting = self._loading.get(None)
        if waiting is None:
            waiting = self._loading.get(room)
        if waiting is None:
            return False
        waiting.append(again)
        return True

    def _release(self, room: str | None) -> None:
        for again in self._loading.pop(room, ()):
            try:
                again()
            except Exception as error:  # whoever it concerns, others wait behind it
                log_failure("a call that waited for the store", self._new_id(), error)

    def _keep(self, room: Room, event: Numbered, answer: Answer, done: Answered, re: int | None) -> None:
        """Answer once the event is stored, or at once where it never will be. It may wait for that already."""
        store = self._store
        if store is None or not room.is_kept:
            done(answer, re)
            return
        place = room.name, event.off
        waits = place in self._unconfirmed
        if store.keep(event, _Ack(self, None if waits else room, event, answer, done, re)):
            if not waits:
                self._unconfirmed[place] = event
                room.unstored += 1
        else:
            done(_UNCONFIRMED if waits else answer, re)

    def _keep_line(self, room: Room, message: Message) -> None:
        """The same where nobody waits for word."""
        heard = self._lines.get(room.name)
        if heard is None:
            heard = self._lines[room.name] = partial(_count_off, room)
        if self._store is not None and self._store.keep(message, heard):
            room.unstored += 1

    def _settled(self, room: Room, event: Numbered, kept: Kept) -> None:
        """What somebody waits for, or did, is stored, or never will be."""
        _count_off(room, kept)
        self._unconfirmed.pop((room.name, event.off), None)
        if kept.survives and isinstance(event, Message):
            room.note_stored(event)

    def _is_readable(self, room: Room) -> bool:
        """Whether the store has all that the room remembers no more: else there would be a gap."""
        return room.unstored <= room.off + 1 - room.first_off

    def _ask(self, work: Coroutine[Any, Any, None], done: Answered, re: int | None) -> None:
        """Do what reads from the store; where that can't be done, refuse."""

        async def tried() -> None:
            try:
                await work
            except StoreError:
                done(_UNREADABLE, re)

        self._begin(tried())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        import asyncio  # whoever has no store needs no loop

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Sessions

    def claim(self, claim: Claim, done: Answered) -> None:
        session, member = claim.session, claim.member
        older = self._sessions.get(session)
        self._sessions[session] = member
        self._session_of[member.connection] = session
        if older is not None and older.connection != member.connection:
            self._handler.displaced(older)
        booth = self._pairing.seat_of(member.person)
        is_kept = booth is not None and self._lost.get((booth, member.person)) == session
        done(Claimed(booth if is_kept else None), claim.re)

    def release(self, session: str, connection: str) -> None:
        self._session_of.pop(connection, None)
        member = self._sessions.get(session)
        if member is not None and member.connection == connection:
            del self._sessions[session]

    # Rooms

    def enter(self, enter: Enter, done: Answered) -> None:
        if self._waits(enter.room, partial(self.enter, enter, done)):
            return
        room = self._rooms.get(enter.room)
        if room is None:
            done(_NO_ROOM, enter.re)
        elif isinstance(room, Booth):
            self._enter_booth(room, enter, done)
        else:
            refusal = self._join(room, enter.member)
            answer = refusal or room.seat(enter.since, listed=enter.listed)
            done(answer, enter.re)

    def leave(self, room: str, connection: str, *, lost: bool = False) -> None:
        there = self._rooms.get(room)
        if isinstance(there, Booth):
            self._carry_out(self._pairing.leave(room, connection, self._scheduler.time(), lost=lost))
        elif there is not None:
            self._vacate(there, connection, lost=lost)

    def publish(self, publish: Publish, done: Answered) -> None:
        room = self._rooms.get(publish.room)
        if room is None or publish.member.connection not in room.members:
            done(_NOT_MEMBER, publish.re)
            return
        key = publish.key
        if key is None:
            message = self._say(room, publish)
            if publish.re is not None:
                self._keep(room, message, published(message), done, publish.re)
                return
            if room.is_kept:
                self._keep_line(room, message)
            done(published(message), publish.re)
            return
        now = self._scheduler.time()
        answer = room.said_before(publish, key, now)
        if answer is None:
            message = self._say(room, publish)
            answer = published(message)
            room.keep_key(publish, key, answer, now)
            self._keep(room, message, answer, done, publish.re)
            return
        waiting = self._unconfirmed.get((room.name, answer.off)) if isinstance(answer, Published) else None
        if waiting is None or isinstance(answer, Refusal):
            done(answer, publish.re)
        else:
            self._keep(room, waiting, answer, done, publish.re)

    def amend(self, amend: Amend, done: Answered) -> None:
        room = self._rooms.get(amend.room)
        if room is None or amend.member.connection not in room.members:
            done(_NOT_MEMBER, amend.re)
            return

        def change(stored: Remembered | None = None) -> None:
            if amend.member.connection not in room.members:  # it may have left meanwhile
                done(_NOT_MEMBER, amend.re)
                return
            outcome = room.amend(amend, self._utc_ms(), self._scheduler.time(), stored)
            if not isinstance(outcome, Refusal) and outcome[0] is None:
                self._answer_again(room, amend, outcome[1], done)
            else:
                self._changed(room, outcome, done, amend.re)

        self._find_and(change, room, amend.mid, done, amend.re)

    def _find_and(
        self,
        change: Callable[[Remembered | None], None],
        room: Room,
        mid: str,
        done: Answered,
        re: int | None,
    ) -> None:
        """Change a message: at once, if the room remembers it; else once the store has found it."""
        store = self._store
        if store is None or not room.is_kept or room.first_off <= 1 or room.remembered(mid) is not None:
            change(None)
            return

        async def find() -> None:
            change(await store.find(mid))

        if self._is_readable(room):
            self._ask(find(), done, re)
        else:
            done(_UNREADABLE, re)

    def _changed(
        self, room: Room, outcome: tuple[Numbered | None, Changed] | Refusal, done: Answered, re: int | None
    ) -> None:
        if isinstance(outcome, Refusal):
            done(outcome, re)
            return
        event, answer = outcome
        if event is None:
            done(answer, re)
            return
        self._handler.published(event)
        self._keep(room, event, answer, done, re)

    def _answer_again(self, room: Room, amend: Amend, answer: Changed, done: Answered) -> None:
        """What was asked for is so already: but the event that made it so may not be stored yet."""
        made_so = amend.mid, amend.emoji, amend.on, amend.member.person
        for event in reversed(self._unconfirmed.values()):
            if isinstance(event, Reacted) and (event.mid, event.emoji, event.on, event.sender.id) == made_so:
                self._keep(room, event, answer, done, amend.re)
                return
        done(answer, amend.re)

    def show(self, show: Show) -> None:
        room = self._rooms.get(show.room)
        is_there = room is not None and show.member.connection in room.members
        event = room.show(show) if room is not None and is_there else None
        if event is not None:
            self._handler.published(event)

    def fetch(self, fetch: Fetch, done: Answered) -> None:
        if self._waits(fetch.room, partial(self.fetch, fetch, done)):
            return
        room = self._rooms.get(fetch.room)
        if room is None:
            done(_NO_ROOM, fetch.re)
            return
        first, forward = room.first_off, fetch.after is not None
        after = None if fetch.after is None else max(fetch.after, first - 1)
        page = room.page(fetch.before, after, fetch.limit)
        store = self._store
        needs_older = fetch.after < first - 1 if fetch.after is not None else not page.more
        if store is None or not room.is_kept or first <= 1 or not needs_older:
            done(page, fetch.re)
            return
        if not self._is_readable(room):
            done(_UNREADABLE, fetch.re)
            return
        before = None if forward else min(first, first if fetch.before is None else fetch.before)
        limit = fetch.limit if forward else fetch.limit - len(page.messages)

        async def read() -> None:
            found = await store.page(
                room.name, before=before, after=fetch.after, limit=limit, characters=PAGE_CHARACTERS
            )
            found = replace(found, messages=room.as_now(found.messages))
            done(joined(page, first, found, fetch.limit, forward=forward), fetch.re)

        self._ask(read(), done, fetch.re)

    def search(self, search: Search, done: Answered) -> None:
        if self._waits(search.room, partial(self.search, search, done)):
            return
        store = self._store
        if search.room is not None and search.room not in self._shown:
            done(_NO_ROOM, search.re)
            return
        if store is None:
            done(self._matches(search), search.re)
            return

        if self._searches >= SEARCHES:
            done(_BUSY, search.re)
            return
        self._searches += 1

        async def read() -> None:
            try:
                found = await store.search(search.text, room=search.room, limit=search.limit)
            finally:
                self._searches -= 1
            there = [one for one in self._as_now(found.messages) if not one.message.deleted]
            messages, is_cut = few(there, search.limit)
            done(Matches(messages, is_cut or found.more), search.re)

        self._ask(read(), done, search.re)

    def _matches(self, search: Search) -> Matches:
        """In what is remembered."""
        words = words_of(search.text)
        rooms = [self._rooms[name] for name in self._shown if search.room in (None, name)] if words else []
        found = [one for room in rooms for one in room.matching(words)]
        found.sort(key=lambda one: one.message.ts, reverse=True)
        return Matches(*few(found, search.limit))

    def _as_now(self, stored: Sequence[Remembered]) -> list[Remembered]:
        """Of what the store has, what was said in rooms that are public now, in its order, and as it is now."""
        now: dict[str, Remembered] = {}
        for name in {one.message.room for one in stored} & self._shown.keys():
            for one in self._rooms[name].as_now(one for one in stored if one.message.room == name):
                now[one.message.mid] = one
        return [now[one.message.mid] for one in stored if one.message.mid in now]

    def message(self, mid: str, done: Answered) -> None:
        if self._waits(None, partial(self.message, mid, done)):
            return
        store = self._store
        known = next(filter(None, (self._rooms[name].remembered(mid) for name in self._shown)), None)
        if known is not None or store is None:
            self._answer_message(known, done)
            return

        async def read() -> None:
            stored = await store.find(mid)
            self._answer_message(next(iter(self._as_now([stored] if stored else [])), None), done)

        self._ask(read(), done, None)

    def _answer_message(self, found: Remembered | None, done: Answered) -> None:
        done(NO_MESSAGE if found is None or found.message.deleted else Matches([found], False), None)

    def look(self, look: Look, done: Answered) -> None:
        if self._waits(look.room, partial(self.look, look, done)):
            return
        if look.room is None:
            rooms = [replace(shown, count=len(self._rooms[name].members)) for name, shown in self._shown.items()]
            done(RoomList(rooms), look.re)
            return
        room = self._rooms.get(look.room)
        done(_NO_ROOM if room is None else room.here(), look.re)

    # For those who have no connection

    def say(self, room: str, sender: Sender, text: str, done: Answered) -> None:
        if self._waits(room, partial(self.say, room, sender, text, done)):
            return
        if room not in self._shown:
            done(_NO_ROOM, None)
            return
        there = self._rooms[room]
        message = self._say(there, Publish(room, Member("", sender), text))
        self._keep(there, message, published(message), done, None)

    def remove(self, room: str, mid: str, by: Sender, done: Answered) -> None:
        if self._waits(room, partial(self.remove, room, mid, by, done)):
            return
        if room not in self._shown:
            done(_NO_ROOM, None)
            return
        there = self._rooms[room]

        def change(stored: Remembered | None = None) -> None:
            self._changed(there, there.remove(mid, by, self._utc_ms(), stored), done, None)

        self._find_and(change, there, mid, done, None)

    def open_room(self, room: RoomShown) -> None:
        name, store = room.room, self._store
        if self._waits(name, partial(self.open_room, room)):
            return
        if name in self._shown:
            if replace(self._shown[name], count=room.count) != room:
                self._shown[name] = room
                self._handler.published(RoomChanged(name, room.title, room.locked, room.slow_ms))
        elif name in self._archived or store is None:
            self._show(self._archived.pop(name) if name in self._archived else Room(name, self._new_id()), room)
        else:
            self._loading[name] = []
            self._begin(self._load_again(store, room))

    async def _load_again(self, store: Store, room: RoomShown) -> None:
        """The room is new, or was archived before this process began. Where the store can't tell, it is not opened: its
        numbers may be taken."""
        try:
            stored = next((known for known in await store.rooms() if known.name == room.room), None)
            if stored is not None:
                loaded, _ = await self._loaded(store, stored)
                self._show(loaded, room)
        except StoreError as error:
            logger.warning("a public room can't be opened now (%s); it opens at the next start", error)
        finally:
            self._release(room.room)

    def close_room(self, room: str) -> None:
        if self._waits(room, partial(self.close_room, room)):
            return
        shown = self._shown.pop(room, None)
        if shown is None:
            return
        self._handler.published(RoomChanged(room, shown.title, shown.locked, shown.slow_ms, archived=True))
        closed = self._archived[room] = self._rooms.pop(room)
        self._handler.closed(room)
        for connection in list(closed.members):
            closed.leave(connection)

    def met(self, room: str, person: str, other: str, done: Answered) -> None:
        found = self._resolve(room, person, other)
        done(_NO_PERSON if found is None else Whom(found), None)

    def rename(self, call_me: CallMe, done: Answered) -> None:
        member = call_me.member
        rooms = [room for room in map(self._rooms.get, call_me.rooms) if room and member.connection in room.members]
        refusal = next(filter(None, (room.objection(member) for room in rooms)), None)
        if refusal is not None:
            done(refusal, call_me.re)
            return
        self._pairing.rename(member)
        for room in rooms:
            event = room.rename(member)
            if room.is_intimate:
                self._handler.published(event)
        done(Named(member.sender.name or ""), call_me.re)

    def _say(self, room: Room, publish: Publish) -> Message:
        message = room.publish(publish, self._new_id(), self._utc_ms())
        self._handler.published(message)
        return message

    def _enter_booth(self, booth: Booth, enter: Enter, done: Answered) -> None:
        member = enter.member
        if member.connection in booth.members:
            self._answer_seat(booth.name, enter, done)
            return
        session = self._lost.get((booth.name, member.person))
        is_kept = session is not None and session == self._session_of.get(member.connection)
        before = next((one for one in self._pairing.members(booth.name) if one.person == member.person), member)
        outcomes = self._pairing.come_back(booth.name, member) if is_kept else None
        if outcomes is None:
            done(_NO_ROOM, enter.re)
            return
        self._join(booth, member)
        if before.sender.name != member.sender.name:
            self._handler.published(MemberRenamed(booth.name, booth.shown(member)))
        self._carry_out((*outcomes, partial(self._answer_seat, booth.name, enter, done)))

    def _answer_seat(self, name: str, asked: Enter | Find, done: Answered) -> None:
        """Answer with the seat, if those who were told of it left it standing."""
        booth, member = self._rooms.get(name), asked.member
        if not isinstance(booth, Booth) or member.connection not in booth.members:
            done(_NO_ROOM, asked.re)
            return
        seat = booth.seat(asked.since if isinstance(asked, Enter) else None, listed=False)
        others = (other for other in self._pairing.members(name) if other.person != member.person)
        peer = next((booth.shown(booth.members.get(other.connection, other)) for other in others), None)
        done(seat if isinstance(asked, Find) else replace(seat, peer=peer), asked.re)

    def _join(self, room: Room, member: Member) -> Refusal | None:
        joined = room.join(member)
        if isinstance(joined, Refusal):
            return joined
        if joined is not None:
            self._tell_members(room, joined)
        return None

    def _vacate(self, room: Room, connection: str, *, lost: bool) -> None:
        left = room.leave(connection, lost=lost)
        if left is not None and room.members:
            self._tell_members(room, left)

    def _tell_members(self, room: Room, event: MemberJoined | MemberLeft) -> None:
        """Who came or left; in a crowd, how many there are, and that once a second."""
        if room.is_intimate:
            self._handler.published(event)
        elif room.name not in self._counted:
            self._counted.add(room.name)
            self._scheduler.call_at(self._scheduler.time() + _COUNT_SECONDS, partial(self._tell_count, room))

    def _tell_count(self, room: Room) -> None:
        self._counted.discard(room.name)
        self._handler.published(Counted(room.name, len(room.members)))

    # Booths

    def find(self, find: Find, done: Answered) -> None:
        ticket, outcomes = self._pairing.find(find.member, find.wish, self._scheduler.time())
        if ticket is not None:
            done(Ticket(ticket), find.re)
            self._carry_out(outcomes)
            return
        match outcomes[-1]:  # what came before it concerns the seat that the person had
            case Seated(booth) | Met(booth):
                self._carry_out((*outcomes, partial(self._answer_seat, booth, find, done)))

    def cancel(self, cancel: Cancel, done: Answered) -> None:
        self._pairing.cancel(cancel.member)
        done(Done(), cancel.re)

    def avoid(self, avoid: Avoid, done: Answered) -> None:
        person = avoid.member.person
        other = self._resolve(avoid.room, person, avoid.other) if avoid.room is not None else _person_id(avoid.other)
        if other is None:
            done(_NO_PERSON, avoid.re)
            return
        blocked = self._pairing.blocks(person)
        if avoid.on and other not in blocked and len(blocked) >= BLOCKS_LIMIT:
            done(_TOO_MANY_BLOCKS, avoid.re)
            return
        outcomes = self._pairing.avoid(person, other, avoid.on, self._scheduler.time())
        done(Done(), avoid.re)
        self._carry_out(outcomes)

    def counts(self) -> tuple[int, int]:
        return len(self._pairing), self._pairing.waiting

    def _carry_out(self, outcomes: Iterable[Outcome | Callable[[], None]]) -> None:
        """Do what the pairing decided, in its order, also where one outcome leads to others."""
        self._outcomes.extend(outcomes)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._outcomes:
                self._apply(self._outcomes.popleft())
        finally:
            self._is_busy = False
        self._plan()

    def _apply(self, outcome: Outcome | Callable[[], None]) -> None:
        match outcome:
            case Seated(booth, member):
                self._join(self._booth(booth), member)
            case Waiting(member, ticket, relaxed, since):
                since_ms = self._utc_ms() - round(1000 * (self._scheduler.time() - since))
                self._handler.told(member.connection, MatchWaiting(ticket, since_ms, relaxed))
            case Met():
                self._introduce(outcome)
            case Away(booth, member, partner):
                self._rooms[booth].leave(member.connection)
                session = self._session_of.get(member.connection)
                if session is not None:
                    self._lost[booth, member.person] = session
                self._handler.told(partner.connection, MatchAway(booth, round(1000 * GRACE)))
            case Back(booth, member, partner):
                self._lost.pop((booth, member.person), None)
                self._handler.told(partner.connection, MatchBack(booth))
            case Freed(booth, member, lost):
                self._part(booth, member, lost=lost)
            case Displaced(booth, member):
                self._handler.displaced(member)
                self._part(booth, member)
            case Ended(booth, member, by):
                self._handler.told(member.connection, MatchEnded(booth, by))
                if booth is not None:
                    self._part(booth, member)
            case answer:
                answer()

    def _introduce(self, met: Met) -> None:
        booth = self._booth(met.booth)
        pair = met.came if met.stayed is None else (*met.came, booth.members.get(met.stayed.connection, met.stayed))
        speak_v1 = [member for member in met.came if self._pairing.seat_of(member.person) == booth.name]
        booth.begin((pair[0].person, pair[1].person), stamps=bool(speak_v1))
        for member in met.came:
            self._join(booth, member)
        for member in speak_v1:
            peer = booth.shown(pair[1] if member is pair[0] else pair[0])
            found = MatchFound(booth.name, booth.epoch, booth.off, peer, met.common)
            self._handler.told(member.connection, found, booth.seat(listed=False))

    def _booth(self, name: str) -> Booth:
        booth = self._rooms.get(name)
        if not isinstance(booth, Booth):
            booth = self._rooms[name] = Booth(name, self._new_id(), self._keyring)
        return booth

    def _part(self, name: str, member: Member, *, lost: bool = False) -> None:
        """The member has no seat in the booth any more; the booth goes with the last one."""
        booth = self._booth(name)
        self._lost.pop((name, member.person), None)
        self._remember_ids(booth)
        self._vacate(booth, member.connection, lost=lost)
        booth.part()
        if not self._pairing.members(name):
            del self._rooms[name]

    def _remember_ids(self, booth: Booth) -> None:
        now = self._scheduler.time()
        for person in booth.ids:
            self._parted.pop((booth.name, person), None)
            self._parted[booth.name, person] = now + PARTED_SECONDS, booth.ids
        while self._parted and next(iter(self._parted.values()))[0] <= now:
            self._parted.popitem(last=False)

    def _resolve(self, name: str, person: str, id: str) -> str | None:
        """Whom somebody who sat in the booth means by this id."""
        booth = self._rooms.get(name)
        ids = booth.ids if isinstance(booth, Booth) and person in booth.ids else {}
        until, parted = self._parted.get((name, person), (-inf, {}))
        if until > self._scheduler.time():
            ids = {**parted, **ids}
        return next((other for other, local in ids.items() if local == id and other != person), None)

    # Time

    def _plan(self) -> None:
        due = self._pairing.deadline
        if due >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._scheduler.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, inf
        self._carry_out(self._pairing.tick(self._scheduler.time()))


class _Ack:
    """Waits for word of the store about one event, and answers, once. `room` is set with the first who waits for it."""

    __slots__ = ("_answer", "_done", "_engine", "_event", "_re", "_room")

    def __init__(
        self,
        engine: MemoryEngine,
        room: Room | None,
        event: Numbered,
        answer: Answer,
        done: Answered,
        re: int | None,
    ) -> None:
        self._engine = engine
        self._room = room
        self._event = event
        self._answer = answer
        self._done: Answered | None = done
        self._re = re

    def __call__(self, kept: Kept) -> None:
        if kept is not Kept.WAITING and self._room is not None:
            self._engine._settled(self._room, self._event, kept)
        done, self._done = self._done, None
        if done is None:
            return
        answer = self._answer
        if kept is Kept.WAITING:
            done(_UNCONFIRMED, self._re)
        elif kept.survives and type(answer) is Published:
            done(
                Published(answer.room, answer.epoch, answer.off, answer.mid, answer.ts, answer.dup, "stored"), self._re
            )
        else:
            done(answer, self._re)


def _count_off(room: Room, kept: Kept) -> None:
    """One event less waits to be stored."""
    if kept is not Kept.WAITING:
        room.unstored -= 1


def _person_id(text: str) -> str | None:
    return text if len(text) <= _PERSON_ID_LIMIT else None
