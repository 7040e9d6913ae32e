"""A crowd of clients on a bad network, and what must hold whatever it does to them.

`Scenario` plays: people come on both wires, talk, meet, leave, vanish and come back, all decided by a seed. `Model`
judges.
"""

import random
from itertools import pairwise
from typing import Any

from parlour import Guest, Person, Settings
from parlour.core.pairing import RELAX_INTERESTS, RELAX_LANGS, _Seat
from parlour.testing import Client, Happening, Kit, V1Client
from tests.simulation.model import PUBLIC, Model
from tests.simulation.visitor import Visitor

LATEST = 1.0
"""Seconds within which everyone who reads has what was said: the longest way there takes less."""

_LATENCIES = (0.0, 0.0, 0.001, 0.02, 0.1, 0.4)
_PAUSES = (0.0, 0.0, 0.0, 0.001, 0.05, 0.3, 1.0, 2.5)
_LONG_PAUSES = (11.0, 31.0, 61.0)
"""As long as wishes, avoided partners and kept seats last."""

_BUFFERS = (65_536, 65_536, 65_536, 2_048, 64)
_FILLERS = ("", "", "", " well", " " + "la" * 600)
_EMOJI = ("\N{WAVING HAND SIGN}", "\N{HOT BEVERAGE}")


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
        self._v1_share = self._random.choice((0.0, 0.3, 0.6, 1.0))
        self._restarts = self._random.random() < 0.2
        self.kit = Kit(self._settings, seed)
        self.model = Model()
        self._followed = 0
        self._here: list[Client | V1Client] = []  # clients that may still act
        self._visitors: list[Visitor] = []  # all who speak v1
        self._labels: dict[str, str] = {}  # by connection
        self._spoken: dict[str, list[str]] = {}  # texts, by client
        self._wrong: dict[str, int] = {}  # frames that must be refused, by client
        self._faulty: set[str] = set()  # clients that something happened to
        self._trickled: set[str] = set()
        self._narrow: dict[str, int] = {}  # bytes between server and client, where they are few
        self._silent: dict[str, float] = {}  # since when a client answers no ping
        self._stuck: dict[str, float] = {}  # since when a client reads nothing
        self._newest: dict[str, str] = {}  # who holds the one seat in a booth, by user of the host app
        self._users: dict[str, str] = {}  # those users, by client
        self._v1_users: set[str] = set()  # users who came on v1 too

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
        chance = self._random.random()
        if chance < 0.3:
            for _ in range(self._random.randrange(4)):
                self.kit._world.clock.turn(self.kit.now)
        else:
            self.kit.advance(self._random.choice(_LONG_PAUSES if chance > 0.99 else _PAUSES))

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
        if self._v1_share:
            moves |= {"resume": 12, "say_again": 4, "amend": 8, "meet": 24, "block": 4, "move_on": 4, "signal": 2}
            moves |= {"jump": 1, "restart": 1 if self._restarts else 0}
        return self._random.choices(list(moves), list(moves.values()))[0]

    def _come(self, name: str | None = None) -> Client | V1Client | None:
        if name is None and self._random.random() < self._v1_share:
            return self._visit()
        if not self._has_room():
            return None
        choice = self._random
        identity = self._identity()
        connect = self.kit.private if choice.random() < 0.65 else self.kit.public
        client = connect(name or f"p{len(self.kit.clients)}", identity=identity, **self._way())
        person = identity.id if isinstance(identity, Person) else client.label
        self._arrive(client, client.label, person)
        if isinstance(identity, Person) and connect == self.kit.private:
            self._users[client.label] = identity.id
            self._newest[identity.id] = client.label
        return client

    def _visit(self) -> V1Client | None:
        """Somebody who speaks v1 comes, and does not wait for the answer to the hello."""
        if not self._has_room():
            return None
        choice = self._random
        name = f"v{len(self.kit.clients)}"
        identity = self._identity()
        path = choice.choice(("/chat/public", "/chat/private", "/chat/private", "/chat"))
        client = self.kit.v1(name, path, hello=False, identity=identity, **self._way())
        visitor = Visitor(name, client)
        self._visitors.append(visitor)
        self._arrive(client, name, identity.id if isinstance(identity, Person) else name)
        if isinstance(identity, Person):
            self._v1_users.add(identity.id)
        client.say_hello(match=visitor.wish(choice) if path == "/chat/private" else None)
        return client

    def _has_room(self) -> bool:
        self._here = [client for client in self._here if client.closed is None]
        return len(self._here) < self._people

    def _identity(self) -> Person | Guest:
        """One in ten is a user of the host app, who may be here twice."""
        if self._random.random() >= 0.1:
            return Guest()
        number = self._random.randrange(max(2, self._people // 10))
        return Person(f"user-{number}", f"User {number}")

    def _way(self) -> dict[str, Any]:
        """The network to a client."""
        choice = self._random
        return {
            "frames": choice.random() < 0.7,
            "latency": choice.choice(_LATENCIES),
            "buffer": choice.choice(_BUFFERS),
        }

    def _arrive(self, client: Client | V1Client, voice: str, person: str) -> None:
        self.model.meet(client, voice, person)
        self._labels[client.socket.link.id] = client.label
        self._here.append(client)
        if client.buffer < max(_BUFFERS):  # a narrow window over a long way is slow
            self._narrow[client.label] = client.buffer

    def _talk(self) -> None:
        """One or several speak at the same moment, each a line or more."""
        for _ in range(self._random.choice((1, 1, 1, 3))):
            client = self._pick()
            if client is not None:
                for _ in range(self._random.choice((1, 1, 2, 12))):
                    self._say(client, self._random.choice(_FILLERS))

    def _say(self, client: Client | V1Client, filler: str) -> None:
        if isinstance(client, V1Client):
            visitor = self._visitor_of(client)
            room = self._room_of(client)
            if room is not None:
                visitor.say(room, filler)
            return
        texts = self._spoken.setdefault(client.label, [])
        texts.append(f"{client.label}#{len(texts) + 1}{filler}")
        client.say(texts[-1])

    def _say_wrong(self) -> None:
        client = self._pick()
        if client is not None:
            self._wrong[client.label] = self._wrong.get(client.label, 0) + 1
            wrong: tuple[str | bytes, ...] = ("not JSON", "[]", '{"username": "x"}')
            if isinstance(client, Client):
                wrong = (*wrong, b"\xff")
            client.send_raw(self._random.choice(wrong))

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
        if not isinstance(old, Client):
            return
        self._hurt(old)
        old.drop()
        new = self._come(old.name)
        if isinstance(new, Client) and self._spoken.get(old.label):
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
            self._trickled.add(client.label)
            client.trickle(self._random.choice((7, 300)), self._random.choice((0.01, 0.2)))

    def _ping(self) -> None:
        client = self._pick()
        if client is not None:
            client.ping()

    # What v1 clients do

    def _resume(self) -> None:
        """One who was cut off connects anew; now and then also one who was not, and who is replaced."""
        choice = self._random
        gone = [visitor for visitor in self._visitors if visitor.client.closed is not None]
        visitor = choice.choice(gone or self._visitors) if self._visitors else None
        if visitor is None or len(self._here) >= self._people:
            return
        self._bring_back(visitor)

    def _bring_back(self, visitor: Visitor) -> None:
        old = visitor.client
        self._hurt(old)
        if old in self._here:
            self._here.remove(old)
        if old.session is None:  # who never learned who it is comes as somebody else
            self._visitors.remove(visitor)
            self._visit()
            return
        new = old.resume(self._random.choice((None, None, "/chat/private", "/chat/public")), hello=False)
        self._arrive(new, visitor.name, self.model.people[old.label])
        visitor.come_back(new)

    def _say_again(self) -> None:
        visitor = self._pick_visitor()
        if visitor is not None:
            visitor.say_again(self._random)

    def _amend(self) -> None:
        """Change an own message, or put an emoji to it."""
        visitor = self._pick_visitor()
        if visitor is None or not visitor.mids:
            return
        room, mid = self._random.choice(visitor.mids[-5:])
        act = self._random.choice(("edit", "delete", "react", "react"))
        fields: dict[str, Any] = {"room": room, "mid": mid}
        if act == "edit":
            fields["text"] = f"{visitor.name} thinks again, {len(visitor.client.commands)}"
        elif act == "react":
            fields |= {"emoji": self._random.choice(_EMOJI), "on": self._random.random() < 0.7}
        visitor.client.send_command(act, **fields)

    def _meet(self) -> None:
        """Look for somebody, or look no more."""
        visitor = self._pick_visitor()
        if visitor is None or not visitor.is_settled:
            return
        if visitor.client.booth is not None and self._random.random() < 0.7:
            return
        act = self._random.choice(("find", "find", "find", "next", "cancel"))
        if act == "cancel":
            visitor.client.send_command("match.cancel")
        else:
            visitor.client.send_command(f"match.{act}", **visitor.wish(self._random))

    def _block(self) -> None:
        """Block the one who is met, or take a block back."""
        visitor = self._pick_visitor()
        if visitor is None or not visitor.is_settled:
            return
        client, me = visitor.client, self.model.person_of[visitor.name]
        ids = {event["peer"]["id"]: event["room"] for event in client.events if event["ev"] == "match.found"}
        if not ids:
            return
        id, room = self._random.choice(list(ids.items()))
        on = self._random.random() < 0.8
        if not on:
            self.model.blocked.discard((me, self.model.local[id][1]))
        client.send_command("block" if on else "unblock", person=id, room=room)

    def _move_on(self) -> None:
        """Come into the public room, or leave a room."""
        visitor = self._pick_visitor()
        if visitor is None or not visitor.is_settled:
            return
        client = visitor.client
        if PUBLIC not in client.positions:
            client.send_command("join", room=PUBLIC)
        else:
            client.send_command("leave", room=self._random.choice(list(client.positions)))

    def _signal(self) -> None:
        """What passes by, or asks."""
        visitor = self._pick_visitor()
        room = None if visitor is None else self._room_of(visitor.client)
        if visitor is not None and room is not None:
            visitor.client.send_command(self._random.choice(("typing", "presence")), room=room)

    def _jump(self) -> None:
        """Fault 21."""
        self.kit.shift_utc(self._random.choice((3600.0, -3600.0)))

    def _restart(self) -> None:
        for client in self._here:
            self._hurt(client)
        self.kit.restart()

    def _pick_visitor(self) -> Visitor | None:
        inside = [visitor for visitor in self._visitors if visitor.is_in and visitor.client in self._here]
        return self._random.choice(inside) if inside else None

    def _room_of(self, client: V1Client) -> str | None:
        """A room where it sits, as far as it knows, and rather the booth: there is always somebody in public."""
        if client.booth is not None and self._random.random() < 0.7:
            return client.booth
        return self._random.choice(list(client.positions)) if client.positions else None

    def _visitor_of(self, client: V1Client) -> Visitor:
        return next(visitor for visitor in self._visitors if visitor.client is client)

    # Who it happens to

    def _pick(self) -> Client | V1Client | None:
        self._here = [client for client in self._here if client.closed is None]
        return self._random.choice(self._here) if self._here else None

    def _hurt(self, client: Client | V1Client, *, silent: bool = False) -> None:
        self._faulty.add(client.label)
        if silent:
            self._silent.setdefault(client.label, self.kit.now)

    # What must hold

    def _check(self) -> None:
        self._follow()
        for visitor in self._visitors:
            visitor.tend()
            if visitor.is_in and visitor.client.is_connected and visitor.former is not None:
                assert not visitor.former.rooms, f"{visitor.former} sits beside {visitor.client}"
        self._check_delivered(self.kit.now - LATEST)
        self._check_kept()
        self._check_ghosts()
        self._check_slow()
        self._check_inside()
        self._check_waiting()
        self.model.check(self.kit.now)

    def _follow(self) -> None:
        trace = self.kit.trace
        for place in range(self._followed, len(trace)):
            self.model.follow(trace[place])
        self._followed = len(trace)

    def _check_delivered(self, until: float) -> None:
        """Whoever nothing happened to has received all that was said to it by then."""
        model = self.model
        for client in self._here:
            label = client.label
            if label in self._faulty or label in self._narrow or not client.is_connected:
                continue
            if isinstance(client, V1Client):
                self._check_heard(client, until)
                continue
            heard, due = model.heard[label], model.due[label]
            lost = heard < len(due) and due[heard][0] <= until
            assert not lost, f"{client} has not received {due[heard][1]!r}, said at {due[heard][0]:g}"

    def _check_heard(self, client: V1Client, until: float) -> None:
        model, label = self.model, client.label
        for room in client.rooms:
            if model.seated_at[label, room] > until:
                continue
            assert (label, room) in model.positions, f"{client} was not told that it sits in {room}"
            off, log = model.positions[label, room], model.log(label, room)
            lost = off < len(log) and log[off].at <= until
            assert not lost, f"{client} has heard {off} in {room}, and not {log[off]}"

    def _check_kept(self) -> None:
        """Whoever nothing happened to is connected, but for a user of the host app who took another booth."""
        for client in self._here:
            user = self._users.get(client.label)
            replaced = user is not None and (self._newest[user] != client.label or user in self._v1_users)
            excused = client.label in self._faulty or client.label in self._narrow or replaced
            assert client.is_connected or excused, f"{client} was let go"

    def _check_slow(self) -> None:
        """A peer that takes no byte, with more waiting than fits between, is let go after 5 s and a bit."""
        for client in self.kit.clients:
            if client.label not in self._stuck or client.label not in self._narrow or not client.is_connected:
                continue
            if isinstance(client, V1Client):
                continue
            since = max(0.0, self._stuck[client.label])
            full_at = None
            waiting = self.model.due[client.label][self.model.heard[client.label] :]
            # Of the first line a part may have been taken.
            room = self._narrow[client.label] + len(waiting[0][1] if waiting else "")
            for at, line in waiting:
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
            if client.label in self._trickled:  # what it said long ago may still be on its way
                continue
            if since is not None and not client.is_connected:
                del self._silent[client.label]
            elif since is not None:
                assert self.kit.now - since <= limit, f"{client} is silent since {since:g} s and has its seat"

    def _check_inside(self) -> None:
        """The engine and the hub sit everyone where the model does."""
        label_of, model = self._labels, self.model
        engine, pairing = self.kit.engine, self.kit.engine._pairing
        expected = {room: sorted(labels) for room, labels in model.rooms.items()}
        members = {name: sorted(map(label_of.__getitem__, room.members)) for name, room in engine._rooms.items()}
        assert {name: labels for name, labels in members.items() if labels} == expected
        hub = {
            name: sorted(
                label_of[link.id] for audience in audiences.values() for link in (*audience._links, *audience._lagging)
            )
            for name, audiences in self.kit.hub._rooms.items()
        }
        assert hub == expected
        booths = {
            booth: sorted(label_of[seat.member.connection] for seat in seats)
            for booth, seats in pairing._booths.items()
            if seats[0].member.person not in pairing._searches
        }
        for gone in [booth for booth in model.booths if booth not in booths]:
            model.forget(gone)
        assert booths == {name: sorted(seat.label for seat in booth.values()) for name, booth in model.booths.items()}
        away = {seat.label for booth in model.booths.values() for seat in booth.values() if seat.away_at is not None}
        assert away == {label_of[pairing._seats[person].member.connection] for person in pairing._away}
        assert all(1 <= len(seats) <= 2 for seats in pairing._booths.values())
        free = [booth for booth, seats in pairing._booths.items() if len(seats) == 1]
        assert sorted(pairing._free) == sorted(free)
        assert [pairing._place[booth] for booth in pairing._free] == list(range(len(free)))
        sitting = [seat.member.person for seats in pairing._booths.values() for seat in seats]
        assert sorted(sitting) == sorted(pairing._seats), "a person has one seat at most"
        kept = {(booth, seat.member.person) for booth, seats in pairing._booths.items() for seat in seats}
        assert engine._lost.keys() <= kept

    def _check_waiting(self) -> None:
        """No two wait side by side who suit each other, and nobody sits beside one whom they blocked."""
        pairing = self.kit.engine._pairing
        for seats in pairing._booths.values():
            for one, other in zip(seats, reversed(seats), strict=True):
                assert one is other or other.member.person not in pairing.blocks(one.member.person)
        alone = [pairing._booths[booth][0] for booth in pairing._free]
        for seeker in pairing._searches.values():
            for step, seconds in (("interests", RELAX_INTERESTS), ("langs", RELAX_LANGS)):
                wish = seeker.wish
                assert wish is not None
                is_due = wish.relaxes and bool(getattr(wish, step)) and seeker.since + seconds < self.kit.now
                assert not is_due or step in seeker.relaxed
            for other in alone:
                assert seeker is other or not self._suit(seeker, other), f"{seeker} and {other} wait side by side"

    def _suit(self, one: _Seat, other: _Seat) -> bool:
        pairing = self.kit.engine._pairing
        a, b = one.member.person, other.member.person
        if b in pairing.blocks(a) or a in pairing.blocks(b) or (min(a, b), max(a, b)) in pairing._parted:
            return False
        for seat, beside in ((one, other), (other, one)):
            wish = seat.wish
            if wish is None:
                continue
            if beside.wish is None and not wish.relaxes and (wish.interests or wish.langs):
                return False
            for step in ("interests", "langs"):
                asked = getattr(wish, step) if step not in seat.relaxed else frozenset()
                if beside.wish is not None and asked and not asked & getattr(beside.wish, step):
                    return False
        return a != b

    def _settle(self) -> None:
        """Everyone reads again, and comes back: whoever is connected ends with all that was said."""
        for client in self.kit.clients:
            self._silent.pop(client.label, None)
            self._stuck.pop(client.label, None)
            client.thaw()
            client.unstall()
            client.trickle(piece=65_536, every=0)
            client.latency = 0
        # Time for lines that were held over the rate.
        self.kit.advance(59)
        self._check()
        for visitor in list(self._visitors):
            if visitor.client.closed is not None or not visitor.client.is_connected:
                self._bring_back(visitor)
        for _ in range(20):
            self.kit.advance(2)
            self._check()
        for client in self.kit.clients:
            if not client.is_connected or client.closed is not None:
                continue
            label = client.label
            if isinstance(client, V1Client):
                self._check_heard(client, self.kit.now)
                assert client.commands.keys() == client.replies.keys(), f"{client} had no reply"
                booth = next((room for room in client.rooms if room != PUBLIC), None)
                assert client.booth == booth, f"{client} thinks it sits in {client.booth}, and sits in {booth}"
                continue
            due = len(self.model.due[label])
            assert self.model.heard[label] == due, f"{client} received {self.model.heard[label]} of {due} lines"
            voice = self.model.born[label], label
            assert self.model.said[voice] == len(self._spoken.get(label, ())), f"{client} was not heard"
            assert self.model.refused[label] == self._wrong.get(label, 0)
        for visitor in self._visitors:
            late = [saying for saying in visitor.outbox if visitor.can_send(saying)]
            assert not late, f"{visitor.name} was never heard: {late}"
        self._check_order()

    def _check_order(self) -> None:
        """Two people in the public room heard the same lines in the same order, from the later one's coming on."""
        for start in range(1, self.model.starts + 1):
            public = [
                [line for line in client.lines if not line.startswith("! ")]
                for client in self.kit.clients
                if isinstance(client, Client)
                and (client.label, PUBLIC) in self.model.seated_at
                and self.model.born[client.label] == start
            ]
            for earlier, later in pairwise(filter(None, public)):
                if later[0] in earlier:
                    tail = earlier[earlier.index(later[0]) :]
                    shared = min(len(tail), len(later))
                    assert tail[:shared] == later[:shared]

    def _go_home(self) -> None:
        """When all are gone nothing is left, and nothing is planned any more."""
        for client in self.kit.clients:
            self._hurt(client)
            client.drop()
        # Time for seats that are kept, and for people who are avoided after that.
        self.kit.advance(100)
        self._check()
        assert len(self.kit.hub) == 0
        assert self.model.rooms == {}
        assert self.kit.engine.counts() == (0, 0)
        assert self.kit.next_due > self.kit.now + 60
