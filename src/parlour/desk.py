"""The moderators' desk: reports come in, acts go out, whoever brings them: a connection, the HTTP API, the host app.

Every act takes the same way: first the store, with its entry in the audit log, so that it survives; then the policy,
which all connections ask; then the live connections that it concerns. The entry comes before the act: what is not in
the log was not done. Without a store (no data folder) acts hold until the process ends, and reports are refused.
"""

import asyncio
import inspect
import json
import logging
import re
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial, wraps
from typing import Any, Concatenate, Final, Literal, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from parlour.core.commands import ID_LIMIT, REASON_LIMIT, SECONDS_LIMIT
from parlour.core.events import (
    Accept,
    Accuse,
    Act,
    Acted,
    Amend,
    Answer,
    Avoid,
    Done,
    Filed,
    Letter,
    Look,
    Matches,
    Member,
    Message,
    Moderated,
    Notice,
    Person,
    Proved,
    Publish,
    Published,
    Reported,
    Role,
    RoomList,
    RoomShown,
    Sender,
    Verify,
    Weigh,
    Whom,
)
from parlour.core.evidence import REPORTED, Evidence, Finding, Proof, open_sealed, sealed, verify
from parlour.core.filter import FilterRules, Limit, Opinion, Question, combined
from parlour.core.keys import Keyring
from parlour.core.moderation import KINDS, TEXT_LIMIT, Verdict
from parlour.core.names import checked_name
from parlour.core.penalties import ROLES, Action, Mode, Penalties, address_prefix, may
from parlour.core.policy import Policy
from parlour.core.records import (
    AuditEntry,
    Ban,
    Block,
    Consent,
    Mute,
    Report,
    Retention,
    Setting,
    StoredRoom,
    chained,
    first_broken,
)
from parlour.engine import Answered, Engine, Scheduler, Timer
from parlour.errors import BANNED, KICKED, Close, ParlourError, Refusal
from parlour.logs import log_failure
from parlour.store import Store, StoreError, Unavailable

logger = logging.getLogger("parlour")

OPEN_OF_ONE: Final = 20
"""Reports of one person that wait; and of what rules found about one person."""

OPEN: Final = 1000
"""Reports of people that wait, and as many of what rules found: neither may crowd the other out."""

EVIDENCE_CHARACTERS: Final = 100_000
"""Characters of text in the evidence of one report."""

VERIFY_SECONDS: Final = 5.0
ROOMS_LIMIT: Final = 200
TITLE_LIMIT: Final = 100
SLOW_LIMIT_MS: Final = 86_400_000

_BOOTH: Final = "booth-"
_DAY_SECONDS: Final = 86_400.0
_DAY_MS: Final = 86_400_000
_LETTERS: Final = (10_000, 5)  # people who come back to something, and how much waits for each
_AUDIT_IN_MEMORY: Final = 1000
_HOOKED: Final = 1000  # events that wait for the host app
_CLASSIFIED: Final = 1000  # texts that wait for a classifier
_QUIET_SECONDS: Final = 60.0  # between two notifications, and between two log lines about the same trouble
_CLOSE_SECONDS: Final = 2.0
_SENDERS_TRIED: Final = 8
_FILTER: Final = "filter"  # the key of its `Setting`

_ROOM_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ID = re.compile(f"[!-~]{{1,{ID_LIMIT}}}")

_STOPPING: Final = Refusal("unavailable", "the server stops; try again", retry=True)
_UNAVAILABLE: Final = Refusal("unavailable", "the database can't be used now; try again", retry=True)
_BUSY: Final = Refusal("unavailable", "too many messages wait to be looked at; say it again", retry=True)
_NO_REPORTS: Final = Refusal("unavailable", "this server keeps no reports")
_NOT_HELD: Final = Refusal("unavailable", "the message needs a moderator, and this server keeps none for them")
_TOO_MANY_HELD: Final = Refusal("rate_limited", "other messages of yours wait for a moderator; wait, too", retry=True)
_DECIDED: Final = Refusal("forbidden", "a moderator looked at this message already; say something else")
_TOO_MANY_MINE: Final = Refusal(
    "too_large", f"{OPEN_OF_ONE} reports of yours wait already; wait until moderators read them", retry=True
)
_TOO_MANY: Final = Refusal("unavailable", "too many reports wait; try again later", retry=True)
_FILING: Final = Refusal("unavailable", "this is being stored already; try again", retry=True)
_NO_TOKENS: Final = Refusal("unauthorized", "tokens of other issuers are not accepted here", field="token")
_NOT_VERIFIED: Final = Refusal("unavailable", "the token could not be checked now; try again", "token", retry=True)
_ABOUT_NOBODY: Final = Refusal("bad_field", '"messages" must hold something that another one said', field="messages")
_NOT_PROVED: Final = Refusal(
    "bad_field", '"messages" are not what was said here; send them as they came, with their stamps', field="messages"
)
_SEVERAL: Final = Refusal("bad_field", '"messages" are of several people; report each by itself', field="messages")
_TOO_LONG: Final = Refusal("too_large", '"messages" are too long together; report fewer', field="messages")
_NOT_MET: Final = Refusal(
    "not_found", "you met none of these people in this booth, or it is too long ago", field="room"
)
_NOT_SAID: Final = Refusal("not_found", "there is no such message in this room, or it was deleted", field="messages")


# Who acts, and what can go wrong


class Actor(NamedTuple):
    """Who acts, as the audit log names them: `operator:ID`, `token:ID`, `person:ID` for a moderator in the chat, `host`
    for the host app, `cli` for who can read the data folder."""

    id: str
    role: Role


class NotAllowed(ParlourError):  # noqa: N818 - named for the state, as Disconnected
    """The actor may not do that, or not to this person."""


class NotFound(ParlourError):  # noqa: N818
    """There is no such thing."""


class Wrong(ParlourError, ValueError):  # noqa: N818
    """What was asked for can't be done as it is; the words name the field, and what to change. `field` is the field."""

    def __init__(self, words: str, field: str | None = None) -> None:
        self.field = field
        super().__init__(words)


class Conflict(Wrong):
    """It was done already, by this one or another, or was changed since."""


class Floor(Protocol):
    """What the desk needs of the live connections: `hub.Hub`. `person` is a lasting id, `address` a keyed hash
    (`Keyring.address_hash`)."""

    def end_person(self, person: str, close: Close, letter: Moderated | None = None) -> int:
        """End all connections of the person, after the letter, and say how many there were."""
        ...

    def end_address(self, address: str, close: Close, letter: Moderated | None = None) -> int:
        """The same for an address."""
        ...

    def tell_person(self, person: str, letter: Letter) -> bool:
        """Tell all connections of the person; False if there is none."""
        ...

    def role_of(self, person: str) -> Role | None:
        """The role of a person who is connected."""
        ...

    def addresses_of(self, person: str) -> Sequence[str]:
        """The addresses that the person uses, or used within the last hour; none that can't be banned."""
        ...


