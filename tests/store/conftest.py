"""A store on each database."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from parlour.store.sql import SqlStore
from tests.store import postgres
from tests.store.world import Clock, Listener, opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "parlour.db"


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest) -> str:
    """A database with nothing in it."""
    if request.param == "sqlite":
        return f"sqlite:///{request.getfixturevalue('file')}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def store(address: str, clock: Clock) -> AsyncIterator[SqlStore]:
    """An open store with the rooms `public` and `tea`."""
    store = opened(address, clock)
    await store.migrate()
    await store.open()
    await store.make_room("public", "Public")
    await store.make_room("tea", "Tea")
    yield store
    await store.close()


@pytest.fixture
def listener(store: SqlStore, clock: Clock) -> Listener:
    return Listener(store, clock)
