"""The wire v1: one JSON object in each frame, both ways, as docs/protocol.md has it.

`forms` says how commands are read, `shapes` how all else is written.
"""

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias, assert_never

import msgspec

from parlour.core import events as core
from parlour.core.commands import PAGE_LIMIT, Command
from parlour.core.moderation import TEXT_LIMIT
from parlour.errors import BINARY, Close, Refusal
from parlour.wire import shapes
from parlour.wire.contract import FRAME_LIMIT
from parlour.wire.forms import FORMS, NUMBER_LIMIT, SHAPE, explained
from parlour.wire.strict import DEPTH_LIMIT, holds_nul, is_too_deep

SUBPROTOCOL: Final = "parlour.v1.json"
"""What a client offers to speak it."""

Id: TypeAlias = Annotated[int, msgspec.Meta(ge=-NUMBER_LIMIT, le=NUMBER_LIMIT)]


class _Head(msgspec.Struct, gc=False):
    op: str
    id: Id | None = None


class _Number(msgspec.Struct, gc=False):
    id: Id | None = None


_HEAD_MUST: Final = {"op": "a string", "id": f"an integer from -{NUMBER_LIMIT} to {NUMBER_LIMIT}"}

_head_of = msgspec.json.Decoder(_Head).decode
_number_of = msgspec.json.Decoder(_Number).decode
_encode = msgspec.json.Encoder().encode