class Hooks(NamedTuple):
    """What the host app wants to hear of. Each may be async; a plain function runs in a thread, so that it may wait.
    They are called one after the other, in the order of what happened; an error is logged, and felt by nobody."""

    on_message: Callable[[Message], object] | None = None
    """Something was said in a public room."""
    on_join: Callable[[Sender, str], object] | None = None
    """Somebody took a seat in a public room."""
    on_report: Callable[[Report], object] | None = None
    """A report waits. Its evidence is sealed."""


Verifier: TypeAlias = Callable[[str], Awaitable[Person | Refusal]]
"""Says who the bearer of a token is."""

Classifier: TypeAlias = Callable[[Question], Awaitable[Opinion]]
"""Says what it thinks of a text before it is said. May also be a plain function, which runs in a thread."""

Decision: TypeAlias = Literal["dismiss", "warn", "mute", "ban", "pass"]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_Penalty = TypeVar("_Penalty", Ban, Mute)


def _whole(
    method: Callable[Concatenate["Desk", _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate["Desk", _P], Coroutine[Any, Any, _T]]:
    """Done to its end also if who asked goes away meanwhile: what was stored must hold at once, not after a restart."""

    @wraps(method)
    async def shielded(self: "Desk", /, *args: _P.args, **named: _P.kwargs) -> _T:
        return await asyncio.shield(self._start(method(self, *args, **named)))

    return shielded


class Desk:
    """See above. All methods run in the hub's loop.

    Methods raise `NotAllowed`, `NotFound`, `Wrong` and its child `Conflict` (`ValueError`s with words for who asked),
    and `store.Unavailable`. Those that take a `done` call it exactly once, at once or later.
    """

    def __init__(
        self,
        *,
        store: Store | None,
        engine: Engine,
        policy: Policy,
        floor: Floor,
        keyring: Keyring,
        scheduler: Scheduler,
        utc_ms: Callable[[], int],
        new_id: Callable[[], str],
        rules: FilterRules | None = None,
        verifier: Verifier | None = None,
        classify: Classifier | None = None,
        classify_seconds: float = 2.0,
        fail_mode: Literal["pass", "hold"] = "pass",
        hooks: Hooks | None = None,
        notify: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        """`rules` are those that `policy` was made with. `fail_mode` is what becomes of a text where `classify` fails
        or takes longer than `classify_seconds`. `notify` is called with the ref of a report, at most once a minute."""
        self._store = store
        self._engine = engine
        self._policy = policy
        self._floor = floor
        self._keyring = keyring
        self._scheduler = scheduler
        self._utc_ms = utc_ms
        self._new_id = new_id
        self._rules = rules or FilterRules()
        self._verifier = verifier
        self._classify = classify
        self._classify_seconds = classify_seconds
        self._fail_mode: Literal["pass", "hold"] = fail_mode
        self._hooks = hooks or Hooks()
        self._notify = notify
        self._bans: dict[str, Ban] = {}  # by id: those that hold
        self._mutes: dict[str, Mute] = {}
        self._modes: dict[str, Mode] = {}  # by room
        self._rooms_here: dict[str, StoredRoom] = {}  # without a store: what is known of them
        self._log: deque[AuditEntry] = deque(maxlen=_AUDIT_IN_MEMORY)  # without a store
        self._open: dict[str, tuple[str, str | None]] = {}  # reports that wait: by whom, about whom
        self._filing: set[str] = set()  # those that are not stored yet
        # What people are told when they come back: until when, and what.
        self._letters: OrderedDict[str, tuple[float, tuple[Letter, ...]]] = OrderedDict()
        self._turns: dict[str, asyncio.Event] = {}  # by connection: set once its last text had its turn
        self._asked = 0  # texts that the classifier looks at
        self._changing = asyncio.Lock()  # of rooms: what is read must still be so when it is written
        self._tasks: set[asyncio.Task[Any]] = set()
        self._heard: deque[tuple[str, Callable[..., object], tuple[object, ...]]] = deque()  # for the host app
        self._telling: asyncio.Task[None] | None = None  # the host app
        self._expiry: Timer | None = None
        self._reminder: Timer | None = None
        self._quiet_until = float("-inf")
        self._complained: dict[str, float] = {}  # when it was logged last what is wrong
        self._is_closed = False

    async def open(self) -> None:
        """Take up what holds from the store, which is open; tell the policy and the engine. Raises `Unavailable`."""
        if self._store is None:
            return
        stored = await self._store.rules()
        rooms = await self._store.rooms()
        waiting = await self._store.select(Report, state="open", limit=2 * OPEN)
        setting = await self._store.get(Setting, _FILTER)
        self._bans = {ban.id: ban for ban in stored.bans}
        self._mutes = {mute.id: mute for mute in stored.mutes}
        self._modes = {room.name: Mode(room.locked, room.slow_ms) for room in rooms if not room.archived}
        self._open = {report.ref: (report.reporter, report.accused) for report in waiting}
        for block in stored.blocks:
            blocker = Member("", Sender(block.person, None))
            self._engine.avoid(Avoid(blocker, block.other, None, on=True), _ignored)
        if setting is not None:
            try:
                self._rules = _rules_of(setting.json)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                log_failure("reading the stored filter rules", self._new_id(), error)
            else:
                self._policy.change(rules=self._rules)
        self._apply()

    def go_without_store(self) -> None:
        """The store can't be opened: acts hold in memory, and nothing is kept."""
        self._store = None

    async def close(self) -> None:
        """End what is under way; who waits for an answer is told that the server stops."""
        self._is_closed = True
        for timer in (self._expiry, self._reminder):
            if timer is not None:
                timer.cancel()
        self._expiry = self._reminder = None
        self._heard.clear()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)  # a hook of the host app may not wish to end

    # What connections bring; see the effects of the same names

    def weigh(self, weigh: Weigh, done: Answered) -> None:
        """Answers as `Engine.publish`; refused with `held`, `forbidden`, or what the policy says by then.

        Without a classifier a text that is said is said before this returns, so that it keeps its place among those
        that come after it. With one all texts of a connection come here, and are said in their order.
        """
        publish = weigh.publish
        verdict = _unseen(weigh.verdict) if _is_booth(publish.room) else weigh.verdict
        if self._classify is None:
            if verdict.kind == "hold":
                self._answer("holding a message", self._hold(publish, verdict), done, publish.re)
            elif verdict.refusal is not None:
                done(verdict.refusal, publish.re)
            elif verdict.kind == "flag":
                self._engine.publish(publish, partial(self._flagged, publish, verdict, done))
            else:
                self._engine.publish(publish, done)
            return
        if self._asked >= _CLASSIFIED:  # a flood must not open the way past it
            done(_BUSY, publish.re)
            return
        connection = publish.member.connection
        before, mine = self._turns.get(connection), asyncio.Event()
        self._turns[connection] = mine
        self._answer("weighing a message", self._classified(weigh, before, mine), done, publish.re)

    def verify(self, verify: Verify, done: Answered) -> None:
        """Answers `Proved`; refused with `unauthorized` or `unavailable`."""
        if self._verifier is None:
            done(_NO_TOKENS, verify.re)
        else:
            self._answer("checking a token", self._verified(self._verifier, verify.token), done, verify.re)

    def accuse(self, accuse: Accuse, done: Answered) -> None:
        """Answers `Filed`; refused with `bad_field`, `not_found`, `too_large`, `unavailable`."""
        self._answer("a report", self._accused(accuse), done, accuse.re)

    def act(self, act: Act, done: Answered) -> None:
        """Answers `Acted`; refused with `forbidden`, `not_found`, `bad_field`, `unavailable`."""
        self._answer("a moderator's act", self._acted(act), done, act.re)

    def accept(self, accept: Accept) -> None:
        """Keep it, if anything is kept here. Nobody waits for that: the person's token tells it as well."""
        if self._store is not None:
            consent = Consent(accept.person, accept.version, self._utc_ms(), accept.band)
            self._start(self._kept("storing a consent", self._store.put(consent)))

    def avoid(self, avoid: Avoid, done: Answered) -> None:
        """As `Engine.avoid`, and it survives a restart; `unavailable` means that it holds until then."""
        if self._store is None:
            self._engine.avoid(avoid, done)
        else:
            self._engine.avoid(avoid, partial(self._avoided, self._store, avoid, done))

    def amend(self, amend: Amend, done: Answered) -> None:
        """As `Engine.amend`; a message of somebody else that a moderator deletes is audited first."""
        sender = amend.member.sender
        is_deletion = amend.text is None and amend.emoji is None
        if not is_deletion or _is_booth(amend.room) or not may(sender.role, "mod.delete"):
            self._engine.amend(amend, done)
        else:
            self._answer("a deletion", self._amended(amend), done, amend.re)

    # What the hub tells

    @property
    def listens(self) -> bool:
        """Whether `said` and `came` are to be called."""
        return self._hooks.on_message is not None or self._hooks.on_join is not None or bool(self._letters)

    def said(self, message: Message) -> None:
        """Something was said. The host app hears of public rooms only."""
        if self._hooks.on_message is not None and not _is_booth(message.room):
            self._hear("on_message", self._hooks.on_message, message)

    def came(self, who: Sender, room: str) -> None:
        """Somebody took a seat in a room, or in a booth: tell what waits for them. The host app hears of rooms only."""
        self.greet(who.id)
        if self._hooks.on_join is not None and not _is_booth(room):
            self._hear("on_join", self._hooks.on_join, who, room)

    def greet(self, person: str) -> None:
        """The person is there: tell what waits for them."""
        until, letters = self._letters.pop(person, (0.0, ()))
        if self._scheduler.time() < until:
            for letter in letters:
                self._floor.tell_person(person, letter)

    # Acts

    @_whole
    async def ban(
        self, by: Actor, *, person: str, reason: str, seconds: float | None, address: bool = True
    ) -> Sequence[Ban]:
        """Close the person's connections (4507) and let them not come back; with `address`, nor anyone from an address
        that they use or used within the last hour, but for private ones and the actor's own. One ban for each: the
        person's first. `seconds` None is for good."""
        self._check_person(by, "mod.ban", person)
        reason, until_ms = _reason(reason), self._until(seconds)
        mine = self._floor.addresses_of(by.id.removeprefix("person:"))
        addresses = [found for found in self._floor.addresses_of(person) if found not in mine] if address else []
        id, now = self._new_id(), self._utc_ms()
        bans = [Ban(id, "person", person, reason, now, until_ms, by.id)]
        for number, found in enumerate(addresses, 1):  # known by their ids as belonging to the first
            bans.append(Ban(f"{id}.{number}", "address", found, reason, now, until_ms, by.id))
        await self._put_bans(by, bans, person)
        return bans

    @_whole
    async def ban_address(self, by: Actor, *, address: str, reason: str, seconds: float | None) -> Ban:
        """Ban an address, as text: an IPv6 one with its /64. Raises `Wrong` for one that can't be banned."""
        self._check(by, "mod.ban")
        prefix = address_prefix(address)
        if prefix is None:
            raise Wrong(
                '"address" must be one of the public internet: behind a private one there may be anybody', "address"
            )
        hashed = self._keyring.address_hash(prefix)
        ban = Ban(self._new_id(), "address", hashed, _reason(reason), self._utc_ms(), self._until(seconds), by.id)
        await self._put_bans(by, [ban], ban.id)
        return ban

    @_whole
    async def unban(self, by: Actor, *, id: str | None = None, person: str | None = None) -> Sequence[Ban]:
        """Lift one ban by its id, or all of a person; with those of the addresses that were banned with it."""
        self._check(by, "mod.unban")
        if (id is None) is (person is None):
            raise Wrong('give either "id" or "person"')
        meant = {
            ban.id
            for ban in self._holding(self._bans)
            if ban.id == id or (ban.kind == "person" and ban.subject == person)
        }
        bans = [ban for ban in self._holding(self._bans) if not meant.isdisjoint((ban.id, ban.id.partition(".")[0]))]
        if not bans:
            raise NotFound("there is no such ban")
        self._check_persons(by, "mod.unban", [ban.subject for ban in bans if ban.kind == "person"])
        subject = next((ban.subject for ban in bans if ban.kind == "person"), bans[0].id)
        await self._audit(by, "unban", subject, ids=[ban.id for ban in bans])
        await self._lift(Ban, self._bans, bans)
        return bans

    @_whole
    async def mute(self, by: Actor, *, person: str, room: str | None, reason: str, seconds: float | None) -> Mute:
        """Let the person read but not speak: in one public room, or, without one, anywhere, booths too."""
        self._check_person(by, "mod.mute", person)
        reason, until_ms = _reason(reason), self._until(seconds)
        if room is not None:
            await self._room(room)
        mute = Mute(self._new_id(), person, room, reason, self._utc_ms(), until_ms, by.id)
        await self._audit(
            by, "mute", person, ids=[mute.id], seconds=seconds, **({} if room is None else {"room": room})
        )
        if self._store is not None:
            await self._store.put(mute)
        self._mutes[mute.id] = mute
        self._apply()
        self._floor.tell_person(person, Moderated("muted", reason, until_ms, room))
        return mute

    @_whole
    async def unmute(
        self, by: Actor, *, id: str | None = None, person: str | None = None, room: str | None = None
    ) -> Sequence[Mute]:
        """Lift one mute by its id, or all of a person, or those of a person in one room."""
        self._check(by, "mod.mute")
        if (id is None) is (person is None):
            raise Wrong('give either "id" or "person"')
        mutes = [
            mute
            for mute in self._holding(self._mutes)
            if mute.id == id or (mute.person == person and room in (None, mute.room))
        ]
        if not mutes:
            raise NotFound("there is no such mute")
        self._check_persons(by, "mod.mute", [mute.person for mute in mutes])
        await self._audit(by, "unmute", mutes[0].person, ids=[mute.id for mute in mutes])
        await self._lift(Mute, self._mutes, mutes)
        return mutes

    @_whole
    async def kick(self, by: Actor, *, person: str, reason: str) -> int:
        """End the person's connections (4506), and say how many there were."""
        self._check_person(by, "mod.kick", person)
        reason = _reason(reason)
        if self._floor.role_of(person) is None:
            return 0
        await self._audit(by, "kick", person)
        return self._floor.end_person(person, KICKED, Moderated("kicked", reason))

    @_whole
    async def remove(self, by: Actor, *, room: str, mid: str) -> None:
        """Delete a message."""
        self._check(by, "mod.delete")
        await self._check_deletion(by, room, mid)
        answer = await self._answer_of(partial(self._engine.remove, room, mid, self._shown(by, None)))
        if isinstance(answer, Refusal):
            raise _raised(answer)

    @_whole
    async def send(self, by: Actor, *, room: str, text: str, name: str) -> str:
        """Say something in a public room under a name, and give the message's mid. Raises `Unavailable` also where it
        was said, and the store did not confirm it in time."""
        self._check(by, "speak")
        accepted = checked_name(name, "name")
        if isinstance(accepted, Refusal):
            raise Wrong(accepted.message, "name")
        if not text.strip() or len(text) > TEXT_LIMIT or re.search("[\x00\ud800-\udfff]", text):
            raise Wrong(f'"text" must say something, in at most {TEXT_LIMIT} characters', "text")
        await self._room(room)
        if by.id != "host":  # the host app says what it likes in its own chat, and how often it likes
            await self._audit(by, "send", room)
        answer = await self._answer_of(partial(self._engine.say, room, self._shown(by, accepted), text))
        if isinstance(answer, Published):
            return answer.mid
        raise _raised(answer)

    # Rooms

    async def rooms(self) -> Sequence[StoredRoom]:
        """All public rooms, archived ones too."""
        if self._store is not None:
            return await self._store.rooms()
        answer = await self._answer_of(partial(self._engine.look, Look(None)))
        for shown in answer.rooms if isinstance(answer, RoomList) else ():
            if shown.room not in self._rooms_here:
                self._rooms_here[shown.room] = StoredRoom(shown.room, shown.title, shown.locked, shown.slow_ms)
        return list(self._rooms_here.values())

    @_whole
    async def make_room(self, by: Actor, *, name: str, title: str) -> StoredRoom:
        """Open a public room: `name` is of small letters, digits and hyphens. Raises `Conflict` if there is one."""
        self._check(by, "mod.lock")
        if not _ROOM_NAME.fullmatch(name) or _is_booth(name):
            raise Wrong(
                f'"name" must be 1 to 32 small letters, digits and hyphens, and not begin with "{_BOOTH}"', "name"
            )
        title = _title(title)
        async with self._changing:
            rooms = await self.rooms()
            if any(room.name == name for room in rooms):
                raise Conflict("there is a room of this name; it may be archived", "name")
            if len(rooms) >= ROOMS_LIMIT:
                raise Wrong(f"there are {ROOMS_LIMIT} rooms already")
            await self._audit(by, "room.make", name)
            made = StoredRoom(name, title)
            if self._store is None:
                self._rooms_here[name] = made
            else:
                made = await self._store.make_room(name, title)
            self._engine.open_room(RoomShown(name, 0, made.title, made.locked, made.slow_ms))
            return made

    @_whole
    async def change_room(
        self,
        by: Actor,
        name: str,
        *,
        title: str | None = None,
        locked: bool | None = None,
        slow_ms: int | None = None,
        archived: bool | None = None,
    ) -> StoredRoom:
        """Change what is given, and tell the members. `public` can't be archived: addresses lead there."""
        self._check(by, "mod.slow" if slow_ms is not None and locked is None else "mod.lock")
        if title is not None:
            title = _title(title)
        if slow_ms is not None and not 0 <= slow_ms <= SLOW_LIMIT_MS:
            raise Wrong(f'"slow_ms" must be from 0 to {SLOW_LIMIT_MS}', "slow_ms")
        if archived and name == "public":
            raise Wrong('the room "public" can\'t be archived: the address /chat/public leads there', "archived")
        async with self._changing:
            return await self._change_room(by, name, title, locked, slow_ms, archived)

    # Reports

    async def reports(self, state: Literal["open", "decided"] | None = None, limit: int = 100) -> Sequence[Report]:
        """The newest first. Where `reporter` is empty, a rule flagged or held what was said; `reason` says which."""
        if self._store is None:
            return ()
        return await self._store.select(Report, limit=limit, **({} if state is None else {"state": state}))

    async def report(self, ref: str) -> tuple[Report, Evidence | None]:
        """A report and its evidence, opened; None where a byte of it is not as it was written."""
        report = None if self._store is None or not _ID.fullmatch(ref) else await self._store.get(Report, ref)
        if report is None:
            raise NotFound("there is no such report")
        return report, open_sealed(self._keyring, report.evidence)

    @_whole
    async def decide(
        self, by: Actor, ref: str, *, decision: Decision, reason: str = "", seconds: float | None = None
    ) -> Report:
        """Decide an open report, do it, and tell the reporter (a `Notice`, now or when they come back within a day).
        `pass` says a message that was held. `reason` is for the accused; `seconds` are of a mute or a ban.

        Raises `Conflict` where somebody decided it before. If what was decided can't be done, the report is open again.
        """
        self._check(by, "mod.reports")
        report, evidence = await self.report(ref)
        reason = _reason(reason)
        self._until(seconds)
        if self._store is None:
            raise NotFound("there is no such report")
        if report.state != "open":
            raise Conflict("somebody decided this report already")
        if decision in ("warn", "mute", "ban"):
            action: Action = "mod.ban" if decision == "ban" else "mod.mute"
            self._check_person(by, action, report.accused or "")
        if decision == "pass":
            self._check(by, "mod.held")
            if evidence is None:
                raise Wrong("the evidence was changed, so it is not known what the message said; dismiss the report")
            if evidence.sender is None:
                raise Wrong('"decision" can be pass only where a message is held', "decision")
        decided = await self._store.decide(ref, decision=decision, by=by.id)
        if decided is None:
            raise Conflict("somebody decided this report already")
        try:
            await self._audit(by, "decide", ref, decision=decision)
            await self._carry_out(by, report, evidence, decision, reason, seconds)
        except Exception:
            with suppress(StoreError):
                await self._store.put(report)
            raise
        self._open.pop(ref, None)
        if report.reporter:
            self._tell(report.reporter, _told_reporter(decision))
        elif decision == "dismiss" and evidence is not None and evidence.sender is not None:
            self._tell(evidence.sender.id, Notice("info", "held", "A moderator did not let your message pass."))
        return decided

    # What was done

    async def bans(self) -> Sequence[Ban]:
        """Those that hold, the newest first."""
        return self._holding(self._bans)[::-1]

    async def mutes(self) -> Sequence[Mute]:
        """Those that hold, the newest first."""
        return self._holding(self._mutes)[::-1]

    @_whole
    async def undo(self, by: Actor, n: int) -> None:
        """Take the audited act number `n` back: a ban, a mute, a lock, slow mode or an archived room. Raises `Conflict`
        where it holds no more."""
        self._check(by, "mod.unban")
        entry = next((entry for entry in await self.audited(before=n + 1, limit=1) if entry.n == n), None)
        if entry is None:
            raise NotFound("there is no such entry in the audit log")
        details = json.loads(entry.details)
        match entry.action:
            case "ban":
                bans = [ban for ban in self._holding(self._bans) if ban.id in details["ids"]]
                await self._undo(
                    by, entry, Ban, self._bans, bans, [ban.subject for ban in bans if ban.kind == "person"]
                )
            case "mute":
                mutes = [mute for mute in self._holding(self._mutes) if mute.id in details["ids"]]
                await self._undo(by, entry, Mute, self._mutes, mutes, [mute.person for mute in mutes])
            case "room.change" if details["was"]:
                async with self._changing:
                    room = await self._room(entry.subject, archived=True)
                    if any(getattr(room, field) != now for field, now in details["now"].items()):
                        raise Conflict("the room was changed since")
                    await self._change_room(by, entry.subject, **{**_UNCHANGED, **details["was"]}, undone=n)
            case "undo":
                raise Wrong("what was taken back stays so: do it anew", "n")
            case _:
                raise Wrong("this can't be taken back", "n")

    async def audited(self, *, before: int | None = None, limit: int = 100) -> Sequence[AuditEntry]:
        """The last entries of the audit log, or the last before number `before`; the newest first."""
        if self._store is not None:
            return await self._store.audited(before=before, limit=limit)
        return [entry for entry in reversed(self._log) if before is None or entry.n < before][:limit]

    async def broken_audit(self) -> int | None:
        """The number of the first entry of the audit log that is not as it was written, None if all are."""
        if self._store is not None:
            return await self._store.broken_audit()
        return first_broken(list(self._log)[1:], self._log[0]) if self._log else None

    async def forget(self, retention: Retention) -> None:
        """Delete what is older than it may be. To be called every day."""
        if self._store is not None:
            await self._store.forget(retention)
        if retention.addresses is not None:
            oldest = self._utc_ms() - retention.addresses * _DAY_MS
            for id, ban in list(self._bans.items()):
                if ban.kind == "address" and ban.since_ms < oldest:
                    self._bans[id] = replace(ban, subject="")
            self._apply()

    # The filter

    async def filter_rules(self) -> FilterRules:
        """The rules that hold."""
        return self._rules

    @_whole
    async def set_filter_rules(self, by: Actor, rules: FilterRules) -> None:
        """From now on, and after a restart, these rules hold."""
        self._check(by, "admin.rules")
        await self._audit(by, "filter", "")
        if self._store is not None:
            await self._store.put(Setting(_FILTER, _json_of(rules)))
        self._rules = rules
        self._policy.change(rules=rules)

    # What is said

    async def _classified(self, weigh: Weigh, before: asyncio.Event | None, mine: asyncio.Event) -> Answer | Refusal:
        """All texts of a connection are looked at at once, and said in their order."""
        publish, in_booth = weigh.publish, _is_booth(weigh.publish.room)
        try:
            opinion = await self._opinion(weigh)
            if before is not None:
                await before.wait()
            verdict = combined(weigh.verdict, opinion, self._fail_mode)
            verdict = _unseen(verdict) if in_booth else verdict
            sender = publish.member.sender
            # A moderator may have done something meanwhile.
            refusal = self._policy.penalties.may_speak(sender.id, publish.room, sender.role, self._utc_ms())
            if refusal is None and verdict.kind != "hold":
                refusal = verdict.refusal
            is_said = refusal is None and verdict.kind != "hold"
            answering = self._answer_of(partial(self._engine.publish, publish)) if is_said else None
        finally:
            mine.set()
            if self._turns.get(publish.member.connection) is mine:
                del self._turns[publish.member.connection]
        if refusal is not None:
            return refusal
        if answering is None:
            return await self._hold(publish, verdict)
        answer = await answering
        if verdict.kind == "flag":
            self._note_flagged(publish, verdict, answer)
        return answer

    async def _opinion(self, weigh: Weigh) -> Opinion | None:
        """What the classifier thinks; None where it does not say in time."""
        publish = weigh.publish
        if self._classify is None:
            return None
        question = Question(publish.text, publish.member.person, publish.room, weigh.opening)
        self._asked += 1
        try:
            opinion: object = await self._in_time(_called(self._classify, question), self._classify_seconds)
            if not isinstance(opinion, Opinion) or opinion.kind not in KINDS:
                raise TypeError("classify must give an Opinion")
        except Exception as error:
            self._complain("the classifier", error)
            return None
        finally:
            self._asked -= 1
        return opinion

    def _flagged(
        self, publish: Publish, verdict: Verdict, done: Answered, answer: Answer | Refusal, re: int | None
    ) -> None:
        done(answer, re)
        self._note_flagged(publish, verdict, answer)

    def _note_flagged(self, publish: Publish, verdict: Verdict, answer: Answer | Refusal) -> None:
        """Tell the moderators of what was said, unless somebody's flood would keep them from everything else."""
        if self._store is None or self._is_closed or not isinstance(answer, Published) or answer.dup:
            return
        sender = publish.member.sender
        reported = Reported(answer.mid, answer.off, answer.ts, sender.id, publish.text, "")
        report = self._found_report(
            publish, verdict, self._ref("flag", answer.mid), Proof(reported, "relayed", "accused")
        )
        if self._full(report) is None:
            self._start(self._kept("storing what a rule flagged", self._file(self._store, report)))

    async def _hold(self, publish: Publish, verdict: Verdict) -> Refusal:
        if self._store is None:
            return _NOT_HELD
        sender, now = publish.member.sender, self._utc_ms()
        said_again = publish.key is not None
        ref = self._ref("held", sender.id, publish.room, publish.key or "") if said_again else self._new_id()
        before = await self._store.get(Report, ref) if said_again else None
        if before is not None:
            return (verdict.refusal or _NOT_HELD) if before.state == "open" else _DECIDED
        if ref in self._filing:
            return _FILING
        proof = Proof(Reported("", 0, now, sender.id, publish.text, ""), "held", "accused")
        report = self._found_report(publish, verdict, ref, proof, sender)
        full = self._full(report)
        if full is not None:
            return full
        await self._file(self._store, report)
        return verdict.refusal or _NOT_HELD

    def _found_report(
        self, publish: Publish, verdict: Verdict, ref: str, proof: Proof, sender: Sender | None = None
    ) -> Report:
        """What a rule found. `sender` is set if the message is held."""
        reason, now = ", ".join(verdict.reasons)[:REASON_LIMIT], self._utc_ms()
        finding = Finding(publish.room, "", publish.member.person, (proof,), is_whole=True, from_start=False)
        record = sealed(self._keyring, Evidence(finding, now, reason, sender=sender))
        return Report(ref, publish.room, "", publish.member.person, reason, "", now, record)

    # Tokens

    async def _verified(self, verifier: Verifier, token: str) -> Answer | Refusal:
        try:
            found = await self._in_time(_called(verifier, token), VERIFY_SECONDS)
        except TimeoutError:
            return _NOT_VERIFIED
        return found if isinstance(found, Refusal) else Proved(found)

    # Reports

    async def _accused(self, accuse: Accuse) -> Answer | Refusal:
        reporter, in_booth = accuse.member.person, _is_booth(accuse.room)
        if len(accuse.messages) > REPORTED:
            return Refusal("too_large", f'"messages" are at most {REPORTED}; report fewer', field="messages")
        found = await (self._found_in_booth(accuse) if in_booth else self._found_in_public(accuse))
        if isinstance(found, Refusal):
            return found
        known_as, finding = found
        if accuse.block:
            # Also where the report is refused: who asks for both must not meet this person again.
            avoid = Avoid(accuse.member, known_as, accuse.room if in_booth else None, on=True)
            await self._answer_of(partial(self.avoid, avoid))
        if self._store is None:
            return _NO_REPORTS
        if not finding.is_proved:
            return _NOT_PROVED
        if sum(len(proof.message.text or "") for proof in finding.proofs) > EVIDENCE_CHARACTERS:
            return _TOO_LONG
        first = next((message.mid for message in accuse.messages if message.text is not None), "")
        ref, now = self._ref("report", reporter, accuse.room, first), self._utc_ms()
        if await self._store.get(Report, ref) is not None:
            return Filed(ref)
        if ref in self._filing:
            return _FILING
        record = sealed(self._keyring, Evidence(finding, now, accuse.reason, accuse.note))
        report = Report(ref, accuse.room, reporter, finding.accused, accuse.reason, accuse.note, now, record)
        full = self._full(report)
        if full is not None:
            return full
        await self._file(self._store, report)
        return Filed(ref)

    async def _found_in_booth(self, accuse: Accuse) -> tuple[str, Finding] | Refusal:
        """By which id the reporter knew the accused there, and what is proved. It is the server that knows whom the
        reporter met: nobody can accuse somebody else."""
        room, reporter = accuse.room, accuse.member.person
        others = dict.fromkeys(
            message.sender
            for message in accuse.messages
            if message.text is not None and not self._keyring.is_local_id(message.sender, room, reporter)
        )
        if not others:
            return _ABOUT_NOBODY
        for other in list(others)[:_SENDERS_TRIED]:
            answer = await self._answer_of(partial(self._engine.met, room, reporter, other))
            if isinstance(answer, Whom):
                finding = verify(self._keyring, room, reporter, answer.person, accuse.messages, accuse.prev)
                return other, finding
        return _NOT_MET

    async def _found_in_public(self, accuse: Accuse) -> tuple[str, Finding] | Refusal:
        """The same in a public room, where the text that the server knows counts, not what the reporter says."""
        proofs = []
        for mid in dict.fromkeys(reported.mid for reported in accuse.messages if reported.text is not None):
            message = await self._said_in(accuse.room, mid)
            if message is None:
                return _NOT_SAID
            sender = message.sender.id
            proofs.append(
                Proof(Reported(message.mid, message.off, message.ts, sender, message.text, ""), "relayed", "accused")
            )
        people = {proof.message.sender for proof in proofs}
        if len(people) > 1:
            return _SEVERAL
        if not people or accuse.member.person in people:
            return _ABOUT_NOBODY
        accused = people.pop()
        # Others speak in between, so what lies between two messages is not known.
        is_whole = len(proofs) == 1
        return accused, Finding(accuse.room, accuse.member.person, accused, tuple(proofs), is_whole, from_start=False)

    async def _said_in(self, room: str, mid: str) -> Message | None:
        """The message of this public room as it is now; None where there is none, or it was deleted."""
        answer = await self._answer_of(partial(self._engine.message, mid))
        if isinstance(answer, Refusal) and answer.retry:
            raise Unavailable(answer.message)
        found = answer.messages[0].message if isinstance(answer, Matches) else None
        return None if found is None or found.room != room or found.deleted else found

    def _full(self, report: Report) -> Refusal | None:
        """Why the report can't wait, if so."""
        by_rule = not report.reporter
        waiting = [known for known in self._open.values() if by_rule is not bool(known[0])]
        one = 1 if by_rule else 0
        mine = sum(known[one] == (report.reporter, report.accused)[one] for known in waiting)
        if mine >= OPEN_OF_ONE:
            return _TOO_MANY_HELD if by_rule else _TOO_MANY_MINE
        return _TOO_MANY if len(waiting) >= OPEN else None

    async def _file(self, store: Store, report: Report) -> None:
        self._open[report.ref] = report.reporter, report.accused
        self._filing.add(report.ref)
        try:
            await store.put(report)
        except BaseException:
            self._open.pop(report.ref, None)
            raise
        finally:
            self._filing.discard(report.ref)
        if self._hooks.on_report is not None:
            self._hear("on_report", self._hooks.on_report, report)
        self._announce(report.ref)

    def _ref(self, *parts: str) -> str:
        """Always the same for the same report, so that one that is sent twice is filed once, also after a restart."""
        seal = self._keyring.seal("ref", json.dumps(parts).encode())
        return seal.rpartition(".")[2][:16]

    async def _carry_out(
        self,
        by: Actor,
        report: Report,
        evidence: Evidence | None,
        decision: Decision,
        reason: str,
        seconds: float | None,
    ) -> None:
        accused = report.accused or ""
        match decision:
            case "ban":
                await self.ban(by, person=accused, reason=reason, seconds=seconds)
            case "mute":
                await self.mute(by, person=accused, room=None, reason=reason, seconds=seconds)
            case "warn":
                words = f"A moderator warns you: {reason}" if reason else "A moderator warns you: keep to the rules."
                self._tell(accused, Notice("warning", "warned", words))
            case "pass" if evidence is not None and evidence.sender is not None:
                text = evidence.finding.proofs[0].message.text or ""
                answer = await self._answer_of(partial(self._engine.say, report.room, evidence.sender, text))
                # `unavailable` means that it was said, and is not confirmed yet: see `Engine`.
                if isinstance(answer, Refusal) and answer.code != "unavailable":
                    raise _raised(answer)

    # Blocks

    def _avoided(self, store: Store, avoid: Avoid, done: Answered, answer: Answer | Refusal, re: int | None) -> None:
        if isinstance(answer, Refusal):
            done(answer, re)
        else:
            self._answer("storing a block", self._block(store, avoid), done, re)

    async def _block(self, store: Store, avoid: Avoid) -> Answer | Refusal:
        person, other = avoid.member.person, avoid.other
        if avoid.room is not None:
            answer = await self._answer_of(partial(self._engine.met, avoid.room, person, other))
            if not isinstance(answer, Whom):  # only this moment it is too long ago
                return answer
            other = answer.person
        if avoid.on:
            await store.put(Block(person, other, self._utc_ms()))
        else:
            await store.remove(Block, person, other)
        return Done()

    # Acts

    async def _amended(self, amend: Amend) -> Answer | Refusal:
        member = amend.member
        message = await self._said_in(amend.room, amend.mid)
        if message is not None and message.sender.id != member.person:
            await self._check_deletion(_moderator(member), amend.room, amend.mid)
        return await self._answer_of(partial(self._engine.amend, amend))

    async def _check_deletion(self, by: Actor, room: str, mid: str) -> None:
        """Let it be deleted: nobody deletes what somebody of a higher role said."""
        message = await self._said_in(room, mid)
        if message is None:
            raise NotFound("there is no such message")
        if ROLES.index(message.sender.role) > ROLES.index(by.role):
            raise NotAllowed("you may not delete what somebody of this role said")
        await self._audit(by, "delete", mid, room=room)

    async def _acted(self, act: Act) -> Answer | Refusal:
        by = _moderator(act.member)
        match act.action:
            case "kick":
                if not await self.kick(by, person=act.person or "", reason=act.reason):
                    raise NotFound("this person is not connected")
                return Acted()
            case "mute":
                mute = await self.mute(
                    by, person=act.person or "", room=act.room, reason=act.reason, seconds=act.seconds
                )
                return Acted(mute.id)
            case "unmute":
                await self.unmute(by, person=act.person or "", room=act.room)
            case "ban":
                bans = await self.ban(by, person=act.person or "", reason=act.reason, seconds=act.seconds)
                return Acted(bans[0].id)
            case "unban":
                await self.unban(by, person=act.person or "")
            case "lock":
                await self.change_room(by, act.room or "", locked=act.on)
            case "slow":
                await self.change_room(by, act.room or "", slow_ms=round(1000 * (act.seconds or 0)))
        return Acted()

    def _check(self, by: Actor, action: Action) -> None:
        if not may(by.role, action):
            raise NotAllowed("your role may not do this")

    def _check_person(self, by: Actor, action: Action, person: str) -> None:
        self._check(by, action)
        if not _ID.fullmatch(person):
            raise Wrong('"person" must be the id of a person, as public rooms show it', "person")
        self._check_persons(by, action, [person])

    def _check_persons(self, by: Actor, action: Action, people: Collection[str]) -> None:
        """Nobody acts on somebody whose role is as high as theirs: so nobody lifts their own mute, either."""
        if any(
            f"person:{person}" == by.id or not may(by.role, action, self._floor.role_of(person)) for person in people
        ):
            raise NotAllowed("you may not do this to somebody of this role, nor to yourself")

    def _until(self, seconds: float | None) -> int | None:
        if seconds is None:
            return None
        if not 0 < seconds <= SECONDS_LIMIT:
            raise Wrong(f'"seconds" must be more than 0 and at most {SECONDS_LIMIT}; leave it out for good', "seconds")
        return self._utc_ms() + round(1000 * seconds)

    def _shown(self, by: Actor, name: str | None) -> Sender:
        """As whom a room sees the actor: never by the id of an operator."""
        kind, _, id = by.id.partition(":")
        # No user of the host app has an id with a NUL in it: none is taken for an operator.
        return Sender(id if kind == "person" else self._keyring.person_id(f"\0{by.id}"), name, by.role)

    async def _put_bans(self, by: Actor, bans: Sequence[Ban], subject: str) -> None:
        ban = bans[0]
        seconds = None if ban.until_ms is None else (ban.until_ms - ban.since_ms) / 1000
        await self._audit(by, "ban", subject, ids=[ban.id for ban in bans], seconds=seconds)
        if self._store is not None:
            await self._store.put(*bans)
        self._bans.update({ban.id: ban for ban in bans})
        self._apply()
        letter = Moderated("banned", ban.reason, ban.until_ms)
        for ban in bans:
            if ban.kind == "person":
                self._floor.end_person(ban.subject, BANNED, letter)
            else:
                self._floor.end_address(ban.subject, BANNED, letter)

    async def _lift(self, kind: type[_Penalty], known: dict[str, _Penalty], lifted: Sequence[_Penalty]) -> None:
        for penalty in lifted:
            if self._store is not None:
                await self._store.remove(kind, penalty.id)
            known.pop(penalty.id, None)
            self._apply()
            if isinstance(penalty, Mute):
                self._floor.tell_person(penalty.person, Moderated("unmuted", "", room=penalty.room))

    async def _undo(
        self,
        by: Actor,
        entry: AuditEntry,
        kind: type[_Penalty],
        known: dict[str, _Penalty],
        penalties: Sequence[_Penalty],
        people: Sequence[str],
    ) -> None:
        if not penalties:
            raise Conflict("it holds no more: it was lifted, or its time is over")
        self._check_persons(by, "mod.unban", people)
        await self._audit(by, "undo", str(entry.n), ids=[penalty.id for penalty in penalties])
        await self._lift(kind, known, penalties)

    async def _room(self, name: str, *, archived: bool = False) -> StoredRoom:
        """The public room of this name."""
        for room in await self.rooms():
            if room.name == name and (archived or not room.archived):
                return room
        raise NotFound("there is no such room")

    async def _change_room(
        self,
        by: Actor,
        name: str,
        title: str | None,
        locked: bool | None,
        slow_ms: int | None,
        archived: bool | None,
        undone: int | None = None,
    ) -> StoredRoom:
        """`undone` is the number of the entry that this takes back. `_changing` is held."""
        before = await self._room(name, archived=True)
        asked = {"title": title, "locked": locked, "slow_ms": slow_ms, "archived": archived}
        changes: dict[str, Any] = {
            field: value for field, value in asked.items() if value not in (None, getattr(before, field))
        }
        if not changes:
            return before
        after = replace(before, **changes)
        # A title is words, which a log that forgets nothing must not hold.
        now = {field: value for field, value in changes.items() if field != "title"}
        was = {field: getattr(before, field) for field in now}
        if undone is None:
            await self._audit(by, "room.change", name, was=was, now=now, fields=sorted(changes))
        else:
            await self._audit(by, "undo", str(undone), room=name)
        if self._store is None:
            self._rooms_here[name] = after
        else:
            await self._store.change_room(name, **changes)
        self._modes.pop(name, None)
        if not after.archived:
            self._modes[name] = Mode(after.locked, after.slow_ms)
        self._apply()
        if not after.archived:
            self._engine.open_room(RoomShown(name, 0, after.title, after.locked, after.slow_ms))
        elif not before.archived:
            self._engine.close_room(name)
        return after

    async def _audit(self, by: Actor, action: str, subject: str, **details: object) -> None:
        text = json.dumps(details, sort_keys=True)
        if self._store is not None:
            await self._store.audit(actor=by.id, action=action, subject=subject, details=text)
            return
        previous = self._log[-1] if self._log else None
        entry = chained(previous, ts=self._utc_ms(), actor=by.id, action=action, subject=subject, details=text)
        self._log.append(entry)

    def _holding(self, known: Mapping[str, _Penalty]) -> list[_Penalty]:
        now = self._utc_ms()
        return [penalty for penalty in known.values() if penalty.until_ms is None or penalty.until_ms > now]

    def _apply(self) -> None:
        """Tell the policy what holds now, and do so again when the next of it is over."""
        now = self._utc_ms()
        for known in (self._bans, self._mutes):
            for id in [id for id, penalty in known.items() if penalty.until_ms is not None and penalty.until_ms <= now]:
                del known[id]
        penalties = Penalties(self._bans.values(), self._mutes.values(), self._modes)
        self._policy.change(penalties=penalties)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        over = penalties.next_expiry(now)
        if over is not None and not self._is_closed:
            # The time of day may be set, so what is far away is looked at again.
            seconds = min(_DAY_SECONDS, max(1.0, (over - now) / 1000))
            self._expiry = self._scheduler.call_at(self._scheduler.time() + seconds, self._apply)

    # Letters, notifications, and what the host app hears

    def _tell(self, person: str, letter: Letter) -> None:
        """Now, or when the person comes back within a day."""
        if self._floor.tell_person(person, letter):
            return
        people, each = _LETTERS
        now = self._scheduler.time()
        until, letters = self._letters.pop(person, (0.0, ()))
        waiting = letters if now < until else ()
        self._letters[person] = now + _DAY_SECONDS, (*waiting, letter)[-each:]
        while len(self._letters) > people or next(iter(self._letters.values()))[0] <= now:
            self._letters.popitem(last=False)

    def _announce(self, ref: str) -> None:
        """Notify the operator; what comes within a minute is told of once, after that."""
        if self._notify is None or self._is_closed or self._reminder is not None:
            return
        if self._scheduler.time() < self._quiet_until:
            self._reminder = self._scheduler.call_at(self._quiet_until, partial(self._remind, ref))
            return
        self._quiet_until = self._scheduler.time() + _QUIET_SECONDS
        self._start(self._kept("the notification of a report", _called(self._notify, ref)))

    def _remind(self, ref: str) -> None:
        self._reminder = None
        self._announce(ref)

    def _hear(self, what: str, hook: Callable[..., object], *args: object) -> None:
        if self._is_closed:
            return
        if len(self._heard) >= _HOOKED:
            self._complain(f"{what}: the host app is too slow, and was not told something; it", None)
            return
        self._heard.append((what, hook, args))
        if self._telling is None or self._telling.done():
            self._telling = self._start(self._tell_host())

    async def _tell_host(self) -> None:
        while self._heard:
            what, hook, args = self._heard.popleft()
            try:
                await _called(hook, *args)
            except Exception as error:
                self._complain(what, error)

    def _complain(self, what: str, error: Exception | None) -> None:
        """Log it, but not for each message."""
        now = self._scheduler.time()
        if now < self._complained.get(what, float("-inf")):
            return
        self._complained[what] = now + _QUIET_SECONDS
        if error is None:
            logger.warning("%s goes on", what)
        else:
            log_failure(what, self._new_id(), error)

    # Tasks

    def _start(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits has it; if nobody does any more, nobody needs it

    def _answer(self, what: str, work: Coroutine[Any, Any, Answer | Refusal], done: Answered, re: int | None) -> None:
        """Answer with what comes of `work`. From the task's end, for one that is cancelled may never have begun."""
        self._start(work).add_done_callback(partial(self._settle, what, done, re))

    def _settle(self, what: str, done: Answered, re: int | None, task: asyncio.Task[Answer | Refusal]) -> None:
        done(_STOPPING if task.cancelled() else self._outcome(what, task), re)

    def _outcome(self, what: str, task: asyncio.Task[Answer | Refusal]) -> Answer | Refusal:
        error = task.exception()
        match error:
            case None:
                return task.result()
            case NotAllowed():
                return Refusal("forbidden", str(error))
            case NotFound():
                return Refusal("not_found", str(error))
            case Conflict():
                return Refusal("conflict", str(error), error.field)
            case Wrong():
                return Refusal("bad_field", str(error), error.field)
            case StoreError():
                return _UNAVAILABLE
        incident = self._new_id()
        log_failure(what, incident, error)
        return Refusal("internal", f"the server failed here (id {incident})")

    async def _kept(self, what: str, work: Awaitable[object]) -> None:
        """Do what nobody waits for."""
        try:
            await work
        except Exception as error:
            self._complain(what, error)

    def _answer_of(self, call: Callable[[Answered], None]) -> "asyncio.Future[Answer | Refusal]":
        """Ask the engine at once; its answer comes with the future."""
        future: asyncio.Future[Answer | Refusal] = asyncio.get_running_loop().create_future()

        def done(answer: Answer | Refusal, re: int | None) -> None:
            if not future.done():
                future.set_result(answer)

        call(done)
        return future

    async def _in_time(self, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
        """What `work` gives; raises `TimeoutError`, also if it can't be cancelled."""
        task = self._start(work)
        late = asyncio.get_running_loop().create_future()
        timer = self._scheduler.call_at(self._scheduler.time() + seconds, late.cancel)
        try:
            await asyncio.wait({task, late}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            late.cancel()
            task.cancel()
        if not task.done() or task.cancelled():
            raise TimeoutError
        return task.result()


# Small things

_UNCHANGED: Final = {"title": None, "locked": None, "slow_ms": None, "archived": None}


def _is_booth(room: str) -> bool:
    return room.startswith(_BOOTH)


def _moderator(member: Member) -> Actor:
    return Actor(f"person:{member.person}", member.sender.role)


def _unseen(verdict: Verdict) -> Verdict:
    """In a booth, where no moderator may look: what would be held is refused, what would be flagged passes."""
    if verdict.kind == "hold":
        return Verdict("refuse", verdict.reasons, verdict.words)
    return Verdict("pass") if verdict.kind == "flag" else verdict


def _ignored(answer: Answer | Refusal, re: int | None) -> None:
    pass


def _raised(answer: Answer | Refusal) -> Exception:
    """What an engine's refusal is to who called a method."""
    if not isinstance(answer, Refusal):
        return RuntimeError(f"the engine answered with {type(answer).__name__}")
    if answer.code == "not_found":
        return NotFound(answer.message)
    return Unavailable(answer.message) if answer.retry else Wrong(answer.message, answer.field)


def _reason(reason: str) -> str:
    reason = reason.strip()
    if len(reason) > REASON_LIMIT or _UNFIT.search(reason):
        raise Wrong(f'"reason" must be one line of at most {REASON_LIMIT} characters', "reason")
    return reason


def _title(title: str) -> str:
    title = title.strip()
    if not title or len(title) > TITLE_LIMIT or _UNFIT.search(title):
        raise Wrong(f'"title" must be one line of 1 to {TITLE_LIMIT} characters', "title")
    return title


def _told_reporter(decision: Decision) -> Notice:
    words = (
        "A moderator read your report, and did not act on it."
        if decision == "dismiss"
        else "A moderator read your report, and acted on it. Thank you."
    )
    return Notice("info", "report", words)


async def _called(function: Callable[..., object], *args: object) -> Any:
    """What a function of the host app gives, which may be async, or wait in a thread."""
    call: Any = function
    while isinstance(call, partial):
        call = call.func
    is_async = inspect.iscoroutinefunction(call if inspect.isroutine(call) else call.__call__)
    result = function(*args) if is_async else await asyncio.to_thread(function, *args)
    return await result if inspect.isawaitable(result) else result


def _json_of(rules: FilterRules) -> str:
    return json.dumps({**asdict(rules), "words": dict(rules.words), "hosts": sorted(rules.hosts)})


def _rules_of(text: str) -> FilterRules:
    """What `_json_of` wrote. Raises `ValueError`, `TypeError`, `KeyError` or `AttributeError` for anything else."""
    fields: dict[str, Any] = json.loads(text)
    for name in ("repeats", "flood", "openings"):
        if fields[name] is not None:
            fields[name] = Limit(*fields[name])
    return FilterRules(**{**fields, "hosts": frozenset(fields["hosts"])})
