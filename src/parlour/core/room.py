"""A room: its members, the numbering of what happens in it, and the recent part of that.

A `Booth` is a room of two, where nobody has a lasting id and every message bears a stamp.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from math import inf
from typing import Final, Literal

from parlour.core.events import (
    Amend,
    Changed,
    Deleted,
    Edited,
    Event,
    Here,
    Member,
    MemberJoined,
    MemberLeft,
    MemberRenamed,
    Message,
    Numbered,
    Page,
    Position,
    Publish,
    Published,
    Reacted,
    ReadShown,
    Remembered,
    Seat,
    Sender,
    Show,
    TypingShown,
)
from parlour.core.keys import Keyring
from parlour.core.names import looks
from parlour.core.penalties import may
from parlour.core.records import Found, StoredRoom
from parlour.errors import Refusal

RECENT: Final = 1000
"""Events that a public room remembers."""

RECENT_IN_BOOTH: Final = 50

RECENT_CHARACTERS: Final = 4_000_000
"""Characters of text that a room remembers, so that long messages can't fill the memory."""

MISSED_CHARACTERS: Final = 1_000_000
"""Characters of text that a resume brings at most; who missed more pages back. It waits in memory for whoever reads
slowly."""

PAGE_CHARACTERS: Final = 50_000
"""Characters of text in one page: what a client asks for must not make it a slow reader."""

LISTED: Final = 100
"""Members up to which a room tells who they are."""

INTIMATE: Final = 50
"""Members up to which a room tells who comes, goes and writes; in a larger one, only how many there are."""

KEYS_SECONDS: Final = 600.0
KEYS_LIMIT: Final = 1000
"""How long, and how many for each person, a room knows the keys of what was said."""

AMENDABLE_SECONDS: Final = 900.0
"""How long a message can be changed by the one who said it."""

REACTIONS_LIMIT: Final = 50
"""Kinds of emoji at one message."""

NO_MESSAGE: Final = Refusal("not_found", "there is no such message, or not any more", field="mid")
_NOT_YOURS: Final = Refusal("forbidden", "the message is somebody else's", field="mid")
_TOO_LATE: Final = Refusal("expired", f"messages can be changed for {AMENDABLE_SECONDS / 60:g} minutes", field="mid")
_TOO_MANY_KINDS: Final = Refusal("too_large", "there are too many kinds of emoji at this message", field="emoji")
_OTHER_TEXT: Final = Refusal("conflict", "something else was said under this key; take a new one", field="key")
_TAKEN: Final = Refusal(
    "bad_name", "somebody here has this name, or one that looks like it; take another", field="name"
)


class _Amended:
    """What became of a message."""

    __slots__ = ("edited", "reactions", "text")

    def __init__(self) -> None:
        self.text: str | None = None
        self.edited: int | None = None
        self.reactions: Mapping[str, Sequence[str]] = {}  # the people behind each emoji, in their order


