"""The operators' API over a real desk and a real store; its clock stands still, and its passwords cost little."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
from argon2 import PasswordHasher

from parlour import Settings
from parlour.core.events import Event, Letter, Member, Moderated, Reported, Role, Seat, Sender
from parlour.core.evidence import Evidence, Finding, Proof, sealed
from parlour.core.filter import FilterRules, Limit
from parlour.core.keys import Keyring
from parlour.core.policy import Policy
from parlour.core.records import Report
from parlour.core.tickets import sign
from parlour.desk import Desk
from parlour.engine.memory import MemoryEngine
from parlour.errors import Close
from parlour.operators import CLI, Operators
from parlour.store import Store
from parlour.store.sql import SqlStore
from parlour.web.admin import COOKIE, Office, admin_app

NOW: Final = 1_700_000_000_000
URL: Final = "https://testserver"
PASSWORD: Final = "correct horse battery"
KEYRING: Final = Keyring({"a": b"a" * 32}, "a")
RULES: Final = FilterRules(openings=Limit(5, 600.0, "refuse"))

MESSAGES = (
    ("relayed", "reporter", "hello"),
    ("relayed", "accused", "go \ud800 away"),
    ("forged", None, "I am a bad one"),
    ("withheld", None, None),
)
"""What a report holds: the word of the server, who said it, and what."""

T = TypeVar("T")


class Clock:
    """The time of day and the seconds since some moment; both go on only when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def utc_ms(self) -> int:
        return NOW + round(1000 * self.seconds)


class Hasher(PasswordHasher):
    """Argon2id that costs nearly nothing, and counts."""

    def __init__(self, time_cost: int = 1) -> None:
        super().__init__(time_cost=time_cost, memory_cost=8, parallelism=1)
        self.count = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.count += 1
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> Any:
        self.count += 1
        return super().verify(hash, password)


def bytes_of() -> Callable[[int], bytes]:
    """Different bytes each time, and the same in each run."""
    numbers = itertools.count(1)
    return lambda count: next(numbers).to_bytes(count, "big")


def operators_of(store: Store, clock: Clock, hasher: PasswordHasher | None = None) -> Operators:
    return Operators(
        store, KEYRING, utc_ms=clock.utc_ms, now=clock.now, token_bytes=bytes_of(), hasher=hasher or Hasher()
    )


class Rooms:
    """An `Office`."""

    def __init__(self, desk: Desk, operators: Operators | None) -> None:
        self.desk = desk
        self.operators = operators

    def live(self) -> Mapping[str, object]:
        rooms = [{"name": "public", "people": 2}]
        return {"people": 3, "rooms": rooms, "booths": 1, "waiting": 0, "messages": 7, "deliveries": 14}


class Connections:
    """The hub, as the engine and the desk know it: nobody listens, and `roles` are those of who is there."""

    def __init__(self) -> None:
        self.roles: dict[str, Role] = {}

    def published(self, event: Event) -> None:
        pass

    def told(self, connection: str, letter: Letter, seat: Seat | None = None) -> None:
        pass

    def displaced(self, member: Member) -> None:
        pass

    def closed(self, room: str) -> None:
        pass

    def end_person(self, person: str, close: Close, letter: Moderated | None = None) -> int:
        return person in self.roles

    def end_address(self, address: str, close: Close, letter: Moderated | None = None) -> int:
        return 0

    def tell_person(self, person: str, letter: Letter) -> bool:
        return person in self.roles

    def role_of(self, person: str) -> Role | None:
        return self.roles.get(person)

    def addresses_of(self, person: str) -> Sequence[str]:
        return ()


