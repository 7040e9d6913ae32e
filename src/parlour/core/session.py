"""A client that has a session: it says hello, sits in rooms that it names, meets strangers, and resumes all that after
a lost connection.

Every command has one answer, under the number that it bore. What goes over the rate is refused, not held: such a client
can say it again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import Enum
from math import ceil, inf
from typing import Final, TypeAlias

from parlour.core import commands
from parlour.core.commands import Command, Line
from parlour.core.connection import Connection, Pace
from parlour.core.events import (
    Amend,
    Answer,
    Asked,
    Avoid,
    Bye,
    CallMe,
    Cancel,
    Claim,
    Claimed,
    Clock,
    Done,
    Drop,
    Effect,
    Enter,
    Fetch,
    Find,
    Gone,
    Leave,
    Letter,
    Limits,
    Look,
    MatchEnded,
    MatchFound,
    Member,
    Named,
    Notice,
    Ping,
    Place,
    Position,
    Publish,
    Reconnect,
    Refuse,
    Release,
    Reply,
    Seat,
    Sender,
    Show,
    Take,
    Tell,
    Wanted,
    Welcome,
    value,
)
from parlour.core.keys import Keyring, Session
from parlour.core.moderation import checked_emoji
from parlour.core.names import NameRules, given_name
from parlour.errors import NO_HELLO, RESTART, Close, Refusal

HELLO_LIMIT: Final = 10.0
"""Seconds from the opening to a hello that is accepted."""

RESTART_MS: Final = 1000
RESTART_JITTER_MS: Final = 5000
"""How long clients should wait before they come back to a server that restarts, and the span over which they spread."""

_NAME_ATTEMPTS: Final = 50

_NOT_MEMBER: Final = Refusal("not_member", "you are not in this room; join it first", field="room")
_HELLO_FIRST: Final = Refusal("required", "say hello first", field="op")
_HELLO_AGAIN: Final = Refusal("conflict", "hello was said already; it comes once in a connection", field="op")
_NO_BOOTHS: Final = Refusal("not_found", "there are no booths here", field="op")
_IN_BOOTH: Final = Refusal("conflict", "you sit in a booth; say match.next or leave", field="op")
_TOO_MANY: Final = Refusal(
    "rate_limited", "too many connections from your address look for strangers; close some", retry=True
)
_NOT_A_BOOTH: Final = Refusal("forbidden", '"read" is for booths', field="room")
_YOURSELF: Final = Refusal("bad_field", '"person" is you; name another', field="person")
_NO_TOKENS: Final = Refusal("unauthorized", "this server takes no tokens of others; leave it out", field="token")
_EXPIRED: Final = Refusal("expired", "the session is too old or not of this server; leave it out", field="session")
_SIGNED_OUT: Final = Refusal(
    "unauthorized", "the session is that of somebody who signed in; sign in again, or leave it out", field="session"
)
_PROVED: Final = Refusal("forbidden", "your name comes from where you signed in; change it there", field="name")


@value
class House:
    """What all sessions of one server share: its rules, its keys, and what is handed in from outside.

    `new_id` gives an id never used before, `utc_ms` the time of day in milliseconds.
    """

    names: NameRules
    keys: Keyring
    new_id: Callable[[], str]
    utc_ms: Callable[[], int]
    has_booths: bool = True
    welcome: str | None = None


_Passing: TypeAlias = commands.Ping | commands.Pong | commands.Typing | commands.Read


class _State(Enum):
    OPENING = "opening"  # no hello was accepted yet
    ENTERING = "entering"  # the engine has been asked for all seats
    IN = "in"


class _Arrival:
    """A hello on its way: what was asked for, and what came of it so far."""

    __slots__ = ("attempt", "hello", "re", "rooms", "seats", "wanted")

    def __init__(self, hello: commands.Hello, re: int | None) -> None:
        self.hello = hello
        self.re = re
        self.rooms: list[tuple[str, Position | None]] = []  # to enter, with the last event that was seen
        self.wanted: deque[tuple[str, Position | None]] = deque()  # those of them that are not answered yet
        self.seats: list[Seat | Gone] = []
        self.attempt = 0  # of the names that the server gives


class SessionConnection(Connection):
    """See `Connection`.

    Invariant: once in, `_rooms` are exactly the rooms that this connection hears, its booth among them.
    """

    __slots__ = (
        "_arrival",
        "_booth",
        "_hello_by",
        "_house",
        "_langs",
        "_may_meet",
        "_member",
        "_place",
        "_proved",
        "_rooms",
        "_session",
        "_state",
    )

    def __init__(
        self,
        id: str,
        pace: Pace,
        house: House,
        place: Place,
        *,
        person: str | None = None,
        name: str | None = None,
        may_meet: Callable[[], bool] = lambda: True,
    ) -> None:
        """`person` and `name` are set where the host app proved them; `may_meet` says whether there are not too many of
        its kind in booths already."""
        super().__init__(id, pace)
        self._may_meet = may_meet
        self._house = house
        self._place = place
        self._proved = None if person is None else Sender(person, name, "user")
        self._state = _State.OPENING
        self._hello_by = inf
        self._arrival: _Arrival | None = None  # while entering
        self._member = Member(id, Sender("", None))  # who this is, once hello was heard
        self._session = ""
        self._langs: frozenset[str] = frozenset()
        self._rooms: tuple[str, ...] = ()
        self._booth: str | None = None

    @property
    def person(self) -> str:
        """The id of the person behind it; empty before hello."""
        return self._member.person

    @property
    def rooms(self) -> tuple[str, ...]:
        """Where it sits."""
        return self._rooms

    # What the hub calls

    def answered(self, answer: Answer | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        """See `Connection.answered`."""
        if self._ended:
            return ()
        if self._arrival is not None:
            return self._arrive(self._arrival, answer, now)
        if isinstance(answer, Refusal):
            return () if re is None else (Refuse(answer, re),)
        if isinstance(answer, Seat):
            return self._sit(answer, re)
        if isinstance(answer, Named):
            self._member = Member(self.id, replace(self._member.sender, name=answer.name))
        return () if re is None else (Reply(answer, re),)

    def told(self, letter: Letter, seat: Seat | None) -> Sequence[Effect]:
        """See `Connection.told`."""
        if self._ended:
            return ()
        if isinstance(letter, MatchFound) and seat is not None:
            self._booth = seat.room
            self._rooms = (*self._rooms, seat.room)
            return Tell(letter), Take(seat)
        if isinstance(letter, MatchEnded) and letter.room in self._rooms:
            return Drop(self._forget_booth(letter.room)), Tell(letter)
        return (Tell(letter),)

    # What `Connection` asks

    def _begin(self, now: float) -> Sequence[Effect]:
        self._hello_by = now + HELLO_LIMIT
        return ()

    def _hears(self, now: float) -> bool:
        return not self._ended and self._state is not _State.ENTERING

    def _due(self, now: float) -> Sequence[Effect]:
        return self.end(NO_HELLO) if now >= self._hello_by else ()

    def _due_at(self) -> float:
        return self._hello_by

    def _ask(self) -> Sequence[Effect]:
        """A page's script sees no WebSocket pings, and a small program may know no others."""
        return (Ping(), Tell(Asked()))

    def _farewell(self, close: Close, abort: bool) -> Sequence[Effect]:
        if abort:
            return ()
        if close == RESTART:
            return Tell(Reconnect(RESTART_MS, RESTART_JITTER_MS)), Tell(Bye(close, RESTART_MS))
        return (Tell(Bye(close)),)

    def _give_up_seats(self, *, comes_back: bool) -> Sequence[Effect]:
        if self._state is _State.OPENING:
            return ()
        rooms = self._rooms
        if self._arrival is not None:
            rooms = tuple(seat.room for seat in self._arrival.seats if isinstance(seat, Seat))
        self._rooms, self._booth = (), None
        leaves = [Leave(room, lost=comes_back) for room in rooms]
        return (*leaves, Cancel(self._member), Release(self._session))

    def _carry_out(self, said: Command | Line | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        if isinstance(said, Refusal):
            return (*self._refuse_unreadable(said, re), *self._overrun(now))
        if isinstance(said, Line):
            raise TypeError("expected a command, got a line")
        self._errors = 0
        if isinstance(said, _Passing):
            return (*self._pass_by(said, re), *self.control(now))
        if self._budget is not None and not self._budget.take(now):
            wait = ceil(1000 * (self._budget.ready_at() - now))
            refusal = Refusal("rate_limited", "too fast; wait and say it again", retry=True, retry_after_ms=wait)
            return (Refuse(refusal, re), *self.control(now))
        if isinstance(said, commands.Hello):
            return self._hello(said, re)
        return self._obey(said, re) if self._state is _State.IN else (Refuse(_HELLO_FIRST, re),)

    def _overrun(self, now: float) -> Sequence[Effect]:
        """What can't be read costs as much as what can."""
        if self._ended or self._budget is None or self._budget.take(now):
            return ()
        return self.control(now)

    # Hello

    def _hello(self, hello: commands.Hello, re: int | None) -> Sequence[Effect]:
        if self._state is not _State.OPENING:
            return (Refuse(_HELLO_AGAIN, re),)
        if hello.token is not None:
            return (Refuse(_NO_TOKENS, re),)
        session = self._resumed(hello.session)
        if isinstance(session, Refusal):
            return (Refuse(session, re),)
        name = None if hello.name is None or self._proved else self._house.names.checked(hello.name, "name")
        if isinstance(name, Refusal):
            return (Refuse(name, re),)
        name = name or self._former_name(session) or given_name(session.person)
        sender = self._proved or Sender(session.person, name)
        self._member = Member(self.id, sender)
        self._session = session.id
        self._langs = _tags(hello.langs)
        self._arrival = _Arrival(hello, re)
        self._state = _State.ENTERING
        return (Claim(session.id, self._member, re),)

    def _resumed(self, token: str | None) -> Session | Refusal:
        """The session that the token proves, or a new one. Somebody else's token, for one the host app knows, is what a
        page kept from the user before."""
        proved = None if self._proved is None else self._proved.id
        if token is not None:
            session = self._house.keys.read_session(token, self._house.utc_ms())
            if session is None:
                return _EXPIRED
            if session.is_user and proved is None:
                return _SIGNED_OUT
            if proved in (None, session.person):
                return session
        return Session(self._house.new_id(), proved or self._house.new_id(), is_user=proved is not None)

    def _former_name(self, session: Session) -> str | None:
        """The name of the session's last hello, if it is still allowed."""
        accepted = None if session.name is None else self._house.names.checked(session.name)
        return accepted if isinstance(accepted, str) else None

    def _arrive(self, arrival: _Arrival, answer: Answer | Refusal, now: float) -> Sequence[Effect]:
        """One more answer for the hello that is on its way. Rooms are entered one by one, the booth last: a name may be
        refused in the others."""
        if isinstance(answer, Claimed):
            resumed = {position.room: position for position in arrival.hello.resume}
            rooms = dict.fromkeys((*resumed, *filter(None, (self._place.room,))))
            if answer.booth is not None and self._may_meet():
                rooms.pop(answer.booth, None)
                rooms[answer.booth] = None
                self._booth = answer.booth
            arrival.rooms = [(room, resumed.get(room)) for room in rooms]
            arrival.wanted.extend(arrival.rooms)
        elif isinstance(answer, Seat):
            arrival.wanted.popleft()
            arrival.seats.append(answer)
        elif isinstance(answer, Refusal) and answer.code == "not_found" and arrival.wanted:
            arrival.seats.append(Gone(arrival.wanted.popleft()[0]))
        elif isinstance(answer, Refusal):
            return self._stumble(arrival, answer, now)
        if not arrival.wanted:
            return self._come_in(arrival, now)
        room, since = arrival.wanted[0]
        return (Enter(room, self._member, since, re=arrival.re),)

    def _stumble(self, arrival: _Arrival, refusal: Refusal, now: float) -> Sequence[Effect]:
        """A room refused. Another name may do, if it was ours to choose; else the whole hello is refused."""
        leaves = [Leave(seat.room) for seat in arrival.seats if isinstance(seat, Seat)]
        is_given = arrival.hello.name is None and self._proved is None
        if refusal.code == "bad_name" and is_given and arrival.attempt < _NAME_ATTEMPTS:
            arrival.attempt += 1
            name = given_name(self._member.person, arrival.attempt)
            self._member = Member(self.id, replace(self._member.sender, name=name))
            arrival.seats.clear()
            arrival.wanted = deque(arrival.rooms)
            room, since = arrival.wanted[0]
            return (*leaves, Enter(room, self._member, since, re=arrival.re))
        self._arrival, self._state = None, _State.OPENING
        held = self.tick(now) if self._held else ()
        return (*leaves, Release(self._session), Refuse(refusal, arrival.re), *held)

    def _come_in(self, arrival: _Arrival, now: float) -> Sequence[Effect]:
        self._arrival, self._state, self._hello_by = None, _State.IN, inf
        seats = [seat for seat in arrival.seats if isinstance(seat, Seat)]
        self._rooms = tuple(seat.room for seat in seats)
        if self._booth not in self._rooms:
            self._booth = None
        sender = self._member.sender
        session = Session(self._session, sender.id, is_user=self._proved is not None, name=sender.name)
        token = self._house.keys.sign_session(session, self._house.utc_ms())
        limits = Limits(self._pace.rate, self._pace.burst)
        ping_ms = round(1000 * self._pace.ping)
        welcome = Welcome(token, sender, limits, ping_ms, arrival.seats)
        effects: list[Effect] = [Reply(welcome, arrival.re), *map(Take, seats)]
        if self._house.welcome is not None and not arrival.hello.resume:
            effects.append(Tell(Notice("info", "welcome", self._house.welcome)))
        if self._place.booth and self._booth is None:
            effects.append(Find(self._member, self._wanted(arrival.hello.match or commands.Wish())))
        if self._held:
            effects += self.tick(now)
        return effects

    # Once in

    def _pass_by(self, said: _Passing, re: int | None) -> Sequence[Effect]:
        """What costs little and needs no order."""
        if isinstance(said, commands.Ping):
            return (Reply(Clock(self._house.utc_ms()), re),)
        if isinstance(said, commands.Pong):
            return _done(re)
        if self._state is not _State.IN:
            return (Refuse(_HELLO_FIRST, re),)
        if said.room not in self._rooms:
            return (Refuse(_NOT_MEMBER, re),)
        if isinstance(said, commands.Typing):
            return (Show(said.room, self._member, on=said.on), *_done(re))
        if said.room != self._booth:
            return (Refuse(_NOT_A_BOOTH, re),)
        return (Show(said.room, self._member, off=said.off), *_done(re))

    def _obey(self, command: Command, re: int | None) -> Sequence[Effect]:
        member = self._member
        match command:
            case commands.Send(room, key, text, reply_to):
                return self._in(room, re, Publish(room, member, text, reply_to, key, re))
            case commands.Edit(room, mid, text):
                return self._in(room, re, Amend(room, member, mid, text=text, re=re))
            case commands.Delete(room, mid):
                return self._in(room, re, Amend(room, member, mid, re=re))
            case commands.React(room, mid, emoji, on):
                refusal = checked_emoji(emoji)
                act = Amend(room, member, mid, emoji=emoji, on=on, re=re)
                return self._in(room, re, act) if refusal is None else (Refuse(refusal, re),)
            case commands.History(room, before, after, limit):
                return self._in(room, re, Fetch(room, before, after, limit, re))
            case commands.Presence(room):
                return self._in(room, re, Look(room, re))
            case commands.Rooms():
                return (Look(None, re),)
            case commands.Join(room):
                return (Enter(room, member, re=re),)
            case commands.Leave(room):
                return (*self._leave(room), Reply(Done(), re))
            case commands.Rename(name):
                return self._rename(name, re)
            case commands.Next() | commands.Find():
                return self._find(command, re)
            case commands.Cancel():
                return (Cancel(member, re),)
            case commands.Block(person, room):
                return self._avoid(person, room, True, re)
            case commands.Unblock(person, room):
                return self._avoid(person, room, False, re)
        raise TypeError(f"expected a command, got {type(command).__name__}")

    def _in(self, room: str, re: int | None, effect: Effect) -> Sequence[Effect]:
        return (effect,) if room in self._rooms else (Refuse(_NOT_MEMBER, re),)

    def _sit(self, seat: Seat, re: int | None) -> Sequence[Effect]:
        """To join twice is to join once."""
        if seat.room in self._rooms:
            return (Reply(seat, re),)
        self._rooms = (*self._rooms, seat.room)
        return Reply(seat, re), Take(seat)

    def _leave(self, room: str) -> Sequence[Effect]:
        """To leave twice is to leave once."""
        if room not in self._rooms:
            return ()
        if room == self._booth:
            self._booth = None
        self._rooms = tuple(other for other in self._rooms if other != room)
        return (Leave(room),)

    def _forget_booth(self, booth: str) -> str:
        self._booth = None
        self._rooms = tuple(room for room in self._rooms if room != booth)
        return booth

    def _rename(self, name: str, re: int | None) -> Sequence[Effect]:
        if self._proved is not None:
            return (Refuse(_PROVED, re),)
        accepted = self._house.names.checked(name, "name")
        if isinstance(accepted, Refusal):
            return (Refuse(accepted, re),)
        renamed = Member(self.id, replace(self._member.sender, name=accepted))
        return (CallMe(renamed, self._rooms, re),)

    def _find(self, wish: commands.Find | commands.Next, re: int | None) -> Sequence[Effect]:
        if not self._house.has_booths:
            return (Refuse(_NO_BOOTHS, re),)
        if not self._may_meet():
            return (Refuse(_TOO_MANY, re),)
        booth = self._booth
        if booth is None:
            return (Find(self._member, self._wanted(wish), re),)
        if isinstance(wish, commands.Find):
            return (Refuse(_IN_BOOTH, re),)
        return Drop(self._forget_booth(booth)), Find(self._member, self._wanted(wish, booth), re)

    def _wanted(self, wish: commands.Wish, leaving: str | None = None) -> Wanted:
        langs = _tags(wish.langs) or self._langs
        return Wanted(_tags(wish.interests), langs, wish.relax == "auto", wish.key, leaving)

    def _avoid(self, person: str, room: str | None, on: bool, re: int | None) -> Sequence[Effect]:
        if person == self._member.person:
            return (Refuse(_YOURSELF, re),)
        return (Avoid(self._member, person, room, on, re),)


def _tags(tags: Iterable[str]) -> frozenset[str]:
    """Interests and languages are compared without regard to case and blanks around them."""
    return frozenset(filter(None, (tag.strip().casefold() for tag in tags)))


def _done(re: int | None) -> Sequence[Effect]:
    return () if re is None else (Reply(Done(), re),)
