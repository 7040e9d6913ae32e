"""What moderators do, and what becomes of reports: on a real store and engine, with the hub's live connections in the
test's hands."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from parlour.core.events import (
    Accept,
    Accuse,
    Act,
    Acted,
    Amend,
    Answer,
    Avoid,
    Changed,
    Deleted,
    Done,
    Edited,
    Enter,
    Event,
    Filed,
    Find,
    Letter,
    Look,
    MatchFound,
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
    RoomChanged,
    RoomList,
    Seat,
    Sender,
    Verify,
    Wanted,
    Weigh,
)
from parlour.core.filter import FilterRules, Limit, Opinion, Question
from parlour.core.keys import Keyring
from parlour.core.moderation import PASS, Verdict
from parlour.core.policy import Policy
from parlour.core.records import AuditEntry, Ban, Block, Consent, Report, Retention
from parlour.desk import OPEN_OF_ONE, Actor, Conflict, Desk, Hooks, NotAllowed, NotFound, Wrong
from parlour.engine import Answered
from parlour.engine.memory import PARTED_SECONDS, MemoryEngine
from parlour.errors import BANNED, KICKED, Close, Refusal
from parlour.store import Unavailable
from tests.store.world import DAY, Clock, opened

pytestmark = pytest.mark.anyio

KEYRING: Final = Keyring({"k1": b"a secret that the tests all know!"}, "k1")

ADA: Final = Member("c-ada", Sender("p-ada", "ada"))
BO: Final = Member("c-bo", Sender("p-bo", "bo"))
CY: Final = Member("c-cy", Sender("p-cy", "cy"))
MO: Final = Member("c-mo", Sender("p-mo", "mo", "moderator"))

CLI: Final = Actor("cli", "admin")
ROOT: Final = Actor("operator:1", "admin")
EVE: Final = Actor("operator:2", "moderator")

ADDRESS: Final = "93.184.216.34"
HASHED: Final = KEYRING.address_hash(ADDRESS)

FLAG: Final = Verdict("flag", ("word",))
HOLD: Final = Verdict("hold", ("link", "word"))


class Floor:
    """The live connections, as the desk sees them: who is there, and what was done to them."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {member.person: member.sender.role for member in (ADA, BO, CY, MO)}
        self.addresses: dict[str, list[str]] = {}
        self.ended: list[tuple[str, Close, Moderated | None]] = []
        self.told: list[tuple[str, Letter]] = []
        self.asked: list[str] = []  # whose role

    def end_person(self, person: str, close: Close, letter: Moderated | None = None) -> int:
        self.ended.append((person, close, letter))
        return person in self.roles

    def end_address(self, address: str, close: Close, letter: Moderated | None = None) -> int:
        self.ended.append((address, close, letter))
        return 1

    def tell_person(self, person: str, letter: Letter) -> bool:
        if person in self.roles:
            self.told.append((person, letter))
        return person in self.roles

    def role_of(self, person: str) -> Role | None:
        self.asked.append(person)
        return self.roles.get(person)

    def addresses_of(self, person: str) -> Sequence[str]:
        return self.addresses.get(person, [])


class World:
    """One server: store, engine, policy, floor and desk. `again` is the same after a restart."""

    def __init__(self, file: Path | None, clock: Clock | None = None, **options: Any) -> None:
        self.path = file
        self.clock = clock or Clock()
        self.options = options
        self.next: World | None = None
        self.events: list[Event] = []
        self.letters: list[tuple[str, Letter]] = []
        self.ids = count(self.clock.utc)
        self.floor = Floor()
        self.store = None if file is None else opened(f"sqlite:///{file}", self.clock)
        rules = options.get("rules")
        self.policy = Policy(rules=rules, classifies="classify" in options)
        self.engine = MemoryEngine(
            self,
            scheduler=self.clock,
            keyring=KEYRING,
            choose=lambda n: 0,
            new_id=self.new_id,
            utc_ms=self.clock.utc_ms,
            store=self.store,
        )
        self.desk = Desk(
            store=self.store,
            engine=self.engine,
            policy=self.policy,
            floor=self.floor,
            keyring=KEYRING,
            scheduler=self.clock,
            utc_ms=self.clock.utc_ms,
            new_id=self.new_id,
            **options,
        )

    async def open(self) -> "World":
        await self.engine.open()
        await self.desk.open()
        for member in (ADA, BO, CY, MO):
            assert isinstance(await self.ask(partial(self.engine.enter, Enter("public", member))), Seat)
        return self

    async def close(self) -> None:
        if self.next is not None:
            await self.next.close()
        await self.desk.close()
        if self.store is not None:
            await self.store.close()

    async def again(self) -> "World":
        await self.close()
        self.clock.utc += 1000
        self.next = World(self.path, self.clock, **self.options)
        return await self.next.open()

    def new_id(self) -> str:
        return f"id{next(self.ids)}"

    # The hub's part of the engine's contract

    def published(self, event: Event) -> None:
        self.events.append(event)

    def told(self, connection: str, letter: Letter, seat: Seat | None = None) -> None:
        self.letters.append((connection, letter))

    def displaced(self, member: Member) -> None:
        pass

    def closed(self, room: str) -> None:
        pass

    # What tests do

    async def ask(self, call: Callable[[Answered], object]) -> Answer | Refusal:
        """What is answered. That it comes once is looked at, too."""
        answers: list[Answer | Refusal] = []
        answered = asyncio.Event()

        def done(answer: Answer | Refusal, re: int | None) -> None:
            answers.append(answer)
            answered.set()

        call(done)
        async with asyncio.timeout(30):
            await answered.wait()
        assert len(answers) == 1
        return answers[0]

    async def say(self, member: Member, text: str, room: str = "public", key: str | None = None) -> Message:
        answer = await self.ask(partial(self.engine.publish, Publish(room, member, text, key=key)))
        assert isinstance(answer, Published)
        return self.messages()[-1]

    async def weigh(
        self, member: Member, text: str, verdict: Verdict, room: str = "public", key: str | None = None
    ) -> Answer | Refusal:
        weigh = Weigh(Publish(room, member, text, key=key), verdict, opening=False)
        return await self.ask(partial(self.desk.weigh, weigh))

    async def accuse(self, member: Member, room: str, messages: Sequence[Reported], **more: Any) -> Answer | Refusal:
        return await self.ask(partial(self.desk.accuse, Accuse(member, room, "threats", messages, **more)))

    async def file(self, member: Member, room: str, messages: Sequence[Reported], **more: Any) -> str:
        filed = await self.accuse(member, room, messages, **more)
        assert isinstance(filed, Filed)
        return filed.ref

    async def act(self, act: Act) -> Answer | Refusal:
        return await self.ask(partial(self.desk.act, act))

    async def find(self, member: Member) -> None:
        await self.ask(partial(self.engine.find, Find(member, Wanted())))

    async def meet(self) -> str:
        """Ada and bo sit in a booth; its name."""
        await self.find(ADA)
        await self.find(BO)
        return next(letter.room for _, letter in self.letters if isinstance(letter, MatchFound))

    async def talk(self) -> tuple[str, list[Reported]]:
        """Ada and bo meet and say something; the booth, and what they were shown."""
        booth = await self.meet()
        said = [await self.say(*line, booth) for line in ((ADA, "hi"), (BO, "go away"), (BO, "or else"))]
        return booth, [shown(message) for message in said]

    def messages(self) -> list[Message]:
        return [event for event in self.events if isinstance(event, Message)]

    async def reports(self) -> Sequence[Report]:
        return await self.desk.reports()

    async def until_reported(self, number: int = 1) -> Sequence[Report]:
        """So many reports; what a rule flags is filed after it was said."""
        async with asyncio.timeout(30):
            while len(found := await self.reports()) < number:
                pass
        return found

    def is_open(self) -> bool:
        return self.policy.is_open

    def may_connect(self, person: str | None, address: str | None = None) -> bool:
        return self.policy.may_connect(person, address, self.clock.utc) is None

    def may_speak(self, member: Member, room: str = "public") -> Refusal | None:
        sender = member.sender
        return self.policy.penalties.may_speak(sender.id, room, sender.role, self.clock.utc)

    async def log(self) -> list[AuditEntry]:
        """The audit log, the oldest entry first."""
        assert await self.desk.broken_audit() is None
        return list(await self.desk.audited())[::-1]

    def advance(self, seconds: float) -> None:
        self.clock.utc += round(1000 * seconds)
        self.clock.advance(seconds)


