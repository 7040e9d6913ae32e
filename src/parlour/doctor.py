"""What may be wrong with a server, looked for from outside, each with its fix."""

import json
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from parlour.errors import SettingsError
from parlour.keyfile import FILE, check_secrets
from parlour.settings import Settings
from parlour.store import SchemaError, Store, StoreError
from parlour.store.database import Database

State: TypeAlias = Literal["ok", "warn", "FAIL"]

_LITTLE_SPACE: Final = 1 << 30
_NO_SPACE: Final = 100 << 20
_YEAR_2025_MS: Final = 1_735_689_600_000
_READY_SECONDS: Final = 5.0


class Check(NamedTuple):
    """What was looked at, how it is, and where it is not ok the fix."""

    name: str
    state: State
    words: str


async def examined(
    settings: Settings,
    folder: Path,
    database: str | Path,
    new_store: Callable[[Settings], Store],
    *,
    running: str | None,
    utc_ms: Callable[[], int],
) -> AsyncIterator[Check]:
    """Everything that can be looked at, in the order in which to mend it. Nothing is changed, and no database made.

    `folder` and `database` are those of the settings; `running` is the address of the server that says it runs there.
    """
    check, is_there = _folder(folder)
    yield check
    if not is_there:
        return
    yield _secrets(folder)
    last_ms: int | None = None
    schema = _database_file(database) or await _schema(database)
    yield schema
    if schema.state == "ok":
        audit, last_ms = await _audit(new_store(settings))
        yield audit
    yield _space(folder)
    is_held = _is_held(folder)
    yield _lock(folder, running, is_held)
    if running is not None and is_held:
        yield _ready(running)
    yield _clock(utc_ms(), max(last_ms or 0, _written_ms(folder)))
    yield _proxy(settings)


def _folder(folder: Path) -> tuple[Check, bool]:
    """The check, and whether there is a folder to look into."""
    name = "data folder"
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        words = f"{folder} is not there yet; the server makes it, or name another with --data"
        return Check(name, "warn", words), False
    except OSError as error:
        words = f"{folder}: {error.strerror}; run this as the user that the server runs as"
        return Check(name, "FAIL", words), False
    if not stat.S_ISDIR(mode):
        return Check(name, "FAIL", f"{folder} is no folder; name another with --data"), False
    if not os.access(folder, os.R_OK | os.X_OK):
        return Check(name, "FAIL", f"{folder} can't be read; run this as the user that the server runs as"), False
    if not os.access(folder, os.W_OK):
        return Check(name, "FAIL", f"{folder} can't be written; give it to the server's user with chown"), True
    if os.name == "posix" and mode & 0o077:
        return Check(name, "warn", f"others may look into {folder}; chmod 700 {folder}"), True
    return Check(name, "ok", str(folder)), True


def _secrets(folder: Path) -> Check:
    file = folder / FILE
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        file.read_bytes()
        check_secrets(folder)
    except FileNotFoundError:
        return Check("secrets", "warn", f"{file} is not there yet; the server makes it. If there was one, restore it")
    except OSError as error:
        return Check("secrets", "FAIL", f"{file}: {error.strerror}; give it to the server's user with chown")
    except SettingsError as error:
        return Check("secrets", "FAIL", str(error))
    if os.name == "posix" and mode & 0o077:
        return Check("secrets", "FAIL", f"others may read {file}, and be operators by that; chmod 600 {file}")
    return Check("secrets", "ok", str(file))


def _database_file(database: str | Path) -> Check | None:
    """What is to be said of the file before it is opened, if it is one."""
    if not isinstance(database, Path):
        return None
    if not database.exists():
        return Check("database", "warn", f"{database} is not there yet; the server makes it when it starts")
    if os.name == "posix" and stat.S_IMODE(database.stat().st_mode) & 0o077:
        return Check("database", "FAIL", f"others may read {database}; chmod 600 {database}")
    return None


async def _schema(address: str | Path) -> Check:
    """Whether the database opens, and is of this version. An older one is not brought up by looking at it."""
    try:
        database = Database(address, None)
        database.connect()
        try:
            await database.migrate(may_migrate=False)
        finally:
            await database.disconnect()
    except SchemaError as error:
        return Check("database", "FAIL", str(error))
    except StoreError as error:
        return Check("database", "FAIL", f"{error}; see that it is there, and that the server's user may use it")
    # The address of a server may hold a password.
    words = str(address) if isinstance(address, Path) else "it answers"
    return Check("database", "ok", f"{words}, of this version")


