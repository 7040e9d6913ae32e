"""A connection with a session under any order of commands, answers, letters and time: what holds whatever happens."""

from dataclasses import replace
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parlour.core import commands
from parlour.core.commands import Command
from parlour.core.connection import HOLD_LIMIT, STALL_LIMIT, Pace
from parlour.core.events import (
    Accuse,
    Act,
    Acted,
    Amend,
    Answer,
    Avoid,
    CallMe,
    Cancel,
    Changed,
    Claim,
    Claimed,
    Done,
    Enter,
    Fetch,
    Filed,
    Find,
    Here,
    Look,
    MatchAway,
    MatchEnded,
    Matches,
    MatchWaiting,
    Moderated,
    Named,
    Page,
    Person,
    Place,
    Position,
    Proved,
    Publish,
    Published,
    Reported,
    Search,
    Seat,
    Ticket,
    Verify,
    Weigh,
    Welcome,
)
from parlour.core.filter import FilterRules
from parlour.core.gate import Gate
from parlour.core.penalties import Mode, Penalties
from parlour.core.policy import Policy
from parlour.core.records import Ban, Mute
from parlour.core.session import HELLO_LIMIT
from parlour.errors import (
    BANNED,
    NO_HELLO,
    NO_PONG,
    RATE,
    REPLACED,
    RESTART,
    TOO_MANY_ERRORS,
    UNFINISHED,
    Close,
    Refusal,
)
from tests.core.peer import BOOTHS, NOWHERE, PUBLIC, WRONG, Asking, SessionPeer, World, number