def shown(message: Message | Edited) -> Reported:
    """As a client that was shown it reports it."""
    return Reported(message.mid, message.off, message.ts, message.sender.id, message.text, message.stamp or "")


def code(answer: Answer | Refusal) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "parlour.db"


@pytest.fixture
async def make(file: Path) -> AsyncIterator[Callable[..., Awaitable[World]]]:
    """Makes a server. All are closed in the end."""
    worlds: list[World] = []

    async def made(*, stored: bool = True, **options: Any) -> World:
        worlds.append(World(file if stored else None, **options))
        return await worlds[-1].open()

    yield made
    for world in worlds:
        await world.close()


Make = Callable[..., Awaitable[World]]


@pytest.fixture
async def world(make: Make) -> World:
    return await make()


# Reports of booths


async def test_a_report_of_a_booth_proves_what_was_said(world: World) -> None:
    booth, messages = await world.talk()
    ref = await world.file(ADA, booth, messages, note="he found me")
    report, evidence = await world.desk.report(ref)
    assert (report.reporter, report.accused, report.reason, report.note) == ("p-ada", "p-bo", "threats", "he found me")
    assert report.state == "open"
    assert evidence is not None
    assert [(proof.word, proof.by) for proof in evidence.finding.proofs] == [
        ("relayed", "reporter"),
        ("relayed", "accused"),
        ("relayed", "accused"),
    ]
    assert evidence.finding.is_whole
    assert evidence.finding.from_start
    assert [found.ref for found in await world.reports()] == [ref]


async def test_a_changed_message_is_forged_and_the_rest_is_proved(world: World) -> None:
    booth, messages = await world.talk()
    messages[1] = messages[1]._replace(text="go awaz")
    _, evidence = await world.desk.report(await world.file(ADA, booth, messages))
    assert evidence is not None
    assert [proof.word for proof in evidence.finding.proofs] == ["relayed", "forged", "relayed"]


async def test_an_invented_report_is_refused(world: World) -> None:
    booth, messages = await world.talk()
    invented = [message._replace(text="I will find you") for message in messages]
    refusal = await world.accuse(ADA, booth, invented)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.field) == ("bad_field", "messages")
    assert await world.reports() == []


async def test_a_changed_record_gives_no_evidence(world: World, file: Path) -> None:
    booth, messages = await world.talk()
    ref = await world.file(ADA, booth, messages)
    assert world.store is not None
    report, _ = await world.desk.report(ref)
    await world.store.put(replace(report, evidence=report.evidence.replace(b"go away", b"go awaz")))
    report, evidence = await world.desk.report(ref)
    assert report.accused == "p-bo"
    assert evidence is None


async def test_nobody_can_report_whom_they_did_not_meet(world: World) -> None:
    booth, messages = await world.talk()
    assert code(await world.accuse(CY, booth, messages)) == "not_found"
    assert code(await world.accuse(ADA, "booth-none", messages)) == "not_found"
    mine = [message for message in messages if message.text == "hi"]
    assert code(await world.accuse(ADA, booth, mine)) == "bad_field"
    assert code(await world.accuse(ADA, booth, [])) == "bad_field"
    assert await world.reports() == []


async def test_a_booth_can_be_reported_for_ten_minutes_after_it_ended(world: World) -> None:
    booth, messages = await world.talk()
    world.engine.leave(booth, BO.connection)
    world.engine.leave(booth, ADA.connection)
    world.advance(PARTED_SECONDS - 1)
    await world.file(ADA, booth, messages)
    world.advance(2)
    assert code(await world.accuse(ADA, booth, messages[1:], prev=messages[0].stamp)) == "not_found"


async def test_the_same_report_again_is_the_same_also_after_a_restart(world: World) -> None:
    message = shown(await world.say(BO, "boo"))
    refs = [await world.file(ADA, "public", [message]) for _ in range(2)]
    world = await world.again()
    refs.append(await world.file(ADA, "public", [message]))
    other = await world.file(CY, "public", [message])
    assert len(set(refs)) == 1
    assert {report.ref for report in await world.reports()} == {refs[0], other}


async def test_reporting_can_block_and_the_block_survives(world: World) -> None:
    booth, messages = await world.talk()
    await world.file(ADA, booth, messages, block=True)
    assert world.store is not None
    blocks = await world.store.select(Block)
    assert [(block.person, block.other) for block in blocks] == [("p-ada", "p-bo")]
    world = await world.again()
    await world.find(ADA)
    await world.find(BO)
    assert not any(isinstance(letter, MatchFound) for _, letter in world.letters)


