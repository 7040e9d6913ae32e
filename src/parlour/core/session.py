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
    Accept,
    Accuse,
    Act,
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
    Proved,
    Publish,
    Reconnect,
    Refuse,
    Release,
    Reply,
    Required,
    Role,
    Search,
    Seat,
    Sender,
    Show,
    Take,
    Tell,
    Verify,
    Wanted,
    Welcome,
)
from parlour.core.gate import Accepted, Admitted, Gate
from parlour.core.house import House
from parlour.core.keys import Session
from parlour.core.moderation import Budget, checked_emoji
from parlour.core.names import given_name, mended_name
from parlour.core.penalties import Action, may
from parlour.errors import BANNED, NO_HELLO, RESTART, Close, Refusal

HELLO_LIMIT: Final = 10.0
"""Seconds from the opening to a hello that is accepted."""

RESTART_MS: Final = 1000
RESTART_JITTER_MS: Final = 5000
"""How long clients should wait before they come back to a server that restarts, and the span over which they spread."""

SEARCH_RATE: Final = 0.5
SEARCH_BURST: Final = 10
"""Searches for strangers a second, and at once: who goes from one to the next takes the time of them all."""

REPORT_RATE: Final = 1 / 60
REPORT_BURST: Final = 5
"""Reports a second, and at once, whoever it is: moderators have to read them."""

LOOKUP_RATE: Final = 0.5
LOOKUP_BURST: Final = 5
"""Searches for words a second, and at once."""

_NAME_ATTEMPTS: Final = 50
_TOO_YOUNG: Final = "forbidden"
"""The code by which a gate refuses who is: nothing that one accepts changes that."""

_NOT_MEMBER: Final = Refusal("not_member", "you are not in this room; join it first", field="room")
_HELLO_FIRST: Final = Refusal("required", "say hello first", field="op")
_HELLO_AGAIN: Final = Refusal("conflict", "hello was said already; it comes once in a connection", field="op")
_NO_BOOTHS: Final = Refusal("not_found", "there are no booths here", field="op")
_IN_BOOTH: Final = Refusal("conflict", "you sit in a booth; say match.next or leave", field="op")
_TOO_MANY: Final = Refusal(
    "rate_limited", "too many connections from your address look for strangers; close some", retry=True
)
_NOT_YOURS: Final = Refusal("forbidden", "that is for moderators", field="op")
_OTHER_BAND: Final = Refusal("conflict", "you said another age before", field="age")
_NO_REASON: Final = Refusal("bad_field", '"reason" is empty; say what is wrong', field="reason")
_NO_MESSAGES: Final = Refusal("bad_field", '"messages" is empty; bring what was said', field="messages")
_SIGNED_IN: Final = Refusal(
    "conflict", "who you are is known from where you signed in; leave the token out", field="token"
)
_LEFT: Final = Refusal("conflict", "you left the room before you had a seat there", field="room")
_NO_TEXT: Final = Refusal("bad_field", '"text" is blank; give at least one word', field="text")
_NOT_KEPT: Final = Refusal("forbidden", "what is said in a booth is kept nowhere; name a public room", field="room")
_NO_TERMS: Final = Refusal("not_found", "there are no terms to accept here", field="op")
_NOT_A_BOOTH: Final = Refusal("forbidden", '"read" is for booths', field="room")
_YOURSELF: Final = Refusal("bad_field", '"person" is you; name another', field="person")
_NO_TOKENS: Final = Refusal("unauthorized", "this server takes no tokens of others; leave it out", field="token")
_EXPIRED: Final = Refusal("expired", "the session is too old or not of this server; leave it out", field="session")
_SIGNED_OUT: Final = Refusal(
    "unauthorized", "the session is that of somebody who signed in; sign in again, or leave it out", field="session"
)
_PROVED: Final = Refusal("forbidden", "your name comes from where you signed in; change it there", field="name")


_Passing: TypeAlias = commands.Ping | commands.Pong | commands.Typing | commands.Read


class _State(Enum):
    OPENING = "opening"  # no hello was accepted yet
    PROVING = "proving"  # somebody has been asked whose the token of the hello is
    ENTERING = "entering"  # the engine has been asked for all seats
    IN = "in"