async def _audit(store: Store) -> tuple[Check, int | None]:
    """The check, and when the last entry was written."""
    try:
        await store.open()
        try:
            broken, last = await store.broken_audit(), await store.audited(limit=1)
        finally:
            await store.close()
    except StoreError as error:
        return Check("audit log", "FAIL", f"{error}; try again"), None
    last_ms = last[0].ts if last else None
    if broken is not None:
        words = f"entry {broken} is not as it was written, or is missing; compare with a backup; ask who could write"
        return Check("audit log", "FAIL", words), last_ms
    return Check("audit log", "ok", f"whole, {last[0].n if last else 0} entries"), last_ms


def _space(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    words = f"{free / (1 << 30):.1f} GiB free"
    if free < _NO_SPACE:
        return Check("disk", "FAIL", f"{words}: soon nothing is stored any more; make room")
    if free < _LITTLE_SPACE:
        return Check("disk", "warn", f"{words}; make room, or keep messages for fewer days with --keep-messages-days")
    return Check("disk", "ok", words)


def _is_held(folder: Path) -> bool:
    """Whether a server runs on the folder."""
    file = folder / "lock"
    if not file.exists():
        return False
    try:
        with FileLock(file, blocking=False):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _lock(folder: Path, url: str | None, is_held: bool) -> Check:
    if is_held and url is not None:
        return Check("server", "ok", f"one runs on this folder, at {url}")
    if is_held:
        words = (
            f"one runs on this folder, but {folder / 'server.json'} does not say where; use --url, or start it again"
        )
        return Check("server", "warn", words)
    if url is not None:
        return Check("server", "warn", "none runs on this folder, and the last one was killed; start `parlour serve`")
    return Check("server", "warn", "none runs on this folder; start `parlour serve`")


def _ready(url: str) -> Check:
    from http.client import HTTPConnection, HTTPException

    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=_READY_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        found = json.loads(answer.read())
        broken = [f"{name}: {part['words']}" for name, part in found["parts"].items() if not part["ok"]]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return Check(
            "readiness", "FAIL", f"nothing answers as it should at {url}/readyz; look into the log, start it again"
        )
    finally:
        connection.close()
    if answer.status != 200:
        return Check("readiness", "FAIL", "; ".join(broken) or "it takes nobody in; look into the log")
    return Check("readiness", "ok", "it takes people in")


def _written_ms(folder: Path) -> int:
    """When something was last written in the folder."""
    times = [0]
    for file in folder.iterdir():
        with suppress(OSError):
            times.append(file.stat().st_mtime_ns // 1_000_000)
    return max(times)


def _clock(now: int, last: int) -> Check:
    shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now / 1000))
    if now < _YEAR_2025_MS:
        return Check("clock", "FAIL", f"it stands at {shown} UTC; set it, and keep it right with NTP")
    if now < last - 60_000:
        return Check(
            "clock", "FAIL", f"it stands at {shown} UTC, before what is stored; set it, and keep it right with NTP"
        )
    return Check("clock", "ok", f"{shown} UTC")


def _proxy(settings: Settings) -> Check:
    """What the settings say of who stands before the server. Flags of `parlour serve` are not known here."""
    is_https = settings.url is not None and settings.url.startswith("https:")
    is_open = settings.host not in {"127.0.0.1", "::1", "localhost"}
    if is_https and not settings.trusted_hops:
        words = "url is https, so a proxy is in front, and all people count as one address; set trusted_hops = 1"
        return Check("proxy", "warn", words)
    if is_open and settings.trusted_hops:
        words = "who reaches the server past the proxy can claim any address; set host = 127.0.0.1, or a firewall"
        return Check("proxy", "warn", words)
    if is_open and not is_https:
        words = "the server speaks HTTP to the network; put a proxy with HTTPS before it, set url and trusted_hops"
        return Check("proxy", "warn", words)
    return Check("proxy", "ok", "nothing speaks against how it is reached")