async def test_who_is_blocked_is_so_even_if_nothing_is_proved(world: World) -> None:
    booth, messages = await world.talk()
    invented = [message._replace(text="x") for message in messages]
    assert code(await world.accuse(ADA, booth, invented, block=True)) == "bad_field"
    assert world.store is not None
    assert len(await world.store.select(Block)) == 1


async def test_a_block_taken_back_is_forgotten(world: World) -> None:
    assert world.store is not None
    for on in (True, False):
        answer = await world.ask(partial(world.desk.avoid, Avoid(ADA, "p-bo", None, on=on)))
        assert isinstance(answer, Done)
        assert len(await world.store.select(Block)) == on


# Reports of public rooms


async def test_in_public_rooms_the_text_that_the_server_knows_counts(world: World) -> None:
    said = [await world.say(BO, "one"), await world.say(BO, "two")]
    reported = [shown(message)._replace(text="something else", sender="p-cy") for message in said]
    report, evidence = await world.desk.report(await world.file(ADA, "public", reported))
    assert report.accused == "p-bo"
    assert evidence is not None
    assert [proof.message.text for proof in evidence.finding.proofs] == ["one", "two"]
    assert evidence.finding.speaks_against


async def test_a_public_report_is_of_one_other_person_and_of_what_is_there(world: World) -> None:
    ada, bo, cy = [shown(await world.say(member, "hm", key="k")) for member in (ADA, BO, CY)]
    assert code(await world.accuse(ADA, "public", [bo, cy])) == "bad_field"
    assert code(await world.accuse(ADA, "public", [ada])) == "bad_field"
    assert code(await world.accuse(ADA, "public", [bo._replace(mid="other")])) == "not_found"
    assert code(await world.accuse(ADA, "tea", [bo])) == "not_found"
    assert isinstance(await world.ask(partial(world.engine.amend, Amend("public", BO, bo.mid))), Changed)
    assert code(await world.accuse(ADA, "public", [bo])) == "not_found"


async def test_a_report_is_not_larger_than_evidence_may_be(world: World) -> None:
    messages = [shown(await world.say(BO, f"{number}" * 9_999)) for number in range(10)]
    messages.append(shown(await world.say(BO, "x" * 9_999)))
    assert code(await world.accuse(ADA, "public", messages)) == "too_large"
    await world.file(ADA, "public", messages[:10])


async def test_one_person_has_few_reports_that_wait(world: World) -> None:
    messages = [shown(await world.say(BO, "boo")) for _ in range(OPEN_OF_ONE + 1)]
    refs = [await world.file(ADA, "public", [message]) for message in messages[:-1]]
    assert code(await world.accuse(ADA, "public", [messages[-1]])) == "too_large"
    await world.file(CY, "public", [messages[-1]])
    await world.desk.decide(CLI, refs[0], decision="dismiss")
    await world.file(ADA, "public", [messages[-1]])


# Decisions


async def test_of_two_who_decide_at_once_one_is_told(world: World) -> None:
    ref = await world.file(ADA, "public", [shown(await world.say(BO, "boo"))])
    decided = await asyncio.gather(
        world.desk.decide(ROOT, ref, decision="mute"),
        world.desk.decide(EVE, ref, decision="mute"),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in decided) == ["Conflict", "Report"]
    assert len(await world.desk.mutes()) == 1
    with pytest.raises(Conflict):
        await world.desk.decide(EVE, ref, decision="dismiss")


async def test_a_decision_is_carried_out_and_the_reporter_is_told(world: World) -> None:
    world.floor.addresses["p-bo"] = [HASHED]
    ref = await world.file(ADA, "public", [shown(await world.say(BO, "boo"))])
    report = await world.desk.decide(EVE, ref, decision="ban", reason="be kind", seconds=60)
    assert (report.state, report.decision, report.decided_by) == ("decided", "ban", EVE.id)
    letter = Moderated("banned", "be kind", world.clock.utc + 60_000)
    assert world.floor.ended == [("p-bo", BANNED, letter), (HASHED, BANNED, letter)]
    assert not world.may_connect("p-bo")
    assert not world.may_connect("p-cy", HASHED)
    [(person, notice)] = world.floor.told
    assert person == "p-ada"
    assert isinstance(notice, Notice)
    assert [entry.action for entry in await world.log()] == ["decide", "ban"]


async def test_who_is_away_is_told_when_they_come_back_within_a_day(world: World) -> None:
    refs = [await world.file(member, "public", [shown(await world.say(BO, "boo"))]) for member in (ADA, CY)]
    del world.floor.roles["p-ada"], world.floor.roles["p-cy"]
    for ref in refs:
        await world.desk.decide(EVE, ref, decision="dismiss")
    assert world.desk.listens
    world.advance(86_000)
    world.floor.roles["p-ada"] = world.floor.roles["p-cy"] = "guest"
    for _ in range(2):
        world.desk.came(ADA.sender, "booth-1")
    world.advance(1000)
    world.desk.came(CY.sender, "public")
    assert [person for person, _ in world.floor.told] == ["p-ada"]
    assert not world.desk.listens


async def test_a_warning_is_told_to_the_accused(world: World) -> None:
    ref = await world.file(ADA, "public", [shown(await world.say(BO, "boo"))])
    await world.desk.decide(EVE, ref, decision="warn", reason="be kind")
    letters = dict(world.floor.told)
    assert letters["p-bo"] == Notice("warning", "warned", "A moderator warns you: be kind")


async def test_a_decision_that_is_not_allowed_leaves_the_report_open(world: World) -> None:
    ref = await world.file(ADA, "public", [shown(await world.say(MO, "boo"))])
    with pytest.raises(NotAllowed):
        await world.desk.decide(EVE, ref, decision="ban")
    with pytest.raises(Wrong):
        await world.desk.decide(ROOT, ref, decision="pass")
    with pytest.raises(NotAllowed):
        await world.desk.decide(Actor("token:1", "user"), ref, decision="dismiss")
    with pytest.raises(NotFound):
        await world.desk.decide(ROOT, "none", decision="dismiss")
    assert [report.state for report in await world.reports()] == ["open"]
    assert await world.log() == []
    await world.desk.decide(ROOT, ref, decision="ban")


