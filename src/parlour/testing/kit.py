"""The kit: one simulated server, and the clients that a test connects to it."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from math import inf
from typing import Any, Final, TypeVar

from parlour.core.connection import Pace
from parlour.core.events import (
    Deleted,
    Drop,
    Edited,
    Effect,
    Event,
    Guest,
    Leave,
    Message,
    Person,
    Place,
    Reacted,
    Take,
)
from parlour.core.house import House
from parlour.core.keys import Keyring
from parlour.core.names import NameRules
from parlour.engine import Engine
from parlour.engine.memory import MemoryEngine
from parlour.errors import ConnectError
from parlour.hub import Hub, Link
from parlour.settings import Settings
from parlour.testing.clients import Client, Happening, V1Client, World
from parlour.wire import V1, Plain, Wire

_GUEST: Final = Guest()
_BIRTHDAY: Final = 1_700_000_000_000
_PLACES: Final = {"/chat/public": Place(room="public"), "/chat/private": Place(booth=True), "/chat": Place()}

_Any = TypeVar("_Any", Client, V1Client)


class Kit:
    """One simulated server, and the clients that a test connects to it.

    Time stands still but in `advance`, `run_until`, and what clients `expect` and `assert`; `within` and `for_` are
    seconds of that time.
    """

    def __init__(self, settings: Settings | None = None, seed: int = 0) -> None:
        """`settings` count as they do on a server, except that each client has an address of its own; with `rate` not
        given there is no limit, as for programs on the server's own machine. `seed` decides who meets whom."""
        self.settings = settings or Settings()
        self.seed = seed
        self.clients: list[Client | V1Client] = []  # in the order of their coming
        self.engine: MemoryEngine  # rooms and booths, to look into; set below, as `hub`
        self._world = World(seed)
        self._plain = Plain(notices=self.settings.notices)
        self._v1 = V1()
        rate = self.settings.rate
        self._pace = Pace(
            rate=None if rate == inf else rate,
            burst=self.settings.burst,
            ping=self.settings.ping,
            ping_timeout=self.settings.ping_timeout,
        )
        self._dice = random.Random(seed)  # noqa: S311 - chance that can be repeated is the point
        self._ids = count(1)
        self._keyring = Keyring({"kit": b"the secret of a kit is not secret"}, "kit")
        self._utc_offset = 0
        self._labels: Counter[str] = Counter()
        self._came_from: dict[V1Client, tuple[str, Person | Guest | None, bool, int]] = {}
        self._start()

    @property
    def hub(self) -> Hub:
        """The server's live connections."""
        return self._hub

    @property
    def trace(self) -> list[Happening]:
        """All that happened, in order."""
        return self._world.trace

    def public(
        self,
        name: str | None = None,
        *,
        identity: Person | Guest | None = _GUEST,
        frames: bool = True,
        latency: float = 0.0,
        buffer: int = 65_536,
    ) -> Client:
        """Connect a client of the plain wire to the public room.

        `name` is what it calls itself in its lines. `identity` is what the host app's `authenticate` hook answered: a
        `Person`, a `Guest()`, or None. `frames` says whether the server took the connection over; if not, it comes
        through a plain ASGI server. `latency` is in seconds, one way; `buffer` in bytes, what the kernels between the
        server and a client that does not read take. Raises `ConnectError` where the server would refuse.
        """
        return self._connect_plain("/chat/public", name, identity, frames, latency, buffer)

    def private(
        self,
        name: str | None = None,
        *,
        identity: Person | Guest | None = _GUEST,
        frames: bool = True,
        latency: float = 0.0,
        buffer: int = 65_536,
    ) -> Client:
        """Connect a client of the plain wire to a booth, which the pairing rules choose. See `public`."""
        return self._connect_plain("/chat/private", name, identity, frames, latency, buffer)

    def v1(
        self,
        name: str | None = None,
        path: str = "/chat/public",
        *,
        hello: bool = True,
        identity: Person | Guest | None = _GUEST,
        frames: bool = True,
        latency: float = 0.0,
        buffer: int = 65_536,
        **fields: Any,
    ) -> V1Client:
        """Connect a client of the wire v1, and say hello: with `name` and these `fields`, such as `match`.

        `path` is one of `/chat/public`, `/chat/private` and `/chat`. AssertionError if hello is refused; with
        `hello=False` the test says it. See `public` for the rest.
        """
        __tracebackhide__ = True
        client = self._connect_v1(path, name, identity, frames, latency, buffer)
        if hello:
            client.hello(**fields)
        return client

    @property
    def now(self) -> float:
        """Seconds since the kit began."""
        return self._world.clock.now

    @property
    def next_due(self) -> float:
        """When something is planned next; inf if nothing ever happens again by itself."""
        return self._world.clock.next_due

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._world.has_come(lambda: False, seconds)

    def run_until(self, condition: Callable[[], object], within: float) -> None:
        """Let time pass until `condition()` is true, and not a moment longer. AssertionError if it is not in time."""
        __tracebackhide__ = True
        if not self._world.has_come(condition, within):
            raise AssertionError(f"not so within {within:g} s (at {self.now:g} s, seed {self.seed}): {condition}")

    def shift_utc(self, seconds: float) -> None:
        """Set the server's time of day forward, or back. What time has passed is another clock's to tell."""
        self._utc_offset += round(1000 * seconds)

    def drain(self) -> None:
        """Stop the server as SIGTERM does: everyone is closed with 4000, and nobody is let in."""
        self.hub.drain()

    def restart(self) -> None:
        """Kill the server and start it again with the same secret: all connections are cut, and what was in memory is
        gone."""
        links = list(self.hub._links.values())
        for link in links:
            link.socket.abort()
        for link in links:
            link.lost()
        self._world.note("", "restart")
        self._start()

    # Inside

    def _start(self) -> None:
        def new_id() -> str:
            return f"{next(self._ids):04x}"

        def utc_ms() -> int:
            return _BIRTHDAY + self._utc_offset + round(self.now * 1000)

        def engine(hub: Hub) -> Engine:
            self.engine = MemoryEngine(
                hub,
                scheduler=self._world.clock,
                keyring=self._keyring,
                choose=self._dice.randrange,
                new_id=new_id,
                utc_ms=utc_ms,
            )
            return self.engine

        names = NameRules(self.settings.reserved_names)
        booths, welcome = self.settings.booths, self.settings.welcome
        house = House(names, self._keyring, new_id, utc_ms, has_booths=booths, welcome=welcome)
        self._hub = _NotedHub(self._world, engine, house)

    def _connect_plain(
        self, path: str, name: str | None, identity: Person | Guest | None, frames: bool, latency: float, buffer: int
    ) -> Client:
        self._check_door(path, identity)
        client = Client(self._world, self._label(name), name, self._pace, frames, latency, buffer)
        return self._let_in(client, self._plain, path, identity)

    def _connect_v1(
        self, path: str, name: str | None, identity: Person | Guest | None, frames: bool, latency: float, buffer: int
    ) -> V1Client:
        self._check_door(path, identity)
        label = self._label(name)
        client = V1Client(self._world, label, name, self._pace, frames, latency, buffer, self._resume)
        self._came_from[client] = path, identity, frames, buffer
        return self._let_in(client, self._v1, path, identity)

    def _resume(self, old: V1Client, path: str | None, hello: bool, fields: Mapping[str, Any]) -> V1Client:
        __tracebackhide__ = True
        was, identity, frames, buffer = self._came_from[old]
        name = old._wish
        new = self._connect_v1(path or was, name, identity, frames, old.latency, buffer)
        new.session, new.positions = old.session, dict(old.positions)
        new.ignored, new.answers_pings = set(old.ignored), old.answers_pings
        if hello:
            new.hello(**fields)
        return new

    def _check_door(self, path: str, identity: Person | Guest | None) -> None:
        if path not in _PLACES:
            raise ConnectError(path, "there is nothing at this address")
        if self.hub.draining:
            raise ConnectError(path, "the server restarts; try again in a few seconds")
        if _PLACES[path].booth and not self.settings.booths:
            raise ConnectError(path, "there are no booths here")
        if identity is None:
            raise ConnectError(path, "sign in first")

    def _let_in(self, client: _Any, wire: Wire, path: str, identity: Person | Guest | None) -> _Any:
        self.clients.append(client)
        self._world.note(client.label, "connect", path)
        person = identity if isinstance(identity, Person) else None
        self._hub.client_of[client.socket] = client
        link = self.hub.connect(
            client.socket, wire, _PLACES[path], self._pace, person=person, gone=client._was_forgotten
        )
        client.socket.serve(link)
        return client

    def _label(self, name: str | None) -> str:
        label = name or f"guest{len(self.clients) + 1}"
        self._labels[label] += 1
        return f"{label}/{self._labels[label]}" if self._labels[label] > 1 else label


