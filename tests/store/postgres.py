"""A real PostgreSQL server for tests: the one of $TEST_POSTGRES_URL, else one that is started here."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
from sqlalchemy.engine import make_url

from tests.store.world import DEADLINE
from tests.support import require

_PROGRAMS: Final = "initdb", "postgres"
_numbers = count(1)


def programs() -> Path | None:
    """The folder that holds the server's programs: the system's, else those of the `pgserver` package."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    package = find_spec("pgserver")
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "pginstall" / "bin")
    return next((folder for folder in folders if all((folder / name).exists() for name in _PROGRAMS)), None)


class Server:
    """A running server. `process` is None if it is not ours."""

    def __init__(self, url: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self.url = url
        self.process = process

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"parlour_test_{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)'.encode())


@contextmanager
def running() -> Iterator[Server]:
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        yield Server(given)
        return
    folder = programs()
    require(folder, "there is no PostgreSQL: set TEST_POSTGRES_URL, or install postgresql")
    assert folder is not None
    # It refuses to run as root.
    user = next(name for name in ("postgres", "nobody") if _exists(name)) if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="parlour-pg-", ignore_cleanup_errors=True) as home:
        if user is not None:
            shutil.chown(home, user)
        data = Path(home) / "data"
        subprocess.run(
            [folder / "initdb", "-D", data, "-U", "parlour", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"],
            check=True,
            capture_output=True,
            user=user,
            cwd=home,
        )
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={home}", "-c", "fsync=off"]
        process = subprocess.Popen(
            [folder / "postgres", "-D", data, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user,
            cwd=home,
        )
        try:
            server = Server(f"postgresql://parlour@/postgres?host={home}", process)
            _wait_ready(server)
            yield server
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            process.wait(DEADLINE)


def _exists(user: str) -> bool:
    import pwd

    return any(entry.pw_name == user for entry in pwd.getpwall())


def _wait_ready(server: Server) -> None:
    until = time.monotonic() + DEADLINE
    while True:
        try:
            psycopg.connect(server.url).close()
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)  # nothing tells when
        else:
            return