async def test_what_can_not_be_carried_out_is_not_decided(world: World) -> None:
    await world.desk.make_room(ROOT, name="tea", title="Tea")
    await world.ask(partial(world.engine.enter, Enter("tea", BO)))
    assert code(await world.weigh(BO, "hm", HOLD, "tea")) == "held"
    await world.desk.change_room(ROOT, "tea", archived=True)
    [report] = await world.reports()
    with pytest.raises(NotFound):
        await world.desk.decide(ROOT, report.ref, decision="pass")
    assert [found.state for found in await world.reports()] == ["open"]
    await world.desk.change_room(ROOT, "tea", archived=False)
    await world.desk.decide(ROOT, report.ref, decision="pass")
    assert [message.text for message in world.messages()] == ["hm"]


# What rules find


async def test_what_is_held_is_said_by_its_sender_once_a_moderator_lets_it_pass(world: World) -> None:
    refusal = await world.weigh(BO, "see example.org", HOLD, key="k1")
    assert code(refusal) == "held"
    assert world.messages() == []
    [report] = await world.reports()
    assert (report.reporter, report.accused, report.reason) == ("", "p-bo", "link, word")
    _, evidence = await world.desk.report(report.ref)
    assert evidence is not None
    assert [(proof.word, proof.message.text) for proof in evidence.finding.proofs] == [("held", "see example.org")]
    assert evidence.sender == BO.sender
    await world.desk.decide(EVE, report.ref, decision="pass")
    [message] = world.messages()
    assert (message.sender, message.text) == (BO.sender, "see example.org")
    # The client may not have heard of it, and sends it again.
    assert code(await world.weigh(BO, "see example.org", HOLD, key="k1")) == "forbidden"
    assert len(world.messages()) == 1


async def test_what_is_held_waits_once_under_its_key_also_after_a_restart(world: World) -> None:
    assert code(await world.weigh(BO, "hm", HOLD, key="k1")) == "held"
    world = await world.again()
    assert code(await world.weigh(BO, "hm", HOLD, key="k1")) == "held"
    [report] = await world.reports()
    await world.desk.decide(EVE, report.ref, decision="pass")
    assert [message.sender for message in world.messages()] == [BO.sender]


async def test_who_is_not_let_pass_is_told(world: World) -> None:
    await world.weigh(BO, "hm", HOLD)
    [report] = await world.reports()
    await world.desk.decide(EVE, report.ref, decision="dismiss")
    assert [person for person, _ in world.floor.told] == ["p-bo"]
    assert world.messages() == []


async def test_what_is_flagged_is_said_at_once_and_reported(world: World) -> None:
    answered: list[Answer | Refusal] = []
    weigh = Weigh(Publish("public", BO, "darn"), FLAG, opening=False)
    world.desk.weigh(weigh, lambda answer, re: answered.append(answer))
    assert [message.text for message in world.messages()] == ["darn"]
    [report] = await world.until_reported()
    assert (report.reporter, report.accused, report.reason) == ("", "p-bo", "word")
    _, evidence = await world.desk.report(report.ref)
    assert evidence is not None
    assert [(proof.word, proof.message.mid) for proof in evidence.finding.proofs] == [
        ("relayed", world.messages()[0].mid)
    ]


async def test_what_is_sent_again_is_not_reported_again(world: World) -> None:
    await world.weigh(BO, "darn", FLAG, key="k1")
    [report] = await world.until_reported()
    await world.desk.decide(EVE, report.ref, decision="dismiss")
    again = await world.weigh(BO, "darn", FLAG, key="k1")
    assert isinstance(again, Published)
    assert again.dup
    await world.weigh(BO, "darned", FLAG)
    assert sorted(found.state for found in await world.until_reported(2)) == ["decided", "open"]


async def test_in_booths_nothing_is_shown_to_moderators(make: Make) -> None:
    """What would be flagged passes, what would be held is refused: by a rule, and by a classifier."""
    kinds: list[Literal["flag", "hold"]] = ["flag", "hold"]

    async def classify(question: Question) -> Opinion:
        return Opinion("flag" if question.text == "flag" else "hold")

    for options in ({}, {"classify": classify}):
        world = await make(**options)
        booth = await world.meet()
        for kind in kinds:
            answer = await world.weigh(ADA, kind, PASS if options else Verdict(kind), booth)
            assert isinstance(answer, Published) if kind == "flag" else code(answer) == "forbidden"
        assert [message.text for message in world.messages()] == ["flag"]
        assert await world.reports() == []


async def test_one_who_floods_does_not_fill_the_desk(world: World) -> None:
    for number in range(OPEN_OF_ONE):
        assert code(await world.weigh(BO, f"{number}", HOLD)) == "held"
    refusal = await world.weigh(BO, "more", HOLD)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry) == ("rate_limited", True)
    assert isinstance(await world.weigh(BO, "flagged", FLAG), Published)
    assert len(await world.reports()) == OPEN_OF_ONE
    await world.file(ADA, "public", [shown(world.messages()[-1])])


# The classifier


async def test_a_slow_classifier_keeps_the_order_of_one_person_and_delays_nobody_else(make: Make) -> None:
    gates = {"slow": asyncio.Event(), "quick": asyncio.Event(), "other": asyncio.Event()}
    asked: list[str] = []

    async def classify(question: Question) -> Opinion:
        asked.append(question.text)
        await gates[question.text].wait()
        return Opinion("pass")

    world = await make(classify=classify)
    said = [
        asyncio.ensure_future(world.weigh(member, text, PASS))
        for member, text in ((BO, "slow"), (BO, "quick"), (CY, "other"))
    ]
    gates["quick"].set()
    gates["other"].set()
    assert isinstance(await said[2], Published)
    assert asked == ["slow", "quick", "other"]
    assert [message.text for message in world.messages()] == ["other"]
    gates["slow"].set()
    await asyncio.gather(*said)
    assert [message.text for message in world.messages()] == ["other", "slow", "quick"]


@pytest.mark.parametrize(("fail_mode", "outcome"), [("pass", "said"), ("hold", "held")])
async def test_a_classifier_that_does_not_answer(make: Make, fail_mode: str, outcome: str) -> None:
    begun = asyncio.Event()

    async def classify(question: Question) -> Opinion:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    world = await make(classify=classify, fail_mode=fail_mode)
    weighing = asyncio.ensure_future(world.weigh(BO, "hm", PASS))
    await begun.wait()
    world.advance(1.9)
    assert not weighing.done()
    world.advance(0.2)
    answer = await weighing
    assert isinstance(answer, Published) if outcome == "said" else code(answer) == "held"