PACES = st.builds(
    Pace,
    rate=st.sampled_from([None, None, 1.0, 10.0]),
    burst=st.sampled_from([2, 30]),
    ping=st.sampled_from([3.0, 20.0, 1e7]),
    ping_timeout=st.just(10.0),
)
CLOCKS = st.sampled_from([0.0, 1_000.1, 123_456_789.123])
SPANS = st.sampled_from([0.0, 0.1, 0.1, 0.9, 0.9, 3.0, HELLO_LIMIT, 70.0])
SIZES = st.sampled_from([0, 0, 100, HOLD_LIMIT // 2, HOLD_LIMIT])
PICKS = st.integers(min_value=0, max_value=1_000)

PLACES = st.sampled_from([PUBLIC, BOOTHS, NOWHERE])
WAYS = st.sampled_from(["in", "in", "in", "asking", "silent"])
ROOMS = st.sampled_from(["public", "tea", "booth"])  # `booth` stands for the one where it sits, or sat last
NAMES = st.sampled_from(["Ada", "Ada L.", "Ada Byron", "> "])
WISHES = st.sampled_from([(), ("tea",)])
RESUMES = st.lists(st.builds(Position, room=ROOMS, epoch=st.just("e1"), off=st.integers(0, 3)), max_size=3).map(tuple)
HELLOS = st.builds(
    commands.Hello,
    token=st.sampled_from([None] * 7 + ["abc"]),
    session=st.sampled_from([None] * 7 + ["forged"]),
    resume=RESUMES,
    name=st.one_of(st.none(), NAMES),
    terms=st.sampled_from([None, None, "1", "2"]),
    age=st.sampled_from([None, 12, 17, 30]),
)
TEXTS = st.sampled_from(["hi", "hi", "spam", "hm"])
GATES = st.sampled_from([None, None, Gate("2"), Gate("2", bands={"16-17": 16, "adult": 18})])
RULES = FilterRules(words={"spam": "refuse", "hm": "flag"})
BY = "operator:o1"
PENALTIES = st.sampled_from(
    [
        Penalties(),
        Penalties(modes={"public": Mode(locked=True), "tea": Mode(slow_ms=3000)}),
        Penalties(bans=[Ban("b1", "address", "h-1", "", 0, None, BY)]),
        Penalties(mutes=[Mute("m1", "p-bo", None, "", 0, None, BY)]),
    ]
)
SAID = Reported("m1", 1, 7, "p-bo", "hi", "")
COMMANDS = st.one_of(
    HELLOS,
    st.builds(commands.Join, room=st.sampled_from(["public", "tea"])),
    st.builds(commands.Leave, room=ROOMS),
    st.builds(commands.Send, room=ROOMS, key=st.sampled_from(["k1", "k2"]), text=TEXTS),
    st.builds(commands.Edit, room=ROOMS, mid=st.just("m"), text=TEXTS),
    st.builds(commands.Delete, room=ROOMS, mid=st.just("m")),
    st.builds(commands.React, room=ROOMS, mid=st.just("m"), emoji=st.sampled_from(["\U0001f44d", "ok"])),
    st.builds(commands.History, room=ROOMS),
    st.builds(commands.Presence, room=ROOMS),
    st.builds(commands.Rename, name=NAMES),
    st.just(commands.Rooms()),
    st.builds(commands.Find, interests=WISHES),
    st.builds(commands.Next, interests=WISHES),
    st.just(commands.Cancel()),
    st.builds(commands.Block, person=st.just("p-bo")),
    st.just(commands.Ping()),
    st.builds(commands.Search, text=st.sampled_from(["hi", " "]), room=st.sampled_from([None, "tea"])),
    st.builds(commands.Terms, version=st.sampled_from(["1", "2"]), age=st.sampled_from([None, 12, 30])),
    st.builds(commands.Report, room=ROOMS, reason=st.sampled_from(["rude", ""]), messages=st.just((SAID,))),
    st.sampled_from(
        [
            commands.ModDelete("public", "m"),
            commands.ModKick("p-bo"),
            commands.ModMute("p-bo"),
            commands.ModUnmute("p-bo"),
            commands.ModBan("p-bo"),
            commands.ModUnban("p-bo"),
            commands.ModLock("public"),
            commands.ModSlow("public", 3),
        ]
    ),
)
PASSING = st.one_of(
    st.builds(commands.Typing, room=ROOMS),
    st.builds(commands.Read, room=ROOMS, off=st.just(1)),
    st.just(commands.Pong()),
)
ABSENT = Refusal("not_found", "there is no such room")
REFUSALS = st.sampled_from(
    [
        ABSENT,
        Refusal("bad_name", "somebody here has this name"),
        Refusal("unavailable", "try again", retry=True),
    ]
)


class AnySession(RuleBasedStateMachine):
    """`SessionPeer` checks after each call that every command has one answer, that no effect concerns a room which is
    not heard, that what is heard is what the connection says, and that nothing comes after the end. Here is an engine
    that takes its time, and a desk."""

    @initialize(
        now=CLOCKS,
        pace=PACES,
        place=PLACES,
        proved=st.booleans(),
        hello=HELLOS,
        way=WAYS,
        gate=GATES,
        tokens=st.booleans(),
    )
    def open(
        self,
        now: float,
        pace: Pace,
        place: Place,
        proved: bool,
        hello: commands.Hello,
        way: str,
        gate: Gate | None,
        tokens: bool,
    ) -> None:
        self.world = World(policy=Policy(gate=gate), has_tokens=tokens)
        self.numbers = count(1)
        self.booths = count(1)
        self.last_booth = "booth-0"
        self.connect(now, pace, place, proved, hello, way)

    @precondition(lambda self: self.over)
    @rule(pace=PACES, place=PLACES, proved=st.booleans(), hello=HELLOS, way=WAYS)
    def come_again(self, pace: Pace, place: Place, proved: bool, hello: commands.Hello, way: str) -> None:
        """On another connection."""
        self.teardown()
        self.connect(self.peer.now, pace, place, proved, hello, way)

    def connect(self, now: float, pace: Pace, place: Place, proved: bool, hello: commands.Hello, way: str) -> None:
        self.is_searching = False
        self.kept: str | None = None  # a booth where the session has a seat without a connection
        self.said_before_mute: int | None = None  # how many messages; while it is muted
        self.peer = SessionPeer(
            pace,
            place=place,
            world=self.world,
            person="u-ada" if proved else None,
            name="Ada" if proved else None,
            role="moderator",
            address="h-1",
            now=now,
        )
        if way != "silent":
            self.say(hello, 0)
        if way == "in" and self.peer.asked:
            self.answer_all(True)

    @property
    def over(self) -> bool:
        return self.peer.connection.ended

    @property
    def has_come_in(self) -> bool:
        return not self.over and any(isinstance(answer, Welcome) for answer in self.peer.answers.values())

    @property
    def booth(self) -> str | None:
        """Where the engine has it seated with somebody."""
        booths = [room for room in self.peer.seats if room.startswith("booth")]
        assert len(booths) <= 1
        return booths[0] if booths else None

    # The client

    @rule(command=COMMANDS, size=SIZES)
    def say(self, command: Command, size: int) -> None:
        self.peer.hand(self.meant(command), next(self.numbers), size=size)

    @rule(hello=HELLOS)
    def hello(self, hello: commands.Hello) -> None:
        self.say(hello, 0)

    @rule(command=PASSING, numbered=st.booleans())
    def say_in_passing(self, command: Command, numbered: bool) -> None:
        self.peer.hand(self.meant(command), next(self.numbers) if numbered else None)

    @rule(numbered=st.booleans())
    def say_nonsense(self, numbered: bool) -> None:
        self.peer.hand(WRONG, next(self.numbers) if numbered else None)

    @rule(times=st.integers(min_value=2, max_value=40))
    def say_much(self, times: int) -> None:
        for _ in range(times):
            self.say(commands.Rooms(), 100)

    @rule(frames=st.sampled_from([1, 1, 31]))
    def control(self, frames: int) -> None:
        for _ in range(frames):
            self.peer.control()

    @rule()
    def begin(self) -> None:
        self.peer.begin()

    @rule()
    def finish(self) -> None:
        self.peer.connection.finished()

    # The engine

    @precondition(lambda self: self.peer.asked)
    @rule(kept=st.booleans())
    def answer_all(self, kept: bool) -> None:
        while self.peer.asked:
            self.answer(0, None, kept)

    @precondition(lambda self: self.peer.asked)
    @rule(pick=PICKS, refusal=st.one_of(st.none(), st.none(), REFUSALS), kept=st.booleans())
    def answer(self, pick: int, refusal: Refusal | None, kept: bool) -> None:
        """One of what it was asked, in any order."""
        asked = self.peer.asked.pop(pick % len(self.peer.asked))
        if isinstance(asked, Claim | Verify) and refusal is not None and refusal.code != "unavailable":
            refusal = None  # no engine refuses a session for its name, or a room
        if isinstance(asked, Find) and refusal is None:
            self.begin_search(asked)
        self.peer.answer(refusal or self.answer_to(asked, kept), number(asked))

    def answer_to(self, asked: Asking, kept: bool) -> Answer | Refusal:
        match asked:
            case Claim():
                self.kept = self.last_booth if kept else None
                return Claimed(self.kept)
            case Enter(room) if room.startswith("booth") and room != self.kept:
                return ABSENT
            case Enter(room, _, since):
                off = 5 if since is None else since.off
                return Seat(room, "e1", off, 2, recovered=since is not None)
            case Find():
                return Ticket("t")
            case Cancel():
                self.is_searching = False
                return Done()
            case Publish(room) | Weigh(Publish(room)):
                return Published(room, "e1", 1, "m", 7)
            case Verify():
                return Proved(Person("ada", "Ada", "moderator"))
            case Search():
                return Matches([], more=False)
            case Accuse():
                return Filed("r1")
            case Act():
                return Acted()
            case Amend():
                return Changed("e1", 2)
            case Fetch(room):
                return Page(room, "e1", [], more=False)
            case Look(room):
                return Here(room or "public", 1, [])
            case CallMe(member):
                return Named(member.sender.name or "")
            case Avoid():
                return Done()

    def begin_search(self, find: Find) -> None:
        """A seat that the client did not know of when it asked is over."""
        if not self.over:
            if self.booth is not None:
                self.peer.tell(MatchEnded(self.booth, "you"))
            self.is_searching = True

    @precondition(lambda self: self.is_searching and self.booth is None)
    @rule()
    def meet(self) -> None:
        self.is_searching = False
        self.last_booth = f"booth-{next(self.booths)}"
        self.peer.meet(self.last_booth)

    @precondition(lambda self: self.booth is not None)
    @rule(by=st.sampled_from(["peer", "lost", "you"]), late=st.booleans())
    def end_booth(self, by: str, late: bool) -> None:
        booth = self.booth
        assert booth is not None
        if late:
            self.peer.hand(commands.Leave(booth), next(self.numbers))
        self.peer.tell(MatchEnded(booth, by))  # type: ignore[arg-type]

    @precondition(lambda self: self.kept is not None and self.kept not in self.peer.seats)
    @rule()
    def end_kept_seat(self) -> None:
        """Also while it comes back for that."""
        assert self.kept is not None
        booth, self.kept = self.kept, None
        self.peer.tell(MatchEnded(booth, "peer"))

    @rule(letter=st.sampled_from([MatchWaiting("t", 7), MatchAway("booth-1", 60_000), MatchEnded(None, "you")]))
    def tell(self, letter: MatchWaiting | MatchAway | MatchEnded) -> None:
        self.peer.tell(letter)

    # The desk

    @rule(penalties=PENALTIES)
    def change(self, penalties: Penalties) -> None:
        self.said_before_mute = None
        self.world.policy.change(penalties=penalties)

    @precondition(lambda self: self.has_come_in)
    @rule()
    def mute(self) -> None:
        mutes = [Mute("m1", self.peer.connection.person, None, "", 0, None, BY)]
        self.world.policy.change(penalties=Penalties(mutes=mutes))
        self.said_before_mute = len(self.peer.said)
        self.peer.tell(Moderated("muted", ""))

    @rule(filters=st.booleans(), classifies=st.booleans())
    def filter(self, filters: bool, classifies: bool) -> None:
        self.world.policy.classifies = classifies
        self.world.policy.change(rules=RULES if filters else FilterRules())

    @precondition(lambda self: "tea" in self.peer.hears)
    @rule()
    def close_room(self) -> None:
        self.peer.seats.discard("tea")
        self.peer.carry_out(self.peer.connection.closed("tea"))

    # Time

    @rule(seconds=SPANS)
    def wait(self, seconds: float) -> None:
        self.peer.wait(seconds)

    @rule(seconds=SPANS)
    def oversleep(self, seconds: float) -> None:
        """A busy loop calls `tick` late."""
        self.peer.now += seconds
        self.peer.tick()

    @rule(seconds=SPANS)
    def freeze(self, seconds: float) -> None:
        """A busy loop reads first, and calls `tick` later still."""
        self.peer.now += seconds

    @precondition(lambda self: len(self.peer.answers) > 15)
    @rule(close=st.sampled_from([None, REPLACED, RESTART]))
    def end(self, close: Close | None) -> None:
        seats = dict.fromkeys(self.peer.seats, True)
        self.peer.lost.clear()
        if self.over:
            return
        if close is None:
            self.peer.lose()
        else:
            self.peer.end(close)
        assert self.peer.lost == seats

    # What always holds

    @invariant()
    def whatever_the_engine_does_not_owe_is_answered(self) -> None:
        owed = {number(asked) for asked in self.peer.asked}
        is_entering = any(isinstance(asked, Claim | Enter | Verify) for asked in self.peer.asked)
        if not (self.over or is_entering):
            assert self.peer.waiting <= owed

    @invariant()
    def it_hears_the_seats_it_has(self) -> None:
        is_entering = any(isinstance(asked, Enter) for asked in self.peer.asked)
        assert is_entering or self.peer.hears == self.peer.seats

    @invariant()
    def it_comes_in_once(self) -> None:
        assert sum(isinstance(answer, Welcome) for answer in self.peer.answers.values()) <= 1

    @invariant()
    def who_is_muted_says_nothing(self) -> None:
        assert self.said_before_mute in (None, len(self.peer.said))

    @invariant()
    def nobody_looks_for_strangers_before_the_terms(self) -> None:
        searches = any(isinstance(asked, Find) for asked in self.peer.asked)
        assert not searches or self.world.policy.gate is None or self.peer.accepted

    @invariant()
    def an_end_has_its_reason(self) -> None:
        ends = (BANNED, NO_HELLO, NO_PONG, RATE, REPLACED, RESTART, TOO_MANY_ERRORS, UNFINISHED)
        assert self.peer.close in (None, *ends)

    @invariant()
    def one_who_is_not_read_has_a_deadline(self) -> None:
        """Else it could stay so for ever."""
        assert self.over or self.peer.is_read() or self.peer.connection.deadline <= self.peer.now + STALL_LIMIT + 1e-6

    def teardown(self) -> None:
        """Once the engine has answered all, so is every command."""
        if not hasattr(self, "peer"):
            return
        while self.peer.asked:
            self.answer(0, None, False)
        assert self.over or not self.peer.waiting

    def meant(self, command: Command) -> Command:
        """The command, about the booth if it is about one."""
        if isinstance(command, commands.Hello):
            resume = tuple(Position(self.room(seen.room), seen.epoch, seen.off) for seen in command.resume)
            return replace(command, resume=resume)
        if isinstance(command, commands.History):
            return commands.History(self.room(command.room))
        if isinstance(command, commands.Send):
            return replace(command, room=self.room(command.room))
        if isinstance(command, commands.Leave | commands.Typing):
            return type(command)(self.room(command.room))
        if isinstance(command, commands.Read):
            return commands.Read(self.room(command.room), command.off)
        return command

    def room(self, name: str) -> str:
        return self.last_booth if name == "booth" else name


TestAnySession = AnySession.TestCase
TestAnySession.settings = settings(max_examples=150, stateful_step_count=40)