class Room:
    """Members who hear each other, and one order of events.

    Invariants: `off` is the offset of the newest event; it only grows. `_recent` holds the newest events, without a
    gap, so that the place of each is told by its offset; or none. Those from before a restart bear another epoch.

    `ts` is the time of day, which may be set forward and back; what expires does so by `now`, which never goes back.
    """

    __slots__ = (
        "_amended",
        "_characters",
        "_claims",
        "_keys",
        "_last_looks",
        "_looks",
        "_recent",
        "_remembers",
        "_said_at",
        "epoch",
        "is_kept",
        "members",
        "name",
        "off",
        "unstored",
    )

    def __init__(self, name: str, epoch: str, *, remembers: int = RECENT) -> None:
        self.name = name
        self.epoch = epoch  # names this numbering: a restart begins another one
        self.off = 0
        self.is_kept = False  # whether what happens here goes to a store
        self.unstored = 0  # how many of its events wait to be stored: the newest
        self.members: dict[str, Member] = {}  # by connection, in the order of their coming
        self._remembers = remembers
        self._recent: deque[Numbered] = deque()
        self._characters = 0  # of text in `_recent`
        self._amended: dict[str, _Amended] = {}  # by mid, of messages in `_recent`
        self._said_at: dict[str, float] = {}  # by mid, of messages in `_recent` that can be changed by their sender
        # By person, who spoke longest ago first: the answer to each key, oldest first, what was said under it, when.
        self._keys: OrderedDict[str, OrderedDict[str, tuple[Published, int | None, float]]] = OrderedDict()
        self._looks: dict[str, dict[str, int]] = {}  # by skeleton of a proved name: persons, and their connections
        self._claims: dict[str, tuple[str, ...]] = {}  # by connection: the skeletons that it holds there
        self._last_looks: tuple[str, tuple[str, ...]] = ("", ())  # a name, and its skeletons: they are asked for twice

    def restore(self, stored: StoredRoom, events: Iterable[Numbered], ts: int, now: float) -> None:
        """Before anybody is here: the numbering goes on after the highest offset that is stored, and these events,
        without a gap up to there, are remembered. Texts are as they are now, and deleted messages have none. `ts` and
        `now` tell the same moment."""
        self.is_kept = True
        self.off = stored.off
        for event in events:
            self._remember(event, len(event.text) if isinstance(event, Message | Edited) else 0)
        there = {message.mid: message for message in self._messages() if not message.deleted}
        for message in there.values():
            if message.key is not None:
                self._said_at[message.mid] = now - max(0, ts - message.ts) / 1000
        for event in self._recent:
            if isinstance(event, Edited | Reacted) and event.mid in there:
                self._note(event)
        for known in stored.keys:
            answer = Published(self.name, known.epoch, known.off, known.mid, known.ts, kept="stored")
            self._note_key(known.person, known.key, answer, known.said, now - max(0, ts - known.ts) / 1000)

    # Members

    def join(self, member: Member) -> MemberJoined | Refusal | None:
        """Seat the member; None if it sits here already, a refusal if its name looks like another's here."""
        if member.connection in self.members:
            return None
        refusal = self.objection(member)
        if refusal is not None:
            return refusal
        self._look(member)
        self.members[member.connection] = member
        return MemberJoined(self.name, self.shown(member), len(self.members), self.is_booth)

    def leave(self, connection: str, *, lost: bool = False) -> MemberLeft | None:
        """Free the seat; None if there is none, so that leaving twice is leaving once."""
        member = self.members.pop(connection, None)
        if member is None:
            return None
        self._unlook(member)
        return MemberLeft(self.name, self.shown(member), len(self.members), "lost" if lost else "left", self.is_booth)

    def rename(self, member: Member) -> MemberRenamed:
        """The member goes by another name from now on; there must be no objection."""
        self._unlook(self.members[member.connection])
        self._look(member)
        self.members[member.connection] = member
        return MemberRenamed(self.name, self.shown(member))

    def objection(self, member: Member) -> Refusal | None:
        """A refusal if the member's name looks like another's here (UTS #39). A plain one has none: anyone can take it.
        One that the host app proved can't be refused, but guards against others."""
        sender = member.sender
        if not self._guards(sender) or sender.role != "guest":
            return None
        found = self._looks_of(sender.name or "")
        return _TAKEN if any(self._looks.get(look, {}).keys() - {sender.id} for look in found) else None

    @property
    def is_intimate(self) -> bool:
        """Whether it tells who comes, goes and writes."""
        return len(self.members) <= INTIMATE

    @property
    def is_booth(self) -> bool:
        return False

    def shown(self, member: Member) -> Sender:
        """The member as the others see it."""
        return member.sender

    def here(self) -> Here:
        """How many are here, and who, if they are few."""
        return Here(self.name, len(self.members), self._listed())

    def seat(self, since: Position | None = None, *, listed: bool = True) -> Seat:
        """Where one who joined last stands, and what it missed `since`."""
        missed = None if since is None else self._missed(since)
        off = self.off if since is None or missed is None else since.off
        members = self._listed() if listed else ()
        return Seat(self.name, self.epoch, off, len(self.members), members, missed is not None, missed or ())

    # What happens

    def publish(self, publish: Publish, mid: str, ts: int) -> Message:
        """Give the message its place in the room's order."""
        member = publish.member
        if member.connection in self.members:  # else it is the host app that speaks
            self.members[member.connection] = member  # a plain one may go by another name now
        self.off += 1
        message = self._message(publish, mid, ts)
        if self._remembers:
            self._remember(message, len(message.text))
        return message

    def said_before(self, publish: Publish, key: str, now: float) -> Published | Refusal | None:
        """The answer to an earlier message under the same key; a refusal if that was another message."""
        keys = self._keys.get(publish.member.person)
        known = None if keys is None else keys.get(key)
        if known is None or known[2] < now - KEYS_SECONDS:
            return None
        answer, said, _ = known
        if said is not None and said != hash((publish.text, publish.reply_to)):
            return _OTHER_TEXT
        return replace(answer, dup=True)

    def note_stored(self, message: Message) -> None:
        """The message is stored: who sends it again is told so."""
        keys, key = self._keys.get(message.sender.id), message.key
        if keys is None or key is None or key not in keys or keys[key][0].mid != message.mid:
            return
        _, said, at = keys[key]
        keys[key] = published(message, kept="stored"), said, at

    def keep_key(self, publish: Publish, key: str, answer: Published, now: float) -> None:
        """Know the message again by its key, for a while, and when it was said, for it can be changed so long. A line,
        which has no key, is nobody's to change. People who have said nothing for long are forgotten on the way."""
        self._said_at[answer.mid] = now
        self._note_key(publish.member.person, key, answer, hash((publish.text, publish.reply_to)), now)
        while True:
            quiet, theirs = next(iter(self._keys.items()))
            if next(reversed(theirs.values()))[2] >= now - KEYS_SECONDS:
                break
            del self._keys[quiet]

    def amend(
        self, amend: Amend, ts: int, now: float, stored: Remembered | None = None
    ) -> tuple[Numbered | None, Changed] | Refusal:
        """Change a message that is remembered, or one of long ago as the store has it. The event is None where nothing
        changes: to do it twice is to do it once. A moderator may delete whatever was said in public."""
        known = self._known(amend.mid, stored)
        if known is None or known.message.deleted:
            return NO_MESSAGE
        message, me = known.message, self.shown(amend.member)
        if amend.emoji is not None:
            return self._react(amend, amend.emoji, me, ts, known.reactions)
        if not (amend.text is None and self._is_moderator(amend.member)):
            if message.sender.id != me.id:
                return _NOT_YOURS
            if now - self._when_said(message, ts, now) > AMENDABLE_SECONDS:
                return _TOO_LATE
        if amend.text is None:
            return self._delete(message.mid, me, ts)
        self.off += 1
        edited = self._edited(amend, amend.text, me, ts)
        if self._find(amend.mid) is not None:
            self._note(edited)
        self._remember(edited, len(amend.text))
        return edited, Changed(self.epoch, self.off)

    def remove(
        self, mid: str, by: Sender, ts: int, stored: Remembered | None = None
    ) -> tuple[Numbered, Changed] | Refusal:
        """Delete a message, whoever said it."""
        known = self._known(mid, stored)
        return NO_MESSAGE if known is None or known.message.deleted else self._delete(mid, by, ts)

    def show(self, show: Show) -> Event | None:
        """What is told in passing, if the room is small enough."""
        me = self.shown(show.member)
        if show.off is not None:
            return ReadShown(self.name, me, min(show.off, self.off))
        return TypingShown(self.name, me, bool(show.on)) if self.is_intimate else None

    @property
    def first_off(self) -> int:
        """The offset of the oldest event that is remembered; that of the next one if none is."""
        return self.off + 1 - len(self._recent)

    def remembered(self, mid: str) -> Remembered | None:
        """The message as it is now, if it is remembered."""
        message = self._find(mid)
        return None if message is None else self._as_now(message)

    def matching(self, words: frozenset[str]) -> Iterator[Remembered]:
        """Remembered messages that hold all the words (`words_of`), the newest first."""
        for one in map(self._as_now, self._messages(newest_first=True)):
            if words <= words_of(one.message.text) and not one.message.deleted:
                yield one

    def as_now(self, stored: Iterable[Remembered]) -> list[Remembered]:
        """What the store has, with what became of it since: that may not be stored yet."""
        changes: dict[str, list[Numbered]] = {}
        for event in self._recent:
            if not isinstance(event, Message):
                changes.setdefault(event.mid, []).append(event)
        return [_changed_by(changes.get(one.message.mid, ()), one) for one in stored]

    def page(self, before: int | None, after: int | None, limit: int) -> Page:
        """See `commands.History`."""
        if after is not None:
            newer = (message for message in self._messages() if message.off > after)
            found, more = few(map(self._as_now, newer), limit)
        else:
            older = (message for message in self._messages(newest_first=True) if before is None or message.off < before)
            found, more = few(map(self._as_now, older), limit)
            found.reverse()
        return Page(self.name, self.epoch, found, more)

    # Inside

    def _known(self, mid: str, stored: Remembered | None) -> Remembered | None:
        """The message as it is now: remembered, or else as the store had it."""
        known = self.remembered(mid)
        if known is None and stored is not None and stored.message.room == self.name:
            (known,) = self.as_now([stored])
        return known

    def _is_moderator(self, member: Member) -> bool:
        """What is said in a booth concerns nobody else."""
        return not self.is_booth and may(member.sender.role, "mod.delete")

    def _when_said(self, message: Message, ts: int, now: float) -> float:
        """By the clock that never goes back; of a message that is not remembered any more, the time of day must do. A
        line, which has no key, is nobody's to change."""
        if message.key is None or self._find(message.mid) is not None:
            return self._said_at.get(message.mid, -inf)
        return now - max(0, ts - message.ts) / 1000

    def _note(self, event: Edited | Reacted) -> None:
        """Know what became of a message that is remembered."""
        amended = self._amended.setdefault(event.mid, _Amended())
        if isinstance(event, Edited):
            amended.text, amended.edited = event.text, event.ts
        else:
            amended.reactions = _reacted(amended.reactions, event)

    def _note_key(self, person: str, key: str, answer: Published, said: int | None, at: float) -> None:
        keys = self._keys[person] = self._keys.pop(person, OrderedDict())
        keys.pop(key, None)  # a message of long ago
        keys[key] = answer, said, at
        if len(keys) > KEYS_LIMIT:
            keys.popitem(last=False)

    def _message(self, publish: Publish, mid: str, ts: int) -> Message:
        sender = publish.member.sender
        return Message(self.name, self.epoch, self.off, mid, ts, sender, publish.text, publish.reply_to, publish.key)

    def _edited(self, amend: Amend, text: str, me: Sender, ts: int) -> Edited:
        return Edited(self.name, self.epoch, self.off, amend.mid, ts, me, text)

    def _delete(self, mid: str, me: Sender, ts: int) -> tuple[Numbered, Changed]:
        """Its text is forgotten at once, also where it was edited: a resume must not bring it back."""
        self.off += 1
        self._amended.pop(mid, None)
        for place, event in enumerate(self._recent):
            if isinstance(event, Message | Edited) and event.mid == mid:
                self._characters -= len(event.text)
                self._recent[place] = _emptied(event)
        deleted = Deleted(self.name, self.epoch, self.off, mid, ts, me)
        self._remember(deleted, 0)
        return deleted, Changed(self.epoch, self.off)

    def _react(
        self, amend: Amend, emoji: str, me: Sender, ts: int, reactions: Mapping[str, Sequence[str]]
    ) -> tuple[Numbered | None, Changed] | Refusal:
        if (me.id in reactions.get(emoji, ())) is amend.on:
            return None, Changed(self.epoch, self.off)
        if amend.on and emoji not in reactions and len(reactions) >= REACTIONS_LIMIT:
            return _TOO_MANY_KINDS
        self.off += 1
        reacted = Reacted(self.name, self.epoch, self.off, amend.mid, ts, me, emoji, amend.on)
        if self._find(amend.mid) is not None:
            self._note(reacted)
        self._remember(reacted, 0)
        return reacted, Changed(self.epoch, self.off)

    def _remember(self, event: Numbered, characters: int) -> None:
        recent = self._recent
        recent.append(event)
        self._characters += characters
        while len(recent) > self._remembers or self._characters > RECENT_CHARACTERS:
            oldest = recent.popleft()
            if isinstance(oldest, Message | Edited):
                self._characters -= len(oldest.text)
            if self._said_at and isinstance(oldest, Message):
                self._said_at.pop(oldest.mid, None)
            if self._amended and isinstance(oldest, Message):
                self._amended.pop(oldest.mid, None)

    def _missed(self, since: Position) -> Sequence[Numbered] | None:
        """Every event after that position, or None if that can't be told."""
        behind = self.off - since.off
        start = len(self._recent) - behind
        if behind < 0 or start < 0 or not (since.epoch == self.epoch or self._came_from(since, start)):
            return None
        missed = list(islice(self._recent, start, None))
        characters = sum(len(event.text) for event in missed if isinstance(event, Message | Edited))
        return missed if characters <= MISSED_CHARACTERS else None

    def _came_from(self, since: Position, start: int) -> bool:
        """Whether a position in an earlier numbering is one in the order that is remembered; the event after it is at
        `start`.

        Example: 48, 49, 50 were shown in epoch a, 48 was stored, the server died; epoch b went on with 49. Who saw
        (a, 48) missed 49 and 50 of b, for 48 is a's here; who saw (a, 50) saw others than these. Who saw nothing saw no
        others.
        """
        if since.off == 0:
            return self.is_kept
        return any(event.epoch == since.epoch for event in islice(self._recent, max(0, start - 1), None))

    def _messages(self, *, newest_first: bool = False) -> Iterator[Message]:
        events = reversed(self._recent) if newest_first else iter(self._recent)
        return (event for event in events if isinstance(event, Message))

    def _find(self, mid: str) -> Message | None:
        return next((message for message in self._messages(newest_first=True) if message.mid == mid), None)

    def _as_now(self, message: Message) -> Remembered:
        amended = self._amended.get(message.mid)
        if amended is None:
            return Remembered(message, None, {})
        if amended.text is not None:
            message = replace(message, text=amended.text)
        return Remembered(message, amended.edited, amended.reactions)

    def _listed(self) -> Sequence[Sender]:
        """One entry for each person, however many connections it has here."""
        if len(self.members) > LISTED:
            return ()
        return list({sender.id: sender for sender in map(self.shown, self.members.values())}.values())

    def _guards(self, sender: Sender) -> bool:
        """Whether the name is not just anyone's here."""
        return not (sender.plain or sender.name is None or self.is_booth)

    def _look(self, member: Member) -> None:
        """Claim the member's name, and all that look like it."""
        sender = member.sender
        if not self._guards(sender):
            return
        claims = self._claims[member.connection] = self._looks_of(sender.name or "")
        for look in claims:
            people = self._looks.setdefault(look, {})
            people[sender.id] = people.get(sender.id, 0) + 1

    def _unlook(self, member: Member) -> None:
        for look in self._claims.pop(member.connection, ()):
            people = self._looks[look]
            people[member.person] -= 1
            if not people[member.person]:
                del people[member.person]
            if not people:
                del self._looks[look]

    def _looks_of(self, name: str) -> tuple[str, ...]:
        if self._last_looks[0] != name:
            self._last_looks = name, tuple(looks(name))
        return self._last_looks[1]