class V1:
    """The wire of clients that have sessions."""

    name: Final = "v1"
    has_sessions: Final = True

    def decode(self, text: str) -> tuple[Command | Refusal, int | None]:
        """See `Wire.decode`. The last of a repeated key wins (RFC 8259 4 leaves it open), and null counts as left
        out."""
        if is_too_deep(text):
            return Refusal("bad_frame", f"nested deeper than {DEPTH_LIMIT} levels; nest less"), None
        try:
            head = _head_of(text)
        except msgspec.ValidationError as error:
            return explained(str(error), _HEAD_MUST), _number_in(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return Refusal("bad_frame", SHAPE), None
        form = FORMS.get(head.op)
        if form is None:
            return Refusal("unknown_op", 'there is no such command; change "op"', field="op"), head.id
        if head.id is None and form.needs_id:
            return Refusal("bad_field", '"id" is missing; give an integer', field="id"), None
        if holds_nul(text):
            return Refusal("bad_field", "no text may contain the character NUL; leave it out"), head.id
        return form.read(text), head.id

    def text_of(self, data: bytes) -> Close:
        """A binary frame ends the connection, whatever it holds."""
        return BINARY

    def encode(self, event: core.Event) -> str | None:
        """See `Wire.encode`. Who sits in a booth is told by letters."""
        match event:
            case core.Message():
                shape: shapes.Event = shapes.Message(
                    event.room,
                    event.off,
                    event.mid,
                    event.ts,
                    _person(event.sender),
                    event.text,
                    event.reply_to,
                    event.key,
                    event.stamp,
                    event.deleted,
                )
            case core.Edited(room, _, off, mid, ts, sender, text, stamp):
                shape = shapes.MessageEdited(room, off, mid, ts, _person(sender), text, stamp)
            case core.Deleted(room, _, off, mid, ts, sender):
                shape = shapes.MessageDeleted(room, off, mid, ts, _person(sender))
            case core.Reacted(room, _, off, mid, ts, sender, emoji, on):
                shape = shapes.MessageReaction(room, off, mid, ts, _person(sender), emoji, on)
            case core.MemberJoined(room, member, count, in_booth):
                if in_booth:
                    return None
                shape = shapes.MemberJoined(room, _person(member), count)
            case core.MemberLeft(room, member, count, reason, in_booth):
                if in_booth:
                    return None
                shape = shapes.MemberLeft(room, _person(member), count, reason)
            case core.MemberRenamed(room, member):
                shape = shapes.MemberRenamed(room, _person(member))
            case core.Counted(room, count):
                shape = shapes.Presence(room, count)
            case core.TypingShown(room, sender, on):
                shape = shapes.Typing(room, _person(sender), on)
            case core.ReadShown(room, sender, off):
                shape = shapes.Read(room, _person(sender), off)
            case core.RoomChanged(room, title, locked, slow_ms, archived):
                shape = shapes.RoomChanged(room, title, locked, slow_ms, archived)
            case core.Gap(room, epoch, off):
                shape = shapes.Gap(room, epoch, off)
            case _:
                assert_never(event)
        return _encode(shape).decode()

    def tell(self, letter: core.Letter) -> str:
        """See `Wire.tell`."""
        match letter:
            case core.MatchWaiting(ticket, since, relaxed):
                shape: shapes.Event = shapes.MatchWaiting(ticket, since, relaxed)
            case core.MatchFound(room, epoch, off, peer, common):
                shape = shapes.MatchFound(room, epoch, off, _person(peer), common)
            case core.MatchAway(room, grace_ms):
                shape = shapes.MatchAway(room, grace_ms)
            case core.MatchBack(room):
                shape = shapes.MatchBack(room)
            case core.MatchEnded(room, by):
                shape = shapes.MatchEnded(by, room)
            case core.Notice(level, code, text):
                shape = shapes.Notice(level, code, text)
            case core.Moderated(action, reason, until_ms, room):
                shape = shapes.Moderated(action, reason, until_ms, room)
            case core.Reconnect(after_ms, jitter_ms):
                shape = shapes.Reconnect(after_ms, jitter_ms)
            case core.Asked():
                shape = shapes.Ping()
            case core.Bye(close, after):
                shape = shapes.Bye(close.code, close.reason, close.reconnect, after)
            case _:
                assert_never(letter)
        return _encode(shape).decode()

    def reply(self, answer: core.Answer, re: int | None) -> str | None:
        """See `Wire.reply`."""
        match answer:
            case core.Published(_, epoch, off, mid, ts, dup, kept):
                shape: shapes.Reply = shapes.Sent(re, True, mid, epoch, off, ts, kept, dup)
            case core.Changed(epoch, off):
                shape = shapes.Changed(re, True, epoch, off)
            case core.Done():
                shape = shapes.Reply(re, True)
            case core.Clock(ts):
                shape = shapes.Clock(re, True, ts)
            case core.Ticket(ticket):
                shape = shapes.Ticket(re, True, ticket)
            case core.Seat(room, epoch, off, count, members):
                shape = shapes.Joined(re, True, room, epoch, off, count, _people(members))
            case core.Here(room, count, members):
                shape = shapes.Here(re, True, room, count, _people(members))
            case core.RoomList(rooms):
                shape = shapes.RoomList(re, True, [_room(room) for room in rooms])
            case core.Named(name):
                shape = shapes.Named(re, True, name)
            case core.Page(room, epoch, messages, more):
                shape = shapes.Page(re, True, room, epoch, [_remembered(one) for one in messages], more)
            case core.Matches(messages, more):
                shape = shapes.Matches(re, True, [_remembered(one) for one in messages], more)
            case core.Filed(ref):
                shape = shapes.Filed(re, True, ref)
            case core.Acted(id):
                shape = shapes.Acted(re, True, id)
            case core.Welcome(session, person, limits, ping_ms, rooms, required):
                places = [_place(room) for room in rooms]
                shape = shapes.Welcome(
                    re, True, session, _person(person), _limits(limits), ping_ms, places, _required(required)
                )
            case core.Claimed() | core.Gone() | core.Proved() | core.Whom():
                return None
            case _:
                assert_never(answer)
        return _encode(shape).decode()

    def refuse(self, refusal: Refusal, re: int | None) -> str:
        """See `Wire.refuse`."""
        error = shapes.Error(refusal.code, refusal.message, refusal.retry, refusal.retry_after_ms, refusal.field)
        return _encode(shapes.Refused(re, False, error)).decode()


def _number_in(text: str) -> int | None:
    """The `id` of a command that can't be read further; None if that is wrong, too."""
    try:
        return _number_of(text).id
    except msgspec.DecodeError:
        return None


def _person(sender: core.Sender) -> shapes.Person:
    return shapes.Person(sender.id, sender.name, sender.role, sender.plain)


def _people(members: Sequence[core.Sender]) -> list[shapes.Person] | None:
    """None, where there are too many to list, is left out."""
    return [_person(member) for member in members] or None


def _remembered(one: core.Remembered) -> shapes.Remembered:
    message = one.message
    return shapes.Remembered(
        message.room,
        message.off,
        message.mid,
        message.ts,
        _person(message.sender),
        message.text,
        message.reply_to,
        message.key,
        message.stamp,
        message.deleted,
        one.edited,
        one.reactions or None,
    )


def _limits(limits: core.Limits) -> shapes.Limits:
    return shapes.Limits(TEXT_LIMIT, FRAME_LIMIT, PAGE_LIMIT, limits.burst, limits.rate)


def _room(room: core.RoomShown) -> shapes.Room:
    return shapes.Room(room.room, room.count, room.title, room.locked, room.slow_ms)


def _required(required: core.Required | None) -> shapes.Required | None:
    return None if required is None else shapes.Required(required.version, required.asks_age, required.url)


def _place(seat: core.Seat | core.Gone) -> shapes.Seat | shapes.Gone:
    if isinstance(seat, core.Gone):
        return shapes.Gone(seat.room, True)
    peer = None if seat.peer is None else _person(seat.peer)
    upto = seat.missed[-1].off if seat.missed else seat.off
    return shapes.Seat(seat.room, seat.epoch, seat.off, upto, seat.recovered, seat.count, _people(seat.members), peer)