async def test_a_classifier_that_fails_is_logged_without_what_was_said(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    def classify(question: Question) -> Opinion:
        raise ValueError(question.text)

    world = await make(classify=classify)
    for text in ("canary one", "canary two"):
        assert isinstance(await world.weigh(BO, text, PASS), Published)
    assert caplog.text.count("the classifier failed") == 1
    assert "canary" not in caplog.text


async def test_what_a_classifier_thinks_counts(make: Make) -> None:
    async def classify(question: Question) -> Opinion:
        assert (question.person, question.room) == ("p-bo", "public")
        opinions = {"bad": Opinion("refuse", ("insult",)), "hm": Opinion("flag", ("insult",)), "?": Opinion("hold")}
        return opinions[question.text]

    world = await make(classify=classify)
    assert code(await world.weigh(BO, "bad", PASS)) == "forbidden"
    assert isinstance(await world.weigh(BO, "hm", PASS), Published)
    assert [report.reason for report in await world.until_reported()] == ["classifier, insult"]
    assert code(await world.weigh(BO, "?", PASS)) == "held"
    assert [message.text for message in world.messages()] == ["hm"]


async def test_who_is_muted_while_the_classifier_thinks_says_nothing_more(make: Make) -> None:
    gate, begun = asyncio.Event(), asyncio.Event()

    async def classify(question: Question) -> Opinion:
        begun.set()
        await gate.wait()
        return Opinion("pass")

    world = await make(classify=classify)
    weighing = asyncio.ensure_future(world.weigh(BO, "hm", PASS))
    await begun.wait()
    await world.desk.mute(EVE, person="p-bo", room=None, reason="", seconds=None)
    gate.set()
    assert code(await weighing) == "muted"


# Bans and mutes


async def test_a_ban_is_lifted_undone_and_not_undone_twice(world: World) -> None:
    desk = world.desk
    world.floor.addresses["p-bo"] = [HASHED]
    bans = await desk.ban(EVE, person="p-bo", reason="spam", seconds=None)
    assert [(ban.kind, ban.subject) for ban in bans] == [("person", "p-bo"), ("address", HASHED)]
    assert {ban.id for ban in await desk.bans()} == {ban.id for ban in bans}
    assert len(await desk.unban(EVE, person="p-bo")) == 2
    assert world.may_connect("p-bo", HASHED)
    with pytest.raises(NotFound):
        await desk.unban(EVE, person="p-bo")
    with pytest.raises(Conflict):
        await desk.undo(EVE, 1)

    await desk.ban(EVE, person="p-bo", reason="spam", seconds=None)
    await desk.undo(EVE, 3)
    assert world.may_connect("p-bo", HASHED)
    with pytest.raises(Wrong):
        await desk.undo(EVE, 4)
    with pytest.raises(Wrong):
        await desk.undo(EVE, 2)
    with pytest.raises(NotFound):
        await desk.undo(EVE, 5)
    assert [(entry.actor, entry.action, entry.subject) for entry in await world.log()] == [
        (EVE.id, "ban", "p-bo"),
        (EVE.id, "unban", "p-bo"),
        (EVE.id, "ban", "p-bo"),
        (EVE.id, "undo", "3"),
    ]
    world = await world.again()
    assert await world.desk.bans() == []


async def test_a_ban_is_lifted_by_its_id_and_that_of_an_address_by_itself(world: World) -> None:
    world.floor.addresses["p-bo"] = [HASHED]
    person, address = await world.desk.ban(EVE, person="p-bo", reason="", seconds=None)
    await world.desk.unban(EVE, id=address.id)
    assert not world.may_connect("p-bo")
    assert world.may_connect("p-cy", HASHED)
    await world.desk.unban(EVE, id=person.id)
    assert world.may_connect("p-bo")


async def test_of_an_address_only_the_keyed_hash_is_kept(world: World, file: Path) -> None:
    with pytest.raises(Wrong, match="public internet"):
        await world.desk.ban_address(ROOT, address="192.168.1.2", reason="", seconds=None)
    ban = await world.desk.ban_address(ROOT, address=ADDRESS, reason="spam", seconds=None)
    assert (ban.kind, ban.subject) == ("address", HASHED)
    assert world.floor.ended == [(HASHED, BANNED, Moderated("banned", "spam"))]
    assert not world.may_connect(None, HASHED)
    assert world.store is not None
    async with aclosing(world.store.export()) as lines:
        assert not [line async for line in lines if ADDRESS in line]
    [entry] = await world.log()
    assert HASHED not in f"{entry.subject} {entry.details}"


async def test_a_moderator_does_not_ban_the_address_behind_which_they_sit(world: World) -> None:
    world.floor.addresses.update({"p-bo": [HASHED], "p-mo": [HASHED]})
    assert isinstance(await world.act(Act(MO, "ban", "p-bo")), Acted)
    assert [ban.kind for ban in await world.desk.bans()] == ["person"]


async def test_all_that_holds_survives_a_restart(world: World) -> None:
    rules = FilterRules(words={"darn": "refuse"}, hosts=frozenset({"example.org"}), repeats=Limit(3, 60.0, "hold"))
    await world.desk.ban(EVE, person="p-bo", reason="spam", seconds=3600)
    await world.desk.mute(EVE, person="p-cy", room="public", reason="loud", seconds=None)
    await world.desk.change_room(EVE, "public", slow_ms=5000)
    await world.desk.set_filter_rules(ROOT, rules)
    world = await world.again()
    assert not world.may_connect("p-bo")
    refusal = world.may_speak(CY)
    assert refusal is not None
    assert refusal.code == "muted"
    assert world.policy.penalties.slow_ms("public") == 5000
    assert await world.desk.filter_rules() == rules
    verdict = world.policy.judge(ADA, "public", "darn", in_booth=False, opening=False, now=0.0, now_ms=0)
    assert isinstance(verdict, Verdict)
    assert verdict.kind == "refuse"


async def test_what_ran_out_holds_no_more(world: World) -> None:
    await world.desk.ban(EVE, person="p-bo", reason="", seconds=60)
    await world.desk.mute(EVE, person="p-cy", room=None, reason="", seconds=90_000)
    world.advance(59)
    assert not world.may_connect("p-bo")
    world.advance(2)
    assert world.may_connect("p-bo")
    assert await world.desk.bans() == []
    assert len(await world.desk.mutes()) == 1
    with pytest.raises(Conflict):
        await world.desk.undo(EVE, 1)
    assert not world.is_open()
    world.advance(90_000)
    assert world.is_open()
    assert await world.desk.mutes() == []


async def test_a_clock_that_is_set_back_ends_nothing_early(world: World) -> None:
    await world.desk.ban(EVE, person="p-bo", reason="", seconds=60)
    world.clock.utc -= 3_600_000
    world.clock.advance(61)
    assert not world.may_connect("p-bo")
    world.advance(3_700)
    assert world.may_connect("p-bo")
    assert world.is_open()


async def test_a_mute_is_told_and_lifted(world: World) -> None:
    mute = await world.desk.mute(EVE, person="p-bo", room="public", reason="loud", seconds=60)
    await world.desk.mute(EVE, person="p-bo", room=None, reason="loud", seconds=60)
    assert world.floor.told[0] == ("p-bo", Moderated("muted", "loud", world.clock.utc + 60_000, "public"))
    assert [one.id for one in await world.desk.unmute(EVE, person="p-bo", room="public")] == [mute.id]
    assert world.may_speak(BO) is not None
    await world.desk.undo(EVE, 2)
    assert world.may_speak(BO) is None
    assert world.floor.told[-1] == ("p-bo", Moderated("unmuted", ""))
    with pytest.raises(NotFound):
        await world.desk.mute(EVE, person="p-bo", room="tea", reason="", seconds=60)


async def test_a_kick_ends_what_is_there(world: World) -> None:
    assert await world.desk.kick(EVE, person="p-bo", reason="calm down") == 1
    assert world.floor.ended == [("p-bo", KICKED, Moderated("kicked", "calm down"))]
    assert await world.desk.kick(EVE, person="p-nobody", reason="") == 0
    assert [entry.action for entry in await world.log()] == ["kick"]


async def test_nobody_acts_on_somebody_of_as_high_a_role_nor_on_themselves(world: World) -> None:
    desk, mo = world.desk, Actor("person:p-mo", "moderator")
    world.floor.roles["p-ada"] = "admin"
    for act in (
        partial(desk.ban, EVE, person="p-mo", reason="", seconds=None),
        partial(desk.ban, mo, person="p-ada", reason="", seconds=None),
        partial(desk.mute, EVE, person="p-mo", room=None, reason="", seconds=None),
        partial(desk.kick, EVE, person="p-ada", reason=""),
        partial(desk.kick, Actor("person:p-away", "admin"), person="p-away", reason=""),
        partial(desk.kick, Actor("person:p-cy", "user"), person="p-bo", reason=""),
        partial(desk.set_filter_rules, EVE, FilterRules()),
    ):
        with pytest.raises(NotAllowed):
            await act()
    await desk.mute(ROOT, person="p-mo", room=None, reason="", seconds=None)
    for lift in (partial(desk.unmute, mo, person="p-mo"), partial(desk.undo, mo, 1)):
        with pytest.raises(NotAllowed):
            await lift()
    assert [entry.action for entry in await world.log()] == ["mute"]


async def test_what_is_asked_for_is_checked(world: World) -> None:
    desk = world.desk
    for seconds in (0, -1, float("nan"), float("inf"), 1e12):
        with pytest.raises(Wrong, match="seconds"):
            await desk.ban(ROOT, person="p-bo", reason="", seconds=seconds)
    for reason in ("x" * 201, "one\ntwo", "\ud800", "\0"):
        with pytest.raises(Wrong, match="reason"):
            await desk.mute(ROOT, person="p-bo", room=None, reason=reason, seconds=None)
    for person in ("", "two words", "x" * 201, "\ud800"):
        with pytest.raises(Wrong, match="person"):
            await desk.kick(ROOT, person=person, reason="")
    with pytest.raises(Wrong):
        await desk.unban(ROOT)
    assert await world.log() == []


async def test_what_can_not_be_stored_is_not_done(world: World, file: Path) -> None:
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        acting = asyncio.ensure_future(world.act(Act(MO, "ban", "p-bo")))
        await world.clock.until(acting.done, advancing=0.1)
        refusal = acting.result()
        other.execute("ROLLBACK")
    other.close()
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.retry) == ("unavailable", True)
    assert world.may_connect("p-bo")
    assert world.floor.ended == []
    async with asyncio.timeout(30):
        while not isinstance(refusal, Acted):  # the thread that was refused lets go in its own time
            acting = asyncio.ensure_future(world.act(Act(MO, "ban", "p-bo")))
            await world.clock.until(acting.done, advancing=0.1)
            refusal = acting.result()


