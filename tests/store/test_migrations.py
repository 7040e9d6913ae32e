"""From every version of the schema to this one, whatever happens meanwhile."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event

from parlour.store import SchemaError
from tests.store.world import DEADLINE, Clock, Listener, opened, said

pytestmark = pytest.mark.anyio


def _config(**attributes: Any) -> Config:
    config = Config(attributes=attributes)
    config.set_main_option("script_location", "parlour.store:migrations")
    return config


VERSIONS: Final = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]
"""The oldest first."""


def make(file: Path, version: str) -> None:
    """A database as that version made it."""
    file.parent.mkdir()
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        command.upgrade(_config(connection=connection), version)
    engine.dispose()


def schema(file: Path) -> list[str]:
    """All that makes up the schema, and its version."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name").fetchall()
        has_version = any("alembic_version" in statement for (statement,) in found)
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall() if has_version else []
    return [*(statement for (statement,) in found), *(version for (version,) in versions)]


async def reference(tmp_path: Path, clock: Clock) -> list[str]:
    """The schema of a database that was made new."""
    file = tmp_path / "reference" / "parlour.db"
    store = opened(f"sqlite:///{file}", clock)
    await store.open()
    await store.close()
    return schema(file)


def test_there_is_one_line_of_versions() -> None:
    scripts = ScriptDirectory.from_config(_config())
    assert len(scripts.get_heads()) == 1
    assert len(VERSIONS) == len(set(VERSIONS))


@pytest.mark.parametrize("version", VERSIONS)
async def test_from_each_version(version: str, file: Path, clock: Clock, tmp_path: Path) -> None:
    """To the same schema as a new database has, and it works."""
    make(file, version)
    store = opened(f"sqlite:///{file}", clock)
    await store.open()
    await store.make_room("public", "Public")
    await Listener(store, clock).keep_all(said(1, "works"))
    assert len((await store.search("works")).messages) == 1
    await store.close()
    assert schema(file) == await reference(tmp_path, clock)


class _Died(BaseException):
    """The process is gone."""


async def test_cut_short(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any number of statements: the old schema is there, and the next start brings the new one."""
    new = await reference(tmp_path, clock)
    statements = 0
    while True:
        file = tmp_path / f"cut-{statements}" / "parlour.db"
        store = opened(f"sqlite:///{file}", clock)
        left = statements

        def count(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Died

        make_engine = store._database._engine

        def counting(*args: Any, make_engine: Any = make_engine, count: Any = count, **options: Any) -> Any:
            engine = make_engine(*args, **options)
            event.listen(engine.sync_engine, "after_cursor_execute", count)
            return engine

        monkeypatch.setattr(store._database, "_engine", counting)
        try:
            await store.migrate()
        except _Died:
            assert schema(file) in ([], new), f"after {statements} statements"
        else:
            break
        again = opened(f"sqlite:///{file}", clock)
        await again.open()
        await again.close()
        assert schema(file) == new
        statements += 1
    assert statements > 15


_CHILD = """
import asyncio, os, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from parlour.store.sql import SqlStore

left = int(sys.argv[2])

@event.listens_for(Engine, "after_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)

asyncio.run(SqlStore(Path(sys.argv[1]), utc_ms=lambda: 0).migrate())
"""


def killed_after(statements: int, file: Path) -> int:
    return subprocess.run([sys.executable, "-c", _CHILD, file, str(statements)], check=False).returncode


async def test_killed_meanwhile(tmp_path: Path, clock: Clock) -> None:
    new = await reference(tmp_path, clock)
    for statements in (1, 8, 20):
        file = tmp_path / f"killed-{statements}" / "parlour.db"
        assert killed_after(statements, file) == -9
        assert schema(file) == []
        store = opened(f"sqlite:///{file}", clock)
        await store.open()
        await store.close()
        assert schema(file) == new


_OPENS = """
import asyncio, sys
from pathlib import Path
from parlour.store.sql import SqlStore

async def main():
    store = SqlStore(Path(sys.argv[1]), utc_ms=lambda: 0)
    await store.open()
    await store.make_room("public", "Public")
    await store.close()

sys.stdin.readline()
asyncio.run(main())
"""


def opened_by_processes(number: int, file: Path) -> list[int]:
    """How they ended."""
    command = [sys.executable, "-W", "error", "-c", _OPENS, str(file)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(number)]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=DEADLINE)
    return [child.returncode for child in children]


async def test_processes_open_at_once(file: Path, tmp_path: Path, clock: Clock) -> None:
    assert opened_by_processes(3, file) == [0, 0, 0]
    assert schema(file) == await reference(tmp_path, clock)


async def test_two_stores_open_at_once(file: Path, clock: Clock) -> None:
    stores = [opened(f"sqlite:///{file}", clock) for _ in range(4)]
    opening = asyncio.gather(*(store.open() for store in stores))
    await clock.until(opening.done, advancing=0.01)
    assert await opening == [[]] * 4
    for store in stores:
        await store.close()


async def test_a_newer_schema(file: Path, clock: Clock) -> None:
    """It is refused, and left as it is."""
    make(file, VERSIONS[-1])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = schema(file)
    with pytest.raises(SchemaError, match="newer version of Parlour"):
        await opened(f"sqlite:///{file}", clock).open()
    assert schema(file) == before


async def test_postgres_waits_for_its_operator(postgres_url: str, clock: Clock) -> None:
    """Who may be running other processes on it."""
    store = opened(postgres_url, clock)
    with pytest.raises(SchemaError, match="parlour admin migrate"):
        await store.open()
    await store.migrate()
    await store.migrate()
    assert await store.open() == []
    await store.close()
