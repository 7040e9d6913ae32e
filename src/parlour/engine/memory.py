"""The engine of a single process: rooms and booths in memory. Every call is carried out, and answered, before it
returns."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Final

from parlour.core.events import (
    Amend,
    Avoid,
    CallMe,
    Cancel,
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
    MatchFound,
    MatchWaiting,
    Member,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Named,
    Publish,
    Published,
    RoomList,
    RoomShown,
    Show,
    Ticket,
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
from parlour.core.room import Booth, Room
from parlour.engine import Answered, Handler, Scheduler, Timer
from parlour.errors import Refusal

PARTED_SECONDS: Final = 600.0
"""How long after a booth ended its people can still be named by the ids that they had there."""

BLOCKS_LIMIT: Final = 1000
"""People whom one person can block."""

_PERSON_ID_LIMIT: Final = 32
"""Characters that an id of a person has at most: what is longer is nobody, and must not be kept."""

_COUNT_SECONDS: Final = 1.0

_NOT_MEMBER: Final = Refusal("not_member", "you have no seat in this room; join it", field="room")
_NO_ROOM: Final = Refusal("not_found", "there is no such room", field="room")
_NO_PERSON: Final = Refusal(
    "not_found", "there was nobody of this id in that booth, or it is too long ago", field="person"
)
_TOO_MANY_BLOCKS: Final = Refusal("too_large", f"you block {BLOCKS_LIMIT} people already; unblock some", field="person")


class MemoryEngine:
    """See `Engine`.

    `public` are the rooms that there are. `choose(n)` gives a number from 0 to n - 1, each equally likely; `new_id` an
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
    ) -> None:
        self._handler = handler
        self._scheduler = scheduler
        self._keyring = keyring
        self._new_id = new_id
        self._utc_ms = utc_ms
        self._rooms: dict[str, Room] = {name: Room(name, new_id()) for name in public}  # booths, too, while they last
        self._public = tuple(public)
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
        if publish.key is None:
            done(self._say(room, publish), publish.re)
            return
        now = self._scheduler.time()
        answer = room.said_before(publish, publish.key, now)
        if answer is None:
            answer = self._say(room, publish)
            room.keep_key(publish, publish.key, answer, now)
        done(answer, publish.re)

    def amend(self, amend: Amend, done: Answered) -> None:
        room = self._rooms.get(amend.room)
        if room is None or amend.member.connection not in room.members:
            done(_NOT_MEMBER, amend.re)
            return
        outcome = room.amend(amend, self._utc_ms(), self._scheduler.time())
        if isinstance(outcome, Refusal):
            done(outcome, amend.re)
            return
        event, answer = outcome
        if event is not None:
            self._handler.published(event)
        done(answer, amend.re)

    def show(self, show: Show) -> None:
        room = self._rooms.get(show.room)
        is_there = room is not None and show.member.connection in room.members
        event = room.show(show) if room is not None and is_there else None
        if event is not None:
            self._handler.published(event)

    def fetch(self, fetch: Fetch, done: Answered) -> None:
        room = self._rooms.get(fetch.room)
        done(_NO_ROOM if room is None else room.page(fetch.before, fetch.after, fetch.limit), fetch.re)

    def look(self, look: Look, done: Answered) -> None:
        if look.room is None:
            done(RoomList([RoomShown(name, len(self._rooms[name].members)) for name in self._public]), look.re)
            return
        room = self._rooms.get(look.room)
        done(_NO_ROOM if room is None else room.here(), look.re)

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

    def _say(self, room: Room, publish: Publish) -> Published:
        message = room.publish(publish, self._new_id(), self._utc_ms())
        self._handler.published(message)
        return Published(room.name, room.epoch, message.off, message.mid, message.ts)

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


def _person_id(text: str) -> str | None:
    return text if len(text) <= _PERSON_ID_LIMIT else None
