"""The rules, once more and in another way: who sits where, and who must have heard what.

`Model` follows the kit's trace entry by entry, with rooms and booths of its own, and knows nothing of the code under
test. A *voice* is what a text begins with: a plain client's label, or the name of a visitor, who speaks v1 over any
number of connections. A *person* is a voice too, but for users of the host app, who may have several.
"""

import json
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from parlour.testing import Client, Happening, V1Client

PUBLIC = "public"
GRACE = 60.0
AVOID = 30.0
REMEMBERED = {True: 1000, False: 50}
"""Events that can be resumed, in the public room and in a booth."""

ROUNDING = 1e-6

NUMBERED = {
    "said": "message",
    "edited": "message.edited",
    "deleted": "message.deleted",
    "reacted": "message.reaction",
}
MAY_BE_REFUSED = {
    "send": {"not_member"},
    "edit": {"not_member", "not_found"},
    "delete": {"not_member", "not_found"},
    "react": {"not_member", "not_found"},
    "match.find": {"conflict"},
    "block": {"not_found"},
    "presence": {"not_member"},
    "typing": {"not_member"},
}
"""Why, beside the rate: a client may not know yet that a booth is over, or that a message was taken back."""


@dataclass
class Entry:
    """One numbered event of a room."""

    at: float
    kind: str
    text: str
    voice: str
    mid: str | None = None  # once a client was told


@dataclass
class Seat:
    """A person's place in a booth."""

    label: str
    away_at: float | None = None