class World:
    """A server, and who asks it."""

    def __init__(
        self, office: Rooms, store: Store, here: Connections, clock: Clock, hasher: Hasher, settings: Settings
    ) -> None:
        self.office = office
        self.desk = office.desk
        self.store = store
        self.here = here
        self.clock = clock
        self.hasher = hasher
        self.app = admin_app(settings, on_hub=self.on_hub)

    @property
    def operators(self) -> Operators:
        assert self.office.operators is not None
        return self.office.operators

    async def on_hub(self, work: Callable[[Office], Awaitable[T]], /) -> T:
        return await work(self.office)

    def client(self, headers: Mapping[str, str] | None = None, *, host: str = "192.0.2.1") -> httpx2.AsyncClient:
        # Nothing is open in it that would need to be closed.
        transport = httpx2.ASGITransport(self.app, client=(host, 50_000))
        return httpx2.AsyncClient(transport=transport, base_url=f"{URL}/api", headers=dict(headers or {}))

    def cli(self) -> httpx2.AsyncClient:
        """The command line."""
        return self.client(bearer(sign(KEYRING, "cli", "cli", self.clock.utc_ms() + 60_000)))

    async def token(self, *scopes: Any) -> str:
        return (await self.operators.make_token(CLI, name="bot", scopes=scopes, seconds=None))[1]

    async def signed_in(self, name: str = "ada", role: Any = "admin") -> httpx2.AsyncClient:
        """Somebody in a browser, who signed in and knows what to send."""
        known = [operator.name for operator in await self.operators.operators()]
        if name not in known:
            await self.operators.make_operator(CLI, name=name, password=PASSWORD, role=role)
        client = self.client({"Origin": URL, "Sec-Fetch-Site": "same-origin"})
        answer = await client.post("/sign-in", json={"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        client.headers["X-CSRF"] = answer.json()["csrf"]
        assert COOKIE in client.cookies
        return client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@asynccontextmanager
async def running(folder: Path, *, keeps: bool = True, **settings: Any) -> AsyncIterator[World]:
    """`keeps` False is a server without a data folder."""
    clock, hasher, loop = Clock(), Hasher(), asyncio.get_running_loop()
    store = SqlStore(folder / "parlour.db", utc_ms=clock.utc_ms)
    here, ids = Connections(), itertools.count(1)
    common: dict[str, Any] = {
        "store": store if keeps else None,
        "keyring": KEYRING,
        "scheduler": loop,
        "utc_ms": clock.utc_ms,
        "new_id": lambda: f"id{next(ids)}",
    }
    engine = MemoryEngine(here, choose=lambda count: 0, **common)
    desk = Desk(engine=engine, policy=Policy(rules=RULES), floor=here, rules=RULES, **common)
    await engine.open()
    await desk.open()
    office = Rooms(desk, operators_of(store, clock, hasher) if keeps else None)
    yield World(office, store, here, clock, hasher, Settings(**settings))
    await desk.close()
    await asyncio.gather(*engine._tasks)  # a room that was just opened reads what was said in it
    if keeps:
        await store.close()


async def filed(
    store: Store,
    keyring: Keyring,
    *,
    ref: str = "ref1",
    reporter: str = "p-ada",
    held: bool = False,
    text: str = "hello",
    reason: str = "insults",
    note: str = "",
) -> Report:
    """A report that waits, which begins with `text`: of a person; or, where `reporter` is empty, of a rule."""
    if reporter:
        said = [("relayed", "reporter", text), *MESSAGES[1:]]
        room = "booth-1"
    else:
        said = [("held" if held else "relayed", "accused", text)]
        room = "public"
    proofs = [
        Proof(Reported(f"m{off}", off, NOW, "local", words, "stamp"), word, by)  # type: ignore[arg-type]
        for off, (word, by, words) in enumerate(said, 1)
    ]
    finding = Finding(room, reporter, "p-bo", tuple(proofs), is_whole=False, from_start=True)
    record = sealed(keyring, Evidence(finding, NOW, reason, note, Sender("p-bo", "bo") if held else None))
    report = Report(ref, room, reporter, "p-bo", reason, note, NOW, record)
    await store.put(report)
    return report