class _NotedHub(Hub):
    """The hub, with a note of who sits where and of what is said."""

    def __init__(self, world: World, engine: Callable[[Hub], Engine], house: House) -> None:
        super().__init__(world.clock, engine, house)
        self.client_of: dict[object, Client | V1Client] = {}  # by socket
        self._world = world

    def published(self, event: Event) -> None:
        match event:
            case Message(room=room, sender=sender, text=text):
                self._world.note(sender.name or "", "said", f"{sender.name}> {text}", room)
            case Edited(room=room, sender=sender, text=text):
                self._world.note(sender.name or "", "edited", text, room)
            case Deleted(room=room, sender=sender, mid=mid):
                self._world.note(sender.name or "", "deleted", mid, room)
            case Reacted(room=room, sender=sender, emoji=emoji, on=on):
                self._world.note(sender.name or "", "reacted", f"{'+' if on else '-'}{emoji}", room)
        super().published(event)

    def _carry_out(self, link: Link, effect: Effect) -> None:
        client = self.client_of[link.socket]
        if isinstance(effect, Leave | Drop) and effect.room in client.rooms:
            client.rooms.remove(effect.room)
            lost = isinstance(effect, Leave) and effect.lost
            self._world.note(client.label, "leave", "lost" if lost else "", effect.room)
        super()._carry_out(link, effect)
        if isinstance(effect, Take) and not link.connection.ended:
            client.rooms.append(effect.seat.room)
            self._world.note(client.label, "seat", "", effect.seat.room)