@dataclass
class Model:
    """See the module. Lines are told apart by their text, `voice#number`, so that who said one can be read from it."""

    clients: dict[str, Client | V1Client] = field(default_factory=dict)  # by label
    voices: dict[str, str] = field(default_factory=dict)  # by label
    people: dict[str, str] = field(default_factory=dict)  # by label
    person_of: dict[str, str] = field(default_factory=dict)  # by voice
    born: dict[str, int] = field(default_factory=dict)  # which start of the server it connected to, by label
    starts: int = 1
    came_at: dict[str, float] = field(default_factory=dict)  # by label

    rooms: dict[str, list[str]] = field(default_factory=dict)  # who is connected, by room, booths included
    booths: dict[str, dict[str, Seat]] = field(default_factory=dict)  # seats by booth and person
    booth_of: dict[str, str] = field(default_factory=dict)  # by person
    beside: dict[tuple[str, str], str] = field(default_factory=dict)  # the other one's voice, by booth and label
    ended: dict[str, float] = field(default_factory=dict)  # by booth: how long somebody had been away at its end
    meetings: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # how often two met, by booth
    stays: dict[tuple[str, str], int] = field(default_factory=dict)  # which of those it was, by client and booth
    old_booths: set[str] = field(default_factory=set)
    parted: dict[frozenset[str], float] = field(default_factory=dict)
    blocked: set[tuple[str, str]] = field(default_factory=set)
    logs: dict[tuple[int, str], list[Entry]] = field(default_factory=lambda: defaultdict(list))
    epochs: dict[tuple[int, str], str] = field(default_factory=dict)
    said: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))  # last number of a plain voice
    once: set[tuple[int, int, str]] = field(default_factory=set)  # what visitors said
    deleted: set[str] = field(default_factory=set)

    heard: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # lines received, by plain client
    due: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))  # lines to be received
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # refusals received, by plain client
    met: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # voices heard in a booth, by the same
    hearers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # voices, by text said in a booth

    seats: dict[tuple[str, str], deque[int]] = field(default_factory=lambda: defaultdict(deque))  # see `_seat`
    seated_at: dict[tuple[str, str], float] = field(default_factory=dict)  # by label and room
    positions: dict[tuple[str, str], int] = field(default_factory=dict)  # last offset heard, by v1 label and room
    answers: dict[tuple[str, str, int, str, str], tuple[str, int]] = field(default_factory=dict)  # mid and off of a key
    lasting: dict[str, str] = field(default_factory=dict)  # voices, by the id that they have everywhere
    local: dict[str, tuple[str, str]] = field(default_factory=dict)  # booth and person, by the id there

    def meet(self, client: Client | V1Client, voice: str, person: str) -> None:
        """A client connects."""
        self.clients[client.label] = client
        self.voices[client.label] = voice
        self.people[client.label] = self.person_of[voice] = person
        self.born[client.label] = self.starts

    def log(self, label: str, room: str) -> list[Entry]:
        """What happened in the room, on the server to which this client is or was connected."""
        return self.logs[self.born[label], room]

    def follow(self, happening: Happening) -> None:
        """One more entry of the trace."""
        at, who, what, detail, room = happening
        self._let_go(at)
        if what == "line":
            self._line(who, detail)
        elif what == "event":
            self._event(who, json.loads(detail))
        elif what == "reply":
            self._reply(who, json.loads(detail))
        elif what in NUMBERED:
            self._happened(at, room or "", what, detail)
        elif what == "connect":
            self.came_at[who] = at
        elif what == "seat":
            self._seat(at, who, room or "")
        elif what == "leave":
            self._leave(at, who, room or "", lost=detail == "lost")
        elif what == "restart":
            self._restart()
        assert what != "failed", f"the server broke while it served {who}: {detail}"

    # Who sits where

    def _seat(self, at: float, who: str, room: str) -> None:
        assert who not in self.rooms.get(room, ()), f"{who} got a second seat in {room}"
        self.rooms.setdefault(room, []).append(who)
        self.seats[who, room].append(len(self.log(who, room)))  # a v1 client will be told where it stands
        self.seated_at[who, room] = at
        if room == PUBLIC:
            return
        person, is_v1 = self.people[who], self._is_v1(who)
        booth = self.booths.get(room)
        if booth is not None and person in booth:
            away_at = booth[person].away_at
            assert away_at is not None, f"{who} got the seat of {booth[person].label}, who is there"
            assert is_v1
            booth[person] = Seat(who)
            self.stays[who, room] = self.meetings[room]
            return
        if person in self.booth_of:
            self.forget(self.booth_of[person])
        self.booth_of[person] = room
        if booth is None:
            assert room not in self.old_booths, f"{who} got {room}, which is not new"
            self.old_booths.add(room)
            alone = [] if is_v1 else [other for other in self._alone() if self.may_meet(person, other, at)]
            assert not alone, f"rule 4: {who} got a new booth, but each of {alone} waits"
            self.booths[room] = {person: Seat(who)}
            return
        assert len(booth) == 1, f"{who} got {room}, where {list(booth)} sit"
        (other,) = booth
        assert booth[other].away_at is None, f"{who} got a seat beside {other}, who is away"
        assert self.may_meet(person, other, at), f"{person} met {other}"
        self.meetings[room] += 1
        self.stays[who, room] = self.stays[booth[other].label, room] = self.meetings[room]
        self.beside[room, who] = self.voices[booth[other].label]
        self.beside[room, booth[other].label] = self.voices[who]
        booth[person] = Seat(who)

    def _leave(self, at: float, who: str, room: str, *, lost: bool) -> None:
        self.rooms[room].remove(who)
        if not self.rooms[room]:
            del self.rooms[room]
        booth, person = self.booths.get(room, {}), self.people[who]
        if person not in booth:
            return
        partner = next((seat for other, seat in booth.items() if other != person), None)
        if lost and self._is_v1(who) and partner is not None and self._is_v1(partner.label):
            booth[person].away_at = at
        elif partner is not None and self._is_v1(partner.label):
            self._end(at, room)
        else:
            if partner is not None and self._is_v1(who):
                self.parted[frozenset(booth)] = at
            del booth[person], self.booth_of[person]
            if not booth:
                del self.booths[room]

    def _end(self, at: float, room: str) -> None:
        """The booth is over, for both."""
        booth = self.booths.pop(room)
        self.parted[frozenset(booth)] = at
        self.ended[room] = max(at - seat.away_at if seat.away_at is not None else 0 for seat in booth.values())
        for person in booth:
            del self.booth_of[person]

    def _let_go(self, at: float) -> None:
        """Where both are away, nobody is told of the end."""
        for room, booth in list(self._with_away()):
            ends = [GRACE + seat.away_at for seat in booth.values() if seat.away_at is not None]
            if len(ends) == len(booth) and min(ends) <= at:
                self._end(min(ends), room)

    def forget(self, room: str) -> None:
        """Both are away, and one of them looks for somebody else: nobody is told of that end either."""
        booth = self.booths[room]
        assert all(seat.away_at is not None for seat in booth.values()), f"{room} is gone, with {booth}"
        self._end(-AVOID, room)

    def _restart(self) -> None:
        assert not self.rooms
        self.starts += 1
        for memory in (self.booths, self.booth_of, self.parted):
            memory.clear()
        self.blocked.clear()

    def may_meet(self, one: str, other: str, at: float) -> bool:
        """As far as people go; what they wish for is another matter."""
        parted = self.parted.get(frozenset((one, other)), -AVOID)
        blocked = not self.blocked.isdisjoint({(one, other), (other, one)})
        return one != other and not blocked and at - parted >= AVOID - ROUNDING

    def _alone(self) -> Iterator[str]:
        return (person for booth in self.booths.values() if len(booth) == 1 for person in booth)

    def _with_away(self) -> Iterator[tuple[str, dict[str, Seat]]]:
        for room, booth in self.booths.items():
            if any(seat.away_at is not None for seat in booth.values()):
                yield room, booth

    def _is_v1(self, label: str) -> bool:
        return isinstance(self.clients[label], V1Client)

    def check(self, now: float) -> None:
        """What holds between any two acts."""
        self._let_go(now)
        for room, booth in self.booths.items():
            present = [seat.label for seat in booth.values() if seat.away_at is None]
            assert sorted(self.rooms.get(room, ())) == sorted(present)
            assert 1 <= len(booth) <= 2
            assert len(booth) == 2 or not self._is_v1(present[0]), f"{present[0]} speaks v1 and sits alone in {room}"
            for seat in booth.values():
                kept = seat.away_at is None or now - seat.away_at <= GRACE + ROUNDING
                assert kept, f"the seat of {seat.label} is kept since {seat.away_at}"
        over = self.rooms.keys() - self.booths.keys() - {PUBLIC}
        assert not over, f"somebody is left in {over}"

    # What happens in rooms

    def _happened(self, at: float, room: str, what: str, detail: str) -> None:
        kind = NUMBERED[what]
        log = self.logs[self.starts, room]
        if what != "said":
            log.append(Entry(at, kind, detail if what == "edited" else "", ""))
            if what == "deleted":
                self.deleted.add(detail)
            return
        voice, number = _origin(detail)
        speakers = [label for label in self.rooms.get(room, ()) if self.voices[label] == voice]
        assert speakers, f"rule 5: {detail!r} was said in {room}; {voice} does not sit there"
        if self._is_v1(speakers[0]):
            # Two who meet anew in the booth that a plain client kept begin anew.
            said = self.starts, self.meetings[room], detail
            assert said not in self.once, f"{detail!r} was said twice"
            self.once.add(said)
        else:
            last = self.said[self.starts, voice]
            assert number == last + 1, f"{voice} said {number} after {last}"
            self.said[self.starts, voice] = number
        log.append(Entry(at, kind, detail.partition("> ")[2], voice))
        for member in self.rooms[room]:
            if not self._is_v1(member):
                self.due[member].append((at, detail))

    # What plain clients hear

    def _line(self, who: str, line: str) -> None:
        if line.startswith("! "):
            self.refused[who] += 1
            return
        place = self.heard[who]
        self.heard[who] += 1
        due = self.due[who]
        assert place < len(due), f"{who} received {line!r}, which nobody said to it"
        assert due[place][1] == line, f"{who} received {line!r} where {due[place][1]!r} was next"
        if (who, PUBLIC) not in self.seated_at:
            self._overhear(who, line)

    def _overhear(self, who: str, line: str) -> None:
        """What outsiders can see of a booth, without knowing where anyone sits."""
        voice, _ = _origin(line)
        self._listen(self.voices[who], voice, line.partition("> ")[2])
        met = self.met[who]
        if voice != who and met[-1:] != [voice]:
            again = voice in met and not self._is_v1(voice)
            assert not again, f"{who} hears {voice} again after another stranger: {met}"
            met.append(voice)

    def _listen(self, hearer: str, voice: str, text: str) -> None:
        hearers = self.hearers[text]
        hearers |= {hearer, voice}
        assert len(hearers) <= 2, f"three heard {text!r}: {sorted(hearers)}"

    # What v1 clients hear

    def _event(self, who: str, event: dict[str, Any]) -> None:
        kind, room = event["ev"], event.get("room", "")
        if kind in NUMBERED.values():
            self._numbered(who, room, event)
        elif kind == "match.found":
            self._stand(who, event)
            self._know(room, event["peer"]["id"], self.beside[room, who])
        elif kind == "match.ended" and room:
            assert self.positions.pop((who, room), None) is not None, f"{who} heard of the end of {room}"
            is_lost = self.ended.get(room, 0) >= GRACE - ROUNDING
            assert is_lost or event["by"] != "lost", f"{who} heard {event} after {self.ended.get(room)} s"
        assert kind != "gap", f"{who} heard of a gap"
        if room != PUBLIC:
            self._check_ids(room, event)

    def _numbered(self, who: str, room: str, event: dict[str, Any]) -> None:
        kind, off, mid = event["ev"], event["off"], event["mid"]
        last = self.positions.get((who, room))
        assert last is not None, f"{who} heard {event} in a room where it has no seat"
        assert off == last + 1, f"{who} heard {off} after {last} in {room}"
        self.positions[who, room] = off
        entry = self.log(who, room)[off - 1]
        assert entry.kind == kind, f"{who} heard {event} where {entry} happened"
        entry.mid = entry.mid or mid
        assert entry.mid == mid
        text = event.get("text", "")
        assert text == entry.text or (text == "" and mid in self.deleted), f"{who} heard {event}, {entry} happened"
        if kind != "message":
            return
        assert event.get("deleted", False) == (text == "")
        sender = event["from"]
        if room == PUBLIC:
            voice = self.lasting.setdefault(sender["id"], entry.voice)
            assert voice == entry.voice or sender["role"] == "user", f"{voice} and {entry.voice} are {sender['id']}"
            return
        self._know(room, sender["id"], entry.voice)
        self._listen(self.voices[who], entry.voice, entry.text)
        assert ("stamp" in event) == bool(text), f"{who} heard {event}: where is its stamp?"

    def _know(self, room: str, id: str, voice: str) -> None:
        """In a booth each has one id, which is seen nowhere else."""
        mine = (room, self.person_of[voice])
        known = self.local.setdefault(id, mine)
        assert known == mine, f"{id} is {known} and {mine}"

    def _check_ids(self, room: str, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self._check_ids(room, item)
        elif isinstance(value, dict):
            assert value.get("id") not in self.lasting, f"a lasting id is seen in {room}: {value}"
            for item in value.values():
                self._check_ids(room, item)

    def _reply(self, who: str, reply: dict[str, Any]) -> None:
        client = self.clients[who]
        assert isinstance(client, V1Client)
        if reply["re"] is None:
            assert reply["error"]["code"] in ("bad_frame", "bad_field", "unknown_op"), reply
            return
        command = client.commands[reply["re"]]
        op = command["op"]
        if not reply["ok"]:
            code = reply["error"]["code"]
            assert code in {"rate_limited", "unknown_op"} | MAY_BE_REFUSED.get(op, set()), f"{who}: {command} {reply}"
            return
        if op == "hello":
            self._welcome(who, command, reply)
        elif op == "join":
            self._stand(who, reply)
        elif op == "leave":
            self.positions.pop((who, command["room"]), None)
        elif op == "match.next":
            for booth in [room for label, room in self.positions if label == who and room != PUBLIC]:
                del self.positions[who, booth]
        elif op == "send":
            self._sent(who, command, reply)
        elif op == "block" and self.born[who] == self.starts:
            self.blocked.add((self.people[who], self.local[command["person"]][1]))
        elif op == "presence" and command["room"] != PUBLIC:
            self._check_ids(command["room"], reply)

    def _welcome(self, who: str, hello: dict[str, Any], reply: dict[str, Any]) -> None:
        """Each room that was asked for is answered: nothing was lost, or it is said so (fault 19)."""
        id, person = reply["person"]["id"], self.people[who]
        voice = self.lasting.setdefault(id, self.voices[who])
        assert voice == self.voices[who] or reply["person"]["role"] == "user", f"{who} is {id}, as {voice} was"
        asked = {place["room"]: (place["epoch"], place["off"]) for place in hello["resume"] or ()}
        places = {place["room"]: place for place in reply["rooms"]}
        assert asked.keys() <= places.keys()
        kept = self.booths.get(self.booth_of.get(person, ""), {}).get(person)
        was_kept = kept is not None and kept.away_at is not None and kept.away_at < self.came_at[who]
        assert not was_kept or reply["person"]["role"] == "user", f"{who} did not get back the seat of {kept}"
        for room, place in places.items():
            if place.get("gone"):
                assert room != PUBLIC
                continue
            self._stand(who, place, asked.get(room))
            if "peer" in place:
                self._check_ids(room, place)

    def _stand(self, who: str, place: dict[str, Any], asked: tuple[str, int] | None = None) -> None:
        """The client is told where it stands in a room."""
        room, epoch, off = place["room"], place["epoch"], place["off"]
        seat = self.seats[who, room].popleft()
        known = self.epochs.setdefault((self.born[who], room), epoch)
        assert known == epoch, f"{room} has two epochs"
        self.positions[who, room] = off
        if place.get("recovered"):
            assert (epoch, off) == asked, f"{who} asked for {asked} and got {place}"
            assert place["upto"] == seat, f"{who} took its seat at {seat} and got {place}"
        else:
            assert off == place.get("upto", off) == seat, f"{who} took its seat at {seat} and got {place}"
            is_lost = asked is None or asked[0] != epoch or seat - asked[1] > REMEMBERED[room == PUBLIC]
            assert is_lost, f"{who} asked for {asked}, which the server has, and got {place}"

    def _sent(self, who: str, command: dict[str, Any], reply: dict[str, Any]) -> None:
        """The same key is the same message (fault 18)."""
        room, epoch = command["room"], reply["epoch"]
        answer = (reply["mid"], reply["off"])
        key = (self.people[who], room, self.stays.get((who, room), 0), epoch, command["key"])
        assert self.answers.setdefault(key, answer) == answer, f"{who}: {command} was answered with {answer}, too"
        entry = self.log(who, room)[reply["off"] - 1]
        assert (entry.kind, entry.text) == ("message", command["text"]), f"{who}: {command} {reply} {entry}"
        entry.mid = entry.mid or reply["mid"]
        assert entry.mid == reply["mid"]


def _origin(line: str) -> tuple[str, int]:
    """Who said the line, and as which of its lines."""
    voice, _, number = line.partition("> ")[2].split(" ")[0].rpartition("#")
    return voice, int(number)