async def test_who_goes_away_while_it_is_done_leaves_nothing_half_done(world: World) -> None:
    acting = asyncio.ensure_future(world.desk.ban(EVE, person="p-bo", reason="", seconds=None))
    await world.clock.until(lambda: bool(world.floor.asked))
    acting.cancel()
    await asyncio.wait({acting})
    assert acting.cancelled()
    await world.clock.until(lambda: bool(world.floor.ended))
    assert not world.may_connect("p-bo")
    assert len(await world.desk.bans()) == 1


async def test_addresses_are_forgotten(world: World) -> None:
    world.floor.addresses["p-bo"] = [HASHED]
    await world.desk.ban(EVE, person="p-bo", reason="", seconds=None)
    world.advance(15 * DAY / 1000)
    await world.desk.forget(Retention(addresses=14))
    assert world.may_connect(None, HASHED)
    assert not world.may_connect("p-bo")
    assert world.store is not None
    assert not any(ban.subject == HASHED for ban in await world.store.select(Ban))


# Moderators in the chat


async def test_moderators_in_the_chat_act_and_are_answered(world: World) -> None:
    muted = await world.act(Act(MO, "mute", "p-bo", "public", "loud", 60))
    assert isinstance(muted, Acted)
    assert [mute.id for mute in await world.desk.mutes()] == [muted.id]
    assert await world.act(Act(MO, "unmute", "p-bo", "public")) == Acted()
    banned = await world.act(Act(MO, "ban", "p-bo"))
    assert isinstance(banned, Acted)
    assert [ban.id for ban in await world.desk.bans()] == [banned.id]
    assert await world.act(Act(MO, "unban", "p-bo")) == Acted()
    assert await world.act(Act(MO, "kick", "p-cy")) == Acted()
    assert await world.act(Act(MO, "lock", room="public")) == Acted()
    assert await world.act(Act(MO, "slow", room="public", seconds=5)) == Acted()
    assert [event for event in world.events if isinstance(event, RoomChanged)] == [
        RoomChanged("public", "", locked=True),
        RoomChanged("public", "", locked=True, slow_ms=5000),
    ]
    refusal = world.may_speak(ADA)
    assert refusal is not None
    assert refusal.code == "locked"
    assert await world.act(Act(MO, "lock", room="public", on=False)) == Acted()
    assert world.may_speak(ADA) is None
    assert {entry.actor for entry in await world.log()} == {"person:p-mo"}


