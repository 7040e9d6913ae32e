"""A house on each engine, with each store."""

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.engine.house import ENGINES, STORES, House

Build = Callable[..., House]


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the rooms, which every house gets a copy of: to make one takes long."""
    file = tmp_path_factory.mktemp("template") / "parlour.db"
    House(ENGINES["memory"], file, STORES["sqlite"]).end()
    return file


@pytest.fixture
def build(database: Path, tmp_path: Path) -> Iterator[Build]:
    """Makes houses with a store, and closes them."""
    houses: list[House] = []
    numbers = count(1)

    def made(engine: str = "memory", store: object = STORES["sqlite"], *, opens: bool = True) -> House:
        file = tmp_path / f"{next(numbers)}.db"
        shutil.copy(database, file)
        houses.append(House(ENGINES[engine], file, store, opens=opens))  # type: ignore[arg-type]
        return houses[-1]

    yield made
    for house in houses:
        house.end()


@pytest.fixture(params=[(engine, store) for engine in ENGINES for store in STORES], ids=" and ".join)
def house(request: pytest.FixtureRequest) -> House:
    engine, store = request.param
    if STORES[store] is None:
        return House(ENGINES[engine])
    build: Build = request.getfixturevalue("build")
    return build(engine, STORES[store])