class Booth(Room):
    """A room of two seats.

    Invariant: whatever is remembered was said between the two of `_pair`, since they met.
    """

    __slots__ = ("_keyring", "_pair", "_shown", "_stamp", "_stamps", "ids")

    def __init__(self, name: str, epoch: str, keyring: Keyring) -> None:
        super().__init__(name, epoch, remembers=0)
        self._keyring = keyring
        self._pair: tuple[str, str] | None = None  # the two people, once there are two
        self._stamps = False  # whether anyone here could see a stamp
        self._stamp = ""  # the last one
        self.ids: dict[str, str] = {}  # the ids that people have here, by person
        self._shown: dict[str, tuple[Member, Sender]] = {}  # by connection: who was shown last, and as whom

    @property
    def is_booth(self) -> bool:
        return True

    def begin(self, pair: tuple[str, str], *, stamps: bool) -> None:
        """These two people meet: nothing that was said before is known to either. `stamps` says that one of them can
        see stamps and ids, and come back for what was said; where nobody can, nothing of it is made."""
        self.part()
        self._pair, self._stamps = pair, stamps
        self._remembers = RECENT_IN_BOOTH if stamps else 0
        if stamps:
            self.ids = {person: self._keyring.local_id(self.name, person) for person in pair}
        self._recent.clear()
        self._amended.clear()
        self._said_at.clear()
        self._keys.clear()
        self._characters = 0

    def part(self) -> None:
        """The two are no longer together."""
        self._pair, self._stamps, self._stamp = None, False, ""
        self._remembers = 0
        self.ids = {}
        self._shown.clear()

    def shown(self, member: Member) -> Sender:
        """The member under the id that it has here. Where nobody can see ids, it needs none."""
        if not self._stamps:
            return member.sender
        known = self._shown.get(member.connection)
        if known is not None and known[0] is member:
            return known[1]
        sender = member.sender
        shown = Sender(self.ids[sender.id], sender.name, "guest", sender.plain)
        self._shown[member.connection] = member, shown
        return shown

    def _message(self, publish: Publish, mid: str, ts: int) -> Message:
        sender, stamp = publish.member.sender, None
        if self._stamps:
            sender = self.shown(publish.member)
            stamp = self._next_stamp(publish.member.person, mid, ts, publish.text)
        return Message(
            self.name, self.epoch, self.off, mid, ts, sender, publish.text, publish.reply_to, publish.key, stamp
        )

    def _edited(self, amend: Amend, text: str, me: Sender, ts: int) -> Edited:
        stamp = self._next_stamp(amend.member.person, amend.mid, ts, text)
        return Edited(self.name, self.epoch, self.off, amend.mid, ts, me, text, stamp)

    def _next_stamp(self, person: str, mid: str, ts: int, text: str) -> str | None:
        if self._pair is None or not self._stamps:
            return None
        self._stamp = self._keyring.stamp(self.name, self._pair, mid, self.off, person, ts, text, self._stamp)
        return self._stamp