async def test_what_moderators_in_the_chat_are_refused(world: World) -> None:
    assert code(await world.act(Act(ADA, "ban", "p-bo"))) == "forbidden"
    assert code(await world.act(Act(MO, "ban", "p-mo"))) == "forbidden"
    assert code(await world.act(Act(MO, "unban", "p-bo"))) == "not_found"
    assert code(await world.act(Act(MO, "kick", "p-nobody"))) == "not_found"
    assert code(await world.act(Act(MO, "lock", room="tea"))) == "not_found"
    assert code(await world.act(Act(MO, "mute", "p-bo", reason="x" * 300))) == "bad_field"


async def test_a_message_that_a_moderator_deletes_is_audited_and_their_own_is_not(world: World) -> None:
    mine = await world.say(MO, "mine", key="k1")
    bo = await world.say(BO, "boo", key="k2")
    world.floor.roles["p-ada"] = "admin"
    boss = Member("c-cy", Sender("p-cy", "cy", "admin"))
    admins = await world.say(boss, "hear me", key="k3")
    for message in (mine, bo):
        answer = await world.ask(partial(world.desk.amend, Amend("public", MO, message.mid)))
        assert isinstance(answer, Changed)
    assert code(await world.ask(partial(world.desk.amend, Amend("public", MO, admins.mid)))) == "forbidden"
    await world.desk.remove(ROOT, room="public", mid=admins.mid)
    with pytest.raises(NotFound):
        await world.desk.remove(ROOT, room="public", mid=bo.mid)
    deleted = [event for event in world.events if isinstance(event, Deleted)]
    assert [event.mid for event in deleted] == [mine.mid, bo.mid, admins.mid]
    assert ROOT.id not in deleted[-1].sender.id
    assert [(entry.action, entry.subject) for entry in await world.log()] == [
        ("delete", bo.mid),
        ("delete", admins.mid),
    ]


# Rooms


async def test_rooms_are_made_changed_archived_and_brought_back(world: World) -> None:
    desk = world.desk
    await desk.make_room(ROOT, name="tea", title="Tea time")
    with pytest.raises(Conflict):
        await desk.make_room(ROOT, name="tea", title="Tea")
    for name in ("", "Tea", "booth-1", "a b", "x" * 33, "-"):
        with pytest.raises(Wrong):
            await desk.make_room(ROOT, name=name, title="x")
    for title in ("", "two\nlines", "x" * 101):
        with pytest.raises(Wrong):
            await desk.change_room(ROOT, "tea", title=title)
    room = await desk.change_room(ROOT, "tea", title="Tea!", locked=True, archived=True)
    assert (room.title, room.locked, room.archived) == ("Tea!", True, True)
    assert code(await world.ask(partial(world.engine.enter, Enter("tea", ADA)))) == "not_found"
    await desk.undo(ROOT, 2)
    room = next(room for room in await desk.rooms() if room.name == "tea")
    assert (room.title, room.locked, room.archived) == ("Tea!", False, False)
    assert isinstance(await world.ask(partial(world.engine.enter, Enter("tea", ADA))), Seat)
    with pytest.raises(Conflict):
        await desk.undo(ROOT, 2)
    with pytest.raises(Wrong):
        await desk.change_room(ROOT, "public", archived=True)
    with pytest.raises(NotFound):
        await desk.change_room(ROOT, "coffee", locked=True)
    log = await world.log()
    assert [(entry.action, entry.subject) for entry in log] == [
        ("room.make", "tea"),
        ("room.change", "tea"),
        ("undo", "2"),
    ]
    assert not any("Tea" in entry.details for entry in log)


async def test_something_is_said_in_a_room_without_a_seat(world: World) -> None:
    mid = await world.desk.send(ROOT, room="public", text="hear, hear", name="News")
    message = world.messages()[-1]
    assert (message.mid, message.text, message.sender.name) == (mid, "hear, hear", "News")
    assert ROOT.id not in message.sender.id
    await world.desk.send(Actor("host", "admin"), room="public", text="and so on", name="News")
    for wrong in ({"name": "a> b"}, {"name": ""}, {"text": " "}, {"text": "x" * 10_001}, {"text": "\ud800"}):
        with pytest.raises(Wrong):
            await world.desk.send(ROOT, **{"room": "public", "text": "x", "name": "x", **wrong})
    with pytest.raises(NotFound):
        await world.desk.send(ROOT, room="tea", text="x", name="x")
    assert [entry.action for entry in await world.log()] == ["send"]


async def test_the_audit_log_holds_no_words(world: World) -> None:
    """No name, no text, no reason, no address: an entry is never forgotten."""
    world.floor.addresses["p-bo"] = [HASHED]
    message = await world.say(BO, "canary text")
    ref = await world.file(ADA, "public", [shown(message)], note="canary note")
    await world.desk.decide(EVE, ref, decision="ban", reason="canary reason")
    await world.desk.mute(EVE, person="p-cy", room="public", reason="canary reason", seconds=5)
    await world.desk.send(EVE, room="public", text="canary text", name="canary")
    await world.desk.change_room(EVE, "public", title="canary title", slow_ms=5)
    await world.desk.set_filter_rules(ROOT, FilterRules(words={"canary": "hold"}))
    await world.desk.remove(EVE, room="public", mid=message.mid)
    log = await world.log()
    assert len(log) == 7
    assert not any("canary" in f"{entry.subject} {entry.details}" or HASHED in entry.details for entry in log)
    assert all(isinstance(json.loads(entry.details), dict) for entry in log)


# Tokens, terms, and what the host app hears


