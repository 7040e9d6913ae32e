"""A crowd of clients on a bad network, and what must hold whatever it does to them.

`Scenario` plays: people come, talk, leave, vanish and come back, all decided by a seed. `Model` judges: it follows the
kit's trace entry by entry, with rooms and booths of its own, and knows nothing of the code under test.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from parlour import Guest, Person, Settings
from parlour.testing import Client, Happening, Kit

LATEST = 1.0
"""Seconds within which everyone who reads has what was said: the longest way there takes less."""

_LATENCIES = (0.0, 0.0, 0.001, 0.02, 0.1, 0.4)
_PAUSES = (0.0, 0.0, 0.0, 0.001, 0.05, 0.3, 1.0, 2.5)
_BUFFERS = (65_536, 65_536, 65_536, 2_048, 64)
_FILLERS = ("", "", "", " well", " " + "la" * 600)

PUBLIC = "public"


@dataclass
class Model:
    """The rules, once more and in another way: who sits where, and who must have heard what.

    Lines are told apart by their text, `label#number`, so that who said one can be read back from it.
    """

    rooms: dict[str, list[str]] = field(default_factory=dict)  # members by room, booths included
    sits: dict[str, str] = field(default_factory=dict)  # the room, by client
    heard: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # lines received, by client
    due: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))  # lines to be received
    said: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # number of the last line, by speaker
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # refusals received, by client
    voices: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # strangers heard in booths
    hearers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # by line, of those said in booths
    private: set[str] = field(default_factory=set)  # clients in booths
    closed: set[str] = field(default_factory=set)
    old_booths: set[str] = field(default_factory=set)

    def follow(self, happening: Happening) -> None:
        """One more entry of the trace."""
        what, who, room = happening.what, happening.who, happening.room or ""
        if what == "line":
            self._line(who, happening.detail)
        elif what == "said":
            self._said(happening.at, room, happening.detail)
        elif what == "connect" and happening.detail == "/chat/private":
            self.private.add(who)
        elif what == "seat":
            self._seat(who, room)
        elif what == "leave":
            self._leave(who, room)
        elif what == "closed":
            self.closed.add(who)
        assert what != "failed", f"the server broke while it served {who}: {happening.detail}"

    def _seat(self, who: str, room: str) -> None:
        assert who not in self.sits, f"{who} got a seat in {room} and has one in {self.sits[who]}"
        self.sits[who] = room
        if room == PUBLIC:
            self.rooms.setdefault(room, []).append(who)
            return
        candidates = [booth for booth, members in self.rooms.items() if booth != PUBLIC and len(members) == 1]
        if candidates:
            assert room in candidates, f"rule 4: {who} got {room}, but one waits in each of {candidates}"
            self.rooms[room].append(who)
        else:
            fresh = room not in self.rooms and room not in self.old_booths
            assert fresh, f"rules 2 and 3: no booth had a free seat, and {who} got {room}, which is not new"
            self.rooms[room] = [who]
            self.old_booths.add(room)

    def _leave(self, who: str, room: str) -> None:
        assert self.sits.pop(who, None) == room, f"{who} left {room} without sitting there"
        self.rooms[room].remove(who)
        if not self.rooms[room]:
            del self.rooms[room]

    def _said(self, at: float, room: str, line: str) -> None:
        speaker, number = _origin(line)
        assert self.sits.get(speaker) == room, f"rule 5: {line!r} was said in {room}; {speaker} does not sit there"
        assert number == self.said[speaker] + 1, f"{speaker} said {number} after {self.said[speaker]}"
        self.said[speaker] = number
        for member in self.rooms[room]:
            self.due[member].append((at, line))

    def _line(self, who: str, line: str) -> None:
        if line.startswith("! "):
            self.refused[who] += 1
            return
        place = self.heard[who]
        self.heard[who] += 1
        due = self.due[who]
        assert place < len(due), f"{who} received {line!r}, which nobody said to it"
        assert due[place][1] == line, f"{who} received {line!r} where {due[place][1]!r} was next"
        if who in self.private:
            self._overhear(who, line)

    def _overhear(self, who: str, line: str) -> None:
        """What outsiders can see of a booth, without knowing where anyone sits."""
        speaker, _ = _origin(line)
        hearers = self.hearers[line]
        hearers |= {who, speaker}
        assert len(hearers) <= 2, f"three heard {line!r}: {sorted(hearers)}"
        voices = self.voices[who]
        if speaker != who and voices[-1:] != [speaker]:
            assert speaker not in voices, f"{who} hears {speaker} again after another stranger: {voices}"
            voices.append(speaker)


def _origin(line: str) -> tuple[str, int]:
    """Who said the line, and as which of its lines."""
    speaker, _, number = line.partition("> ")[2].split(" ")[0].rpartition("#")
    return speaker, int(number)


class Scenario:
    """One seed's story. `run` plays it to its end and checks after every step."""

    def __init__(self, seed: int, people: int, steps: int) -> None:
        self.seed = seed
        self._people = people
        self._steps = steps
        self._random = random.Random(seed)
        rate = self._random.choice((None, None, 20.0))
        ping, timeout = self._random.choice(((20.0, 10.0), (4.0, 2.0)))
        self._settings = Settings(rate=rate, burst=5, ping=ping, ping_timeout=timeout)
        self.kit = Kit(self._settings, seed)
        self.model = Model()
        self._followed = 0
        self._here: list[Client] = []  # clients that may still act
        self._spoken: dict[str, list[str]] = {}  # texts, by client
        self._wrong: dict[str, int] = {}  # frames that must be refused, by client
        self._faulty: set[str] = set()  # clients that something happened to
        self._narrow: dict[str, int] = {}  # bytes between server and client, where they are few
        self._silent: dict[str, float] = {}  # since when a client answers no ping
        self._stuck: dict[str, float] = {}  # since when a client reads nothing
        self._newest: dict[str, str] = {}  # who holds the one seat in a booth, by user of the host app
        self._users: dict[str, str] = {}  # those users, by client

    def run(self) -> list[Happening]:
        """The whole trace. AssertionError with the step where something was not as it must be."""
        moves = ["come"] * (3 * self._people // 5) + [self._move() for _ in range(self._steps)]
        for step, move in enumerate(moves):
            try:
                getattr(self, f"_{move}")()
                self._pause()
                self._check()
            except Exception as error:
                error.add_note(f"in step {step} ({move}) of seed {self.seed}")
                raise
        self._settle()
        self._go_home()
        return self.kit.trace

    def _pause(self) -> None:
        """Let time pass, or stop between two turns of the server's loop: then something else happens before what was
        heard is written."""
        if self._random.random() < 0.3:
            for _ in range(self._random.randrange(4)):
                self.kit._clock.turn(self.kit.now)
        else:
            self.kit.advance(self._random.choice(_PAUSES))

    # What may happen

    def _move(self) -> str:
        moves = {
            "come": 24,
            "talk": 40,
            "say_wrong": 2,
            "leave": 4,
            "drop": 4,
            "come_back": 5,
            "freeze": 2,
            "thaw": 2,
            "stall": 3,
            "unstall": 4,
            "half_open": 1,
            "slow_down": 3,
            "trickle": 1,
            "ping": 1,
        }
        return self._random.choices(list(moves), list(moves.values()))[0]

    def _come(self, name: str | None = None) -> Client | None:
        self._here = [client for client in self._here if client.closed is None]
        if len(self._here) >= self._people:
            return None
        choice = self._random
        identity: Person | Guest = Guest()
        if choice.random() < 0.1:  # a user of the host app, who may be here twice
            number = choice.randrange(max(2, self._people // 10))
            identity = Person(f"user-{number}", f"User {number}")
        connect = self.kit.private if choice.random() < 0.65 else self.kit.public
        buffer = choice.choice(_BUFFERS)
        client = connect(
            name or f"p{len(self.kit.clients)}",
            identity=identity,
            frames=choice.random() < 0.7,
            latency=choice.choice(_LATENCIES),
            buffer=buffer,
        )
        if buffer < max(_BUFFERS):  # a narrow window over a long way is slow
            self._narrow[client.label] = buffer
        if isinstance(identity, Person) and connect == self.kit.private:
            self._users[client.label] = identity.id
            self._newest[identity.id] = client.label
        self._here.append(client)
        return client

    def _talk(self) -> None:
        """One or several speak at the same moment, each a line or more."""
        for _ in range(self._random.choice((1, 1, 1, 3))):
            client = self._pick()
            if client is not None:
                for _ in range(self._random.choice((1, 1, 2, 12))):
                    self._say(client, self._random.choice(_FILLERS))

    def _say(self, client: Client, filler: str) -> None:
        texts = self._spoken.setdefault(client.label, [])
        texts.append(f"{client.label}#{len(texts) + 1}{filler}")
        client.say(texts[-1])

    def _say_wrong(self) -> None:
        client = self._pick()
        if client is not None:
            self._wrong[client.label] = self._wrong.get(client.label, 0) + 1
            client.send_raw(self._random.choice(("not JSON", "[]", '{"username": "x"}', b"\xff")))

    def _leave(self) -> None:
        client = self._pick()
        if client is not None:
            self._hurt(client)
            self._here.remove(client)
            client.close()

    def _drop(self) -> None:
        client = self._pick()
        if client is not None:
            self._hurt(client)
            client.drop()

    def _come_back(self) -> None:
        """One who was cut off connects anew and says again what it said last: the first copy may still be on its way,
        and arrive later than the second."""
        old = self._pick()
        if old is None:
            return
        self._hurt(old)
        old.drop()
        new = self._come(old.name)
        if new is not None and self._spoken.get(old.label):
            self._say(new, " again: " + self._spoken[old.label][-1])

    def _freeze(self) -> None:
        client = self._pick()
        if client is not None:
            self._hurt(client, silent=True)
            self._stuck.setdefault(client.label, self.kit.now)
            client.freeze()

    def _thaw(self) -> None:
        client = self._pick()
        if client is not None:
            self._silent.pop(client.label, None)
            self._stuck.pop(client.label, None)
            client.thaw()

    def _stall(self) -> None:
        client = self._pick()
        if client is not None:
            self._hurt(client)
            self._stuck.setdefault(client.label, self.kit.now)
            client.stall()

    def _unstall(self) -> None:
        client = self._pick()
        if client is not None:
            self._stuck.pop(client.label, None)
            client.unstall()

    def _half_open(self) -> None:
        client = self._pick()
        if client is not None:
            self._hurt(client, silent=True)
            self._here.remove(client)
            client.half_open()

    def _slow_down(self) -> None:
        client = self._pick()
        if client is not None:
            client.latency = self._random.choice(_LATENCIES)

    def _trickle(self) -> None:
        client = self._pick()
        if client is not None:
            self._hurt(client)
            client.trickle(self._random.choice((7, 300)), self._random.choice((0.01, 0.2)))

    def _ping(self) -> None:
        client = self._pick()
        if client is not None:
            client.ping()

    def _pick(self) -> Client | None:
        self._here = [client for client in self._here if client.closed is None]
        return self._random.choice(self._here) if self._here else None

    def _hurt(self, client: Client, *, silent: bool = False) -> None:
        self._faulty.add(client.label)
        if silent:
            self._silent.setdefault(client.label, self.kit.now)

    # What must hold

    def _check(self) -> None:
        self._follow()
        self._check_delivered(self.kit.now - LATEST)
        self._check_kept()
        self._check_ghosts()
        self._check_slow()
        self._check_inside()

    def _follow(self) -> None:
        trace = self.kit.trace
        for place in range(self._followed, len(trace)):
            self.model.follow(trace[place])
        self._followed = len(trace)

    def _check_delivered(self, until: float) -> None:
        """Whoever nothing happened to has received all that was said to it by then."""
        model = self.model
        for client in self._here:
            if client.label in self._faulty or client.label in self._narrow or not client.is_connected:
                continue
            heard, due = model.heard[client.label], model.due[client.label]
            lost = heard < len(due) and due[heard][0] <= until
            assert not lost, f"{client} has not received {due[heard][1]!r}, said at {due[heard][0]:g}"

    def _check_kept(self) -> None:
        """Whoever nothing happened to is connected, but for a user of the host app who took another booth."""
        for client in self._here:
            user = self._users.get(client.label)
            replaced = user is not None and self._newest[user] != client.label
            excused = client.label in self._faulty or client.label in self._narrow or replaced
            assert client.is_connected or excused, f"{client} was let go"

    def _check_slow(self) -> None:
        """A peer that takes no byte, with more waiting than fits between, is let go after 5 s and a bit."""
        for client in self.kit.clients:
            if client.label not in self._stuck or client.label not in self._narrow or not client.is_connected:
                continue
            room = self._narrow[client.label]
            since = max(0.0, self._stuck[client.label])
            full_at = None
            for at, line in self.model.due[client.label][self.model.heard[client.label] :]:
                if full_at is not None and at > full_at:  # a plain ASGI server shows it only at the next line
                    assert self.kit.now <= max(at, since) + 6.1, f"{client} is stuck since {at:g} s and has its seat"
                    break
                room -= len(line) + 2
                if room < 0 and full_at is None:
                    full_at = at

    def _check_ghosts(self) -> None:
        """A peer that answers nothing is let go within ping + timeout + 2 s."""
        limit = self._settings.ping + self._settings.ping_timeout + 2
        for client in self.kit.clients:
            since = self._silent.get(client.label)
            if since is not None and not client.is_connected:
                del self._silent[client.label]
            elif since is not None:
                assert self.kit.now - since <= limit, f"{client} is silent since {since:g} s and has its seat"

    def _check_inside(self) -> None:
        """The engine and the hub sit everyone where the model does."""
        label_of = {connection: client.label for connection, client in self.kit._by_connection.items()}
        engine = self.kit.engine
        rooms = {name: [label_of[member] for member in room.members] for name, room in engine._rooms.items()}
        assert rooms == self.model.rooms
        pairing = engine._pairing
        booths = {
            booth: [label_of[member.connection] for member in members] for booth, members in pairing._seats.items()
        }
        assert booths == {room: members for room, members in rooms.items() if room != PUBLIC}
        assert all(1 <= len(members) <= 2 for members in booths.values()), booths
        free = [booth for booth, members in booths.items() if len(members) == 1]
        assert sorted(pairing._free) == sorted(free)
        assert [pairing._place[booth] for booth in pairing._free] == list(range(len(free)))
        sitting = [member.person for members in pairing._seats.values() for member in members]
        assert sorted(sitting) == sorted(pairing._sits), "a person sits in at most one booth"
        hub = {
            name: sorted(
                label_of[link.member.connection]
                for audience in audiences.values()
                for link in (*audience._links, *audience._lagging)
            )
            for name, audiences in self.kit.hub._rooms.items()
        }
        assert hub == {name: sorted(members) for name, members in rooms.items()}

    def _settle(self) -> None:
        """Everyone reads again: whoever is still connected ends with every line."""
        for client in self.kit.clients:
            self._silent.pop(client.label, None)
            self._stuck.pop(client.label, None)
            client.thaw()
            client.unstall()
            client.trickle(piece=65_536, every=0)
            client.latency = 0
        # Time for lines that were held over the rate.
        self.kit.advance(60)
        self._check()
        for client in self.kit.clients:
            if client.is_connected and client.closed is None:
                label = client.label
                due = len(self.model.due[label])
                assert self.model.heard[label] == due, f"{client} received {self.model.heard[label]} of {due} lines"
                assert self.model.said[label] == len(self._spoken.get(label, ())), f"{client} was not heard"
                assert self.model.refused[label] == self._wrong.get(label, 0)
        self._check_order()

    def _check_order(self) -> None:
        """Two people in the public room heard the same lines in the same order, from the later one's coming on."""
        public = [client for client in self.kit.clients if client.label not in self.model.private]
        listened = [[line for line in client.lines if not line.startswith("! ")] for client in public]
        for earlier, later in pairwise(lines for lines in listened if lines):
            if later[0] in earlier:
                tail = earlier[earlier.index(later[0]) :]
                shared = min(len(tail), len(later))
                assert tail[:shared] == later[:shared]

    def _go_home(self) -> None:
        """When all are gone nothing is left, and nothing is planned any more."""
        for client in self.kit.clients:
            self._hurt(client)
            client.drop()
        self.kit.advance(60)
        self._check()
        assert len(self.kit.hub) == 0
        assert self.model.rooms == {}
        assert self.kit.engine.counts() == (0, 0)
        assert self.kit.next_due > self.kit.now + 60