def published(message: Message, *, kept: Literal["relayed", "stored"] = "relayed") -> Published:
    """The answer to who said it."""
    return Published(message.room, message.epoch, message.off, message.mid, message.ts, kept=kept)


def words_of(text: str) -> frozenset[str]:
    """The words of a text, for a search: case makes no difference."""
    return frozenset(re.findall(r"\w+", text.casefold()))


def joined(page: Page, first: int, stored: Found, limit: int, *, forward: bool) -> Page:
    """A page of what is remembered, from the offset `first` on, behind what is `stored` before that: without a gap, and
    no message twice. `forward` says that the oldest were asked for, else it was the newest."""
    older = [one for one in stored.messages if one.message.off < first]
    if not forward:
        found, more = few(chain(reversed(page.messages), reversed(older)), limit)
        return replace(page, messages=found[::-1], more=more or stored.more)
    if stored.more and len(older) == len(stored.messages):  # there are others between these and the page
        return replace(page, messages=older, more=True)
    found, more = few(chain(older, page.messages), limit)
    return replace(page, messages=found, more=more or page.more)


def few(messages: Iterable[Remembered], limit: int) -> tuple[list[Remembered], bool]:
    """At most `limit` messages, and not more text than one answer should hold; and whether there are others."""
    found: list[Remembered] = []
    characters = 0
    for message in messages:
        characters += len(message.message.text)
        if len(found) == limit or (found and characters > PAGE_CHARACTERS):
            return found, True
        found.append(message)
    return found, False


def _emptied(event: Message | Edited) -> Numbered:
    """Without its text, and without the stamp, which would let a guess at the text be checked."""
    if isinstance(event, Message):
        return replace(event, text="", stamp=None, deleted=True)
    return replace(event, text="", stamp=None)


def _changed_by(changes: Iterable[Numbered], one: Remembered) -> Remembered:
    """The message after what happened to it. To apply what it shows already changes nothing."""
    message, edited, reactions = one.message, one.edited, one.reactions
    for event in changes:
        match event:
            case Edited():
                message, edited = replace(message, text=event.text), event.ts
            case Reacted():
                reactions = _reacted(reactions, event)
            case Deleted():
                return Remembered(replace(message, text="", deleted=True), None, {})
    return Remembered(message, edited, reactions)


def _reacted(reactions: Mapping[str, Sequence[str]], event: Reacted) -> dict[str, Sequence[str]]:
    """With this reaction, or without it; each person counts once."""
    people = reactions.get(event.emoji, ())
    if event.on:
        return {**reactions, event.emoji: people if event.sender.id in people else (*people, event.sender.id)}
    left = {**reactions, event.emoji: tuple(person for person in people if person != event.sender.id)}
    if not left[event.emoji]:
        del left[event.emoji]
    return left