async def test_who_bears_a_token(make: Make) -> None:
    async def verifier(token: str) -> Person | Refusal:
        if token == "late":
            await asyncio.Event().wait()
        if token == "broken":
            raise ValueError(token)
        return Person("7", "ada") if token == "good" else Refusal("unauthorized", "no")

    world = await make(verifier=verifier)
    assert await world.ask(partial(world.desk.verify, Verify("good"))) == Proved(Person("7", "ada"))
    assert code(await world.ask(partial(world.desk.verify, Verify("bad")))) == "unauthorized"
    assert code(await world.ask(partial(world.desk.verify, Verify("broken")))) == "internal"
    late = asyncio.ensure_future(world.ask(partial(world.desk.verify, Verify("late"))))
    await world.clock.until(late.done, advancing=1.0)
    assert code(late.result()) == "unavailable"


async def test_without_an_issuer_no_token_is_good(world: World) -> None:
    assert code(await world.ask(partial(world.desk.verify, Verify("good")))) == "unauthorized"


async def test_a_failure_is_logged_under_the_id_that_was_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    async def verifier(token: str) -> Person | Refusal:
        raise ValueError(token)

    world = await make(verifier=verifier)
    refusal = await world.ask(partial(world.desk.verify, Verify("canary")))
    assert isinstance(refusal, Refusal)
    assert refusal.message.removeprefix("the server failed here (id ").removesuffix(")") in caplog.text
    assert "canary" not in caplog.text + refusal.message


async def test_accepted_terms_are_kept(world: World) -> None:
    world.desk.accept(Accept("p-ada", "2", "adult"))
    assert world.store is not None
    async with asyncio.timeout(30):
        while not (found := await world.store.select(Consent)):
            pass
    assert found == [Consent("p-ada", "2", world.clock.utc, "adult")]


async def test_the_host_app_hears_in_order_and_its_errors_are_felt_by_nobody(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def on_message(message: Message) -> None:
        heard.append(message.text)
        if message.text == "canary":
            raise ValueError(message.text)

    def on_join(who: Sender, room: str) -> None:
        heard.append(f"{who.id} in {room}")

    def on_report(report: Report) -> None:
        heard.append(f"report {report.ref}")

    world = await make(hooks=Hooks(on_message, on_join, on_report))
    assert world.desk.listens
    for text in ("one", "canary", "two"):
        world.desk.said(await world.say(BO, text))
    world.desk.came(ADA.sender, "public")
    world.desk.came(ADA.sender, "booth-1")
    ref = await world.file(ADA, "public", [shown(world.messages()[0])])
    await world.clock.until(lambda: len(heard) == 5)
    assert heard == ["one", "canary", "two", "p-ada in public", f"report {ref}"]
    assert "on_message failed" in caplog.text
    assert "canary" not in caplog.text


async def test_the_operator_is_notified_at_most_once_a_minute(make: Make) -> None:
    notified: list[str] = []

    async def notify(ref: str) -> None:
        notified.append(ref)

    world = await make(notify=notify)
    refs = [await world.file(ADA, "public", [shown(await world.say(BO, "boo"))]) for _ in range(3)]
    await world.clock.until(lambda: len(notified) == 1)
    world.advance(59)
    await world.file(CY, "public", [shown(await world.say(BO, "boo"))])
    assert notified == refs[:1]
    world.advance(2)
    await world.clock.until(lambda: len(notified) == 2)
    world.advance(120)
    await world.file(CY, "public", [shown(await world.say(BO, "boo"))])
    await world.clock.until(lambda: len(notified) == 3)


async def test_who_waits_when_the_server_stops_is_answered(make: Make) -> None:
    asked: list[str] = []

    async def classify(question: Question) -> Opinion:
        asked.append(question.text)
        await asyncio.Event().wait()
        raise AssertionError

    world = await make(classify=classify)
    waiting = [asyncio.ensure_future(world.weigh(BO, "hm", PASS)) for _ in range(2)]
    await world.clock.until(lambda: len(asked) == 2)
    await world.desk.close()
    assert [code(answer) for answer in await asyncio.gather(*waiting)] == ["unavailable", "unavailable"]
    assert world.messages() == []


# Without a store


async def test_without_a_store_acts_hold_in_memory(make: Make) -> None:
    world = await make(stored=False)
    desk = world.desk
    await desk.ban(EVE, person="p-bo", reason="", seconds=None)
    await desk.mute(EVE, person="p-cy", room="public", reason="", seconds=60)
    await desk.make_room(ROOT, name="tea", title="Tea")
    await desk.change_room(EVE, "public", locked=True)
    assert not world.may_connect("p-bo")
    assert len(await desk.bans()) == len(await desk.mutes()) == 1
    await desk.undo(EVE, 1)
    await desk.undo(EVE, 4)
    assert world.may_connect("p-bo")
    assert world.may_speak(ADA) is None
    assert [room.name for room in await desk.rooms()] == ["public", "tea"]
    assert isinstance(await world.ask(partial(world.engine.look, Look(None))), RoomList)
    assert [entry.action for entry in await world.log()] == ["ban", "mute", "room.make", "room.change", "undo", "undo"]


async def test_without_a_store_reports_are_refused_but_blocks_hold(make: Make) -> None:
    world = await make(stored=False)
    booth, messages = await world.talk()
    assert code(await world.accuse(ADA, booth, messages, block=True)) == "unavailable"
    world.letters.clear()
    world.advance(60)
    await world.find(ADA)
    await world.find(BO)
    assert not any(isinstance(letter, MatchFound) for _, letter in world.letters)
    assert code(await world.weigh(BO, "hm", HOLD)) == "unavailable"
    assert isinstance(await world.weigh(BO, "darn", FLAG), Published)
    assert list(await world.reports()) == []
    with pytest.raises(NotFound):
        await world.desk.report("x")


async def test_a_store_that_could_not_be_opened_is_done_without(file: Path) -> None:
    world = World(file)
    world.engine.go_without_store()
    world.desk.go_without_store()
    await world.desk.ban(EVE, person="p-bo", reason="", seconds=None)
    assert not world.may_connect("p-bo")
    await world.desk.close()


async def test_methods_say_when_the_store_does_not_answer(world: World, file: Path) -> None:
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        acting = asyncio.ensure_future(world.desk.kick(EVE, person="p-bo", reason=""))
        await world.clock.until(acting.done, advancing=0.1)
        assert isinstance(acting.exception(), Unavailable)
        other.execute("ROLLBACK")
    other.close()
    assert world.floor.ended == []