class _Arrival:
    """A hello on its way: what was asked for, and what came of it so far."""

    __slots__ = ("attempt", "consent", "hello", "re", "rooms", "seats", "wanted")

    def __init__(self, hello: commands.Hello, re: int | None) -> None:
        self.hello = hello
        self.re = re
        self.rooms: list[tuple[str, Position | None]] = []  # to enter, with the last event that was seen
        self.wanted: deque[tuple[str, Position | None]] = deque()  # those of them that are not answered yet
        self.seats: list[Seat | Gone] = []
        self.attempt = 0  # of the names that the server gives
        self.consent: Sequence[Effect] = ()  # to be kept once it is in


class SessionConnection(Connection):
    """See `Connection`.

    Invariant: once in, `_rooms` are exactly the rooms that this connection hears, its booth among them.
    """

    __slots__ = (
        "_admitted",
        "_arrival",
        "_booth",
        "_hello_by",
        "_is_opening",
        "_is_proved_here",
        "_joining",
        "_langs",
        "_lookups",
        "_may_meet",
        "_member",
        "_place",
        "_proved",
        "_reports",
        "_rooms",
        "_searches",
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
        role: Role = "user",
        may_meet: Callable[[], bool] = lambda: True,
        address: str | None = None,
    ) -> None:
        """`person`, `name` and `role` are set where the host app proved them; `may_meet` says whether there are not too
        many of its kind in booths already; `address`: see `Connection`."""
        super().__init__(id, pace, house, address=address)
        self._may_meet = may_meet
        self._place = place
        self._is_proved_here = person is not None  # by the host app
        self._proved = None if person is None else Sender(person, name, role)  # or by the token of the hello
        self._state = _State.OPENING
        self._hello_by = inf
        self._arrival: _Arrival | None = None  # while proving and entering
        self._member = Member(id, Sender("", None))  # who this is, once hello was heard
        self._session = Session("", "")
        self._admitted: Admitted | Refusal | None = None  # whether strangers may be met, where there is a gate
        self._is_opening = False  # nothing was said to the stranger yet
        self._searches: Budget | None = None  # made at the first one
        self._reports: Budget | None = None
        self._lookups: Budget | None = None
        # By the numbers of joins that are not answered yet: the room, or None once it was left again.
        self._joining: dict[int, str | None] = {}
        self._langs: frozenset[str] = frozenset()
        self._rooms: tuple[str, ...] = ()
        self._booth: str | None = None

    @property
    def sender(self) -> Sender:
        """See `Connection.sender`. The id is empty before hello."""
        return self._member.sender

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
            come = self._identify if self._state is _State.PROVING else self._arrive
            return come(self._arrival, answer, now)
        if isinstance(answer, Refusal):
            if re is None:
                return ()
            self._joining.pop(re, None)
            return (Refuse(answer, re),)
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
            self._booth, self._is_opening = seat.room, True
            self._rooms = (*self._rooms, seat.room)
            return Tell(letter), Take(seat)
        if isinstance(letter, MatchEnded) and letter.room in self._rooms:
            return Drop(self._forget_booth(letter.room)), Tell(letter)
        return (Tell(letter),)

    def closed(self, room: str) -> Sequence[Effect]:
        """See `Connection.closed`. The client was told by `RoomChanged`."""
        if room not in self._rooms:
            return ()
        self._rooms = tuple(other for other in self._rooms if other != room)
        return (Drop(room),)

    # What `Connection` asks

    def _begin(self, now: float) -> Sequence[Effect]:
        self._hello_by = now + HELLO_LIMIT
        return ()

    def _hears(self, now: float) -> bool:
        return not self._ended and self._arrival is None

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
        if self._state in (_State.OPENING, _State.PROVING):
            return ()
        rooms = self._rooms
        if self._arrival is not None:
            rooms = tuple(seat.room for seat in self._arrival.seats if isinstance(seat, Seat))
        self._rooms, self._booth = (), None
        leaves = [Leave(room, lost=comes_back) for room in rooms]
        return (*leaves, Cancel(self._member), Release(self._session.id))

    def _carry_out(self, said: Command | Line | Refusal, re: int | None, now: float) -> Sequence[Effect]:
        if isinstance(said, Refusal):
            return (*self._refuse_unreadable(said, re), *self._overrun(now))
        if isinstance(said, Line):
            raise TypeError("expected a command, got a line")
        self._errors = 0
        if isinstance(said, _Passing):
            return (*self._pass_by(said, re), *self.control(now))
        if self._budget is not None and not self._budget.take(now):
            return (Refuse(_too_fast(self._budget, now), re), *self.control(now))
        if isinstance(said, commands.Hello):
            return self._hello(said, re)
        return self._obey(said, re, now) if self._state is _State.IN else (Refuse(_HELLO_FIRST, re),)

    def _overrun(self, now: float) -> Sequence[Effect]:
        """What can't be read costs as much as what can."""
        if self._ended or self._budget is None or self._budget.take(now):
            return ()
        return self.control(now)

    # Hello

    def _hello(self, hello: commands.Hello, re: int | None) -> Sequence[Effect]:
        if self._state is not _State.OPENING:
            return (Refuse(_HELLO_AGAIN, re),)
        banned = self._barred(None)
        if banned is not None:
            return (Refuse(banned, re), *self.end(BANNED))
        if hello.token is None:
            return self._greet(hello, re)
        if self._is_proved_here:  # whose word counts, where the two differ, is not for us to choose
            return (Refuse(_SIGNED_IN, re),)
        if not self._house.has_tokens:
            return (Refuse(_NO_TOKENS, re),)
        self._arrival, self._state = _Arrival(hello, re), _State.PROVING
        return (Verify(hello.token, re),)

    def _identify(self, arrival: _Arrival, answer: Answer | Refusal, now: float) -> Sequence[Effect]:
        """The token that came with hello is somebody's, or nobody's."""
        self._arrival, self._state = None, _State.OPENING
        if isinstance(answer, Proved):
            id, name, role = answer.person
            self._proved = Sender(self._house.keys.person_id(id), mended_name(name), role)
            effects = self._greet(arrival.hello, arrival.re)
        elif isinstance(answer, Refusal):
            effects = (Refuse(answer, arrival.re),)
        else:
            raise TypeError(f"expected whose the token is, got {type(answer).__name__}")
        return self._or_again(effects, now)

    def _or_again(self, effects: Sequence[Effect], now: float) -> Sequence[Effect]:
        """A hello that was refused leaves nothing behind; what was said meanwhile is heard now."""
        if self._state is not _State.OPENING or self._ended:
            return effects
        if not self._is_proved_here:
            self._proved = None
        return (*effects, *self.tick(now)) if self._held else effects

    def _greet(self, hello: commands.Hello, re: int | None) -> Sequence[Effect]:
        """It is known whether somebody proved who this is. Whatever can refuse without the engine does so first: a
        hello that is refused should not end an older connection."""
        session = self._resumed(hello.session)
        if isinstance(session, Refusal):
            return (Refuse(session, re),)
        banned = self._barred(session.person)
        if banned is not None:
            return (Refuse(banned, re), *self.end(BANNED))
        name = None if hello.name is None or self._proved else self._house.names.checked(hello.name, "name")
        if isinstance(name, Refusal):
            return (Refuse(name, re),)
        name = name or self._former_name(session) or given_name(session.person)
        sender = self._proved or Sender(session.person, name)
        self._member = Member(self.id, sender)
        self._session = session
        self._langs = _tags(hello.langs)
        self._arrival = _Arrival(hello, re)
        self._arrival.consent = self._pass_gate(hello)
        self._state = _State.ENTERING
        return (Claim(session.id, self._member, re),)

    def _pass_gate(self, hello: commands.Hello) -> Sequence[Effect]:
        """By what the person accepts now, or accepted before. Who may not meet strangers may still come in."""
        gate = self._policy.gate
        if gate is None:
            return ()
        if not (isinstance(self._admitted, Refusal) and self._admitted.code == _TOO_YOUNG):
            self._admitted = gate.readmit(self._session.terms, self._session.band)
        consent = () if hello.terms is None else self._accept(gate, Accepted(hello.terms, hello.age))
        return () if isinstance(consent, Refusal) else consent

    def _accept(self, gate: Gate, accepted: Accepted) -> Sequence[Effect] | Refusal:
        """Who is too young can't try another age in this connection."""
        before = self._admitted
        if isinstance(before, Refusal) and before.code == _TOO_YOUNG:
            return before
        admitted = gate.admit(accepted)
        if isinstance(admitted, Refusal):
            if admitted.code == _TOO_YOUNG:
                self._admitted, self._session = admitted, self._session._replace(terms=None, band=None)
            return admitted
        if isinstance(before, Admitted) and before.band != admitted.band:
            return _OTHER_BAND
        self._admitted, self._session = admitted, self._session._replace(terms=gate.version, band=admitted.band)
        return () if admitted == before else (Accept(self._member.person, gate.version, admitted.band),)

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
        return self._or_again((*leaves, Release(self._session.id), Refuse(refusal, arrival.re)), now)

    def _come_in(self, arrival: _Arrival, now: float) -> Sequence[Effect]:
        self._arrival, self._state, self._hello_by = None, _State.IN, inf
        seats = [seat for seat in arrival.seats if isinstance(seat, Seat)]
        self._rooms = tuple(seat.room for seat in seats)
        if self._booth not in self._rooms:
            self._booth = None
        sender = self._member.sender
        self._session = self._session._replace(is_user=self._proved is not None, name=sender.name)
        token = self._house.keys.sign_session(self._session, self._house.utc_ms())
        limits = Limits(self._pace.rate, self._pace.burst)
        ping_ms = round(1000 * self._pace.ping)
        gate, admitted = self._policy.gate, self._admitted
        is_required = gate is not None and isinstance(admitted, Refusal)
        required = Required(gate.version, gate.url, gate.asks_age) if gate is not None and is_required else None
        welcome = Welcome(token, sender, limits, ping_ms, arrival.seats, required)
        effects: list[Effect] = [Reply(welcome, arrival.re), *map(Take, seats), *arrival.consent]
        if self._house.welcome is not None and not arrival.hello.resume:
            effects.append(Tell(Notice("info", "welcome", self._house.welcome)))
        if self._place.booth and self._booth is None:
            if isinstance(admitted, Refusal):
                effects.append(Refuse(admitted))
            else:
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
            if self._silenced(said.room) is not None:
                return _done(re)
            return (Show(said.room, self._member, on=said.on), *_done(re))
        if said.room != self._booth:
            return (Refuse(_NOT_A_BOOTH, re),)
        return (Show(said.room, self._member, off=said.off), *_done(re))

    def _obey(self, command: Command, re: int | None, now: float) -> Sequence[Effect]:
        member = self._member
        match command:
            case commands.Send(room, key, text, reply_to):
                return self._say(Publish(room, member, text, reply_to, key, re), now)
            case commands.Edit(room, mid, text):
                return self._in(room, re, self._edit(room, text) or Amend(room, member, mid, text=text, re=re))
            case commands.Delete(room, mid):
                return self._in(room, re, Amend(room, member, mid, re=re))
            case commands.React(room, mid, emoji, on):
                refusal = checked_emoji(emoji) or self._silenced(room)
                return self._in(room, re, refusal or Amend(room, member, mid, emoji=emoji, on=on, re=re))
            case commands.History(room, before, after, limit):
                return self._in(room, re, Fetch(room, before, after, limit, re))
            case commands.Presence(room):
                return self._in(room, re, Look(room, re))
            case commands.Rooms():
                return (Look(None, re),)
            case commands.Join(room):
                if re is not None:
                    self._joining[re] = room
                return (Enter(room, member, re=re),)
            case commands.Leave(room):
                return (*self._leave(room), Reply(Done(), re))
            case commands.Rename(name):
                return self._rename(name, re)
            case commands.Next() | commands.Find():
                return self._find(command, re, now)
            case commands.Cancel():
                return (Cancel(member, re),)
            case commands.Block(person, room):
                return self._avoid(person, room, True, re)
            case commands.Unblock(person, room):
                return self._avoid(person, room, False, re)
            case commands.Search(text, room, limit):
                return self._look_up(Search(text, room, limit, re), now)
            case commands.Terms(version, age):
                return self._accept_terms(Accepted(version, age), re)
            case commands.Report():
                return self._report(command, re, now)
            case _:
                return self._moderate(command, re)

    def _say(self, publish: Publish, now: float) -> Sequence[Effect]:
        if publish.room not in self._rooms:
            return (Refuse(_NOT_MEMBER, publish.re),)
        in_booth = publish.room == self._booth
        effect: Effect = publish
        if not self._policy.is_open:
            effect = self._judge(publish, now, in_booth=in_booth, opening=in_booth and self._is_opening)
        if in_booth and not isinstance(effect, Refuse):
            self._is_opening = False
        return (effect,)

    def _edit(self, room: str, text: str) -> Refusal | None:
        """Why a message of the room can't say that in place of what it says."""
        if self._policy.is_open:
            return None
        now_ms = self._house.utc_ms()
        verdict = self._policy.judge_edit(self._member, room, text, in_booth=room == self._booth, now_ms=now_ms)
        return verdict if isinstance(verdict, Refusal) else verdict.refusal

    def _silenced(self, room: str) -> Refusal | None:
        """Why one may not be heard or seen in the room, if so."""
        return None if self._policy.is_open else self._policy.may_speak(self._member, room, self._house.utc_ms())

    def _look_up(self, search: Search, now: float) -> Sequence[Effect]:
        """A search goes through all that was ever said: it costs more than anything else."""
        refusal = None
        if search.room is not None and search.room == self._booth:
            refusal = _NOT_KEPT
        elif not search.text.strip():
            refusal = _NO_TEXT
        elif self._budget is not None:
            if self._lookups is None:
                self._lookups = Budget(LOOKUP_RATE, LOOKUP_BURST)
            if not self._lookups.take(now):
                refusal = _too_fast(self._lookups, now)
        return (search,) if refusal is None else (Refuse(refusal, search.re),)

    def _accept_terms(self, accepted: Accepted, re: int | None) -> Sequence[Effect]:
        gate = self._policy.gate
        if gate is None:
            return (Refuse(_NO_TERMS, re),)
        consent = self._accept(gate, accepted)
        return (Refuse(consent, re),) if isinstance(consent, Refusal) else (*consent, Reply(Done(), re))

    def _report(self, report: commands.Report, re: int | None, now: float) -> Sequence[Effect]:
        if not report.reason.strip():
            return (Refuse(_NO_REASON, re),)
        if not report.messages:
            return (Refuse(_NO_MESSAGES, re),)
        if self._reports is None:
            self._reports = Budget(REPORT_RATE, REPORT_BURST)
        if not self._reports.take(now):
            return (Refuse(_too_fast(self._reports, now), re),)
        prev, note = report.prev, report.note
        return (Accuse(self._member, report.room, report.reason, report.messages, prev, note, report.block, re),)

    def _moderate(self, command: Command, re: int | None) -> Sequence[Effect]:
        member, role = self._member, self._member.sender.role
        action: Action
        effect: Effect
        match command:
            case commands.ModDelete(room, mid):
                action, effect = "mod.delete", Amend(room, member, mid, re=re)
            case commands.ModKick(person, reason):
                action, effect = "mod.kick", Act(member, "kick", person, reason=reason, re=re)
            case commands.ModMute(person, room, seconds, reason):
                action, effect = "mod.mute", Act(member, "mute", person, room, reason, seconds, re=re)
            case commands.ModUnmute(person, room):
                action, effect = "mod.mute", Act(member, "unmute", person, room, re=re)
            case commands.ModBan(person, seconds, reason):
                action, effect = "mod.ban", Act(member, "ban", person, None, reason, seconds, re=re)
            case commands.ModUnban(person):
                action, effect = "mod.unban", Act(member, "unban", person, re=re)
            case commands.ModLock(room, on):
                action, effect = "mod.lock", Act(member, "lock", room=room, on=on, re=re)
            case commands.ModSlow(room, seconds):
                action, effect = "mod.slow", Act(member, "slow", room=room, seconds=seconds, re=re)
            case _:
                raise TypeError(f"expected a command, got {type(command).__name__}")
        if not may(role, action):
            return (Refuse(_NOT_YOURS, re),)
        return self._in(effect.room, re, effect) if isinstance(effect, Amend) else (effect,)

    def _in(self, room: str, re: int | None, act: Effect | Refusal) -> Sequence[Effect]:
        """Do it, or refuse it, as far as one sits there."""
        due = act if room in self._rooms else _NOT_MEMBER
        return (Refuse(due, re),) if isinstance(due, Refusal) else (due,)

    def _sit(self, seat: Seat, re: int | None) -> Sequence[Effect]:
        """To join twice is to join once. Who left before the answer came has no use for the seat, unless they joined
        again."""
        has_left = re is not None and self._joining.pop(re, seat.room) is None
        if seat.room in self._rooms:
            return (Reply(seat, re),)
        if has_left and seat.room not in self._joining.values():
            return Leave(seat.room), Refuse(_LEFT, re)
        self._rooms = (*self._rooms, seat.room)
        return Reply(seat, re), Take(seat)

    def _leave(self, room: str) -> Sequence[Effect]:
        """To leave twice is to leave once."""
        for number, joined in self._joining.items():
            if joined == room:
                self._joining[number] = None
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
        # A name can say much, and all rooms hear of it.
        silenced = next((refusal for refusal in map(self._silenced, self._rooms) if refusal), None)
        if silenced is not None and silenced.code != "locked":
            return (Refuse(silenced, re),)
        renamed = Member(self.id, replace(self._member.sender, name=accepted))
        return (CallMe(renamed, self._rooms, re),)

    def _find(self, wish: commands.Find | commands.Next, re: int | None, now: float) -> Sequence[Effect]:
        booth = self._booth
        refusal = self._hindrance(now, is_sitting=booth is not None and isinstance(wish, commands.Find))
        if refusal is not None:
            return (Refuse(refusal, re),)
        if booth is None:
            return (Find(self._member, self._wanted(wish), re),)
        return Drop(self._forget_booth(booth)), Find(self._member, self._wanted(wish, booth), re)

    def _hindrance(self, now: float, *, is_sitting: bool) -> Refusal | None:
        """Why no search can begin, if so."""
        if not self._house.has_booths:
            return _NO_BOOTHS
        if isinstance(self._admitted, Refusal):
            return self._admitted
        if not self._may_meet():
            return _TOO_MANY
        if is_sitting:
            return _IN_BOOTH
        if self._budget is None:
            return None
        if self._searches is None:
            self._searches = Budget(SEARCH_RATE, SEARCH_BURST)
        return None if self._searches.take(now) else _too_fast(self._searches, now)

    def _wanted(self, wish: commands.Wish, leaving: str | None = None) -> Wanted:
        langs = _tags(wish.langs) or self._langs
        band = self._admitted.band if isinstance(self._admitted, Admitted) else None
        return Wanted(_tags(wish.interests), langs, wish.relax == "auto", wish.key, leaving, band)

    def _avoid(self, person: str, room: str | None, on: bool, re: int | None) -> Sequence[Effect]:
        if person == self._member.person:
            return (Refuse(_YOURSELF, re),)
        return (Avoid(self._member, person, room, on, re),)


def _tags(tags: Iterable[str]) -> frozenset[str]:
    """Interests and languages are compared without regard to case and blanks around them."""
    return frozenset(filter(None, (tag.strip().casefold() for tag in tags)))


def _too_fast(budget: Budget, now: float) -> Refusal:
    wait = ceil(1000 * (budget.ready_at() - now))
    return Refusal("rate_limited", "too fast; wait and say it again", retry=True, retry_after_ms=wait)


def _done(re: int | None) -> Sequence[Effect]:
    return () if re is None else (Reply(Done(), re),)
